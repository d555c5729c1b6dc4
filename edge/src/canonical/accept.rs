//! Accept (RFC 9110 section 12.5.1).

use super::weights::{Weight, is_tchar, is_token};

/// Types and names of parameters in lower case, no white space, weights in one form. The order stays, since servers
/// break ties by it, and so do values of parameters. `None` when the value is malformed or empty.
pub(super) fn canonical(value: &str) -> Option<String> {
    let mut rest = Rest(value);
    let mut canonical = String::with_capacity(value.len());
    loop {
        rest.white_space();
        // Empty list elements are ignored (RFC 9110 section 5.6.1.2).
        if !rest.0.is_empty() && !rest.0.starts_with(',') {
            if !canonical.is_empty() {
                canonical.push(',');
            }
            media_range(&mut rest, &mut canonical)?;
        }
        if rest.0.is_empty() {
            return Some(canonical).filter(|canonical| !canonical.is_empty());
        }
        rest.take(",")?;
    }
}

/// ```text
/// media-range [ weight ] and what RFC 7231 allowed behind the weight
/// media-range = ( "*/*" / ( type "/" "*" ) / ( type "/" subtype ) ) *( OWS ";" OWS [ parameter ] )
/// ```
fn media_range(rest: &mut Rest<'_>, to: &mut String) -> Option<()> {
    let (main, ()) = (rest.token()?, rest.take("/")?);
    let sub = rest.token()?;
    if main == "*" && sub != "*" {
        return None;
    }
    to.push_str(&format!("{main}/{sub}").to_ascii_lowercase());
    let (mut parameters, mut weighted) = (Vec::new(), false);
    loop {
        rest.white_space();
        if rest.take(";").is_none() {
            break;
        }
        rest.white_space();
        if rest.0.is_empty() || rest.0.starts_with([';', ',']) {
            continue;
        }
        let name = rest.token()?.to_ascii_lowercase();
        rest.take("=")?;
        let value = rest.value()?;
        if name == "q" && weighted {
            return None;
        }
        weighted |= name == "q";
        parameters.push(if name == "q" { format!("q={}", Weight::parse(value)?) } else { format!("{name}={value}") });
    }
    // With more behind it, it ends what belongs to the media range.
    if weighted && parameters.last().is_some_and(|last| last == "q=1") {
        parameters.pop();
    }
    for parameter in parameters {
        to.push(';');
        to.push_str(&parameter);
    }
    Some(())
}

/// What is still to be read.
struct Rest<'v>(&'v str);

impl<'v> Rest<'v> {
    fn white_space(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    fn take(&mut self, text: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    fn token(&mut self) -> Option<&'v str> {
        let end = self.0.bytes().position(|byte| !is_tchar(byte)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        is_token(token).then_some(token)
    }

    /// A token or a quoted string, as it stands.
    fn value(&mut self) -> Option<&'v str> {
        if !self.0.starts_with('"') {
            return self.token();
        }
        let mut escaped = false;
        let end = self.0.bytes().skip(1).position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        let (value, rest) = self.0.split_at(end + 2);
        self.0 = rest;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn table() {
        let rows = [
            (
                "as browsers send it",
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
            ),
            ("case and white space", " Text/HTML ; Q=0.50 ,\t*/* ; q=0.1", Some("text/html;q=0.5,*/*;q=0.1")),
            ("the order stays", "b/b, a/a;q=0.1, c/c", Some("b/b,a/a;q=0.1,c/c")),
            ("full weight", "a/b;q=1.000", Some("a/b")),
            ("full weight with more behind it", "a/b;q=1.0;Ext=X", Some("a/b;q=1;ext=X")),
            ("values stay as they are", "A/B; Charset=UTF-8;x=\"Y, Z;q=1\"", Some("a/b;charset=UTF-8;x=\"Y, Z;q=1\"")),
            ("escapes within quotes", r#"a/b;x="\"," , c/d"#, Some(r#"a/b;x="\",",c/d"#)),
            ("a backslash before the end", r#"a/b;x="\\", c/d"#, Some(r#"a/b;x="\\",c/d"#)),
            ("empty parameters", "a/b;;q=0.5;", Some("a/b;q=0.5")),
            ("empty elements", ",a/b,, c/d ,", Some("a/b,c/d")),
            ("repeated elements stay", "a/b, a/b", Some("a/b,a/b")),
            ("nothing", "", None),
            ("nothing but commas", " ,,", None),
            ("old Java", "text/html, image/gif, *; q=.2, */*; q=.2", None),
            ("every type of a subtype", "*/html", None),
            ("no subtype", "text/", None),
            ("white space before the slash", "text /html", None),
            ("white space around =", "a/b;x = 1", None),
            ("a parameter without a value", "a/b;x", None),
            ("two weights", "a/b;q=1;q=1", None),
            ("a weight in quotes", "a/b;q=\"1\"", None),
            ("no end of quotes", "a/b;x=\"1, c/d", None),
            ("something behind quotes", "a/b;x=\"1\"2", None),
            ("two in one", "a/b c/d", None),
        ];
        for (name, value, wanted) in rows {
            assert_eq!(canonical(value).as_deref(), wanted, "{name}");
        }
    }

    proptest! {
        /// The same ranges, parameters and weights in the same order, read anew.
        #[test]
        fn nothing_is_lost_or_added(
            list in proptest::collection::vec(("[aA*]", "[b-cB*]{1,2}", proptest::option::of("[xY]=[yZ]"), 0..=10u16), 1..5),
            space in "[ \t]{0,2}",
        ) {
            let range = |main: &str, sub: &str| if main == "*" { "*/*".to_owned() } else { format!("{main}/{sub}") };
            let value = list.iter().map(|(main, sub, parameter, tenths)| {
                let parameter = parameter.as_ref().map(|text| format!("{space};{space}{text}")).unwrap_or_default();
                let q = format!("{}.{}", tenths / 10, tenths % 10);
                format!("{space}{}{parameter}{space};{space}q={q}{space}", range(main, sub))
            });
            let wanted: Vec<_> = list.iter().map(|(main, sub, parameter, tenths)| {
                let parameter = parameter.as_ref().map(|text| format!("{}{}", text[..1].to_lowercase(), &text[1..]));
                (range(main, sub).to_lowercase(), parameter, *tenths)
            }).collect();
            let after = canonical(&value.collect::<Vec<_>>().join(",")).unwrap();
            let found: Vec<_> = after.split(',').map(|item| {
                let (item, q) = item.split_once(";q=").unwrap_or((item, "1"));
                let (range, parameter) = item.split_once(';').map_or((item, None), |(range, p)| (range, Some(p.to_owned())));
                (range.to_owned(), parameter, (q.parse::<f64>().unwrap() * 10.0).round() as u16)
            }).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
