//! Key files in BIND's format, so that `dnssec-keygen` and `dnssec-settime` work on them, too.
//!
//! ```text
//!   Kexample.net.+013+12345.key       ; comments
//!                                     example.net. 3600 IN DNSKEY 257 3 13 <base64>
//!   Kexample.net.+013+12345.private   Private-key-format: v1.3
//!                                     Algorithm: 13 (ECDSAP256SHA256)
//!                                     PrivateKey: <base64>
//!                                     Created: 20261126174500
//!                                     Publish: ..
//! ```

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use domain::utils::base64;
use thiserror::Error;
use zeroize::Zeroizing;

use super::algorithm::{Algorithm, KeyPair};
use super::key::Key;
use super::times::{Moment, Times, parse_stamp, stamp};
use crate::name::Name;

/// Bytes of a key file; ours have a few hundred.
const SIZE_MAX: u64 = 64 << 10;

/// Why a key file cannot be used.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// The file or the folder cannot be read or written.
    #[error("{path}: {what}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// What was tried, and what to do.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// Others than its owner can get at the private key.
    #[error(
        "{path}: can be read by others than its owner (mode {mode:03o}), so the key is not safe: chmod 600 it, and roll \
             the key over if they may have read it"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It has something else than it should.
    #[error("{path}: {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        what: String,
    },
}

/// A key's files in `folder`, by their name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyFile {
    folder: PathBuf,
    /// Without the ending: `Kexample.net.+013+12345`.
    stem: String,
}

impl KeyFile {
    fn of(folder: &Path, key: &Key) -> Self {
        let stem = format!("K{}.+{:03}+{:05}", key.zone(), key.algorithm().number(), key.tag());
        Self { folder: folder.to_owned(), stem }
    }

    /// All private keys in `folder` with the name of the zone in their files' names, in lower case.
    pub(crate) fn list(folder: &Path) -> Result<Vec<(String, Self)>, KeyFileError> {
        let failed = |source| KeyFileError::Io {
            path: folder.to_owned(),
            what: "the folder of keys cannot be read; set dns.dnssec.keys, or make a key with `nearcast dnssec keygen`",
            source,
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".private")) else { continue };
            let mut parts = stem.strip_prefix('K').unwrap_or_default().rsplitn(3, '+');
            let (Some(_tag), Some(_algorithm), Some(zone)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            let zone = zone.trim_end_matches('.').to_ascii_lowercase();
            found.push((zone, Self { folder: folder.to_owned(), stem: stem.to_owned() }));
        }
        found.sort();
        Ok(found)
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.stem))
    }

    /// Reads the key, which must be of `zone`.
    pub(crate) fn read(&self, zone: &Name) -> Result<Key, KeyFileError> {
        let private = self.path("private");
        let meta = fs::metadata(&private).map_err(cannot(&private, "cannot be read"))?;
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Exposed { path: private, mode });
        }
        let malformed = |path: &Path| {
            let path = path.to_owned();
            move |what: String| KeyFileError::Malformed { path, what }
        };
        let (flags, algorithm, public) = {
            let path = self.path("key");
            let text = text(&path)?;
            parse_public(&text, zone).map_err(malformed(&path))?
        };
        pair((flags, algorithm, public), &text(&private)?, zone).map_err(malformed(&private))
    }

    /// Removes both files.
    fn remove(&self) -> Result<(), KeyFileError> {
        for ending in ["private", "key"] {
            let path = self.path(ending);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(cannot(&path, "cannot be removed")(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// Writes the files of `key` into `folder`, in place of those that are there. Makes the folder, for its owner alone, if there
/// is none. Returns the path of the private file.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(folder: &Path, key: &Key) -> Result<PathBuf, KeyFileError> {
    if !folder.exists() {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(cannot(folder, "the folder cannot be made"))?;
    }
    let file = KeyFile::of(folder, key);
    let private = file.path("private");
    let text = private_text(key).ok_or_else(|| KeyFileError::Malformed {
        path: private.clone(),
        what: "the key cannot be written out".to_owned(),
    })?;
    // The public one last: a key without it is not read, and says so.
    replace(&private, text.as_bytes(), 0o600)?;
    replace(&file.path("key"), public_text(key).as_bytes(), 0o644)?;
    Ok(private)
}

/// Removes the files of `key` from `folder`.
///
/// # Errors
/// When they are there and cannot be removed.
pub fn remove(folder: &Path, key: &Key) -> Result<(), KeyFileError> {
    KeyFile::of(folder, key).remove()
}

/// Whoever reads `path` meanwhile sees the old file or the new.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyFileError> {
    let aside = path.with_extension(format!("{}.new", path.extension().unwrap_or_default().display()));
    let write = || {
        let _left_by_a_crash = fs::remove_file(&aside);
        let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    };
    write().map_err(cannot(path, "cannot be written"))
}

fn cannot(path: &Path, what: &'static str) -> impl Fn(io::Error) -> KeyFileError + use<> {
    let path = path.to_owned();
    move |source| KeyFileError::Io { path: path.clone(), what, source }
}

fn text(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let failed = cannot(path, "cannot be read; a key has two files, .key and .private");
    let meta = fs::metadata(path).map_err(&failed)?;
    if meta.len() > SIZE_MAX {
        return Err(KeyFileError::Malformed { path: path.to_owned(), what: "too large for a key".to_owned() });
    }
    fs::read_to_string(path).map(Zeroizing::new).map_err(failed)
}

/// Flags, algorithm and public key of the DNSKEY record.
fn parse_public(text: &str, zone: &Name) -> Result<(u16, Algorithm, Vec<u8>), String> {
    let record: Vec<&str> = text
        .lines()
        .map(|line| line.split(';').next().unwrap_or_default())
        .flat_map(str::split_ascii_whitespace)
        .filter(|piece| !matches!(*piece, "(" | ")"))
        .collect();
    let form = || format!("must have `{zone}. IN DNSKEY 257 3 13 <base64>`");
    let (owner, rest) = record.split_first().ok_or_else(form)?;
    let at =
        rest.iter().position(|piece| piece.eq_ignore_ascii_case("DNSKEY")).filter(|at| *at <= 2).ok_or_else(form)?;
    let [flags, protocol, algorithm, public @ ..] = &rest[at + 1..] else { return Err(form()) };
    if Name::parse(owner).as_ref() != Some(zone) {
        return Err(format!("is a key of {owner}, not of {zone}."));
    }
    let flags: u16 = flags.parse().map_err(|_| form())?;
    Key::judge_flags(flags)?;
    if *protocol != "3" {
        return Err(form());
    }
    let algorithm = parse_algorithm(algorithm)?;
    let public: Vec<u8> = base64::decode(&public.concat()).map_err(|error| format!("the public key: {error}"))?;
    if public.len() != algorithm.public_length() {
        let what = format!(
            "the public key has {} bytes; {} has {}",
            public.len(),
            algorithm.mnemonic(),
            algorithm.public_length()
        );
        return Err(what);
    }
    Ok((flags, algorithm, public))
}

/// The key whose public part is known, from the text of its private file.
fn pair((flags, algorithm, public): (u16, Algorithm, Vec<u8>), private: &str, zone: &Name) -> Result<Key, String> {
    let given = parse_private(private)?;
    if given.algorithm != algorithm {
        return Err("its algorithm is another than that of the .key file".to_owned());
    }
    let pair = KeyPair::new(algorithm, &given.private, &public)
        .ok_or("the private key is not that of the .key file: copy both files of the pair")?;
    let mut key = Key::from_pair(zone, flags, algorithm, pair, given.times);
    key.other = given.other;
    Ok(key)
}

/// Reads a key from the texts of its files, and writes both again: for the fuzz target.
pub(crate) fn rewritten(public: &str, private: &str, zone: &Name) -> Option<(String, String)> {
    let key = pair(parse_public(public, zone).ok()?, private, zone).ok()?;
    Some((public_text(&key), private_text(&key)?.to_string()))
}

/// `13`, or its name.
fn parse_algorithm(text: &str) -> Result<Algorithm, String> {
    let named = || [Algorithm::EcdsaP256, Algorithm::Ed25519].into_iter().find(|known| known.mnemonic() == text);
    text.parse().ok().and_then(Algorithm::numbered).or_else(named).ok_or_else(|| {
        format!("algorithm {text} is not supported; 13 (ECDSAP256SHA256) and 15 (ED25519) are: move its files away")
    })
}

/// What a private file has.
struct Private {
    algorithm: Algorithm,
    private: Zeroizing<Vec<u8>>,
    times: Times,
    other: Vec<String>,
}

fn parse_private(text: &str) -> Result<Private, String> {
    let (mut format, mut algorithm, mut private) = (None, None, None);
    let (mut times, mut other) = (Times::default(), Vec::new());
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (field, value) = line.split_once(':').ok_or("a line has no colon; the form is `Name: value`")?;
        let (field, value) = (field.trim(), value.trim());
        match field {
            "Private-key-format" => format = Some(value.to_owned()),
            "Algorithm" => algorithm = Some(parse_algorithm(value.split(' ').next().unwrap_or_default())?),
            "PrivateKey" => {
                let bytes: Vec<u8> = base64::decode(value).map_err(|error| format!("PrivateKey: {error}"))?;
                private = Some(Zeroizing::new(bytes));
            }
            "Revoke" => return Err("Revoke is set, and revoked keys are not supported; take the line out".to_owned()),
            _ => match Moment::named(field) {
                Some(moment) => {
                    let at = parse_stamp(value)
                        .ok_or_else(|| format!("{field}: `{value}` is not a time such as 20261126174500, in UTC"))?;
                    times.set(moment, at);
                }
                // Without what an odd end of line leaves.
                None => other.push(line.trim_end().to_owned()),
            },
        }
    }
    match format.as_deref() {
        // RFC-less; BIND's lib/dns/dst_parse.c: minor versions add fields, major versions change what is there.
        Some("v1.2") => times = Times::always(),
        Some(version) if version.starts_with("v1.") => {}
        Some(version) => return Err(format!("Private-key-format {version} is not supported; v1.3 is")),
        None => return Err("has no `Private-key-format: v1.3`".to_owned()),
    }
    Ok(Private {
        algorithm: algorithm.ok_or("has no `Algorithm: 13 (ECDSAP256SHA256)`")?,
        private: private.ok_or("has no `PrivateKey: <base64>`")?,
        times,
        other,
    })
}

fn private_text(key: &Key) -> Option<Zeroizing<String>> {
    let algorithm = key.algorithm();
    let private = Zeroizing::new(base64::encode_string(&key.pair().private()?));
    let mut text = Zeroizing::new(format!(
        "Private-key-format: v1.3\nAlgorithm: {} ({})\nPrivateKey: {}\n",
        algorithm.number(),
        algorithm.mnemonic(),
        private.as_str()
    ));
    for moment in Moment::ALL {
        if let Some(at) = key.times.at(moment) {
            text.push_str(&format!("{}: {}\n", moment.field(), stamp(at)));
        }
    }
    key.other.iter().for_each(|line| text.push_str(&format!("{line}\n")));
    Some(text)
}

fn public_text(key: &Key) -> String {
    let kind = if key.is_entry() { "key" } else { "zone" };
    let mut text = format!("; This is a {kind}-signing key, keyid {}, for {}.\n", key.tag(), key.zone());
    for moment in Moment::ALL {
        if let Some(at) = key.times.at(moment) {
            text.push_str(&format!("; {}: {}\n", moment.field(), stamp(at)));
        }
    }
    let public = base64::encode_string(key.public());
    text + &format!("{}. IN DNSKEY {} 3 {} {public}\n", key.zone(), key.flags(), key.algorithm().number())
}

#[cfg(test)]
mod tests;
