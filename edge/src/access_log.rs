//! One line per request.

use std::io::{self, Write};
use std::net::IpAddr;

use nearcast_shared::clock::Timestamp;
use nearcast_shared::config::{LogFormat, LogTarget};
use nearcast_shared::lines::{Lines, as_date, date, write_json};
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;

/// One request.
#[derive(Debug, Serialize)]
pub struct Line {
    /// RFC 3339, UTC.
    #[serde(serialize_with = "as_date")]
    pub time: Timestamp,
    /// Who asked.
    pub client: IpAddr,
    /// The method.
    pub method: String,
    /// The host asked for.
    pub host: String,
    /// Path and query.
    pub target: String,
    /// Such as `HTTP/2.0`.
    pub version: String,
    /// The status.
    pub status: u16,
    /// Body bytes sent.
    pub bytes: u64,
    /// From the request's header to the last byte.
    pub duration_ms: u64,
    /// The outcome.
    pub cache: &'static str,
    /// The site's name.
    pub site: String,
    /// The client's User-Agent.
    pub agent: String,
    /// Why the answer broke off, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
}

/// Where requests are handed over to be written down.
pub type AccessLog = Lines<Line>;

/// Starts the writing thread, unless the log is off.
///
/// # Errors
/// When the file cannot be opened.
pub fn start(access: &LogTarget, format: LogFormat, dropped: Counter) -> io::Result<AccessLog> {
    Lines::start("access-log", access, dropped, move |out, line| write_line(out, line, format))
}

fn write_line(out: &mut dyn Write, line: &Line, format: LogFormat) -> io::Result<()> {
    match format {
        LogFormat::Json => write_json(out, line),
        LogFormat::Text => writeln!(
            out,
            "{} {} {} {} {:?} {} {} {}ms {} {:?}{}",
            date(line.time),
            line.client,
            line.method,
            line.host,
            line.target,
            line.status,
            line.bytes,
            line.duration_ms,
            line.cache,
            line.agent,
            line.broken.as_ref().map(|why| format!(" broken:{why:?}")).unwrap_or_default(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(time: i64) -> Line {
        Line {
            time: Timestamp(time),
            client: "192.0.2.1".parse().unwrap(),
            method: "GET".to_owned(),
            host: "www".to_owned(),
            target: "/a\"b".to_owned(),
            version: "HTTP/1.1".to_owned(),
            status: 200,
            bytes: 5,
            duration_ms: 1,
            cache: "hit",
            site: "www".to_owned(),
            agent: "curl".to_owned(),
            broken: None,
        }
    }

    #[test]
    fn lines_are_one_line_whatever_is_in_them() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let mut out = Vec::new();
            write_line(&mut out, &line(0), format).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.matches('\n').count(), 1);
            assert!(text.contains("/a\\\"b"), "{text}");
        }
    }
}
