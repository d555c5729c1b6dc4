//! Reads City files: opens them, packed or not, and walks their networks.

use nearcast_shared::geo::record::Record;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use maxminddb::{MaxMindDbError, Reader, WithinOptions};

use crate::compact::CompactError;
use crate::compact::tree::IPV4_PREFIX_LEN;

/// The first bytes of every zstd frame (RFC 8878, section 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// An mmdb file in memory.
#[derive(Debug)]
pub(super) struct Input {
    path: PathBuf,
    reader: Reader<Vec<u8>>,
}

impl Input {
    /// Reads a file into memory, unpacking it if it is zstd-compressed whatever its name.
    pub(super) fn open(path: &Path) -> Result<Self, CompactError> {
        let read = || -> io::Result<Vec<u8>> {
            let bytes = fs::read(path)?;
            if bytes.starts_with(&ZSTD_MAGIC) {
                return zstd::decode_all(bytes.as_slice());
            }
            Ok(bytes)
        };
        let bytes = read().map_err(|source| CompactError::Read { path: path.to_owned(), source })?;
        let reader =
            Reader::from_source(bytes).map_err(|source| CompactError::NotMmdb { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), reader })
    }

    /// When the file was made, in seconds since 1970.
    pub(super) fn build_epoch(&self) -> u64 {
        self.reader.metadata().build_epoch
    }

    /// Nodes of the search tree, in most files close to the number of networks.
    pub(super) fn nodes(&self) -> u32 {
        self.reader.metadata().node_count
    }

    /// The first address, the prefix length and the value of every network, in address order,
    /// IPv4 at `::/96`.
    ///
    /// `value` makes the value of a record. It is called once per distinct record, of which
    /// there are far fewer than networks; networks without a value are left out.
    pub(super) fn networks<T: Copy>(
        &self,
        mut value: impl FnMut(&Record<'_>) -> Option<T>,
    ) -> Result<impl Iterator<Item = Result<(u128, u8, T), CompactError>>, CompactError> {
        let damaged = |source| CompactError::Damaged { path: self.path.clone(), source };
        let mut values: HashMap<usize, Option<T>> = HashMap::new();
        let mut value_of = move |lookup: maxminddb::LookupResult<'_, Vec<u8>>| {
            let Some(offset) = lookup.offset() else {
                return Ok(None);
            };
            let known = match values.get(&offset) {
                Some(known) => *known,
                None => {
                    let new = lookup.decode::<Record<'_>>()?.as_ref().and_then(&mut value);
                    values.insert(offset, new);
                    new
                }
            };
            let Some(known) = known else {
                return Ok(None);
            };
            let network = lookup.network()?;
            let (address, prefix_len) = match network.ip() {
                IpAddr::V4(address) => (u128::from(address.to_bits()), IPV4_PREFIX_LEN + network.prefix()),
                IpAddr::V6(address) => (address.to_bits(), network.prefix()),
            };
            Ok(Some((address, prefix_len, known)))
        };
        let networks = self.reader.networks(WithinOptions::default()).map_err(damaged)?;
        Ok(networks.filter_map(move |lookup| {
            lookup.and_then(&mut value_of).map_err(|source: MaxMindDbError| damaged(source)).transpose()
        }))
    }
}
