mod toolkit;

use std::error::Error;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};

use super::*;

type Outcome = Result<(), Box<dyn Error>>;

/// A folder with a certificate, its key and a CA, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self, Box<dyn Error>> {
        let folder = Self(std::env::temp_dir().join(format!("zcrxd-settings-{name}-{}", std::process::id())));
        fs::create_dir(&folder.0)?;
        let key = KeyPair::generate()?;
        let cert = CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        fs::write(folder.0.join("server.crt"), cert.pem())?;
        fs::write(folder.0.join("server.key"), key.serialize_pem())?;
        fs::write(folder.0.join("other.key"), KeyPair::generate()?.serialize_pem())?;
        fs::write(folder.0.join("ca.crt"), ca.pem())?;
        Ok(folder)
    }

    /// What loading this text gives: the settings, or the error without the folder's path.
    fn load(&self, text: &str) -> Result<Settings, String> {
        let path = self.0.join("web.yml");
        fs::write(&path, text).map_err(|error| error.to_string())?;
        let folder = format!("{}/", self.0.display());
        Settings::load(&path).0.map_err(|error| error.to_string().replace(&folder, ""))
    }

    fn refusal(&self, text: &str) -> String {
        self.load(text).map_or_else(|what| what, |_| "none".to_owned())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

const TLS: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";
/// Cost 4, so that a test does not take long; of the word `fellow`.
const HASH: &str = "$2y$04$JjEKCXRNMTlYqqA9uaDQ3uSSxeQRpPHfvJ1jvtNOb5W3Hpwl3hTOi";

#[test]
fn nothing_said_is_plain_http_for_everybody() -> Outcome {
    let folder = Folder::new("nothing")?;
    for text in
        ["", "# a comment\n", "tls_server_config: {}\n", "tls_server_config:\n", "basic_auth_users: {}\n"]
    {
        let settings = folder.load(text)?;
        assert!(settings.tls.is_none() && settings.users.is_none() && settings.headers.is_empty(), "{text}");
    }
    Ok(())
}

#[test]
fn what_the_toolkit_takes_is_taken() -> Outcome {
    let folder = Folder::new("good")?;
    for (text, encrypted, users) in [
        (TLS.to_owned(), true, false),
        (format!("{TLS}basic_auth_users:\n  alice: {HASH}\n  bob: {HASH}\n"), true, true),
        (format!("basic_auth_users:\n  alice: {HASH}\n"), false, true),
        (format!("{TLS}  min_version: TLS12\n  max_version: TLS13\n"), true, false),
        (format!("{TLS}  min_version: TLS10\n"), true, false),
        (format!("{TLS}  min_version: TLS13\n"), true, false),
        (format!("{TLS}  client_auth_type: NoClientCert\n"), true, false),
        (format!("{TLS}  client_auth_type: RequestClientCert\n"), true, false),
        (format!("{TLS}  client_auth_type: RequireAnyClientCert\n"), true, false),
        (
            format!("{TLS}  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.crt\n"),
            true,
            false,
        ),
        (
            format!(
                "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  \
                 client_allowed_sans: [scraper.example, 192.0.2.7]\n"
            ),
            true,
            false,
        ),
        (
            format!(
                "{TLS}  prefer_server_cipher_suites: false\n  curve_preferences: [CurveP256, CurveP521, X25519]\n"
            ),
            true,
            false,
        ),
        (
            format!(
                "{TLS}  cipher_suites:\n  - TLS_RSA_WITH_AES_128_CBC_SHA\n  - TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\n  \
                 - TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305\n  - TLS_AES_128_GCM_SHA256\n"
            ),
            true,
            false,
        ),
        (format!("{TLS}  client_auth_type: VerifyClientCertIfGiven\n"), true, false),
        (format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n"), true, false),
        (
            format!(
                "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  \
                 client_allowed_sans: [\"spiffe://cluster/scraper\", scraper@example.org, \"*.example.org\"]\n"
            ),
            true,
            false,
        ),
        (
            format!(
                "{TLS}  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]\n  max_version: TLS12\n\
                 http_server_config:\n  http2: false\n"
            ),
            true,
            false,
        ),
        // Only TLS 1.3 is left.
        (
            format!(
                "{TLS}  cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]\nhttp_server_config:\n  http2: false\n"
            ),
            true,
            false,
        ),
        ("rate_limit:\n  interval: 0\n  burst: 0\n".to_owned(), false, false),
        ("rate_limit:\n  interval: \"1s\"\n  burst: 0\n".to_owned(), false, false),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: sameorigin\n    X-Content-Type-Options: nosniff\n"
                .to_owned(),
            false,
            false,
        ),
        (
            "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n".to_owned(),
            false,
            false,
        ),
    ] {
        let settings = folder.load(&text).map_err(|what| format!("{text}\n{what}"))?;
        assert_eq!((settings.tls.is_some(), settings.users.is_some()), (encrypted, users), "{text}");
    }
    Ok(())
}

#[test]
fn certificates_may_stand_in_the_file_itself() -> Outcome {
    let folder = Folder::new("inline")?;
    let indented = |name: &str| -> Result<String, std::io::Error> {
        let lines = fs::read_to_string(folder.0.join(name))?;
        Ok(lines.lines().flat_map(|line| ["    ", line, "\n"]).collect())
    };
    let (cert, key) = (indented("server.crt")?, indented("server.key")?);
    let settings = folder.load(&format!("tls_server_config:\n  cert: |\n{cert}  key: |\n{key}"))?;
    assert!(settings.tls.is_some());
    Ok(())
}

#[test]
fn what_has_no_effect_is_said() -> Outcome {
    let folder = Folder::new("notes")?;
    let notes = folder.load(&format!("basic_auth_users:\n  alice: {HASH}\n"))?.notes;
    assert_eq!(notes, ["passwords travel unencrypted: there is no tls_server_config"]);
    let notes = folder.load(&format!("{TLS}  client_auth_type: VerifyClientCertIfGiven\n"))?.notes;
    assert!(notes[0].contains("no client's certificate is accepted"), "{notes:?}");
    let notes = folder.load(&format!("{TLS}  curve_preferences: [CurveP521, CurveP384]\n"))?.notes;
    assert_eq!(notes, ["curve CurveP521 is not offered here"]);
    Ok(())
}

/// Each kind of bad file, with what is said of it.
#[test]
fn what_is_wrong_is_said_in_its_place() -> Outcome {
    let folder = Folder::new("bad")?;
    for (text, said) in [
        ("tls_server_confg: {}\n".to_owned(), "web.yml:1:1: unknown field"),
        (format!("{TLS}  cert_fil: x\n"), "web.yml:4:3: unknown field"),
        ("tls_server_config: yes please\n".to_owned(), "web.yml:1:"),
        ("junk\n".to_owned(), "web.yml:1:1: "),
        ("a: b: c\n".to_owned(), "web.yml:1:"),
        (
            "tls_server_config:\n  key_file: server.key\n".to_owned(),
            "web.yml: tls_server_config has no certificate; give it with cert_file or cert",
        ),
        (
            "tls_server_config:\n  cert_file: server.crt\n".to_owned(),
            "web.yml: tls_server_config has no key; give it with key_file or key",
        ),
        (
            "tls_server_config:\n  client_auth_type: RequireAnyClientCert\n".to_owned(),
            "web.yml: tls_server_config has no certificate",
        ),
        (
            "tls_server_config:\n  cert_file: missing.crt\n  key_file: server.key\n".to_owned(),
            "web.yml:2:14: cannot read missing.crt: No such file or directory",
        ),
        (
            "tls_server_config:\n  cert_file: web.yml\n  key_file: server.key\n".to_owned(),
            "web.yml:2:14: there is no certificate in PEM here",
        ),
        (
            "tls_server_config:\n  cert_file: server.crt\n  key_file: server.crt\n".to_owned(),
            "web.yml:3:13: this is no private key in PEM",
        ),
        (
            "tls_server_config:\n  cert_file: server.crt\n  key_file: other.key\n".to_owned(),
            "web.yml:2:14: certificate and key cannot be used",
        ),
        (format!("{TLS}  cert: x\n"), "web.yml:2:14: both cert and cert_file are given; leave one out"),
        (
            format!("{TLS}  client_auth_type: Maybe\n"),
            "web.yml:4:21: client_auth_type \"Maybe\" is not known; write NoClientCert",
        ),
        (
            format!("{TLS}  client_ca_file: ca.crt\n"),
            "web.yml:4:19: a client CA without client_auth_type checks no client",
        ),
        (
            format!("{TLS}  client_allowed_sans: [scraper]\n"),
            "web.yml:4:25: client_allowed_sans needs client_auth_type: RequireAndVerifyClientCert",
        ),
        (
            format!(
                "{TLS}  client_auth_type: VerifyClientCertIfGiven\n  cipher_suites: \
                 [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]\n  max_version: TLS12\n"
            ),
            "web.yml:5:19: HTTP/2 needs TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 or",
        ),
        (format!("{TLS}  curve_preferences: [CurveP521]\n"), "web.yml:4:23: none of these is a curve"),
        (
            "rate_limit:\n  interval: soon\n".to_owned(),
            "web.yml:2:13: \"soon\" is no duration; write it as in 500ms",
        ),
        ("rate_limit:\n  every: 1s\n".to_owned(), "web.yml:2:3: unknown field"),
        (
            "http_server_config:\n  headers:\n    X-Content-Type-Options: sniff\n".to_owned(),
            "web.yml:3:29: X-Content-Type-Options cannot be \"sniff\"; write nosniff",
        ),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: allow\n".to_owned(),
            "web.yml:3:22: X-Frame-Options cannot be \"allow\"; write deny or sameorigin",
        ),
        (
            format!("{TLS}  min_version: TLS14\n"),
            "web.yml:4:16: TLS version \"TLS14\" is not known; write TLS12 or TLS13",
        ),
        (format!("{TLS}  max_version: TLS11\n"), "web.yml:4:16: no TLS version is left"),
        (
            format!("{TLS}  cipher_suites: [TLS_MADE_UP]\n"),
            "web.yml:4:19: cipher suite \"TLS_MADE_UP\" is not known",
        ),
        (format!("{TLS}  curve_preferences: [Curve1]\n"), "web.yml:4:23: curve \"Curve1\" is not known"),
        (
            "basic_auth_users:\n  alice: secret\n".to_owned(),
            "web.yml:2:10: the password of \"alice\" is no bcrypt hash; `htpasswd -nBC 10 alice` makes one",
        ),
        ("basic_auth_users:\n- alice\n".to_owned(), "web.yml:"),
        (
            "http_server_config:\n  headers:\n    Server: mine\n".to_owned(),
            "web.yml:3:13: header \"Server\" cannot be set here; these can: Content-Security-Policy",
        ),
        (
            "http_server_config:\n  headers:\n    X-XSS-Protection: \"a\\u0007b\"\n".to_owned(),
            "web.yml:3:23: the value of header X-XSS-Protection has bytes that no header may have",
        ),
    ] {
        let refusal = folder.refusal(&text);
        assert!(refusal.starts_with(said), "{text}\nexpected {said}\n   found {refusal}");
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
    }
    let missing = Settings::load(Path::new("/no/such/web.yml")).0.err().map(|error| error.to_string());
    assert_eq!(
        missing.as_deref(),
        Some("/no/such/web.yml: cannot read the web configuration: No such file or directory (os error 2)")
    );
    Ok(())
}

#[test]
fn alternative_names_are_compared_letter_for_letter() -> Outcome {
    let mut params = CertificateParams::new(vec!["scraper.example".to_owned(), "*.wild.example".to_owned()])?;
    params.subject_alt_names.extend([
        SanType::URI("spiffe://cluster/scraper".try_into()?),
        SanType::Rfc822Name("scraper@example.org".try_into()?),
        SanType::IpAddress([192, 0, 2, 7].into()),
        SanType::IpAddress("2001:db8::7".parse()?),
    ]);
    let certificate = params.self_signed(&KeyPair::generate()?)?;
    let folder = Folder::new("names")?;
    for (name, allowed) in [
        ("scraper.example", true),
        ("*.wild.example", true),
        ("a.wild.example", false),
        ("spiffe://cluster/scraper", true),
        ("spiffe://cluster/other", false),
        ("scraper@example.org", true),
        ("192.0.2.7", true),
        ("192.0.2.8", false),
        ("2001:db8::7", true),
    ] {
        let settings = folder.load(&format!(
            "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  client_allowed_sans: [\"{name}\"]\n"
        ))?;
        let names = settings.tls.and_then(|tls| tls.names).ok_or("no names")?;
        assert_eq!(names.allow(certificate.der()), allowed, "{name}");
    }
    Ok(())
}
