//! From a listening socket to requests: accept under a cap, TLS, HTTP/1.1 or HTTP/2, timeouts, and a graceful end.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use nearcast_shared::config::Limits;
use nearcast_shared::health::own::{Ear, Open};
use nearcast_shared::net;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::pipeline;
use crate::worker::Worker;

pub mod connection;
pub mod guarded;

use connection::{Activity, Connection};
use guarded::{Guarded, Patience};

/// Connections that are taken at once when as many are open as may. They get the health answer, so that who probes can tell
/// a node that is asked for by too many from one that is dead; all else is turned away.
pub const BEYOND_MAX: usize = 64;
/// Until such a connection must have got its answer.
const BEYOND_TIMEOUT: Duration = Duration::from_secs(2);

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
    pub tls: Arc<rustls::ServerConfig>,
    /// When to stop.
    pub phase: watch::Receiver<Phase>,
}

/// Accepts connections on one socket of one worker until the node closes, then waits for them to end. Returns how many
/// had to be cut off.
///
/// # Errors
/// When the socket cannot be used.
pub async fn serve(socket: StdListener, https: bool, worker: Arc<Worker>, mut doors: Doors) -> std::io::Result<usize> {
    let listener = TcpListener::from_std(socket)?;
    let port = listener.local_addr()?.port();
    let server = Arc::new(http_server(&doors.limits));
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
        let task = Task {
            worker: worker.clone(),
            doors: doors.clone(),
            server: server.clone(),
            port,
            peer,
            room,
            _open: open,
        };
        connections.spawn(task.run(stream, https));
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

/// HTTP with every limit set by name.
fn http_server(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // `Guarded` tells an idle connection from a header that does not end; hyper's own timer does not.
        .header_read_timeout(None)
        .max_buf_size(limits.header_size)
        .max_headers(limits.header_count)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.header_size).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(256)
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .max_send_buf_size(256 << 10)
        .keep_alive_interval(Some(limits.idle_timeout))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// One connection's task.
struct Task {
    worker: Arc<Worker>,
    doors: Doors,
    server: Arc<auto::Builder<TokioExecutor>>,
    port: u16,
    peer: std::net::IpAddr,
    room: Room,
    _open: Option<Open>,
}

impl Task {
    async fn run(self, stream: TcpStream, https: bool) {
        self.worker.edge.metrics.connections.inc();
        // Answers are whole writes: waiting for more to send only delays them.
        let _closed_already = stream.set_nodelay(true);
        if self.room.is_beyond() {
            let _cut_off = tokio::time::timeout(BEYOND_TIMEOUT, self.greet(stream, https)).await;
        } else {
            self.greet(stream, https).await;
        }
        self.worker.edge.metrics.connections.dec();
    }

    async fn greet(&self, stream: TcpStream, https: bool) {
        if https {
            self.handshake(stream).await;
        } else {
            self.serve(stream, false, None).await;
        }
    }

    async fn handshake(&self, stream: TcpStream) {
        let acceptor = TlsAcceptor::from(self.doors.tls.clone());
        match tokio::time::timeout(self.doors.limits.tls_timeout, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let name = stream.get_ref().1.server_name().map(str::to_ascii_lowercase);
                self.serve(stream, true, name).await;
            }
            Ok(Err(_)) | Err(_) => {
                self.worker.edge.metrics.tls_failures.inc();
            }
        }
    }

    async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        https: bool,
        name: Option<String>,
    ) {
        let limits = &self.doors.limits;
        let patience = Patience { header: limits.header_timeout, idle: limits.idle_timeout, send: limits.send_timeout };
        let activity = Arc::new(Activity::default());
        let stream = Guarded::new(stream, patience, activity.clone());
        let is_beyond = self.room.is_beyond();
        let connection = Connection::new(self.peer, self.port, https, name, activity).beyond(is_beyond);
        let connection = Arc::new(connection);
        let asked = Notify::new();
        let service = service_fn(|request: Request<Incoming>| {
            let (worker, connection) = (self.worker.clone(), connection.clone());
            asked.notify_one();
            async move {
                let closes = connection.is_beyond() && request.version() < Version::HTTP_2;
                let mut response = pipeline::serve(worker, connection, request).await;
                if closes {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        let serving = self.server.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(serving);
        let mut phase = self.doors.phase.clone();
        let ended = tokio::select! {
            ended = serving.as_mut() => ended,
            () = reached(&mut phase, Phase::Closing) => {
                connection.drain();
                serving.as_mut().graceful_shutdown();
                serving.await
            }
            () = asked.notified(), if is_beyond => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = ended {
            // A peer's mistake, a timeout or a broken connection: data, not an error.
            tracing::debug!(peer = %self.peer, %error, "connection ended");
        }
    }
}
