//! The folder of the disk tier: ours alone and of this format, or started empty.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use nearcast_shared::config;
use serde::{Deserialize, Serialize};

use super::StoreError;

/// Raised when the files change in kind.
const LAYOUT: u32 = 3;

/// Says what the folder holds.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Label {
    layout: u32,
}

/// Makes the folder ready and returns where the files of the log go, and the lock on it. What is not ours is started
/// empty, and said so; files of others beside it are left alone.
pub(super) fn prepare(disk: &config::Disk) -> Result<(PathBuf, File), StoreError> {
    let failed = |source| StoreError::Folder { path: disk.path.clone(), source };
    fs::create_dir_all(&disk.path).map_err(failed)?;
    let was_empty = is_empty(&disk.path);
    let lock = File::create(disk.path.join("lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { path: disk.path.clone() }),
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    let (objects, label_file) = (disk.path.join("objects"), disk.path.join("label.json"));
    let wanted = Label { layout: LAYOUT };
    match read_label(&label_file) {
        Ok(Some(label)) if label == wanted => return Ok((objects, lock)),
        Ok(Some(label)) => {
            tracing::warn!(folder = %disk.path.display(), ?label, ?wanted, "the cache folder is of another format: started empty")
        }
        Ok(None) if !was_empty => {
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
    Ok((objects, lock))
}

/// Whether there are files of the log, of whatever kind.
pub(super) fn holds_something(disk: &config::Disk) -> bool {
    fs::read_dir(disk.path.join("objects")).is_ok_and(|mut entries| entries.next().is_some())
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
