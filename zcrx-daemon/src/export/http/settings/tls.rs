//! `tls_server_config`: from what is said to what rustls does.

use std::fs;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{NamedGroup, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, version};
use serde_saphyr::Spanned;

use super::super::fingerprint::Fingerprint;
use super::file::TlsDraft;
use super::{Place, SettingsError, Tls, client};
use crate::observe::Validity;

/// What Go calls versions, oldest first; `None` is older than anything rustls speaks.
const VERSIONS: [(&str, Option<&SupportedProtocolVersion>); 4] =
    [("TLS10", None), ("TLS11", None), ("TLS12", Some(&version::TLS12)), ("TLS13", Some(&version::TLS13))];

/// Suites of Go that rustls leaves out for their weakness.
const WEAK_SUITES: [&str; 12] = [
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
];

/// Makes the server's side of TLS; `None` if the section says nothing.
pub(super) fn build(
    place: &Place<'_>,
    draft: &TlsDraft,
    http2: bool,
    files: &mut Vec<Fingerprint>,
    notes: &mut Vec<String>,
) -> Result<Option<Tls>, SettingsError> {
    let mut pem = |key, file: Option<&Spanned<String>>, inline: Option<&Spanned<String>>| match (file, inline)
    {
        (Some(file), Some(_)) => {
            Err(place.at(file.defined, &format!("both {key} and {key}_file are given; leave one out")))
        }
        (Some(file), None) if !file.value.is_empty() => {
            let path = place.resolve(&file.value);
            files.push(Fingerprint::of(path.clone()));
            let wrong = |error| place.at(file.defined, &format!("cannot read {}: {error}", path.display()));
            fs::read(&path).map(|pem| Some((file.defined, pem))).map_err(wrong)
        }
        (None, Some(inline)) if !inline.value.is_empty() => {
            Ok(Some((inline.defined, inline.value.clone().into_bytes())))
        }
        _ => Ok(None),
    };
    let cert = pem("cert", draft.cert_file.as_ref(), draft.cert.as_ref())?;
    let key = pem("key", draft.key_file.as_ref(), draft.key.as_ref())?;
    let ca = pem("client_ca", draft.client_ca_file.as_ref(), draft.client_ca.as_ref())?;
    let (certs, key, at) = match (cert, key) {
        (None, None) if ca.is_none() && draft.client_auth_type.is_none() => return Ok(None),
        (None, _) => {
            return Err(place.whole("tls_server_config has no certificate; give it with cert_file or cert"));
        }
        (_, None) => return Err(place.whole("tls_server_config has no key; give it with key_file or key")),
        (Some((at, cert)), Some((key_at, key))) => {
            let certs = client::certificates(&cert).map_err(|what| place.at(at, &what))?;
            let key = PrivateKeyDer::from_pem_slice(&key)
                .map_err(|error| place.at(key_at, &format!("this is no private key in PEM: {error}")))?;
            (certs, key, at)
        }
    };
    let provider = Arc::new(provider(place, draft, notes)?);
    if http2 {
        suites_for_http2(place, draft)?;
    }
    let versions = versions(place, draft)?;
    let server_certificate = validity(&certs);
    let authorities = ca.as_ref().and_then(|(_, pem)| client::certificates(pem).ok());
    let client_ca = authorities.as_deref().and_then(validity);
    let verifier = client::verifier(place, draft, ca, &provider, notes)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| place.whole(&format!("versions and cipher suites do not go together: {error}")))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certs, key)
        .map_err(|error| place.at(at, &format!("certificate and key cannot be used: {error}")))?;
    config.ignore_client_order = draft.prefer_server_cipher_suites.unwrap_or(true);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let names = client::names(place, draft)?;
    Ok(Some(Tls { config: Arc::new(config), names, server_certificate, client_ca }))
}

/// The validity of the certificate that expires first.
fn validity(certificates: &[CertificateDer<'_>]) -> Option<Validity> {
    certificates
        .iter()
        .filter_map(|certificate| x509_parser::parse_x509_certificate(certificate).ok())
        .map(|(_, certificate)| certificate.validity().clone())
        .map(|validity| Validity {
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
        .min_by_key(|validity| validity.not_after)
}

fn versions(
    place: &Place<'_>,
    draft: &TlsDraft,
) -> Result<Vec<&'static SupportedProtocolVersion>, SettingsError> {
    let index = |said: Option<&Spanned<String>>, default| {
        let Some(said) = said.filter(|said| !said.value.is_empty()) else { return Ok(default) };
        VERSIONS.iter().position(|(name, _)| *name == said.value).ok_or_else(|| {
            place
                .at(said.defined, &format!("TLS version {:?} is not known; write TLS12 or TLS13", said.value))
        })
    };
    let (least, most) = (index(draft.min_version.as_ref(), 2)?, index(draft.max_version.as_ref(), 3)?);
    let chosen: Vec<_> = VERSIONS
        .iter()
        .enumerate()
        .filter(|(index, _)| (least..=most).contains(index))
        .filter_map(|(_, (_, version))| *version)
        .collect();
    if chosen.is_empty() {
        let said = draft.max_version.as_ref().or(draft.min_version.as_ref());
        let what = "no TLS version is left: TLS12 and TLS13 are spoken here";
        return Err(said.map_or_else(|| place.whole(what), |said| place.at(said.defined, what)));
    }
    Ok(chosen)
}

/// The suites and groups that were asked for, all of them if none was.
fn provider(
    place: &Place<'_>,
    draft: &TlsDraft,
    notes: &mut Vec<String>,
) -> Result<CryptoProvider, SettingsError> {
    let mut provider = ring::default_provider();
    if let Some(asked) = draft.cipher_suites.as_deref().filter(|asked| !asked.is_empty()) {
        let known = |name: &str| provider.cipher_suites.iter().copied().find(|suite| suite_is(suite, name));
        let mut chosen = choose(place, "cipher suite", asked, known, &WEAK_SUITES, notes)?;
        // As in Go, the file chooses among the suites of TLS 1.2 alone.
        chosen.retain(|suite| suite.tls13().is_none());
        chosen.extend(provider.cipher_suites.iter().filter(|suite| suite.tls13().is_some()));
        provider.cipher_suites = chosen;
    }
    if let Some(asked) = draft.curve_preferences.as_deref().filter(|asked| !asked.is_empty()) {
        let known = |name: &str| provider.kx_groups.iter().copied().find(|group| group_is(*group, name));
        let strange = ["CurveP521", "X25519MLKEM768"];
        provider.kx_groups = choose(place, "curve", asked, known, &strange, notes)?;
        if let (true, Some(first)) = (provider.kx_groups.is_empty(), asked.first()) {
            return Err(place.at(
                first.defined,
                "none of these is a curve that is offered here; add X25519, CurveP256 or CurveP384",
            ));
        }
    }
    Ok(provider)
}

/// Those of the names that are spoken here. Go's other names are left out with a note: a file that serves other
/// exporters too need not be changed. What Go does not know either is a mistake.
fn choose<T>(
    place: &Place<'_>,
    kind: &str,
    asked: &[Spanned<String>],
    known: impl Fn(&str) -> Option<T>,
    strange: &[&str],
    notes: &mut Vec<String>,
) -> Result<Vec<T>, SettingsError> {
    let mut chosen = Vec::new();
    for said in asked {
        match known(&said.value) {
            Some(found) => chosen.push(found),
            None if strange.contains(&said.value.as_str()) => {
                notes.push(format!("{kind} {} is not offered here", said.value));
            }
            None => return Err(place.at(said.defined, &format!("{kind} {:?} is not known", said.value))),
        }
    }
    Ok(chosen)
}

/// Refuses a list of cipher suites with which HTTP/2 may not be spoken over TLS 1.2, as exporter-toolkit does. The endpoint
/// itself speaks HTTP/1.1: what serves every exporter serves this one too, and the other way round.
fn suites_for_http2(place: &Place<'_>, draft: &TlsDraft) -> Result<(), SettingsError> {
    const NEEDED: [&str; 2] =
        ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"];
    let asked = draft.cipher_suites.as_deref().unwrap_or_default();
    let only_13 = draft.min_version.as_ref().is_some_and(|version| version.value == "TLS13");
    match asked.first() {
        Some(first) if !only_13 && !asked.iter().any(|suite| NEEDED.contains(&suite.value.as_str())) => {
            Err(place.at(
                first.defined,
                &format!(
                    "HTTP/2 needs {} among the cipher suites; add one, or write http2: false",
                    NEEDED.join(" or ")
                ),
            ))
        }
        _ => Ok(()),
    }
}

/// Whether a suite is what Go calls so: rustls has another prefix for those of TLS 1.3, and Go a longer name for some.
fn suite_is(suite: &SupportedCipherSuite, name: &str) -> bool {
    let own = format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
    // Go knows the suites with ChaCha20 by a shorter name as well.
    own == name
        || own.strip_suffix("_SHA256").is_some_and(|short| short == name && name.ends_with("POLY1305"))
}

fn group_is(group: &dyn SupportedKxGroup, name: &str) -> bool {
    match name {
        "CurveP256" => group.name() == NamedGroup::secp256r1,
        "CurveP384" => group.name() == NamedGroup::secp384r1,
        "X25519" => group.name() == NamedGroup::X25519,
        _ => false,
    }
}
