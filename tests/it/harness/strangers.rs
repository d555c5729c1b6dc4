//! Clients by the thousand that take connections and give nothing: each says less than a whole query or handshake, or asks
//! and never reads.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::rr::RecordType::NS;
use socket2::{Domain, Socket, Type};

use super::dns::Query;
use super::encrypted::{Doq, framed};
use super::flood::sources;
use super::tls::Authority;

/// Files that a process may have open, this one among them.
const FILES: u64 = 16 << 10;

/// Opens `count` connections to `to`, where DNS is spoken over TCP. Those that are closed at once are as good: it is the node
/// that has to tell.
pub(crate) fn over_tcp(to: SocketAddr, count: usize) -> Vec<TcpStream> {
    let query = framed(&Query::new("cdn.test", NS).bytes());
    // Nothing, half a length, half a query, and more than the kernel takes of answers that nobody reads.
    hold(to, count, &[&[], &query[..1], &query[..20], &query.repeat(2000)])
}

/// The same where TLS is spoken before that.
pub(crate) fn over_tls(to: SocketAddr, count: usize) -> Vec<TcpStream> {
    // A record of a handshake with 512 bytes, which begins with a ClientHello of 508 (RFC 8446 sections 4 and 5.1).
    let hello = [&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 300]].concat();
    hold(to, count, &[&[], &hello[..3], &hello[..9], &hello])
}

fn hold(to: SocketAddr, count: usize, words: &[&[u8]]) -> Vec<TcpStream> {
    let files = rlimit::increase_nofile_limit(FILES).unwrap();
    assert!(files > 2 * count as u64, "{files} open files do not suffice for {count} connections");
    let sources: Vec<_> = sources().collect();
    let connect = |number: usize| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(sources[number % sources.len()], 0).into()).unwrap();
        socket.connect(&to.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.set_nonblocking(true).unwrap();
        let _closed_or_full = stream.write_all(words[number % words.len()]);
        stream
    };
    (0..count).map(connect).collect()
}

/// Begins `count` handshakes with `to` over QUIC, each from a port of its own, and says nothing more.
pub(crate) fn over_quic(to: SocketAddr, count: usize) -> Vec<UdpSocket> {
    let authority = Authority::new();
    let client = Doq::new(&authority.trusted(), &[b"doq"]);
    // Where the client believes the server to be.
    let trap = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    trap.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let sources: Vec<_> = sources().collect();
    let mut held: Vec<UdpSocket> = Vec::new();
    let mut packet = [0; 2048];
    let mut last = Vec::new();
    while held.len() < count {
        let beginning = client.begin(trap.local_addr().unwrap());
        // Connections are told from one another by their first id; what else comes is of one before.
        let length = loop {
            let length = trap.recv(&mut packet).unwrap();
            let id = packet[5..length.min(26)].to_vec();
            if length >= 1200 && id != last {
                last = id;
                break length;
            }
        };
        drop(beginning);
        let socket = UdpSocket::bind((sources[held.len() % sources.len()], 0)).unwrap();
        socket.send_to(&packet[..length], to).unwrap();
        held.push(socket);
    }
    held
}
