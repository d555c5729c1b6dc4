//! A target's query as a site's rules have it: what is keyed, and, unless the site opts out, what the origin is asked for.
//!
//! A query is a run of parameters between `&`; a parameter's name is what stands before its first `=`. Parameters are
//! kept, dropped and moved whole and never rewritten in themselves, so that no rule can make one out of another.
//!
//! Names are compared as an origin reads them: percent-encoding and `+` decoded. `i%64=1` is `id` to a list that keeps
//! `id`, and in sorting `a` and `%61` keep their order, since origins take the first or the last of equal names. A pattern
//! may also name a parameter as it stands. What an origin reads differently still (names without regard to case, `;` between parameters) stays in the key as it came and
//! goes on as it is keyed.

use std::borrow::Cow;

use nearcast_shared::config::{Keying, Pattern};
use percent_encoding::percent_decode_str;

/// `target` after the site's rules for queries. Without such rules not a byte changes, nor without a query. Else
/// parameters that are empty say nothing and go; with none left the `?` goes, too.
pub fn canonical<'t>(keying: &Keying, target: Cow<'t, str>) -> Cow<'t, str> {
    if !has_rules(keying) || !target.contains('?') {
        return target;
    }
    by_rules(keying, &target).into()
}

fn by_rules(keying: &Keying, target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
    let mut kept: Vec<(Cow<'_, str>, &str)> =
        parameters.filter(|whole| is_kept(keying, whole)).map(|whole| (name(whole), whole)).collect();
    if keying.query_sort {
        // A stable sort: equal names keep their order.
        kept.sort_by(|(a, _), (b, _)| a.cmp(b));
    }
    let mut canonical = String::with_capacity(target.len());
    canonical.push_str(path);
    let mut separator = '?';
    for (_, whole) in kept {
        canonical.push(separator);
        canonical.push_str(whole);
        separator = '&';
    }
    canonical
}

fn has_rules(keying: &Keying) -> bool {
    keying.query_sort || keying.query_keep.is_some() || !keying.query_drop.is_empty()
}

/// The decoded name. Bytes that are no UTF-8 read as U+FFFD: such names match alike and sort alike, but stay apart in
/// the key.
fn name(parameter: &str) -> Cow<'_, str> {
    let encoded = encoded_name(parameter);
    if !encoded.contains(['%', '+']) {
        return Cow::Borrowed(encoded);
    }
    let spaced = encoded.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

fn encoded_name(parameter: &str) -> &str {
    parameter.split_once('=').map_or(parameter, |(name, _)| name)
}

fn is_kept(keying: &Keying, parameter: &str) -> bool {
    let (encoded, name) = (encoded_name(parameter), name(parameter));
    let matches = |pattern: &Pattern| pattern.matches(&name) || pattern.matches(encoded);
    let any = |patterns: &[Pattern]| patterns.iter().any(matches);
    keying.query_keep.as_deref().is_none_or(any) && !any(&keying.query_drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| Pattern::new(text)).collect()
    }

    fn sorting() -> Keying {
        Keying { query_sort: true, ..Keying::default() }
    }

    fn keeping(texts: &[&str]) -> Keying {
        Keying { query_keep: Some(patterns(texts)), ..Keying::default() }
    }

    fn dropping(texts: &[&str]) -> Keying {
        Keying { query_drop: patterns(texts), ..Keying::default() }
    }

    #[test]
    fn table() {
        let both = Keying { query_drop: patterns(&["a_secret"]), ..keeping(&["a*"]) };
        let all = Keying { query_sort: true, ..both.clone() };
        let rows: [(&str, Keying, &str, &str); 29] = [
            ("no rules", Keying::default(), "/a?b=2&&a=1&", "/a?b=2&&a=1&"),
            ("no rules, an empty query", Keying::default(), "/a?", "/a?"),
            ("no query", all.clone(), "/a", "/a"),
            ("an empty query", dropping(&["x"]), "/a?", "/a"),
            ("dropped by pattern", dropping(&["utm_*"]), "/a?utm_source=x&b=1&utm_medium=y", "/a?b=1"),
            ("dropped by one of several", dropping(&["utm_*", "fbclid"]), "/a?fbclid=1&utm_id=2&c", "/a?c"),
            ("all dropped", dropping(&["*"]), "/a?b=1&c=2", "/a"),
            ("a name only in part", dropping(&["id"]), "/a?idx=1&xid=2", "/a?idx=1&xid=2"),
            ("a value is no name", dropping(&["utm_*"]), "/a?next=utm_x", "/a?next=utm_x"),
            ("case matters", dropping(&["utm_*"]), "/a?UTM_ID=1", "/a?UTM_ID=1"),
            ("dropped in other words", dropping(&["utm_*"]), "/a?utm%5Fid=1&%75tm_id=2", "/a"),
            ("kept", keeping(&["id"]), "/a?x=1&id=2&y", "/a?id=2"),
            ("kept in other words, as it stands", keeping(&["id"]), "/a?x=1&i%64=2", "/a?i%64=2"),
            ("kept with a space", keeping(&["a b"]), "/a?a+b=1&a%20b=2&a_b=3", "/a?a+b=1&a%20b=2"),
            ("named as it stands", dropping(&["a%20b"]), "/a?a%20b=1&a+b=2", "/a?a+b=2"),
            ("none kept", keeping(&[]), "/a?x=1", "/a"),
            ("kept but dropped", both, "/a?a=1&a_secret=2&b=3", "/a?a=1"),
            ("sorted by name", sorting(), "/a?c=1&a=2&b=3", "/a?a=2&b=3&c=1"),
            ("names alone", sorting(), "/a?c&b=1&a", "/a?a&b=1&c"),
            ("equal names keep their order", sorting(), "/a?b=2&a=9&b=1&a=8", "/a?a=9&a=8&b=2&b=1"),
            ("so do names equal once decoded", sorting(), "/a?a=2&%61=1&a=0", "/a?a=2&%61=1&a=0"),
            ("a bad escape stands for itself", sorting(), "/a?%zz=1&%=2&%4=3", "/a?%=2&%4=3&%zz=1"),
            ("no UTF-8", sorting(), "/a?%ff=1&%fe=2", "/a?%ff=1&%fe=2"),
            ("values are not compared", sorting(), "/a?x=2&x=1", "/a?x=2&x=1"),
            ("empty parameters", sorting(), "/a?&&b&&a&", "/a?a&b"),
            ("empty names", sorting(), "/a?b&=2&=1", "/a?=2&=1&b"),
            ("a further ? is part of a value", sorting(), "/a?b=?c&a=/?", "/a?a=/?&b=?c"),
            ("semicolons part nothing", dropping(&["x"]), "/a?b=1;x=2", "/a?b=1;x=2"),
            ("all of it", all, "/?b&a2=1&a_secret&a1", "/?a1&a2=1"),
        ];
        for (name, keying, target, wanted) in rows {
            assert_eq!(canonical(&keying, target.into()), wanted, "{name}");
        }
    }

    fn keyings() -> impl Strategy<Value = Keying> {
        let list = proptest::collection::vec(prop_oneof![Just("a*"), Just("b"), Just("*c"), Just("")], 0..3);
        (any::<bool>(), proptest::option::of(list.clone()), list).prop_map(|(query_sort, keep, drop)| Keying {
            query_sort,
            query_keep: keep.map(|keep| patterns(&keep)),
            query_drop: patterns(&drop),
            ..Keying::default()
        })
    }

    const TARGETS: &str = "/[ab]{0,2}(\\?[abc&=%146+]{0,16})?";

    proptest! {
        #[test]
        fn once_is_enough(keying in keyings(), target in TARGETS) {
            let once = canonical(&keying, target.into());
            prop_assert_eq!(canonical(&keying, once.clone()), once);
        }

        /// Nothing is made up, and of one decoded name the order stays.
        #[test]
        fn what_is_left_came_in_that_order(keying in keyings(), target in TARGETS) {
            let after = canonical(&keying, target.as_str().into());
            let of = |target: &str, wanted: &str| -> Vec<String> {
                let query = target.split_once('?').map_or("", |(_, query)| query);
                let parameters = query.split('&').filter(|parameter| !parameter.is_empty() && name(parameter) == wanted);
                parameters.map(str::to_owned).collect()
            };
            let query = target.split_once('?').map_or("", |(_, query)| query);
            for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
                let came: Vec<String> =
                    of(&target, &name(parameter)).into_iter().filter(|p| !has_rules(&keying) || is_kept(&keying, p)).collect();
                prop_assert_eq!(of(&after, &name(parameter)), came);
            }
            let count = |target: &str| {
                let query = target.split_once('?').map_or("", |(_, query)| query);
                query.split('&').filter(|parameter| !parameter.is_empty()).count()
            };
            prop_assert!(count(&after) <= count(&target));
        }
    }
}
