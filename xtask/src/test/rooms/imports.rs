//! Which file of the daemon imports from which, read from the sources. Tests are left out: they may know anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A module's path below the crate, for example `["receive", "worker"]`.
type Module = Vec<String>;

/// Imports of one crate.
pub(super) struct Imports {
    /// Each file, with the files that it imports from. Names are module paths with slashes.
    pub files: BTreeMap<String, BTreeSet<String>>,
    /// Each pair of rooms (top-level modules or crates) of which the first imports the second, with one such file.
    pub rooms: BTreeMap<(String, String), String>,
}

/// Crates of this workspace that count as rooms, by their name in the sources.
const CRATES: [(&str, &str); 2] = [("zcrx_common", "zcrx-common"), ("zcrx_uapi", "uapi")];

impl Imports {
    /// Reads every source file below `source`.
    pub(super) fn read(source: &Path) -> Result<Self> {
        let mut sources = BTreeMap::new();
        collect(source, &mut Module::new(), &mut sources)?;
        let mut imports = Self { files: BTreeMap::new(), rooms: BTreeMap::new() };
        for (module, path) in &sources {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let code = without_visibility(&without_tests_and_comments(&text));
            let file = path.strip_prefix(source).unwrap_or(path).display().to_string();
            for path in paths(&code) {
                imports.add(module, &file, &path, &sources);
            }
        }
        Ok(imports)
    }

    fn add(&mut self, module: &Module, file: &str, path: &[String], sources: &BTreeMap<Module, PathBuf>) {
        let room = &module[0];
        if let Some((_, known)) = CRATES.iter().find(|(name, _)| path[0] == *name) {
            self.rooms.insert((room.clone(), (*known).to_owned()), file.to_owned());
            return;
        }
        let Some(target) = resolve(module, path, sources).filter(|target| target != module) else { return };
        self.files.entry(module.join("/")).or_default().insert(target.join("/"));
        if target[0] != *room {
            self.rooms.insert((room.clone(), target[0].clone()), file.to_owned());
        }
    }
}

/// Finds the source files below a folder, by module. Files of tests are left out.
fn collect(folder: &Path, module: &mut Module, sources: &mut BTreeMap<Module, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if name.ends_with("tests") || name == "fixture" {
            continue;
        }
        if path.is_dir() {
            module.push(name);
            collect(&path, module, sources)?;
            module.pop();
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let mut of_file = module.clone();
            if name != "mod" {
                of_file.push(name);
            }
            // The crate's root declares every room and belongs to none.
            if !matches!(of_file.first().map(String::as_str), Some("lib" | "main")) {
                sources.insert(of_file, path);
            }
        }
    }
    Ok(())
}

/// Leaves out comments and what exists for tests only.
fn without_tests_and_comments(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" {
            // The item's last line is the first that is not indented and does not open a block.
            let ends = |line: &&str| !line.starts_with([' ', '#', '/']) && line.ends_with(['}', ';']);
            lines.by_ref().find(ends);
        } else if !line.trim_start().starts_with("//") {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

/// Leaves the paths out that say for whom an item is visible: they import nothing.
fn without_visibility(code: &str) -> String {
    let mut parts = code.split("pub(in ");
    let mut rest = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        rest.push_str("pub");
        rest.push_str(part.split_once(')').map_or(part, |(_, after)| after));
    }
    rest
}

/// Every path that begins at the crate, at a parent module or at a crate of the workspace; those of `use` written out.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = String::new();
    let mut before = "";
    for part in code.split_inclusive("use ") {
        // Not the word in a string: an import stands alone on its line, but for its visibility.
        let visibility = before.lines().next_back().unwrap_or_default().trim_end_matches("use ").trim();
        let is_import = !before.is_empty() && (visibility.is_empty() || visibility.starts_with("pub"));
        before = part;
        let tree = part.split_once(';').filter(|_| is_import);
        if let Some((tree, _)) = tree {
            expand("", tree, &mut found);
        }
        rest.push_str(tree.map_or(part, |(_, after)| after));
    }
    let is_part = |character: char| character.is_alphanumeric() || character == '_' || character == ':';
    found.extend(rest.split(|character: char| !is_part(character)).map(str::to_owned));
    let starts = |path: &&String| {
        let first = path.split("::").next().unwrap_or_default();
        path.contains("::")
            && (["crate", "super", "self"].contains(&first) || CRATES.iter().any(|(name, _)| *name == first))
    };
    found.iter().filter(starts).map(|path| path.split("::").map(str::to_owned).collect()).collect()
}

/// Writes a tree of imports out: `a::{b, c::{d, e}}` becomes `a::b`, `a::c::d`, `a::c::e`.
fn expand(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        found.push(format!("{prefix}{path}").trim_end_matches("::self").to_owned());
        return;
    };
    let prefix = format!("{prefix}{}", head.trim());
    let mut depth = 0_usize;
    let mut branch = String::new();
    for character in rest.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&prefix, &std::mem::take(&mut branch), found);
                continue;
            }
            _ => {}
        }
        branch.push(character);
    }
    if !branch.trim().is_empty() {
        expand(&prefix, &branch, found);
    }
}

/// The file that a path leads to: the longest part of it that is a module.
fn resolve(module: &Module, path: &[String], sources: &BTreeMap<Module, PathBuf>) -> Option<Module> {
    let mut target = if path[0] == "crate" { Module::new() } else { module.clone() };
    let mut steps = path.iter().peekable();
    while let Some(step) = steps.next_if(|step| ["crate", "super", "self"].contains(&step.as_str())) {
        if step == "super" {
            target.pop();
        }
    }
    for step in steps {
        target.push(step.clone());
        if !sources.contains_key(&target) {
            target.pop();
            break;
        }
    }
    (!target.is_empty()).then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str) -> Module {
        path.split('/').map(str::to_owned).collect()
    }

    #[test]
    fn a_tree_of_imports_is_written_out() {
        let paths = paths("use crate::{model::{Cause, Queue as Q}, net};\nlet x = super::limit();\n");
        let joined: Vec<String> = paths.iter().map(|path| path.join("::")).collect();
        for expected in ["crate::model::Cause", "crate::model::Queue", "crate::net", "super::limit"] {
            assert!(joined.iter().any(|path| path == expected), "{expected}: {joined:?}");
        }
    }

    #[test]
    fn visibility_is_no_import() {
        assert_eq!(without_visibility("pub(in crate::probe) fn one() {}\n"), "pub fn one() {}\n");
    }

    #[test]
    fn paths_lead_to_the_file_that_has_the_item() {
        let sources: BTreeMap<Module, PathBuf> =
            ["net", "net/plan", "receive"].map(|path| (module(path), PathBuf::from(path))).into();
        let to = |from: &str, path: &str| {
            let path: Vec<String> = path.split("::").map(str::to_owned).collect();
            resolve(&module(from), &path, &sources).map(|target| target.join("/"))
        };
        assert_eq!(to("receive", "crate::net::plan::Plan").as_deref(), Some("net/plan"));
        assert_eq!(to("net/plan", "super::Step").as_deref(), Some("net"));
        assert_eq!(to("net", "self::plan::Plan").as_deref(), Some("net/plan"));
    }

    #[test]
    fn imports_of_tests_do_not_count() {
        let code = without_tests_and_comments(
            "use crate::model::A;\n#[cfg(test)]\nuse crate::probe::B;\n// crate::export\n#[cfg(test)]\nmod fixture {\n    \
             use crate::cli;\n}\nuse crate::net;\n",
        );
        assert_eq!(code, "use crate::model::A;\nuse crate::net;\n");
    }
}
