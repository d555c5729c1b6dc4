//! Geo files are looked at again and again. A change is taken once it is settled: when a file looks the same at two looks,
//! since whoever writes it may not have finished.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use nearcast_shared::config::Config;
use nearcast_shared::geo::Use;

use super::GeoDesk;
use crate::control::Control;

/// What tells a file from its successor without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Print {
    modified: Option<SystemTime>,
    size: u64,
    inode: u64,
}

/// Files, what they are read for, and their prints; `None` for one that is not there.
pub(crate) type Prints = Vec<(Use, PathBuf, Option<Print>)>;

/// The geo files that `config` names, as they are now.
pub(crate) fn prints(config: &Config) -> Prints {
    let print = |path: &PathBuf| {
        let meta = fs::metadata(path).ok()?;
        Some(Print { modified: meta.modified().ok(), size: meta.len(), inode: meta.ino() })
    };
    config.geo.files().map(|(read_for, path)| (read_for, path.clone(), print(path))).collect()
}

/// Tells when a change is settled.
#[derive(Debug, Default)]
struct Settling {
    /// At the last look.
    seen: Prints,
    /// What was tried last, whatever came of it: a refused file is not read again and again.
    tried: Option<Prints>,
}

impl Settling {
    /// Whether `now` should be taken in place of what is in force.
    fn look(&mut self, in_force: &Prints, now: Prints) -> bool {
        let complete = now.iter().all(|(_, _, print)| print.is_some());
        let new = now != *in_force && self.tried.as_ref() != Some(&now);
        let settled = complete && new && self.seen == now;
        if settled {
            self.tried = Some(now.clone());
        }
        if now == *in_force {
            self.tried = None;
        }
        self.seen = now;
        settled
    }
}

/// Looks at the files at the configured interval and takes what changed, until the node ends.
pub(crate) async fn watch(desk: Arc<GeoDesk>, control: Weak<Control>) {
    let mut settling = Settling::default();
    loop {
        if desk.ending.load(Ordering::Relaxed) {
            return;
        }
        let Some(interval) = control.upgrade().map(|control| control.config.load().geo.watch) else { return };
        let pause = async {
            if interval.is_zero() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(interval).await;
        };
        tokio::select! {
            () = desk.reloaded.notified() => continue,
            () = pause => {}
        }
        let control = control.clone();
        let look = move || {
            if let Some(control) = control.upgrade()
                && settling.look(&control.geo_desk.prints(), prints(&control.config.load()))
            {
                // Its outcome is logged and shown in the status.
                let _told = control.take_geo();
            }
            settling
        };
        settling = match tokio::task::spawn_blocking(look).await {
            Ok(settling) => settling,
            // The runtime ends, or a bug was logged by the panic hook.
            Err(_) => return,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(sizes: &[Option<u64>]) -> Prints {
        let print = |size: &Option<u64>| size.map(|size| Print { modified: None, size, inode: 1 });
        sizes.iter().enumerate().map(|(number, size)| (Use::Places, number.to_string().into(), print(size))).collect()
    }

    /// The sizes of the files, and whether they are to be taken.
    type Look = (&'static [Option<u64>], bool);

    #[test]
    fn a_change_is_taken_once_it_is_settled() {
        // In force is what was taken last.
        let rows: &[(&str, &[Look])] = &[
            ("nothing changes", &[(&[Some(1)], false), (&[Some(1)], false)]),
            ("a new file", &[(&[Some(2)], false), (&[Some(2)], true), (&[Some(2)], false)]),
            ("it grows", &[(&[Some(2)], false), (&[Some(3)], false), (&[Some(3)], true)]),
            ("it is gone for a while", &[(&[None], false), (&[None], false), (&[Some(2)], false), (&[Some(2)], true)]),
            ("it changes back", &[(&[Some(2)], false), (&[Some(1)], false), (&[Some(2)], false), (&[Some(2)], true)]),
        ];
        for (name, looks) in rows {
            let (mut settling, mut in_force) = (Settling::default(), files(&[Some(1)]));
            for (number, (now, wanted)) in looks.iter().enumerate() {
                let taken = settling.look(&in_force, files(now));
                assert_eq!(taken, *wanted, "{name}, look {number}");
                if taken {
                    in_force = files(now);
                }
            }
        }
    }

    #[test]
    fn what_was_refused_is_tried_again_only_when_it_changes() {
        let (mut settling, in_force) = (Settling::default(), files(&[Some(1), Some(1)]));
        let mut look = |second| settling.look(&in_force, files(&[Some(1), Some(second)]));
        let looks = [2, 2, 2, 3, 3, 3].map(&mut look);
        assert_eq!(looks, [false, true, false, false, true, false]);
        // Gone back to what is in force, and then bad in the same way: that is news.
        assert_eq!([1, 3, 3].map(look), [false, false, true]);
    }
}
