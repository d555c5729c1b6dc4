//! Real sockets on loopback: what goes in and what comes out, over UDP and TCP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use nearcast_shared::clock::Clock;
use nearcast_shared::health::Forced;
use nearcast_shared::metrics::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::fixture;

const DEADLINE: Duration = Duration::from_secs(10);
const UDP: Udp = Udp { worker: 0, receive_buffer: 1 << 20, answer_max: 1232, remembered: 64 };

pub(super) fn streams() -> Streams {
    Streams {
        plain: Clients::new(8, 4),
        encrypted: Clients::new(8, 4),
        timeout: DEADLINE,
        handshake_timeout: DEADLINE,
        tls: Tls::new(&Arc::default()).unwrap(),
        doh_path: "/dns-query".into(),
    }
}

struct Node {
    udp: SocketAddr,
    tcp: SocketAddr,
    health: Arc<HealthBoard>,
    view: Arc<ArcSwap<View>>,
    metrics: Metrics,
    dns: Arc<DnsMetrics>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServeError>>,
}

fn plane(view: &Arc<ArcSwap<View>>, health: &Arc<HealthBoard>, metrics: &Arc<DnsMetrics>) -> Plane {
    let (view, health, metrics) = (view.clone(), health.clone(), metrics.clone());
    let manners = Arc::new(ArcSwap::from_pointee(fixture::manners("")));
    let (log, clock, signers) = (QueryLog::off(), Clock::System, fixture::signers());
    Plane { view, health, texts: Arc::default(), manners, log, signers, metrics, clock }
}

fn start() -> Node {
    start_with(streams())
}

fn start_with(streams: Streams) -> Node {
    let config = fixture::config(fixture::CONFIG, "sin");
    let metrics = Metrics::new();
    let dns = Arc::new(DnsMetrics::register(&metrics));
    let view = Arc::new(ArcSwap::from_pointee(View::compile(&config, fixture::geo(), &dns).unwrap()));
    let health = HealthBoard::new(&config, None, &Clock::System).unwrap();
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let tcp = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (stop, stopped) = oneshot::channel();
    let (udp_address, tcp_address) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    let sockets = Sockets { udp: vec![udp], tcp: vec![tcp], ..Sockets::default() };
    let shutdown = async {
        let _either = stopped.await;
    };
    let plane = plane(&view, &health, &dns);
    let task = tokio::spawn(serve(sockets, plane, UDP, streams, shutdown));
    Node { udp: udp_address, tcp: tcp_address, health, view, metrics, dns, stop, task }
}

impl Node {
    async fn ask_udp(&self, packets: &[&[u8]]) -> Vec<u8> {
        let client = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        client.connect(self.udp).await.unwrap();
        for packet in packets {
            client.send(packet).await.unwrap();
        }
        let mut reply = vec![0; 4096];
        let length = tokio::time::timeout(DEADLINE, client.recv(&mut reply)).await.unwrap().unwrap();
        reply.truncate(length);
        reply
    }

    async fn ask_tcp(&self, packets: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut stream = TcpStream::connect(self.tcp).await.unwrap();
        let framed: Vec<u8> = packets.iter().flat_map(|packet| frame(packet)).collect();
        stream.write_all(&framed).await.unwrap();
        let mut replies = Vec::new();
        for _ in packets {
            let length = tokio::time::timeout(DEADLINE, stream.read_u16()).await.unwrap().unwrap();
            let mut reply = vec![0; usize::from(length)];
            stream.read_exact(&mut reply).await.unwrap();
            replies.push(reply);
        }
        replies
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        tokio::time::timeout(DEADLINE, self.task).await.unwrap().unwrap().unwrap();
    }
}

fn frame(packet: &[u8]) -> Vec<u8> {
    [&u16::try_from(packet.len()).unwrap().to_be_bytes()[..], packet].concat()
}

fn read(reply: &[u8]) -> Message {
    Message::from_vec(reply).unwrap()
}

fn address(message: &Message) -> String {
    message.answers[0].data.to_string()
}

#[tokio::test]
async fn both_transports_give_the_same_answer() {
    let node = start();
    let rows = [
        ("steered", fixture::query_with("wWw.cdn.example.NET", 1, &fixture::subnet("5.1.2.0/24"))),
        ("steered, plain", fixture::query("www.cdn.example.net", 28)),
        ("NS", fixture::query("cdn.example.net", 2)),
        ("NXDOMAIN", fixture::query_with("no.cdn.example.net", 1, &[])),
        ("REFUSED", fixture::query_with("example.org", 1, &[])),
        ("bad ECS", fixture::query_with("www.cdn.example.net", 1, &[0, 8, 0, 5, 0, 1, 1, 0, 0xff])),
    ];
    for (name, packet) in &rows {
        let over_udp = node.ask_udp(&[packet]).await;
        let over_tcp = node.ask_tcp(&[packet]).await.remove(0);
        assert_eq!(read(&over_udp), read(&over_tcp), "{name}");
        let end = 12 + packet[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
        assert_eq!(over_tcp[12..end], packet[12..end], "{name}: the question is echoed");
    }
    node.stop().await;
}

#[tokio::test]
async fn tcp_answers_queries_in_a_row() {
    let node = start();
    let first = fixture::query("fra.cdn.example.net", 1);
    let second = fixture::query("sin.cdn.example.net", 1);
    let replies = node.ask_tcp(&[&first, &second, &first]).await;
    let addresses: Vec<String> = replies.iter().map(|reply| address(&read(reply))).collect();
    assert_eq!(addresses, ["192.0.2.10", "203.0.113.10", "192.0.2.10"]);
    node.stop().await;
}

#[tokio::test]
async fn health_and_views_are_used_at_once() {
    let node = start();
    let query = fixture::query_with("www.cdn.example.net", 1, &fixture::subnet("5.1.2.0/24"));
    assert_eq!(address(&read(&node.ask_udp(&[&query]).await)), "192.0.2.10");
    node.health.force("fra", Some(Forced::Drain.into())).unwrap();
    assert_eq!(address(&read(&node.ask_udp(&[&query]).await)), "198.51.100.10");
    assert_eq!(address(&read(&node.ask_tcp(&[&query]).await[0])), "198.51.100.10");

    let config = fixture::config(&fixture::CONFIG.replace("198.51.100.10\"", "198.51.100.99\""), "sin");
    node.view.store(Arc::new(View::compile(&config, fixture::geo(), &node.dns).unwrap()));
    assert_eq!(address(&read(&node.ask_udp(&[&query]).await)), "198.51.100.99");
    node.stop().await;
}

#[tokio::test]
async fn silence_and_its_counters() {
    let node = start();
    let query = fixture::query("cdn.example.net", 6);
    let mut response = query.clone();
    response[2] |= 0x80;
    response[0] = 0x99;
    // The first reply is that to the last packet: the others had none.
    let reply = read(&node.ask_udp(&[&[1, 2, 3], &response, &[], &query]).await);
    assert_eq!((reply.id, reply.answers[0].record_type()), (0x1234, RecordType::SOA));
    let text = node.metrics.render();
    for line in [
        "nearcast_dns_dropped_total{reason=\"short\"} 2",
        "nearcast_dns_dropped_total{reason=\"response\"} 1",
        "nearcast_dns_queries_total{type=\"SOA\",rcode=\"NOERROR\",transport=\"udp\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    node.stop().await;
}

#[tokio::test]
async fn every_answer_is_counted() {
    let node = start();
    let steered = fixture::query_with("www.cdn.example.net", 28, &fixture::subnet("5.1.2.0/24"));
    node.ask_udp(&[&steered]).await;
    node.ask_tcp(&[&steered, &steered]).await;
    node.ask_udp(&[&fixture::query("no.cdn.example.net", 16)]).await;
    let text = node.metrics.render();
    for line in [
        "nearcast_dns_queries_total{type=\"AAAA\",rcode=\"NOERROR\",transport=\"udp\"} 1",
        "nearcast_dns_queries_total{type=\"AAAA\",rcode=\"NOERROR\",transport=\"tcp\"} 2",
        "nearcast_dns_queries_total{type=\"TXT\",rcode=\"NXDOMAIN\",transport=\"udp\"} 1",
        "nearcast_dns_answers_total{pop=\"fra\",cause=\"first\"} 3",
        "nearcast_dns_rankings_total{from=\"geo\"} 3",
        "nearcast_dns_client_subnets_total{subnet=\"ipv4\"} 3",
        "nearcast_dns_client_subnets_total{subnet=\"none\"} 1",
        "nearcast_dns_scopes_total{family=\"ipv4\",length=\"9-12\"} 3",
        "nearcast_dns_answers_total{pop=\"iad\",cause=\"first\"} 0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    node.stop().await;
}

#[tokio::test]
async fn tcp_takes_what_udp_takes() {
    let node = start();
    let mut two_questions = fixture::query("www.cdn.example.net", 1);
    two_questions[5] = 2;
    two_questions.extend_from_within(12..);
    let mut two_opts = fixture::query_with("www.cdn.example.net", 1, &[]);
    two_opts[11] = 2;
    two_opts.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
    let rows = [
        ("family 0", fixture::query_with("www.cdn.example.net", 1, &[0, 8, 0, 4, 0, 0, 0, 0]), ResponseCode::NoError),
        ("family 3", fixture::query_with("www.cdn.example.net", 1, &[0, 8, 0, 4, 0, 3, 0, 0]), ResponseCode::FormErr),
        ("two questions", two_questions, ResponseCode::FormErr),
        ("two OPT records", two_opts, ResponseCode::FormErr),
        (
            "a name without an end",
            [&[0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], &[63, 1][..]].concat(),
            ResponseCode::FormErr,
        ),
    ];
    for (name, packet, code) in rows {
        let over_tcp = node.ask_tcp(&[&packet]).await.remove(0);
        assert_eq!(node.ask_udp(&[&packet]).await, over_tcp, "{name}: byte for byte");
        assert_eq!(over_tcp[3] & 0x0f, code.low(), "{name}");
    }
    node.stop().await;
}

#[tokio::test]
async fn tcp_drops_what_udp_drops_and_goes_on() {
    let node = start();
    let query = fixture::query("cdn.example.net", 6);
    let mut response = query.clone();
    response[2] |= 0x80;
    let mut stream = TcpStream::connect(node.tcp).await.unwrap();
    stream.write_all(&[frame(&[1, 2, 3]), frame(&response), frame(&query)].concat()).await.unwrap();
    // A client may say that it sends no more, and still wants its answer.
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(usize::from(u16::from_be_bytes([rest[0], rest[1]])), rest.len() - 2, "one answer");
    assert_eq!(read(&rest[2..]).answers[0].record_type(), RecordType::SOA);
    let text = node.metrics.render();
    for line in ["nearcast_dns_dropped_total{reason=\"short\"} 1", "nearcast_dns_dropped_total{reason=\"response\"} 1"]
    {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    node.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let node = start();
    let query = fixture::query("cdn.example.net", 6);
    let ask = async |stream: &mut TcpStream| -> io::Result<u16> {
        stream.write_all(&frame(&query)).await?;
        let length = stream.read_u16().await?;
        stream.read_exact(&mut vec![0; usize::from(length)]).await?;
        Ok(length)
    };
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(node.tcp).await.unwrap();
        ask(&mut stream).await.unwrap();
        held.push(stream);
    }
    let mut fifth = TcpStream::connect(node.tcp).await.unwrap();
    assert!(tokio::time::timeout(DEADLINE, ask(&mut fifth)).await.unwrap().is_err());
    assert!(node.metrics.render().contains("nearcast_dns_connections_total{transport=\"tcp\",event=\"refused\"} 1"));
    for stream in &mut held {
        ask(stream).await.unwrap();
    }
    drop(held.pop());
    tokio::time::timeout(DEADLINE, async {
        // Until the end of the other one was seen.
        loop {
            let mut stream = TcpStream::connect(node.tcp).await.unwrap();
            if ask(&mut stream).await.is_ok() {
                break;
            }
        }
    })
    .await
    .unwrap();
    node.stop().await;
}

#[tokio::test]
async fn who_does_not_read_is_closed_too() {
    let node = start_with(Streams { timeout: Duration::from_millis(300), ..streams() });
    let mut stream = TcpStream::connect(node.tcp).await.unwrap();
    let query = frame(&fixture::query("cdn.example.net", 2));
    // More than all buffers on the way hold: in the end the node can no longer write, and no longer reads.
    let flood = async {
        let many = query.repeat(1000);
        while stream.write_all(&many).await.is_ok() {}
    };
    tokio::time::timeout(DEADLINE, flood).await.expect("closed in time");
    node.stop().await;
}

#[tokio::test]
async fn more_than_a_batch_at_once() {
    let node = start();
    let client = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    client.connect(node.udp).await.unwrap();
    let query = fixture::query("fra.cdn.example.net", 1);
    // Fewer than the smallest usual receive buffer holds.
    for _ in 0..150 {
        client.send(&query).await.unwrap();
    }
    let mut reply = [0; 512];
    for _ in 0..150 {
        tokio::time::timeout(DEADLINE, client.recv(&mut reply)).await.unwrap().unwrap();
    }
    node.stop().await;
}

#[tokio::test]
async fn what_waits_is_answered_before_the_end() {
    let node = start();
    let client = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    client.connect(node.udp).await.unwrap();
    let query = fixture::query("fra.cdn.example.net", 1);
    for _ in 0..70 {
        client.send(&query).await.unwrap();
    }
    node.stop().await;
    for _ in 0..70 {
        client.try_recv(&mut [0; 512]).unwrap();
    }
}

#[tokio::test]
async fn what_is_too_long_is_dropped_and_counted() {
    let node = start();
    let query = fixture::query("cdn.example.net", 6);
    let padded = |length: usize| [&query[..], &vec![0; length - query.len()]].concat();
    let mut long = padded(4097);
    long[0] = 0x99;
    // The first reply is that to the second: the one before had none.
    let reply = read(&node.ask_udp(&[&long, &padded(4096)]).await);
    assert_eq!(reply.id, 0x1234);
    assert!(node.metrics.render().contains("nearcast_dns_dropped_total{reason=\"long\"} 1"));
    node.stop().await;
}

#[tokio::test]
async fn several_addresses_are_served_by_one_thread_each_from_its_own() {
    let config = fixture::config(fixture::CONFIG, "sin");
    let metrics = Arc::new(fixture::metrics());
    let view = Arc::new(ArcSwap::from_pointee(View::compile(&config, fixture::geo(), &metrics).unwrap()));
    let health = HealthBoard::new(&config, None, &Clock::System).unwrap();
    let bind = |ip: IpAddr| UdpSocket::bind((ip, 0)).unwrap();
    let udp = vec![bind([127, 0, 0, 1].into()), bind([127, 0, 0, 2].into()), bind(Ipv6Addr::LOCALHOST.into())];
    let addresses: Vec<SocketAddr> = udp.iter().map(|socket| socket.local_addr().unwrap()).collect();
    let (stop, stopped) = oneshot::channel::<()>();
    let sockets = Sockets { udp, ..Sockets::default() };
    let shutdown = async {
        let _either = stopped.await;
    };
    let task = tokio::spawn(serve(sockets, plane(&view, &health, &metrics), UDP, streams(), shutdown));
    for address in addresses {
        let client = tokio::net::UdpSocket::bind(SocketAddr::new(address.ip(), 0)).await.unwrap();
        client.send_to(&fixture::query("fra.cdn.example.net", 1), address).await.unwrap();
        let mut reply = [0; 512];
        let (length, from) = tokio::time::timeout(DEADLINE, client.recv_from(&mut reply)).await.unwrap().unwrap();
        assert_eq!((super::tests::address(&read(&reply[..length])), from), ("192.0.2.10".to_owned(), address));
    }
    drop(stop);
    assert!(tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap().is_ok());
}

#[tokio::test]
async fn stopping_frees_the_sockets() {
    let node = start();
    let (udp, tcp) = (node.udp, node.tcp);
    let open = TcpStream::connect(tcp).await.unwrap();
    node.stop().await;
    drop(open);
    UdpSocket::bind(udp).unwrap();
    assert!(TcpStream::connect(tcp).await.is_err());
}

#[tokio::test]
async fn one_transport_is_enough() {
    let view = Arc::new(ArcSwap::from_pointee(fixture::view()));
    let health = HealthBoard::new(&fixture::config(fixture::CONFIG, "sin"), None, &Clock::System).unwrap();
    let metrics = Arc::new(fixture::metrics());
    let plane = plane(&view, &health, &metrics);
    let ended = serve(Sockets::default(), plane, UDP, streams(), std::future::ready(())).await;
    assert!(ended.is_ok());
}

#[tokio::test]
async fn many_queries_at_once_are_answered_in_their_order() {
    let node = start();
    let names = ["fra", "iad", "sin"];
    // More bytes than one read takes, of answers and of queries.
    let queries: Vec<Vec<u8>> = (0..2000u16)
        .map(|id| {
            let name = format!("{}.cdn.example.net", names[usize::from(id) % 3]);
            let mut query = fixture::query(&name, 28);
            query[..2].copy_from_slice(&id.to_be_bytes());
            query
        })
        .collect();
    let (mut read, mut write) = TcpStream::connect(node.tcp).await.unwrap().into_split();
    let framed: Vec<u8> = queries.iter().flat_map(|query| frame(query)).collect();
    let writing = tokio::spawn(async move {
        write.write_all(&framed).await.unwrap();
        write
    });
    for id in 0..2000u16 {
        let length = tokio::time::timeout(DEADLINE, read.read_u16()).await.unwrap().unwrap();
        let mut reply = vec![0; usize::from(length)];
        read.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply[..2], id.to_be_bytes());
    }
    drop(writing.await.unwrap());
    node.stop().await;
}

#[tokio::test]
async fn queries_in_pieces() {
    let node = start();
    let query = frame(&fixture::query("fra.cdn.example.net", 1));
    let two = query.repeat(2);
    // Where the first write ends: within the length, the header, the name, and the second query.
    for cut in [1, 2, 3, 20, query.len(), query.len() + 1, query.len() + 5] {
        let mut stream = TcpStream::connect(node.tcp).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(&two[..cut]).await.unwrap();
        if cut >= query.len() {
            let length = tokio::time::timeout(DEADLINE, stream.read_u16()).await.unwrap().unwrap();
            stream.read_exact(&mut vec![0; usize::from(length)]).await.unwrap();
        } else {
            tokio::task::yield_now().await;
        }
        stream.write_all(&two[cut..]).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
        assert!(rest.len() > 12, "{cut}");
    }
    node.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let node = start_with(Streams { timeout: Duration::from_millis(300), ..streams() });
    let query = frame(&fixture::query("cdn.example.net", 6));
    let (mut idle, mut busy) =
        (TcpStream::connect(node.tcp).await.unwrap(), TcpStream::connect(node.tcp).await.unwrap());
    // A part of a query is none, however often more of it comes.
    idle.write_all(&query[..5]).await.unwrap();
    let mut byte = [0];
    let closed = async { idle.read(&mut byte).await.unwrap() };
    let asking = async {
        loop {
            busy.write_all(&query).await.unwrap();
            let length = busy.read_u16().await.unwrap();
            busy.read_exact(&mut vec![0; usize::from(length)]).await.unwrap();
        }
    };
    let seen = tokio::time::timeout(DEADLINE, async {
        tokio::select! {
            read = closed => read,
            () = asking => unreachable!("it goes on"),
        }
    });
    assert_eq!(seen.await.unwrap(), 0);
    let text = node.metrics.render();
    for line in [
        "nearcast_dns_connections_total{transport=\"tcp\",event=\"opened\"} 2",
        "nearcast_dns_connections_total{transport=\"tcp\",event=\"idle\"} 1",
        "nearcast_dns_connections_open{transport=\"tcp\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    node.stop().await;
}
