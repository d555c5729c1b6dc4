//! Lines for a file or standard output, written by a thread of their own: a slow disk costs lines, which are counted, and
//! never time. The access log and the query log are made of these.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use prometheus_client::metrics::counter::Counter;

use crate::clock::Timestamp;
use crate::config::LogTarget;

/// Lines that wait to be written, and lines that are written before they are flushed.
const QUEUE: usize = 8192;

/// Where lines of one kind are handed over.
#[derive(Debug)]
pub struct Lines<L>(Option<Writing<L>>);

#[derive(Debug)]
struct Writing<L> {
    orders: SyncSender<Order<L>>,
    /// The file is to be opened anew: it was rotated. Not an order, for which there may be no room.
    rotated: Arc<AtomicBool>,
    dropped: Counter,
}

#[derive(Debug)]
enum Order<L> {
    Line(Box<L>),
    /// Look whether the file was rotated.
    Look,
}

impl<L> Clone for Lines<L> {
    fn clone(&self) -> Self {
        let again = |writing: &Writing<L>| Writing {
            orders: writing.orders.clone(),
            rotated: Arc::clone(&writing.rotated),
            dropped: writing.dropped.clone(),
        };
        Self(self.0.as_ref().map(again))
    }
}

impl<L: Send + 'static> Lines<L> {
    /// For nobody.
    pub fn off() -> Self {
        Self(None)
    }

    /// Starts the thread that writes lines with `write`, unless they are off. What it is too slow for, and what cannot be
    /// written, counts as `dropped`.
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
        let rotated = Arc::new(AtomicBool::new(false));
        let writer =
            Writer { thread, sink, write, rotated: Arc::clone(&rotated), dropped: dropped.clone(), failing: false };
        std::thread::Builder::new().name(thread.to_owned()).spawn(move || writer.run(&received))?;
        Ok(Self(Some(Writing { orders, rotated, dropped })))
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
            writing.rotated.store(true, Ordering::Relaxed);
            // When there is no room for it, there is a line that the thread looks before.
            let _full = writing.orders.try_send(Order::Look);
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

/// What the thread works with.
struct Writer<W> {
    thread: &'static str,
    sink: Sink,
    write: W,
    rotated: Arc<AtomicBool>,
    dropped: Counter,
    /// It could not be written, and that was said.
    failing: bool,
}

impl<W> Writer<W> {
    fn run<L>(mut self, orders: &Receiver<Order<L>>)
    where
        W: Fn(&mut dyn Write, &L) -> io::Result<()>,
    {
        while let Ok(first) = orders.recv() {
            let mut sound = true;
            for order in std::iter::once(first).chain(orders.try_iter().take(QUEUE)) {
                if self.rotated.swap(false, Ordering::Relaxed) {
                    let reopened = reopen(&mut self.sink);
                    sound &= self.note(reopened);
                }
                if let Order::Line(line) = order {
                    let written = (self.write)(self.sink.writer(), &line);
                    if !self.note(written) {
                        sound = false;
                        self.dropped.inc();
                    }
                }
            }
            // Only now is what seemed to be written known to be.
            let flushed = self.sink.writer().flush();
            if self.note(flushed) && sound && std::mem::take(&mut self.failing) {
                tracing::info!(log = self.thread, "a log is written again");
            }
        }
    }

    /// Whether that went well. It is told once that it does not: a full disk is no reason to fill another with warnings.
    fn note(&mut self, result: io::Result<()>) -> bool {
        let Err(error) = result else { return true };
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(%error, log = self.thread, "a log cannot be written");
        }
        false
    }
}

fn reopen(sink: &mut Sink) -> io::Result<()> {
    let Sink::File(path, file) = sink else { return Ok(()) };
    let new = append(path)?;
    // The old file may be full: that is no reason to stay with it.
    let flushed = file.flush();
    *file = BufWriter::new(new);
    flushed
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
    fn a_file_is_opened_anew_however_many_lines_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (begun, begins) = mpsc::channel();
        let (open, gate) = mpsc::channel::<()>();
        let write = move |out: &mut dyn Write, line: &usize| {
            let _nobody_waits = begun.send(*line);
            let _closed = gate.recv();
            writeln!(out, "{line}")
        };
        let lines = Lines::start("rotated", &LogTarget::File(path.clone()), Counter::default(), write).unwrap();
        lines.line(Box::new(0));
        assert_eq!(begins.recv(), Ok(0));
        for line in 1..=QUEUE {
            lines.line(Box::new(line));
        }
        std::fs::rename(&path, folder.path().join("older")).unwrap();
        lines.reopen();
        drop(open);
        assert_eq!(begins.iter().take(QUEUE).last(), Some(QUEUE));
        assert!(path.exists(), "before the second line");
        assert_eq!(std::fs::read_to_string(folder.path().join("older")).unwrap(), "0\n");
    }

    #[test]
    fn lines_that_cannot_be_written_count() {
        let folder = tempfile::tempdir().unwrap();
        let dropped = Counter::default();
        let (begun, begins) = mpsc::channel();
        let write = move |_: &mut dyn Write, line: &usize| {
            let _nobody_waits = begun.send(*line);
            if *line < 7 { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
        };
        let to = LogTarget::File(folder.path().join("log"));
        let lines = Lines::start("full", &to, dropped.clone(), write).unwrap();
        for line in 0..8 {
            lines.line(Box::new(line));
        }
        // All before it are counted when the last is begun.
        assert_eq!(begins.iter().take(8).last(), Some(7));
        assert_eq!(dropped.get(), 7);
    }

    #[test]
    fn it_is_said_once_that_a_log_cannot_be_written() {
        let full = || Err(io::Error::from(io::ErrorKind::StorageFull));
        let mut writer = Writer {
            thread: "full",
            sink: Sink::Stdout(io::stdout()),
            write: (),
            rotated: Arc::default(),
            dropped: Counter::default(),
            failing: false,
        };
        assert!(writer.note(Ok(())) && !writer.failing);
        assert!(!writer.note(full()) && writer.failing);
        // What goes into a buffer says nothing of the disk; a flush does.
        assert!(writer.note(Ok(())) && writer.failing);
    }

    #[test]
    fn off_is_nothing() {
        let lines = Lines::<usize>::start("off", &LogTarget::Off, Counter::default(), |_, _| Ok(())).unwrap();
        assert!(!lines.is_on());
        lines.line(Box::new(1));
        lines.reopen();
    }
}
