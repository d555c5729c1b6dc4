//! What the compact file keeps of a record: rounded coordinates, country, continent.
//!
//! Rounding is what makes the file compact: a City file has hundreds of thousands of places,
//! a grid of half degrees (at most 56 km on a side) leaves about ten thousand, and neighboring
//! networks of one town become one network.

use nearcast_shared::geo::Coordinates;
use nearcast_shared::geo::record::Record;

use nearcast_shared::geo::continent::Continent;

/// Parts of a degree in which a [`Place`] counts: 1/10 000 degree is 11 m, finer than any
/// geolocation, and an integer makes places comparable.
const UNITS_PER_DEGREE: f64 = 10_000.0;

/// A rounded place; two networks with equal places are one network to the compact file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    /// ISO 3166-1 alpha-2 code, two upper-case ASCII letters.
    country: Option<[u8; 2]>,
    /// Latitude and longitude in 1/10 000 degree, north and east positive.
    position: Option<(i32, i32)>,
    /// From the record, else derived from the country.
    continent: Option<Continent>,
}

impl Place {
    /// The place of a record with its coordinates rounded to multiples of `degrees`; `None` if
    /// the record says nothing that the compact file keeps.
    pub(super) fn new(record: &Record<'_>, degrees: f64) -> Option<Self> {
        let code = record.country().filter(|code| code.bytes().all(|byte| byte.is_ascii_uppercase()));
        let continent =
            record.continent().and_then(Continent::from_code).or_else(|| code.and_then(Continent::of_country));
        let place = Self {
            country: code.and_then(|code| code.as_bytes().try_into().ok()),
            position: record.coordinates().map(|exact| round(exact, degrees)),
            continent,
        };
        let says_something = place.country.is_some() || place.position.is_some() || place.continent.is_some();
        says_something.then_some(place)
    }

    /// The rounded coordinates.
    pub(super) fn coordinates(&self) -> Option<Coordinates> {
        self.position.map(|(latitude, longitude)| Coordinates {
            latitude: f64::from(latitude) / UNITS_PER_DEGREE,
            longitude: f64::from(longitude) / UNITS_PER_DEGREE,
        })
    }

    /// The country's ISO 3166-1 alpha-2 code.
    pub(super) fn country(&self) -> Option<[u8; 2]> {
        self.country
    }

    /// The continent.
    pub(super) fn continent(&self) -> Option<Continent> {
        self.continent
    }
}

/// Rounds to the nearest multiple of `degrees`, into 1/10 000 degree.
///
/// Latitudes stay within the poles. Longitude 180 becomes -180, the same meridian, so that the
/// two sides of the antimeridian are one place and not two.
fn round(exact: Coordinates, degrees: f64) -> (i32, i32) {
    let nearest = |value: f64| ((value / degrees).round() * degrees * UNITS_PER_DEGREE).round();
    let (pole, antimeridian) = (90.0 * UNITS_PER_DEGREE, 180.0 * UNITS_PER_DEGREE);
    let latitude = nearest(exact.latitude).clamp(-pole, pole);
    let longitude = nearest(exact.longitude);
    let longitude = if longitude.abs() >= antimeridian { -antimeridian } else { longitude };
    // Both are whole numbers within ±1 800 000, so the conversion is exact.
    (latitude as i32, longitude as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(latitude: f64, longitude: f64) -> String {
        format!("{{\"country_code\": \"FJ\", \"latitude\": {latitude}, \"longitude\": {longitude}}}")
    }

    fn record(json: &str) -> Record<'_> {
        serde_json::from_str(json).unwrap()
    }

    fn rounded(latitude: f64, longitude: f64, degrees: f64) -> (f64, f64) {
        let place = Place::new(&record(&flat(latitude, longitude)), degrees).unwrap();
        let coordinates = place.coordinates().unwrap();
        (coordinates.latitude, coordinates.longitude)
    }

    #[test]
    fn coordinates_are_rounded_to_the_step() {
        assert_eq!(rounded(50.11, 8.68, 0.5), (50.0, 8.5));
        assert_eq!(rounded(-27.4767, -153.3, 0.5), (-27.5, -153.5));
        assert_eq!(rounded(-0.2, 0.2, 0.5), (0.0, 0.0));
        assert_eq!(rounded(50.11, 8.68, 0.1), (50.1, 8.7));
        assert_eq!(rounded(50.11, 8.68, 1.0), (50.0, 9.0));
    }

    #[test]
    fn the_antimeridian_is_one_meridian() {
        assert_eq!(rounded(-17.0, 179.9, 0.5), (-17.0, -180.0));
        assert_eq!(rounded(-17.0, -179.9, 0.5), (-17.0, -180.0));
        assert_eq!(rounded(-17.0, 180.0, 0.5), (-17.0, -180.0));
        // A step that does not divide 180 must not leave the globe.
        assert_eq!(rounded(90.0, 180.0, 7.0), (90.0, -180.0));
    }

    #[test]
    fn nothing_impossible_is_kept() {
        for (latitude, longitude) in [(91.0, 0.0), (0.0, 181.0)] {
            let place = Place::new(&record(&flat(latitude, longitude)), 0.5).unwrap();
            assert_eq!(place.coordinates(), None);
            assert_eq!(place.country(), Some(*b"FJ"));
            assert_eq!(place.continent(), Some(Continent::Oceania));
        }
        assert_eq!(Place::new(&record("{\"country_code\": \"\"}"), 0.5), None);
    }

    #[test]
    fn a_continent_in_the_record_wins() {
        let json = "{\"country\": {\"iso_code\": \"RU\"}, \"continent\": {\"code\": \"AS\"}}";
        let place = Place::new(&record(json), 0.5).unwrap();
        assert_eq!(place.continent(), Some(Continent::Asia));
        assert_eq!(place.country(), Some(*b"RU"));
    }
}
