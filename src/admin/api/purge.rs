//! `POST /v1/purge`.
//!
//! ```text
//! {"url": ".."} | {"urls": [".."]} | {"prefix": "/a/", "site": ".."} | {"tag": ".."} | {"tags": [".."]} | {"site": ".."} | {"all": true}
//! ```
//!
//! Each may say `"soft": true`; tags may name one site. At most 10,000 entries and 16 MiB a call. Answered, when the purge
//! is on disk, with its id, its time and what it covered; else with an error, and then nothing was done.

use http::StatusCode;
use hyper::body::Incoming;
use nearcast_edge::purge::Mode;
use serde::Deserialize;
use serde_json::json;

use super::{Answer, Refusal, collected, json_answer};
use crate::control::{Control, PurgeOrder, What};

/// Entries of a call.
pub(crate) const ENTRIES_MAX: usize = 10_000;

const FORM: &str = "give exactly one of {\"url\": \"..\"}, {\"urls\": [\"..\"]}, {\"prefix\": \"/a/\", \"site\": \"..\"}, \
     {\"tag\": \"..\"}, {\"tags\": [\"..\"]} (perhaps with \"site\": \"..\"), {\"site\": \"..\"}, {\"all\": true}; \
     perhaps with \"soft\": true";

pub(super) async fn purge(control: &Control, body: Incoming) -> Result<Answer, Refusal> {
    let bytes = collected(body).await?;
    let purged = control.purge(order(&bytes).map_err(Refusal::BadRequest)?).await?;
    let answer = json!({
        "id": purged.receipt.id(),
        "time": purged.receipt.time(),
        "kind": purged.kind,
        "entries": purged.entries,
        "fills_cut_out": purged.fills,
    });
    Ok(json_answer(StatusCode::OK, &answer))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    url: Option<String>,
    urls: Option<Vec<String>>,
    prefix: Option<String>,
    tag: Option<String>,
    tags: Option<Vec<String>>,
    site: Option<String>,
    all: Option<bool>,
    #[serde(default)]
    soft: bool,
}

/// The order in a body, or what is wrong with it.
fn order(bytes: &[u8]) -> Result<PurgeOrder, String> {
    let body: Body = serde_json::from_slice(bytes).map_err(|error| format!("{error}; {FORM}"))?;
    let what = match body {
        Body { url: Some(url), urls: None, prefix: None, tag: None, tags: None, site: None, all: None, .. } => {
            What::Url(url)
        }
        Body { url: None, urls: Some(urls), prefix: None, tag: None, tags: None, site: None, all: None, .. } => {
            What::Urls(counted("urls", urls)?)
        }
        Body {
            url: None,
            urls: None,
            prefix: Some(prefix),
            tag: None,
            tags: None,
            site: Some(site),
            all: None,
            ..
        } => What::Prefix { prefix, site },
        Body { url: None, urls: None, prefix: None, tag: Some(tag), tags: None, site, all: None, .. } => {
            What::Tag(tag, site)
        }
        Body { url: None, urls: None, prefix: None, tag: None, tags: Some(tags), site, all: None, .. } => {
            What::Tags(counted("tags", tags)?, site)
        }
        Body { url: None, urls: None, prefix: None, tag: None, tags: None, site: Some(site), all: None, .. } => {
            What::Site(site)
        }
        Body { url: None, urls: None, prefix: None, tag: None, tags: None, site: None, all: Some(true), .. } => {
            What::All
        }
        _ => return Err(FORM.to_owned()),
    };
    Ok(PurgeOrder { what, mode: if body.soft { Mode::Soft } else { Mode::Hard } })
}

fn counted(list: &str, entries: Vec<String>) -> Result<Vec<String>, String> {
    match entries.len() {
        0 => Err(format!("`{list}` is empty; {FORM}")),
        1..=ENTRIES_MAX => Ok(entries),
        more => Err(format!("`{list}` has {more} entries; at most {ENTRIES_MAX} a call, nothing was done")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_kind() {
        let text = str::to_owned;
        let rows = [
            (r#"{"url": "u"}"#, Some(What::Url(text("u")))),
            (r#"{"urls": ["u", "v"]}"#, Some(What::Urls(vec![text("u"), text("v")]))),
            (r#"{"prefix": "/a", "site": "s"}"#, Some(What::Prefix { prefix: text("/a"), site: text("s") })),
            (r#"{"tag": "t"}"#, Some(What::Tag(text("t"), None))),
            (r#"{"tag": "t", "site": "s"}"#, Some(What::Tag(text("t"), Some(text("s"))))),
            (r#"{"tags": ["t"], "site": "s"}"#, Some(What::Tags(vec![text("t")], Some(text("s"))))),
            (r#"{"site": "s"}"#, Some(What::Site(text("s")))),
            (r#"{"all": true}"#, Some(What::All)),
            (r#"{"all": false}"#, None),
            (r#"{"prefix": "/a"}"#, None),
            (r#"{"url": "u", "site": "s"}"#, None),
            (r#"{"url": "u", "urls": ["u"]}"#, None),
            (r#"{"tag": "t", "tags": ["t"]}"#, None),
            (r#"{"tag": "t", "all": true}"#, None),
            (r#"{"url": "u", "url": "v"}"#, None),
            (r#"{"urls": []}"#, None),
            (r#"{"soft": true}"#, None),
            (r#"{"url": "u", "hard": true}"#, None),
            ("{}", None),
            ("", None),
        ];
        for (body, wanted) in rows {
            assert_eq!(order(body.as_bytes()).ok().map(|order| order.what), wanted, "{body}");
        }
        let mode = |body: &str| order(body.as_bytes()).unwrap().mode;
        assert_eq!(mode(r#"{"all": true}"#), Mode::Hard);
        assert_eq!(mode(r#"{"all": true, "soft": false}"#), Mode::Hard);
        assert_eq!(mode(r#"{"soft": true, "all": true}"#), Mode::Soft);
    }

    #[test]
    fn entries_are_counted() {
        let body = |count: usize| json!({ "tags": vec!["t"; count] }).to_string();
        assert!(order(body(ENTRIES_MAX).as_bytes()).is_ok());
        assert!(order(body(ENTRIES_MAX + 1).as_bytes()).unwrap_err().contains("has 10001 entries"));
    }
}
