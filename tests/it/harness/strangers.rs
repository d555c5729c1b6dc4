//! Clients by the thousand that take connections and give nothing: each says less than a whole query, or asks and never
//! reads.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use hickory_proto::rr::RecordType::NS;
use socket2::{Domain, Socket, Type};

use super::dns::Query;
use super::flood::sources;

/// Files that a process may have open, this one among them.
const FILES: u64 = 16 << 10;

/// Opens `count` connections to `to`, from several networks, and leaves each in the middle of something. Those that are
/// closed at once are as good: it is the node that has to tell.
pub(crate) fn over_tcp(to: SocketAddr, count: usize) -> Vec<TcpStream> {
    let files = rlimit::increase_nofile_limit(FILES).unwrap();
    assert!(files > 2 * count as u64, "{files} open files do not suffice for {count} connections");
    let query = Query::new("cdn.test", NS).bytes();
    let framed = [&u16::try_from(query.len()).unwrap().to_be_bytes()[..], &query].concat();
    let sources: Vec<_> = sources().collect();
    let connect = |number: usize| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(sources[number % sources.len()], 0).into()).unwrap();
        socket.connect(&to.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        // Nothing, half a length, half a query, and more than the kernel takes of answers that nobody reads.
        let _closed = match number % 4 {
            0 => Ok(()),
            1 => stream.write_all(&framed[..1]),
            2 => stream.write_all(&framed[..20]),
            _ => stream.set_nonblocking(true).and_then(|()| stream.write_all(&framed.repeat(2000))),
        };
        stream
    };
    (0..count).map(connect).collect()
}
