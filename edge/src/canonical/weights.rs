//! Lists whose elements have weights (RFC 9110 section 12.4.2).

use std::fmt;

/// A weight in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Weight(pub(super) u16);

impl Weight {
    /// What an element without a weight has.
    pub(super) const FULL: Self = Self(1000);

    /// "qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )"
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let thousandths: u16 = format!("{decimals:0<3}").parse().ok()?;
        match (whole, thousandths) {
            ("0", thousandths) => Some(Self(thousandths)),
            ("1", 0) => Some(Self::FULL),
            _ => None,
        }
    }
}

impl fmt::Display for Weight {
    /// The shortest form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            1000.. => f.write_str("1"),
            thousandths => f.write_str(format!("0.{thousandths:03}").trim_end_matches('0')),
        }
    }
}

/// An element that was read, in lower case, and its weight.
pub(super) type Weighted = (String, Weight);

/// Reads `#( element [ OWS ";" OWS "q=" qvalue ] )`, without repetitions. `None` when that is not what it is, or when an
/// element comes with two weights: servers take the first, the last or the highest. Nor of more elements than anyone has.
pub(super) fn read(value: &str, is_element: impl Fn(&str) -> bool) -> Option<Vec<Weighted>> {
    /// Browsers send a handful.
    const ELEMENTS_MAX: usize = 64;
    let mut list: Vec<Weighted> = Vec::new();
    for (position, item) in elements(value).enumerate() {
        if position == ELEMENTS_MAX {
            return None;
        }
        let (element, weight) = match item.split_once(';') {
            None => (item, Weight::FULL),
            Some((element, parameter)) => {
                let (q, weight) = trimmed(parameter).split_once('=')?;
                (trimmed(element), q.eq_ignore_ascii_case("q").then(|| Weight::parse(weight)).flatten()?)
            }
        };
        if !is_element(element) {
            return None;
        }
        let element = element.to_ascii_lowercase();
        match list.iter().find(|(known, _)| *known == element) {
            None => list.push((element, weight)),
            Some((_, known)) if *known == weight => {}
            Some(_) => return None,
        }
    }
    Some(list)
}

/// Highest weight first, then by the text, so that one order stands for all that mean the same.
pub(super) fn write(mut list: Vec<Weighted>) -> String {
    list.sort_by(|(a, a_weight), (b, b_weight)| b_weight.cmp(a_weight).then_with(|| a.cmp(b)));
    let element = |(element, weight): Weighted| match weight {
        Weight::FULL => element,
        weight => format!("{element};q={weight}"),
    };
    list.into_iter().map(element).collect::<Vec<_>>().join(",")
}

/// The elements of a list without what is empty: "A recipient MUST parse and ignore a reasonable number of empty list
/// elements" (RFC 9110 section 5.6.1.2).
fn elements(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(trimmed).filter(|item| !item.is_empty())
}

/// Without optional white space around.
pub(super) fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// "tchar" of RFC 9110 section 5.6.2.
pub(super) fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// "token" of RFC 9110 section 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_tchar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights() {
        let rows = [
            ("0", Some(("0", 0))),
            ("0.", Some(("0", 0))),
            ("0.000", Some(("0", 0))),
            ("0.5", Some(("0.5", 500))),
            ("0.500", Some(("0.5", 500))),
            ("0.05", Some(("0.05", 50))),
            ("0.001", Some(("0.001", 1))),
            ("1", Some(("1", 1000))),
            ("1.", Some(("1", 1000))),
            ("1.000", Some(("1", 1000))),
            ("1.001", None),
            ("0.0005", None),
            ("2", None),
            ("00", None),
            ("01", None),
            (".5", None),
            ("0.+5", None),
            ("-0", None),
            ("", None),
            ("0.5 ", None),
            ("0.5.5", None),
        ];
        for (text, wanted) in rows {
            let found = Weight::parse(text).map(|weight| (weight.to_string(), weight.0));
            assert_eq!(found, wanted.map(|(shown, weight)| (shown.to_owned(), weight)), "{text}");
        }
    }
}
