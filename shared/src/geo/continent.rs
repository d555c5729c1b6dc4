//! Which continent a country is on.
//!
//! The flat City files name a country but no continent, and rules such as "all of Europe to
//! these PoPs" need one. The table covers every officially assigned ISO 3166-1 alpha-2 code
//! and `XK` (Kosovo, user-assigned, but common in geolocation files). The assignment is that
//! of GeoNames (<https://download.geonames.org/export/dump/countryInfo.txt>), the source that
//! the GeoIP2 files follow too, so that a compact file answers like the full one.

/// A continent by its two-letter GeoIP2 code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Continent {
    /// Africa, `AF`.
    Africa,
    /// Antarctica, `AN`.
    Antarctica,
    /// Asia, `AS`.
    Asia,
    /// Europe, `EU`.
    Europe,
    /// North America with Central America and the Caribbean, `NA`.
    NorthAmerica,
    /// Oceania, `OC`.
    Oceania,
    /// South America, `SA`.
    SouthAmerica,
}

impl Continent {
    /// All seven, in the order of their codes.
    pub const ALL: [Self; 7] = [
        Self::Africa,
        Self::Antarctica,
        Self::Asia,
        Self::Europe,
        Self::NorthAmerica,
        Self::Oceania,
        Self::SouthAmerica,
    ];

    /// The two-letter code of GeoIP2's `continent.code`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Africa => "AF",
            Self::Antarctica => "AN",
            Self::Asia => "AS",
            Self::Europe => "EU",
            Self::NorthAmerica => "NA",
            Self::Oceania => "OC",
            Self::SouthAmerica => "SA",
        }
    }

    /// The continent of a GeoIP2 `continent.code`; `None` for anything else.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|continent| continent.code() == code)
    }

    /// The continent of a country's upper-case ISO 3166-1 alpha-2 code; `None` for a code that
    /// is not assigned.
    pub fn of_country(code: &str) -> Option<Self> {
        if code.len() != 2 {
            return None;
        }
        Self::ALL.into_iter().find(|continent| continent.countries().split(' ').any(|known| known == code))
    }

    /// The country codes of the continent, separated by single spaces.
    fn countries(self) -> &'static str {
        match self {
            Self::Africa => {
                "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS \
                 LY MA MG ML MR MU MW MZ NA NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG \
                 YT ZA ZM ZW"
            }
            Self::Antarctica => "AQ BV GS HM TF",
            Self::Asia => {
                "AE AF AM AZ BD BH BN BT CC CN GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA \
                 LB LK MM MN MO MV MY NP OM PH PK PS QA SA SG SY TH TJ TM TR TW UZ VN YE"
            }
            Self::Europe => {
                "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS \
                 IT JE LI LT LU LV MC MD ME MK MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK"
            }
            Self::NorthAmerica => {
                "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ \
                 MS MX NI PA PM PR SV SX TC TT US VC VG VI"
            }
            Self::Oceania => {
                "AS AU CK CX FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TL TO TV UM VU WF \
                 WS"
            }
            Self::SouthAmerica => "AR BO BR CL CO EC FK GF GY PE PY SR UY VE",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_assigned_code_is_on_exactly_one_continent() {
        let codes: Vec<&str> =
            Continent::ALL.into_iter().flat_map(|continent| continent.countries().split(' ')).collect();
        // ISO 3166-1 has 249 officially assigned codes; `XK` comes on top.
        assert_eq!(codes.len(), 250);
        assert_eq!(codes.iter().collect::<HashSet<_>>().len(), 250);
        assert!(codes.iter().all(|code| code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase())));
    }

    #[test]
    fn countries_are_found() {
        for (country, continent) in [
            ("DE", Continent::Europe),
            ("US", Continent::NorthAmerica),
            ("BR", Continent::SouthAmerica),
            ("ZA", Continent::Africa),
            // Namibia's code equals North America's: the two name spaces must not mix.
            ("NA", Continent::Africa),
            ("JP", Continent::Asia),
            ("AU", Continent::Oceania),
            ("AQ", Continent::Antarctica),
            ("XK", Continent::Europe),
        ] {
            assert_eq!(Continent::of_country(country), Some(continent), "{country}");
        }
        for unknown in ["", "ZZ", "de", "DEU", "D", " A"] {
            assert_eq!(Continent::of_country(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn codes_go_there_and_back() {
        for continent in Continent::ALL {
            assert_eq!(Continent::from_code(continent.code()), Some(continent));
        }
        assert_eq!(Continent::from_code("XX"), None);
    }
}
