//! From a listening socket to requests: accept under a cap, TLS, HTTP/1.1 or HTTP/2, timeouts, and a graceful end.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use nearcast_shared::config::Limits;
use nearcast_shared::health::own::Ear;
use nearcast_shared::{net, sockets};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::tls;
use crate::worker::Worker;

mod task;

pub mod connection;
mod gathered;
pub mod guarded;
mod protocols;

use protocols::Protocols;
use task::{Hall, Task};

/// Connections that are taken at once when as many are open as may. They get the health answer, so that who probes can tell
/// a node that is asked for by too many from one that is dead; all else is turned away.
pub const BEYOND_MAX: usize = 64;

/// How much later than we do the kernel gives a client up: by then we have seen whatever we can see.
const GRACE: Duration = Duration::from_secs(30);

/// How far a node is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Running,
    /// Listeners are closed, running requests end.
    Closing,
    /// Whatever still runs is cut off.
    Ended,
}

/// What all listeners of a node share.
#[derive(Debug, Clone)]
pub struct Doors {
    /// What clients may do.
    pub limits: Limits,
    /// One permit per open connection.
    pub permits: Arc<Semaphore>,
    /// And for those that come when these are out.
    pub beyond: Arc<Semaphore>,
    /// For TLS listeners.
    pub tls: Arc<tls::Server>,
    /// When to stop.
    pub phase: watch::Receiver<Phase>,
}

/// Accepts connections on one socket of one worker until the node closes, then waits for them to end. Returns how many
/// had to be cut off.
///
/// # Errors
/// When the socket cannot be used.
pub async fn serve(socket: StdListener, https: bool, worker: Arc<Worker>, mut doors: Doors) -> std::io::Result<usize> {
    sockets::give_up_after(&socket, doors.limits.send_timeout.saturating_add(GRACE))?;
    let listener = TcpListener::from_std(socket)?;
    let port = listener.local_addr()?.port();
    let protocols = Protocols::new(&doors.limits);
    let hall = Arc::new(Hall { worker, doors: doors.clone(), protocols, port, https });
    let worker = &hall.worker;
    let ear = worker.edge.health.vitals.listener();
    let mut connections = JoinSet::new();
    let mut closing = doors.phase.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            () = reached(&mut closing, Phase::Closing) => break,
            Some(_ended) = connections.join_next() => continue,
            accepted = accept(&listener, &doors, &ear) => accepted,
        };
        let Some((stream, peer, room)) = accepted else { continue };
        let open = match &room {
            Room::Within(_) => Some(worker.edge.health.vitals.connection()),
            Room::Beyond(_) => {
                worker.edge.metrics.beyond.inc();
                worker.edge.health.vitals.full();
                None
            }
        };
        let task = Task { hall: hall.clone(), peer, room, _open: open };
        connections.spawn(task.run(stream));
    }
    drop(listener);
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => {}
        () = reached(&mut doors.phase, Phase::Ended) => {}
    }
    Ok(connections.len())
}

/// Waits until the node is as far as `wanted`; a node that is gone is.
async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    let _node_gone = phase.wait_for(|phase| *phase >= wanted).await;
}

/// What a connection has for as long as it is open.
#[derive(Debug)]
enum Room {
    Within(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
    Beyond(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
}

impl Room {
    fn is_beyond(&self) -> bool {
        matches!(self, Self::Beyond(_))
    }
}

type Accepted = (TcpStream, std::net::IpAddr, Room);

/// The room first: when there is none at all, connections wait in the kernel's queue.
async fn accept(listener: &TcpListener, doors: &Doors, ear: &Ear) -> Option<Accepted> {
    let room = tokio::select! {
        biased;
        permit = doors.permits.clone().acquire_owned() => Room::Within(permit.ok()?),
        permit = doors.beyond.clone().acquire_owned() => Room::Beyond(permit.ok()?),
    };
    match listener.accept().await {
        Ok((stream, peer)) => {
            ear.hears();
            let room = match room {
                // There may be room by now.
                Room::Beyond(_) => doors.permits.clone().try_acquire_owned().map_or(room, Room::Within),
                Room::Within(_) => room,
            };
            Some((stream, net::unmapped(peer.ip()), room))
        }
        Err(error) => {
            ear.fails();
            // Out of file descriptors, mostly: trying again at once would only burn the core.
            tracing::warn!(%error, "a connection cannot be accepted");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}
