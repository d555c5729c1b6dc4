//! The DNS plane's counters. All are resolved beforehand: counting a query adds to one atomic and takes no lock.

use nearcast_shared::metrics::Metrics;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// `dns_queries_total`, `dns_answers_total` and `dns_dropped_total`.
#[derive(Debug)]
pub struct DnsMetrics {
    queries: [[[Counter; Transport::ALL.len()]; Rcode::ALL.len()]; QueryType::ALL.len()],
    answers: Family<AnswerLabels, Counter>,
    dropped: [Counter; Dropped::ALL.len()],
}

/// A fieldless enum that is a label's value and an index.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            pub(crate) const ALL: [Self; [$($text),*].len()] = [$(Self::$variant),*];
        }

        impl EncodeLabelValue for $name {
            fn encode(
                &self,
                encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
            ) -> Result<(), std::fmt::Error> {
                EncodeLabelValue::encode(&match self { $(Self::$variant => $text),* }, encoder)
            }
        }
    };
}

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
    }
}

label! {
    /// How it came.
    Transport {
        Udp = "udp",
        Tcp = "tcp",
    }
}

label! {
    /// Why there was no answer.
    Dropped {
        /// Under 12 bytes.
        Short = "short",
        /// An answer itself.
        Response = "response",
        /// From an address that cannot be answered, such as port 0.
        Source = "source",
        /// The answer could not be sent.
        Send = "send",
        /// A TCP connection beyond what its client, or all of them, may have open.
        Connections = "connections",
    }
}

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
        let dropped = Family::<DropLabels, Counter>::default();
        metrics.register(|registry| {
            registry.register("dns_queries", "DNS queries answered", queries.clone());
            registry.register("dns_answers", "Steered DNS answers by the PoP they name", answers.clone());
            registry.register(
                "dns_dropped",
                "DNS packets not answered, and TCP connections not taken",
                dropped.clone(),
            );
        });
        let query = |r#type, rcode, transport| queries.get_or_create_owned(&QueryLabels { r#type, rcode, transport });
        Self {
            queries: QueryType::ALL
                .map(|kind| Rcode::ALL.map(|rcode| Transport::ALL.map(|transport| query(kind, rcode, transport)))),
            answers,
            dropped: Dropped::ALL.map(|reason| dropped.get_or_create_owned(&DropLabels { reason })),
        }
    }

    pub(crate) fn query(&self, kind: QueryType, rcode: Rcode, transport: Transport) -> &Counter {
        &self.queries[kind as usize][rcode as usize][transport as usize]
    }

    pub(crate) fn dropped(&self, reason: Dropped) -> &Counter {
        &self.dropped[reason as usize]
    }

    /// The counter of a PoP, to be kept: this takes a lock.
    pub(crate) fn steered(&self, pop: &str) -> Counter {
        self.answers.get_or_create_owned(&AnswerLabels { pop: pop.to_owned() })
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
        dns.steered("fra").inc();
        let text = metrics.render();
        for line in [
            "nearcast_dns_queries_total{type=\"AAAA\",rcode=\"NXDOMAIN\",transport=\"tcp\"} 1",
            "nearcast_dns_queries_total{type=\"other\",rcode=\"NOTIMP\",transport=\"udp\"} 2",
            "nearcast_dns_queries_total{type=\"A\",rcode=\"NOERROR\",transport=\"udp\"} 0",
            "nearcast_dns_dropped_total{reason=\"response\"} 1",
            "nearcast_dns_answers_total{pop=\"fra\"} 1",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
    }
}
