//! Who may ask, over what: passwords, TLS, clients' certificates, and their change while zcrxd runs.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::{Domain, Socket, Type};

use crate::harness::{Daemon, Outcome, TestDirectory, WAIT_LIMIT, output, request, zcrxd};

/// A certificate authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
struct Identity {
    cert: String,
    key: String,
}

impl Authority {
    fn new() -> Outcome<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    fn issue(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> Outcome<Identity> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.extended_key_usages = vec![purpose];
        Ok(Identity { cert: params.signed_by(&key, &self.0)?.pem(), key: key.serialize_pem() })
    }

    fn server(&self) -> Outcome<Identity> {
        self.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn client(&self, name: &str) -> Outcome<Identity> {
        self.issue(name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// Connects as a client that trusts this authority.
    fn connect(&self, to: SocketAddr, identity: Option<&Identity>) -> Outcome<Tls> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.0.pem().as_bytes())?)?;
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match identity {
            Some(identity) => config.with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(identity.cert.as_bytes())?],
                PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?,
            )?,
            None => config.with_no_client_auth(),
        };
        let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
        let stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(WAIT_LIMIT))?;
        Ok(Tls(StreamOwned::new(connection, stream)))
    }
}

/// An encrypted connection.
struct Tls(StreamOwned<ClientConnection, TcpStream>);

impl Tls {
    /// Asks once and leaves the connection open; returns the status.
    fn ask(&mut self, path: &str) -> Outcome<u16> {
        Ok(self.answer(path)?.0)
    }

    /// Asks once; returns the body.
    fn body(&mut self, path: &str) -> Outcome<String> {
        Ok(self.answer(path)?.1)
    }

    fn answer(&mut self, path: &str) -> Outcome<(u16, String)> {
        write!(self.0, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head)?.to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let mut body = vec![0; length.ok_or_else(|| format!("no length: {head}"))?.parse()?];
        self.0.read_exact(&mut body)?;
        Ok((head.split(' ').nth(1).ok_or("no status")?.parse()?, String::from_utf8(body)?))
    }

    /// The server's certificate.
    fn peer(&self) -> Option<Vec<u8>> {
        self.0.conn.peer_certificates()?.first().map(|cert| cert.to_vec())
    }
}

fn basic(name: &str, password: &str) -> String {
    format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(format!("{name}:{password}")))
}

fn users(name: &str, password: &str) -> Outcome<String> {
    Ok(format!("basic_auth_users:\n  {name}: \"{}\"\n", bcrypt::hash(password, 4)?))
}

/// Starts with this web configuration in `web.yml` of its place.
fn start(place: TestDirectory, text: &str, args: &[&str]) -> Outcome<(Daemon, String)> {
    let file = place.file("web.yml", text)?;
    let dir = place.path().join("run").display().to_string();
    let base = [
        "run",
        "--runtime-dir",
        &dir,
        "--no-probes",
        "--web.listen-address",
        "127.0.0.1:0",
        "--web.config.file",
        &file,
    ];
    Ok((Daemon::spawn(zcrxd(&[&base, args].concat()), place)?, file))
}

fn wait_until(what: &str, mut holds: impl FnMut() -> Outcome<bool>) -> Outcome {
    let end = Instant::now() + WAIT_LIMIT;
    while !holds()? {
        assert!(Instant::now() < end, "never {what}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Ok(())
}

#[test]
fn correct_password_is_accepted_and_can_change() -> Outcome {
    let (mut daemon, file) = start(TestDirectory::new("tls-users")?, &users("scraper", "first")?, &[])?;
    for path in ["/", "/metrics", "/diagnose.json", "/healthz", "/readyz", "/nothing"] {
        let answer = daemon.get(path)?;
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.head.contains("www-authenticate: basic realm="), "{}", answer.head);
    }
    for (name, password) in [("scraper", "wrong"), ("nobody", "first"), ("scraper", "")] {
        daemon.headers = basic(name, password);
        assert_eq!(daemon.get("/metrics")?.status, 401, "{name}:{password}");
    }
    daemon.headers = basic("scraper", "first");
    assert_eq!(daemon.get("/metrics")?.status, 200);
    assert_eq!(daemon.metric("zcrxd_web_unauthorized_requests_total")?, Some(9.0));
    assert_eq!(daemon.metric("zcrxd_web_config_last_reload_successful")?, Some(1.0));

    // A bad file: the old one stays, and that is known.
    std::fs::write(&file, "basic_auth_users:\n  scraper: plain\n")?;
    daemon.wait_for("web.yml:2:12: the password of \"scraper\" is no bcrypt hash")?;
    assert_eq!(daemon.metric("zcrxd_web_config_last_reload_successful")?, Some(0.0));
    assert!(
        daemon.metric("zcrxd_web_config_last_reload_success_timestamp_seconds")?.is_some_and(|at| at > 0.0)
    );

    std::fs::write(&file, users("scraper", "second")?)?;
    daemon.wait_for("the web configuration was read again")?;
    assert_eq!(daemon.get("/metrics")?.status, 401, "the old password, though it was right before");
    daemon.headers = basic("scraper", "second");
    assert_eq!(daemon.metric("zcrxd_web_config_last_reload_successful")?, Some(1.0));
    Ok(())
}

#[test]
fn client_certificate_is_required() -> Outcome {
    let (own, foreign) = (Authority::new()?, Authority::new()?);
    let place = TestDirectory::new("tls-mutual")?;
    let server = own.server()?;
    place.file("cert.pem", &server.cert)?;
    place.file("key.pem", &server.key)?;
    place.file("ca.pem", &own.0.pem())?;
    let text = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n  client_ca_file: ca.pem\n  \
                client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: [scraper.example]\n";
    let run = place.path().join("run").display().to_string();
    let (daemon, _) = start(place, text, &[])?;

    // A probe of a container has no certificate.
    for arguments in [&["health", "--runtime-dir", &run][..], &["health", "--ready", "--runtime-dir", &run]] {
        let health = output(zcrxd(arguments))?;
        assert!(health.status.success(), "{health:?}");
    }
    let right = own.client("scraper.example")?;
    assert_eq!(own.connect(daemon.web, Some(&right))?.ask("/metrics")?, 200);
    let refused = |client: &Authority, identity: Option<&Identity>| {
        client.connect(daemon.web, identity).and_then(|mut tls| tls.ask("/metrics")).is_err()
    };
    assert!(refused(&own, None), "without a certificate");
    assert!(refused(&own, Some(&foreign.client("scraper.example")?)), "of an authority that is not trusted");
    assert!(refused(&own, Some(&own.client("other.example")?)), "of another name");
    assert!(refused(&own, Some(&own.server()?)), "for another purpose");
    assert!(refused(&foreign, Some(&right)), "a client that does not trust the server");
    let plain = request(daemon.web, "GET /metrics HTTP/1.1\r\nHost: zcrxd\r\nConnection: close\r\n\r\n")?;
    assert_eq!(plain.status, 400, "without TLS");
    assert!(plain.body.contains("https://"), "{}", plain.body);
    Ok(())
}

#[test]
fn new_certificate_is_served_without_a_restart() -> Outcome {
    let authority = Authority::new()?;
    let place = TestDirectory::new("tls-rotation")?;
    let (first, second) = (authority.server()?, authority.server()?);
    let cert = place.file("cert.pem", &first.cert)?;
    let key = place.file("key.pem", &first.key)?;
    let text = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n";
    let (mut daemon, _) = start(place, text, &[])?;
    let mut before = authority.connect(daemon.web, None)?;
    assert_eq!(before.ask("/metrics")?, 200);
    let old = before.peer();
    // What rcgen issues by default: 1975-01-01 to 4096-01-01.
    let text = authority.connect(daemon.web, None)?.body("/metrics")?;
    for line in [
        "zcrxd_web_certificate_not_before_timestamp_seconds{certificate=\"server\"} 157766400\n",
        "zcrxd_web_certificate_not_after_timestamp_seconds{certificate=\"server\"} 67090118400\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!text.contains("client_ca"), "no client is verified");

    // A certificate without its key: what was good goes on being served.
    std::fs::write(&cert, &second.cert)?;
    daemon.wait_for("certificate and key cannot be used")?;
    let mut meanwhile = authority.connect(daemon.web, None)?;
    assert_eq!(meanwhile.ask("/metrics")?, 200);
    assert_eq!(meanwhile.peer(), old);

    std::fs::write(&key, &second.key)?;
    wait_until("the new certificate is served", || {
        // A connection from before goes on; one that says nothing for long would be closed.
        assert_eq!(meanwhile.ask("/healthz")?, 200);
        let mut after = authority.connect(daemon.web, None)?;
        Ok(after.ask("/healthz")? == 200 && after.peer() != old)
    })?;
    assert_eq!(meanwhile.ask("/metrics")?, 200);
    Ok(())
}

#[test]
fn invalid_web_configuration_is_refused_at_the_start() -> Outcome {
    let place = TestDirectory::new("tls-wrong")?;
    let file = place.file("web.yml", "tls_server_confg: {}\n")?;
    let dir = place.path().join("run").display().to_string();
    let refused = zcrxd(&["run", "--runtime-dir", &dir, "--web.config.file", &file]);
    let (code, said) = crate::harness::refusal(refused)?;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("web.yml:1:1: unknown field `tls_server_confg`"), "{said}");
    Ok(())
}

/// Connects from another address of the loopback: to the endpoint, that is another host.
fn connect_from(from: Ipv4Addr, to: SocketAddr) -> Outcome<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_linger(Some(std::time::Duration::ZERO))?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect(&to.into())?;
    Ok(socket.into())
}

/// Addresses of hostile clients, in this number of networks: the endpoint limits connections by network.
const HOSTILE_ADDRESSES: u32 = 200;
const HOSTILE_NETWORKS: u32 = 20;

/// Address of a hostile client, 127.0.X.Y; the scraper is in another network.
fn hostile_address(number: u32) -> Outcome<Ipv4Addr> {
    let number = number % HOSTILE_ADDRESSES;
    let (network, host) = (1 + number % HOSTILE_NETWORKS, 1 + number / HOSTILE_NETWORKS);
    Ok(Ipv4Addr::new(127, 0, u8::try_from(network)?, u8::try_from(host)?))
}

/// Ten thousand connections from 200 addresses that say nothing, begin a handshake and never end it, or talk nonsense. A scraper
/// keeps its connection through all of it, and a queue loses nothing.
#[test]
fn hostile_client_disturbs_neither_scrapes_nor_queues() -> Outcome {
    let authority = Authority::new()?;
    let place = TestDirectory::new("tls-hostile")?;
    let server = authority.server()?;
    place.file("cert.pem", &server.cert)?;
    place.file("key.pem", &server.key)?;
    let text = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n";
    let (daemon, _) =
        start(place, text, &["--listen", "127.0.0.1:0", "--backend", "copy", "--sink", "verify"])?;
    let addresses = (0..HOSTILE_ADDRESSES).map(hostile_address).collect::<Outcome<Vec<_>>>()?;
    assert_eq!(addresses.iter().collect::<std::collections::BTreeSet<_>>().len(), 200);
    let mut scraper = authority.connect(daemon.web, None)?;
    assert_eq!(scraper.ask("/metrics")?, 200);
    let (web, queue) = (daemon.web, daemon.listen[0].to_string());
    std::thread::scope(|scope| -> Outcome {
        let hostile = scope.spawn(move || {
            let mut held = std::collections::VecDeque::new();
            for (number, &address) in addresses.iter().cycle().take(10_000).enumerate() {
                let Ok(mut stream) = connect_from(address, web) else { continue };
                // Those closed meanwhile cannot be written to.
                match number % 3 {
                    0 => {}
                    1 => {
                        stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").unwrap_or_default();
                    }
                    _ => stream.write_all(b"\0\xff\r\n\r\nnonsense").unwrap_or_default(),
                }
                held.push_back(stream);
                // What this process may have open is limited too.
                if held.len() > 300 {
                    held.pop_front();
                }
            }
            held.len()
        });
        let sender = scope.spawn(|| {
            let sent = output(zcrxd(&["send", "--to", &queue, "--bytes", "16MiB", "--connections", "4"]));
            sent.map(|sent| sent.status.code()).map_err(|error| error.to_string())
        });
        // A connection that says nothing for long would be closed, hostile clients or not.
        while !(hostile.is_finished() && sender.is_finished()) {
            assert_eq!(scraper.ask("/metrics")?, 200);
        }
        assert!(hostile.join().is_ok_and(|held| held > 0));
        assert!(matches!(sender.join(), Ok(Ok(Some(0)))));
        Ok(())
    })?;
    assert_eq!(scraper.ask("/metrics")?, 200, "on the connection it always had");
    let sent = output(zcrxd(&["send", "--to", &queue, "--bytes", "1MiB"]))?;
    assert_eq!(sent.status.code(), Some(0), "{}", String::from_utf8_lossy(&sent.stderr));
    Ok(())
}

#[test]
fn requests_above_the_rate_limit_get_429() -> Outcome {
    let (daemon, _) =
        start(TestDirectory::new("tls-rate")?, "rate_limit:\n  interval: 1h\n  burst: 30\n", &[])?;
    let statuses = (0..31).map(|_| Ok(daemon.get("/metrics")?.status)).collect::<Outcome<Vec<_>>>()?;
    // The harness itself asks until zcrxd is ready.
    let answered = statuses.iter().take_while(|status| **status == 200).count();
    assert!((1..=30).contains(&answered), "{statuses:?}");
    assert!(statuses[answered..].iter().all(|status| *status == 429), "{statuses:?}");
    Ok(())
}
