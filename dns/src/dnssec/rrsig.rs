//! The data of an RRSIG record (RFC 4034 section 3.1), and how long a signature is good for.

use std::time::Duration;

use nearcast_shared::clock::Timestamp;

use crate::name::{Name, suffixes};

/// An RRSIG record but for the signature.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rrsig<'a> {
    pub(crate) covered: u16,
    /// The algorithm's number.
    pub(crate) algorithm: u8,
    pub(crate) labels: u8,
    pub(crate) ttl: u32,
    pub(crate) window: Window,
    pub(crate) tag: u16,
    /// The zone.
    pub(crate) signer: &'a Name,
}

impl Rrsig<'_> {
    /// As it is signed and sent: without compression, the signer's name in lower case.
    pub(crate) fn write(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.covered.to_be_bytes());
        into.push(self.algorithm);
        into.push(self.labels);
        into.extend_from_slice(&self.ttl.to_be_bytes());
        into.extend_from_slice(&serial(self.window.ends));
        into.extend_from_slice(&serial(self.window.begins));
        into.extend_from_slice(&self.tag.to_be_bytes());
        into.extend_from_slice(self.signer.wire());
    }
}

/// RFC 4034 section 3.1.5: seconds since the epoch "in network byte order", modulo 2^32.
fn serial(at: Timestamp) -> [u8; 4] {
    let [_, _, _, _, seconds @ ..] = at.seconds().to_be_bytes();
    seconds
}

/// RFC 4034 section 3.1.3: "The value of the Labels field MUST NOT count either the null (root) label that terminates the owner
/// name or the wildcard label (if present)."
pub(crate) fn labels(owner: &[u8]) -> u8 {
    let wildcard = usize::from(owner.starts_with(b"\x01*"));
    u8::try_from(suffixes(owner).count().saturating_sub(wildcard)).unwrap_or(u8::MAX)
}

/// How long signatures are good for; of the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) validity: Duration,
    pub(crate) jitter: Duration,
    pub(crate) refresh: Duration,
    pub(crate) backdate: Duration,
}

/// What time it may be: one moment as a rule, two when the clock was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moments {
    pub(crate) earliest: Timestamp,
    pub(crate) latest: Timestamp,
}

/// A signature's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) begins: Timestamp,
    pub(crate) ends: Timestamp,
    /// From then on it is renewed when it is asked for.
    pub(crate) due: Timestamp,
}

impl Window {
    /// Of a signature that is made now. `draw` says how much of the jitter it loses.
    pub(crate) fn new(terms: &Terms, now: Moments, draw: u64) -> Self {
        let jitter = terms.jitter.as_secs();
        let lost = Duration::from_secs(if jitter == 0 { 0 } else { draw % jitter });
        // Whole seconds: what is in the record is what is gone by.
        let ends = Timestamp::from_seconds(now.latest.plus(terms.validity.saturating_sub(lost)).seconds());
        let back = |from: Timestamp, by: Duration| {
            Timestamp(from.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
        };
        let begins = Timestamp::from_seconds(back(now.earliest, terms.backdate).seconds());
        Self { begins, ends, due: back(ends, terms.refresh) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn terms() -> Terms {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        Terms { validity: hours(7 * 24), jitter: hours(12), refresh: hours(48), backdate: hours(1) }
    }

    #[test]
    fn labels_are_counted() {
        // The RFC's own examples, section 3.1.3.
        let rows: [(&[u8], u8); 4] = [
            (b"\x03www\x07example\x03com\x00", 3),
            (b"\x01*\x07example\x03com\x00", 2),
            (b"\x00", 0),
            (b"\x01a\x01*\x01c\x00", 3),
        ];
        for (owner, wanted) in rows {
            assert_eq!(labels(owner), wanted, "{owner:?}");
        }
    }

    #[test]
    fn windows() {
        let at = Timestamp::from_seconds;
        let one = |seconds| Moments { earliest: at(seconds), latest: at(seconds) };
        let window = Window::new(&terms(), one(100 * DAY), 0);
        assert_eq!(window, Window { begins: at(100 * DAY - 3600), ends: at(107 * DAY), due: at(105 * DAY) });
        let later = Window::new(&terms(), one(100 * DAY), 7200);
        assert_eq!(
            later,
            Window { begins: at(100 * DAY - 3600), ends: at(107 * DAY - 7200), due: at(105 * DAY - 7200) }
        );
        // Never more than the jitter.
        assert!(Window::new(&terms(), one(0), u64::MAX).ends > at(7 * DAY - DAY / 2));
        let both = Moments { earliest: at(100 * DAY), latest: at(103 * DAY) };
        let window = Window::new(&terms(), both, 0);
        assert_eq!((window.begins, window.ends), (at(100 * DAY - 3600), at(110 * DAY)), "good by either clock");
    }

    #[test]
    fn times_go_around() {
        // 2106-02-07T06:28:16Z is 2^32.
        assert_eq!(serial(Timestamp::from_seconds((1 << 32) + 5)), [0, 0, 0, 5]);
        assert_eq!(serial(Timestamp::from_seconds(1_795_715_100)), 1_795_715_100_u32.to_be_bytes());
    }
}
