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

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::HeaderValue;
use nearcast_shared::health::sites::{self, SITES_MAX, SiteHash};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::Failure;
use super::connect::{self, Connector, Place, place};
use crate::view::{Site, View};

/// Failures in a row that make an origin lost.
const FAILURES: u32 = 3;
/// And the least time from the first of them to the last: many clients fail together in a moment.
const SPAN: Duration = Duration::from_secs(2);
/// Connections of our own in a row that bring it back.
const SUCCESSES: u32 = 2;
/// Between two tries.
const PERIOD: Duration = Duration::from_secs(1);
/// Origins that are tried at once; of more than these the one whose last try is longest ago is next.
const TRIES_MAX: usize = 32;

/// What is known of one origin that could not be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Contact {
    /// Of the failures in a row.
    first: Instant,
    /// When it was last tried.
    tried: Option<Instant>,
    failures: u32,
    /// In a row, after it was lost.
    successes: u32,
    is_lost: bool,
    why: Failure,
}

impl Contact {
    fn new(why: Failure, now: Instant) -> Self {
        Self { first: now, tried: None, failures: 1, successes: 0, is_lost: false, why }
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

/// Origins that are doubted or lost.
#[derive(Debug, Default)]
pub struct Reach {
    contacts: Mutex<HashMap<Place, Contact>>,
    /// How many there are: mostly none, and then nobody takes the lock.
    count: AtomicUsize,
    /// What the health answer tells.
    told: ArcSwapOption<HeaderValue>,
    /// It does not tell all.
    is_too_much: AtomicBool,
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

    /// One site for each origin that is lost: the first by its name, so that all nodes of a PoP choose alike.
    fn lost_once(&self, view: &View) -> Vec<SiteHash> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let contacts = self.contacts.lock();
        let mut first: HashMap<Place, &str> = HashMap::new();
        for site in view.sites() {
            let place = place(site);
            if contacts.get(&place).is_some_and(|contact| contact.is_lost) {
                let known = first.entry(place).or_insert(&site.name);
                *known = site.name.as_str().min(known);
            }
        }
        first.into_values().map(SiteHash::of).collect()
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

    /// Forgets what no site has any more.
    fn keep(&self, view: &View) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut contacts = self.contacts.lock();
        contacts
            .retain(|known, _| view.sites().any(|site| (&site.origin_scheme, &site.origin) == (&known.0, &known.1)));
        self.count.store(contacts.len(), Ordering::Relaxed);
    }

    /// What is to be tried now, besides those that are `being_tried`.
    fn due(&self, being_tried: &HashSet<Place>, now: Instant) -> Vec<Place> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let mut contacts = self.contacts.lock();
        let mut due: Vec<_> = contacts.iter_mut().filter(|(place, _)| !being_tried.contains(*place)).collect();
        due.sort_by_key(|(_, contact)| contact.tried);
        due.truncate(TRIES_MAX.saturating_sub(being_tried.len()));
        let begin = |(place, contact): (&Place, &mut Contact)| {
            contact.tried = Some(now);
            place.clone()
        };
        due.into_iter().map(begin).collect()
    }

    fn tell(&self, view: &View) {
        let lost = self.lost_once(view);
        let is_too_much = lost.len() > SITES_MAX;
        if self.is_too_much.swap(is_too_much, Ordering::Relaxed) != is_too_much && is_too_much {
            tracing::warn!(origins = lost.len(), told = SITES_MAX, "more origins are out of reach than can be told");
        }
        let value = sites::write(lost).and_then(|value| HeaderValue::try_from(value).ok());
        if self.told.load().as_deref() != value.as_ref() {
            self.told.store(value.map(Arc::new));
        }
    }
}

/// Tries what is doubted or lost, once a second, until it is dropped.
pub(super) async fn watch(reach: Arc<Reach>, view: Arc<ArcSwap<View>>, connector: Connector) {
    watch_by(&reach, &view, move |place| {
        let connector = connector.clone();
        async move { connect::to(&place, connector).await.map(drop) }
    })
    .await;
}

/// A try that does not end holds up no other, nor the word of it.
async fn watch_by<T>(reach: &Reach, view: &ArcSwap<View>, connect: impl Fn(Place) -> T)
where
    T: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let mut turns = tokio::time::interval(PERIOD);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tries = JoinSet::new();
    let mut being_tried = HashSet::new();
    loop {
        tokio::select! {
            Some(ended) = tries.join_next() => match ended {
                Ok((place, outcome)) => {
                    being_tried.remove(&place);
                    match outcome {
                        Ok(()) => reach.note_connection(&place),
                        Err(why) => reach.note_failure(place, why, Instant::now()),
                    }
                    reach.tell(&view.load());
                }
                Err(error) => {
                    tracing::error!(%error, "a try of an origin failed: a bug");
                    // Which one it was is not known: all are tried anew.
                    tries = JoinSet::new();
                    being_tried.clear();
                }
            },
            _ = turns.tick() => {
                let view = view.load();
                reach.keep(&view);
                for place in reach.due(&being_tried, Instant::now()) {
                    being_tried.insert(place.clone());
                    let connected = connect(place.clone());
                    tries.spawn(async move { (place, connected.await) });
                }
                reach.tell(&view);
            }
        }
    }
}

fn shown(place: &Place) -> String {
    format!("{}://{}", place.0, place.1)
}

#[cfg(test)]
mod tests {
    use http::uri::{Authority, Scheme};
    use nearcast_shared::config::{Config, Inputs};

    use super::*;
    use crate::metrics::EdgeMetrics;

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

    /// A view of sites `a`, `b` ..; each has an origin of its own.
    fn view(names: &[&str]) -> View {
        let site = |name: &&str| {
            format!(
                "[[site]]\nname = \"{name}\"\ndomains = [\"{name}.test\"]\norigin = \"http://{name}.origin.test\"\n"
            )
        };
        let sites: String = names.iter().map(site).collect();
        view_of(&format!("[[pop]]\nname = \"a\"\naddresses = [\"192.0.2.1\"]\n{sites}"))
    }

    fn view_of(text: &str) -> View {
        let config = Config::parse(text, std::path::Path::new("test.toml"), &Inputs::default()).unwrap();
        View::compile(&config, &EdgeMetrics::default()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_swallows_all_holds_up_no_other() {
        let (reach, view) = (Reach::default(), ArcSwap::from_pointee(view(&["hole", "wall", "well"])));
        for site in view.load().sites() {
            reach.failed(site, Failure::Refused);
        }
        let tried = AtomicUsize::new(0);
        let connect = |(_, origin): Place| {
            let swallows = origin.as_str().starts_with("hole");
            tried.fetch_add(usize::from(swallows), Ordering::Relaxed);
            async move {
                if swallows {
                    std::future::pending::<()>().await;
                }
                if origin.as_str().starts_with("wall") { Err(Failure::Refused) } else { Ok(()) }
            }
        };
        let _never_ends = tokio::time::timeout(Duration::from_secs(4), watch_by(&reach, &view, connect)).await;
        assert_eq!(reach.lost(&view.load()), [("wall".to_owned(), Failure::Refused)]);
        assert_eq!(reach.told().unwrap(), sites::write(vec![SiteHash::of("wall")]).unwrap());
        assert_eq!(tried.into_inner(), 1, "its first try still runs");
    }

    #[test]
    fn one_site_speaks_for_all_of_its_origin() {
        let text = "[[pop]]\nname = \"a\"\naddresses = [\"192.0.2.1\"]\n".to_owned();
        let site = |number: usize| {
            format!(
                "[[site]]\nname = \"s{number}\"\ndomains = [\"s{number}.test\", \"t{number}.test\"]\norigin = \"http://o.test\"\n"
            )
        };
        let view = view_of(&(text + &(100..400).map(site).collect::<String>()));
        let (reach, begun) = (Reach::default(), Instant::now());
        for seconds in 0..3 {
            let place = (Scheme::HTTP, Authority::from_static("o.test"));
            reach.note_failure(place, Failure::Refused, begun + PERIOD * seconds);
        }
        reach.tell(&view);
        assert_eq!(reach.lost(&view).len(), 300);
        assert_eq!(sites::read(reach.told().unwrap().as_bytes()), [SiteHash::of("s100")]);
    }

    #[test]
    fn each_has_its_turn() {
        let (reach, now) = (Reach::default(), Instant::now());
        let place = |number: usize| -> Place { (Scheme::HTTP, format!("o{number}.test").parse().unwrap()) };
        for number in 0..TRIES_MAX + 8 {
            reach.note_failure(place(number), Failure::Refused, now);
        }
        let first = reach.due(&HashSet::new(), now);
        assert_eq!(first.len(), TRIES_MAX);
        let running: HashSet<Place> = first.iter().take(TRIES_MAX - 3).cloned().collect();
        let second = reach.due(&running, now + PERIOD);
        assert!(second.len() == 3 && second.iter().all(|place| !first.contains(place)), "{second:?}");
        let third = reach.due(&HashSet::new(), now + PERIOD * 2);
        let others = third.iter().filter(|place| !first.contains(place) && !second.contains(place)).count();
        assert_eq!(others, 5, "all the rest");
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
