//! Links of Markdown documents: to files, and to headings in them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Links of a document to other files or to its own headings, with their lines (from 1); those to the web are left out.
pub(crate) fn links(text: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    for (line, text) in outside_code(text) {
        for rest in text.split("](").skip(1) {
            let target = rest.split([')', ' ']).next().unwrap_or_default();
            if !(target.is_empty() || target.contains("://") || target.starts_with("mailto:")) {
                links.push((line, target));
            }
        }
    }
    links
}

/// Why a link of the document at `file` with this text leads nowhere; `None` if it leads to a file, and to a heading where it
/// names one.
pub(crate) fn broken(file: &Path, text: &str, target: &str) -> Option<String> {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let place = file.parent().unwrap_or(file);
    let document = if path.is_empty() { file.to_owned() } else { tidy(&place.join(path)) };
    if !path.is_empty() && !document.exists() {
        return Some(format!("no such file: {path}"));
    }
    if anchor.is_empty() || document.extension().is_none_or(|extension| extension != "md") {
        return None;
    }
    let other =
        if path.is_empty() { text.to_owned() } else { fs::read_to_string(&document).unwrap_or_default() };
    (!anchors(&other).contains(anchor)).then(|| format!("no such heading: {target}"))
}

/// Names of a document's headings in links, as GitHub and most renderers make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in outside_code(text) {
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let name: String = shown(heading.trim())
            .to_lowercase()
            .chars()
            .filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'))
            .map(|char| if char == ' ' { '-' } else { char })
            .collect();
        let mut numbered = name.clone();
        let mut number = 0;
        while anchors.contains(&numbered) {
            number += 1;
            numbered = format!("{name}-{number}");
        }
        anchors.insert(numbered);
    }
    anchors
}

/// A heading without the targets of its links.
fn shown(heading: &str) -> String {
    let mut parts = heading.split("](");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown += part.split_once(')').map_or(part, |(_, after)| after);
    }
    shown
}

/// Lines outside fenced code, with their numbers from 1.
fn outside_code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_code && !is_fence).then_some((index + 1, line))
    })
}

/// The path without `..`, which may lead through a folder that does not exist.
pub(crate) fn tidy(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut tidy, component| {
        if component == Component::ParentDir {
            tidy.pop();
        } else {
            tidy.push(component);
        }
        tidy
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_and_headings_of_the_repository_are_looked_for() {
        let text = "[a](docs/a.md) and [b](../b.md#part)\n[c](https://example.org/c) [d](#here)\n```\n[e](e.md)\n```\n";
        assert_eq!(links(text), [(1, "docs/a.md"), (1, "../b.md#part"), (2, "#here")]);
    }

    #[test]
    fn headings_have_the_names_that_renderers_give_them() {
        let text = "# What `zcrxd run` needs: a, b\n## Same\n## Same\n```\n# not this\n```\n#none\n### [A link](x.md) in_it\n";
        let names = anchors(text);
        let expected = ["what-zcrxd-run-needs-a-b", "same", "same-1", "a-link-in_it"];
        assert_eq!(names, expected.map(str::to_owned).into(), "{names:?}");
    }

    #[test]
    fn links_to_missing_headings_and_files_are_broken() {
        let text = "# Here\n";
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        assert_eq!(broken(&file, text, "#here"), None);
        assert_eq!(broken(&file, text, "#there"), Some("no such heading: #there".to_owned()));
        assert_eq!(broken(&file, text, "Cargo.toml#there"), None, "only documents have headings");
        assert!(broken(&file, text, "none.md").is_some_and(|why| why.contains("no such file")));
        assert_eq!(broken(&file, text, "none/../Cargo.toml"), None);
    }

    #[test]
    fn parents_are_resolved_before_a_file_is_looked_for() {
        assert_eq!(tidy(Path::new("/a/b/../c/./d")), Path::new("/a/c/d"));
    }
}
