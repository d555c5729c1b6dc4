//! What signing needs of the node: looks at the clocks, and the memory of when it ran last, so that a clock that is set wrong
//! at a start is noticed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use nearcast_dns::dnssec::Signers;
use nearcast_shared::clock::Timestamp;
use serde::Serialize;

/// No version that signs ran before: 2026-11-01.
pub(crate) const RELEASE: Timestamp = Timestamp(1_793_491_200_000);

/// Looks between two notes of the time.
const LOOKS_PER_NOTE: u32 = 600;

/// What is shown of signing.
#[derive(Debug, Clone, Serialize)]
pub struct DnssecStatus {
    /// Signed zones.
    pub zones: usize,
    /// Sets that zones have and whose signatures are kept.
    pub kept: usize,
    /// The same of names that do not exist, or only through a wildcard.
    pub passing: usize,
    /// When the signature ends that ends first; RFC 3339.
    pub first_end: Option<String>,
    /// What is wrong with the clock.
    pub clock: Option<String>,
    /// Zones that will not be signed as planned.
    pub warnings: Vec<String>,
}

/// When the node ran last, as far as `file` tells, by the clock of then.
pub(crate) fn noted(file: &Path) -> Timestamp {
    let noted = match fs::read_to_string(file) {
        Ok(text) => text.trim().parse().ok().map(Timestamp::from_seconds),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(RELEASE),
        Err(_) => None,
    };
    let noted = noted.unwrap_or_else(|| {
        tracing::warn!(file = %file.display(), "cannot be read: a clock that is wrong now may not be noticed");
        RELEASE
    });
    noted.max(RELEASE)
}

/// Looks at the clocks every second and notes the time now and then, for as long as it runs.
pub(crate) async fn watch(signers: Arc<Signers>, file: PathBuf) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        for _ in 0..LOOKS_PER_NOTE {
            seconds.tick().await;
            signers.tick();
        }
        note(&signers, &file);
    }
}

/// Notes the time, if the clock is believed.
pub(crate) fn note(signers: &Signers, file: &Path) {
    if let Some(now) = signers.believed()
        && let Err(error) = write(file, now)
    {
        tracing::warn!(%error, file = %file.display(), "the time cannot be noted");
    }
}

fn write(file: &Path, now: Timestamp) -> io::Result<()> {
    let aside = file.with_extension("new");
    fs::write(&aside, format!("{}\n", now.seconds()))?;
    fs::rename(&aside, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_noted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clock");
        assert_eq!(noted(&file), RELEASE);
        write(&file, Timestamp(1_900_000_000_999)).unwrap();
        assert_eq!(noted(&file), Timestamp(1_900_000_000_000));
        for wrong in ["what", "1000000000"] {
            fs::write(&file, wrong).unwrap();
            assert_eq!(noted(&file), RELEASE, "{wrong}");
        }
    }
}
