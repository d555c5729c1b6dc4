//! DNS over QUIC (RFC 9250), by quinn: one query and its answer on each stream that the client opens.
//!
//! A socket belongs to one worker: with several, packets of a connection whose client has moved to another address would
//! be given to another worker, who knows nothing of it. So a client may move, and is answered as whoever it is now.
//!
//! Whoever says that it begins a connection may lie about its address. The first few handshakes are taken nonetheless;
//! while [`UNPROVEN_MAX`] of them run, others have to show first that they get what is sent to them (a Retry, RFC 9000
//! section 8.1.2), which costs us one packet and no memory. Only who has shown it counts against the limits of its client, so
//! that nobody uses up those of another. What a client may have waiting here is bounded by windows: of what it sends, and of
//! what it does not take. There is no early data (section 4.5 of RFC 9250: it could be replayed).

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::base::Message;
use domain::base::iana::OptionCode;
use domain::base::opt::UnknownOptData;
use quinn::{
    Connection, Endpoint, EndpointConfig, Incoming, ReadToEndError, RecvStream, SendStream, ServerConfig, TokioRuntime,
    TransportConfig, VarInt,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, error};

use super::Plane;
use super::conversation::frame;
use super::streams::{Place, Streams};
use crate::metrics::{ConnectionEvent, Dropped, Transport};
use crate::respond::Desk;

/// Handshakes that may run with clients that have not shown that they are where they say.
const UNPROVEN_MAX: usize = 64;

/// Connections that wait for us to look at them; we do so at once.
const INCOMING_MAX: usize = 256;

/// Queries of one connection that may run at once.
const STREAMS_MAX: u32 = 100;

/// Bytes of a query with its length.
const QUERY_MAX: usize = 2 + 65_535;

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
        .stream_receive_window(VarInt::from_u32(QUERY_MAX as u32))
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
    Unproven(#[expect(dead_code, reason = "held")] Unproven),
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
        let connection = match timeout(streams.handshake_timeout, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                debug!(%error, "QUIC handshake failed");
                return count(ConnectionEvent::HandshakeFailed);
            }
            Err(_) => return count(ConnectionEvent::HandshakeTimeout),
        };
        let _place = match self.entry {
            Entry::Proven(place) => place,
            // The end of its handshake shows where it is.
            Entry::Unproven(_) => match streams.admit(plane, connection.remote_address(), Transport::Quic) {
                Some(place) => place,
                None => return connection.close(EXCESSIVE_LOAD, b""),
            },
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

/// Answers the queries of one connection until it ends.
async fn converse(connection: &Connection, plane: &Arc<Plane>, streams: &Streams) -> End {
    let mut exchanges: JoinSet<Result<(), Fault>> = JoinSet::new();
    let mut deadline = Instant::now() + streams.patience(Transport::Quic);
    loop {
        tokio::select! {
            opened = timeout_at(deadline, connection.accept_bi()) => match opened {
                Ok(Ok((send, receive))) => {
                    let patience = streams.patience(Transport::Quic);
                    let exchange = Exchange { send, receive, peer: connection.remote_address(), plane: plane.clone() };
                    exchanges.spawn(exchange.run(patience));
                    deadline = Instant::now() + patience;
                }
                Ok(Err(error)) => {
                    debug!(%error, "QUIC connection ended");
                    return End::Gone;
                }
                // Each exchange has its own time.
                Err(_) if exchanges.is_empty() => return End::Idle,
                Err(_) => deadline = Instant::now() + streams.patience(Transport::Quic),
            },
            Some(ended) = exchanges.join_next() => match ended {
                Ok(Ok(())) => {}
                Ok(Err(fault)) => return End::Fault(fault),
                Err(error) => error!(%error, "an exchange over QUIC failed: a bug"),
            },
        }
    }
}

/// One query and its answer.
struct Exchange {
    send: SendStream,
    receive: RecvStream,
    peer: SocketAddr,
    plane: Arc<Plane>,
}

impl Exchange {
    async fn run(mut self, patience: Duration) -> Result<(), Fault> {
        let outcome = self.answer(patience).await;
        if outcome.is_err() {
            // Else the stream would end in order when it is dropped, which looks like an answer of no bytes.
            self.abort(PROTOCOL_ERROR);
        }
        outcome
    }

    /// Each half may take `patience`.
    async fn answer(&mut self, patience: Duration) -> Result<(), Fault> {
        let bytes = match timeout(patience, self.receive.read_to_end(QUERY_MAX)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(ReadToEndError::TooLong)) => return Err(Fault::Surplus),
            // The client has changed its mind, or is gone.
            Ok(Err(ReadToEndError::Read(_))) => return Ok(()),
            Err(_) => {
                let _gone_already = self.receive.stop(EXCESSIVE_LOAD);
                self.abort(EXCESSIVE_LOAD);
                return Ok(());
            }
        };
        let mut answer = Vec::new();
        let query = query(&bytes)?;
        match self.plane.respond(query, self.peer, Transport::Quic, &mut Desk::default(), &mut answer) {
            Ok(()) => {}
            Err(reason) => {
                self.plane.count_drop(reason);
                return match reason {
                    Dropped::Short | Dropped::Response => Err(Fault::NoQuery),
                    Dropped::Long | Dropped::Source | Dropped::Send | Dropped::Limited => {
                        self.abort(INTERNAL_ERROR);
                        Ok(())
                    }
                };
            }
        }
        let mut framed = Vec::with_capacity(2 + answer.len());
        frame(&answer, &mut framed);
        match timeout(patience, self.send.write_all(&framed)).await {
            Ok(Ok(())) => _ = self.send.finish(),
            Ok(Err(error)) => debug!(%error, "answer over QUIC not taken"),
            Err(_) => {
                self.plane.metrics.connection(Transport::Quic, ConnectionEvent::Unread).inc();
                self.abort(EXCESSIVE_LOAD);
            }
        }
        Ok(())
    }

    fn abort(&mut self, code: VarInt) {
        let _gone_already = self.send.reset(code);
    }
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
    let opt = Message::from_octets(query).ok().and_then(|query| query.opt());
    opt.is_some_and(|opt| {
        let mut options = opt.opt().iter::<UnknownOptData<_>>().flatten();
        options.any(|option| option.code() == OptionCode::TCP_KEEPALIVE)
    })
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
