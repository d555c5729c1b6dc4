//! A record of an mmdb file, in both of the shapes there are: the City form of GeoIP2 and DB-IP with nested maps, and the
//! flat one with `latitude`, `longitude` and `country_code`.

use serde::Deserialize;

use super::Coordinates;

/// The fields that matter here; absent ones stay `None`.
#[derive(Debug, Default, Deserialize)]
pub struct Record<'a> {
    #[serde(default, borrow)]
    country: Option<Country<'a>>,
    #[serde(default, borrow)]
    continent: Option<Continent<'a>>,
    #[serde(default)]
    location: Option<Location>,
    #[serde(default)]
    country_code: Option<&'a str>,
    #[serde(default)]
    latitude: Option<Degrees>,
    #[serde(default)]
    longitude: Option<Degrees>,
}

#[derive(Debug, Deserialize)]
struct Country<'a> {
    iso_code: Option<&'a str>,
}

#[derive(Debug, Deserialize)]
struct Continent<'a> {
    code: Option<&'a str>,
}

#[derive(Debug, Deserialize)]
struct Location {
    latitude: Option<Degrees>,
    longitude: Option<Degrees>,
}

/// An angle as a double, as GeoIP2 has it, or as a float, as the flat files have it: asked for an `f64` outright, maxminddb
/// takes a double only, whereas untagged it takes what is there.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Degrees {
    Number(f64),
}

impl<'a> Record<'a> {
    /// `None` unless both are there and possible.
    pub fn coordinates(&self) -> Option<Coordinates> {
        let nested = self.location.as_ref().and_then(|at| Some((at.latitude?, at.longitude?)));
        let (latitude, longitude) = nested.or_else(|| Some((self.latitude?, self.longitude?)))?;
        let (Degrees::Number(latitude), Degrees::Number(longitude)) = (latitude, longitude);
        Coordinates::new(latitude, longitude)
    }

    /// ISO 3166-1 alpha-2, as the file has it.
    pub fn country(&self) -> Option<&'a str> {
        self.country.as_ref().and_then(|country| country.iso_code).or(self.country_code)
    }

    /// Two letters, as the file has it.
    pub fn continent(&self) -> Option<&'a str> {
        self.continent.as_ref().and_then(|continent| continent.code)
    }
}
