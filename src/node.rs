//! A whole node: bind every socket first, then run, then leave in order: DNS steers away, HTTP finishes, the store closes.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::FusedFuture;
use nearcast_dns as dns;
use nearcast_dns::dnssec::{Keys, SignatureMetrics, Signers, SignersCollector};
use nearcast_edge::access_log;
use nearcast_edge::fill::Fills;
use nearcast_edge::headers::Identity;
use nearcast_edge::listener::{self, Doors, Phase};
use nearcast_edge::metrics::EdgeMetrics;
use nearcast_edge::origin::{self, Origins};
use nearcast_edge::purge::{Opening, Purges};
use nearcast_edge::remembered::Remembered;
use nearcast_edge::store::{Store, StoreError};
use nearcast_edge::view::View;
use nearcast_edge::worker::{Edge, Worker};
use nearcast_shared::clock::Clock;
use nearcast_shared::config::{Config, Inputs, ListenAddress};
use nearcast_shared::doh::Doh;
use nearcast_shared::health::{HealthBoard, keeper, probe};
use nearcast_shared::metrics::{HealthCollector, Metrics};
use nearcast_shared::{sockets, trust};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::admin;
use crate::control::{Addresses, Control, Generation};
use crate::dnssec;
use crate::geo::{GeoCollector, GeoDesk, watch as watch_geo};
use crate::memory;
use crate::prefetch;
use crate::reload::{self, ReloadError};
use crate::state::{State, StateError};
use crate::texts::TextDesk;

/// Why a node cannot run.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// A socket.
    #[error("{key}: {address} cannot be listened on")]
    Bind {
        /// The config's key.
        key: &'static str,
        /// The address.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// What a reload could fail on, too.
    #[error(transparent)]
    World(#[from] ReloadError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the state folder, or a thread.
    #[error("{0}")]
    Io(&'static str, #[source] io::Error),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// Nor can that of DNS.
    #[error(transparent)]
    DnsTls(#[from] dns::TlsError),
}

/// A running node. Dropping it ends it at once; [`Node::stop`] ends it in order.
#[derive(Debug)]
pub struct Node {
    /// Its handles.
    pub control: Arc<Control>,
    /// What goes on beside, on the control plane's runtime.
    _background: JoinSet<()>,
    runtime: tokio::runtime::Runtime,
    /// And the thread that fetches ahead of requests.
    workers: Vec<JoinHandle<usize>>,
    admin: Option<JoinHandle<()>>,
    admin_stop: watch::Sender<bool>,
    fatal: watch::Receiver<Option<String>>,
    state: State,
}

/// All sockets of a node, bound.
struct Bound {
    http: Vec<Vec<TcpListener>>,
    https: Vec<Vec<TcpListener>>,
    dns: DnsGroups,
    admin: TcpListener,
    addresses: Addresses,
}

/// The sockets of DNS: groups with one for each worker, but for QUIC.
#[derive(Default)]
struct DnsGroups {
    udp: Vec<Vec<UdpSocket>>,
    tcp: Vec<Vec<TcpListener>>,
    tls: Vec<Vec<TcpListener>>,
    https: Vec<Vec<TcpListener>>,
    /// One for each address.
    quic: Vec<UdpSocket>,
}

impl Node {
    /// Starts a node: when it returns, every listener answers.
    ///
    /// # Errors
    /// When anything it needs cannot be had; nothing is left running then.
    pub fn start(config: Config, inputs: Inputs, clock: Clock) -> Result<Self, NodeError> {
        let thread = |error| NodeError::Io("threads cannot be started", error);
        let state = State::open(&config.state)?;
        let bound = bind(&config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("control")
            .enable_all()
            .build()
            .map_err(thread)?;

        let metrics = Arc::new(Metrics::new());
        let edge_metrics = metrics.register(EdgeMetrics::register);
        let dns_metrics = Arc::new(dns::DnsMetrics::register(&metrics));
        let unknown = |error| NodeError::Io("a socket cannot be looked at", error);
        let collector = dns::OverflowCollector::new(bound.dns.udp.iter().flatten()).map_err(unknown)?;
        metrics.register(|registry| registry.register_collector(Box::new(collector)));
        let unreadable = |error| NodeError::Io("forced.json of the state folder cannot be read; move it away", error);
        let health = HealthBoard::new(&config, Some(&state.forced_file()), &clock).map_err(unreadable)?;
        let damaged = |error| NodeError::Io("texts.json of the state folder cannot be read; move it away", error);
        let texts = TextDesk::open(state.texts_file()).map_err(damaged)?;
        let collector = HealthCollector { board: health.clone() };
        metrics.register(|registry| registry.register_collector(Box::new(collector)));

        let geo_desk = Arc::new(GeoDesk::new(&metrics, watch_geo::prints(&config)));
        let geo = Arc::new(reload::load_geo(&config).map_err(ReloadError::from)?);
        let edge_view = View::compile(&config, &edge_metrics, &state.secret).map_err(ReloadError::from)?;
        let signature_metrics = SignatureMetrics::register(&metrics);
        let noted = dnssec::noted(&state.clock_file());
        let signers = Arc::new(Signers::new(&config.dnssec, clock.clone(), rand::random(), noted));
        let keys = Keys::load(&config, &signature_metrics, signers.latest()).map_err(ReloadError::from)?;
        signers.use_keys(&keys);
        let collector = SignersCollector { signers: signers.clone() };
        metrics.register(|registry| registry.register_collector(Box::new(collector)));
        for warning in keys.warnings(signers.latest()) {
            tracing::warn!(warning, "a zone will not be signed as planned");
        }
        let dns_view = dns::View::compile(&config, geo.clone(), &dns_metrics).map_err(ReloadError::from)?;
        let dns_view = dns_view.with_keys(keys);
        let dns_view = Arc::new(ArcSwap::from_pointee(dns_view));
        let keep_ms = reload::purges_kept_ms(&config);
        let expected = Store::finds_something(&config.cache);
        let (path, node, secret) = (&state.purge_log(), state.node, state.secret);
        let records_max = config.cache.purges_max;
        let opening = Opening { path, expected, keep_ms, node, records_max, secret };
        let purges = Purges::open(opening, &clock, edge_metrics.purges.clone())
            .map_err(|error| NodeError::Io("the purge log cannot be opened", error))?;
        let access_log = access_log::start(&config.log.access, config.log.format, edge_metrics.log_dropped.clone())
            .map_err(|error| NodeError::Io("the access log cannot be opened", error))?;
        let query_log = dns::QueryLog::start(&config.dns.query_log, &dns_metrics)
            .map_err(|error| NodeError::Io("the query log cannot be opened", error))?;
        let dns_seed = dns::Seed(rand::random());
        let dns_manners = Arc::new(ArcSwap::from_pointee(dns::Manners::new(&config, dns_seed, None)));
        let dns_shown = Arc::new(dns::Shown::default());
        dns_shown.replace(reload::load_dns_certificate(&config)?);
        let plane = dns::Plane {
            view: dns_view.clone(),
            health: health.clone(),
            metrics: dns_metrics.clone(),
            texts: texts.published(),
            manners: dns_manners.clone(),
            log: query_log.clone(),
            signers: signers.clone(),
            clock: clock.clone(),
        };
        let geo = Arc::new(ArcSwap::new(geo));
        let collector = GeoCollector { geo: geo.clone(), view: dns_view.clone(), clock: clock.clone() };
        metrics.register(|registry| registry.register_collector(Box::new(collector)));
        let edge = Arc::new(Edge {
            view: Arc::new(ArcSwap::from_pointee(edge_view)),
            store: Store::open(&config.cache, &config.sites, &state.secret)?,
            purges,
            fills: Fills::default(),
            pinned: Arc::default(),
            uncacheable: Remembered::default(),
            forced: Remembered::default(),
            clock: clock.clone(),
            health: health.clone(),
            reach: Arc::default(),
            metrics: edge_metrics,
            geo: geo.clone(),
            identity: Identity::new(format!("nearcast-{}", config.this_pop().name), format!("nearcast-{}", state.node)),
            secret: state.secret,
            access_log,
            doh: config.dns.encrypted.on_sites.then(|| doh(plane.clone(), &config)),
        });
        metrics.register(|registry| registry.register_collector(Box::new(admin::EdgeCollector { edge: edge.clone() })));

        let tls = trust::client_config(config.origin.ca.as_deref(), &[]).map_err(ReloadError::from)?;
        let watch = origin::watch(&config.origin, edge.reach.clone(), edge.view.clone()).map_err(ReloadError::from)?;
        let mut background = JoinSet::new();
        background.spawn_on(watch, runtime.handle());
        background.spawn_on(keeper::keep(health.clone()), runtime.handle());
        background.spawn_on(memory::give_back(), runtime.handle());
        background.spawn_on(dnssec::watch(signers.clone(), state.clock_file()), runtime.handle());
        let probes = {
            let _in_control_runtime = runtime.enter();
            probe::spawn(&config, &health, &tls)
        };
        let (phase, phase_seen) = watch::channel(Phase::Running);
        let (prefetcher, prefetches) = prefetch::desk();
        let control = Arc::new(Control {
            inputs,
            edge: edge.clone(),
            dns_view,
            dns_metrics,
            dns_shown: dns_shown.clone(),
            dns_manners,
            dns_seed,
            query_log,
            signers,
            clock_file: state.clock_file(),
            signature_metrics,
            health,
            metrics,
            prefetcher,
            texts,
            geo,
            geo_desk,
            maps: Arc::default(),
            reloading: Mutex::new(()),
            generation: Mutex::new(Generation { number: 1, loaded: clock.now(), last_error: None }),
            clock,
            addresses: bound.addresses.clone(),
            node_id: state.node.to_string(),
            probes: Mutex::new(probes),
            runtime: runtime.handle().clone(),
            phase,
            started: Instant::now(),
            config: ArcSwap::from_pointee(config.clone()),
        });

        let sockets_count = config.workers * (bound.http.len() + bound.https.len());
        let doors = Doors {
            limits: config.limits.clone(),
            // Each socket holds one while it waits for a connection.
            permits: Arc::new(Semaphore::new(config.limits.connections + sockets_count)),
            beyond: Arc::new(Semaphore::new(listener::BEYOND_MAX + sockets_count)),
            tls: Arc::new(nearcast_edge::tls::Server::new(edge.view.clone()).map_err(NodeError::Tls)?),
            phase: phase_seen,
        };
        let (fatal_sender, fatal) = watch::channel(None);
        let (admin_stop, admin_stopped) = watch::channel(false);
        let admin = admin::start(control.clone(), bound.admin, &config, admin_stopped)?;
        let shares = share_out(bound.http, bound.https, bound.dns, config.workers);
        let encrypted = &config.dns.encrypted;
        let streams = dns::Streams {
            plain: dns::Clients::new(config.dns.tcp_connections, config.dns.tcp_per_client),
            encrypted: dns::Clients::new(encrypted.connections, encrypted.per_client),
            timeout: config.dns.tcp_timeout,
            handshake_timeout: encrypted.handshake_timeout,
            tls: dns::Tls::new(&dns_shown)?,
            doh_path: encrypted.path.as_str().into(),
        };
        let workers = shares.into_iter().enumerate().map(|(number, share)| {
            let part = WorkerThread {
                control: control.clone(),
                doors: doors.clone(),
                plane: plane.clone(),
                udp: dns::Udp {
                    worker: number,
                    receive_buffer: config.dns.udp_receive_buffer,
                    answer_max: config.dns.udp_size,
                    remembered: config.dns.remembered_answers,
                },
                streams: streams.clone(),
                fatal: fatal_sender.clone(),
            };
            let origins = Origins::new(&config.origin, edge.reach.clone()).map_err(ReloadError::from)?;
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || part.run(share, origins))
                .map_err(thread)
        });
        let mut workers = workers.collect::<Result<Vec<_>, NodeError>>()?;
        let origins = Origins::new(&config.origin, edge.reach.clone()).map_err(ReloadError::from)?;
        let jobs = config.admin.prefetch_jobs;
        workers.push(prefetch::start(edge, origins, jobs, prefetches, doors.phase.clone()).map_err(thread)?);
        workers.push(control.maps.clone().start().map_err(thread)?);
        control.maps.order(control.dns_view.load_full());
        let watching = watch_geo::watch(control.geo_desk.clone(), Arc::downgrade(&control));
        background.spawn_on(watching, runtime.handle());
        tracing::info!(
            pop = config.this_pop().name,
            node = control.node_id,
            http = ?control.addresses.http,
            https = ?control.addresses.https,
            dns = ?control.addresses.dns,
            dot = ?control.addresses.dot,
            doh = ?control.addresses.doh,
            doq = ?control.addresses.doq,
            admin = %control.addresses.admin,
            "serving"
        );
        reload::log_warnings(&config, &control.geo.load());
        reload::log_geo_warnings(&control.geo.load());
        Ok(Self { control, _background: background, runtime, workers, admin: Some(admin), admin_stop, fatal, state })
    }

    /// Runs `future` on the control plane's runtime.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Waits until a thread of the node ends by itself, which it must not, and says why.
    pub async fn failed(&self) -> String {
        let mut fatal = self.fatal.clone();
        loop {
            if let Some(why) = fatal.borrow_and_update().clone() {
                return why;
            }
            if fatal.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Ends in order. `skip` ends the lingering early, `now` ends everything at once.
    pub fn stop(mut self, skip: impl Future<Output = ()>, now: impl Future<Output = ()>) {
        let shutdown = self.control.config.load().shutdown.clone();
        let control = self.control.clone();
        control.health.leave();
        control.end_geo();
        tracing::info!(linger = ?shutdown.linger, "leaving: health says no, still serving");
        let workers = std::mem::take(&mut self.workers);
        self.runtime.block_on(async {
            // Both selects below ask for it, the second also after it came.
            let now = now.fuse();
            tokio::pin!(now);
            tokio::select! {
                () = tokio::time::sleep(shutdown.linger) => {}
                () = skip => tracing::info!("linger skipped"),
                () = &mut now => { control.phase.send_replace(Phase::Ended); }
            }
            if *control.phase.borrow() < Phase::Closing {
                control.phase.send_replace(Phase::Closing);
                tracing::info!(grace = ?shutdown.grace, "listeners closed, running requests end");
            }
            let joined = tokio::task::spawn_blocking(move || join(workers));
            tokio::pin!(joined);
            let left = tokio::select! {
                left = &mut joined => left,
                () = async { tokio::select! { () = tokio::time::sleep(shutdown.grace) => {}, () = &mut now => {} } } => {
                    control.phase.send_replace(Phase::Ended);
                    joined.await
                }
            };
            match left {
                Ok(0) | Err(_) => {}
                Ok(left) => tracing::warn!(connections = left, "cut off: their requests did not end in time"),
            }
            control.probes.lock().abort_all();
            if !now.is_terminated() {
                tokio::select! {
                    closed = control.edge.store.close() => if let Err(error) = closed {
                        tracing::error!(%error, "the cache could not be written out");
                    },
                    () = now => tracing::warn!("the cache is not written out"),
                }
            }
        });
        self.admin_stop.send_replace(true);
        if let Some(admin) = self.admin.take() {
            let _panicked = admin.join();
        }
        tracing::info!(state = ?self.state, "stopped");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.control.end_geo();
        self.control.phase.send_replace(Phase::Ended);
        self.admin_stop.send_replace(true);
        let workers = std::mem::take(&mut self.workers);
        join(workers);
        if let Some(admin) = self.admin.take() {
            let _panicked = admin.join();
        }
    }
}

/// Waits for the workers; returns how many connections they cut off.
fn join(workers: Vec<JoinHandle<usize>>) -> usize {
    workers.into_iter().filter_map(|worker| worker.join().ok()).sum()
}

/// The sockets of one worker.
#[derive(Default)]
struct Share {
    http: Vec<TcpListener>,
    https: Vec<TcpListener>,
    dns: dns::Sockets,
}

fn share_out(http: Vec<Vec<TcpListener>>, https: Vec<Vec<TcpListener>>, dns: DnsGroups, workers: usize) -> Vec<Share> {
    let mut shares: Vec<Share> = (0..workers).map(|_| Share::default()).collect();
    let mut each = |groups: Vec<Vec<TcpListener>>, put: fn(&mut Share, TcpListener)| {
        for group in groups {
            shares.iter_mut().zip(group).for_each(|(share, socket)| put(share, socket));
        }
    };
    each(http, |share, socket| share.http.push(socket));
    each(https, |share, socket| share.https.push(socket));
    each(dns.tcp, |share, socket| share.dns.tcp.push(socket));
    each(dns.tls, |share, socket| share.dns.tls.push(socket));
    each(dns.https, |share, socket| share.dns.https.push(socket));
    for group in dns.udp {
        shares.iter_mut().zip(group).for_each(|(share, socket)| share.dns.udp.push(socket));
    }
    // The last first: the first worker is often the busiest.
    for (number, socket) in dns.quic.into_iter().enumerate() {
        shares[workers - 1 - number % workers].dns.quic.push(socket);
    }
    shares
}

/// One data-plane thread.
struct WorkerThread {
    control: Arc<Control>,
    doors: Doors,
    plane: dns::Plane,
    udp: dns::Udp,
    streams: dns::Streams,
    fatal: watch::Sender<Option<String>>,
}

impl WorkerThread {
    /// Serves until the node ends; returns how many connections were cut off. However it ends, the node learns of it.
    fn run(self, share: Share, origins: Origins) -> usize {
        let mut mourner = Mourner { fatal: self.fatal.clone(), expected: false };
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                mourner.tell(&format!("a worker cannot start: {error}"));
                return 0;
            }
        };
        match runtime.block_on(self.serve(share, origins)) {
            Ok(left) => {
                mourner.expected = true;
                left
            }
            Err(why) => {
                mourner.tell(&why);
                0
            }
        }
    }

    async fn serve(&self, share: Share, origins: Origins) -> Result<usize, String> {
        let fills = TaskTracker::new();
        // Ends with this function, however that ends.
        let mut pulse = JoinSet::new();
        pulse.spawn(self.control.health.vitals.worker().beat());
        let worker = Arc::new(Worker { edge: self.control.edge.clone(), origins, fills: fills.clone() });
        let mut tasks: JoinSet<Result<usize, String>> = JoinSet::new();
        for (sockets, https) in [(share.http, false), (share.https, true)] {
            for socket in sockets {
                let serving = listener::serve(socket, https, worker.clone(), self.doors.clone());
                tasks.spawn(async move { serving.await.map_err(|error| error.to_string()) });
            }
        }
        let (plane, udp, streams) = (self.plane.clone(), self.udp, self.streams.clone());
        let mut phase = self.doors.phase.clone();
        tasks.spawn(async move {
            let closing = async {
                let _node_gone = phase.wait_for(|phase| *phase > Phase::Running).await;
            };
            let served = dns::serve(share.dns, plane, udp, streams, closing).await;
            served.map(|()| 0).map_err(|error| crate::control::chain(&error))
        });
        let mut left = 0;
        while let Some(ended) = tasks.join_next().await {
            left += ended.map_err(|panicked| panicked.to_string())??;
        }
        // Clients of other workers may still read what this one fetches.
        fills.close();
        let mut phase = self.doors.phase.clone();
        tokio::select! {
            () = fills.wait() => {}
            _ = phase.wait_for(|phase| *phase == Phase::Ended) => {}
        }
        Ok(left)
    }
}

/// Tells the node when a worker ends without being asked to, also by a panic.
struct Mourner {
    fatal: watch::Sender<Option<String>>,
    expected: bool,
}

impl Mourner {
    fn tell(&mut self, why: &str) {
        self.expected = true;
        self.fatal.send_replace(Some(why.to_owned()));
    }
}

impl Drop for Mourner {
    fn drop(&mut self) {
        if !self.expected {
            self.tell("a worker ended by itself");
        }
    }
}

/// Binds everything before anything is announced.
fn bind(config: &Config) -> Result<Bound, NodeError> {
    let listen = &config.listen;
    let failed = |key, address: String| move |source| NodeError::Bind { key, address, source };
    let tcp = |key, addresses: &[ListenAddress]| {
        let bind =
            |address: &ListenAddress| sockets::tcp(*address, config.workers).map_err(failed(key, shown(*address)));
        addresses.iter().map(bind).collect::<Result<Vec<_>, _>>()
    };
    let (http, https) = (tcp("listen.http", &listen.http)?, tcp("listen.https", &listen.https)?);
    let mut dns = DnsGroups {
        tls: tcp("listen.dot", &listen.dot)?,
        https: tcp("listen.doh", &listen.doh)?,
        ..DnsGroups::default()
    };
    for address in &listen.dns {
        let (tcp, udp) = bind_dns(*address, config.workers).map_err(failed("listen.dns", shown(*address)))?;
        dns.tcp.push(tcp);
        dns.udp.extend(udp);
    }
    for address in &listen.doq {
        // One worker's alone, see `dns::Sockets`.
        let groups = sockets::udp(*address, 1).map_err(failed("listen.doq", shown(*address)))?;
        dns.quic.extend(groups.into_iter().flatten());
    }
    let admin = sockets::tcp(ListenAddress::Socket(listen.admin), 1)
        .map_err(failed("listen.admin", listen.admin.to_string()))?
        .pop()
        .expect("one worker, one listener");
    let local = |groups: &[Vec<TcpListener>]| -> Vec<SocketAddr> {
        groups.iter().filter_map(|group| group.first()?.local_addr().ok()).collect()
    };
    let addresses = Addresses {
        http: local(&http),
        https: local(&https),
        dns: dns.udp.iter().filter_map(|group| group.first()?.local_addr().ok()).collect(),
        dot: local(&dns.tls),
        doh: local(&dns.https),
        doq: dns.quic.iter().filter_map(|socket| socket.local_addr().ok()).collect(),
        admin: admin.local_addr().unwrap_or(listen.admin),
    };
    Ok(Bound { http, https, dns, admin, addresses })
}

/// DNS over HTTPS for the sites' own listeners.
fn doh(plane: dns::Plane, config: &Config) -> Doh {
    let respond = move |parts: &http::request::Parts, body: &[u8], client: IpAddr| {
        plane.over_https(parts, body, SocketAddr::new(client, 0))
    };
    Doh { path: config.dns.encrypted.path.clone(), respond: Arc::new(respond) }
}

type DnsSockets = (Vec<TcpListener>, Vec<Vec<UdpSocket>>);

/// TCP and UDP on the same port. When the system is to choose it, a port free for one may be taken for the other: then
/// another is tried.
fn bind_dns(address: ListenAddress, workers: usize) -> io::Result<DnsSockets> {
    const TRIES: usize = 16;
    let mut last = None;
    for _ in 0..if address.port() == 0 { TRIES } else { 1 } {
        let tcp = sockets::tcp(address, workers)?;
        let port = tcp.first().map_or(Ok(0), |socket| socket.local_addr().map(|local| local.port()))?;
        let same = match address {
            ListenAddress::Socket(address) => ListenAddress::Socket((address.ip(), port).into()),
            ListenAddress::Any(_) => ListenAddress::Any(port),
        };
        match sockets::udp(same, workers) {
            Ok(udp) => return Ok((tcp, udp)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::other("no port is free for both TCP and UDP")))
}

fn shown(address: ListenAddress) -> String {
    match address {
        ListenAddress::Socket(address) => address.to_string(),
        ListenAddress::Any(port) => format!(":{port}"),
    }
}
