//! Pages of which parts are generated: a part lies between two comments with its name.

use std::fs;

use anyhow::{Context, Result};

use crate::workspace::root;

/// Writes a part of a page: what lies between `<!-- NAME begins -->` and `<!-- NAME ends -->`.
pub fn replace_part(path: &str, name: &str, text: &str) -> Result<()> {
    let file = root().join(path);
    let page = fs::read_to_string(&file).with_context(|| format!("cannot read {path}"))?;
    let page = replaced(&page, name, text)
        .with_context(|| format!("{path} has no part `{name}`: restore its two comments"))?;
    fs::write(&file, page).with_context(|| format!("cannot write {path}"))
}

fn replaced(page: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name} begins -->"), format!("<!-- {name} ends -->"));
    let (head, rest) = page.split_once(&begin)?;
    let (_, tail) = rest.split_once(&end)?;
    Some(format!("{head}{begin}\n\n{}\n\n{end}{tail}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn part_is_replaced_and_the_rest_stays() {
        let page = "# A\n<!-- x begins -->\nold\n<!-- x ends -->\ntail\n";
        let once = replaced(page, "x", "new");
        assert_eq!(once.as_deref(), Some("# A\n<!-- x begins -->\n\nnew\n\n<!-- x ends -->\ntail\n"));
        assert_eq!(once.as_deref().and_then(|page| replaced(page, "x", "new")), once, "twice is once");
        assert_eq!(replaced(page, "y", "new"), None);
    }
}
