//! What the `{..}` in a case's lines stand for.

use std::time::{Duration, UNIX_EPOCH};

/// A case under way: its place, and when it began (seconds since the epoch).
pub(super) struct Moment<'a> {
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) began: i64,
}

impl Moment<'_> {
    /// `line` with all that it leaves open filled in.
    pub(super) fn fill(&self, line: &str) -> String {
        let mut filled = String::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            match after.split_once('}').and_then(|(word, after)| Some((self.word(word)?, after))) {
                Some((text, after)) => {
                    filled.push_str(&text);
                    rest = after;
                }
                None => {
                    filled.push('{');
                    rest = after;
                }
            }
        }
        filled + rest
    }

    fn word(&self, word: &str) -> Option<String> {
        match word.split_once(' ') {
            None if word == "host" => Some(self.host.to_owned()),
            None if word == "path" => Some(self.path.to_owned()),
            None => Some(self.date(word.parse().ok()?)),
            Some(("rfc850", offset)) => Some(rfc850(&self.date(offset.parse().ok()?))),
            Some(("asctime", offset)) => Some(asctime(&self.date(offset.parse().ok()?))),
            Some(_) => None,
        }
    }

    fn date(&self, offset: i64) -> String {
        let seconds = u64::try_from(self.began + offset).unwrap();
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` as `Sunday, 06-Nov-94 08:49:37 GMT`.
fn rfc850(date: &str) -> String {
    let weekdays = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let weekday = weekdays.into_iter().find(|weekday| weekday.starts_with(&date[..3])).unwrap();
    format!("{weekday}, {}-{}-{} {}", &date[5..7], &date[8..11], &date[14..16], &date[17..])
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` as `Sun Nov  6 08:49:37 1994`.
fn asctime(date: &str) -> String {
    let day: u8 = date[5..7].parse().unwrap();
    format!("{} {} {day:2} {} {}", &date[..3], &date[8..11], &date[17..25], &date[12..16])
}

#[test]
fn the_three_forms_of_a_date() {
    // RFC 9110 section 5.6.7 has this example.
    let moment = Moment { host: "h", path: "/p", began: 784_111_777 - 60 };
    assert_eq!(moment.fill("a: {+60}"), "a: Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(moment.fill("a: {rfc850 +60}!"), "a: Sunday, 06-Nov-94 08:49:37 GMT!");
    assert_eq!(moment.fill("a: {asctime +60}"), "a: Sun Nov  6 08:49:37 1994");
    assert_eq!(moment.fill("{host}{path}{else}{"), "h/p{else}{");
}
