//! The runbook: a page for each alert and for each cause. It is part of the program, so that the address in
//! an alert can point to the host of the alert.

use std::borrow::Cow;

use crate::diagnose;
use crate::model::Cause;

/// Names and texts of the pages of alerts, in the order of their names.
static PAGES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/runbook.rs"));

/// The list of pages.
pub static INDEX: &str = include_str!("../../../docs/runbook/README.md");

/// Names of the alerts that have a page.
pub fn alerts() -> impl Iterator<Item = &'static str> {
    PAGES.iter().map(|(name, _)| *name).filter(|name| *name != "README")
}

/// The page of an alert, or of a cause given by name or letter; upper and lower case are the same.
pub fn page(name: &str) -> Option<Cow<'static, str>> {
    let name = name.strip_suffix(".md").unwrap_or(name);
    let alert = PAGES.iter().find(|(page, _)| page.eq_ignore_ascii_case(name));
    let cause = |cause: &Cause| {
        cause.name().eq_ignore_ascii_case(name)
            || cause.letter().is_some_and(|letter| name.eq_ignore_ascii_case(letter.encode_utf8(&mut [0; 4])))
    };
    match alert {
        Some((_, text)) => Some(Cow::Borrowed(text)),
        None => Cause::ALL.into_iter().find(cause).map(|cause| Cow::Owned(diagnose::explain(cause))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_and_causes_have_pages() {
        assert!(alerts().count() > 20);
        for alert in alerts() {
            assert!(page(alert).is_some_and(|text| text.starts_with(&format!("# {alert}"))), "{alert}");
            assert!(INDEX.contains(&format!("({alert}.md)")), "{alert} is not in the list");
        }
        for cause in Cause::ALL {
            let text = page(cause.name()).unwrap_or_default();
            assert!(text.contains(cause.name()) && text.contains("What to do"), "{text}");
            if let Some(letter) = cause.letter() {
                assert_eq!(page(&letter.to_string()), Some(text));
            }
        }
        assert!(page("zcrxqueuestarving.md").is_some());
        assert_eq!(page("ZcrxNoSuchAlert"), None);
        assert_eq!(page("../../etc/passwd"), None);
    }
}
