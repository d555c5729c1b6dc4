//! A sample of the queries and how they were answered, one JSON object per line: what an operator looks at when an answer
//! surprises.

use std::hash::Hasher;
use std::io;
use std::net::IpAddr;

use nearcast_shared::clock::Timestamp;
use nearcast_shared::config;
use nearcast_shared::lines::{Lines, as_date, write_json};
use nearcast_shared::rtype;
use serde::Serialize;
use siphasher::sip::SipHasher13;

use crate::metrics::DnsMetrics;
use crate::name::Name;

/// Where the sample is written, if it is.
#[derive(Debug, Clone)]
pub struct QueryLog {
    lines: Lines<Line>,
    /// Of 2^64 queries so many are logged.
    share: u64,
}

/// One query and its answer.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    /// RFC 3339, UTC.
    #[serde(serialize_with = "as_date")]
    pub(crate) time: Timestamp,
    /// Who asked.
    pub(crate) client: IpAddr,
    /// For whom, if it said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subnet: Option<String>,
    /// The name asked for, in lower case; absent when it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) r#type: Option<String>,
    pub(crate) transport: &'static str,
    pub(crate) cookie: &'static str,
    /// Absent when there was no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rcode: Option<&'static str>,
    /// Where it was sent, if it was sent anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pop: Option<String>,
    /// Why there, or else what kind of answer it is, or why there is none.
    pub(crate) reason: &'static str,
    /// The prefix length for which the answer holds, if it was asked for a subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<u8>,
    /// Of the answer; 0 when there was none.
    pub(crate) bytes: usize,
}

impl QueryLog {
    /// Starts the writing thread, unless the log is off.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn start(config: &config::QueryLog, metrics: &DnsMetrics) -> io::Result<Self> {
        let lines = Lines::start("query-log", &config.to, metrics.log_dropped().clone(), |out, line: &Line| {
            write_json(out, line)
        })?;
        // 1.0 is all of them; the conversion saturates.
        Ok(Self { lines, share: (config.sample * 2f64.powi(64)) as u64 })
    }

    /// For nobody.
    pub fn off() -> Self {
        Self { lines: Lines::off(), share: 0 }
    }

    /// Whether any query is looked at.
    pub(crate) fn is_on(&self) -> bool {
        self.lines.is_on()
    }

    /// Whether the query with that draw is to be logged.
    pub(crate) fn wants(&self, draw: u64) -> bool {
        self.lines.is_on() && is_drawn(self.share, draw)
    }

    pub(crate) fn line(&self, line: Line) {
        self.lines.line(Box::new(line));
    }

    /// Opens the file anew, after it was rotated.
    pub fn reopen(&self) {
        self.lines.reopen();
    }
}

/// Draws need not be spread evenly; their hashes are.
fn is_drawn(share: u64, draw: u64) -> bool {
    let mut hasher = SipHasher13::new();
    hasher.write_u64(draw);
    share == u64::MAX || hasher.finish() < share
}

/// A name from a query, for people.
pub(crate) fn name(wire: &[u8]) -> Option<String> {
    let name = Name::from_wire(wire)?.to_string();
    Some(if name.is_empty() { ".".to_owned() } else { name })
}

/// A type, for people.
pub(crate) fn type_name(qtype: u16) -> String {
    rtype::text(qtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples() {
        let share = |sample: f64| (sample * 2f64.powi(64)) as u64;
        let drawn = |sample| (0..100_000).filter(|draw| is_drawn(share(sample), *draw)).count();
        assert_eq!((drawn(0.0), drawn(1.0)), (0, 100_000));
        assert!((900..1100).contains(&drawn(0.01)));
    }

    #[test]
    fn a_line_is_one_line_whatever_is_asked() {
        let line = Line {
            time: Timestamp(0),
            client: "192.0.2.1".parse().unwrap(),
            subnet: None,
            name: name(b"\x04a\"\nb\x03net\0"),
            r#type: Some(type_name(65_280)),
            transport: "udp",
            cookie: "none",
            rcode: Some("NXDOMAIN"),
            pop: None,
            reason: "no-name",
            scope: None,
            bytes: 80,
        };
        let mut out = Vec::new();
        write_json(&mut out, &line).unwrap();
        let wanted = r#"{"time":"1970-01-01T00:00:00.000Z","client":"192.0.2.1","name":"a\\\"\\010b.net","type":"TYPE65280","transport":"udp","cookie":"none","rcode":"NXDOMAIN","reason":"no-name","bytes":80}"#;
        assert_eq!(String::from_utf8(out).unwrap(), format!("{wanted}\n"));
        assert_eq!(name(b"\0").as_deref(), Some("."));
    }
}
