//! `[geo]`.

use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::super::Geo;
use super::super::file::{self, At, Texts};
use super::{Compiler, span_of};
use crate::config::{Share, units};

/// Files of one kind: an address is looked up in all of them, one after the other.
const FILES_MAX: usize = 16;

impl Compiler<'_> {
    pub(super) fn geo(&mut self, geo: &file::Geo) -> Geo {
        Geo {
            database: self.geo_files("geo.database", &geo.database),
            asn: self.geo_files("geo.asn", &geo.asn),
            watch: geo
                .watch
                .as_ref()
                .and_then(|value| self.duration("geo.watch", value))
                .unwrap_or(Duration::from_secs(10)),
            size_min: self.part("geo.size-min", &geo.size_min, 0.5),
            moved_max: self.part("geo.moved-max", &geo.moved_max, 0.2),
        }
    }

    fn geo_files(&mut self, key: &str, given: &At<Texts>) -> Vec<PathBuf> {
        let Some(files) = given else { return Vec::new() };
        let all = files.get_ref().all();
        if all.len() > FILES_MAX {
            self.gather.at(span_of(given), key, format!("must be at most {FILES_MAX} files"));
        }
        all.iter().map(|path| self.expand(path)).collect()
    }

    fn part(&mut self, key: &str, given: &At<String>, default: f64) -> f64 {
        let judged = given.as_ref().map(|value: &Spanned<String>| (value.span(), units::share(value.get_ref())));
        judged.and_then(|(span, share)| self.judge(key, span, share)).map_or(default, Share::fraction)
    }
}
