//! The counters of what is said beside data: cookies, limits, EDNS, flaws, sizes.

use nearcast_shared::metrics::Metrics;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter as PlainCounter;
use prometheus_client::metrics::family::Family;

use super::{Counter, Transport};

label! {
    /// What a query's cookie (RFC 7873) says of its sender's address.
    CookieState {
        /// There is none, or cookies are off.
        None = "none",
        /// Its sender has none of ours yet.
        Client = "client-only",
        /// It is one that we gave to this address.
        Valid = "valid",
        /// It is too old, of another address, or not one of ours.
        Invalid = "invalid",
        /// It is not a cookie.
        Malformed = "malformed",
    }
}

label! {
    /// The version of EDNS that a query is of.
    EdnsVersion {
        None = "none",
        Zero = "0",
        /// There is no other yet.
        Other = "other",
    }
}

label! {
    /// What is wrong with a query, or more than there should be.
    Flaw {
        /// Another operation than a query.
        Opcode = "opcode",
        /// Nothing is asked.
        NoQuestion = "no-question",
        /// More than one thing is asked.
        Questions = "questions",
        /// The name is none: it is compressed, has a label over 63 bytes, or is over 255 bytes long.
        Name = "name",
        /// It ends too early.
        Cut = "cut",
        /// More than one OPT record.
        TwoOpts = "two-opts",
        /// An OPT record that has a name, or is no additional record.
        MisplacedOpt = "misplaced-opt",
        /// An EDNS version that does not exist.
        Version = "version",
        /// An EDNS option that is longer than all of them.
        Options = "options",
        /// A client subnet that is none.
        Subnet = "subnet",
        /// A cookie of a length that none has.
        Cookie = "cookie",
        /// A type that may not be asked for.
        QueryType = "query-type",
        /// A class other than IN that is not answered.
        Class = "class",
        /// Answered all the same: answer or authority records.
        Records = "records",
        /// Answered all the same: bytes after the last record.
        Bytes = "trailing-bytes",
    }
}

label! {
    /// Kinds of answers that are limited apart.
    LimitedKind {
        /// All together.
        All = "all",
        /// With data, and referrals.
        Answers = "answers",
        /// NXDOMAIN and NODATA.
        Negative = "negative",
        /// All errors.
        Errors = "errors",
    }
}

label! {
    /// What became of an answer that was too much.
    LimitedAction {
        Drop = "drop",
        /// An empty answer with TC.
        Slip = "slip",
        /// BADCOOKIE, with a good cookie.
        BadCookie = "bad-cookie",
        /// It was sent: limits are being tried out.
        Noted = "noted",
    }
}

impl EdnsVersion {
    pub(crate) fn of(version: u8) -> Self {
        if version == 0 { Self::Zero } else { Self::Other }
    }
}

/// Classes of answers' sizes, by the most bytes of each.
const SIZES: [(usize, &str); 7] = [
    (128, "0-128"),
    (256, "129-256"),
    (512, "257-512"),
    (1232, "513-1232"),
    (4096, "1233-4096"),
    (16_384, "4097-16384"),
    (usize::MAX, "16385-65535"),
];

/// `dns_cookies_total` and its like.
#[derive(Debug)]
pub(super) struct MannersMetrics {
    cookies: [Counter; CookieState::ALL.len()],
    versions: [Counter; EdnsVersion::ALL.len()],
    flaws: [Counter; Flaw::ALL.len()],
    limited: [[Counter; LimitedAction::ALL.len()]; LimitedKind::ALL.len()],
    sizes: [[Counter; SIZES.len()]; Transport::ALL.len()],
    log_dropped: PlainCounter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CookieLabels {
    state: CookieState,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabels {
    version: EdnsVersion,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FlawLabels {
    flaw: Flaw,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitedLabels {
    kind: LimitedKind,
    action: LimitedAction,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SizeLabels {
    transport: Transport,
    bytes: &'static str,
}

impl MannersMetrics {
    pub(super) fn register(metrics: &Metrics) -> Self {
        let cookies = Family::<CookieLabels, Counter>::default();
        let versions = Family::<VersionLabels, Counter>::default();
        let flaws = Family::<FlawLabels, Counter>::default();
        let limited = Family::<LimitedLabels, Counter>::default();
        let sizes = Family::<SizeLabels, Counter>::default();
        let log_dropped = PlainCounter::default();
        metrics.register(|registry| {
            registry.register("dns_cookies", "DNS queries by their cookie", cookies.clone());
            registry.register("dns_edns", "DNS queries by their EDNS version", versions.clone());
            let help = "DNS queries that are malformed, not supported, or have too much of something";
            registry.register("dns_flaws", help, flaws.clone());
            let help = "DNS answers that were too much for their client's network";
            registry.register("dns_limited", help, limited.clone());
            registry.register("dns_answer_sizes", "DNS answers by their bytes", sizes.clone());
            registry.register("dns_query_log_dropped", "Query-log lines dropped", log_dropped.clone());
        });
        Self {
            cookies: CookieState::ALL.map(|state| cookies.get_or_create_owned(&CookieLabels { state })),
            versions: EdnsVersion::ALL.map(|version| versions.get_or_create_owned(&VersionLabels { version })),
            flaws: Flaw::ALL.map(|flaw| flaws.get_or_create_owned(&FlawLabels { flaw })),
            limited: LimitedKind::ALL.map(|kind| {
                LimitedAction::ALL.map(|action| limited.get_or_create_owned(&LimitedLabels { kind, action }))
            }),
            sizes: Transport::ALL
                .map(|transport| SIZES.map(|(_, bytes)| sizes.get_or_create_owned(&SizeLabels { transport, bytes }))),
            log_dropped,
        }
    }

    pub(super) fn cookie(&self, state: CookieState) -> &Counter {
        &self.cookies[state as usize]
    }

    pub(super) fn version(&self, version: EdnsVersion) -> &Counter {
        &self.versions[version as usize]
    }

    pub(super) fn flaw(&self, flaw: Flaw) -> &Counter {
        &self.flaws[flaw as usize]
    }

    pub(super) fn limited(&self, kind: LimitedKind, action: LimitedAction) -> &Counter {
        &self.limited[kind as usize][action as usize]
    }

    pub(super) fn size(&self, transport: Transport, bytes: usize) -> &Counter {
        let class = SIZES.partition_point(|(most, _)| *most < bytes);
        &self.sizes[transport as usize][class]
    }

    pub(super) fn log_dropped(&self) -> &PlainCounter {
        &self.log_dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_fall_into_classes() {
        let metrics = Metrics::new();
        let manners = MannersMetrics::register(&metrics);
        let rows = [(0, "0-128"), (128, "0-128"), (129, "129-256"), (1232, "513-1232"), (65_535, "16385-65535")];
        for (bytes, class) in rows {
            let before = manners.size(Transport::Tls, bytes).get();
            manners.size(Transport::Tls, bytes).inc();
            let line = format!("nearcast_dns_answer_sizes_total{{transport=\"tls\",bytes=\"{class}\"}} {}", before + 1);
            let text = metrics.render();
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn counters_show_under_their_labels() {
        let metrics = Metrics::new();
        let manners = MannersMetrics::register(&metrics);
        manners.cookie(CookieState::Invalid).inc();
        manners.version(EdnsVersion::Zero).inc();
        manners.flaw(Flaw::TwoOpts).inc();
        manners.limited(LimitedKind::Errors, LimitedAction::Slip).inc();
        manners.log_dropped().inc();
        let text = metrics.render();
        for line in [
            "nearcast_dns_cookies_total{state=\"invalid\"} 1",
            "nearcast_dns_edns_total{version=\"0\"} 1",
            "nearcast_dns_flaws_total{flaw=\"two-opts\"} 1",
            "nearcast_dns_limited_total{kind=\"errors\",action=\"slip\"} 1",
            "nearcast_dns_query_log_dropped_total 1",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
    }
}
