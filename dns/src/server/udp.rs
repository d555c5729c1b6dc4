//! DNS over UDP: one socket, one loop, no task and no allocation of buffers per datagram.
//!
//! Not hickory-server's own UDP listener, for three reasons: it answers FORMERR to a malformed packet even when that
//! is an answer itself, so that two servers can be set on each other by one forged packet; it spawns a task per
//! datagram, which costs as much as the answer; and it cannot take an ECS option of family 0.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nearcast_shared::health::own::Ear;
use tokio::net::UdpSocket;
use tracing::debug;

use super::Plane;
use crate::metrics::{Dropped, Transport};
use crate::respond::Desk;

/// Datagrams that are answered before other tasks of the worker get their turn.
const BATCH: usize = 64;
/// No datagram is larger, so none is ever read cut.
const DATAGRAM_MAX: usize = 65_535;
/// After an error of the socket itself, so that a lasting one does not spin.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Answers whatever arrives; never returns, the owner drops it.
pub(super) async fn run(socket: UdpSocket, plane: Plane, ear: Ear) {
    let mut received = vec![0; DATAGRAM_MAX];
    let mut reply = Vec::with_capacity(4096);
    loop {
        match batch(&socket, &plane, &mut received, &mut reply).await {
            Ok(()) => ear.hears(),
            Err(error) => {
                ear.fails();
                debug!(%error, "UDP socket failed");
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Waits for a datagram, then answers what there is, up to [`BATCH`].
async fn batch(socket: &UdpSocket, plane: &Plane, received: &mut [u8], reply: &mut Vec<u8>) -> io::Result<()> {
    socket.readable().await?;
    for _ in 0..BATCH {
        let (length, peer) = match socket.try_recv_from(received) {
            Ok(datagram) => datagram,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Err(reason) = answer(plane, &received[..length], peer, reply) {
            plane.count_drop(reason);
            continue;
        }
        if let Err(error) = send(socket, reply, peer).await {
            debug!(%error, "UDP answer not sent");
            plane.count_drop(Dropped::Send);
        }
    }
    Ok(())
}

fn answer(plane: &Plane, packet: &[u8], peer: SocketAddr, out: &mut Vec<u8>) -> Result<(), Dropped> {
    if peer.port() == 0 || peer.ip().is_unspecified() {
        return Err(Dropped::Source);
    }
    plane.respond(packet, peer, Transport::Udp, &mut Desk::default(), out)
}

async fn send(socket: &UdpSocket, reply: &[u8], peer: SocketAddr) -> io::Result<()> {
    match socket.try_send_to(reply, peer) {
        // The send buffer is full: waiting here lets the receive buffer fill up and drop, which is the fair place.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.send_to(reply, peer).await.map(|_| ()),
        sent => sent.map(|_| ()),
    }
}
