//! Clients' certificates: which are asked for, and which will do.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use serde_saphyr::Location;
use x509_parser::extensions::GeneralName;

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
    notes: &mut Vec<String>,
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
        return Ok(Arc::new(Unverified { accepted: true, mandatory, provider: Arc::clone(provider) }));
    }
    let Some((at, ca)) = ca else {
        notes.push(format!(
            "client_auth_type {word} has no CA, so no client's certificate is accepted; name the CA with client_ca_file"
        ));
        return Ok(Arc::new(Unverified { accepted: false, mandatory, provider: Arc::clone(provider) }));
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
pub(in crate::export::http) struct Names(BTreeSet<String>);

/// `client_allowed_sans`.
pub(super) fn names(place: &Place<'_>, draft: &TlsDraft) -> Result<Option<Names>, SettingsError> {
    let Some(said) = draft.client_allowed_sans.as_deref().filter(|said| !said.is_empty()) else {
        return Ok(None);
    };
    if draft.client_auth_type.as_ref().is_none_or(|word| word.value != "RequireAndVerifyClientCert") {
        return Err(place
            .at(said[0].defined, "client_allowed_sans needs client_auth_type: RequireAndVerifyClientCert"));
    }
    Ok(Some(Names(said.iter().map(|said| said.value.clone()).collect())))
}

impl Names {
    /// Whether one of the certificate's alternative names is one of these, letter for letter: a DNS name, mail address, IP
    /// address or URI. A wildcard matches itself only.
    pub(in crate::export::http) fn allow(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else { return false };
        let Ok(Some(alternatives)) = certificate.subject_alternative_name() else { return false };
        alternatives.value.general_names.iter().any(|name| match name {
            GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
                self.0.contains(*name)
            }
            GeneralName::IPAddress(bytes) => {
                address(bytes).is_some_and(|address| self.0.contains(&address.to_string()))
            }
            _ => false,
        })
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    v4().or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}

/// Accepts any certificate whose key the client has, or none at all. Compares it with no CA.
#[derive(Debug)]
struct Unverified {
    accepted: bool,
    mandatory: bool,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Unverified {
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
        if self.accepted {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
        }
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
