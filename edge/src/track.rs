//! Follows a request to the last byte of its answer: counters, the access log, and the connection's being busy.

use std::sync::Arc;

use tokio::time::Instant;

use crate::access_log::Line;
use crate::body::BodyError;
use crate::listener::connection::Busy;
use crate::view::Site;
use crate::worker::Edge;

/// One request's follower; what it saw is told when it is dropped.
#[derive(Debug)]
pub struct Tracker {
    site: Option<Arc<Site>>,
    line: Option<Box<Noted>>,
    sent: u64,
    busy: Busy,
}

/// What the access log is to say.
#[derive(Debug)]
pub struct Noted {
    /// That.
    pub line: Box<Line>,
    /// Whose log it is.
    pub edge: Arc<Edge>,
    /// When the request came.
    pub since: Instant,
}

impl Tracker {
    /// Follows a request of `site`; `line` is what the access log is to say, if it is on.
    pub fn new(site: Option<Arc<Site>>, line: Option<Box<Noted>>, busy: Busy) -> Self {
        Self { site, line, sent: 0, busy }
    }

    /// Whether the client waits for more, or we for the client.
    pub fn waits_for_us(&mut self, waits: bool) {
        self.busy.waits_for_us(waits);
    }

    /// So many bytes were handed to the connection; `passed`: straight from the origin.
    pub fn sent(&mut self, bytes: usize, passed: bool) {
        self.sent += bytes as u64;
        if let Some(site) = self.site.as_ref().filter(|_| passed) {
            site.metrics.fetched.inc_by(bytes as u64);
        }
    }

    /// The answer broke off.
    pub fn broke_off(&mut self, error: &BodyError) {
        if let Some(noted) = &mut self.line {
            noted.line.broken = Some(error.to_string());
        }
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        if let Some(site) = &self.site {
            site.metrics.sent.inc_by(self.sent);
        }
        if let Some(noted) = self.line.take() {
            let Noted { mut line, edge, since } = *noted;
            line.bytes = self.sent;
            line.duration_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            edge.access_log.line(line);
        }
    }
}
