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
                make(&view, &cancelled);
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

fn make(view: &dns::View, cancelled: &AtomicBool) {
    if !view.make_maps(cancelled) {
        tracing::debug!("the maps are wanted no more");
        return;
    }
    if let Some(info) = view.map_info() {
        let (bytes, prefixes, rankings) = (info.size.bytes, info.size.prefixes, info.size.rankings);
        tracing::info!(bytes, prefixes, rankings, took = ?info.took, "maps compiled");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use nearcast_shared::config::{Config, Inputs};
    use nearcast_shared::geo::builtin;
    use nearcast_shared::metrics::Metrics;

    use super::*;

    fn view(geo: &Arc<nearcast_shared::geo::GeoDb>) -> Arc<dns::View> {
        let text = "[[pop]]\nname = \"fra\"\nlocation = [50.0, 8.6]\naddresses = [\"192.0.2.1\"]\n\
                    [[pop]]\nname = \"iad\"\nlocation = [39.0, -77.5]\naddresses = [\"192.0.2.2\"]\n";
        let inputs = Inputs { pop: Some("fra".to_owned()), admin_token: None };
        let config = Config::parse(text, Path::new("test.toml"), &inputs).unwrap();
        let metrics = dns::DnsMetrics::register(&Metrics::new());
        Arc::new(dns::View::compile(&config, geo.clone(), &metrics).unwrap())
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
        assert!(!next.make_maps(&cancelled));
    }
}
