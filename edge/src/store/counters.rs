//! What the disk tier counts, and says at most once a minute.

use std::fmt::Display;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Why a piece that left memory, or would have gone to disk, did not get there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// Nobody asked for it a second time: as it should be.
    SeenOnce,
    /// The disk is slower than what is to be written, or not there yet.
    QueueFull,
    /// It is larger than the disk tier, or its site's part of it, takes.
    TooLarge,
    /// The disk failed.
    WriteFailed,
}

impl Dropped {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::SeenOnce, Self::QueueFull, Self::TooLarge, Self::WriteFailed];

    /// The word for it.
    pub fn token(self) -> &'static str {
        match self {
            Self::SeenOnce => "seen-once",
            Self::QueueFull => "queue-full",
            Self::TooLarge => "too-large",
            Self::WriteFailed => "write-failed",
        }
    }
}

/// What can go wrong with the disk. Whatever it is, it is a miss at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskError {
    /// The folder or one of its files cannot be opened.
    Open,
    /// A file cannot be read, or ends early.
    Read,
    /// What was read is not what was written.
    Damaged,
    /// What was read is of another version of this program.
    Format,
    /// A file cannot be written.
    Write,
    /// There is no room in the file system.
    Full,
}

impl DiskError {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Open, Self::Read, Self::Damaged, Self::Format, Self::Write, Self::Full];

    /// The word for it.
    pub fn token(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Damaged => "damaged",
            Self::Format => "format",
            Self::Write => "write",
            Self::Full => "full",
        }
    }

    /// What a failed write is.
    pub(super) fn of_write(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Write,
        }
    }
}

/// A log line about one kind of error comes at most so often.
const QUIET: Duration = Duration::from_secs(60);

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Counters {
    dropped: [AtomicU64; Dropped::ALL.len()],
    errors: [AtomicU64; DiskError::ALL.len()],
    said: [Mutex<Option<Instant>>; DiskError::ALL.len()],
    pub(super) written_bytes: AtomicU64,
    pub(super) read_bytes: AtomicU64,
}

impl Counters {
    pub(super) fn drop(&self, reason: Dropped, pieces: usize) {
        self.dropped[reason as usize].fetch_add(pieces as u64, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self, reason: Dropped) -> u64 {
        self.dropped[reason as usize].load(Ordering::Relaxed)
    }

    pub(super) fn errors(&self, kind: DiskError) -> u64 {
        self.errors[kind as usize].load(Ordering::Relaxed)
    }

    /// Counts an error and, unless that was done lately, says so.
    pub(super) fn error(&self, kind: DiskError, what: &dyn Display) {
        let total = self.errors[kind as usize].fetch_add(1, Ordering::Relaxed) + 1;
        let now = Instant::now();
        {
            let mut said = self.said[kind as usize].lock();
            if said.is_some_and(|last| now.duration_since(last) < QUIET) {
                return;
            }
            *said = Some(now);
        }
        let kind_token = kind.token();
        match kind {
            DiskError::Read | DiskError::Damaged | DiskError::Format => {
                tracing::warn!(kind = kind_token, total, error = %what, "the disk tier cannot read what it holds: misses");
            }
            DiskError::Open => tracing::error!(total, error = %what, "the disk tier cannot be opened: memory only"),
            DiskError::Write => {
                tracing::error!(total, error = %what, "the disk tier cannot be written: what memory gives up is lost");
            }
            DiskError::Full => {
                tracing::error!(total, error = %what, "the file system of cache.disk is full: the disk tier keeps less than its size");
            }
        }
    }
}
