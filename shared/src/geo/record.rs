//! A record of an mmdb file, in both of the shapes there are: the City form of GeoIP2 and DB-IP with nested maps, and the
//! flat one with `latitude`, `longitude`, `country_code` and `state1`. Records of ASN files are apart.

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
    #[serde(default, borrow)]
    subdivisions: Option<Vec<Subdivision<'a>>>,
    #[serde(default)]
    country_code: Option<&'a str>,
    #[serde(default)]
    state1: Option<&'a str>,
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

#[derive(Debug, Deserialize)]
struct Subdivision<'a> {
    iso_code: Option<&'a str>,
    #[serde(default, borrow)]
    names: Option<Names<'a>>,
}

#[derive(Debug, Deserialize)]
struct Names<'a> {
    en: Option<&'a str>,
}

/// An angle as a double, as GeoIP2 has it, or as a float, as the flat files have it: asked for an `f64` outright, maxminddb
/// takes a double only, whereas untagged it takes what is there.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Degrees {
    Number(f64),
}

/// How much a record tells. Of several files the first with the most decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worth {
    /// Neither coordinates nor a country.
    Little,
    /// A country alone.
    Country,
    /// Coordinates.
    Coordinates,
}

/// Whether it is what follows the hyphen in a code of ISO 3166-2, such as `CA` or `13`, and no name.
pub fn is_subdivision_code(text: &str) -> bool {
    (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
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

    /// The largest subdivision of the country: its code as in ISO 3166-2 after the hyphen, else its English name. Some
    /// files (DB-IP's) have names alone.
    pub fn subdivision(&self) -> Option<&'a str> {
        let largest = self.subdivisions.as_ref().and_then(|all| all.first());
        let nested = largest.and_then(|one| one.iso_code.or_else(|| one.names.as_ref().and_then(|names| names.en)));
        nested.or(self.state1).filter(|text| !text.is_empty())
    }

    pub(super) fn worth(&self) -> Worth {
        match (self.coordinates(), code(self.country())) {
            (Some(_), _) => Worth::Coordinates,
            (None, Some(_)) => Worth::Country,
            (None, None) => Worth::Little,
        }
    }
}

/// A record of an ASN file, of GeoLite2's form.
#[derive(Debug, Default, Deserialize)]
pub(super) struct AsnRecord {
    #[serde(default)]
    autonomous_system_number: Option<Whole>,
}

/// A number of any width: untagged, since maxminddb takes no other than that asked for.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Whole {
    Number(u64),
}

impl AsnRecord {
    pub(super) fn number(&self) -> Option<u32> {
        let Whole::Number(number) = self.autonomous_system_number?;
        u32::try_from(number).ok()
    }
}

/// A code of two letters in upper case; `None` for what is none (some files have empty ones).
pub(super) fn code(text: Option<&str>) -> Option<String> {
    let text = text.filter(|text| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic()))?;
    Some(text.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subdivisions_of_all_shapes() {
        let rows = [
            ("a code", r#"{"subdivisions": [{"iso_code": "CA", "names": {"en": "California"}}]}"#, Some("CA")),
            ("the largest first", r#"{"subdivisions": [{"iso_code": "ENG"}, {"iso_code": "LND"}]}"#, Some("ENG")),
            ("a name alone", r#"{"subdivisions": [{"names": {"en": "California"}}]}"#, Some("California")),
            ("flat", r#"{"state1": "California", "state2": "Santa Clara"}"#, Some("California")),
            ("flat and empty", r#"{"state1": ""}"#, None),
            ("an empty list", r#"{"subdivisions": []}"#, None),
            ("none", "{}", None),
        ];
        for (name, json, wanted) in rows {
            let record: Record<'_> = serde_json::from_str(json).unwrap();
            assert_eq!(record.subdivision(), wanted, "{name}");
        }
    }

    #[test]
    fn codes_are_two_letters() {
        for (given, wanted) in [("de", Some("DE")), ("US", Some("US")), ("", None), ("-", None), ("D1", None)] {
            assert_eq!(code(Some(given)).as_deref(), wanted, "{given}");
        }
        assert_eq!(code(None), None);
    }
}
