//! The DNS plane's counters. All are resolved beforehand: counting a query takes no lock and no look-up.

use std::net::IpAddr;

use nearcast_shared::metrics::Metrics;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter as PlainCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::ecs::ClientSubnet;

use manners::MannersMetrics;
pub(crate) use striped::{Counter, Lane};

/// `dns_queries_total`, `dns_answers_total` and what else starts with `dns_`.
#[derive(Debug)]
pub struct DnsMetrics {
    queries: [[[Counter; Transport::ALL.len()]; Rcode::ALL.len()]; QueryType::ALL.len()],
    answers: Family<AnswerLabels, Counter>,
    without_pop: [Counter; WithoutPop::ALL.len()],
    rankings: [Counter; RankingSource::ALL.len()],
    client_subnets: [Counter; ClientSubnetKind::ALL.len()],
    /// By family, then by class of length.
    scopes: [Vec<Counter>; 2],
    remembered: Counter,
    dropped: [Counter; Dropped::ALL.len()],
    connections: [[Counter; ConnectionEvent::ALL.len()]; Transport::ALL.len()],
    open: [Gauge; Transport::ALL.len()],
    manners: MannersMetrics,
}

/// One query and its answer, for the counters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) kind: QueryType,
    pub(crate) rcode: Rcode,
    pub(crate) transport: Transport,
    /// Of the answer.
    pub(crate) bytes: usize,
    pub(crate) heard: Heard,
}

/// What a query says of itself, for the counters, answered or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    pub(crate) version: EdnsVersion,
    pub(crate) cookie: CookieState,
    pub(crate) subnet: ClientSubnetKind,
    pub(crate) flaw: Option<Flaw>,
}

/// A fieldless enum that is a label's value and an index.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            pub(crate) const ALL: [Self; [$($text),*].len()] = [$(Self::$variant),*];

            /// The label's value, which is what logs say, too.
            pub(crate) fn token(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(
                &self,
                encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
            ) -> Result<(), std::fmt::Error> {
                EncodeLabelValue::encode(&self.token(), encoder)
            }
        }
    };
}

mod manners;
mod striped;

pub(crate) use manners::{CookieState, EdnsVersion, Flaw, LimitedAction, LimitedKind};

label! {
    /// What is asked for.
    QueryType {
        A = "A",
        Aaaa = "AAAA",
        Ns = "NS",
        Soa = "SOA",
        Any = "ANY",
        Txt = "TXT",
        Https = "HTTPS",
        /// Any other type, or a query without a readable question.
        Other = "other",
    }
}

label! {
    /// How it was answered.
    Rcode {
        NoError = "NOERROR",
        FormErr = "FORMERR",
        ServFail = "SERVFAIL",
        NxDomain = "NXDOMAIN",
        NotImp = "NOTIMP",
        Refused = "REFUSED",
        BadVers = "BADVERS",
        BadCookie = "BADCOOKIE",
    }
}

label! {
    /// How it came.
    Transport {
        Udp = "udp",
        Tcp = "tcp",
        /// DNS over TLS, RFC 7858.
        Tls = "tls",
        /// DNS over HTTPS, RFC 8484.
        Https = "https",
        /// DNS over QUIC, RFC 9250.
        Quic = "quic",
    }
}

label! {
    /// Why there was no answer.
    Dropped {
        /// Under 12 bytes.
        Short = "short",
        /// An answer itself.
        Response = "response",
        /// A datagram longer than any query needs to be.
        Long = "long",
        /// From an address that cannot be answered, such as port 0.
        Source = "source",
        /// The answer could not be sent.
        Send = "send",
        /// Its network got too much.
        Limited = "rate-limit",
    }
}

label! {
    /// What became of a client's connection.
    ConnectionEvent {
        /// It has its place.
        Opened = "opened",
        /// It is beyond what its client, or all of them, may have open.
        Refused = "refused",
        /// Its client had to show first that it is where it says it is (QUIC).
        Retried = "retried",
        /// Its TLS handshake failed.
        HandshakeFailed = "handshake-failed",
        /// And so did this one, by not ending in time.
        HandshakeTimeout = "handshake-timeout",
        /// Closed: no whole query came in time.
        Idle = "idle",
        /// Closed: its client did not take an answer in time.
        Unread = "unread",
        /// Closed: its client broke the rules of the transport.
        ProtocolError = "protocol-error",
    }
}

label! {
    /// What made it that PoP.
    Cause {
        /// It is the first of all that have the family, or was drawn from their first group.
        First = "first",
        /// Those before it are down, or do not reach the site's origin.
        Failover = "failover",
        /// The same, and the next ones share those clients.
        Spread = "spread",
        /// It is what would be first, and all are down.
        FailOpen = "fail-open",
    }
}

label! {
    /// What is answered when all PoPs are down, instead of one.
    WithoutPop {
        /// Addresses for that case.
        Fallback = "fallback",
        /// SERVFAIL.
        AllDown = "all-down",
        /// No data.
        NoData = "no-data",
    }
}

label! {
    /// Where a steered answer's ranking is from.
    RankingSource {
        /// The compiled map.
        Map = "map",
        /// Worked out from the geo data: the map is not made yet, or all PoPs that it keeps are out.
        Geo = "geo",
    }
}

label! {
    /// Whom a query says it is for (RFC 7871).
    ClientSubnetKind {
        /// It does not say.
        None = "none",
        /// It says that it does not tell.
        Withheld = "withheld",
        V4 = "ipv4",
        V6 = "ipv6",
    }
}

impl Transport {
    /// Whether it has connections.
    pub(crate) fn is_stream(self) -> bool {
        match self {
            Self::Udp => false,
            Self::Tcp | Self::Tls | Self::Https | Self::Quic => true,
        }
    }
}

impl Rcode {
    /// As in RFC 6895 section 2.3; over 15 the rest is in the OPT record.
    pub(crate) fn number(self) -> u16 {
        match self {
            Self::NoError => 0,
            Self::FormErr => 1,
            Self::ServFail => 2,
            Self::NxDomain => 3,
            Self::NotImp => 4,
            Self::Refused => 5,
            Self::BadVers => 16,
            Self::BadCookie => 23,
        }
    }
}

impl RankingSource {
    pub(crate) fn of(mapped: bool) -> Self {
        if mapped { Self::Map } else { Self::Geo }
    }
}

impl ClientSubnetKind {
    /// Of a query's option.
    pub(crate) fn of(option: Option<ClientSubnet<'_>>) -> Self {
        match option.map(|option| option.subnet().map(|subnet| subnet.address)) {
            None => Self::None,
            Some(None) => Self::Withheld,
            Some(Some(IpAddr::V4(_))) => Self::V4,
            Some(Some(IpAddr::V6(_))) => Self::V6,
        }
    }
}

/// The counters of a PoP, by [`Cause`].
pub(crate) type CauseCounters = [Counter; Cause::ALL.len()];

/// Classes of scope lengths: the longest of each, and what it is called.
type ScopeClasses = &'static [(u8, &'static str)];

const V4_SCOPES: ScopeClasses =
    &[(0, "0"), (8, "1-8"), (12, "9-12"), (16, "13-16"), (20, "17-20"), (24, "21-24"), (32, "25-32")];
const V6_SCOPES: ScopeClasses = &[
    (0, "0"),
    (20, "1-20"),
    (28, "21-28"),
    (32, "29-32"),
    (40, "33-40"),
    (48, "41-48"),
    (56, "49-56"),
    (128, "57-128"),
];

impl QueryType {
    /// From QTYPE.
    pub(crate) fn from_number(qtype: u16) -> Self {
        match qtype {
            1 => Self::A,
            2 => Self::Ns,
            6 => Self::Soa,
            16 => Self::Txt,
            28 => Self::Aaaa,
            65 => Self::Https,
            255 => Self::Any,
            _ => Self::Other,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueryLabels {
    r#type: QueryType,
    rcode: Rcode,
    transport: Transport,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    pop: String,
    cause: Cause,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WithoutPopLabels {
    cause: WithoutPop,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RankingLabels {
    from: RankingSource,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SubnetLabels {
    subnet: ClientSubnetKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ScopeLabels {
    family: &'static str,
    length: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLabels {
    transport: Transport,
    event: ConnectionEvent,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OpenLabels {
    transport: Transport,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DropLabels {
    reason: Dropped,
}

impl DnsMetrics {
    /// Registers the counters; once in a process.
    pub fn register(metrics: &Metrics) -> Self {
        let queries = Family::<QueryLabels, Counter>::default();
        let answers = Family::default();
        let without_pop = Family::<WithoutPopLabels, Counter>::default();
        let rankings = Family::<RankingLabels, Counter>::default();
        let subnets = Family::<SubnetLabels, Counter>::default();
        let scopes = Family::<ScopeLabels, Counter>::default();
        let remembered = Counter::default();
        let dropped = Family::<DropLabels, Counter>::default();
        let connections = Family::<ConnectionLabels, Counter>::default();
        let open = Family::<OpenLabels, Gauge>::default();
        metrics.register(|registry| {
            registry.register("dns_queries", "DNS queries answered", queries.clone());
            let help = "Steered DNS answers by the PoP they name first, and why that one";
            registry.register("dns_answers", help, answers.clone());
            let help = "DNS answers for when all PoPs are down, that name none";
            registry.register("dns_answers_without_pop", help, without_pop.clone());
            registry.register("dns_rankings", "Steered DNS answers by where their ranking is from", rankings.clone());
            registry.register("dns_client_subnets", "DNS queries by the client subnet they name", subnets.clone());
            let help = "Steered DNS answers to queries with a client subnet, by the length of the scope answered";
            registry.register("dns_scopes", help, scopes.clone());
            let help = "DNS queries over UDP answered with what the same query was answered before";
            registry.register("dns_remembered", help, remembered.clone());
            registry.register("dns_dropped", "DNS packets not answered", dropped.clone());
            let help = "What became of connections of DNS clients";
            registry.register("dns_connections", help, connections.clone());
            registry.register("dns_connections_open", "Open connections of DNS clients", open.clone());
        });
        let query = |r#type, rcode, transport| queries.get_or_create_owned(&QueryLabels { r#type, rcode, transport });
        Self {
            queries: QueryType::ALL
                .map(|kind| Rcode::ALL.map(|rcode| Transport::ALL.map(|transport| query(kind, rcode, transport)))),
            answers,
            without_pop: WithoutPop::ALL.map(|cause| without_pop.get_or_create_owned(&WithoutPopLabels { cause })),
            rankings: RankingSource::ALL.map(|from| rankings.get_or_create_owned(&RankingLabels { from })),
            client_subnets: ClientSubnetKind::ALL.map(|subnet| subnets.get_or_create_owned(&SubnetLabels { subnet })),
            scopes: [("ipv4", V4_SCOPES), ("ipv6", V6_SCOPES)].map(|(family, classes)| {
                let counter =
                    |(_, length): &(u8, &'static str)| scopes.get_or_create_owned(&ScopeLabels { family, length });
                classes.iter().map(counter).collect()
            }),
            remembered,
            dropped: Dropped::ALL.map(|reason| dropped.get_or_create_owned(&DropLabels { reason })),
            connections: Transport::ALL.map(|transport| {
                let of = |event| connections.get_or_create_owned(&ConnectionLabels { transport, event });
                // Datagrams have none, and no line that says so.
                ConnectionEvent::ALL.map(|event| if transport.is_stream() { of(event) } else { Counter::default() })
            }),
            open: Transport::ALL.map(|transport| {
                if transport.is_stream() {
                    open.get_or_create_owned(&OpenLabels { transport })
                } else {
                    Gauge::default()
                }
            }),
            manners: MannersMetrics::register(metrics),
        }
    }

    /// Counts a query that was answered.
    pub(crate) fn count(&self, seen: &Seen) {
        self.query(seen.kind, seen.rcode, seen.transport).inc();
        self.manners.size(seen.transport, seen.bytes).inc();
        self.hear(&seen.heard);
    }

    /// Counts what a query says of itself; [`DnsMetrics::count`] does that, too.
    pub(crate) fn hear(&self, heard: &Heard) {
        self.client_subnet(heard.subnet).inc();
        self.manners.cookie(heard.cookie).inc();
        self.manners.version(heard.version).inc();
        if let Some(flaw) = heard.flaw {
            self.manners.flaw(flaw).inc();
        }
    }

    /// Answers of that kind that were too much, and what became of them.
    pub(crate) fn limited(&self, kind: LimitedKind, action: LimitedAction) -> &Counter {
        self.manners.limited(kind, action)
    }

    /// Lines of the query log that had no room.
    pub fn log_dropped(&self) -> &PlainCounter {
        self.manners.log_dropped()
    }

    pub(crate) fn query(&self, kind: QueryType, rcode: Rcode, transport: Transport) -> &Counter {
        &self.queries[kind as usize][rcode as usize][transport as usize]
    }

    pub(crate) fn dropped(&self, reason: Dropped) -> &Counter {
        &self.dropped[reason as usize]
    }

    pub(crate) fn connection(&self, transport: Transport, event: ConnectionEvent) -> &Counter {
        &self.connections[transport as usize][event as usize]
    }

    pub(crate) fn open(&self, transport: Transport) -> &Gauge {
        &self.open[transport as usize]
    }

    pub(crate) fn without_pop(&self, cause: WithoutPop) -> &Counter {
        &self.without_pop[cause as usize]
    }

    pub(crate) fn ranking(&self, from: RankingSource) -> &Counter {
        &self.rankings[from as usize]
    }

    pub(crate) fn client_subnet(&self, kind: ClientSubnetKind) -> &Counter {
        &self.client_subnets[kind as usize]
    }

    /// Of answers with a scope of that length, for a subnet of that kind, if it is one.
    pub(crate) fn scope(&self, subnet: ClientSubnetKind, length: u8) -> Option<&Counter> {
        let (family, classes) = match subnet {
            ClientSubnetKind::None | ClientSubnetKind::Withheld => return None,
            ClientSubnetKind::V4 => (0, V4_SCOPES),
            ClientSubnetKind::V6 => (1, V6_SCOPES),
        };
        let class = classes.partition_point(|(longest, _)| *longest < length);
        Some(&self.scopes[family][class.min(classes.len() - 1)])
    }

    /// Of answers that were made before.
    pub(crate) fn remembered(&self) -> &Counter {
        &self.remembered
    }

    /// The counters of a PoP, to be kept: this takes a lock.
    pub(crate) fn steered(&self, pop: &str) -> CauseCounters {
        Cause::ALL.map(|cause| self.answers.get_or_create_owned(&AnswerLabels { pop: pop.to_owned(), cause }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_show_under_their_labels() {
        let metrics = Metrics::new();
        let dns = DnsMetrics::register(&metrics);
        dns.query(QueryType::Aaaa, Rcode::NxDomain, Transport::Tcp).inc();
        dns.query(QueryType::from_number(0xff00), Rcode::NotImp, Transport::Udp).inc_by(2);
        dns.dropped(Dropped::Response).inc();
        dns.steered("fra")[Cause::Spread as usize].inc();
        dns.connection(Transport::Quic, ConnectionEvent::Retried).inc();
        dns.open(Transport::Tls).inc();
        dns.without_pop(WithoutPop::AllDown).inc();
        dns.ranking(RankingSource::of(true)).inc();
        dns.client_subnet(ClientSubnetKind::of(None)).inc();
        let text = metrics.render();
        for line in [
            "nearcast_dns_queries_total{type=\"AAAA\",rcode=\"NXDOMAIN\",transport=\"tcp\"} 1",
            "nearcast_dns_queries_total{type=\"other\",rcode=\"NOTIMP\",transport=\"udp\"} 2",
            "nearcast_dns_queries_total{type=\"A\",rcode=\"NOERROR\",transport=\"udp\"} 0",
            "nearcast_dns_dropped_total{reason=\"response\"} 1",
            "nearcast_dns_answers_total{pop=\"fra\",cause=\"spread\"} 1",
            "nearcast_dns_answers_total{pop=\"fra\",cause=\"first\"} 0",
            "nearcast_dns_answers_without_pop_total{cause=\"all-down\"} 1",
            "nearcast_dns_connections_total{transport=\"quic\",event=\"retried\"} 1",
            "nearcast_dns_connections_open{transport=\"tls\"} 1",
            "nearcast_dns_rankings_total{from=\"map\"} 1",
            "nearcast_dns_client_subnets_total{subnet=\"none\"} 1",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
    }
    #[test]
    fn scopes_fall_into_classes() {
        let metrics = Metrics::new();
        let dns = DnsMetrics::register(&metrics);
        let (v4, v6) = (ClientSubnetKind::V4, ClientSubnetKind::V6);
        let rows = [
            (v4, 0, "ipv4", "0"),
            (v4, 1, "ipv4", "1-8"),
            (v4, 24, "ipv4", "21-24"),
            (v4, 25, "ipv4", "25-32"),
            (v4, 32, "ipv4", "25-32"),
            (v6, 48, "ipv6", "41-48"),
            (v6, 49, "ipv6", "49-56"),
            (v6, 128, "ipv6", "57-128"),
        ];
        assert!(dns.scope(ClientSubnetKind::Withheld, 0).is_none());
        for (kind, length, family, class) in rows {
            let scope = dns.scope(kind, length).unwrap();
            let before = scope.get();
            scope.inc();
            let line = format!("nearcast_dns_scopes_total{{family=\"{family}\",length=\"{class}\"}} {}", before + 1);
            let text = metrics.render();
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
    }
}
