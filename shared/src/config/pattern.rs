//! Patterns of rules and of query parameters.

/// A text in which `*` stands for any run of characters, also of none. All else stands for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// From its text.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether all of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        // The leftmost place for each part leaves the most room for the next.
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn table() {
        let rows = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "a/b", true),
            ("/a", "/a", true),
            ("/a", "/ab", false),
            ("/a", "/A", false),
            ("/a/*", "/a/", true),
            ("/a/*", "/a", false),
            ("*.css", "/a.css", true),
            ("*.css", "/a.css.map", false),
            ("/*/b/*", "/a/b/c", true),
            ("a*a", "a", false),
            ("ab*ba", "aba", false),
            ("a*b*b", "ab", false),
            ("**", "x", true),
            ("a?c", "abc", false),
            ("é*", "éa", true),
        ];
        for (pattern, text, wanted) in rows {
            assert_eq!(Pattern::new(pattern).matches(text), wanted, "{pattern:?} {text:?}");
        }
    }

    /// By trying every length of what `*` stands for.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|length| naive(rest, &text[length..])),
            Some((first, rest)) => text.split_first().is_some_and(|(c, text)| c == first && naive(rest, text)),
        }
    }

    proptest! {
        // Few letters, so that many match.
        #[test]
        fn as_a_naive_matcher(pattern in "[aé*]{0,8}", text in "[aé]{0,8}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(Pattern::new(&pattern).matches(&text), naive(&p, &t));
        }

        #[test]
        fn what_a_star_stands_for_does_not_matter(before in ".{0,9}", middle in ".{0,9}", after in ".{0,9}") {
            let pattern = Pattern::new(&format!("{}*{}", before.replace('*', "_"), after.replace('*', "_")));
            let text = format!("{}{middle}{}", before.replace('*', "_"), after.replace('*', "_"));
            prop_assert!(pattern.matches(&text));
        }
    }
}
