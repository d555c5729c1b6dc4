//! Whether new geo data may follow the data in force. A download that went wrong looks like any other file: older, or much
//! smaller, or with places that send half of the world elsewhere.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::file::{GeoFileInfo, Use};

/// Why geo data is refused.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum GeoRefusal {
    /// It was built before the file in force.
    #[error("{path} was built {days:.1} days before the one in force")]
    Older {
        /// The file.
        path: PathBuf,
        /// How long before.
        days: f64,
    },
    /// It has much less in it.
    #[error("{path} has {has} {what}, the one in force {had}: less than geo.size-min")]
    Smaller {
        /// The file.
        path: PathBuf,
        /// Bytes or networks.
        what: &'static str,
        /// So many.
        has: u64,
        /// Of so many.
        had: u64,
    },
    /// It sends too much of the address space to another PoP.
    #[error(
        "{:.1} % of the known {family} address space would get another PoP (policy `{policy}`): more than geo.moved-max",
        share * 100.0
    )]
    Moved {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// The policy by which it is so much.
        policy: String,
        /// The share, 0 to 1.
        share: f64,
    },
}

/// Judges each file of `new` by its predecessor in `old`.
///
/// # Errors
/// The first reason to refuse them.
pub fn may_follow(old: &[GeoFileInfo], new: &[GeoFileInfo], size_min: f64) -> Result<(), GeoRefusal> {
    let pairs = [Use::Places, Use::Asn].into_iter().flat_map(|read_for| pairs(old, new, read_for));
    for (old, new) in pairs {
        let path = || new.path.clone();
        if new.build_epoch < old.build_epoch {
            let days = (old.build_epoch - new.build_epoch) as f64 / 86_400.0;
            return Err(GeoRefusal::Older { path: path(), days });
        }
        for (what, had, has) in [("bytes", old.bytes, new.bytes), ("networks", old.nodes, new.nodes)] {
            if (has as f64) < had as f64 * size_min {
                return Err(GeoRefusal::Smaller { path: path(), what, has, had });
            }
        }
    }
    Ok(())
}

/// Each file with its predecessor: that of the same path, or else, since names may have dates in them, that in the same
/// position if it is of the same type and no longer there itself.
fn pairs<'f>(
    old: &'f [GeoFileInfo],
    new: &'f [GeoFileInfo],
    read_for: Use,
) -> impl Iterator<Item = (&'f GeoFileInfo, &'f GeoFileInfo)> {
    let of_use = |files: &'f [GeoFileInfo]| files.iter().filter(|file| file.read_for == read_for).collect::<Vec<_>>();
    let (old, new) = (of_use(old), of_use(new));
    let with = |files: &[&'f GeoFileInfo], path: &Path| files.iter().find(|file| file.path == path).copied();
    let pairs = new.iter().enumerate().filter_map(|(position, file)| {
        let renamed = || {
            let before = *old.get(position)?;
            (before.database_type == file.database_type && with(&new, &before.path).is_none()).then_some(before)
        };
        Some((with(&old, &file.path).or_else(renamed)?, *file))
    });
    pairs.collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::super::file::Detail;
    use super::*;

    fn file(path: &str, build_epoch: u64, bytes: u64, nodes: u64) -> GeoFileInfo {
        GeoFileInfo {
            path: path.into(),
            read_for: Use::Places,
            database_type: "City".to_owned(),
            build_epoch,
            ip_version: 6,
            bytes,
            nodes,
            detail: Detail::Coordinates,
        }
    }

    #[test]
    fn what_may_follow() {
        let old = [file("a", 100_000, 1_000, 100), file("b", 200_000, 1_000, 100)];
        let smaller = |what, has, had| Err(GeoRefusal::Smaller { path: "a".into(), what, has, had });
        let rows = [
            ("the same", file("a", 100_000, 1_000, 100), Ok(())),
            ("newer and larger", file("a", 100_001, 5_000, 500), Ok(())),
            ("half as large", file("a", 100_000, 500, 50), Ok(())),
            ("less than half of the bytes", file("a", 100_000, 499, 100), smaller("bytes", 499, 1_000)),
            ("less than half of the networks", file("a", 100_000, 1_000, 49), smaller("networks", 49, 100)),
            ("a day older", file("a", 13_600, 1_000, 100), Err(GeoRefusal::Older { path: "a".into(), days: 1.0 })),
            ("another name", file("c", 100_001, 500, 50), Ok(())),
            (
                "another name and much smaller",
                file("c", 100_000, 1_000, 49),
                Err(GeoRefusal::Smaller { path: "c".into(), what: "networks", has: 49, had: 100 }),
            ),
            ("another type", GeoFileInfo { database_type: "Country".to_owned(), ..file("c", 1, 1, 1) }, Ok(())),
            ("another use", GeoFileInfo { read_for: Use::Asn, ..file("a", 1, 1, 1) }, Ok(())),
        ];
        for (name, new, wanted) in rows {
            assert_eq!(may_follow(&old, &[new, file("b", 200_000, 1_000, 100)], 0.5), wanted, "{name}");
        }
        assert_eq!(may_follow(&old, &[file("a", 100_000, 0, 0)], 0.0), Ok(()), "size-min = 0 % lets any size in");
        assert_eq!(may_follow(&[], &old, 1.0), Ok(()), "nothing before");
        let one_more = [file("c", 1, 1, 1), old[0].clone(), old[1].clone()];
        assert_eq!(may_follow(&old, &one_more, 1.0), Ok(()), "whom it would follow is still there");
    }
}
