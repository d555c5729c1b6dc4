//! What each step of a hit from memory costs, and all of it but the network: so a regression is seen where it is made.
//!
//! ```sh
//! cargo bench --workspace --bench hit
//! ```

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, black_box};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version, request};
use http_body::Body as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use nearcast_edge::access_log::AccessLog;
use nearcast_edge::body::Body;
use nearcast_edge::cache_status::CacheStatus;
use nearcast_edge::deliver::{self, Supply, Told, Wanted};
use nearcast_edge::fill::Fills;
use nearcast_edge::forwarding::Forwarding;
use nearcast_edge::headers::{self, Identity, Peer};
use nearcast_edge::key::{HashSecret, StoreKey, UrlId};
use nearcast_edge::listener::connection::{Activity, Connection};
use nearcast_edge::metrics::EdgeMetrics;
use nearcast_edge::origin::Origins;
use nearcast_edge::pipeline;
use nearcast_edge::policy::control::Source;
use nearcast_edge::policy::directives::{RequestDirectives, ResponseDirectives};
use nearcast_edge::policy::freshness::{By, Exchange, Lifetime};
use nearcast_edge::purge::{NodeId, Opening, PurgeMetrics, Purges};
use nearcast_edge::remembered::Remembered;
use nearcast_edge::request::{Door, admit};
use nearcast_edge::store::object::{self, CHUNK, Hits, Object, Span};
use nearcast_edge::store::prepared::Prepared;
use nearcast_edge::store::{Piece, Store};
use nearcast_edge::view::View;
use nearcast_edge::worker::{Edge, Worker};
use nearcast_shared::clock::{Clock, Timestamp};
use nearcast_shared::config::{Config, Inputs};
use nearcast_shared::geo::GeoDb;
use nearcast_shared::health::HealthBoard;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::task::TaskTracker;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const NOW: Timestamp = Timestamp(1_800_000_000_000);

const SECRET: HashSecret = HashSecret([7; 16]);

const CONFIG: &str = r#"
[cache]
memory = "64 MiB"
[[pop]]
name = "fra"
addresses = ["192.0.2.10"]
probe = false
[[site]]
domains = ["www.cdn.test"]
origin = "http://127.0.0.1:1"
"#;

const TARGET: &str = "/assets/app-1a2b3c.js?v=7";

static EDGE: LazyLock<Arc<Edge>> = LazyLock::new(edge);

fn main() {
    LazyLock::force(&EDGE);
    divan::main();
}

fn config() -> Config {
    Config::parse(CONFIG, "nearcast.toml".as_ref(), &Inputs::default()).expect("a config")
}

fn edge() -> Arc<Edge> {
    let folder = std::env::temp_dir().join(format!("nearcast-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let config = config();
    let (clock, metrics) = (Clock::manual(NOW), EdgeMetrics::default());
    let opening = Opening {
        path: &folder.join("purges"),
        expected: false,
        keep_ms: 86_400_000,
        node: NodeId(1),
        records_max: 1000,
        secret: SECRET,
    };
    let purges = Purges::open(opening, &clock, PurgeMetrics::default()).expect("purges");
    // Its log is open.
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
    let view = View::compile(&config, &metrics, &SECRET).expect("a view");
    Arc::new(Edge {
        view: Arc::new(ArcSwap::from_pointee(view)),
        store: Store::open(&config.cache, &config.sites, &SECRET).expect("a store"),
        purges,
        fills: Fills::default(),
        pinned: Arc::default(),
        uncacheable: Remembered::default(),
        forced: Remembered::default(),
        health: HealthBoard::new(&config, None, &clock).expect("a board"),
        clock,
        reach: Arc::default(),
        metrics,
        geo: Arc::new(ArcSwap::from_pointee(GeoDb::empty())),
        identity: Identity::new("nearcast-fra", "nearcast-1"),
        secret: SECRET,
        access_log: AccessLog::off(),
        doh: None,
    })
}

/// What a browser sends.
fn browser() -> request::Parts {
    let mut request = Request::get(TARGET).body(()).expect("a request");
    for (name, value) in [
        ("host", "www.cdn.test"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-language", "en-US,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("referer", "http://www.cdn.test/"),
        ("cookie", "session=0123456789abcdef; theme=dark"),
        ("sec-fetch-dest", "script"),
        ("sec-fetch-mode", "no-cors"),
        ("sec-fetch-site", "same-origin"),
    ] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request.into_parts().0
}

/// A stored answer as origins send them.
fn object(length: u64, body: object::Body) -> Arc<Object> {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/javascript"),
        ("cache-control", "public, max-age=3600"),
        ("etag", "\"0123456789abcdef\""),
        ("last-modified", "Fri, 01 Jan 2027 00:00:00 GMT"),
        ("date", "Fri, 15 Jan 2027 08:00:00 GMT"),
        ("vary", "Accept-Encoding"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers::take_out_of_buffers(&mut headers);
    Arc::new(Object {
        site: "www.cdn.test".to_owned(),
        https: false,
        host: "www.cdn.test".to_owned(),
        target: TARGET.to_owned(),
        parts: String::new(),
        status: StatusCode::OK,
        headers,
        hidden: HeaderMap::new(),
        exchange: Exchange { request_time: NOW, response_time: NOW },
        initial_age: Duration::from_secs(5),
        lifetime: Lifetime { duration: Duration::from_secs(3600), by: By::MaxAge },
        browser_ttl: None,
        directives: ResponseDirectives { max_age: Some(Duration::from_secs(3600)), ..ResponseDirectives::default() },
        source: Source::CacheControl,
        groups: Vec::new(),
        tags: Vec::new(),
        tick: EDGE.purges.tick(),
        length,
        body,
        hits: Hits::default(),
        prepared: Prepared::default(),
    })
}

fn url() -> UrlId {
    let view = EDGE.view.load();
    view.site("www.cdn.test").expect("a site").hash.url_id("www.cdn.test", TARGET)
}

fn primary() -> StoreKey {
    StoreKey::primary(url(), false, "", &SECRET)
}

/// The network of one connection: the same request whenever it is asked for, and all of the answer is taken at once.
#[derive(Clone)]
struct Wire {
    request: &'static [u8],
    asks: Rc<Cell<bool>>,
    taken: Rc<Cell<usize>>,
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.asks.take() {
            return Poll::Pending;
        }
        buffer.put_slice(self.request);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.taken.set(self.taken.get() + bytes.len());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        self.taken.set(self.taken.get() + length);
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A load generator's request, and a browser's.
const REQUESTS: [&str; 2] = [
    "GET /assets/app-1a2b3c.js?v=7 HTTP/1.1\r\nHost: www.cdn.test\r\n\r\n",
    "GET /assets/app-1a2b3c.js?v=7 HTTP/1.1\r\nHost: www.cdn.test\r\n\
     User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0\r\n\
     Accept: */*\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
     Referer: http://www.cdn.test/\r\nCookie: session=0123456789abcdef; theme=dark\r\n\
     Sec-Fetch-Dest: script\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Site: same-origin\r\n\r\n",
];

/// From the request's bytes to the answer's: hyper and all of the pipeline.
#[divan::bench(args = [0, 1])]
fn whole(bencher: Bencher<'_, '_>, which: usize) {
    const BODY: Bytes = Bytes::from_static(&[7; 1024]);
    EDGE.store.put(primary(), Piece::Object(object(1024, object::Body::Inline(BODY))));
    let origins = Origins::new(&config().origin, EDGE.reach.clone()).expect("a pool");
    let worker = Arc::new(Worker { edge: EDGE.clone(), origins, fills: TaskTracker::new() });
    let peer = "192.0.2.1".parse().expect("an address");
    let connection = Arc::new(Connection::new(peer, 80, false, None, Arc::new(Activity::default())));
    let wire = Wire { request: REQUESTS[which].as_bytes(), asks: Rc::default(), taken: Rc::default() };
    let service = service_fn(|request| pipeline::serve(&worker, &connection, request));
    let mut serving = pin!(http1::Builder::new().serve_connection(TokioIo::new(wire.clone()), service));
    let mut context = Context::from_waker(Waker::noop());
    bencher.bench_local(|| {
        wire.asks.set(true);
        assert!(serving.as_mut().poll(&mut context).is_pending(), "the connection goes on");
        assert!(wire.taken.take() > 1024, "all of the answer came at once");
    });
}

/// From the request's header to its site, host and target.
#[divan::bench]
fn admission(bencher: Bencher<'_, '_>) {
    let (parts, view) = (browser(), EDGE.view.load_full());
    let door = Door { port: 80, https: false, server_name: None };
    bencher.bench(|| admit(black_box(&parts), door, &view).is_ok());
}

#[divan::bench]
fn key(bencher: Bencher<'_, '_>) {
    let view = EDGE.view.load_full();
    let site = view.site("www.cdn.test").expect("a site");
    bencher.bench(|| {
        let url = site.hash.url_id(black_box("www.cdn.test"), black_box(TARGET));
        StoreKey::primary(url, false, "", &SECRET)
    });
}

/// What a browser selects by, of answers that vary on Accept-Encoding.
#[divan::bench]
fn variant(bencher: Bencher<'_, '_>) {
    let (parts, view) = (browser(), EDGE.view.load_full());
    let site = view.site("www.cdn.test").expect("a site");
    let address = "192.0.2.1".parse().expect("an address");
    let peer = Peer { address, trusted: false, https: false, version: Version::HTTP_11 };
    let vary = [HeaderName::from_static("accept-encoding")];
    bencher.bench(|| {
        let forwarding =
            Forwarding { looked_up: true, keying: &site.keying, peer, identity: &EDGE.identity, country: None };
        forwarding.selecting(black_box(&parts.headers), &vary)
    });
}

#[divan::bench]
fn lookup(bencher: Bencher<'_, '_>) {
    EDGE.store.put(primary(), Piece::Object(object(4, object::Body::Inline(Bytes::from_static(b"body")))));
    let key = primary();
    bencher.bench(|| EDGE.store.peek(black_box(&key)).is_some());
}

/// What purges say, and whether it is fresh.
#[divan::bench]
fn freshness(bencher: Bencher<'_, '_>) {
    let (object, url, wishes) = (object(0, object::Body::Inline(Bytes::new())), url(), RequestDirectives::default());
    bencher.bench(|| {
        let verdict = EDGE.verdict("www.cdn.test", url, black_box(&object), NOW);
        object.standing(NOW, Duration::ZERO, verdict).reuse(&wishes)
    });
}

/// The header of an answer.
#[divan::bench]
fn header(bencher: Bencher<'_, '_>) {
    let (object, parts) = (object(4, object::Body::Inline(Bytes::from_static(b"body"))), browser());
    bencher.bench(|| {
        let wanted = Wanted { method: &Method::GET, headers: black_box(&parts.headers), plain: true, now: NOW };
        deliver::from_store(wanted, &object, told(), || supply(url()))
    });
}

/// A body in chunks, as the connection takes it.
#[divan::bench(args = [1, 4, 64])]
fn chunks(bencher: Bencher<'_, '_>, count: u64) {
    let (url, length) = (UrlId(u128::from(count) << 64), count * CHUNK);
    let span = Span { first: 0, end: length, base: 0, version: 1, large: false };
    let chunk = Bytes::from(vec![7; usize::try_from(CHUNK).expect("it fits")]);
    (0..count).for_each(|number| EDGE.store.put(span.chunk(url, false, number * CHUNK), Piece::Chunk(chunk.clone())));
    let (object, parts) = (object(length, object::Body::Spans(vec![span])), browser());
    bencher.counter(BytesCount::new(length)).bench(|| {
        let wanted = Wanted { method: &Method::GET, headers: &parts.headers, plain: true, now: NOW };
        let body = deliver::from_store(wanted, &object, told(), || supply(url)).into_body();
        assert_eq!(drain(body), length, "all chunks are in memory");
    });
}

fn told() -> Told<'static> {
    static HIT: LazyLock<CacheStatus> = LazyLock::new(|| CacheStatus::hit(3595));
    Told { identity: &EDGE.identity, status: &HIT, key: None }
}

fn supply(url: UrlId) -> Supply {
    Supply { edge: EDGE.clone(), url, holes: None }
}

/// The bytes that come without waiting.
fn drain(mut body: Body) -> u64 {
    let mut context = Context::from_waker(Waker::noop());
    let mut bytes = 0;
    while let std::task::Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut context) {
        bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
    }
    bytes
}
