//! The demo's origin: a small web server that says on the terminal what it is asked.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nearcast_shared::clock::Clock;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::assets::{Asset, Assets};
use super::say;
use crate::control::date;

/// Open connections; the next one waits for one of them to end.
const CONNECTIONS_MAX: usize = 512;

/// All files are of the same age; before any clock on which the demo may run.
const MODIFIED: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

/// Never the same twice, and never to be stored.
const NOW: &str = "/now";

type Answer = Response<Full<Bytes>>;

/// Serves `assets` until it is dropped.
pub(super) async fn serve(listener: TcpListener, assets: Arc<Assets>) {
    let counts = Arc::new(Mutex::new(Counts::default()));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => drop(connections.spawn(connection(stream, assets.clone(), counts.clone()))),
            Err(error) => {
                say(format_args!("origin: a connection cannot be accepted: {error}"));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, assets: Arc<Assets>, counts: Arc<Mutex<Counts>>) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let answer = answer(&assets, request.method(), request.uri().path(), request.headers());
        let line = counts.lock().line(request.method(), request.uri(), answer.status());
        say(line);
        async { Ok::<_, Infallible>(answer) }
    });
    // A client that breaks off is no news.
    let _ended = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
}

fn answer(assets: &Assets, method: &Method, path: &str, headers: &HeaderMap) -> Answer {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n".to_owned());
        set(&mut answer, ALLOW, "GET, HEAD");
        return answer;
    }
    match assets.find(path) {
        Some(asset) => of_asset(asset, headers),
        None if path == NOW => plain(StatusCode::OK, format!("{}\n", date(Clock::System.now()))),
        None => plain(StatusCode::NOT_FOUND, "not found\n".to_owned()),
    }
}

fn of_asset(asset: &Asset, headers: &HeaderMap) -> Answer {
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let known = known.flat_map(|list| list.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
    let mut answer = if known.into_iter().any(|tag| tag == asset.etag || tag == "*") {
        let mut answer = Answer::default();
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        answer
    } else {
        let mut answer = Response::new(Full::new(asset.body.clone()));
        set(&mut answer, CONTENT_TYPE, asset.content_type);
        // hyper leaves the body out of an answer to HEAD, but needs to be told its length.
        set(&mut answer, CONTENT_LENGTH, &asset.body.len().to_string());
        answer
    };
    set(&mut answer, CACHE_CONTROL, asset.cache_control);
    set(&mut answer, ETAG, &asset.etag);
    set(&mut answer, LAST_MODIFIED, MODIFIED);
    answer
}

fn plain(status: StatusCode, text: String) -> Answer {
    let mut answer = Response::new(Full::from(text));
    *answer.status_mut() = status;
    set(&mut answer, CONTENT_TYPE, "text/plain; charset=utf-8");
    set(&mut answer, CACHE_CONTROL, "no-store");
    answer
}

fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    answer.headers_mut().insert(name, HeaderValue::from_str(value).expect("our own values are visible ASCII"));
}

/// How often which file was asked for.
#[derive(Debug, Default)]
struct Counts {
    all: u64,
    /// Of answers with a file, so that its size is bounded by theirs.
    by_path: HashMap<String, u64>,
}

impl Counts {
    fn line(&mut self, method: &Method, uri: &http::Uri, status: StatusCode) -> String {
        self.all += 1;
        let (path, all) = (uri.path(), self.all);
        let head = Head { method, path, status };
        if !(status.is_success() || status == StatusCode::NOT_MODIFIED) {
            return format!("origin: {head} (request {all} in all)");
        }
        let own = self.by_path.entry(path.to_owned()).or_default();
        *own += 1;
        format!("origin: {head} (request {own} for it, {all} in all)")
    }
}

/// `GET /app.css`, and the status where it is not 200.
struct Head<'a> {
    method: &'a Method,
    path: &'a str,
    status: StatusCode,
}

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What stands in a path is the client's choice: nothing that would steer a terminal.
        write!(f, "{} {}", self.method, self.path.escape_debug())?;
        if self.status == StatusCode::OK { Ok(()) } else { write!(f, " {}", self.status.as_u16()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &Method, path: &str, if_none_match: Option<&'static str>) -> Answer {
        let given = if_none_match.map(|tag| (IF_NONE_MATCH, HeaderValue::from_static(tag)));
        answer(&Assets::new(), method, path, &given.into_iter().collect())
    }

    #[test]
    fn answers() {
        let style = ask(&Method::GET, "/app.css", None);
        assert_eq!(style.status(), 200);
        assert_eq!(style.headers()[CACHE_CONTROL], "public, max-age=3600");
        assert!(style.headers().contains_key(ETAG) && style.headers().contains_key(LAST_MODIFIED));
        assert_eq!(ask(&Method::GET, "/app.css", Some("\"other\"")).status(), 200);
        assert_eq!(ask(&Method::GET, "/app.css", Some("\"other\", *")).status(), 304);
        assert_eq!(ask(&Method::GET, "/no", None).status(), 404);
        assert_eq!(ask(&Method::GET, NOW, None).headers()[CACHE_CONTROL], "no-store");
        assert_eq!(ask(&Method::POST, "/", None).headers()[ALLOW], "GET, HEAD");
    }

    #[test]
    fn lines() {
        let mut counts = Counts::default();
        let mut line = |path: &str, status| counts.line(&Method::GET, &path.parse().unwrap(), status);
        assert_eq!(line("/app.css?a=b", StatusCode::OK), "origin: GET /app.css (request 1 for it, 1 in all)");
        assert_eq!(line("/no", StatusCode::NOT_FOUND), "origin: GET /no 404 (request 2 in all)");
        let again = line("/app.css", StatusCode::NOT_MODIFIED);
        assert_eq!(again, "origin: GET /app.css 304 (request 2 for it, 3 in all)");
        assert_eq!(counts.by_path.len(), 1);
    }
}
