//! What a client wants to have, by its `Accept` and `Accept-Encoding` headers.

/// One element of such a header: a name, its parameters, and how much it is wanted.
struct AcceptElement<'a> {
    name: &'a str,
    version: Option<&'a str>,
    weight: f32,
}

fn elements(header: &str) -> impl Iterator<Item = AcceptElement<'_>> {
    header.split(',').filter_map(|text| {
        let mut parts = text.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let mut element = AcceptElement { name, version: None, weight: 1.0 };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key.trim() {
                "q" => element.weight = value.trim().parse().unwrap_or(0.0),
                "version" => element.version = Some(value.trim().trim_matches('"')),
                _ => {}
            }
        }
        Some(element)
    })
}

/// Whether gzip is welcome.
pub(super) fn gzip(accept_encoding: &str) -> bool {
    let weight = |name: &str| {
        elements(accept_encoding)
            .find(|element| element.name.eq_ignore_ascii_case(name))
            .map(|element| element.weight)
    };
    weight("gzip").or_else(|| weight("*")).is_some_and(|weight| weight > 0.0)
}

/// The version of OpenMetrics that a client wants rather than Prometheus text; `None` for the text.
pub(super) fn openmetrics(accept: &str) -> Option<&'static str> {
    const VERSIONS: [&str; 2] = ["1.0.0", "0.0.1"];
    let text = elements(accept)
        .filter(|element| matches!(element.name, "text/plain" | "text/*" | "*/*"))
        .map(|element| element.weight)
        .fold(0.0, f32::max);
    elements(accept)
        .filter(|element| element.name.eq_ignore_ascii_case("application/openmetrics-text"))
        .filter(|element| element.weight > 0.0 && element.weight >= text)
        .filter_map(|element| match element.version {
            None => Some((element.weight, VERSIONS[0])),
            Some(asked) => Some((element.weight, VERSIONS.into_iter().find(|version| *version == asked)?)),
        })
        // The first of those that are wanted alike.
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, version)| version)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Prometheus 3 sends.
    const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
         application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
         text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

    #[test]
    fn openmetrics_is_for_who_wants_it_most() {
        for (accept, expected) in [
            (PROMETHEUS, Some("1.0.0")),
            ("application/openmetrics-text; version=0.0.1", Some("0.0.1")),
            ("application/openmetrics-text", Some("1.0.0")),
            ("application/openmetrics-text;version=9", None),
            ("text/plain, application/openmetrics-text;q=0.5", None),
            ("application/openmetrics-text;q=0", None),
            ("*/*", None),
            ("text/html,application/xhtml+xml,*/*;q=0.8", None),
            ("", None),
        ] {
            assert_eq!(openmetrics(accept), expected, "{accept}");
        }
    }

    #[test]
    fn gzip_is_for_who_takes_it() {
        for yes in ["gzip", "deflate, gzip;q=0.5", "*", "GZIP"] {
            assert!(gzip(yes), "{yes}");
        }
        for no in ["", "identity", "gzip;q=0", "gzip;q=0, *", "br, deflate"] {
            assert!(!gzip(no), "{no}");
        }
    }
}
