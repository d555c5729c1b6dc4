//! DNSSEC: zones are signed online, by keys that the fleet shares through files.
//!
//! ```text
//!   files -> keys -> schedule (who does what when) -> zone (the DNSKEY, CDS and CDNSKEY sets, who signs)
//!                                                       |
//!   answer's sets ------------------------------> signers (kept? clock? budget?) -> canonical -> RRSIG data
//! ```

mod times;

mod algorithm;
mod file;
mod key;
mod keys;

mod schedule;
mod zone;

mod canonical;
mod rrsig;

mod budget;
mod generations;
mod guard;
mod metrics;
mod signers;

pub mod rollover;

pub use algorithm::Algorithm;
pub use file::{KeyFileError, remove, write};
pub use key::Key;
pub use keys::{KeyError, KeyErrors, Keys, read};
pub use metrics::{SignatureMetrics, SignersCollector};
pub use signers::{Held, Signers, SignersStatus};
pub use times::{Times, stamp};

pub(crate) use budget::{Asker, Pool};
pub(crate) use canonical::Set;
pub(crate) use file::rewritten;
pub(crate) use signers::{Local, Refused, Signatures};
pub(crate) use zone::{Stage, ZoneKeys};
