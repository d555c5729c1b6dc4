//! How signed zones are signed.

use std::path::PathBuf;
use std::time::Duration;

/// `[dns.dnssec]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dnssec {
    /// The folder of the key files, the same on every node of the fleet.
    pub keys: PathBuf,
    /// Seconds, of DNSKEY, CDS and CDNSKEY sets.
    pub dnskey_ttl: u32,
    /// From when a signature is made until it ends.
    pub validity: Duration,
    /// By up to so much less, so that they do not all end at once.
    pub jitter: Duration,
    /// A signature is renewed so long before it ends. Together with `jitter` less than `validity`.
    pub refresh: Duration,
    /// Signatures begin so long before they are made, for validators whose clocks are behind.
    pub backdate: Duration,
    /// Until a change of the key folder has reached every node.
    pub propagation: Duration,
    /// Signatures made a second at most: for what zones have, and for what they do not have, apart for who has proven
    /// their address and who has not.
    pub signatures_per_second: u32,
    /// Signatures kept for what zones have.
    pub signatures_kept: usize,
    /// Signatures kept for names that do not exist, or only through a wildcard.
    pub signatures_passing: usize,
}
