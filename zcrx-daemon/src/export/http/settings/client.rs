//! Clients' certificates: which are asked for, and which will do.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use serde_saphyr::Location;

use super::file::TlsDraft;
use super::{Place, SettingsError};

/// What Go calls the ways to treat clients' certificates.
const TYPES: &str = "NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven or \
     RequireAndVerifyClientCert";

/// Chooses who checks clients' certificates.
pub(super) fn verifier(
    place: &Place<'_>,
    draft: &TlsDraft,
    ca: Option<(Location, Vec<u8>)>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, SettingsError> {
    let said = draft.client_auth_type.as_ref();
    let word = said.map_or("", |said| said.value.as_str());
    let (mandatory, verified) = match word {
        // The older names are exporter-toolkit's own.
        "" | "NoClientCert" => {
            return match ca {
                None => Ok(WebPkiClientVerifier::no_client_auth()),
                Some((at, _)) => Err(place.at(
                    at,
                    "a client CA without client_auth_type checks no client; write client_auth_type: \
                     RequireAndVerifyClientCert",
                )),
            };
        }
        "RequestClientCert" => (false, false),
        "RequireAnyClientCert" | "RequireClientCert" => (true, false),
        "VerifyClientCertIfGiven" => (false, true),
        "RequireAndVerifyClientCert" => (true, true),
        _ => {
            let what = format!("client_auth_type {word:?} is not known; write {TYPES}");
            return Err(said.map_or_else(|| place.whole(&what), |said| place.at(said.defined, &what)));
        }
    };
    if !verified {
        return Ok(Arc::new(Anybody { mandatory, provider: Arc::clone(provider) }));
    }
    let Some((at, ca)) = ca else {
        return Err(place.whole(&format!("client_auth_type {word} needs a CA; name it with client_ca_file")));
    };
    let mut roots = RootCertStore::empty();
    for cert in certificates(&ca).map_err(|what| place.at(at, &what))? {
        roots.add(cert).map_err(|error| place.at(at, &format!("this is no CA: {error}")))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if !mandatory {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| place.at(at, &format!("this CA cannot be used: {error}")))
}

/// Names of which a client's certificate must have one.
#[derive(Clone, Debug)]
pub(in crate::export::http) struct Names(Vec<ServerName<'static>>);

/// `client_allowed_sans`.
pub(super) fn names(place: &Place<'_>, draft: &TlsDraft) -> Result<Option<Names>, SettingsError> {
    let Some(said) = draft.client_allowed_sans.as_deref().filter(|said| !said.is_empty()) else {
        return Ok(None);
    };
    if draft.client_auth_type.as_ref().is_none_or(|word| word.value != "RequireAndVerifyClientCert") {
        return Err(place
            .at(said[0].defined, "client_allowed_sans needs client_auth_type: RequireAndVerifyClientCert"));
    }
    let name = |said: &serde_saphyr::Spanned<String>| {
        ServerName::try_from(said.value.clone()).map_err(|_| {
            let what =
                format!("{:?} is neither a DNS name nor an IP address, and no other is compared", said.value);
            place.at(said.defined, &what)
        })
    };
    said.iter().map(name).collect::<Result<_, _>>().map(|names| Some(Names(names)))
}

impl Names {
    /// Whether the certificate is valid for one of the names.
    pub(in crate::export::http) fn allow(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok(parsed) = ParsedCertificate::try_from(certificate) else { return false };
        self.0.iter().any(|name| rustls::client::verify_server_name(&parsed, name).is_ok())
    }
}

/// Takes any certificate whose key the client has.
#[derive(Debug)]
struct Anybody {
    mandatory: bool,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Anybody {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// All certificates in a PEM text, at least one.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certs: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("this is no certificate in PEM: {error}"))?;
    if certs.is_empty() { Err("there is no certificate in PEM here".to_owned()) } else { Ok(certs) }
}
