//! Every web configuration that exporter-toolkit's own tests read (`web/testdata`), by its name: what the toolkit takes is taken,
//! what it refuses is refused. The texts here are equivalents, with the certificates of these tests. `docs/web.md` names the
//! files that are decided otherwise.

use super::*;

/// What exporter-toolkit decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Good,
    Bad,
}

use Decision::{Bad, Good};

/// Files that zcrxd refuses though the toolkit takes them, with a word of the reason.
const REFUSED: [(&str, &str); 1] = [("web_config_noAuth_someCurves.good.yml", "none of these is a curve")];

/// Suites that the toolkit's file with all of them names.
const SUITES: [&str; 13] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];

/// `tls_server_config` with server certificate and key, and these lines.
fn tls(lines: &[&str]) -> String {
    lines.iter().fold(TLS.to_owned(), |text, line| format!("{text}  {line}\n"))
}

/// A section with these lines.
fn section(name: &str, lines: &[&str]) -> String {
    lines.iter().fold(format!("{name}:\n"), |text, line| format!("{text}  {line}\n"))
}

/// Users whose hashes cost 4 to 18 rounds: only the form of a hash is read here.
fn users() -> String {
    ["12", "18", "10"].iter().enumerate().fold("basic_auth_users:\n".to_owned(), |text, (index, cost)| {
        format!("{text}  user{index}: {}\n", HASH.replace("$04$", &format!("${cost}$")))
    })
}

/// The name of a file, the toolkit's decision, and an equivalent text.
type Example = (&'static str, Decision, String);

/// Every file of the toolkit.
fn files(folder: &Folder) -> Result<Vec<Example>, Box<dyn Error>> {
    let inline = |key: &str, name: &str| -> Result<String, std::io::Error> {
        let pem = fs::read_to_string(folder.0.join(name))?;
        Ok(pem.lines().fold(format!("  {key}: |\n"), |text, line| format!("{text}    {line}\n")))
    };
    let verified = "client_auth_type: VerifyClientCertIfGiven";
    let mandatory = "client_auth_type: RequireAndVerifyClientCert";
    let tls_section = |lines: &[&str]| section("tls_server_config", lines);
    let headers = |line: &str| format!("http_server_config:\n  headers:\n    {line}\n");
    let (cert, key) = (inline("cert", "server.crt")?, inline("key", "server.key")?);
    let (sans, all_suites) = (["one", "localhost", "two"].join(", "), SUITES.join(", "));
    let two_suites =
        "cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]";
    let other_order =
        "cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]";
    let no_http2 = "cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]";
    Ok(vec![
        (
            "tls_config_noAuth.requireandverifyclientcert.good.yml",
            Good,
            tls(&[mandatory, "client_ca_file: ca.crt"]),
        ),
        (
            "tls_config_noAuth.requireanyclientcert.good.yml",
            Good,
            tls(&["client_auth_type: RequireAnyClientCert"]),
        ),
        (
            "tls_config_noAuth.requireanyclientcertkeyinline.good.yml",
            Good,
            format!("tls_server_config:\n  cert_file: server.crt\n{key}  client_auth_type: RequireAnyClientCert\n"),
        ),
        ("web_config_auth_clientCAs_invalid.bad.yml", Bad, tls(&["client_ca_file: somefile"])),
        // No test of the toolkit reads it, and its text is that of web_config_noAuth.good.blocking.yml.
        ("web_config_auth_clientCAs_missing.bad.yml", Good, tls(&[mandatory])),
        // The configuration is valid: it is a client's certificate that is bad.
        (
            "web_config_auth_client_san.bad.yaml",
            Good,
            tls(&[mandatory, "client_ca_file: ca.crt", "client_allowed_sans: [bad]"]),
        ),
        (
            "web_config_auth_client_san.good.yaml",
            Good,
            tls(&[mandatory, "client_ca_file: ca.crt", &format!("client_allowed_sans: [{sans}]")]),
        ),
        ("web_config_auth_user_list_invalid.bad.yml", Bad, tls(&[]) + "basic_auth_users:\n  john: doe\n"),
        ("web_config_empty.yml", Good, String::new()),
        (
            "web_config_headers.good.yml",
            Good,
            "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    Strict-Transport-Security: max-age=31536000; \
             includeSubDomains\n    X-Content-Type-Options: nosniff\n    X-XSS-Protection: 1\n    \
             Content-Security-Policy: \"default-src 'self' *.example.org\"\n"
                .to_owned(),
        ),
        ("web_config_headers_content_type_options.bad.yml", Bad, headers("X-Content-Type-Options: sniff")),
        ("web_config_headers_extra_header.bad.yml", Bad, headers("Content-Type: foo")),
        ("web_config_headers_frame_options.bad.yml", Bad, headers("X-Frame-Options: foo")),
        ("web_config_junk.yml", Bad, "hWkNKCp3fvIx3jKn\nTuEjdwNS8A2vYdFb\n".to_owned()),
        ("web_config_junk_key.yml", Bad, tls_section(&["cert_filse: server.crt"])),
        ("web_config_noAuth.bad.yml", Bad, tls(&["client_ca_file: /dev/null"])),
        ("web_config_noAuth.good.blocking.yml", Good, tls(&[mandatory])),
        ("web_config_noAuth.good.yml", Good, tls(&[verified])),
        (
            "web_config_noAuth_allCiphers.good.yml",
            Good,
            tls(&[verified, &format!("cipher_suites: [{all_suites}]")]),
        ),
        (
            "web_config_noAuth_allCurves.good.yml",
            Good,
            tls(&[verified, "curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]"]),
        ),
        (
            "web_config_noAuth_certPath_empty.bad.yml",
            Bad,
            tls_section(&["cert_file: \"\"", "key_file: server.key"]),
        ),
        (
            "web_config_noAuth_certPath_invalid.bad.yml",
            Bad,
            tls_section(&["cert_file: somefile", "key_file: server.key"]),
        ),
        (
            "web_config_noAuth_certPath_keyPath_empty.bad.yml",
            Bad,
            tls_section(&["cert_file: \"\"", "key_file: \"\"", "client_auth_type: x"]),
        ),
        (
            "web_config_noAuth_certPath_keyPath_invalid.bad.yml",
            Bad,
            tls_section(&["cert_file: somefile", "key_file: somefile"]),
        ),
        ("web_config_noAuth_cert_empty.bad.yml", Bad, tls_section(&["cert: \"\"", "key_file: server.key"])),
        (
            "web_config_noAuth_inventedCiphers.bad.yml",
            Bad,
            tls(&[verified, "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA2048]"]),
        ),
        (
            "web_config_noAuth_inventedCurves.bad.yml",
            Bad,
            tls(&[verified, "curve_preferences: [CurveP257]"]),
        ),
        (
            "web_config_noAuth_keyPath_empty.bad.yml",
            Bad,
            tls_section(&["cert_file: server.crt", "key_file: \"\""]),
        ),
        (
            "web_config_noAuth_keyPath_invalid.bad.yml",
            Bad,
            tls_section(&["cert_file: server.cert", "key_file: somefile"]),
        ),
        ("web_config_noAuth_key_empty.bad.yml", Bad, tls_section(&["cert_file: server.crt", "key: \"\""])),
        (
            "web_config_noAuth_noHTTP2.good.yml",
            Good,
            tls(&[verified, no_http2, "max_version: TLS12"]) + "http_server_config:\n  http2: false\n",
        ),
        ("web_config_noAuth_noHTTP2Cipher.bad.yml", Bad, tls(&[verified, no_http2, "max_version: TLS12"])),
        (
            "web_config_noAuth_someCiphers.good.yml",
            Good,
            tls(&[verified, two_suites, "min_version: TLS12", "max_version: TLS12"]),
        ),
        (
            "web_config_noAuth_someCiphers_noOrder.good.yml",
            Good,
            tls(&[
                verified,
                other_order,
                "prefer_server_cipher_suites: false",
                "min_version: TLS12",
                "max_version: TLS12",
            ]),
        ),
        (
            "web_config_noAuth_someCurves.good.yml",
            Good,
            tls(&[verified, "min_version: TLS13", "curve_preferences: [CurveP521]"]),
        ),
        (
            "web_config_noAuth_tlsInline.good.yml",
            Good,
            format!("tls_server_config:\n{cert}{key}  {verified}\n"),
        ),
        ("web_config_noAuth_wrongTLSVersion.bad.yml", Bad, tls(&[verified, "min_version: TLS111"])),
        (
            "web_config_rate_limiter_nonblocking.yaml",
            Good,
            section("rate_limit", &["interval: 0", "burst: 0"]),
        ),
        (
            "web_config_rate_limiter_one_second.yaml",
            Good,
            section("rate_limit", &["interval: \"1s\"", "burst: 0"]),
        ),
        ("web_config_users.good.yml", Good, tls(&[]) + &users()),
        ("web_config_users_noTLS.good.yml", Good, users()),
    ])
}

#[test]
fn each_file_of_the_toolkit_is_decided_as_the_toolkit_does() -> Outcome {
    let folder = Folder::new("toolkit")?;
    let document = include_str!("../../../../../../docs/web.md");
    let files = files(&folder)?;
    // Of master at 19a7c2d590c5 (2026-07-23): 41 files in web/testdata that end in .yml or .yaml.
    assert_eq!(files.len(), 41);
    let mut differing = Vec::new();
    for (name, decision, text) in &files {
        let loaded = folder.load(text);
        let ours = if loaded.is_ok() { Good } else { Bad };
        if ours != *decision {
            differing.push(*name);
            let said = loaded.err().unwrap_or_default();
            let known = REFUSED.iter().find(|(refused, _)| refused == name);
            assert!(known.is_some_and(|(_, why)| said.contains(why)), "{name}: {ours:?}: {said}\n{text}");
            assert!(document.contains(&format!("`{name}`")), "docs/web.md does not name {name}");
        }
    }
    assert_eq!(differing, REFUSED.map(|(name, _)| name));
    Ok(())
}
