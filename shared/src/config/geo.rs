//! Which geo data is used, and what is let in as its successor.

use std::path::PathBuf;
use std::time::Duration;

use crate::geo::Use;

/// The geo data.
#[derive(Debug, Clone, PartialEq)]
pub struct Geo {
    /// mmdb files of places; empty: the built-in data.
    pub database: Vec<PathBuf>,
    /// mmdb files of autonomous systems; empty: none is known.
    pub asn: Vec<PathBuf>,
    /// The files are looked at so often; zero: at a reload only.
    pub watch: Duration,
    /// A file that has less than this share of what the one in force has is refused. 0 to 1.
    pub size_min: f64,
    /// Files that send more than this share of the address space to another PoP are refused. 0 to 1.
    pub moved_max: f64,
}

impl Geo {
    /// All files and what each is read for, in the configured order.
    pub fn files(&self) -> impl Iterator<Item = (Use, &PathBuf)> {
        let of = |read_for| move |path| (read_for, path);
        self.database.iter().map(of(Use::Places)).chain(self.asn.iter().map(of(Use::Asn)))
    }
}
