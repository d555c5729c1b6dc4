//! The thread that makes maps: of the newest view only. Answers are worked out from the geo data until they are there.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nearcast_dns as dns;
use parking_lot::{Condvar, Mutex};

/// Where maps are ordered.
#[derive(Debug, Default)]
pub(crate) struct MapMaker {
    order: Mutex<Order>,
    placed: Condvar,
}

#[derive(Debug, Default)]
struct Order {
    view: Option<Arc<dns::View>>,
    /// Ends what is being made.
    cancel: Arc<AtomicBool>,
    ended: bool,
}

impl MapMaker {
    /// Maps for `view`, and no longer for the one before.
    pub(crate) fn order(&self, view: Arc<dns::View>) {
        let mut order = self.order.lock();
        order.cancel.store(true, Ordering::Relaxed);
        order.view = Some(view);
        self.placed.notify_one();
    }

    /// Nothing is wanted any more: the thread ends.
    pub(crate) fn end(&self) {
        let mut order = self.order.lock();
        order.cancel.store(true, Ordering::Relaxed);
        order.ended = true;
        self.placed.notify_one();
    }

    /// Starts the thread; like the others it says how many connections it cut off: none.
    pub(crate) fn start(self: Arc<Self>) -> io::Result<JoinHandle<usize>> {
        std::thread::Builder::new().name("map".to_owned()).spawn(move || {
            while let Some((view, cancelled)) = self.next() {
                let _made_or_cancelled = make(&view, &cancelled);
            }
            0
        })
    }

    fn next(&self) -> Option<(Arc<dns::View>, Arc<AtomicBool>)> {
        let mut order = self.order.lock();
        loop {
            if order.ended {
                return None;
            }
            if let Some(view) = order.view.take() {
                order.cancel = Arc::default();
                return Some((view, order.cancel.clone()));
            }
            self.placed.wait(&mut order);
        }
    }
}

/// Makes the maps of `view` unless it has them; `false` when `cancelled` in time. Takes seconds with a full City file.
pub(crate) fn make(view: &dns::View, cancelled: &AtomicBool) -> bool {
    if view.maps().is_some() {
        return true;
    }
    let Some(maps) = view.build_maps(cancelled) else {
        tracing::debug!("the maps are wanted no more");
        return false;
    };
    let dns::MapSize { bytes, prefixes, rankings } = maps.size();
    tracing::info!(bytes, prefixes, rankings, took = ?maps.took(), "maps compiled");
    view.use_maps(maps);
    true
}

/// Gives `view` the maps of `other` if there are any and they are true for it, too.
pub(crate) fn adopt(view: &dns::View, other: &dns::View) {
    if let Some(maps) = other.maps().filter(|_| view.steers_like(other)) {
        view.use_maps(maps.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use nearcast_shared::config::{Config, Inputs};
    use nearcast_shared::geo::{GeoDb, builtin};
    use nearcast_shared::metrics::Metrics;

    use super::*;

    fn view(geo: &Arc<GeoDb>) -> Arc<dns::View> {
        let text = "[[pop]]\nname = \"fra\"\nlocation = [50.0, 8.6]\naddresses = [\"192.0.2.1\"]\n\
                    [[pop]]\nname = \"iad\"\nlocation = [39.0, -77.5]\naddresses = [\"192.0.2.2\"]\n";
        let inputs = Inputs { pop: Some("fra".to_owned()), ..Inputs::default() };
        let config = Config::parse(text, Path::new("test.toml"), &inputs).unwrap();
        let metrics = dns::DnsMetrics::register(&Metrics::new());
        Arc::new(dns::View::compile(&config, geo.clone(), &metrics).unwrap())
    }

    #[test]
    fn maps_are_taken_over_where_they_are_true() {
        let geo = Arc::new(GeoDb::empty());
        let (made, alike, other) = (view(&geo), view(&geo), view(&Arc::new(GeoDb::empty())));
        assert!(make(&made, &AtomicBool::new(false)));
        adopt(&alike, &made);
        adopt(&other, &made);
        assert!(alike.maps().is_some() && other.maps().is_none(), "other geo data needs other maps");
    }

    #[test]
    fn a_newer_order_takes_the_place_of_an_older_one() {
        let geo = Arc::new(builtin::load().unwrap());
        let maker = Arc::new(MapMaker::default());
        let (first, second) = (view(&geo), view(&geo));
        maker.order(first.clone());
        maker.order(second.clone());
        let (next, cancelled) = maker.next().unwrap();
        assert!(Arc::ptr_eq(&next, &second) && !cancelled.load(Ordering::Relaxed));
        maker.order(first);
        assert!(cancelled.load(Ordering::Relaxed), "what is being made is given up");
        maker.end();
        assert!(maker.next().is_none());
        assert!(maker.clone().start().unwrap().join().is_ok_and(|cut_off| cut_off == 0));
        assert!(!make(&next, &cancelled) && next.maps().is_none());
    }
}
