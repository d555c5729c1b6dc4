//! Puts the file where it belongs: packed if asked to, and only when complete.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::compact::{Progress, Stage};

/// zstd's highest level: the file is packed once and unpacked at every start. Its window of
/// 128 MiB, which decoders take without being told to, holds all of the file.
const ZSTD_LEVEL: i32 = 22;

/// Bytes packed between two reports of progress: a few dozen reports in all.
const PACK_CHUNK: usize = 1 << 18;

/// Writes the output beside its place, then puts it there. Returns its size in bytes.
pub(super) fn write(output: &Path, mmdb: &[u8], progress: &mut dyn FnMut(Progress)) -> io::Result<u64> {
    let mut unfinished = OsString::from(output);
    unfinished.push(".part");
    let unfinished = PathBuf::from(unfinished);
    let result = pack(output, mmdb, progress)
        .and_then(|bytes| fs::write(&unfinished, &bytes).map(|()| bytes.len() as u64))
        .and_then(|len| fs::rename(&unfinished, output).map(|()| len));
    if result.is_err() {
        // Nothing is there to remove if the directory is missing: the first error counts.
        let _ = fs::remove_file(&unfinished);
    }
    result
}

/// The bytes of the output: compressed if its name ends in `.zst`.
fn pack(output: &Path, mmdb: &[u8], progress: &mut dyn FnMut(Progress)) -> io::Result<Vec<u8>> {
    if output.extension().is_none_or(|extension| extension != "zst") {
        return Ok(mmdb.to_vec());
    }
    let total = mmdb.len() as u64;
    let mut encoder = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
    encoder.set_pledged_src_size(Some(total))?;
    encoder.include_checksum(true)?;
    for (number, chunk) in mmdb.chunks(PACK_CHUNK).enumerate() {
        progress(Progress { stage: Stage::Writing, done: (number * PACK_CHUNK) as u64, total });
        encoder.write_all(chunk)?;
    }
    encoder.finish()
}
