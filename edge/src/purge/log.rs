//! The purge log: append-only, synced before anything is acknowledged, rewritten without what is outdated when that is
//! worth it. It is read and rewritten line by line: a million records must not be in memory twice.
//!
//! ```text
//! file = "nearcast purges 2\n" line*             "nearcast purges 1\n": an earlier layout of bodies, read and rewritten
//! line = length:u32 checksum:u64 body            little-endian; the checksum (SipHash-1-3, keys 0) is over the body
//! ```
//!
//! Bodies are those of [`super::record`].

use std::fs::{File, OpenOptions};
use std::hash::Hasher;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use siphasher::sip::SipHasher13;

use super::mark::Mode;
use super::record::{BODY_MAX, Line, NodeId, Record, Version};
use super::scope::Scope;

const MAGIC: &[u8; 18] = b"nearcast purges 2\n";
const MAGIC_1: &[u8; 18] = b"nearcast purges 1\n";

/// Bytes below which the log is not worth rewriting.
const SHRINK_MIN: u64 = 1 << 20;

/// Length and checksum.
const HEAD: usize = 12;

/// Buffers of reading and rewriting.
const BUFFER: usize = 256 << 10;

/// What the log is opened with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// This node.
    pub(super) node: NodeId,
    /// Purges before this tick are forgotten.
    pub(super) oldest: u64,
    /// A tick after all that can have been given out, should the log not tell.
    pub(super) surely_later: u64,
    /// Something may be stored from before: a log that is not there was lost.
    pub(super) expected: bool,
}

/// The open file.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    path: PathBuf,
    node: NodeId,
    /// Bytes of whole lines: a failed append is cut back to here.
    length: u64,
    /// Beyond so many bytes it is rewritten with what is needed.
    shrink_at: u64,
    /// The last tick that may have been given out.
    reserved: u64,
    /// The last sequence that was given out.
    sequence: u64,
    /// What a failed append left behind the last whole line is still there.
    is_torn: bool,
    /// The folder may not have the file's name on disk yet.
    is_unnamed: bool,
}

impl Log {
    /// Opens the log and tells all it holds, but for purges before the oldest. A torn end is what a crash leaves and was
    /// never acknowledged; damage before it means that purges are lost, so that everything stored is purged instead. So does
    /// a log that is not there but was.
    pub(super) fn open(path: &Path, terms: Terms, mut tell: impl FnMut(&Record)) -> io::Result<Self> {
        let found = match File::open(path) {
            Ok(file) => read(file, terms.node, |line| {
                if let Line::Purge(record) = line
                    && record.tick >= terms.oldest
                {
                    tell(&record);
                }
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Found::default(),
            Err(error) => return Err(error),
        };
        let lost = terms.expected && found == Found::default();
        let mut more = Vec::new();
        let mut sequence = found.sequence;
        let mut purge_all = |tick| {
            sequence += 1;
            more.push(Record { node: terms.node, sequence, tick, mode: Mode::Hard, scope: Scope::All });
        };
        // What was fetched before stays covered, whatever lifetimes are configured later.
        let outdated = found.first.is_some_and(|first| first < terms.oldest);
        if outdated {
            purge_all(terms.oldest);
        }
        if found.damaged {
            tracing::error!(path = %path.display(), "the purge log is damaged: all that is stored is purged, since purges may be lost");
            purge_all(found.last.max(terms.surely_later));
        }
        if lost {
            tracing::error!(path = %path.display(), "the purge log is not there: all that is stored is purged, since purges may be lost");
            purge_all(terms.surely_later);
        }
        more.iter().for_each(&mut tell);
        let reserved = more.iter().map(|record| record.tick).fold(found.last, u64::max);
        let whole = found.version == Some(Version::Two) && !outdated && found.length == found.file_length;
        if whole && more.is_empty() {
            let file = OpenOptions::new().append(true).open(path)?;
            return Ok(Self {
                file,
                path: path.to_owned(),
                node: terms.node,
                length: found.length,
                shrink_at: (2 * found.length).max(SHRINK_MIN),
                reserved,
                sequence,
                is_torn: false,
                is_unnamed: false,
            });
        }
        // The file as it is would not be read to its end next time.
        let needs = |record: &Record| record.tick >= terms.oldest;
        let mut log = Self::rewrite(path, terms.node, found.length, (reserved, sequence), needs, &more)?;
        log.settle()?;
        Ok(log)
    }

    /// The next sequence; it counts once it is appended.
    pub(super) fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// The last tick that may have been given out.
    pub(super) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// The last sequence that was given out.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Writes records and waits until they are on disk.
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(64 * records.len());
        for record in records {
            put(&mut bytes, &Line::Purge(record.clone()));
        }
        let last = records.iter().map(|record| record.tick).max().unwrap_or(0);
        self.write(&bytes)?;
        self.reserved = self.reserved.max(last);
        Ok(())
    }

    /// Writes down that ticks up to `tick` may be given out, and waits until that is on disk.
    pub(super) fn reserve(&mut self, tick: u64) -> io::Result<()> {
        let mut bytes = Vec::new();
        put(&mut bytes, &Line::Reserved { node: self.node, sequence: self.sequence, tick });
        self.write(&bytes)?;
        self.reserved = self.reserved.max(tick);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.settle()?;
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => self.length += bytes.len() as u64,
            Err(_) => {
                self.is_torn = true;
                // Else before the next one.
                let _settled = self.settle();
            }
        }
        written
    }

    /// Nothing can be written, or all again.
    #[cfg(test)]
    pub(super) fn fail(&mut self, fails: bool) {
        self.file = OpenOptions::new().read(fails).append(!fails).open(&self.path).unwrap();
    }

    /// Does what a failure left undone. Before that nothing is written: half a line must not stand in front of later whole
    /// ones, and what is written to a file without a name would be lost with it.
    fn settle(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.length)?;
            self.is_torn = false;
        }
        if self.is_unnamed
            && let Some(folder) = self.path.parent()
        {
            File::open(folder)?.sync_all()?;
        }
        self.is_unnamed = false;
        Ok(())
    }

    /// Rewrites the file with just what `needs` wants when it has grown to twice its size.
    pub(super) fn shrink(&mut self, needs: impl Fn(&Record) -> bool) -> io::Result<()> {
        if self.length < self.shrink_at {
            return Ok(());
        }
        // Should that fail, it is not tried again at every turn.
        self.shrink_at *= 2;
        *self = Self::rewrite(&self.path, self.node, self.length, (self.reserved, self.sequence), needs, &[])?;
        self.settle()
    }

    /// A new file with those records of the old one that `needs` wants, and `more`, in its place: once it is, it is this
    /// that must be written to. At least the old one's first `expected` bytes must be whole lines.
    fn rewrite(
        path: &Path,
        node: NodeId,
        expected: u64,
        (reserved, sequence): (u64, u64),
        needs: impl Fn(&Record) -> bool,
        more: &[Record],
    ) -> io::Result<Self> {
        let aside = path.with_extension("new");
        let mut out = BufWriter::with_capacity(BUFFER, File::create(&aside)?);
        let mut bytes = MAGIC.to_vec();
        put(&mut bytes, &Line::Reserved { node, sequence, tick: reserved });
        out.write_all(&bytes)?;
        let mut length = bytes.len() as u64;
        let mut written = Ok(());
        let mut keep = |line: Line| {
            if written.is_ok()
                && let Line::Purge(record) = &line
                && needs(record)
            {
                bytes.clear();
                put(&mut bytes, &line);
                length += bytes.len() as u64;
                written = out.write_all(&bytes);
            }
        };
        let found = match File::open(path) {
            Ok(file) => read(file, node, &mut keep)?.length,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        written?;
        if found < expected {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the purge log was damaged by someone else"));
        }
        bytes.clear();
        more.iter().for_each(|record| put(&mut bytes, &Line::Purge(record.clone())));
        length += bytes.len() as u64;
        out.write_all(&bytes)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        let file = OpenOptions::new().append(true).open(&aside)?;
        std::fs::rename(&aside, path)?;
        Ok(Self {
            file,
            path: path.to_owned(),
            node,
            length,
            shrink_at: (2 * length).max(SHRINK_MIN),
            reserved,
            sequence,
            is_torn: false,
            is_unnamed: true,
        })
    }
}

/// What a file turned out to hold.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// `None`: no log at all.
    version: Option<Version>,
    /// Bytes of whole lines.
    length: u64,
    /// All bytes.
    file_length: u64,
    /// The earliest purge.
    first: Option<u64>,
    /// The last tick that may have been given out.
    last: u64,
    /// The last sequence of this node.
    sequence: u64,
    /// Something other than its end is missing.
    damaged: bool,
}

/// Reads whole lines up to the end, or up to the first that is not one.
fn read(mut file: File, own: NodeId, mut tell: impl FnMut(Line)) -> io::Result<Found> {
    let file_length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut from = BufReader::with_capacity(BUFFER, file);
    let mut magic = [0; MAGIC.len()];
    let version = match read_up_to(&mut from, &mut magic)? {
        18 if &magic == MAGIC => Version::Two,
        18 if &magic == MAGIC_1 => Version::One,
        _ => return Ok(Found { file_length, damaged: true, ..Found::default() }),
    };
    let mut found = Found { version: Some(version), length: MAGIC.len() as u64, file_length, ..Found::default() };
    let mut body = Vec::new();
    loop {
        let mut head = [0; HEAD];
        let left = file_length - found.length;
        let headed = read_up_to(&mut from, &mut head)?;
        if headed == 0 {
            return Ok(found);
        }
        let [l0, l1, l2, l3, sum @ ..] = head;
        let length = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
        let is_short = headed < HEAD || length > BODY_MAX as u64 || left < HEAD as u64 + length;
        body.resize(if is_short { 0 } else { usize::try_from(length).unwrap_or(0) }, 0);
        from.read_exact(&mut body)?;
        let right = !is_short && checksum(&body) == u64::from_le_bytes(sum);
        let line = right.then(|| Line::decode(&body, version, own, found.sequence + 1)).flatten();
        let Some(line) = line else {
            // A torn append is the beginning of a line: its length is right, and more than is here.
            let torn = headed < HEAD || (length <= BODY_MAX as u64 && left < HEAD as u64 + length);
            found.damaged = !torn;
            return Ok(found);
        };
        found.length += HEAD as u64 + length;
        let (node, sequence, tick) = match &line {
            Line::Purge(record) => (record.node, record.sequence, record.tick),
            Line::Reserved { node, sequence, tick } => (*node, *sequence, *tick),
        };
        found.last = found.last.max(tick);
        if let Line::Purge(_) = &line {
            found.first = Some(found.first.map_or(tick, |first| first.min(tick)));
        }
        // In version 1 a reservation has none, and is told as if it had the next.
        let counts = version == Version::Two || matches!(line, Line::Purge(_));
        if node == own && counts {
            found.sequence = found.sequence.max(sequence);
        }
        tell(line);
    }
}

/// Fills `bytes` as far as the file goes.
fn read_up_to(from: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match from.read(&mut bytes[filled..])? {
            0 => break,
            more => filled += more,
        }
    }
    Ok(filled)
}

fn put(out: &mut Vec<u8>, line: &Line) {
    let body = line.encode();
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&checksum(&body).to_le_bytes());
    out.extend_from_slice(&body);
}

fn checksum(body: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(body);
    hasher.finish()
}

#[cfg(test)]
mod tests;
