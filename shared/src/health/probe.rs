//! Asks every PoP how it is: raw results for the board.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rand::RngExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{HEALTH_PATH, HealthBoard};
use crate::clock::Clock;
use crate::config::Config;
use crate::pop::Probe;

/// Probes every target of `config`, each on its own, until the returned set is dropped.
pub fn spawn(config: &Config, board: &Arc<HealthBoard>, clock: &Clock, tls: &Arc<rustls::ClientConfig>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for pop in &config.pops {
        let Probe::Urls(urls) = &pop.probe else { continue };
        for url in urls {
            let (interval, timeout) = (config.health.interval, config.health.timeout);
            tasks.spawn(watch(url.clone(), interval, timeout, board.clone(), clock.clone(), tls.clone()));
        }
    }
    tasks
}

async fn watch(
    url: Uri,
    interval: Duration,
    timeout: Duration,
    board: Arc<HealthBoard>,
    clock: Clock,
    tls: Arc<rustls::ClientConfig>,
) {
    let name = url.to_string();
    loop {
        let started = tokio::time::Instant::now();
        let result = match tokio::time::timeout(timeout, probe(&url, &tls)).await {
            Ok(result) => result,
            Err(_) => Err("timed out".to_owned()),
        };
        board.report(&name, result, clock.now());
        // Jitter keeps a fleet from probing in step; it only shortens, so that a dead PoP is never noticed later than
        // fall x interval plus one timeout.
        let pause = interval.mul_f64(rand::rng().random_range(0.9..=1.0));
        tokio::time::sleep_until(started + pause).await;
    }
}

/// One probe: `GET` on the health path must answer 200.
async fn probe(url: &Uri, tls: &Arc<rustls::ClientConfig>) -> Result<(), String> {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let secure = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await.map_err(|error| format!("connect: {error}"))?;
    if !secure {
        return ask(stream, url).await;
    }
    let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(|error| format!("name: {error}"))?;
    let connector = tokio_rustls::TlsConnector::from(tls.clone());
    let stream = connector.connect(name, stream).await.map_err(|error| format!("tls: {error}"))?;
    ask(stream, url).await
}

async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, url: &Uri) -> Result<(), String> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| format!("http: {error}"))?;
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(HEALTH_PATH)
        .header(http::header::HOST, authority)
        .header(http::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("request: {error}"))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| format!("http: {error}"))?;
        match response.status() {
            StatusCode::OK => Ok(()),
            status => Err(format!("answered {}", status.as_u16())),
        }
    };
    tokio::pin!(answer);
    // The connection is driven here, not in a task of its own, so that a timeout ends both.
    tokio::select! {
        biased;
        answer = answer.as_mut() => answer,
        ended = connection => match ended {
            // It may end in the same moment as it delivers the answer.
            Ok(()) => answer.await,
            Err(error) => Err(format!("http: {error}")),
        },
    }
}
