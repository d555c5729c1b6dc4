//! What each step of a hit from memory costs, without network and HTTP: so a regression is seen where it is made.
//!
//! ```sh
//! cargo bench --workspace --bench hit
//! ```

use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Waker};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, black_box};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version, request};
use http_body::Body as _;
use nearcast_edge::access_log::AccessLog;
use nearcast_edge::body::Body;
use nearcast_edge::cache_status::CacheStatus;
use nearcast_edge::deliver::{self, Supply, Wanted};
use nearcast_edge::fill::Fills;
use nearcast_edge::forwarding::Forwarding;
use nearcast_edge::headers::{Identity, Peer};
use nearcast_edge::key::{HashSecret, StoreKey, UrlId};
use nearcast_edge::metrics::EdgeMetrics;
use nearcast_edge::policy::control::Source;
use nearcast_edge::policy::directives::{RequestDirectives, ResponseDirectives};
use nearcast_edge::policy::freshness::{By, Exchange, Lifetime};
use nearcast_edge::purge::{NodeId, Opening, PurgeMetrics, Purges};
use nearcast_edge::remembered::Remembered;
use nearcast_edge::request::{Door, admit};
use nearcast_edge::store::object::{self, CHUNK, Hits, Object, Prepared, Span};
use nearcast_edge::store::{Piece, Store};
use nearcast_edge::view::View;
use nearcast_edge::worker::Edge;
use nearcast_shared::clock::{Clock, Timestamp};
use nearcast_shared::config::{Config, Inputs};
use nearcast_shared::geo::GeoDb;
use nearcast_shared::health::HealthBoard;

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

fn edge() -> Arc<Edge> {
    let folder = std::env::temp_dir().join(format!("nearcast-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let config = Config::parse(CONFIG, &folder.join("nearcast.toml"), &Inputs::default()).expect("a config");
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
        identity: Identity { name: "nearcast-fra".to_owned(), loop_id: "nearcast-1".to_owned() },
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
        let wanted = Wanted { method: &Method::GET, headers: black_box(&parts.headers), now: NOW };
        let mut response = deliver::from_store(wanted, &object, &EDGE.identity, || supply(url()));
        CacheStatus::hit(3595).complete(response.headers_mut(), None);
        response
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
        let wanted = Wanted { method: &Method::GET, headers: &parts.headers, now: NOW };
        let body = deliver::from_store(wanted, &object, &EDGE.identity, || supply(url)).into_body();
        assert_eq!(drain(body), length, "all chunks are in memory");
    });
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
