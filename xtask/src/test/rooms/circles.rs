//! Circles of imports.

use std::collections::{BTreeMap, BTreeSet};

/// Returns each largest set of files that know each other, directly or through others.
pub(super) fn find(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        imports.keys().map(|file| (file.as_str(), reachable(imports, file))).collect();
    let mut circles: BTreeSet<Vec<String>> = BTreeSet::new();
    for (file, from_file) in &reach {
        let back = from_file.iter().filter(|other| reach.get(*other).is_some_and(|of| of.contains(file)));
        let circle: Vec<String> = back.map(|other| (*other).to_owned()).collect();
        if !circle.is_empty() {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

/// Every file that is imported by `file`, directly or through others.
fn reachable<'a>(imports: &'a BTreeMap<String, BTreeSet<String>>, file: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = imports.get(file).into_iter().flatten().map(String::as_str).collect();
    while let Some(next) = open.pop() {
        if seen.insert(next) {
            open.extend(imports.get(next).into_iter().flatten().map(String::as_str));
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(pairs: &[(&str, &str)]) -> BTreeMap<String, BTreeSet<String>> {
        let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in pairs {
            imports.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        imports
    }

    #[test]
    fn a_circle_through_a_third_file_is_found_once() {
        let circles = find(&imports(&[("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")]));
        assert_eq!(circles, [["a", "b", "c"]]);
    }

    #[test]
    fn imports_in_one_direction_are_no_circle() {
        assert!(find(&imports(&[("a", "b"), ("a", "c"), ("b", "c")])).is_empty());
    }
}
