//! Holding a PoP in a state: `POST /v1/pops/iad/drain?why=work%20on%20the%20switch&for=2h&who=ann`, or the same three in a
//! JSON body.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use nearcast_shared::config::units;
use nearcast_shared::health::{ForceError, Forced, Hold};
use serde::Deserialize;
use serde_json::json;

use super::{Answer, Refusal, json_answer, unescape};
use crate::control::{Control, chain};

/// Characters of who and why.
const WORDS_MAX: usize = 500;
/// Days that a state is held at most, if it is to end by itself.
const DAYS_MAX: u64 = 366;

/// What is told along with a state.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Story {
    who: Option<String>,
    why: Option<String>,
    r#for: Option<String>,
}

impl Story {
    fn parse(query: Option<&str>, body: &[u8]) -> Result<Self, Refusal> {
        let form = || {
            let text = "give ?who=ann&why=work%20on%20the%20switch&for=2h, or these three in a JSON body";
            Refusal::BadRequest(text.to_owned())
        };
        let mut story = match body {
            [] => Self::default(),
            body => serde_json::from_slice(body).map_err(|_| form())?,
        };
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(form)?;
            let place = match key {
                "who" => &mut story.who,
                "why" => &mut story.why,
                "for" => &mut story.r#for,
                _ => return Err(form()),
            };
            if place.is_some() {
                return Err(Refusal::BadRequest(format!("`{key}` is given twice")));
            }
            *place = Some(unescape(value).ok_or_else(form)?);
        }
        for (key, words) in [("who", &mut story.who), ("why", &mut story.why)] {
            *words = words.take().map(|words| words.trim().to_owned()).filter(|words| !words.is_empty());
            let fits = |words: &String| words.chars().count() <= WORDS_MAX && !words.chars().any(char::is_control);
            if !words.as_ref().is_none_or(fits) {
                let text = format!("`{key}` must be one line of at most {WORDS_MAX} characters");
                return Err(Refusal::BadRequest(text));
            }
        }
        Ok(story)
    }

    /// How long it is to be held, in seconds.
    fn seconds(&self) -> Result<Option<i64>, Refusal> {
        let Some(text) = &self.r#for else { return Ok(None) };
        let seconds = units::duration(text).map_err(Refusal::BadRequest)?.as_secs();
        match i64::try_from(seconds) {
            Ok(fit) if (1..=DAYS_MAX * 86_400).contains(&seconds) => Ok(Some(fit)),
            _ => {
                Err(Refusal::BadRequest(format!("`for` must be from 1s to {DAYS_MAX}d; left out: until another word")))
            }
        }
    }
}

pub(super) async fn hold(
    control: &Arc<Control>,
    name: &str,
    state: &str,
    query: Option<&str>,
    body: &Bytes,
) -> Result<Answer, Refusal> {
    let forced = match state {
        "drain" => Some(Forced::Drain),
        "up" => Some(Forced::Up),
        "down" => Some(Forced::Down),
        "auto" => None,
        _ => return Err(Refusal::NotFound(format!("`{state}` is none of drain, up, down, auto"))),
    };
    let story = Story::parse(query, body)?;
    let seconds = story.seconds()?;
    if forced.is_none() && seconds.is_some() {
        return Err(Refusal::BadRequest("`for` means nothing with auto".to_owned()));
    }
    let since = control.clock.now().seconds();
    if forced.is_none() {
        tracing::info!(pop = name, who = story.who, why = story.why, "left to the probes");
    }
    let hold = forced.map(|state| Hold {
        state,
        who: story.who,
        why: story.why,
        since: Some(since),
        until: seconds.map(|seconds| since.saturating_add(seconds)),
    });
    let (health, pop, set) = (control.health.clone(), name.to_owned(), hold.clone());
    // It writes a file.
    match tokio::task::spawn_blocking(move || health.force(&pop, set)).await {
        Ok(Ok(())) => Ok(json_answer(StatusCode::OK, &json!({ "pop": name, "forced": forced, "hold": hold }))),
        Ok(Err(error @ ForceError::UnknownPop(_))) => Err(Refusal::NotFound(error.to_string())),
        Ok(Err(error @ ForceError::Persist { .. })) => Err(Refusal::Unavailable(chain(&error))),
        Err(panicked) => Err(Refusal::Unavailable(panicked.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stories() {
        let full = Story { who: Some("ann".to_owned()), why: Some("a b".to_owned()), r#for: Some("2h".to_owned()) };
        let long = format!("why={}", "x".repeat(501));
        let rows: [(&str, &str, Option<Story>); 12] = [
            ("", "", Some(Story::default())),
            ("who=ann&why=a%20b&for=2h", "", Some(full.clone())),
            ("", r#"{"who":"ann","why":" a b ","for":"2h"}"#, Some(full.clone())),
            ("who=ann&for=2h", r#"{"why":"a b"}"#, Some(full)),
            ("why=", "", Some(Story::default())),
            ("why=a", r#"{"why":"b"}"#, None),
            ("who", "", None),
            ("when=now", "", None),
            ("", r#"{"when":"now"}"#, None),
            ("", "[]", None),
            ("why=a%0ab", "", None),
            (&long, "", None),
        ];
        for (query, body, wanted) in rows {
            assert_eq!(Story::parse(Some(query), body.as_bytes()).ok(), wanted, "{query} {body}");
        }
    }

    #[test]
    fn times() {
        let rows = [(None, Some(None)), (Some("90m"), Some(Some(5400))), (Some("366d"), Some(Some(366 * 86_400)))];
        let bad = ["367d", "0s", "999ms", "soon"].map(|text| (Some(text), None));
        for (text, wanted) in rows.into_iter().chain(bad) {
            let story = Story { r#for: text.map(str::to_owned), ..Story::default() };
            assert_eq!(story.seconds().ok(), wanted, "{text:?}");
        }
    }
}
