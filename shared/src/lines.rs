//! Lines for a file or standard output, written by a thread of their own: a slow disk costs lines, which are counted, and
//! never time. The access log and the query log are made of these.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use prometheus_client::metrics::counter::Counter;

use crate::clock::Timestamp;
use crate::config::LogTarget;

/// Lines that wait to be written.
const QUEUE: usize = 8192;

/// Where lines of one kind are handed over.
#[derive(Debug)]
pub struct Lines<L>(Option<Writing<L>>);

#[derive(Debug)]
struct Writing<L> {
    orders: SyncSender<Order<L>>,
    dropped: Counter,
}

#[derive(Debug)]
enum Order<L> {
    Line(Box<L>),
    /// Open the file anew: it was rotated.
    Reopen,
}

impl<L> Clone for Lines<L> {
    fn clone(&self) -> Self {
        let again = |writing: &Writing<L>| Writing { orders: writing.orders.clone(), dropped: writing.dropped.clone() };
        Self(self.0.as_ref().map(again))
    }
}

impl<L: Send + 'static> Lines<L> {
    /// For nobody.
    pub fn off() -> Self {
        Self(None)
    }

    /// Starts the thread that writes lines with `write`, unless they are off. What it is too slow for counts as `dropped`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn start(
        thread: &'static str,
        to: &LogTarget,
        dropped: Counter,
        write: impl Fn(&mut dyn Write, &L) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let sink = match to {
            LogTarget::Off => return Ok(Self::off()),
            LogTarget::Stdout => Sink::Stdout(io::stdout()),
            LogTarget::File(path) => Sink::File(path.clone(), BufWriter::new(append(path)?)),
        };
        let (orders, received) = sync_channel(QUEUE);
        std::thread::Builder::new().name(thread.to_owned()).spawn(move || run(thread, &received, sink, write))?;
        Ok(Self(Some(Writing { orders, dropped })))
    }

    /// Whether lines are wanted at all.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Hands a line over.
    pub fn line(&self, line: Box<L>) {
        if let Some(writing) = &self.0
            && writing.orders.try_send(Order::Line(line)).is_err()
        {
            writing.dropped.inc();
        }
    }

    /// Opens the file anew, after it was rotated.
    pub fn reopen(&self) {
        if let Some(writing) = &self.0 {
            let _full = writing.orders.try_send(Order::Reopen);
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

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn run<L>(
    thread: &str,
    orders: &Receiver<Order<L>>,
    mut sink: Sink,
    write: impl Fn(&mut dyn Write, &L) -> io::Result<()>,
) {
    while let Ok(first) = orders.recv() {
        for order in std::iter::once(first).chain(orders.try_iter()) {
            let written = match order {
                Order::Line(line) => write(sink.writer(), &line),
                Order::Reopen => reopen(&mut sink),
            };
            if let Err(error) = written {
                tracing::warn!(%error, log = thread, "a log cannot be written");
            }
        }
        if let Err(error) = sink.writer().flush() {
            tracing::warn!(%error, log = thread, "a log cannot be written");
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

/// Writes `line` as one line of JSON.
///
/// # Errors
/// Those of `out`.
pub fn write_json(out: &mut dyn Write, line: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// A moment within a line of JSON: RFC 3339 with milliseconds, UTC.
///
/// # Errors
/// Those of the serializer.
pub fn as_date<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&date(*time))
}

/// RFC 3339 with milliseconds, UTC.
pub fn date(time: Timestamp) -> String {
    humantime::format_rfc3339_millis(Timestamp(time.0.max(0)).to_system_time()).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn dates() {
        let rows = [(951_782_400_123, "2000-02-29T00:00:00.123Z"), (-1, "1970-01-01T00:00:00.000Z")];
        for (millis, wanted) in rows {
            assert_eq!(date(Timestamp(millis)), wanted);
        }
    }

    #[test]
    fn a_slow_writer_costs_lines_and_no_time() {
        let folder = tempfile::tempdir().unwrap();
        let (begun, begins) = mpsc::channel();
        let (open, gate) = mpsc::channel::<()>();
        let dropped = Counter::default();
        let write = move |_: &mut dyn Write, _: &usize| {
            let _nobody_waits = begun.send(());
            let _closed = gate.recv();
            Ok(())
        };
        let to = LogTarget::File(folder.path().join("log"));
        let lines = Lines::start("slow", &to, dropped.clone(), write).unwrap();
        lines.line(Box::new(0));
        begins.recv().unwrap();
        // The writer has one in its hands and takes no other.
        for line in 0..QUEUE + 7 {
            lines.line(Box::new(line));
        }
        assert_eq!(dropped.get(), 7);
        drop(open);
    }

    #[test]
    fn off_is_nothing() {
        let lines = Lines::<usize>::start("off", &LogTarget::Off, Counter::default(), |_, _| Ok(())).unwrap();
        assert!(!lines.is_on());
        lines.line(Box::new(1));
        lines.reopen();
    }
}
