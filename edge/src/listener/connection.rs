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

    /// A request begins; it ends when the returned value is dropped. It runs from when it is first waited for, or its answer begun.
    pub fn busy(&self) -> Busy {
        self.activity.begun.fetch_add(1, Ordering::Relaxed);
        Busy { activity: self.activity.clone(), runs: false, waits_for_us: false }
    }
}

/// Requests of a connection that are being answered, for the timeouts below HTTP.
#[derive(Debug, Default)]
pub struct Activity {
    running: AtomicU32,
    /// Of these, those that wait for us: for an answer, or for more of one.
    ours: AtomicU32,
    begun: AtomicU32,
    /// Whether they are streams of one connection, which may stand still when nothing is stuck below them.
    streams: AtomicBool,
    resting: AtomicBool,
    /// Whoever is to learn that nothing is being answered any more.
    waiting: Mutex<Option<Waker>>,
}

impl Activity {
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

    /// They are streams from now on.
    pub fn has_streams(&self) {
        self.streams.store(true, Ordering::Relaxed);
    }

    /// Whether requests are being answered, and all of them wait for the client to take what there is.
    pub fn waits_for_client(&self) -> bool {
        self.is_busy() && self.ours.load(Ordering::Relaxed) == 0
    }

    fn wake(&self) {
        if let Some(waker) = self.waiting.lock().take() {
            waker.wake();
        }
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
pub struct Busy {
    activity: Arc<Activity>,
    runs: bool,
    waits_for_us: bool,
}

impl Busy {
    /// It runs, and waits for us, or for the client to take what there is.
    pub fn waits_for_us(&mut self, waits: bool) {
        let Activity { running, ours, streams, .. } = &*self.activity;
        if !std::mem::replace(&mut self.runs, true) {
            running.fetch_add(1, Ordering::Relaxed);
        }
        if std::mem::replace(&mut self.waits_for_us, waits) == waits {
            return;
        }
        if waits {
            ours.fetch_add(1, Ordering::Relaxed);
        } else if ours.fetch_sub(1, Ordering::Relaxed) == 1 && streams.load(Ordering::Relaxed) {
            // How long the client takes is to be looked at from now on.
            self.activity.wake();
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.waits_for_us {
            self.waits_for_us(false);
        }
        if self.runs && self.activity.running.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.activity.wake();
        }
    }
}
