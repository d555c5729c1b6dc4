//! DNS over QUIC (RFC 9250), by quinn: one query and its answer on each stream that the client opens.
//!
//! A socket belongs to one worker: with several, packets of a connection whose client has moved to another address would
//! be given to another worker, who knows nothing of it. So a client may move, and is answered as whoever it is now.
//!
//! Whoever says that it begins a connection may lie about its address. The first few handshakes are taken nonetheless;
//! while [`UNPROVEN_MAX`] of them run, others have to show first that they get what is sent to them (a Retry, RFC 9000
//! section 8.1.2), which costs us one packet and no memory. Only who has shown it counts against the limits of its client, so
//! that nobody uses up those of another. Windows bound what quinn keeps of what was not read or taken yet. What was read waits
//! in memory of ours: of each stream at most a query, then at most an answer. There is no early data (section 4.5 of RFC 9250: it could be replayed).

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quinn::{
    Connection, Endpoint, EndpointConfig, Incoming, ReadError, RecvStream, SendStream, ServerConfig, TokioRuntime,
    TransportConfig, VarInt,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, error};

use super::conversation::{frame, is_too_long};
use super::streams::{Place, Streams};
use super::{Plane, QUERY_MAX};
use crate::message::decode;
use crate::metrics::{ConnectionEvent, Dropped, Transport};
use crate::respond::Desk;

/// Handshakes that may run with clients that have not shown that they are where they say.
const UNPROVEN_MAX: usize = 64;

/// Connections that wait for us to look at them; we do so at once.
const INCOMING_MAX: usize = 256;

/// Queries of one connection that may run at once.
const STREAMS_MAX: u32 = 100;

/// Bytes of a query with its length.
const STREAM_MAX: usize = 2 + QUERY_MAX;

/// Bytes that are read at once.
const PIECE: usize = 512;

/// Bytes that a client may send ahead on all streams of a connection, and the most of answers that wait for it.
const WINDOW: u32 = 128 << 10;

/// For the last words.
const FAREWELL: Duration = Duration::from_secs(1);

/// RFC 9250 section 4.3, the codes that we use.
const NO_ERROR: VarInt = VarInt::from_u32(0);
const INTERNAL_ERROR: VarInt = VarInt::from_u32(1);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(4);

/// Why a connection cannot go on: RFC 9250 section 4.3.3, "[..] it is considered a fatal error. It SHOULD forcibly abort
/// the connection using QUIC's CONNECTION_CLOSE mechanism and SHOULD use the DoQ error code DOQ_PROTOCOL_ERROR."
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// "a server receives more than one query on a stream", or other bytes after it.
    Surplus,
    /// "[..] receives a STREAM FIN before receiving all the bytes for a message indicated in the 2-octet length field".
    Incomplete,
    /// "a client or server receives a message with a non-zero Message ID".
    MessageId,
    /// "an implementation receives a message containing the edns-tcp-keepalive EDNS(0) Option".
    Keepalive,
    /// What it sent is no query.
    NoQuery,
}

/// A handshake with a client that has not shown where it is.
struct Unproven(Arc<AtomicUsize>);

/// Takes over a bound socket.
///
/// # Errors
/// When it cannot be used.
pub(super) fn endpoint(socket: UdpSocket, streams: &Streams) -> io::Result<Endpoint> {
    let mut transport = TransportConfig::default();
    let idle = streams.timeout.try_into().map_err(io::Error::other)?;
    transport
        .max_concurrent_bidi_streams(STREAMS_MAX.into())
        // "a client or server attempts to open a unidirectional QUIC stream": there are none.
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(Some(idle))
        .stream_receive_window(VarInt::from_u32(STREAM_MAX as u32))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(u64::from(WINDOW))
        .datagram_receive_buffer_size(None);
    let mut config = ServerConfig::with_crypto(streams.tls.doq.clone());
    config
        .transport_config(Arc::new(transport))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(16 << 10)
        .incoming_buffer_size_total(1 << 20);
    Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(TokioRuntime))
}

/// Takes connections and answers on them until the socket fails; the owner drops it and all connections with it.
pub(super) async fn run(endpoint: Endpoint, plane: Plane, streams: Streams) {
    let (plane, streams, unproven) = (Arc::new(plane), Arc::new(streams), Arc::new(AtomicUsize::new(0)));
    let mut connections = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            Some(incoming) = endpoint.accept() => incoming,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    error!(%error, "a QUIC connection failed: a bug");
                }
                continue;
            }
            else => return,
        };
        if let Some(guest) = door(incoming, &plane, &streams, &unproven) {
            let (plane, streams) = (plane.clone(), streams.clone());
            connections.spawn(async move { guest.serve(&plane, &streams).await });
        }
    }
}

/// Tells all clients that it ends.
pub(super) async fn close(endpoint: &Endpoint) {
    endpoint.close(NO_ERROR, b"");
    let _some_do_not_hear = timeout(FAREWELL, endpoint.wait_idle()).await;
}

/// A connection that may begin.
struct Guest {
    incoming: Incoming,
    entry: Entry,
}

enum Entry {
    Proven(Place),
    Unproven(Unproven),
}

fn door(incoming: Incoming, plane: &Plane, streams: &Streams, unproven: &Arc<AtomicUsize>) -> Option<Guest> {
    if incoming.remote_address_validated() {
        return match streams.admit(plane, incoming.remote_address(), Transport::Quic) {
            Some(place) => Some(Guest { incoming, entry: Entry::Proven(place) }),
            None => {
                incoming.refuse();
                None
            }
        };
    }
    if unproven.fetch_add(1, Ordering::Relaxed) < UNPROVEN_MAX {
        return Some(Guest { incoming, entry: Entry::Unproven(Unproven(unproven.clone())) });
    }
    drop(Unproven(unproven.clone()));
    plane.metrics.connection(Transport::Quic, ConnectionEvent::Retried).inc();
    if let Err(error) = incoming.retry() {
        error.into_incoming().ignore();
    }
    None
}

impl Drop for Unproven {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Guest {
    async fn serve(self, plane: &Arc<Plane>, streams: &Streams) {
        let count = |event| _ = plane.metrics.connection(Transport::Quic, event).inc();
        let connecting = match self.incoming.accept() {
            Ok(connecting) => connecting,
            Err(error) => {
                debug!(%error, "QUIC connection not accepted");
                return count(ConnectionEvent::HandshakeFailed);
            }
        };
        let connection = match timeout(streams.handshake_patience(Transport::Quic), connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                debug!(%error, "QUIC handshake failed");
                return count(ConnectionEvent::HandshakeFailed);
            }
            Err(_) => return count(ConnectionEvent::HandshakeTimeout),
        };
        let _place = match self.entry {
            Entry::Proven(place) => place,
            Entry::Unproven(slot) => {
                // The end of its handshake shows where it is.
                drop(slot);
                match streams.admit(plane, connection.remote_address(), Transport::Quic) {
                    Some(place) => place,
                    None => return connection.close(EXCESSIVE_LOAD, b""),
                }
            }
        };
        match converse(&connection, plane, streams).await {
            End::Gone => {}
            End::Idle => {
                count(ConnectionEvent::Idle);
                connection.close(NO_ERROR, b"");
            }
            End::Fault(fault) => {
                debug!(?fault, "DNS over QUIC misused");
                count(ConnectionEvent::ProtocolError);
                connection.close(PROTOCOL_ERROR, b"");
            }
        }
    }
}

/// How a connection ended.
enum End {
    Gone,
    Idle,
    Fault(Fault),
}

/// Answers the queries of one connection until it ends. Streams that bring no whole query do not keep it open, however many
/// there are; answers that wait to be taken do, each for its own time.
async fn converse(connection: &Connection, plane: &Arc<Plane>, streams: &Streams) -> End {
    let mut asking: JoinSet<Result<Option<Answer>, Fault>> = JoinSet::new();
    let mut answering: JoinSet<()> = JoinSet::new();
    let mut since = Instant::now();
    loop {
        let patience = streams.patience(Transport::Quic);
        let wake = match streams.wake(Transport::Quic, since) {
            Some(wake) => wake,
            None if answering.is_empty() => return End::Idle,
            None => Instant::now() + patience,
        };
        tokio::select! {
            opened = connection.accept_bi() => match opened {
                Ok((send, receive)) => {
                    let exchange = Exchange { send, receive, peer: connection.remote_address(), plane: plane.clone() };
                    asking.spawn(exchange.run(patience));
                }
                Err(error) => {
                    debug!(%error, "QUIC connection ended");
                    return End::Gone;
                }
            },
            Some(ended) = asking.join_next() => match ended {
                Ok(Ok(Some(answer))) => {
                    since = Instant::now();
                    answering.spawn(answer.send(patience));
                }
                Ok(Ok(None)) => {}
                Ok(Err(fault)) => return End::Fault(fault),
                Err(error) => error!(%error, "an exchange over QUIC failed: a bug"),
            },
            Some(ended) = answering.join_next() => {
                if let Err(error) = ended {
                    error!(%error, "an answer over QUIC failed: a bug");
                }
            },
            () = sleep_until(wake) => {}
        }
    }
}

/// A stream that brings a query.
struct Exchange {
    send: SendStream,
    receive: RecvStream,
    peer: SocketAddr,
    plane: Arc<Plane>,
}

/// An answer and the stream that it goes to.
struct Answer {
    send: SendStream,
    framed: Vec<u8>,
    plane: Arc<Plane>,
}

impl Exchange {
    async fn run(mut self, patience: Duration) -> Result<Option<Answer>, Fault> {
        match self.answer(patience).await {
            Ok(framed) => Ok(framed.map(|framed| Answer { send: self.send, framed, plane: self.plane })),
            Err(fault) => {
                // Else the stream would end in order when it is dropped, which looks like an answer of no bytes.
                abort(&mut self.send, PROTOCOL_ERROR);
                Err(fault)
            }
        }
    }

    /// The answer, if there is one, to what comes within `patience`.
    async fn answer(&mut self, patience: Duration) -> Result<Option<Vec<u8>>, Fault> {
        let bytes = match timeout(patience, read(&mut self.receive)).await {
            Ok(Ok(bytes)) => bytes,
            // The client has changed its mind, or is gone.
            Ok(Err(_)) => return Ok(None),
            Err(_) => {
                self.refuse();
                return Ok(None);
            }
        };
        if is_too_long(&bytes) {
            self.plane.count_drop(Dropped::Long);
            self.refuse();
            return Ok(None);
        }
        let (query, mut answer) = (query(&bytes)?, Vec::new());
        match self.plane.respond(query, self.peer, Transport::Quic, &mut Desk::default(), &mut answer) {
            Ok(()) => {}
            Err(reason) => {
                self.plane.count_drop(reason);
                return match reason {
                    Dropped::Short | Dropped::Response => Err(Fault::NoQuery),
                    Dropped::Long | Dropped::Source | Dropped::Send | Dropped::Limited => {
                        abort(&mut self.send, INTERNAL_ERROR);
                        Ok(None)
                    }
                };
            }
        }
        let mut framed = Vec::with_capacity(2 + answer.len());
        frame(&answer, &mut framed);
        Ok(Some(framed))
    }

    /// No more of it is read, and it has no answer.
    fn refuse(&mut self) {
        let _gone_already = self.receive.stop(EXCESSIVE_LOAD);
        abort(&mut self.send, EXCESSIVE_LOAD);
    }
}

impl Answer {
    /// Gives it up when the client does not take it within `patience`.
    async fn send(mut self, patience: Duration) {
        match timeout(patience, self.send.write_all(&self.framed)).await {
            Ok(Ok(())) => _ = self.send.finish(),
            Ok(Err(error)) => debug!(%error, "answer over QUIC not taken"),
            Err(_) => {
                self.plane.metrics.connection(Transport::Quic, ConnectionEvent::Unread).inc();
                abort(&mut self.send, EXCESSIVE_LOAD);
            }
        }
    }
}

fn abort(send: &mut SendStream, code: VarInt) {
    let _gone_already = send.reset(code);
}

/// All that a stream brings, or enough of it to be too much. It is copied: the pieces that quinn has keep whole
/// datagrams, whatever else was in them.
async fn read(receive: &mut RecvStream) -> Result<Vec<u8>, ReadError> {
    let (mut bytes, mut piece) = (Vec::new(), [0; PIECE]);
    while bytes.len() <= STREAM_MAX && !is_too_long(&bytes) {
        let Some(length) = receive.read(&mut piece).await? else { break };
        bytes.extend_from_slice(&piece[..length]);
    }
    Ok(bytes)
}

/// The one query of a stream (RFC 9250 section 4.2): a length of two octets, and so many bytes.
fn query(bytes: &[u8]) -> Result<&[u8], Fault> {
    let (length, query) = bytes.split_first_chunk().ok_or(Fault::Incomplete)?;
    match query.len().cmp(&usize::from(u16::from_be_bytes(*length))) {
        std::cmp::Ordering::Less => Err(Fault::Incomplete),
        std::cmp::Ordering::Greater => Err(Fault::Surplus),
        // Section 4.2.1: "When sending queries over a QUIC connection, the DNS Message ID MUST be set to 0."
        std::cmp::Ordering::Equal if query.iter().take(2).any(|byte| *byte != 0) => Err(Fault::MessageId),
        std::cmp::Ordering::Equal if has_keepalive(query) => Err(Fault::Keepalive),
        std::cmp::Ordering::Equal => Ok(query),
    }
}

/// QUIC has timeouts of its own, so that this option has no meaning (RFC 9250 section 5.5.2).
fn has_keepalive(query: &[u8]) -> bool {
    decode(query).is_ok_and(|request| request.edns.is_some_and(|edns| edns.keepalive))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn one_query_a_stream() {
        type Row<'a> = (&'a str, &'a [u8], Result<&'a [u8], Fault>);
        let rows: [Row<'_>; 9] = [
            ("a query", &[0, 4, 0, 0, 1, 0], Ok(&[0, 0, 1, 0])),
            ("nothing", &[], Err(Fault::Incomplete)),
            ("half a length", &[0], Err(Fault::Incomplete)),
            ("less than was said", &[0, 5, 0, 0, 1, 0], Err(Fault::Incomplete)),
            ("more than was said", &[0, 3, 0, 0, 1, 0], Err(Fault::Surplus)),
            ("two", &[0, 2, 0, 0, 0, 2, 0, 0], Err(Fault::Surplus)),
            ("an id", &[0, 3, 0, 1, 1], Err(Fault::MessageId)),
            ("an id's first half", &[0, 3, 1, 0, 1], Err(Fault::MessageId)),
            ("an empty one is left to whoever reads queries", &[0, 0], Ok(&[])),
        ];
        for (name, bytes, wanted) in rows {
            assert_eq!(query(bytes), wanted, "{name}");
        }
    }

    #[test]
    fn keepalive_is_a_fault() {
        const COOKIE: [u8; 12] = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
        const KEEPALIVE: [u8; 4] = [0, 11, 0, 0];
        let rows: [(&str, Vec<u8>, bool); 4] = [
            ("no option", vec![], false),
            ("a cookie", COOKIE.to_vec(), false),
            ("keepalive", KEEPALIVE.to_vec(), true),
            ("keepalive after a cookie", [&COOKIE[..], &KEEPALIVE].concat(), true),
        ];
        for (name, options, wanted) in rows {
            let mut packet = fixture::query_with("cdn.example.net", 6, &options);
            packet[..2].fill(0);
            let mut framed = Vec::new();
            frame(&packet, &mut framed);
            let wanted = if wanted { Err(Fault::Keepalive) } else { Ok(&packet[..]) };
            assert_eq!(query(&framed), wanted, "{name}");
        }
        assert!(!has_keepalive(&fixture::query("cdn.example.net", 6)), "no OPT at all");
    }
}
