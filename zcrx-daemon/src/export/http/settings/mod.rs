//! Who may ask, and how: the web configuration, in the language of Prometheus' exporter-toolkit.
//!
//! `docs/web.md` says what is taken from that language and what is not.

mod client;
mod file;
mod rate;
mod tls;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue};
use rustls::ServerConfig;
use serde_saphyr::{Location, Spanned};

use super::auth::Users;
use super::fingerprint::Fingerprint;
use crate::observe::Validity;

pub(super) use client::Names;
pub(super) use rate::Rate;

/// Headers that the file may set, each with the values that it may have; without any, all are allowed. As exporter-toolkit has
/// it.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

/// A web configuration, ready for use.
#[derive(Clone, Default)]
pub struct Settings {
    /// `None` for plain HTTP.
    pub(super) tls: Option<Tls>,
    /// `None` accepts every client.
    pub(super) users: Option<Users>,
    /// Further headers of every answer.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// How many requests are answered; `None` for all.
    pub(super) rate: Option<Arc<Rate>>,
    /// Settings of the file that have no effect here, as text.
    pub notes: Vec<String>,
}

/// How connections are encrypted, and whose are taken.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) config: Arc<ServerConfig>,
    /// Names of which the client's certificate must have one; `None` for any.
    pub(super) names: Option<Names>,
    /// When the server's certificate and those that it is presented with are valid.
    pub(super) server_certificate: Option<Validity>,
    /// When the clients' CAs are valid; `None` without any.
    pub(super) client_ca: Option<Validity>,
}

/// An error in a web configuration, and its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct SettingsError {
    /// The file, with line and column where there are any.
    pub place: String,
    /// The error, and the remedy where it is not obvious.
    pub what: String,
}

impl Settings {
    /// Reads a file and all it names.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong. The list of files is given even then: a change of any is a reason to try again.
    pub(super) fn load(path: &Path) -> (Result<Self, SettingsError>, Vec<Fingerprint>) {
        let mut files = vec![Fingerprint::of(path.to_owned())];
        (Self::read(path, &mut files), files)
    }

    fn read(path: &Path, files: &mut Vec<Fingerprint>) -> Result<Self, SettingsError> {
        let place = Place { path };
        let text = fs::read_to_string(path)
            .map_err(|error| place.whole(&format!("cannot read the web configuration: {error}")))?;
        let draft = file::parse(&place, &text)?;
        let mut notes = Vec::new();
        let http = draft.http_server_config.unwrap_or_default();
        let tls = match draft.tls_server_config {
            Some(draft) => tls::build(&place, &draft, http.http2.unwrap_or(true), files, &mut notes)?,
            None => None,
        };
        let rate = draft.rate_limit.map(|draft| rate::build(&place, &draft)).transpose()?.flatten();
        let mut headers = Vec::new();
        for (name, value) in http.headers.unwrap_or_default() {
            headers.push(header(&place, &name, &value)?);
        }
        let users = match draft.basic_auth_users {
            Some(users) if !users.is_empty() => Some(
                Users::new(users.into_iter().map(|(name, hash)| {
                    let at = hash.defined;
                    (name, hash.value, at)
                }))
                .map_err(|(at, what)| place.at(at, &what))?,
            ),
            _ => None,
        };
        if users.is_some() && tls.is_none() {
            notes.push("passwords travel unencrypted: there is no tls_server_config".to_owned());
        }
        Ok(Self { tls, users, headers, rate: rate.map(Arc::new), notes })
    }
}

fn header(
    place: &Place<'_>,
    name: &str,
    value: &Spanned<String>,
) -> Result<(HeaderName, HeaderValue), SettingsError> {
    let wrong = |what: &str| place.at(value.defined, what);
    let (known, values) =
        HEADERS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).ok_or_else(|| {
            let known = HEADERS.map(|(known, _)| known).join(", ");
            wrong(&format!("header {name:?} cannot be set here; these can: {known}"))
        })?;
    if !values.is_empty() && !values.contains(&value.value.as_str()) {
        return Err(wrong(&format!("{known} cannot be {:?}; write {}", value.value, values.join(" or "))));
    }
    let header = HeaderName::from_bytes(known.as_bytes()).map_err(|error| wrong(&error.to_string()))?;
    let value = HeaderValue::from_str(&value.value)
        .map_err(|_| wrong(&format!("the value of header {name} has bytes that no header may have")))?;
    Ok((header, value))
}

/// Makes errors that say where.
struct Place<'a> {
    path: &'a Path,
}

impl Place<'_> {
    fn at(&self, location: Location, what: &str) -> SettingsError {
        let (line, column) = (location.line(), location.column());
        let place = if line == 0 { self.to_string() } else { format!("{self}:{line}:{column}") };
        SettingsError { place, what: what.to_owned() }
    }

    fn whole(&self, what: &str) -> SettingsError {
        SettingsError { place: self.to_string(), what: what.to_owned() }
    }

    /// Paths in the file are meant from where the file is.
    fn resolve(&self, path: &str) -> PathBuf {
        self.path.parent().map_or_else(|| PathBuf::from(path), |folder| folder.join(path))
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

#[cfg(test)]
mod tests;
