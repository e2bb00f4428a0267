//! Documents in a package: every link leads to what is installed beside them.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};

/// Replaces links to what is not installed by their text, in every Markdown file below `folder`.
pub(super) fn resolve_links(folder: &Path) -> Result<()> {
    for file in files(folder)? {
        if file.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let place = file.parent().unwrap_or(folder);
        let text = without_links(&text, |target| leads_somewhere(place, target));
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Whether a link leads to the web, to a place in its own document, or to a file that exists.
fn leads_somewhere(place: &Path, target: &str) -> bool {
    let path = target.split('#').next().unwrap_or_default();
    target.contains("://") || path.is_empty() || tidy(&place.join(path)).exists()
}

/// The path without `..`: an installed tree has no symbolic links.
fn tidy(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut tidy, component| {
        if component == Component::ParentDir {
            tidy.pop();
        } else {
            tidy.push(component);
        }
        tidy
    })
}

/// Markdown in which only links remain of which `keep` holds. A link that is not kept leaves its text, a picture nothing.
pub(super) fn without_links(markdown: &str, keep: impl Fn(&str) -> bool) -> String {
    let mut left = markdown;
    let mut text = String::new();
    while let Some(middle) = left.find("](") {
        let open = left[..middle].rfind('[');
        let close = left[middle..].find(')').map(|at| middle + at);
        let (Some(open), Some(close)) = (open, close) else { break };
        let (label, target) = (&left[open + 1..middle], &left[middle + 2..close]);
        let is_picture = left[..open].ends_with('!');
        if keep(target) {
            text += &left[..=close];
        } else if is_picture {
            text += &left[..open - 1];
        } else {
            text += &left[..open];
            text += label;
        }
        left = &left[close + 1..];
    }
    text + left
}

/// Every file below a folder, in order.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for child in super::tree::children(folder)? {
        if child.is_dir() {
            files.extend(self::files(&child)?);
        } else {
            files.push(child);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_what_is_not_there_become_their_text() {
        let text = "see [a](a.md), [`b`](../b.md#c) and ![p](p.png).\n[d](https://d.example/)";
        let kept = without_links(text, |target| target.starts_with("https:") || target == "a.md");
        assert_eq!(kept, "see [a](a.md), `b` and .\n[d](https://d.example/)");
        assert_eq!(without_links(text, |_| true), text);
        assert_eq!(without_links("no end ](", |_| false), "no end ](");
    }

    #[test]
    fn parents_are_resolved_before_a_file_is_looked_for() {
        assert_eq!(tidy(Path::new("/a/b/../c/./d")), Path::new("/a/c/d"));
    }
}
