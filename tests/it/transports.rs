//! DNS over TCP, TLS, HTTPS and QUIC: the same answers over each, the rules of each, and limits that keep slow clients
//! of one from hurting others.

use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};

use futures_util::StreamExt;
use hickory_proto::op::{DnsRequestOptions, ResponseCode};
use hickory_proto::rr::RecordType::{self, A, AAAA, NS, SOA, TXT};
use hickory_server::net::h2::HttpsClientStream;
use hickory_server::net::quic::QuicClientStream;
use hickory_server::net::runtime::TokioRuntimeProvider;
use hickory_server::net::tls::tls_exchange;
use hickory_server::net::xfer::{DnsExchange, DnsHandle};
use http::Version;

use crate::harness::client::{Ask, Failed, RUNTIME};
use crate::harness::dns::{Query, Reply, Tcp};
use crate::harness::encrypted::{Doq, Dot, NAME, closed_with, encrypted, exchange, framed, get, post};
use crate::harness::kdig::Kdig;
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply as Scripted};
use crate::harness::tls::Authority;
use crate::harness::{DEADLINE, eventually};

const WWW: &str = "www.cdn.test";

/// A network in Zurich.
const ZURICH: &str = "129.132.19.0/24";

/// The codes of RFC 9250 section 4.3.
const NO_ERROR: u64 = 0;
const PROTOCOL_ERROR: u64 = 2;
const EXCESSIVE_LOAD: u64 = 4;

fn setup() -> Setup {
    let mut setup = Setup::empty().built_in_geo();
    setup.sites.push("domains = [\"www.cdn.test\"]\norigin = \"http://127.0.0.1:1\"".to_owned());
    setup
}

fn event(node: &Node, transport: &str, event: &str) -> f64 {
    let line = format!("nearcast_dns_connections_total{{transport=\"{transport}\",event=\"{event}\"}}");
    node.metric(&line).unwrap()
}

fn open(node: &Node, transport: &str) -> f64 {
    node.metric(&format!("nearcast_dns_connections_open{{transport=\"{transport}\"}}")).unwrap()
}

/// What every transport must say alike. QUIC wants the id 0, so all have it.
fn questions() -> Vec<(&'static str, Query)> {
    let of = |name: &str, kind: RecordType| Query::new(name, kind).id(0);
    vec![
        ("steered", Query::from(WWW, A, ZURICH).id(0)),
        ("steered, in odd letters", Query::from("wWw.CDN.test", AAAA, ZURICH).id(0)),
        ("plain", of(WWW, A)),
        ("NS", of("cdn.test", NS)),
        ("no data", of(WWW, TXT)),
        ("no name", of("nobody.cdn.test", A)),
        ("refused", of("example.org", A)),
        ("bad ECS", of(WWW, A).option(8, &[0, 1, 1, 0, 0xff])),
    ]
}

#[test]
fn every_transport_says_the_same() {
    let authority = Authority::new();
    let (node, trusted) = (encrypted(setup(), &authority).start(), authority.trusted());
    let mut dot = Dot::connect(node.dot(), &trusted, &[b"dot"]).unwrap();
    assert_eq!(dot.protocol(), Some(&b"dot"[..]));
    let doq = Doq::new(&trusted, &[b"doq"]).connect(node.doq()).unwrap();
    for (name, query) in questions() {
        let wanted = query.raw_udp(node.dns());
        assert_eq!(query.raw_tcp(node.dns()), wanted, "{name}: TCP");
        let over_tls = dot.ask_all(std::slice::from_ref(&query));
        assert_eq!(over_tls, std::slice::from_ref(&wanted), "{name}: TLS");
        for version in [Version::HTTP_11, Version::HTTP_2] {
            for ask in [get(&query), post(&query)] {
                let answer = ask.over(node.doh(), version, Some(&trusted)).unwrap();
                assert_eq!((answer.status, answer.body.clone()), (200, wanted.clone()), "{name}: {version:?}");
                assert_eq!(answer.field("content-type").as_deref(), Some("application/dns-message"), "{name}");
            }
        }
        assert_eq!(exchange(&doq, &framed(&query.bytes())).unwrap(), framed(&wanted), "{name}: QUIC");
    }
    let text = node.admin("GET", "/metrics", "").text();
    for (transport, count) in [("udp", 2), ("tcp", 2), ("tls", 2), ("https", 8), ("quic", 2)] {
        let line =
            format!("nearcast_dns_queries_total{{type=\"A\",rcode=\"NOERROR\",transport=\"{transport}\"}} {count}");
        assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
    }
}

#[test]
fn kdig_over_every_transport() {
    let Some(kdig) = Kdig::installed() else { return };
    let authority = Authority::new();
    let setup = encrypted(setup(), &authority);
    let pem = setup.folder().join("authority.pem");
    std::fs::write(&pem, authority.pem()).unwrap();
    let node = setup.start();
    let ca = format!("+tls-ca={}", pem.display());
    let name = format!("+tls-hostname={NAME}");
    let (get, post) = (format!("+https={NAME}/dns-query"), "+https-get");
    let rows: [(&str, SocketAddr, Vec<&str>); 6] = [
        ("UDP", node.dns(), vec![]),
        ("TCP", node.dns(), vec!["+tcp", "+keepopen"]),
        ("TLS", node.dot(), vec!["+tls", &ca, &name]),
        ("HTTPS by POST", node.doh(), vec![&get, &ca, &name]),
        ("HTTPS by GET", node.doh(), vec![&get, post, &ca, &name]),
        ("QUIC", node.doq(), vec![&ca, &name, "+quic"]),
    ];
    let subnet = format!("+subnet={ZURICH}");
    for (transport, server, mut arguments) in rows {
        if transport == "QUIC" && !kdig.speaks_quic() {
            eprintln!("SKIPPED: kdig over QUIC: this one was built without it");
            continue;
        }
        arguments.extend([WWW, "A", &subnet]);
        let told = kdig.ask(server, &arguments);
        assert!(told.contains("status: NOERROR") && told.contains("192.0.2.10"), "{transport}: {told}");
        assert!(told.contains("129.132.19.0/24/"), "{transport}: {told}");
        assert!(!told.contains("WARNING"), "{transport}: {told}");
    }
    // Two queries on one connection.
    for (transport, server, arguments) in
        [("TCP", node.dns(), vec!["+tcp", "+keepopen"]), ("TLS", node.dot(), vec!["+tls", "+keepopen", &ca, &name])]
    {
        let twice = [arguments, vec![WWW, "A", &subnet, WWW, "AAAA", &subnet]].concat();
        let told = kdig.ask(server, &twice);
        assert!(told.contains("192.0.2.10") && told.contains("2001:db8:1::10"), "{transport}: {told}");
    }
}

#[test]
fn hickorys_clients_over_what_is_encrypted() {
    let authority = Authority::new();
    let (node, trusted) = (encrypted(setup(), &authority).start(), authority.trusted());
    let tls = |protocols: &[&[u8]]| rustls::ClientConfig::clone(&trusted.client(protocols));
    let told = RUNTIME.block_on(async {
        let provider = TokioRuntimeProvider::new();
        let over_tls = tls_exchange(node.dot(), NAME.try_into().unwrap(), tls(&[]), DEADLINE, None, provider.clone());
        let over_https = HttpsClientStream::builder(trusted.client(&[b"h2"]), provider.clone());
        let over_https = over_https.exchange(node.doh(), NAME.into(), "/dns-query".into());
        let over_quic = QuicClientStream::builder().crypto_config(tls(&[b"doq"])).build(node.doq(), NAME.into());
        let (over_quic, running) = DnsExchange::from_stream(over_quic.await.unwrap());
        tokio::spawn(running);
        let mut told = Vec::new();
        for exchange in [over_tls.await.unwrap(), over_https.await.unwrap(), over_quic] {
            for _ in 0..3 {
                let query = hickory_proto::op::Query::query("fra.cdn.test.".parse().unwrap(), A);
                let mut answers = exchange.lookup(query, DnsRequestOptions::default());
                let answer = tokio::time::timeout(DEADLINE, answers.next()).await.unwrap().unwrap().unwrap();
                told.push(answer.answers[0].data.to_string());
            }
        }
        // What it drives ends with it.
        drop(provider);
        told
    });
    assert_eq!(told, ["192.0.2.10"; 9]);
}

#[test]
fn tls_is_pipelined_and_ends_in_order() {
    let authority = Authority::new();
    let setup = encrypted(setup(), &authority).set("dns.tcp-timeout", "\"300ms\"");
    let (node, trusted) = (setup.start(), authority.trusted());
    let mut dot = Dot::connect(node.dot(), &trusted, &[]).unwrap();
    assert_eq!(dot.protocol(), None, "who offers nothing is served, too");
    let queries: Vec<Query> = (0..500).map(|id| Query::new("fra.cdn.test", A).id(id)).collect();
    for (id, answer) in (0..500).zip(dot.ask_all(&queries)) {
        let reply = Reply::parse(&answer);
        assert_eq!((reply.0.id, reply.address().as_str()), (id, "192.0.2.10"));
    }
    assert!(dot.ends(), "idle");
    assert_eq!(event(&node, "tls", "idle"), 1.0);
    let refused = Dot::connect(node.dot(), &trusted, &[b"h2"]);
    assert_eq!(refused.err(), Some(Failed::Handshake), "another protocol");
    eventually("the failure is counted", || event(&node, "tls", "handshake-failed") == 1.0);
    assert_eq!(event(&node, "tls", "opened"), 2.0);
    eventually("all are closed", || open(&node, "tls") == 0.0);
}

#[test]
fn a_reload_brings_a_new_certificate() {
    let (old, new) = (Authority::new(), Authority::new());
    let setup = encrypted(setup(), &old);
    let node = setup.start();
    let works = |authority: &Authority| {
        let trusted = authority.trusted();
        let dot = Dot::connect(node.dot(), &trusted, &[b"dot"]).is_ok();
        let doh = post(&Query::new(WWW, A)).over(node.doh(), Version::HTTP_2, Some(&trusted)).is_ok();
        let doq = Doq::new(&trusted, &[b"doq"]).connect(node.doq()).is_ok();
        assert_eq!((dot, doq), (doh, doh), "all show the same");
        dot
    };
    assert_eq!((works(&old), works(&new)), (true, false));
    new.save(setup.folder(), "dns", &[NAME]);
    assert_eq!(node.admin("POST", "/v1/reload", "").status, 200);
    assert_eq!((works(&old), works(&new)), (false, true));
    // A key that does not fit changes nothing.
    old.save(setup.folder(), "aside", &[NAME]);
    std::fs::copy(setup.folder().join("aside.key"), setup.folder().join("dns.key")).unwrap();
    let answer = node.admin("POST", "/v1/reload", "");
    assert_eq!((answer.status, answer.text().contains("dns.key")), (409, true), "{}", answer.text());
    assert!(works(&new));
}

#[test]
fn https_by_its_statuses() {
    let authority = Authority::new();
    let (node, trusted) = (encrypted(setup(), &authority).start(), authority.trusted());
    let query = Query::new("fra.cdn.test", A);
    let dns = "application/dns-message";
    let to = |method: &str, target: &str| Ask::new(method, target).host(NAME);
    let rows = [
        ("POST", post(&query), 200),
        ("GET", get(&query), 200),
        ("another path", to("GET", "/"), 404),
        ("GET of nothing", to("GET", "/dns-query"), 400),
        ("PUT", to("PUT", "/dns-query").field("content-type", dns).body(query.bytes()), 405),
        ("another type", to("POST", "/dns-query").field("content-type", "text/plain").body(query.bytes()), 415),
        ("too long", to("POST", "/dns-query").field("content-type", dns).body(vec![0; 4097]), 413),
        (
            "the longest, which is no query",
            to("POST", "/dns-query").field("content-type", dns).body(vec![0xff; 4096]),
            400,
        ),
    ];
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let encoded = data_encoding::BASE64URL_NOPAD.encode(&query.bytes());
        let head = to("HEAD", &format!("/dns-query?dns={encoded}")).over(node.doh(), version, Some(&trusted)).unwrap();
        let length = query.raw_udp(node.dns()).len().to_string();
        assert_eq!((head.status, head.body.len(), head.field("content-length")), (200, 0, Some(length)), "{version:?}");
        for (name, ask, status) in &rows {
            let answer = ask.over(node.doh(), version, Some(&trusted)).unwrap();
            assert_eq!(answer.status, *status, "{name} {version:?}");
            let kept = answer.field("cache-control").unwrap();
            assert_eq!(kept, if *status == 200 { "private, max-age=30" } else { "no-store" }, "{name}");
        }
    }
}

#[test]
fn https_on_the_sites_own_listener() {
    let (origin, authority) = (Origin::start(|_| Scripted::ok("the site's").control("max-age=60")), Authority::new());
    let mut setup = Setup::new(&origin);
    authority.certify(&mut setup, &["www.cdn.test"]);
    let (query, trusted) = (Query::from("edge.cdn.test", A, ZURICH), authority.trusted());
    let (by_post, by_get) = (post(&query).host(WWW), get(&query).host(WWW));
    let without = setup.start();
    assert_eq!(without.ask_tls(&by_get, Version::HTTP_2, &trusted).unwrap().text(), "the site's", "it is off");
    without.stop();

    let node = setup.set("dns.https", "{ on-sites = true }").start();
    let wanted = query.raw_udp(node.dns());
    for version in [Version::HTTP_11, Version::HTTP_2] {
        for ask in [&by_post, &by_get] {
            let answer = node.ask_tls(ask, version, &trusted).unwrap();
            assert_eq!((answer.status, &answer.body), (200, &wanted), "{version:?}");
            assert_eq!(answer.field("content-type").as_deref(), Some("application/dns-message"));
        }
        let large = by_post.clone().body(vec![0; 4097]);
        assert_eq!(node.ask_tls(&large, version, &trusted).unwrap().status, 413);
        let elsewhere = Ask::get("/dns-queries").host(WWW);
        assert_eq!(node.ask_tls(&elsewhere, version, &trusted).unwrap().text(), "the site's");
    }
    assert_eq!(node.ask(&by_get).text(), "the site's", "never without TLS");
    let other = node.ask_tls(&post(&query).host("other.test").server_name(WWW), Version::HTTP_2, &trusted);
    assert_eq!(other.unwrap().status, 421, "as any request for a host that is not served");
    let site = "nearcast_http_requests_total{site=\"www.cdn.test\",outcome=\"dns\"}";
    assert_eq!(node.metric(site), Some(4.0));
    let asked = "nearcast_dns_queries_total{type=\"A\",rcode=\"NOERROR\",transport=\"https\"}";
    assert_eq!(node.metric(asked), Some(4.0));
}

#[test]
fn quic_by_its_rules() {
    let authority = Authority::new();
    let (node, trusted) = (encrypted(setup(), &authority).start(), authority.trusted());
    let client = Doq::new(&trusted, &[b"doq"]);
    let whole = framed(&Query::new(WWW, A).id(0).bytes());
    let keepalive = framed(&Query::new(WWW, A).id(0).option(11, &[]).bytes());
    let mut answer = Query::new(WWW, A).id(0).bytes();
    answer[2] |= 0x80;
    let rows = [
        ("an id", framed(&Query::new(WWW, A).id(7).bytes())),
        ("two queries", whole.repeat(2)),
        ("one byte more", [&whole[..], &[0]].concat()),
        ("one byte less", whole[..whole.len() - 1].to_vec()),
        ("nothing", Vec::new()),
        ("keepalive", keepalive),
        ("an answer", framed(&answer)),
        ("too short", framed(&[0; 5])),
        ("more than any query has", vec![0; 65_600]),
    ];
    let count = rows.len();
    for (name, bytes) in rows {
        let connection = client.connect(node.doq()).unwrap();
        assert!(exchange(&connection, &whole).is_ok(), "{name}: before");
        assert!(exchange(&connection, &bytes).is_err(), "{name}");
        assert_eq!(closed_with(&connection), Some(PROTOCOL_ERROR), "{name}");
    }
    eventually("all are counted", || event(&node, "quic", "protocol-error") == count as f64);
    assert_eq!(event(&node, "quic", "opened"), count as f64);
    let stranger = Doq::new(&trusted, &[b"h3"]);
    assert!(stranger.connect(node.doq()).is_err(), "another protocol");
    eventually("the failure is counted", || event(&node, "quic", "handshake-failed") == 1.0);
}

#[test]
fn quic_forgets_who_has_shown_where_it_is() {
    let authority = Authority::new();
    let (node, trusted) = (encrypted(setup(), &authority).start(), authority.trusted());
    let client = Doq::new(&trusted, &[b"doq"]);
    let query = framed(&Query::new(WWW, A).id(0).bytes());
    // More than may be in doubt at once.
    let held: Vec<_> = (0..70)
        .map(|_| {
            let connection = client.connect(node.doq()).unwrap();
            assert!(exchange(&connection, &query).is_ok());
            connection
        })
        .collect();
    assert_eq!((open(&node, "quic"), event(&node, "quic", "retried")), (held.len() as f64, 0.0));
}

#[test]
fn quic_ends_without_a_whole_query() {
    let authority = Authority::new();
    let setup = encrypted(setup(), &authority).set("dns.tcp-timeout", "\"500ms\"");
    let (node, trusted) = (setup.start(), authority.trusted());
    let connection = Doq::new(&trusted, &[b"doq"]).connect(node.doq()).unwrap();
    // Streams come and go and bring nothing.
    let ended = RUNTIME.block_on(tokio::time::timeout(DEADLINE, async {
        while let Ok((mut send, _receive)) = connection.open_bi().await {
            let _closed = send.write_all(&[0]).await;
            let _closed = send.reset(0u32.into());
        }
    }));
    assert!(ended.is_ok());
    assert_eq!(closed_with(&connection), Some(NO_ERROR));
    assert_eq!(event(&node, "quic", "idle"), 1.0);
}

#[test]
fn quic_gives_up_a_long_query_alone() {
    let authority = Authority::new();
    let (node, trusted) = (encrypted(setup(), &authority).start(), authority.trusted());
    let connection = Doq::new(&trusted, &[b"doq"]).connect(node.doq()).unwrap();
    assert!(exchange(&connection, &framed(&[0; 4097])).is_err());
    assert!(exchange(&connection, &framed(&Query::new(WWW, A).id(0).bytes())).is_ok(), "the connection goes on");
    assert_eq!(node.metric("nearcast_dns_dropped_total{reason=\"long\"}"), Some(1.0));
}

#[test]
fn quic_takes_many_streams_and_ends_when_idle() {
    let authority = Authority::new();
    let setup = encrypted(setup(), &authority).set("dns.tcp-timeout", "\"500ms\"");
    let (node, trusted) = (setup.start(), authority.trusted());
    let connection = Doq::new(&trusted, &[b"doq"]).connect(node.doq()).unwrap();
    let query = framed(&Query::from(WWW, A, ZURICH).id(0).bytes());
    for _ in 0..300 {
        let answer = exchange(&connection, &query).unwrap();
        assert_eq!(Reply::parse(&answer[2..]).address(), "192.0.2.10");
    }
    let code = closed_with(&connection);
    // Either of the two idle timers may be first: ours, or QUIC's own, which ends in silence.
    assert!(code == Some(NO_ERROR) || code.is_none(), "{code:?}");
    eventually("all are closed", || open(&node, "quic") == 0.0);
}

#[test]
fn a_node_that_ends_says_so_over_quic() {
    let authority = Authority::new();
    let (node, trusted) = (encrypted(setup(), &authority).start(), authority.trusted());
    let connection = Doq::new(&trusted, &[b"doq"]).connect(node.doq()).unwrap();
    assert!(exchange(&connection, &framed(&Query::new(WWW, A).id(0).bytes())).is_ok());
    node.stop();
    assert_eq!(closed_with(&connection), Some(NO_ERROR));
}

#[test]
fn places_are_limited() {
    let authority = Authority::new();
    let tls = "{ certificate = \"dns.pem\", key = \"dns.key\", per-client = 2 }";
    let setup = encrypted(setup(), &authority).set("dns.tls", tls).set("dns.tcp-per-client", "1");
    let (node, trusted) = (setup.start(), authority.trusted());
    let client = Doq::new(&trusted, &[b"doq"]);
    let mut held = Dot::connect(node.dot(), &trusted, &[b"dot"]).unwrap();
    let query = Query::new("fra.cdn.test", A).id(0);
    let quic = client.connect(node.doq()).unwrap();
    assert!(exchange(&quic, &framed(&query.bytes())).is_ok());
    // Those over TLS and QUIC have their places together, and those over TCP their own.
    assert_eq!(Dot::connect(node.dot(), &trusted, &[b"dot"]).err(), Some(Failed::Handshake));
    assert!(post(&query).over(node.doh(), Version::HTTP_2, Some(&trusted)).is_err());
    let third = client.connect(node.doq()).unwrap();
    assert_eq!(closed_with(&third), Some(EXCESSIVE_LOAD));
    let mut plain = Tcp::connect(node.dns());
    assert_eq!(plain.ask(&query).code(), ResponseCode::NoError);
    assert!(Tcp::connect(node.dns()).try_ask(&query).is_none());
    assert_eq!(held.ask_all(&[query]).len(), 1);
    let refused = ["tcp", "tls", "https", "quic"].map(|transport| event(&node, transport, "refused"));
    assert_eq!(refused, [1.0; 4]);
    quic.close(0u32.into(), b"");
    eventually("there is a place again", || Dot::connect(node.dot(), &trusted, &[b"dot"]).is_ok());
}

#[test]
fn slow_clients_by_the_thousand_do_not_hurt_others() {
    const EACH: usize = 1000;
    let authority = Authority::new();
    let tls = "{ certificate = \"dns.pem\", key = \"dns.key\", connections = 400, per-client = 300 }";
    let setup = encrypted(setup(), &authority)
        .set("dns.tls", tls)
        .set("dns.tcp-connections", "400")
        .set("dns.tcp-per-client", "300")
        .set("dns.tcp-timeout", "\"60s\"");
    let (node, trusted) = (setup.start(), authority.trusted());
    // Half of a query, and nothing more.
    let half = &framed(&Query::new(WWW, A).bytes())[..9];
    // The beginning of a record of TLS.
    let hello = [0x16, 3, 1, 2, 0, 1];
    let slow = |to: SocketAddr, bytes: &[u8]| {
        let open = |_| {
            let mut stream = TcpStream::connect(to).unwrap();
            // One that was refused may be gone by now.
            let _closed = std::io::Write::write_all(&mut stream, bytes);
            stream
        };
        (0..EACH).map(open).collect::<Vec<_>>()
    };
    let _tcp = slow(node.dns(), half);
    let _tls = slow(node.dot(), &hello);
    let _https = slow(node.doh(), &hello);
    // First packets of QUIC connections, from where nobody hears the answers.
    let sink = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    sink.set_read_timeout(Some(DEADLINE)).unwrap();
    let client = Doq::new(&trusted, &[b"doq"]);
    let mut first = [0; 2048];
    for _ in 0..EACH {
        let connecting = client.begin(sink.local_addr().unwrap());
        let length = sink.recv(&mut first).unwrap();
        sink.send_to(&first[..length], node.doq()).unwrap();
        drop(connecting);
    }
    eventually("TCP is full", || open(&node, "tcp") == 300.0 && event(&node, "tcp", "refused") == 700.0);
    let encrypted = || ["tls", "https", "quic"].map(|transport| open(&node, transport)).iter().sum::<f64>();
    eventually("TLS is full", || encrypted() <= 400.0 && event(&node, "https", "refused") == 1000.0);
    eventually("QUIC asks for proof", || event(&node, "quic", "retried") > 0.0);

    let query = Query::new("fra.cdn.test", A).id(0);
    for _ in 0..500 {
        assert_eq!(query.udp(node.dns()).address(), "192.0.2.10");
    }
    // Another client has its place on each of them.
    let from = |to: SocketAddr| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 9], 0)).into()).unwrap();
        socket.connect(&to.into()).unwrap();
        TcpStream::from(socket)
    };
    let mut other = from(node.dns());
    std::io::Write::write_all(&mut other, &framed(&query.bytes())).unwrap();
    let mut length = [0; 2];
    std::io::Read::read_exact(&mut other, &mut length).unwrap();
    assert!(u16::from_be_bytes(length) > 12);
}

#[test]
fn quic_of_many_addresses() {
    let authority = Authority::new();
    let setup = encrypted(setup(), &authority)
        .set("listen.doq", "[\"127.0.0.1:0\", \"127.0.0.2:0\", \"127.0.0.3:0\"]")
        .set("runtime.workers", "2");
    let (node, trusted) = (setup.start(), authority.trusted());
    let client = Doq::new(&trusted, &[b"doq"]);
    let query = framed(&Query::new("cdn.test", SOA).id(0).bytes());
    let addresses = node.control().addresses.doq.clone();
    assert_eq!(addresses.len(), 3);
    for address in addresses {
        let answer = exchange(&client.connect(address).unwrap(), &query).unwrap();
        assert_eq!(Reply::parse(&answer[2..]).0.answers[0].record_type(), SOA, "{address}");
    }
    let listeners = node.status()["listeners"].clone();
    assert_eq!(listeners["dot"][0], node.dot().to_string());
    assert_eq!(listeners["doh"][0], node.doh().to_string());
    assert_eq!(listeners["doq"].as_array().unwrap().len(), 3);
}
