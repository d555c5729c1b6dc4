//! Accept-Language (RFC 9110 section 12.5.4).

use super::weights;

/// Lower case, no white space, the preferred first, and by the text where nothing is preferred: that some recipients
/// take the order of equals for their preference "cannot be relied upon". `None` when the value is malformed or empty.
pub(super) fn canonical(value: &str) -> Option<String> {
    weights::read(value, is_range).filter(|list| !list.is_empty()).map(weights::write)
}

/// "language-range = (1*8ALPHA *("-" 1*8alphanum)) / "*"" (RFC 4647 section 2.1).
fn is_range(text: &str) -> bool {
    let subtag = |subtag: &str, is_char: fn(&u8) -> bool| {
        (1..=8).contains(&subtag.len()) && subtag.as_bytes().iter().all(is_char)
    };
    let mut subtags = text.split('-');
    let primary = subtags.next().unwrap_or_default();
    text == "*" || (subtag(primary, u8::is_ascii_alphabetic) && subtags.all(|s| subtag(s, u8::is_ascii_alphanumeric)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn table() {
        let rows = [
            ("as browsers send it", "de-DE,de;q=0.9,en;q=0.8", Some("de-de,de;q=0.9,en;q=0.8")),
            ("case and white space", " EN-us ,\tDe ; q=0.50", Some("en-us,de;q=0.5")),
            ("full weight", "en;q=1.0", Some("en")),
            ("the preferred first", "en;q=0.5, de;q=0.75, fr", Some("fr,de;q=0.75,en;q=0.5")),
            ("equals by their text", "fr, de", Some("de,fr")),
            ("excluded", "de, en;q=0.0, *", Some("*,de,en;q=0")),
            ("repeated", "de, DE", Some("de")),
            ("repeated with another weight", "de;q=0.1, de", None),
            ("nothing", "", None),
            ("nothing but commas", ", ,", None),
            ("a subtag too long", "de-123456789", None),
            ("an empty subtag", "de-", None),
            ("a digit in front", "1de", None),
            ("an underscore", "de_DE", None),
            ("a parameter", "de;x=1", None),
            ("no qvalue", "de;q=high", None),
        ];
        for (name, value, wanted) in rows {
            assert_eq!(canonical(value).as_deref(), wanted, "{name}");
        }
    }

    proptest! {
        /// The same ranges with the same weights, read anew.
        #[test]
        fn nothing_is_lost_or_added(list in proptest::collection::btree_map("[a-c]{1,2}(-[A-C0-2]{1,3})?|\\*", 0..=1000u16, 1..5), space in "[ \t]{0,2}") {
            let element = |(range, q): (&String, &u16)| format!("{range}{space};{space}q={}.{:03}{space}", q / 1000, q % 1000);
            let value = list.iter().map(element).collect::<Vec<_>>().join(",");
            let Some(after) = canonical(&value) else {
                let ranges: std::collections::HashSet<_> = list.keys().map(|range| range.to_lowercase()).collect();
                prop_assert!(ranges.len() < list.len(), "only what is twofold is left: {}", value);
                return Ok(());
            };
            let mut wanted: Vec<_> = list.iter().map(|(range, q)| (range.to_lowercase(), *q)).collect();
            let mut found: Vec<_> = after.split(',').map(|item| {
                let (range, q) = item.split_once(";q=").unwrap_or((item, "1"));
                (range.to_owned(), (q.parse::<f64>().unwrap() * 1000.0).round() as u16)
            }).collect();
            prop_assert!(found.is_sorted_by_key(|(_, q)| std::cmp::Reverse(*q)));
            wanted.sort();
            wanted.dedup();
            found.sort();
            prop_assert_eq!(found, wanted);
        }
    }
}
