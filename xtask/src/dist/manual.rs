//! The manual page of the configuration file, from its chapter in docs/.

use std::fmt::Write;

/// Writes `zcrxd.toml(5)` from the text of docs/configuration.md: headings become sections, fenced text stays as it is, rows of
/// tables become tagged paragraphs.
pub(super) fn of_configuration(markdown: &str, version: &str) -> String {
    let mut page = format!(
        ".TH ZCRXD.TOML 5 \"\" \"zcrxd {version}\"\n.SH NAME\nzcrxd.toml \\- configuration of zcrxd\n.SH DESCRIPTION\n"
    );
    let mut is_fenced = false;
    for line in markdown.lines() {
        if line.starts_with("```") {
            is_fenced = !is_fenced;
            page += if is_fenced { ".PP\n.nf\n" } else { ".fi\n" };
        } else if is_fenced {
            page += &guarded(&escaped(line));
        } else if line.starts_with("# ") || line.starts_with("|---") || line == "| Code | Meaning |" {
            // The title stands above; what is under a table's head explains itself.
        } else if let Some(heading) = line.strip_prefix("## ") {
            // Writing to a string cannot fail.
            _ = writeln!(page, ".SH {}", escaped(&heading.to_uppercase()));
        } else if let Some(row) = line.strip_prefix('|') {
            let mut cells = row.trim_end_matches('|').split('|').map(|cell| inline(cell.trim()));
            let (tag, rest) = (cells.next().unwrap_or_default(), cells.collect::<Vec<_>>().join(" "));
            _ = write!(page, ".TP\n{}{}", guarded(&tag), guarded(&rest));
        } else if let Some(item) = line.strip_prefix("- ") {
            _ = write!(page, ".IP \\(bu 2\n{}", guarded(&inline(item)));
        } else if line.is_empty() {
            page += ".PP\n";
        } else {
            page += &guarded(&inline(line.trim()));
        }
    }
    page + ".SH SEE ALSO\n\\fBzcrxd\\fR(1), \\fBzcrxd-run\\fR(1), \\fBzcrxd-check-config\\fR(1)\n"
}

/// A line of text that roff takes for no request.
fn guarded(line: &str) -> String {
    let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
    format!("{guard}{line}\n")
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// Code in bold, links as their text.
fn inline(text: &str) -> String {
    let mut roff = String::new();
    for (index, part) in text.split('`').enumerate() {
        let part = escaped(&super::documents::without_links(part));
        if index % 2 == 1 {
            _ = write!(roff, "\\fB{part}\\fR");
        } else {
            roff += &part;
        }
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_roff() {
        let page = of_configuration(
            "# Configuration\n\nSay `a-b` in [a file](x.md).\n\n```toml\n# c\n.d = \"\\n\"\n```\n\n## Exit codes\n\n| Code | \
             Meaning |\n|---|---|\n| 0 | Done. |\n- one\n",
            "1.2.3",
        );
        let (_, body) = page.split_once(".SH DESCRIPTION\n").expect("a description");
        assert!(
            body.starts_with(
                ".PP\nSay \\fBa\\-b\\fR in a file.\n.PP\n.PP\n.nf\n# c\n\\&.d = \"\\en\"\n.fi\n.PP\n.SH EXIT CODES\n.PP\n.TP\n0\nDone.\n\
                 .IP \\(bu 2\none\n.SH SEE ALSO\n"
            ),
            "{body}"
        );
    }
}
