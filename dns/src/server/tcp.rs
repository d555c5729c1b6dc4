//! DNS over TCP (RFC 7766): connections are ours to count, hickory's streams frame and time them out.
//!
//! Not hickory-server's own listener: it decodes a message before it hands it on, answers what it cannot decode with
//! a FORMERR of its own, without question and OPT, and it cannot decode what we accept over UDP, such as an ECS option
//! of family 0. It also takes any number of connections. Its streams give the raw bytes.
//!
//! Queries of one connection may be sent without waiting, and are answered in their order: an answer takes microseconds
//! and waits for nothing, so there is none to overtake. The next query is read once the answer before it is written, so
//! no answers pile up. A connection is closed when no whole query came for the timeout, also while an answer
//! cannot be written because the client does not read.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use hickory_proto::op::SerialMessage;
use hickory_server::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_server::net::tcp::TcpStream;
use hickory_server::net::{BufDnsStreamHandle, DnsStreamHandle};
use hickory_server::server::TimeoutStream;
use nearcast_shared::health::own::Ear;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing::{debug, error};

use super::{Plane, Tcp};
use crate::metrics::{Dropped, Transport};
use crate::respond::Desk;

mod clients;

pub use clients::Clients;

/// Answers of one connection that wait to be written; there is never more than one.
const ANSWERS_WAITING: usize = 1;

/// After an error of the listener itself, such as no more files, so that a lasting one does not spin.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Takes connections and answers on them; never returns, the owner drops it and all connections with it.
pub(super) async fn run(listener: TcpListener, plane: Plane, ear: Ear, limits: Tcp) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => {
                    ear.hears();
                    accepted
                }
                Err(error) => {
                    ear.fails();
                    debug!(%error, "TCP connection not accepted");
                    tokio::time::sleep(ERROR_PAUSE).await;
                    continue;
                }
            },
            // What has ended is forgotten at once.
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    error!(%error, "a TCP connection failed: a bug");
                }
                continue;
            }
        };
        match limits.clients.admit(peer.ip()) {
            Some(admission) => {
                let (plane, timeout) = (plane.clone(), limits.timeout);
                connections.spawn(async move {
                    converse(stream, peer, &plane, timeout).await;
                    drop(admission);
                });
            }
            // Closed at once: the client may try another server rather than wait here.
            None => plane.count_drop(Dropped::Connections),
        }
    }
}

/// Answers the queries of one connection until it ends.
async fn converse(stream: tokio::net::TcpStream, peer: SocketAddr, plane: &Plane, timeout: Duration) {
    let stream = AsyncIoTokioAsStd(stream);
    let (messages, mut answers) = TcpStream::from_stream_with_buffer_size(stream, peer, ANSWERS_WAITING);
    let mut messages = TimeoutStream::new(messages, timeout);
    while let Some(message) = messages.next().await {
        let outcome = match message {
            Ok(message) => answer(plane, message.bytes(), peer, &mut answers),
            Err(error) => return debug!(%error, "TCP connection failed"),
        };
        if let Err(reason) = outcome {
            plane.count_drop(reason);
        }
    }
}

fn answer(plane: &Plane, packet: &[u8], peer: SocketAddr, answers: &mut BufDnsStreamHandle) -> Result<(), Dropped> {
    let mut bytes = Vec::new();
    plane.respond(packet, peer, Transport::Tcp, &mut Desk::default(), &mut bytes)?;
    answers.send(SerialMessage::new(bytes, peer)).map_err(|error| {
        debug!(%error, "TCP answer not sent");
        Dropped::Send
    })
}
