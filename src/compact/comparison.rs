//! Counts the addresses that a compact file sends to another PoP than the full one.
//!
//! Both files list their networks in address order, so one pass over both, side by side, finds
//! every stretch of addresses on which they differ: the count is exact, not a sample.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use nearcast_shared::geo::record::Record;
use nearcast_shared::geo::{Coordinates, distance};
use thiserror::Error;

use crate::compact::input::Input;
use crate::compact::tree::IPV4_ALIASES;
use crate::compact::{CompactError, Progress, REPORT_EVERY, Stage};

/// A PoP and where it is, written `fra=50.03,8.57`.
#[derive(Debug, Clone, PartialEq)]
pub struct Pop {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub coordinates: Coordinates,
}

/// A PoP that is not written as one.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{0}` is no PoP; write NAME=LATITUDE,LONGITUDE in degrees, such as fra=50.03,8.57")]
pub struct ParsePopError(String);

impl FromStr for Pop {
    type Err = ParsePopError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (name, position) = text.split_once('=')?;
            let (latitude, longitude) = position.split_once(',')?;
            let coordinates = Coordinates::new(latitude.trim().parse().ok()?, longitude.trim().parse().ok()?)?;
            (!name.is_empty()).then(|| Self { name: name.to_owned(), coordinates })
        };
        parse().ok_or_else(|| ParsePopError(text.to_owned()))
    }
}

/// Addresses of one IP version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Addresses that the full file locates.
    pub located: u128,
    /// Those of them whose nearest PoP by the compact file is another one, or unknown.
    pub differing: u128,
    /// Networks of the full file with such addresses.
    pub differing_networks: u64,
    /// Networks that the full file locates.
    pub networks: u64,
}

impl Share {
    /// Differing addresses in percent of the located ones; 0 if nothing is located.
    pub fn percent(&self) -> f64 {
        percent(self.differing as f64, self.located as f64)
    }

    /// Networks with differing addresses in percent of the located ones. For IPv6 this says
    /// more than the addresses, most of which are in a few huge, unused networks.
    pub fn percent_of_networks(&self) -> f64 {
        percent(self.differing_networks as f64, self.networks as f64)
    }
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole * 100.0 } else { 0.0 }
}

/// What a compact file changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Comparison {
    /// For IPv4.
    pub ipv4: Share,
    /// For IPv6, without the prefixes that embed IPv4.
    pub ipv6: Share,
}

/// A stretch of addresses, both ends included, and the number of the nearest PoP.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    first: u128,
    last: u128,
    pop: usize,
}

/// Compares the nearest PoP of every address by full City files and by a compact one.
///
/// Distances are great circles. Full files are not united: of an address that two of them
/// locate both answers count.
///
/// # Errors
/// When a file cannot be read or is not an mmdb file.
pub fn compare(
    full: &[PathBuf],
    compact: &Path,
    pops: &[Pop],
    progress: &mut dyn FnMut(Progress),
) -> Result<Comparison, CompactError> {
    let mut comparison = Comparison::default();
    let compact = Input::open(compact)?;
    for path in full {
        let full = Input::open(path)?;
        let mut others = stretches(&compact, pops)?;
        let mut other = others.next().transpose()?;
        let mut done = 0;
        for stretch in stretches(&full, pops)? {
            let stretch = stretch?;
            done += 1;
            if done % REPORT_EVERY == 0 {
                progress(Progress { stage: Stage::Comparing, done, total: u64::from(full.nodes()).max(done) });
            }
            if embeds_ipv4(stretch.first) {
                continue;
            }
            let located = stretch.last - stretch.first + 1;
            let mut same = 0;
            while let Some(near) = other.filter(|near| near.first <= stretch.last) {
                if near.last >= stretch.first && near.pop == stretch.pop {
                    same += near.last.min(stretch.last) - near.first.max(stretch.first) + 1;
                }
                if near.last > stretch.last {
                    break;
                }
                other = others.next().transpose()?;
            }
            let share = if stretch.last <= u128::from(u32::MAX) { &mut comparison.ipv4 } else { &mut comparison.ipv6 };
            share.located += located;
            share.differing += located - same;
            share.networks += 1;
            share.differing_networks += u64::from(same < located);
        }
    }
    Ok(comparison)
}

/// The networks of a file that have coordinates, in address order.
fn stretches<'a>(
    input: &'a Input,
    pops: &'a [Pop],
) -> Result<impl Iterator<Item = Result<Stretch, CompactError>> + 'a, CompactError> {
    let nearest = |record: &Record<'_>| nearest(record.coordinates()?, pops);
    Ok(input.networks(nearest)?.map(|network| {
        network.map(|(first, prefix_len, pop)| Stretch {
            first,
            last: first | u128::MAX.checked_shr(prefix_len.into()).unwrap_or(0),
            pop,
        })
    }))
}

/// Whether an address is in an IPv6 prefix that stands for IPv4, where a compact file answers
/// with the place of the embedded address by design.
fn embeds_ipv4(address: u128) -> bool {
    IPV4_ALIASES.iter().any(|(prefix, len)| (address ^ prefix) >> (128 - len) == 0)
}

/// The number of the nearest PoP; of equally near ones the first.
fn nearest(client: Coordinates, pops: &[Pop]) -> Option<usize> {
    let distances = pops.iter().map(|pop| distance::km(client, pop.coordinates));
    distances.enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compact::fixture::{City, compacted, save};

    fn pops() -> Vec<Pop> {
        ["fra=50.03,8.57", "lhr=51.47, -0.45"].map(|pop| pop.parse().unwrap()).to_vec()
    }

    #[test]
    fn pops_are_parsed() {
        let pop: Pop = "gru=-23.43,-46.47".parse().unwrap();
        assert_eq!(pop.name, "gru");
        assert_eq!(pop.coordinates, Coordinates { latitude: -23.43, longitude: -46.47 });
        for wrong in ["", "fra", "fra=50", "=50,8", "fra=91,8", "fra=50,181", "fra=50;8", "fra=NaN,8"] {
            let error = wrong.parse::<Pop>().unwrap_err();
            assert!(error.to_string().contains("NAME=LATITUDE,LONGITUDE"), "{wrong}");
        }
    }

    #[test]
    fn every_differing_address_counts() {
        let dir = tempfile::tempdir().unwrap();
        let frankfurt = City::at(50.1, 8.7);
        let london = City::at(51.5, -0.1);
        let full = save(
            dir.path(),
            &[
                ("192.0.2.0/25", frankfurt),
                ("192.0.2.128/26", london),
                // Not located, so it does not count, but follows the majority.
                ("192.0.2.192/26", City::country("DE")),
                ("198.51.100.0/24", london),
                ("2a00::/40", london),
                ("2a00:0:100::/42", frankfurt),
                ("2a00:0:140::/42", london),
                ("2a00:0:180::/41", london),
                ("2002::/16", frankfurt),
            ],
        );
        let compact = compacted(dir.path(), std::slice::from_ref(&full));
        let found = compare(&[full], &compact, &pops(), &mut |_| {}).unwrap();
        assert_eq!((found.ipv4.located, found.ipv4.differing), (128 + 64 + 256, 64));
        assert_eq!((found.ipv4.networks, found.ipv4.differing_networks), (3, 1));
        // In units of /42: the one in Frankfurt has a majority in London.
        assert_eq!((found.ipv6.located >> 86, found.ipv6.differing >> 86), (4 + 4, 1));
        assert!((found.ipv4.percent() - 100.0 * 64.0 / 448.0).abs() < 1e-9);
    }

    #[test]
    fn what_the_compact_file_lacks_differs() {
        let dir = tempfile::tempdir().unwrap();
        let full = save(dir.path(), &[("192.0.2.0/24", City::at(50.1, 8.7)), ("2a00::/32", City::at(50.1, 8.7))]);
        let other = dir.path().join("other");
        std::fs::create_dir(&other).unwrap();
        let other = save(&other, &[("192.0.2.0/25", City::at(50.1, 8.7))]);
        let found = compare(&[full], &other, &pops(), &mut |_| {}).unwrap();
        assert_eq!(found.ipv4.differing, 128);
        assert_eq!(found.ipv6.differing, found.ipv6.located);
    }
}
