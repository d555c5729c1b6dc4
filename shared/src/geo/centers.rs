//! The middle of each country, as people who have addresses there see it: what stands in for coordinates that the data
//! does not have. `config/geo/README.md` says how the table is made.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Coordinates;

static TABLE: &str = include_str!("../../../config/geo/country-centers.tsv");

static CENTERS: LazyLock<HashMap<&'static str, Coordinates>> =
    LazyLock::new(|| TABLE.lines().filter_map(row).collect());

/// The middle of the country with this ISO 3166-1 alpha-2 code, in upper case.
pub fn center(country: &str) -> Option<Coordinates> {
    CENTERS.get(country).copied()
}

/// Code, latitude and longitude, with tabs between; lines with `#` are comments.
fn row(line: &'static str) -> Option<(&'static str, Coordinates)> {
    let mut cells = line.split('\t');
    let (country, latitude, longitude) = (cells.next()?, cells.next()?, cells.next()?);
    Some((country, Coordinates::new(latitude.parse().ok()?, longitude.parse().ok()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::distance;

    #[test]
    fn every_line_is_a_country() {
        let lines: Vec<&str> = TABLE.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(lines.len() > 230, "{}", lines.len());
        for line in lines {
            let (country, _) = row(line).unwrap();
            assert!(country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase()), "{line}");
        }
    }

    #[test]
    fn middles_are_near_where_people_are() {
        let rows =
            [("DE", 51.0, 9.5), ("US", 39.0, -92.0), ("JP", 35.7, 138.5), ("AU", -34.0, 147.0), ("NZ", -39.0, 175.0)];
        for (country, latitude, longitude) in rows {
            let km = distance::km(center(country).unwrap(), Coordinates { latitude, longitude });
            assert!(km < 700.0, "{country}: {km:.0} km away");
        }
        assert_eq!((center("XX"), center("de")), (None, None));
    }
}
