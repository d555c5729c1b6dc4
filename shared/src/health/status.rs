//! What the board knows, for people and for metrics.

use std::net::IpAddr;

use serde::Serialize;

use super::history::Change;
use super::verdict::Verdict;
use super::{Forced, HealthBoard, Hold, Reason, Target};
use crate::clock::Timestamp;

/// One PoP.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PopStatus {
    /// Its name.
    pub name: String,
    /// Whether DNS may hand it out.
    pub up: bool,
    /// What decided that.
    pub reason: Reason,
    /// The operator's word, if any.
    pub forced: Option<Forced>,
    /// And its story.
    pub hold: Option<Hold>,
    /// Its state is about to change or just did.
    pub unsettled: bool,
    /// When it last went up or down, in seconds since the epoch.
    pub since: Option<i64>,
    /// Its addresses.
    pub addresses: Vec<AddressStatus>,
    /// Sites whose origin it does not reach; those that this node does not know are not named.
    pub origins_unreached: Vec<String>,
    /// What is probed.
    pub targets: Vec<TargetStatus>,
    /// How often it went up or down.
    pub changes: u64,
    /// The last times, the newest first.
    pub history: Vec<Change>,
}

/// A hold of a PoP that the config does not have: in force again if that comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OrphanedHold {
    /// The PoP's name.
    pub pop: String,
    /// The hold.
    pub hold: Hold,
}

/// One address.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AddressStatus {
    /// The address.
    pub address: IpAddr,
    /// Whether it may be handed out while the PoP is.
    pub up: bool,
}

/// One thing that is probed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TargetStatus {
    /// What is probed.
    pub url: String,
    /// The address it speaks for; `None`: for the whole PoP.
    pub address: Option<IpAddr>,
    /// What the probes amount to.
    pub verdict: Verdict,
    /// The last result in words; `None` before the first.
    pub last: Option<String>,
    /// How long that took.
    pub last_seconds: Option<f64>,
    /// While it is down: good probes in a row that bring it back.
    pub need: Option<u32>,
    /// Its node says that it is overloaded.
    pub overloaded: bool,
    /// When the verdict last changed, in seconds since the epoch.
    pub since: Option<i64>,
    /// How often it changed.
    pub changes: u64,
    /// The last times, the newest first.
    pub history: Vec<Change>,
}

impl HealthBoard {
    /// Each PoP in full.
    pub fn status(&self) -> Vec<PopStatus> {
        let now = self.clock.now();
        let state = self.state.lock();
        let table = self.table.load();
        let pops = table.pops.iter().zip(&state.pops).map(|(shown, pop)| PopStatus {
            name: shown.name.to_string(),
            up: shown.up,
            reason: shown.reason,
            forced: shown.forced,
            hold: state.holds.of(&shown.name).cloned(),
            unsettled: shown.unsettled,
            since: pop.history.since(),
            addresses: shown
                .addresses
                .iter()
                .map(|(address, up)| AddressStatus { address: *address, up: *up })
                .collect(),
            origins_unreached: shown.unreached.iter().filter_map(|site| state.sites.get(site).cloned()).collect(),
            targets: pop.targets.iter().map(|target| target.status(now)).collect(),
            changes: pop.history.count,
            history: pop.history.list(),
        });
        pops.collect()
    }

    /// Holds of PoPs that there are not.
    pub fn orphaned_holds(&self) -> Vec<OrphanedHold> {
        let state = self.state.lock();
        let is_known = |name: &str| state.pops.iter().any(|known| known.pop.name == name);
        let orphans = state.holds.iter().filter(|(pop, _)| !is_known(pop));
        orphans.map(|(pop, hold)| OrphanedHold { pop: pop.to_owned(), hold: hold.clone() }).collect()
    }
}

impl Target {
    fn status(&self, now: Timestamp) -> TargetStatus {
        let verdict = self.machine.verdict();
        TargetStatus {
            url: self.asked.to_string(),
            address: self.asked.address,
            verdict,
            last: self.last.clone(),
            last_seconds: self.took.map(|took| took.as_secs_f64()),
            need: (verdict == Verdict::Down).then(|| self.machine.need(now)),
            overloaded: self.overloaded,
            since: self.history.since(),
            changes: self.history.count,
            history: self.history.list(),
        }
    }
}
