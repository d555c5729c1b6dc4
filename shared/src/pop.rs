//! The fleet's points of presence.

use std::net::IpAddr;

use http::Uri;

use crate::geo::Coordinates;

mod probe;

pub use probe::{HttpProbe, Probe, Question, Target, TlsProbe};

/// The index of a PoP in [`crate::config::Config::pops`]; the same on every node that has the same config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PopId(pub u16);

impl PopId {
    /// The position in `Config::pops`.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One point of presence.
#[derive(Debug, Clone, PartialEq)]
pub struct Pop {
    /// A lower-case DNS label, unique in the fleet; `<name>.<zone>` always names this PoP.
    pub name: String,
    /// Where it stands. A PoP without a location is never the nearest, only the last resort.
    pub location: Option<Coordinates>,
    /// The addresses that DNS hands out for it, in the configured order. None when it has a `cname`.
    pub addresses: Vec<IpAddr>,
    /// The name that DNS points to instead of addresses, lower case, without the trailing dot.
    pub cname: Option<String>,
    /// Its share among equals, relative to the others'.
    pub capacity: u32,
    /// How its health is learned.
    pub probe: Probe,
    /// Base URL of its admin listener, for client commands that talk to the whole fleet.
    pub admin: Option<Uri>,
}
