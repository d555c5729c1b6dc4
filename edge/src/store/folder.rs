//! The folder of the disk tier: ours, of this format and size, or started empty.

use std::fs;
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
    size: u64,
}

/// Makes the folder ready and returns where the files of the log go. What is not ours or of another size is started empty,
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
