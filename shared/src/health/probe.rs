//! Asks every PoP how it is: raw results for the board.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::sites::SiteHash;
use super::{HealthBoard, Report, TargetId};
use crate::config::Config;
use crate::pop::{Question, Target, TlsProbe};
use crate::trust;

mod http;

/// What a probe heard of a node that speaks for itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    overloaded: bool,
    leaving: bool,
    unreached: Vec<SiteHash>,
}

/// How probes speak TLS.
#[derive(Debug, Clone)]
struct Tls {
    verified: Arc<rustls::ClientConfig>,
    /// For those who are told to take any certificate.
    unverified: Arc<rustls::ClientConfig>,
}

/// Probes every target that `board` has, each on its own, until the returned set is dropped.
pub fn spawn(config: &Config, board: &Arc<HealthBoard>, tls: &Arc<rustls::ClientConfig>) -> JoinSet<()> {
    let tls = Tls { verified: tls.clone(), unverified: trust::any_certificate(tls) };
    let mut tasks = JoinSet::new();
    for (id, target) in board.targets() {
        let (interval, timeout) = (config.health.interval, config.health.timeout);
        tasks.spawn(watch(id, target, interval, timeout, board.clone(), tls.clone()));
    }
    tasks
}

async fn watch(id: TargetId, target: Target, interval: Duration, timeout: Duration, board: Arc<HealthBoard>, tls: Tls) {
    loop {
        let started = Instant::now();
        let heard = match tokio::time::timeout(timeout, ask(&target, &tls)).await {
            Ok(heard) => heard,
            Err(_) => Err("timed out".to_owned()),
        };
        let took = started.elapsed();
        board.report(
            id,
            match heard {
                Ok(Heard { overloaded, leaving, unreached }) => {
                    let result = if leaving { Err("leaving".to_owned()) } else { Ok(()) };
                    Report { result, overloaded, leaving, unreached, took }
                }
                Err(why) => Report::plain(Err(why), took),
            },
        );
        // Jitter keeps a fleet from probing in step; it only shortens, so that a dead PoP is never noticed later than
        // fall x interval plus one timeout.
        let pause = interval.mul_f64(rand::rng().random_range(0.9..=1.0));
        tokio::time::sleep_until(started + pause).await;
    }
}

/// One probe.
async fn ask(target: &Target, tls: &Tls) -> Result<Heard, String> {
    let stream = TcpStream::connect((target.host.as_str(), target.port)).await;
    let stream = stream.map_err(|error| format!("connect: {error}"))?;
    let probe = match &*target.question {
        Question::Tcp => return Ok(Heard::default()),
        Question::Http(probe) => probe,
    };
    match &probe.tls {
        None => http::ask(stream, target, probe).await,
        Some(TlsProbe { name, verify }) => {
            let name = name.as_ref().unwrap_or(&target.host);
            let name = ServerName::try_from(name.clone()).map_err(|error| format!("name: {error}"))?;
            let config = if *verify { &tls.verified } else { &tls.unverified };
            let connector = tokio_rustls::TlsConnector::from(config.clone());
            let stream = connector.connect(name, stream).await.map_err(|error| format!("tls: {error}"))?;
            http::ask(stream, target, probe).await
        }
    }
}
