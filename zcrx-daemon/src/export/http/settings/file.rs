//! The language of the file: exporter-toolkit's.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{Place, SettingsError};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Draft {
    pub(super) tls_server_config: Option<TlsDraft>,
    pub(super) http_server_config: Option<HttpDraft>,
    pub(super) basic_auth_users: Option<BTreeMap<String, Spanned<String>>>,
    pub(super) rate_limit: Option<RateDraft>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RateDraft {
    /// A duration of Go (`1s`, `1m30s`); a bare number counts nanoseconds.
    pub(super) interval: Option<Spanned<String>>,
    pub(super) burst: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsDraft {
    pub(super) cert_file: Option<Spanned<String>>,
    pub(super) key_file: Option<Spanned<String>>,
    pub(super) client_ca_file: Option<Spanned<String>>,
    pub(super) cert: Option<Spanned<String>>,
    pub(super) key: Option<Spanned<String>>,
    pub(super) client_ca: Option<Spanned<String>>,
    pub(super) client_auth_type: Option<Spanned<String>>,
    pub(super) client_allowed_sans: Option<Vec<Spanned<String>>>,
    pub(super) min_version: Option<Spanned<String>>,
    pub(super) max_version: Option<Spanned<String>>,
    pub(super) cipher_suites: Option<Vec<Spanned<String>>>,
    pub(super) prefer_server_cipher_suites: Option<bool>,
    pub(super) curve_preferences: Option<Vec<Spanned<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpDraft {
    /// Without effect on what is spoken, which is HTTP/1.1; it decides which cipher suites the file must name.
    pub(super) http2: Option<bool>,
    pub(super) headers: Option<BTreeMap<String, Spanned<String>>>,
}

/// Reads the file's text; an empty one says nothing, which is allowed.
pub(super) fn parse(place: &Place<'_>, text: &str) -> Result<Draft, SettingsError> {
    let draft: Option<Draft> = serde_saphyr::from_str(text).map_err(|error| {
        let what = plain(&error.without_snippet().to_string());
        error.location().map_or_else(|| place.whole(&what), |location| place.at(location, &what))
    })?;
    Ok(draft.unwrap_or_default())
}

/// The first line, without the place, which is said elsewhere.
fn plain(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    line.split(" at line ").next().unwrap_or(line).to_owned()
}
