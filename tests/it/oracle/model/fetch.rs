//! What becomes of the store, and of the client, when the origin is asked.

use super::rules::{Sure, is_error};
use super::{Conditions, Doubt, Exchange, Model, Said, Shown, State, Stored, is_get, shown};
use crate::oracle::answer::{Given, Tag};
use crate::oracle::ask::{AskSpec, Method, Tags};

/// What the client is to get.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a few at a time")]
pub(super) enum Outcome {
    /// No answer.
    Nothing,
    /// The origin's own.
    Whole(Given, Kept),
    /// What is stored, validated.
    Validated(Box<Stored>),
    /// The origin's 304, to a condition of the client's own.
    Passed,
}

/// Whether the origin's answer is stored in this state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Stored,
    Not,
}

pub(super) type Outcomes = Vec<(Outcome, State)>;

impl Model {
    /// The origin is asked while the client waits.
    pub(super) fn forward(
        &self,
        state: &State,
        ask: &AskSpec,
        selected: Option<usize>,
        now: i64,
        seen: &[Exchange],
        shown: &Shown,
    ) -> Result<Vec<State>, String> {
        let (mut states, mut against) = (Vec::new(), Vec::new());
        let stored = selected.map(|which| &state.urls[ask.url][which]);
        // What is stored, or else the error.
        let or_stand_in = |stored: &Stored, answered: bool, failed: Result<State, String>| {
            let sure = self.stands_in(ask, stored, answered, now);
            // After a 304 that was not believed, the origin's next word may be the last.
            let sure = if seen.len() > 1 && answered { sure.at_most_may() } else { sure };
            let stood_in = self.shows_stored(stored, ask, now, shown, false).map(|()| state.clone());
            match sure {
                Sure::Yes => stood_in.map_err(|why| format!("it must stand in: {why}")),
                Sure::No => failed.map_err(|why| format!("it must not stand in: {why}")),
                Sure::Either => stood_in.or(failed),
            }
        };
        for (outcome, after) in self.fetch(state, ask, selected, now, seen, false)? {
            let judged = match (&outcome, stored) {
                (Outcome::Nothing, Some(stored)) => {
                    or_stand_in(stored, false, shown::is_gateway_error(shown).map(|()| after))
                }
                (Outcome::Whole(given, _), Some(stored)) if is_error(given.status) => {
                    or_stand_in(stored, true, shown::passes(given, ask, shown).map(|()| after))
                }
                (Outcome::Nothing, None) => shown::is_gateway_error(shown).map(|()| after),
                (Outcome::Whole(given, kept), _) => {
                    self.shows_whole(given, ask, shown, *kept == Kept::Stored).map(|()| after)
                }
                (Outcome::Validated(stored), _) => self.shows_stored(stored, ask, now, shown, false).map(|()| after),
                (Outcome::Passed, _) if shown.status == 304 => Ok(after),
                (Outcome::Passed, _) => Err(format!("the origin's 304 became {}", shown.status)),
            };
            match judged {
                Ok(state) => super::add(&mut states, state),
                Err(why) => against.push(why),
            }
        }
        against.dedup();
        if states.is_empty() { Err(against.join("; or ")) } else { Ok(states) }
    }

    /// The origin is asked behind the client's back.
    pub(super) fn refresh(
        &self,
        state: &State,
        ask: &AskSpec,
        which: usize,
        now: i64,
        seen: &[Exchange],
    ) -> Result<Vec<State>, String> {
        let mut states = Vec::new();
        for (outcome, after) in self.fetch(state, ask, Some(which), now, seen, true)? {
            match outcome {
                Outcome::Whole(given, _) if is_error(given.status) => {
                    super::add(&mut states, state.clone());
                    super::add(&mut states, after);
                }
                _ => super::add(&mut states, after),
            }
        }
        Ok(states)
    }

    fn fetch(
        &self,
        state: &State,
        ask: &AskSpec,
        selected: Option<usize>,
        now: i64,
        seen: &[Exchange],
        behind: bool,
    ) -> Result<Outcomes, String> {
        let Some(first) = seen.first() else { return Err("the origin was not asked".to_owned()) };
        let wanted = ask.method.text();
        if seen.iter().any(|one| one.method != wanted && !(behind && is_get(&one.method))) {
            return Err(format!("the origin was asked with {}", first.method));
        }
        self.may_ask(state, ask, selected, first)?;
        match (&first.said, seen) {
            (Said::Nothing, [..]) if seen.len() > 3 => Err("the origin was asked again and again".to_owned()),
            (Said::Nothing, [..]) => Ok(vec![(Outcome::Nothing, state.clone())]),
            (Said::Whole(given), [_]) if is_get(&first.method) => {
                Ok(self.whole(state, ask, selected, now, given, behind))
            }
            (Said::Whole(given), [_]) => Ok(self.headed(state, ask, given)),
            (Said::NotModified(given), [_]) => {
                let outcomes = self.not_modified(state, ask, selected, given, &first.conditions);
                if outcomes.is_empty() {
                    Err("the 304 is about nothing that is stored".to_owned())
                } else {
                    Ok(outcomes)
                }
            }
            (Said::NotModified(given), [_, Exchange { conditions, said: Said::Whole(whole), .. }])
                if *conditions == Conditions::default() =>
            {
                if self.is_about(state, ask, selected, given).1 == Sure::No {
                    return Err("the 304 was not believed".to_owned());
                }
                if !is_get(&seen[1].method) {
                    return Ok(self.headed(state, ask, whole));
                }
                Ok(self.whole(state, ask, selected, now, whole, behind))
            }
            _ => Err(format!("the origin was asked {} times", seen.len())),
        }
    }

    /// Whether the request has the conditions it should.
    ///
    /// > When generating a conditional request for validation, a cache: MUST send the relevant entity tags (using
    /// > If-Match, If-None-Match, or If-Range) if the entity tags were provided in the stored response(s) being validated
    /// > (RFC 9111 section 4.3.1).
    fn may_ask(&self, state: &State, ask: &AskSpec, selected: Option<usize>, one: &Exchange) -> Result<(), String> {
        let all = &state.urls[ask.url];
        let tags: Vec<_> = match &one.conditions.tags {
            None => Vec::new(),
            Some(Tags::Of(tags)) => tags.clone(),
            Some(Tags::Any) => return self.passes_own(ask, one),
        };
        let stored = selected.map(|which| &all[which]);
        let sure = stored.is_some_and(|stored| {
            stored.doubt != Doubt::Invalid
                && self.is_for(ask, stored) == Sure::Yes
                && !ask.directives().no_store
                && is_get(&one.method)
        });
        let known = tags.iter().all(|tag| state.tags[ask.url].contains(tag));
        let since_known =
            one.conditions.since.is_none_or(|since| all.iter().any(|one| one.says.modified == Some(since)));
        if !sure {
            return if known && since_known { Ok(()) } else { self.passes_own(ask, one) };
        }
        let stored = stored.expect("it is sure");
        let wanted = |one: &&Stored| !one.lost && one.doubt == Doubt::Nothing;
        let own = stored.says.etag;
        let has_validator = own.is_some() || stored.says.modified.is_some();
        // A weak tag may be that of several variants (RFC 9110 section 8.8.1): only of the selected one it must be sent.
        let wanted = |one: &&Stored| wanted(one) && one.says.etag != Some(Tag::C);
        let others = all.iter().filter(wanted).filter(|_| has_validator).filter_map(|one| one.says.etag);
        if !known || own.into_iter().chain(others).any(|tag| !tags.contains(&tag)) {
            return Err(format!("the origin was asked with the tags {tags:?}"));
        }
        if one.conditions.since != stored.says.modified {
            let (asked, has) = (one.conditions.since, stored.says.modified);
            return Err(format!("the origin was asked for a change since {asked:?}, not {has:?}"));
        }
        Ok(())
    }

    /// Whether the conditions are the client's, which may go on when nothing is stored of the answer.
    pub(super) fn passes_own(&self, ask: &AskSpec, one: &Exchange) -> Result<(), String> {
        let since = ask.if_modified_since.map(|before| self.began.div_euclid(1000) - before);
        let own = one.conditions == Conditions { tags: ask.if_none_match.clone(), since };
        let may = ask.authorization || ask.directives().no_store || ask.method == Method::Head;
        if own && may { Ok(()) } else { Err(format!("the origin was asked with {:?}", one.conditions)) }
    }
}
