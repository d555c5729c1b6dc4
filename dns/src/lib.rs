//! The question's path: an authoritative DNS server that answers with the nearest healthy PoP.
//!
//! ```text
//! server -> respond: message (decode) -> edns + ecs (for whom?) -> view (which name?) -> steering (which PoP?)
//!                -> answer -> dnssec (signatures) -> encode
//! ```
//!
//! `answer` is the one place where control flow lives. It, `steering` and `ecs` are pure: no async, no clock,
//! no logging.

mod server;

mod respond;

mod message;

mod edns;

mod ecs;

mod cookie;

mod manners;

mod limit;

mod chaos;

mod extras;

mod view;

mod texts;

mod steering;

mod map;

mod answer;

mod explain;

mod simulate;

mod encode;

pub mod dnssec;

mod metrics;

mod log;

#[doc(hidden)]
pub mod fuzzing;

#[cfg(test)]
mod fixture;

use nearcast_shared::name;

pub use explain::{ExplainError, Explanation, PopExplanation, explain};
pub use log::QueryLog;
pub use manners::{Manners, Seed};
pub use map::diff::{Changes, Group, Moves};
pub use map::{MapSize, Maps};
pub use metrics::DnsMetrics;
pub use server::{Clients, OverflowCollector, Plane, ServeError, Shown, Sockets, Streams, Tls, TlsError, Udp, serve};
pub use simulate::{AddressType, Cell, Load, LoadState, Simulation, Simulator, Taken, supposed};
pub use texts::{Text, TextError, Texts};
pub use view::{View, ViewError};
