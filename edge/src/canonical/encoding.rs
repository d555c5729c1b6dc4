//! Accept-Encoding (RFC 9110 section 12.5.3).

use super::weights::{self, Weight, Weighted};

/// One form for all values that say the same of every coding: which are acceptable, and which of them is preferred.
/// Lower case, no white space, the preferred first. Weights only rank: `br;q=0.8, gzip` is `gzip, br;q=0.1`. `None` when
/// the value is malformed.
pub(super) fn canonical(value: &str) -> Option<String> {
    let mut codings = weights::read(value, weights::is_token)?;
    // "If the representation's content coding is [not] listed" it is not acceptable: `x;q=0` says something only of what
    // a wildcard would take in, and of `identity`, which is acceptable unless it is excluded.
    let wildcard = codings.iter().any(|(coding, _)| coding == "*");
    codings.retain(|(coding, weight)| wildcard || weight.0 > 0 || coding == "identity");
    rank(&mut codings);
    // "An Accept-Encoding header field with a field value that is empty implies that the user agent does not want any
    // content coding in response", which some origins take for no field at all.
    Some(if codings.is_empty() { "identity".to_owned() } else { weights::write(codings) })
}

/// Gives the highest weight 1 and the others the same steps below it, whatever they were.
fn rank(codings: &mut [Weighted]) {
    let mut ranks: Vec<Weight> = codings.iter().map(|(_, weight)| *weight).filter(|weight| weight.0 > 0).collect();
    ranks.sort_by(|a, b| b.cmp(a));
    ranks.dedup();
    // There are at most 1000 weights above 0.
    let step = match ranks.len() {
        0..=10 => 100,
        11..=100 => 10,
        _ => 1,
    };
    for (_, weight) in codings {
        if let Some(rank) = ranks.iter().position(|other| other == weight) {
            *weight = Weight(Weight::FULL.0 - step * u16::try_from(rank).unwrap_or(u16::MAX / step));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn table() {
        let rows = [
            ("order of equals", "gzip, deflate, br", Some("br,deflate,gzip")),
            ("case, space and full weight", "br,GZIP ,deflate ; Q=1.0", Some("br,deflate,gzip")),
            ("ranks", "br;q=0.8, gzip", Some("gzip,br;q=0.9")),
            ("other weights, same ranks", "gzip, br;q=0.1", Some("gzip,br;q=0.9")),
            ("a lone weight ranks nothing", "gzip;q=0.1", Some("gzip")),
            ("three ranks", "a;q=0.001, b;q=0.5, c;q=0.50, d", Some("d,b;q=0.9,c;q=0.9,a;q=0.8")),
            ("what is not acceptable anyway", "gzip, br;q=0", Some("gzip")),
            ("identity excluded", "gzip, identity;q=0", Some("gzip,identity;q=0")),
            ("all others excluded", "gzip, *;q=0", Some("gzip,*;q=0")),
            ("excluded from a wildcard", "*, br;q=0.000", Some("*,br;q=0")),
            ("nothing but identity, in words", "identity", Some("identity")),
            ("nothing but identity, in other words", "gzip;q=0", Some("identity")),
            ("nothing but identity, in none", "", Some("identity")),
            ("nothing at all", "*;q=0", Some("*;q=0")),
            ("empty elements", ", gzip,, br ,", Some("br,gzip")),
            ("repeated", "gzip, GZIP", Some("gzip")),
            ("repeated with another weight", "gzip, gzip;q=0", None),
            ("weights that are none", "gzip;q=2", None),
            ("too many digits", "gzip;q=0.1234", None),
            ("white space where there must be none", "gzip;q = 1", None),
            ("another parameter", "gzip;level=9", None),
            ("two parameters", "gzip;q=1;q=1", None),
            ("no token", "gzip br", None),
            ("a parameter alone", ";q=1", None),
        ];
        for (name, value, wanted) in rows {
            assert_eq!(canonical(value).as_deref(), wanted, "{name}");
        }
    }

    #[test]
    fn ranks_are_never_short() {
        let value = |least: u16| (least..=1000).map(|q| format!("c{q};q={}", Weight(q))).collect::<Vec<_>>().join(",");
        for least in [990, 991, 992, 937] {
            let once = canonical(&value(least)).unwrap();
            assert!(once.starts_with("c1000,c999;q=0.9"), "{least}");
            assert_eq!(once.split(',').count(), usize::from(1001 - least));
            let weights: std::collections::HashSet<_> =
                once.split(',').map(|item| item.split_once(';').map(|(_, q)| q)).collect();
            assert_eq!((weights.len(), weights.contains(&Some("q=0"))), (usize::from(1001 - least), false));
            assert_eq!(canonical(&once), Some(once));
        }
    }

    /// RFC 9110 section 12.5.3 read anew, from a list known to be valid: the weight of a coding, `None` if it is not
    /// acceptable. Of an identity that is not listed nothing is known but that it is acceptable.
    fn weight(value: &str, coding: &str) -> Option<f64> {
        let mut listed = std::collections::HashMap::new();
        for item in value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let mut parts = item.split(';');
            let name = parts.next().unwrap().trim().to_lowercase();
            let q = parts.next().map_or(1.0, |q| q.trim()[2..].parse().unwrap());
            listed.insert(name, q);
        }
        let found = listed.get(coding).or_else(|| listed.get("*")).copied();
        found.or((coding == "identity").then_some(0.0001)).filter(|q| *q > 0.0)
    }

    fn lists() -> impl Strategy<Value = String> {
        let coding =
            prop_oneof![Just("gzip"), Just("GZip"), Just("br"), Just("identity"), Just("*"), Just("x-y"), Just("")];
        let weight =
            prop_oneof![Just(""), Just(";q=0"), Just(";q=1"), Just(" ; Q=0.5"), Just(";q=0.500"), Just(";\tq=0.2")];
        let item = (coding, weight, "[ \t]{0,2}").prop_map(|(coding, weight, space)| match coding {
            "" => space,
            coding => format!("{space}{coding}{weight}{space}"),
        });
        proptest::collection::vec(item, 0..6).prop_map(|items| items.join(","))
    }

    proptest! {
        #[test]
        fn it_says_the_same_of_every_coding(value in lists()) {
            let Some(after) = canonical(&value) else { return Ok(()) };
            const ASKED: [&str; 5] = ["gzip", "br", "identity", "x-y", "other"];
            for one in ASKED {
                prop_assert_eq!(weight(&value, one).is_some(), weight(&after, one).is_some(), "{} in {}", one, after);
                for other in ASKED {
                    let order = |value| weight(value, one).partial_cmp(&weight(value, other));
                    prop_assert_eq!(order(&value), order(&after), "{} and {} in {}", one, other, after);
                }
            }
        }
    }
}
