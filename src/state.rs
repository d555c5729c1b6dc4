//! The node's own folder: who it is, its secret, the states it was forced into, its texts, its purges. Locked, so that a second
//! process refuses to start.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nearcast_edge::key::HashSecret;
use nearcast_edge::purge::NodeId;
use thiserror::Error;

/// Why the folder cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// Another process has it.
    #[error("{path} is in use by another nearcast process; stop that one, or give this one a state.path of its own")]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// It cannot be read or written.
    #[error("{path}: cannot be used as the node's state; check that it exists or can be made and is writable")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file in it holds something else.
    #[error("{path} is damaged; move it away to have it made anew")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// An open, locked state folder.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    /// Who it is; made at the first start.
    pub node: NodeId,
    /// For the keys of the store.
    pub secret: HashSecret,
    /// Held as long as the node lives.
    _lock: File,
}

impl State {
    /// Opens the folder, making it and what belongs in it at the first start.
    ///
    /// # Errors
    /// When another process has it, or it cannot be used.
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::Io { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = File::create(folder.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::Locked { path: folder.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let id = kept::<4>(&folder.join("node-id"))?;
        let secret = kept::<16>(&folder.join("key-secret"))?;
        Ok(Self {
            folder: folder.to_owned(),
            node: NodeId(u32::from_be_bytes(id)),
            secret: HashSecret(secret),
            _lock: lock,
        })
    }

    /// Where forced states are kept.
    pub fn forced_file(&self) -> PathBuf {
        self.folder.join("forced.json")
    }

    /// Where texts are kept.
    pub fn texts_file(&self) -> PathBuf {
        self.folder.join("texts.json")
    }

    /// Where the time is noted.
    pub fn clock_file(&self) -> PathBuf {
        self.folder.join("clock")
    }

    /// Where purges are kept.
    pub fn purge_log(&self) -> PathBuf {
        self.folder.join("purge.log")
    }
}

/// The random bytes in `path`, in hexadecimal; made when there is no such file.
fn kept<const N: usize>(path: &Path) -> Result<[u8; N], StateError> {
    let failed = |source| StateError::Io { path: path.to_owned(), source };
    match fs::read_to_string(path) {
        Ok(text) => unhex(text.trim()).ok_or_else(|| StateError::Damaged { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made: [u8; N] = rand::random();
            let aside = path.with_extension("new");
            let mut options = OpenOptions::new();
            let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&aside).map_err(failed)?;
            file.write_all(hex(&made).as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
            fs::rename(&aside, path).map_err(failed)?;
            Ok(made)
        }
        Err(error) => Err(failed(error)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_stays_who_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let first = State::open(folder.path()).unwrap();
        let (node, secret) = (first.node, first.secret);
        assert!(matches!(State::open(folder.path()), Err(StateError::Locked { .. })));
        drop(first);
        let second = State::open(folder.path()).unwrap();
        assert_eq!((second.node, second.secret), (node, secret));
        let kept = fs::read_to_string(folder.path().join("node-id")).unwrap();
        assert_eq!(node.to_string(), kept);
    }

    #[test]
    fn damage_is_said() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("node-id"), "not hex").unwrap();
        assert!(matches!(State::open(folder.path()), Err(StateError::Damaged { .. })));
    }
}
