//! `nearcast explain URL`: what the cache does with it, and why, for people.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::Value;

/// The explanation, as far as it is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Shown {
    site: String,
    key: String,
    sent: String,
    verdict: String,
    selected_by: Vec<String>,
    variants: usize,
    stored: Option<Stored>,
    not_stored: Option<String>,
}

/// A stored answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stored {
    status: u16,
    length: u64,
    complete: bool,
    age: u64,
    lifetime: u64,
    lifetime_by: String,
    governed_by: String,
    directives: Vec<String>,
    browser_ttl: Option<u64>,
    etag: Option<String>,
    last_modified: Option<String>,
    purged: bool,
    softly_purged: Option<u64>,
}

/// For people; `None` when it is another version's.
pub(super) fn show(value: &Value, source: &str) -> Option<String> {
    let it = Shown::deserialize(value).ok().filter(|it| !it.verdict.is_empty())?;
    let mut out = format!("{}, {source}:\n", it.key);
    let mut fact = |label: &str, text: &str| {
        // Writing to a String cannot fail.
        let _infallible = writeln!(out, "  {label:<9} {text}");
    };
    fact("verdict", &it.verdict);
    fact("site", &it.site);
    fact("origin", &format!("is asked for {}", it.sent));
    if !it.selected_by.is_empty() {
        fact("varies on", &format!("{} ({} stored)", it.selected_by.join(", "), it.variants));
    }
    if let Some(reason) = &it.not_stored {
        fact("lately", &format!("an answer was not stored: {reason}"));
    }
    let Some(stored) = &it.stored else {
        fact("stored", "nothing");
        return Some(out);
    };
    let part = if stored.complete { "" } else { ", of which only parts are here" };
    fact("stored", &format!("status {}, {} bytes{part}", stored.status, stored.length));
    fact("age", &format!("{} s of {} s", stored.age, stored.lifetime));
    fact("lifetime", &format!("by {}", stored.lifetime_by));
    let said = if stored.directives.is_empty() { "nothing".to_owned() } else { stored.directives.join(", ") };
    fact("governed", &format!("by {}: {said}", stored.governed_by));
    if let Some(ttl) = stored.browser_ttl {
        fact("browsers", &format!("may keep it for {ttl} s"));
    }
    for (label, validator) in [("etag", &stored.etag), ("modified", &stored.last_modified)] {
        validator.iter().for_each(|validator| fact(label, validator));
    }
    if stored.purged {
        fact("purged", "since it was fetched, so that it is not used");
    }
    if let Some(ago) = stored.softly_purged {
        fact("purged", &format!("softly {ago} s ago: it counts as stale"));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_whole_explanation() {
        let value = json!({
            "site": "www", "key": "https://www.test/a", "sent": "/a", "verdict": "served from the cache: fresh for 5 s more",
            "bypassed_by": null, "selected_by": ["accept-encoding"], "variants": 2, "not_stored": null,
            "stored": {
                "status": 200, "length": 11, "complete": true, "age": 55, "lifetime": 60, "lifetime_by": "rule `assets`",
                "governed_by": "cache-control", "directives": ["public"], "browser_ttl": 30, "etag": "\"a\"",
                "last_modified": null, "purged": false
            }
        });
        let wanted = "\
https://www.test/a, fra says:
  verdict   served from the cache: fresh for 5 s more
  site      www
  origin    is asked for /a
  varies on accept-encoding (2 stored)
  stored    status 200, 11 bytes
  age       55 s of 60 s
  lifetime  by rule `assets`
  governed  by cache-control: public
  browsers  may keep it for 30 s
  etag      \"a\"
";
        assert_eq!(show(&value, "fra says").as_deref(), Some(wanted));
        assert_eq!(show(&json!({ "answer": "b" }), "fra says"), None);
    }
}
