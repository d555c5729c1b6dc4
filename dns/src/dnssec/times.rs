//! When a key is used: the timing metadata of BIND's key files.

use std::time::UNIX_EPOCH;

use nearcast_shared::clock::Timestamp;

/// The moments of a key's life. What is not set never comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// It was made.
    pub created: Option<Timestamp>,
    /// It is in the DNSKEY set from here on, and a key with the SEP bit signs that set.
    pub publish: Option<Timestamp>,
    /// The CDS and CDNSKEY sets ask the parent for its DS record.
    pub offer: Option<Timestamp>,
    /// It signs what the zone has.
    pub activate: Option<Timestamp>,
    /// They ask for it no more.
    pub withdraw: Option<Timestamp>,
    /// It signs nothing more.
    pub inactive: Option<Timestamp>,
    /// It leaves the DNSKEY set.
    pub delete: Option<Timestamp>,
}

/// A moment of [`Times`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Created,
    Publish,
    Offer,
    Activate,
    Withdraw,
    Inactive,
    Delete,
}

impl Moment {
    pub(crate) const ALL: [Self; 7] =
        [Self::Created, Self::Publish, Self::Offer, Self::Activate, Self::Withdraw, Self::Inactive, Self::Delete];

    /// What BIND calls it.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::Publish => "Publish",
            Self::Offer => "SyncPublish",
            Self::Activate => "Activate",
            Self::Withdraw => "SyncDelete",
            Self::Inactive => "Inactive",
            Self::Delete => "Delete",
        }
    }

    /// From what BIND calls it.
    pub(crate) fn named(field: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|moment| moment.field() == field)
    }
}

impl Times {
    /// A key that is used from the beginning of time: files of before timing metadata.
    pub(crate) fn always() -> Self {
        let always = Some(Timestamp(0));
        Self { publish: always, activate: always, ..Self::default() }
    }

    pub(crate) fn at(&self, moment: Moment) -> Option<Timestamp> {
        match moment {
            Moment::Created => self.created,
            Moment::Publish => self.publish,
            Moment::Offer => self.offer,
            Moment::Activate => self.activate,
            Moment::Withdraw => self.withdraw,
            Moment::Inactive => self.inactive,
            Moment::Delete => self.delete,
        }
    }

    pub(crate) fn set(&mut self, moment: Moment, at: Timestamp) {
        let field = match moment {
            Moment::Created => &mut self.created,
            Moment::Publish => &mut self.publish,
            Moment::Offer => &mut self.offer,
            Moment::Activate => &mut self.activate,
            Moment::Withdraw => &mut self.withdraw,
            Moment::Inactive => &mut self.inactive,
            Moment::Delete => &mut self.delete,
        };
        *field = Some(at);
    }

    /// Whether it is in the DNSKEY set.
    pub fn is_published(&self, now: Timestamp) -> bool {
        lasts(self.publish, &[self.delete], now)
    }

    /// Whether it signs what the zone has.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.is_published(now) && lasts(self.activate, &[self.inactive], now)
    }

    /// Whether it may sign the DNSKEY set: before it is active, too, so that the parent's DS record can change meanwhile.
    pub fn vouches(&self, now: Timestamp) -> bool {
        lasts(self.publish, &[self.inactive, self.delete], now)
    }

    /// Whether the parent is asked for its DS record.
    pub fn is_offered(&self, now: Timestamp) -> bool {
        self.vouches(now) && lasts(self.offer, &[self.withdraw], now)
    }
}

fn lasts(from: Option<Timestamp>, ends: &[Option<Timestamp>], now: Timestamp) -> bool {
    from.is_some_and(|from| from <= now) && !ends.iter().flatten().any(|end| *end <= now)
}

/// `20261126174500`, in UTC, as in key files.
pub fn stamp(at: Timestamp) -> String {
    let text = humantime::format_rfc3339_seconds(at.to_system_time()).to_string();
    text.chars().filter(char::is_ascii_digit).collect()
}

/// From such a text.
pub(crate) fn parse_stamp(text: &str) -> Option<Timestamp> {
    if text.len() != 14 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |range: std::ops::Range<usize>| &text[range];
    let (date, time) = ((part(0..4), part(4..6), part(6..8)), (part(8..10), part(10..12), part(12..14)));
    let text = format!("{}-{}-{}T{}:{}:{}Z", date.0, date.1, date.2, time.0, time.1, time.2);
    let since = humantime::parse_rfc3339(&text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok().map(Timestamp::from_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps() {
        let rows = [
            ("20261126174500", Some(1_795_715_100)),
            ("19700101000000", Some(0)),
            ("20240229235959", Some(1_709_251_199)),
            ("20230229000000", None),
            ("2026112617450", None),
            ("2026112617450x", None),
            ("20261326174500", None),
        ];
        for (text, seconds) in rows {
            let parsed = parse_stamp(text);
            assert_eq!(parsed, seconds.map(Timestamp::from_seconds), "{text}");
            assert!(parsed.is_none_or(|at| stamp(at) == text), "{text}");
        }
    }

    #[test]
    fn a_key_is_what_its_times_say() {
        let at = |seconds| Some(Timestamp::from_seconds(seconds));
        let times = Times {
            created: at(0),
            publish: at(10),
            offer: at(20),
            activate: at(30),
            withdraw: at(40),
            inactive: at(50),
            delete: at(60),
        };
        // Published, vouching, offered, active.
        let rows = [
            (9, [false, false, false, false]),
            (10, [true, true, false, false]),
            (20, [true, true, true, false]),
            (30, [true, true, true, true]),
            (40, [true, true, false, true]),
            (50, [true, false, false, false]),
            (60, [false, false, false, false]),
        ];
        for (seconds, wanted) in rows {
            let now = Timestamp::from_seconds(seconds);
            let found = [times.is_published(now), times.vouches(now), times.is_offered(now), times.is_active(now)];
            assert_eq!(found, wanted, "{seconds}");
        }
        // A key that was made with `dnssec-keygen -G`: "not to be published or used".
        let bare = Times { created: at(0), ..Times::default() };
        let late = Timestamp::from_seconds(1 << 40);
        assert!(!bare.is_published(late) && !bare.is_active(late));
        assert!(Times::always().is_active(late) && !Times::always().is_offered(late));
    }
}
