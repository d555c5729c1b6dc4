//! The admin API: on its own thread and runtime, so that it answers while the data plane is saturated.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nearcast_edge::purge::Kind;
use nearcast_edge::store::{DiskState, DiskUsage};
use nearcast_edge::worker::Edge;
use nearcast_shared::config::Config;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::control::Control;
use crate::node::NodeError;
use crate::reload::ReloadError;

mod api;
mod lease;

use lease::Lease;

pub(crate) use api::PURGE_ENTRIES_MAX;

/// Open admin connections.
const CONNECTIONS_MAX: usize = 256;

/// For the answers that are on their way when the node ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// For a request's header, and for a TLS handshake.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts the admin thread on a bound socket.
///
/// # Errors
/// When the certificate cannot be used or the thread cannot be started.
pub fn start(
    control: Arc<Control>,
    socket: StdListener,
    config: &Config,
    stop: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, NodeError> {
    let tls = match &config.admin.tls {
        None => None,
        Some(files) => {
            let certificate = nearcast_edge::tls::load(files).map_err(ReloadError::from)?;
            Some(TlsAcceptor::from(nearcast_edge::tls::admin_config(certificate).map_err(NodeError::Tls)?))
        }
    };
    let thread = |error| NodeError::Io("the admin thread cannot be started", error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(thread)?;
    let serve = move || {
        if let Err(error) = runtime.block_on(serve(control, socket, tls, stop)) {
            tracing::error!(%error, "the admin listener failed");
        }
    };
    std::thread::Builder::new().name("admin".to_owned()).spawn(serve).map_err(thread)
}

async fn serve(
    control: Arc<Control>,
    socket: StdListener,
    tls: Option<TlsAcceptor>,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let listener = TcpListener::from_std(socket)?;
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (connections, stopped) = (TaskTracker::new(), stop.clone());
    loop {
        let next = async { (permits.clone().acquire_owned().await, listener.accept().await) };
        let (permit, accepted) = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let (control, tls, stopped) = (control.clone(), tls.clone(), stopped.clone());
                connections.spawn(async move {
                    let lease = Arc::new(Lease::new());
                    tokio::select! {
                        () = connection(control, stream, tls, lease.clone(), stopped) => {}
                        () = lease.over() => tracing::debug!("admin connection cut off"),
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "an admin connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    connections.close();
    if tokio::time::timeout(FAREWELL, connections.wait()).await.is_err() {
        tracing::debug!("admin connections cut off at the end");
    }
    Ok(())
}

async fn connection(
    control: Arc<Control>,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    lease: Arc<Lease>,
    stopped: watch::Receiver<bool>,
) {
    match tls {
        None => http(control, stream, lease, stopped).await,
        Some(acceptor) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
                http(control, stream, lease, stopped).await;
            }
        }
    }
}

async fn http(
    control: Arc<Control>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    lease: Arc<Lease>,
    mut stopped: watch::Receiver<bool>,
) {
    let service = service_fn(|request| {
        let (control, lease) = (control.clone(), lease.clone());
        async move { Ok::<_, std::convert::Infallible>(api::answer(&control, request, lease).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    let stopping = async {
        let _node_gone = stopped.wait_for(|stop| *stop).await;
    };
    let ended = tokio::select! {
        ended = served.as_mut() => Some(ended),
        () = stopping => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "admin connection ended");
    }
}

/// Shows the store and fills as they are at the moment of the scrape.
#[derive(Debug)]
pub struct EdgeCollector {
    /// The edge to look at.
    pub edge: Arc<Edge>,
}

impl Collector for EdgeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let usage = self.edge.store.usage();
        let rows = [
            ("cache_memory_bytes", "Bytes of entries in memory", usage.memory_bytes),
            ("cache_memory_limit_bytes", "Bytes that entries in memory may take", usage.memory_limit),
            ("cache_memory_entries", "Entries in memory", usage.memory_entries),
            ("cache_memory_bulk_bytes", "Of the bytes in memory, those of large bodies", usage.bulk.bytes),
            ("fills_running", "Fetches that run", self.edge.fills.running()),
            ("pinned_bytes", "Bytes of bodies that connections hold", self.edge.pinned.bytes() as usize),
        ];
        for (name, help, value) in rows {
            let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            metric.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let mut records = encoder.encode_descriptor("purge_records", "Purges in force", None, MetricType::Gauge)?;
        for kind in Kind::ALL {
            let metric = ConstGauge::new(i64::try_from(self.edge.purges.count(kind)).unwrap_or(i64::MAX));
            metric.encode(records.encode_family(&[("kind", kind.token())])?)?;
        }
        let help = "Sites whose origin this node cannot connect to";
        let mut unreached = encoder.encode_descriptor("origin_unreached", help, None, MetricType::Gauge)?;
        for (site, _) in self.edge.reach.lost(&self.edge.view.load()) {
            ConstGauge::new(1_i64).encode(unreached.encode_family(&[("site", site.as_str())])?)?;
        }
        encode_disk(usage.disk.as_ref(), &mut encoder)
    }
}

fn encode_disk(disk: Option<&DiskUsage>, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
    let Some(disk) = disk else { return Ok(()) };
    let rows = [
        ("cache_disk_bytes", "Bytes of the disk tier's files", disk.bytes),
        ("cache_disk_limit_bytes", "Bytes that the disk tier's files may have", disk.limit),
        ("cache_disk_entries", "Pieces on disk", disk.entries as u64),
        ("cache_disk_written_bytes", "Bytes written to the disk tier", disk.written_bytes),
        ("cache_disk_read_bytes", "Bytes read from the disk tier", disk.read_bytes),
        ("cache_disk_queue_bytes", "Bytes that wait to be written to disk", disk.queue_bytes as u64),
        ("cache_disk_queue_limit_bytes", "Bytes that may wait to be written to disk", disk.queue_limit as u64),
    ];
    for (name, help, value) in rows {
        let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        metric.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
    }
    if let Some(recovery) = disk.recovery_seconds {
        let help = "How long it took to find again what was on disk";
        let unit = Some(&Unit::Seconds);
        ConstGauge::new(recovery).encode(encoder.encode_descriptor(
            "cache_disk_recovery",
            help,
            unit,
            MetricType::Gauge,
        )?)?;
    }
    let mut states = encoder.encode_descriptor("cache_disk_state", "The disk tier's state", None, MetricType::Gauge)?;
    for state in DiskState::ALL {
        let is_it = i64::from(state == disk.state);
        ConstGauge::new(is_it).encode(states.encode_family(&[("state", state.token())])?)?;
    }
    let families = [
        ("cache_disk_dropped", "Pieces that did not get to the disk", "reason", &disk.dropped),
        ("cache_disk_errors", "What went wrong with the disk", "kind", &disk.errors),
    ];
    for (name, help, label, counts) in families {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (token, count) in &counts.0 {
            ConstCounter::new(*count).encode(family.encode_family(&[(label, *token)])?)?;
        }
    }
    Ok(())
}
