//! Documents in a package: every link leads to what is installed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::markdown::{broken, links, tidy};

/// Folders and files of the repository with the places where they are installed.
type Places = [(&'static str, &'static str)];

/// Rewrites the links in every Markdown file of an installed tree: a link to what is installed elsewhere leads there, a link to
/// what is not installed becomes its text. Fails if a link then leads to no file or heading.
pub(super) fn resolve_links(tree: &Path, places: &Places) -> Result<()> {
    let documents: Vec<_> = files(tree)?.into_iter().filter(|file| is_document(file)).collect();
    for file in &documents {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let text = with_links(&text, |target| installed(tree, places, file, target));
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let wrong = broken_links(&documents)?;
    ensure!(wrong.is_empty(), "links of installed documents lead nowhere:\n{}", wrong.join("\n"));
    Ok(())
}

fn is_document(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "md")
}

/// Every link of these documents that leads nowhere.
fn broken_links(documents: &[PathBuf]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for file in documents {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let found = links(&text).into_iter().filter_map(|(line, target)| {
            Some(format!("{}:{line}: {}", file.display(), broken(file, &text, target)?))
        });
        wrong.extend(found);
    }
    Ok(wrong)
}

/// A link's target in the installed tree: as it is, or with another path; `None` if it leads to what is not installed.
fn installed(tree: &Path, places: &Places, file: &Path, target: &str) -> Option<String> {
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    if target.contains("://") || path.is_empty() {
        return Some(target.to_owned());
    }
    let folder = file.parent()?;
    let here = source(places, file.strip_prefix(tree).ok()?)?;
    let there = tree.join(place(places, &tidy(&here.parent()?.join(path)))?);
    let path = there.exists().then(|| relative(folder, &there))?;
    Some(anchor.map_or(path.clone(), |anchor| format!("{path}#{anchor}")))
}

/// Where a file of the repository is installed, if it is.
fn place(places: &Places, source: &Path) -> Option<PathBuf> {
    let found =
        places.iter().filter_map(|(from, to)| Some((from, Path::new(to), source.strip_prefix(from).ok()?)));
    let (_, to, rest) = found.max_by_key(|(from, ..)| from.len())?;
    Some(if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) })
}

/// The file of the repository that is installed at this place.
fn source(places: &Places, place: &Path) -> Option<PathBuf> {
    let found =
        places.iter().filter_map(|(from, to)| Some((to, Path::new(from), place.strip_prefix(to).ok()?)));
    let (_, from, rest) = found.max_by_key(|(to, ..)| to.len())?;
    Some(if rest.as_os_str().is_empty() { from.to_owned() } else { from.join(rest) })
}

/// The way from a folder to a file.
fn relative(folder: &Path, file: &Path) -> String {
    let shared = folder.components().zip(file.components()).take_while(|(one, other)| one == other).count();
    let up = folder.components().skip(shared).map(|_| "..".to_owned());
    let down = file.components().skip(shared).map(|part| part.as_os_str().to_string_lossy().into_owned());
    up.chain(down).collect::<Vec<_>>().join("/")
}

/// Markdown with other targets of its links. A link without one leaves its text, a picture nothing.
fn with_links(markdown: &str, target_of: impl Fn(&str) -> Option<String>) -> String {
    let mut left = markdown;
    let mut text = String::new();
    while let Some(middle) = left.find("](") {
        let open = left[..middle].rfind('[');
        let close = left[middle..].find(')').map(|at| middle + at);
        let (Some(open), Some(close)) = (open, close) else { break };
        let (label, target) = (&left[open + 1..middle], &left[middle + 2..close]);
        let is_picture = left[..open].ends_with('!');
        if let Some(target) = target_of(target) {
            text += &left[..middle];
            text += "](";
            text += &target;
            text.push(')');
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

/// Markdown without links: their text stays.
pub(super) fn without_links(markdown: &str) -> String {
    with_links(markdown, |_| None)
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
        let kept = with_links(text, |target| match target {
            "a.md" => Some("x/a.md".to_owned()),
            other => other.starts_with("https:").then(|| other.to_owned()),
        });
        assert_eq!(kept, "see [a](x/a.md), `b` and .\n[d](https://d.example/)");
        assert_eq!(with_links(text, |target| Some(target.to_owned())), text);
        assert_eq!(without_links("no end ]("), "no end ](");
    }

    #[test]
    fn links_between_installed_folders_are_rewritten_and_broken_ones_refused() -> Result<()> {
        const PLACES: &Places =
            &[("docs", "doc"), ("docs/a", "share/a"), ("dash", "share/dash"), ("LOG.md", "doc/LOG.md")];
        let tree = std::env::temp_dir().join(format!("zcrxd-links-{}", std::process::id()));
        let write = |path: &str, text: &str| crate::dist::tree::write(&tree.join(path), text);
        write(
            "doc/x.md",
            "# Part\n[d](../dash/d.md) [log](../LOG.md) [a](a/y.md#top) [gone](../src/z.rs)\n",
        )?;
        write("doc/LOG.md", "[x](docs/x.md#part)\n")?;
        write("share/a/y.md", "# Top\n[x](../x.md)\n")?;
        write("share/dash/d.md", "[x](../docs/x.md#part)\n")?;
        resolve_links(&tree, PLACES)?;
        let read = |path: &str| fs::read_to_string(tree.join(path));
        assert_eq!(
            read("doc/x.md")?,
            "# Part\n[d](../share/dash/d.md) [log](LOG.md) [a](../share/a/y.md#top) gone\n"
        );
        assert_eq!(read("doc/LOG.md")?, "[x](x.md#part)\n");
        assert_eq!(read("share/a/y.md")?, "# Top\n[x](../../doc/x.md)\n");
        assert_eq!(read("share/dash/d.md")?, "[x](../../doc/x.md#part)\n");
        write("doc/LOG.md", "[x](docs/x.md#no-such-part)\n")?;
        let error = resolve_links(&tree, PLACES).expect_err("a heading that is not there");
        assert!(error.to_string().contains("LOG.md:1: no such heading"), "{error}");
        fs::remove_dir_all(&tree).context("cannot remove the tree")
    }
}
