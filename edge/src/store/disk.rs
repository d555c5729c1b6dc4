//! The folder of the disk tier: ours, of this format and size, or started empty.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nearcast_shared::config;
use serde::{Deserialize, Serialize};

use super::StoreError;

/// Raised when what foyer or we write changes in kind.
const LAYOUT: u32 = 2;

/// Says what the folder holds.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Label {
    layout: u32,
    size: u64,
}

/// Bytes of one of foyer's files: some hundred of them at most, since each stays open, and none smaller than what an
/// entry and its write buffer need.
pub(super) fn block_bytes(size: u64) -> usize {
    const SMALLEST: u64 = 16 << 20;
    usize::try_from((size / 512).next_multiple_of(4096).max(SMALLEST)).unwrap_or(usize::MAX)
}

/// Makes the folder ready and returns where foyer's files go. What is not ours or of another size is started empty,
/// and said so; files of others beside it are left alone.
pub(super) fn prepare(disk: &config::Disk) -> Result<PathBuf, StoreError> {
    let failed = |source| StoreError::Folder { path: disk.path.clone(), source };
    fs::create_dir_all(&disk.path).map_err(failed)?;
    let (objects, label_file) = (disk.path.join("objects"), disk.path.join("label.json"));
    let wanted = Label { layout: LAYOUT, size: disk.size };
    match read_label(&label_file) {
        Ok(Some(label)) if label == wanted => return Ok(objects),
        Ok(Some(label)) => {
            tracing::warn!(folder = %disk.path.display(), ?label, ?wanted, "the cache folder is of another format or size: started empty")
        }
        Ok(None) if !is_empty(&disk.path) => {
            tracing::warn!(folder = %disk.path.display(), "the cache folder was not made by nearcast: started empty beside what is there")
        }
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(folder = %disk.path.display(), %error, "the cache folder's label is damaged: started empty")
        }
    }
    if objects.exists() {
        fs::remove_dir_all(&objects).map_err(failed)?;
    }
    fs::create_dir_all(&objects).map_err(failed)?;
    let label = serde_json::to_vec(&wanted).map_err(|error| failed(io::Error::other(error)))?;
    fs::write(&label_file, label).map_err(failed)?;
    Ok(objects)
}

fn read_label(path: &Path) -> io::Result<Option<Label>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::super::{Piece, Store};
    use super::*;
    use crate::key::StoreKey;

    fn cache(folder: &Path, size: u64) -> config::Cache {
        let text = format!(
            "[cache]\nmemory = \"8 MiB\"\ndisk = {{ path = \"{}\", size = \"{size}\" }}\n[[pop]]\nname = \"a\"\naddresses = [\"192.0.2.1\"]\n",
            folder.display()
        );
        config::Config::parse(&text, Path::new("test.toml"), &config::Inputs::default()).unwrap().cache
    }

    const SIZE: u64 = 64 << 20;

    fn piece() -> Piece {
        Piece::Chunk(vec![5; 100_000].into())
    }

    #[tokio::test]
    async fn a_clean_stop_keeps_what_was_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let keys: Vec<StoreKey> = (0..50).map(|n| StoreKey([n; 32])).collect();
        let store = Store::open(&cache(folder.path(), SIZE)).await.unwrap();
        keys.iter().for_each(|key| store.put(*key, piece()));
        store.close().await.unwrap();

        let again = Store::open(&cache(folder.path(), SIZE)).await.unwrap();
        for key in &keys {
            assert_eq!(again.get(key).await, Some(piece()));
        }
    }

    #[tokio::test]
    async fn a_clean_stop_keeps_more_than_a_write_buffer() {
        let folder = tempfile::tempdir().unwrap();
        let config = config::Cache { memory: 128 << 20, ..cache(folder.path(), 256 << 20) };
        let keys: Vec<StoreKey> = (0..100).map(|n| StoreKey([n; 32])).collect();
        let store = Store::open(&config).await.unwrap();
        keys.iter().for_each(|key| store.put(*key, Piece::Chunk(vec![5; 250_000].into())));
        (0..100u8).for_each(|n| store.put(StoreKey([n + 100; 32]), Piece::Chunk(vec![6; 250_000].into())));
        store.close().await.unwrap();

        let again = Store::open(&config).await.unwrap();
        let found = futures_util::future::join_all(keys.iter().map(|key| again.get(key))).await;
        assert_eq!(found.iter().filter(|piece| piece.is_none()).count(), 0);
    }

    #[tokio::test]
    async fn another_size_or_a_damaged_label_starts_empty() {
        let folder = tempfile::tempdir().unwrap();
        let key = StoreKey([1; 32]);
        for spoil in [None, Some("not json")] {
            let store = Store::open(&cache(folder.path(), SIZE)).await.unwrap();
            store.put(key, piece());
            store.close().await.unwrap();
            let size = if spoil.is_some() { SIZE } else { 2 * SIZE };
            if let Some(text) = spoil {
                fs::write(folder.path().join("label.json"), text).unwrap();
            }
            let again = Store::open(&cache(folder.path(), size)).await.unwrap();
            assert_eq!(again.get(&key).await, None);
            again.close().await.unwrap();
        }
    }

    #[tokio::test]
    async fn files_of_others_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.txt"), "precious").unwrap();
        let store = Store::open(&cache(folder.path(), SIZE)).await.unwrap();
        store.close().await.unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("thesis.txt")).unwrap(), "precious");
    }

    #[tokio::test]
    async fn flipped_bytes_are_misses() {
        let folder = tempfile::tempdir().unwrap();
        let key = StoreKey([1; 32]);
        let store = Store::open(&cache(folder.path(), SIZE)).await.unwrap();
        store.put(key, piece());
        store.close().await.unwrap();
        drop(store);
        for entry in fs::read_dir(folder.path().join("objects")).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            // Past the index page, within what was written.
            bytes.iter_mut().skip(8192).take(40_000).for_each(|byte| *byte ^= 0x55);
            fs::write(&path, bytes).unwrap();
        }
        let again = Store::open(&cache(folder.path(), SIZE)).await.unwrap();
        assert_eq!(again.get(&key).await, None);
    }
}
