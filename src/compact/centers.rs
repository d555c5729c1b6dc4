//! The middle of each country: what stands in for coordinates where the data has none.
//!
//! It is the mean of the places of a country's addresses, as points on the globe, brought back to its surface: nearer to
//! where people are than the middle of the land. IPv6 has too few addresses in use for its sheer numbers to mean
//! anything, so it counts only, by /48s, where a country has no IPv4.

use std::collections::BTreeMap;

use nearcast_shared::geo::{AddressFamily, Coordinates, GeoDb, Precision};

use crate::compact::{Progress, REPORT_EVERY, Stage};

/// The sum of weighted unit vectors.
#[derive(Debug, Clone, Copy, Default)]
struct Sum([f64; 3]);

impl Sum {
    fn add(&mut self, at: Coordinates, weight: f64) {
        let (latitude, longitude) = (at.latitude.to_radians(), at.longitude.to_radians());
        let unit = [latitude.cos() * longitude.cos(), latitude.cos() * longitude.sin(), latitude.sin()];
        self.0.iter_mut().zip(unit).for_each(|(sum, part)| *sum += part * weight);
    }

    /// `None` when nothing was added, or all of it cancels out.
    fn middle(self) -> Option<Coordinates> {
        let Self([x, y, z]) = self;
        let across = x.hypot(y);
        let there = across.hypot(z) > 0.0;
        there.then(|| Coordinates::new(z.atan2(across).to_degrees(), y.atan2(x).to_degrees())).flatten()
    }
}

/// Country codes in order, each with its middle.
pub fn centers(geo: &GeoDb, progress: &mut dyn FnMut(Progress)) -> Vec<(String, Coordinates)> {
    let mut found = BTreeMap::new();
    for family in [AddressFamily::V4, AddressFamily::V6] {
        for (country, sum) in sums(geo, family, progress) {
            if let Some(middle) = sum.middle() {
                found.entry(country).or_insert(middle);
            }
        }
    }
    found.into_iter().collect()
}

fn sums(geo: &GeoDb, family: AddressFamily, progress: &mut dyn FnMut(Progress)) -> BTreeMap<String, Sum> {
    let total = geo.files().iter().map(|file| file.nodes).sum();
    let mut places = std::collections::HashMap::new();
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    for (done, atom) in (1..).zip(geo.partition(family, false)) {
        if done % REPORT_EVERY == 0 {
            progress(Progress { stage: Stage::Reading, done, total: done.max(total) });
        }
        let place = places.entry(atom.key).or_insert_with(|| geo.place_of(&atom));
        let exact = place.coordinates.filter(|_| place.precision == Precision::Exact);
        if let (Some(at), Some(country)) = (exact, &place.country) {
            let unit = match family {
                AddressFamily::V4 => 32,
                AddressFamily::V6 => 48,
            };
            let weight = f64::from(unit - i32::from(atom.length)).exp2();
            match sums.get_mut(country) {
                Some(sum) => sum.add(at, weight),
                None => sums.entry(country.clone()).or_default().add(at, weight),
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nearcast_shared::geo::builtin;

    use super::*;
    use crate::compact::fixture::{City, save};

    #[test]
    fn a_middle_is_where_most_addresses_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = save(
            dir.path(),
            &[
                ("192.0.2.0/24", City::at(10.0, 179.0)),
                ("198.51.100.0/24", City::at(10.0, -179.0)),
                ("2a00::/32", City::at(-80.0, 0.0)),
                ("203.0.113.0/24", City::country("FR")),
            ],
        );
        let geo = GeoDb::from_bytes("test", fs::read(path).unwrap()).unwrap();
        let found = centers(&geo, &mut |_| {});
        // France has no place of its own here; IPv6 does not count beside IPv4; and it is not on the other side of the globe.
        let [(country, at)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(country, "DE");
        assert!((at.latitude - 10.0).abs() < 0.01 && at.longitude.abs() > 179.9, "{at:?}");
    }

    #[test]
    fn the_table_in_the_repository_is_that_of_the_built_in_data() {
        let table = include_str!("../../config/geo/country-centers.tsv");
        let written: Vec<&str> = table.lines().filter(|line| !line.starts_with('#')).collect();
        let made = centers(&builtin::load().unwrap(), &mut |_| {});
        let made = made.iter().map(|(code, at)| format!("{code}\t{:.2}\t{:.2}", at.latitude, at.longitude));
        assert_eq!(made.collect::<Vec<_>>(), written);
    }

    #[test]
    fn weights_count() {
        let mut sum = Sum::default();
        sum.add(Coordinates { latitude: 0.0, longitude: 0.0 }, 3.0);
        sum.add(Coordinates { latitude: 0.0, longitude: 90.0 }, 1.0);
        let at = sum.middle().unwrap();
        assert!((at.longitude - 18.43).abs() < 0.01, "{at:?}");
        assert_eq!(Sum::default().middle(), None);
    }
}
