//! The operator's rules for a site's answers. For each setting the first rule that matches and names it decides.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use nearcast_shared::config::Rule;
use percent_encoding::percent_decode_str;

use super::control::Control;

/// The rules that decide about one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ruling<'r> {
    /// It is not stored.
    pub bypass: Option<&'r Rule>,
    /// Its lifetime here.
    pub ttl: Option<&'r Rule>,
    /// Its lifetime for clients.
    pub browser_ttl: Option<&'r Rule>,
}

impl<'r> Ruling<'r> {
    /// Judges an answer. `path` is without the query.
    pub fn of(rules: &'r [Rule], path: &str, status: StatusCode, response: &HeaderMap) -> Self {
        if rules.is_empty() {
            return Self::default();
        }
        let (kind, read) = (content_type(response), as_origins_read(path));
        let matching = || rules.iter().filter(|rule| matches(rule, status, &kind));
        let either = |rule: &&Rule| path_matches(rule, path) || path_matches(rule, &read);
        let both = |rule: &&Rule| path_matches(rule, path) && path_matches(rule, &read);
        Self {
            bypass: matching().filter(either).find(|rule| rule.bypass),
            ttl: matching().filter(both).find(|rule| rule.ttl.is_some() && covers(rule, status)),
            browser_ttl: matching().filter(both).find(|rule| rule.browser_ttl.is_some() && covers(rule, status)),
        }
    }

    /// The lifetime that counts whatever the answer says.
    pub fn forced(&self) -> Option<(Duration, &'r Rule)> {
        self.ttl.filter(|rule| rule.force).and_then(|rule| Some((rule.ttl?, rule)))
    }

    /// What governs the answer once the rules had their say: a forced lifetime takes away what speaks against storing and
    /// reusing it, but for `private`.
    pub fn overrule(&self, mut control: Control) -> Control {
        if self.forced().is_some() {
            let said = &mut control.directives;
            (said.no_store, said.no_cache, said.must_understand) = (false, false, false);
            said.no_cache_fields.clear();
        }
        control
    }
}

/// The rule that keeps a request away from the cache before anything is known of the answer.
pub fn bypass_unseen<'r>(rules: &'r [Rule], path: &str) -> Option<&'r Rule> {
    let by_path = |rule: &&Rule| rule.bypass && rule.statuses.is_empty() && rule.content_types.is_empty();
    let mut rules = rules.iter().filter(by_path).peekable();
    rules.peek()?;
    let read = as_origins_read(path);
    rules.find(|rule| path_matches(rule, path) || path_matches(rule, &read))
}

/// The rules that have a say about requests for a path, or, where there is an answer, about that.
pub fn applying<'r>(rules: &'r [Rule], path: &str, answer: Option<(StatusCode, &HeaderMap)>) -> Vec<&'r Rule> {
    let read = as_origins_read(path);
    let by_path = |rule: &&Rule| {
        let (plain, otherwise) = (path_matches(rule, path), path_matches(rule, &read));
        if rule.bypass { plain || otherwise } else { plain && otherwise }
    };
    let by_answer = |rule: &&Rule| {
        answer.is_none_or(|(status, headers)| {
            matches(rule, status, &content_type(headers)) && (rule.bypass || covers(rule, status))
        })
    };
    rules.iter().filter(by_path).filter(by_answer).collect()
}

/// A path as an origin may read it: percent-encoding decoded, slashes in a row as one, `.` and `..` followed. A rule that
/// keeps something from the cache holds for both readings in doubt, one that puts something there only for both: else
/// `/assets/..%2faccount` would be an asset.
pub(crate) fn as_origins_read(path: &str) -> String {
    let decoded = percent_decode_str(path).decode_utf8_lossy().replace('\\', "/");
    let mut kept: Vec<&str> = Vec::new();
    for segment in decoded.split('/').filter(|segment| !segment.is_empty() && *segment != ".") {
        match segment {
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let end = if decoded.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}", kept.join("/"))
}

/// Whether an origin may read a path as another one.
pub(crate) fn may_be_read_otherwise(path: &str) -> bool {
    path.contains(['%', '\\']) || path.contains("//") || path.contains("/.")
}

fn matches(rule: &Rule, status: StatusCode, content_type: &str) -> bool {
    (rule.statuses.is_empty() || rule.statuses.iter().any(|wanted| wanted.matches(status.as_u16())))
        && (rule.content_types.is_empty() || rule.content_types.iter().any(|wanted| wanted.matches(content_type)))
}

fn path_matches(rule: &Rule, path: &str) -> bool {
    rule.paths.is_empty() || rule.paths.iter().any(|wanted| wanted.matches(path))
}

/// A lifetime without statuses is meant for what was asked for, not for errors.
fn covers(rule: &Rule, status: StatusCode) -> bool {
    !rule.statuses.is_empty() || status.is_success() || status.is_redirection()
}

/// Without parameters, in lower case.
fn content_type(response: &HeaderMap) -> String {
    let text = response.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use nearcast_shared::config::{Pattern, StatusMatch};

    fn rule(name: &str, path: &str) -> Rule {
        Rule { name: name.to_owned(), paths: vec![Pattern::new(path)], ..Rule::default() }
    }

    #[test]
    fn the_first_that_names_a_setting_decides() {
        let minute = Some(Duration::from_secs(60));
        let rules = [
            Rule { content_types: vec![Pattern::new("image/*")], browser_ttl: minute, ..rule("images", "/*") },
            Rule { statuses: vec![StatusMatch::Class(5)], ttl: minute, ..rule("errors", "/*") },
            Rule { ttl: minute, force: true, ..rule("assets", "/assets/*") },
            Rule { ttl: minute, ..rule("rest", "/*") },
            Rule { bypass: true, ..rule("private", "/me*") },
        ];
        let names = |path: &str, status: u16, kind: &'static str| {
            let headers = [(CONTENT_TYPE, HeaderValue::from_static(kind))].into_iter().collect();
            let found = Ruling::of(&rules, path, StatusCode::from_u16(status).unwrap(), &headers);
            [found.bypass, found.ttl, found.browser_ttl].map(|rule| rule.map(|rule| rule.name.clone()))
        };
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(names("/assets/a.png", 200, "Image/PNG; x=y"), [None, some("assets"), some("images")]);
        assert_eq!(names("/a", 200, "text/html"), [None, some("rest"), None]);
        assert_eq!(names("/a", 503, "text/html"), [None, some("errors"), None]);
        assert_eq!(names("/a", 404, "text/html"), [None, None, None], "a lifetime without statuses is not for errors");
        assert_eq!(names("/me/x", 200, ""), [some("private"), some("rest"), None]);
        assert_eq!(names("//%6de/x", 200, "")[0], some("private"), "as an origin may read it");
        assert_eq!(names("/assets/..%2fme", 200, ""), [some("private"), some("rest"), None]);
        assert_eq!(names("/assets/../a", 200, "")[1], some("rest"), "no asset for whoever follows the dots");
        assert_eq!(names("/a.png", 404, "image/png"), [None, None, None]);
        let applying = |path: &str, answer: Option<(u16, &'static str)>| {
            let headers: HeaderMap =
                answer.iter().map(|(_, kind)| (CONTENT_TYPE, HeaderValue::from_static(kind))).collect();
            let answer = answer.map(|(status, _)| (StatusCode::from_u16(status).unwrap(), &headers));
            super::applying(&rules, path, answer).into_iter().map(|rule| rule.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(applying("/assets/a", None), ["images", "errors", "assets", "rest"]);
        assert_eq!(applying("/assets/a", Some((200, "image/png"))), ["images", "assets", "rest"]);
        assert_eq!(applying("/assets/a", Some((503, "text/html"))), ["errors"]);
        assert_eq!(applying("/assets/..%2fme", Some((200, ""))), ["rest", "private"]);
        assert_eq!(bypass_unseen(&rules, "/me").map(|rule| rule.name.as_str()), Some("private"));
        assert_eq!(bypass_unseen(&rules, "/you"), None);
    }
}
