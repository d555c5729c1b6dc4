//! One line per request, written by a thread of its own: a slow disk costs lines, which are counted, and never time.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use nearcast_shared::clock::Timestamp;
use nearcast_shared::config::{self, LogFormat};
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;

/// Lines that wait to be written.
const QUEUE: usize = 8192;

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

/// Where lines go.
#[derive(Debug, Clone)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// To the writing thread.
    On(SyncSender<Order>, Counter),
}

/// What the writing thread is told.
#[derive(Debug)]
pub enum Order {
    /// Write this.
    Line(Box<Line>),
    /// Open the file anew: it was rotated.
    Reopen,
}

impl AccessLog {
    /// Starts the writing thread, unless the log is off.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn start(access: &config::AccessLog, format: LogFormat, dropped: Counter) -> io::Result<Self> {
        let sink = match access {
            config::AccessLog::Off => return Ok(Self::Off),
            config::AccessLog::Stdout => Sink::Stdout(io::stdout()),
            config::AccessLog::File(path) => Sink::File(path.clone(), BufWriter::new(append(path)?)),
        };
        let (sender, lines) = sync_channel(QUEUE);
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || write(&lines, sink, format))?;
        Ok(Self::On(sender, dropped))
    }

    /// Whether lines are wanted at all.
    pub fn is_on(&self) -> bool {
        matches!(self, Self::On(..))
    }

    /// Hands a line over.
    pub fn line(&self, line: Box<Line>) {
        if let Self::On(sender, dropped) = self
            && sender.try_send(Order::Line(line)).is_err()
        {
            dropped.inc();
        }
    }

    /// Opens the file anew, after it was rotated.
    pub fn reopen(&self) {
        if let Self::On(sender, _) = self {
            let _full = sender.try_send(Order::Reopen);
        }
    }
}

enum Sink {
    Stdout(io::Stdout),
    File(PathBuf, BufWriter<File>),
}

impl Sink {
    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Stdout(out) => out,
            Self::File(_, file) => file,
        }
    }
}

fn append(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn write(orders: &Receiver<Order>, mut sink: Sink, format: LogFormat) {
    while let Ok(first) = orders.recv() {
        for order in std::iter::once(first).chain(orders.try_iter()) {
            let written = match order {
                Order::Line(line) => write_line(sink.writer(), &line, format),
                Order::Reopen => reopen(&mut sink),
            };
            if let Err(error) = written {
                tracing::warn!(%error, "the access log cannot be written");
            }
        }
        if let Err(error) = sink.writer().flush() {
            tracing::warn!(%error, "the access log cannot be written");
        }
    }
}

fn reopen(sink: &mut Sink) -> io::Result<()> {
    if let Sink::File(path, file) = sink {
        file.flush()?;
        *file = BufWriter::new(append(path)?);
    }
    Ok(())
}

fn write_line(out: &mut dyn Write, line: &Line, format: LogFormat) -> io::Result<()> {
    match format {
        LogFormat::Json => {
            serde_json::to_writer(&mut *out, line)?;
            out.write_all(b"\n")
        }
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

fn as_date<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&date(*time))
}

/// RFC 3339 with milliseconds.
fn date(time: Timestamp) -> String {
    humantime::format_rfc3339_millis(Timestamp(time.0.max(0)).to_system_time()).to_string()
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
    fn dates() {
        let rows = [(951_782_400_123, "2000-02-29T00:00:00.123Z"), (-1, "1970-01-01T00:00:00.000Z")];
        for (millis, wanted) in rows {
            assert_eq!(date(Timestamp(millis)), wanted);
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
