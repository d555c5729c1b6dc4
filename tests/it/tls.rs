//! TLS: the name that a client asks for chooses the certificate, and nothing else is served under it.

use http::Version;

use crate::harness::client::{Ask, Failed};
use crate::harness::eventually;
use crate::harness::node::Setup;
use crate::harness::origin::{Origin, Reply};
use crate::harness::tls::Authority;

fn hello() -> Origin {
    Origin::start(|seen| Reply::ok(seen.field("x-forwarded-proto").unwrap_or_default()).control("max-age=60"))
}

/// Two sites with certificates of their own, and one without.
fn setup(origin: &Origin, authority: &Authority) -> Setup {
    let mut setup = Setup::new(origin);
    authority.certify(&mut setup, &["www.cdn.test", "static.other.test"]);
    authority.save(setup.folder(), "shop", &["shop.test"]);
    let tls = "tls = { certificate = \"shop.pem\", key = \"shop.key\" }";
    setup.sites.push(format!("domains = [\"shop.test\"]\norigin = \"{}\"\n{tls}", origin.url()));
    setup.sites.push(format!("domains = [\"plain.test\"]\norigin = \"{}\"", origin.url()));
    setup
}

#[test]
fn each_name_has_its_certificate() {
    let (origin, authority) = (hello(), Authority::new());
    let (node, trusted) = (setup(&origin, &authority).start(), authority.trusted());
    for host in ["www.cdn.test", "static.other.test", "shop.test", "SHOP.test"] {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let answer = node.ask_tls(&Ask::get("/a").host(host), version, &trusted).unwrap();
            assert_eq!((answer.status, answer.text().as_str()), (200, "https"), "{host} {version:?}");
        }
    }
    assert_eq!(node.get("/a").text(), "http", "the schemes do not share");
}

#[test]
fn a_name_without_a_certificate_is_refused_at_the_handshake() {
    let (origin, authority) = (hello(), Authority::new());
    let (node, trusted) = (setup(&origin, &authority).start(), authority.trusted());
    for host in ["plain.test", "unknown.test", "edge.cdn.test"] {
        let answer = node.ask_tls(&Ask::get("/a").host(host), Version::HTTP_11, &trusted);
        assert_eq!(answer.unwrap_err(), Failed::Handshake, "{host}");
    }
    eventually("three failures counted", || node.metric("nearcast_tls_handshake_failures_total") == Some(3.0));
    assert_eq!(origin.seen().len(), 0);
}

#[test]
fn another_certificates_host_is_misdirected() {
    let (origin, authority) = (hello(), Authority::new());
    let (node, trusted) = (setup(&origin, &authority).start(), authority.trusted());
    let rows = [
        ("the same certificate", "static.other.test", 200),
        ("another certificate", "shop.test", 421),
        ("no certificate", "plain.test", 421),
        ("nobody", "unknown.test", 421),
    ];
    for (name, host, status) in rows {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let ask = Ask::get("/a").host(host).server_name("www.cdn.test");
            assert_eq!(node.ask_tls(&ask, version, &trusted).unwrap().status, status, "{name} {version:?}");
        }
    }
}

#[test]
fn a_site_for_every_host_takes_every_name() {
    let (origin, authority) = (hello(), Authority::new());
    let mut setup = setup(&origin, &authority);
    authority.save(setup.folder(), "any", &["one.test", "two.test"]);
    let tls = "tls = { certificate = \"any.pem\", key = \"any.key\" }";
    setup.sites.push(format!("domains = [\"*\"]\norigin = \"{}\"\n{tls}", origin.url()));
    let (node, trusted) = (setup.start(), authority.trusted());
    let status = |ask: Ask| node.ask_tls(&ask, Version::HTTP_2, &trusted).map(|answer| answer.status);
    assert_eq!(status(Ask::get("/a").host("one.test")), Ok(200));
    assert_eq!(status(Ask::get("/a").host("two.test").server_name("one.test")), Ok(200));
    assert_eq!(status(Ask::get("/a").host("shop.test").server_name("one.test")), Ok(421));
}

#[test]
fn a_reload_brings_new_certificates() {
    let (origin, old, new) = (hello(), Authority::new(), Authority::new());
    let setup = setup(&origin, &old);
    let node = setup.start();
    let ask = Ask::get("/a").host("shop.test");
    let works = |authority: &Authority| node.ask_tls(&ask, Version::HTTP_2, &authority.trusted()).is_ok();
    assert_eq!((works(&old), works(&new)), (true, false));
    new.save(setup.folder(), "shop", &["shop.test"]);
    assert_eq!((works(&old), works(&new)), (true, false), "not by itself");
    assert_eq!(node.admin("POST", "/v1/reload", "").status, 200);
    assert_eq!((works(&old), works(&new)), (false, true));

    // A key that does not fit changes nothing.
    old.save(setup.folder(), "aside", &["shop.test"]);
    std::fs::copy(setup.folder().join("aside.key"), setup.folder().join("shop.key")).unwrap();
    let answer = node.admin("POST", "/v1/reload", "");
    assert_eq!((answer.status, answer.text().contains("shop.key")), (409, true), "{}", answer.text());
    assert!(works(&new));
}

#[test]
fn the_cipher_is_ours_to_choose_unless_the_client_has_none_for_aes() {
    use rustls::CipherSuite as Suite;
    let (origin, authority) = (hello(), Authority::new());
    let (node, trusted) = (setup(&origin, &authority).start(), authority.trusted());
    let chosen = |offered: &[Suite]| {
        let mut provider = rustls::crypto::CryptoProvider::clone(&nearcast_shared::trust::provider());
        provider.cipher_suites.retain(|suite| offered.contains(&suite.suite()));
        provider.cipher_suites.sort_by_key(|suite| offered.iter().position(|wanted| *wanted == suite.suite()));
        let builder = rustls::ClientConfig::builder_with_provider(provider.into());
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let config = builder.with_root_certificates(trusted.0.clone()).with_no_client_auth();
        let name = "www.cdn.test".try_into().unwrap();
        let mut session = rustls::ClientConnection::new(config.into(), name).unwrap();
        let mut stream = std::net::TcpStream::connect(node.https()).unwrap();
        session.complete_io(&mut stream).unwrap();
        session.negotiated_cipher_suite().unwrap().suite()
    };
    let (short, long) = (Suite::TLS13_AES_128_GCM_SHA256, Suite::TLS13_AES_256_GCM_SHA384);
    let chacha = Suite::TLS13_CHACHA20_POLY1305_SHA256;
    let (old_short, old_long) =
        (Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384);
    let rows: [(&[Suite], Suite); 5] = [
        (&[long, chacha, short], short),
        (&[long, chacha], long),
        (&[chacha, long, short], chacha),
        (&[chacha], chacha),
        (&[old_long, old_short], old_short),
    ];
    for (offered, wanted) in rows {
        assert_eq!(chosen(offered), wanted, "{offered:?}");
    }
}
