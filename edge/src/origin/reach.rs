//! Which origins are out of this node's reach: a fact of the sites behind them, never of the node's own health.
//!
//! Reach is a connection: name, TCP and TLS. An answer of whatever status, and a request that times out on a connection that
//! stands, are the origin's own affair and would be the same from elsewhere. An origin that could not be connected to is tried
//! once a second from then on, whether or not clients ask for it, until it can be again.
//!
//! ```text
//!             one failure              FAILURES in a row, over SPAN
//! no entry ----------------> doubted --------------------------------> lost
//!    ^  ^---- one success -----'                                         |
//!    `---- an answer to a client, or SUCCESSES in a row of our own ------'
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Uri};
use nearcast_shared::health::sites::{self, SiteHash};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tower_service::Service;

use super::Failure;
use super::connect::Connector;
use crate::view::{Site, View};

/// Failures in a row that make an origin lost.
const FAILURES: u32 = 3;
/// And the least time from the first of them to the last: many clients fail together in a moment.
const SPAN: Duration = Duration::from_secs(2);
/// Connections of our own in a row that bring it back.
const SUCCESSES: u32 = 2;
/// Between two tries.
const PERIOD: Duration = Duration::from_secs(1);
/// Origins that are tried at once.
const TRIES_MAX: usize = 32;

/// What is known of one origin that could not be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Contact {
    /// Of the failures in a row.
    first: Instant,
    failures: u32,
    /// In a row, after it was lost.
    successes: u32,
    is_lost: bool,
    why: Failure,
}

impl Contact {
    fn new(why: Failure, now: Instant) -> Self {
        Self { first: now, failures: 1, successes: 0, is_lost: false, why }
    }

    fn failed(&mut self, why: Failure, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.successes = 0;
        self.why = why;
        self.is_lost |= self.failures >= FAILURES && now.saturating_duration_since(self.first) >= SPAN;
    }

    /// Whether that is enough to forget what was.
    fn connected(&mut self) -> bool {
        self.successes += 1;
        !self.is_lost || self.successes >= SUCCESSES
    }
}

/// Where an origin is.
type Place = (Scheme, Authority);

/// Origins that are doubted or lost.
#[derive(Debug, Default)]
pub struct Reach {
    contacts: Mutex<HashMap<Place, Contact>>,
    /// How many there are: mostly none, and then nobody takes the lock.
    count: AtomicUsize,
    /// What the health answer tells.
    told: ArcSwapOption<HeaderValue>,
}

impl Reach {
    /// A client's request to `site` came to an answer.
    pub fn answered(&self, site: &Site) {
        if self.count.load(Ordering::Relaxed) > 0 {
            self.forget(&place(site), "it answers again");
        }
    }

    /// A client's request to `site` found no connection.
    pub fn failed(&self, site: &Site, why: Failure) {
        self.note_failure(place(site), why, Instant::now());
    }

    /// The value of the health answer's field for sites, if there is anything to tell.
    pub fn told(&self) -> Option<HeaderValue> {
        self.told.load().as_deref().cloned()
    }

    /// Names of the sites whose origin is lost, and why.
    pub fn lost(&self, view: &View) -> Vec<(String, Failure)> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let contacts = self.contacts.lock();
        let why =
            |site: &Arc<Site>| contacts.get(&place(site)).filter(|contact| contact.is_lost).map(|contact| contact.why);
        let mut lost: Vec<(String, Failure)> =
            view.sites().filter_map(|site| Some((site.name.clone(), why(site)?))).collect();
        lost.sort_by(|a, b| a.0.cmp(&b.0));
        lost.dedup_by(|a, b| a.0 == b.0);
        lost
    }

    fn note_failure(&self, place: Place, why: Failure, now: Instant) {
        let mut contacts = self.contacts.lock();
        let contact = contacts.entry(place.clone()).and_modify(|contact| {
            let was_lost = contact.is_lost;
            contact.failed(why, now);
            if contact.is_lost && !was_lost {
                tracing::warn!(origin = %shown(&place), cause = %why, "an origin is out of reach");
            }
        });
        contact.or_insert_with(|| Contact::new(why, now));
        self.count.store(contacts.len(), Ordering::Relaxed);
    }

    fn note_connection(&self, place: &Place) {
        let enough = self.contacts.lock().get_mut(place).is_some_and(Contact::connected);
        if enough {
            self.forget(place, "it takes connections again");
        }
    }

    fn forget(&self, place: &Place, why: &str) {
        let mut contacts = self.contacts.lock();
        let known = contacts.remove(place);
        self.count.store(contacts.len(), Ordering::Relaxed);
        if known.is_some_and(|contact| contact.is_lost) {
            tracing::info!(origin = %shown(place), why, "an origin is in reach");
        }
    }

    /// Forgets what no site has any more, and returns the rest.
    fn doubted(&self, view: &View) -> Vec<Place> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let mut contacts = self.contacts.lock();
        contacts
            .retain(|known, _| view.sites().any(|site| (&site.origin_scheme, &site.origin) == (&known.0, &known.1)));
        self.count.store(contacts.len(), Ordering::Relaxed);
        contacts.keys().cloned().collect()
    }

    fn tell(&self, view: &View) {
        let lost = self.lost(view).iter().map(|(site, _)| SiteHash::of(site)).collect();
        let value = sites::write(lost).and_then(|value| HeaderValue::try_from(value).ok());
        if self.told.load().as_deref() != value.as_ref() {
            self.told.store(value.map(Arc::new));
        }
    }
}

/// Tries what is doubted or lost, once a second, until it is dropped.
pub(super) async fn watch(reach: Arc<Reach>, view: Arc<ArcSwap<View>>, connector: Connector) {
    let mut turns = tokio::time::interval(PERIOD);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let places = reach.doubted(&view.load());
        let mut tries = JoinSet::new();
        for place in places {
            if tries.len() >= TRIES_MAX {
                let _next = tries.join_next().await;
            }
            tries.spawn(attempt(reach.clone(), place, connector.clone()));
        }
        while tries.join_next().await.is_some() {}
        reach.tell(&view.load());
    }
}

async fn attempt(reach: Arc<Reach>, place: Place, mut connector: Connector) {
    let Ok(uri) = Uri::builder().scheme(place.0.clone()).authority(place.1.clone()).path_and_query("/").build() else {
        return;
    };
    let connected = async {
        std::future::poll_fn(|cx| connector.poll_ready(cx)).await?;
        connector.call(uri).await
    };
    match connected.await {
        Ok(_closed_at_once) => reach.note_connection(&place),
        Err(error) => reach.note_failure(place, Failure::of_connecting(&*error), Instant::now()),
    }
}

fn place(site: &Site) -> Place {
    (site.origin_scheme.clone(), site.origin.clone())
}

fn shown(place: &Place) -> String {
    format!("{}://{}", place.0, place.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `-` a failure, `+` a connection of ours, `.` half a second; whether it is lost, or forgotten.
    fn run(events: &str) -> Option<bool> {
        let begun = Instant::now();
        let mut now = begun;
        let mut contact: Option<Contact> = None;
        for event in events.chars() {
            match (event, &mut contact) {
                ('-', Some(contact)) => contact.failed(Failure::Refused, now),
                ('-', none) => *none = Some(Contact::new(Failure::Refused, now)),
                ('+', known) => {
                    if known.as_mut().is_some_and(Contact::connected) {
                        *known = None;
                    }
                }
                _ => now += Duration::from_millis(500),
            }
        }
        contact.map(|contact| contact.is_lost)
    }

    #[test]
    fn table() {
        let rows = [
            ("one failure", "-", Some(false)),
            ("many in a moment", "----------", Some(false)),
            ("two, far apart", "-....-", Some(false)),
            ("enough, over enough time", "-..-..-", Some(true)),
            ("just too soon", "-..-.-", Some(false)),
            ("a connection between", "-..-+..-..-", Some(false)),
            ("one connection does not bring it back", "-..-..-+", Some(true)),
            ("two do", "-..-..-++", None),
            ("in a row", "-..-..-+-+", Some(true)),
        ];
        for (name, events, wanted) in rows {
            assert_eq!(run(events), wanted, "{name}");
        }
    }
}
