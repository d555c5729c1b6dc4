//! What the requests of one connection share, and whether any of them is still being answered.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

use crate::request::Door;

/// One client connection.
#[derive(Debug)]
pub struct Connection {
    /// The client.
    pub peer: IpAddr,
    port: u16,
    https: bool,
    server_name: Option<String>,
    activity: Arc<Activity>,
    draining: AtomicBool,
    is_beyond: bool,
}

impl Connection {
    /// A connection from `peer` to `port`; `server_name` is what its TLS client asked for.
    pub fn new(peer: IpAddr, port: u16, https: bool, server_name: Option<String>, activity: Arc<Activity>) -> Self {
        Self { peer, port, https, server_name, activity, draining: AtomicBool::new(false), is_beyond: false }
    }

    /// One for which there is no room: it gets the health answer and no other.
    #[must_use]
    pub fn beyond(self, is_beyond: bool) -> Self {
        Self { is_beyond, ..self }
    }

    /// Whether there is no room for it.
    pub fn is_beyond(&self) -> bool {
        self.is_beyond
    }

    /// The way its requests came.
    pub fn door(&self) -> Door<'_> {
        Door { port: self.port, https: self.https, server_name: self.server_name.as_deref() }
    }

    /// Whether it is TLS.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// From now on its health answers say no.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the node closes its connections.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// A request begins; it ends when the returned value is dropped.
    pub fn busy(&self) -> Busy {
        self.activity.begin();
        Busy(self.activity.clone())
    }
}

/// Requests of a connection that are being answered, for the timeouts below HTTP.
#[derive(Debug, Default)]
pub struct Activity {
    running: AtomicU32,
    begun: AtomicU32,
    resting: AtomicBool,
    /// Whoever is to learn that nothing is being answered any more.
    waiting: Mutex<Option<Waker>>,
}

impl Activity {
    fn begin(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a request is being answered.
    pub fn is_busy(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }

    /// Whether a request is being answered; if so, `waker` is woken once none is.
    pub fn is_busy_or_wakes(&self, waker: &Waker) -> bool {
        if !self.is_busy() {
            return false;
        }
        *self.waiting.lock() = Some(waker.clone());
        // It may have become idle between.
        self.is_busy()
    }

    /// Nothing is being answered, sent or read, and has not been for a while; or it is again.
    pub fn rests(&self, rests: bool) {
        self.resting.store(rests, Ordering::Relaxed);
    }

    /// Whether the connection is at rest.
    pub fn is_at_rest(&self) -> bool {
        self.resting.load(Ordering::Relaxed)
    }

    /// How many requests have begun so far.
    pub fn begun(&self) -> u32 {
        self.begun.load(Ordering::Relaxed)
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::Relaxed) == 1
            && let Some(waker) = self.0.waiting.lock().take()
        {
            waker.wake();
        }
    }
}
