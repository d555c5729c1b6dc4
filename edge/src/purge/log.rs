//! The purge log: append-only, synced before anything is acknowledged, rewritten without what is outdated at each start.
//!
//! ```text
//! file   = "nearcast purges 1\n" record*
//! record = length:u32 checksum:u64 body          little-endian; the checksum is over the body
//! body   = tick:u64 kind:u8 ( 'a' | 's' site name | 'u' url id:u128 | 'g' group id:u128 | 'r' )
//! ```

use std::fs::{File, OpenOptions};
use std::hash::Hasher;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use siphasher::sip::SipHasher13;

use super::Scope;
use crate::key::{GroupId, UrlId};

const MAGIC: &[u8] = b"nearcast purges 1\n";

/// Bytes below which the log is not worth rewriting.
const SHRINK_MIN: u64 = 1 << 20;

/// No valid record is longer.
const BODY_MAX: usize = 4096;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Everything up to `tick`.
    All {
        /// When.
        tick: u64,
    },
    /// A site up to `tick`.
    Site {
        /// When.
        tick: u64,
        /// Its name.
        site: String,
    },
    /// A URL up to `tick`.
    Url {
        /// When.
        tick: u64,
        /// Which.
        url: UrlId,
    },
    /// A group up to `tick`.
    Group {
        /// When.
        tick: u64,
        /// Which.
        group: GroupId,
    },
    /// Ticks up to `tick` may have been given out.
    Reserve {
        /// The last of them.
        tick: u64,
    },
}

impl Record {
    /// Of a purge.
    pub fn new(tick: u64, scope: Scope) -> Self {
        match scope {
            Scope::All => Self::All { tick },
            Scope::Site(site) => Self::Site { tick, site },
            Scope::Url(url) => Self::Url { tick, url },
            Scope::Group(group) => Self::Group { tick, group },
        }
    }

    /// Its tick.
    pub fn tick(&self) -> u64 {
        match self {
            Self::All { tick }
            | Self::Site { tick, .. }
            | Self::Url { tick, .. }
            | Self::Group { tick, .. }
            | Self::Reserve { tick } => *tick,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut body = self.tick().to_le_bytes().to_vec();
        match self {
            Self::All { .. } => body.push(b'a'),
            Self::Reserve { .. } => body.push(b'r'),
            Self::Site { site, .. } => {
                body.push(b's');
                body.extend_from_slice(site.as_bytes());
            }
            Self::Url { url, .. } => {
                body.push(b'u');
                body.extend_from_slice(&url.0.to_le_bytes());
            }
            Self::Group { group, .. } => {
                body.push(b'g');
                body.extend_from_slice(&group.0.to_le_bytes());
            }
        }
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(&checksum(&body).to_le_bytes());
        out.extend_from_slice(&body);
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let (tick, rest) = body.split_first_chunk::<8>()?;
        let tick = u64::from_le_bytes(*tick);
        match rest.split_first()? {
            (b'a', []) => Some(Self::All { tick }),
            (b'r', []) => Some(Self::Reserve { tick }),
            (b's', site) => Some(Self::Site { tick, site: String::from_utf8(site.to_vec()).ok()? }),
            (b'u', url) => Some(Self::Url { tick, url: UrlId(u128::from_le_bytes(url.try_into().ok()?)) }),
            (b'g', id) => Some(Self::Group { tick, group: GroupId(u128::from_le_bytes(id.try_into().ok()?)) }),
            _ => None,
        }
    }
}

fn checksum(body: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(body);
    hasher.finish()
}

/// The open file.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    path: PathBuf,
    /// Bytes of whole records: a failed append is cut back to here.
    length: u64,
    /// Beyond so many bytes it is rewritten with what is in force.
    shrink_at: u64,
    /// The last tick that may have been given out.
    reserved: u64,
}

impl Log {
    /// Opens the log and returns what it holds, without purges before `oldest`. A torn end is what a crash leaves and was
    /// never acknowledged; damage before it means that purges are lost, so that everything stored is purged instead, as
    /// of `surely_later`.
    pub(super) fn open(path: &Path, oldest: u64, surely_later: u64) -> io::Result<(Self, Vec<Record>)> {
        let bytes = match File::open(path) {
            Ok(mut file) => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes)?;
                bytes
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => MAGIC.to_vec(),
            Err(error) => return Err(error),
        };
        let (mut records, damaged) = read(&bytes);
        let last = records.iter().map(Record::tick).max().unwrap_or(0);
        records.retain(|record| !matches!(record, Record::Reserve { .. }));
        let all = records.len();
        records.retain(|record| record.tick() >= oldest);
        if records.len() < all {
            // What was fetched before stays covered, whatever lifetimes are configured later.
            records.push(Record::All { tick: oldest });
        }
        records.push(Record::Reserve { tick: last });
        if damaged {
            tracing::error!(path = %path.display(), "the purge log is damaged: all that is stored is purged, since purges may be lost");
            records.push(Record::All { tick: last.max(surely_later) });
        }
        Ok((Self::rewrite(path, &records)?, records))
    }

    /// A new file with just `records`, in place of the old one.
    fn rewrite(path: &Path, records: &[Record]) -> io::Result<Self> {
        let aside = path.with_extension("new");
        let mut bytes = MAGIC.to_vec();
        records.iter().for_each(|record| record.encode(&mut bytes));
        let mut file = File::create(&aside)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&aside, path)?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        let file = OpenOptions::new().append(true).open(path)?;
        let length = bytes.len() as u64;
        let reserved = records.iter().map(Record::tick).max().unwrap_or(0);
        Ok(Self { file, path: path.to_owned(), length, shrink_at: (2 * length).max(SHRINK_MIN), reserved })
    }

    /// Writes `records` and waits until they are on disk.
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.encode(&mut bytes));
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        self.reserved = records.iter().map(Record::tick).fold(self.reserved, u64::max);
        match written {
            Ok(()) => self.length += bytes.len() as u64,
            // Half a record must not stand in front of later whole ones.
            Err(_) => self.file.set_len(self.length)?,
        }
        written
    }
}

impl Log {
    /// Rewrites the file with just what is `in_force` when it has grown to twice its size.
    pub(super) fn shrink(&mut self, in_force: impl FnOnce() -> Vec<Record>) -> io::Result<()> {
        if self.length < self.shrink_at {
            return Ok(());
        }
        let mut records = in_force();
        records.push(Record::Reserve { tick: self.reserved });
        *self = Self::rewrite(&self.path.clone(), &records)?;
        Ok(())
    }
}

/// The whole records of a file, and whether something other than its end is missing.
fn read(bytes: &[u8]) -> (Vec<Record>, bool) {
    let mut records = Vec::new();
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
        return (records, true);
    };
    while !rest.is_empty() {
        match read_one(rest) {
            Some((record, behind)) => {
                records.push(record);
                rest = behind;
            }
            // A torn end is shorter than any record can be.
            None => return (records, rest.len() > HEAD + BODY_MAX || whole_but_wrong(rest)),
        }
    }
    (records, false)
}

/// Length and checksum.
const HEAD: usize = 12;

fn read_one(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    let (body, behind) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let record = (checksum(body) == u64::from_le_bytes(*sum)).then(|| Record::decode(body))??;
    Some((record, behind))
}

/// Whether a whole record stands at the start, with more behind it, and its checksum is wrong: no crash while
/// appending leaves that.
fn whole_but_wrong(bytes: &[u8]) -> bool {
    let length = bytes.first_chunk::<4>().map_or(usize::MAX, |length| u32::from_le_bytes(*length) as usize);
    length <= BODY_MAX && bytes.len() > HEAD + length
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SURELY_LATER: u64 = 1_000;

    fn records() -> Vec<Record> {
        let group = Scope::Group(GroupId(u128::MAX - 1));
        let scopes = [Scope::Url(UrlId(9)), Scope::Site("www.example.net".to_owned()), group, Scope::All];
        scopes.into_iter().zip(10..).map(|(scope, tick)| Record::new(tick, scope)).collect()
    }

    fn purges(records: &[Record]) -> Vec<Record> {
        records.iter().filter(|record| !matches!(record, Record::Reserve { .. })).cloned().collect()
    }

    #[test]
    fn records_come_back_and_outdated_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purge.log");
        let (mut log, empty) = Log::open(&path, 0, SURELY_LATER).unwrap();
        assert_eq!(purges(&empty), []);
        log.append(&records()).unwrap();
        assert_eq!(purges(&Log::open(&path, 0, SURELY_LATER).unwrap().1), records());
        let (_log, later) = Log::open(&path, 11, SURELY_LATER).unwrap();
        let mut wanted = records()[1..].to_vec();
        wanted.push(Record::All { tick: 11 });
        assert_eq!(purges(&later), wanted, "what is older than all records stays covered");
        assert_eq!(later.iter().map(Record::tick).max(), Some(13), "ticks go on behind what was forgotten");
    }

    #[test]
    fn the_layout_stays() {
        let tick = |tick: u8| [tick, 0, 0, 0, 0, 0, 0, 0];
        let id = |first: u8| [&[first][..], &[0; 14], &[0xff]].concat();
        let bodies = [
            [&tick(10)[..], b"a"].concat(),
            [&tick(11)[..], b"swww"].concat(),
            [&tick(12)[..], b"u", &id(1)].concat(),
            [&tick(13)[..], b"g", &id(2)].concat(),
            [&tick(14)[..], b"r"].concat(),
        ];
        let mut bytes = b"nearcast purges 1\n".to_vec();
        for body in &bodies {
            bytes.extend([body.len() as u8, 0, 0, 0]);
            bytes.extend(checksum(body).to_le_bytes());
            bytes.extend(body);
        }
        let id = |first: u128| first | 0xff << 120;
        let wanted = [
            Record::All { tick: 10 },
            Record::Site { tick: 11, site: "www".to_owned() },
            Record::Url { tick: 12, url: UrlId(id(1)) },
            Record::Group { tick: 13, group: GroupId(id(2)) },
            Record::Reserve { tick: 14 },
        ];
        assert_eq!(read(&bytes), (wanted.to_vec(), false));
        assert_eq!(checksum(b"nearcast"), 0x0fc1_3514_7915_b40b);
    }

    #[test]
    fn a_log_that_grew_is_rewritten_with_what_is_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purge.log");
        let (mut log, _) = Log::open(&path, 0, SURELY_LATER).unwrap();
        let repeated: Vec<Record> = (0..40_000).map(|tick| Record::Url { tick, url: UrlId(1) }).collect();
        log.append(&repeated).unwrap();
        let before = std::fs::metadata(&path).unwrap().len();
        log.shrink(|| vec![Record::Url { tick: 39_999, url: UrlId(1) }]).unwrap();
        assert!(before > SHRINK_MIN && std::fs::metadata(&path).unwrap().len() < 1_000);
        log.append(&records()).unwrap();
        let (_log, found) = Log::open(&path, 0, SURELY_LATER).unwrap();
        assert_eq!(found.iter().map(Record::tick).max(), Some(39_999));
        assert_eq!(purges(&found).len(), 1 + records().len());
    }

    #[test]
    fn a_torn_end_loses_only_itself() {
        let mut bytes = MAGIC.to_vec();
        records().iter().for_each(|record| record.encode(&mut bytes));
        let mut last = Vec::new();
        records()[3].encode(&mut last);
        for cut in 1..last.len() {
            let (found, damaged) = read(&bytes[..bytes.len() - cut]);
            assert_eq!((found.as_slice(), damaged), (&records()[..3], false), "cut {cut}");
        }
    }

    #[test]
    fn damage_purges_everything() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purge.log");
        Log::open(&path, 0, SURELY_LATER).unwrap().0.append(&records()).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[MAGIC.len() + HEAD + 2] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let (_log, found) = Log::open(&path, 0, SURELY_LATER).unwrap();
        assert!(found.contains(&Record::All { tick: SURELY_LATER }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut file = MAGIC.to_vec();
            file.extend(bytes);
            let _either = read(&file);
        }
    }
}
