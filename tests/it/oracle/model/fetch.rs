//! What becomes of the store, and of the client, when the origin is asked.

use super::rules::{Sure, effective, is_error};
use super::{Conditions, Doubt, Exchange, Mistake, Model, Said, Shown, State, Stored, is_get, shown};
use crate::oracle::answer::{Control, Given, Scope, Tag};
use crate::oracle::ask::{AskSpec, Method, Tags};
use crate::oracle::sites::Cookies;

/// What the client is to get.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a few at a time")]
enum Outcome {
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
enum Kept {
    Stored,
    Not,
}

type Outcomes = Vec<(Outcome, State)>;

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
        // A weak tag may be that of several variants (RFC 9110 section 8.8.1): only its own answer is asked about by it.
        let of_use = |one: &Stored| one.says.etag.filter(|tag| *tag != Tag::C || std::ptr::eq(one, stored));
        let missing =
            |one: &&Stored| one.doubt == Doubt::Nothing && of_use(one).is_some_and(|tag| !tags.contains(&tag));
        let has_validator = stored.says.etag.is_some() || stored.says.modified.is_some();
        if !known || (has_validator && all.iter().any(|one| missing(&one))) {
            return Err(format!("the origin was asked with the tags {tags:?}"));
        }
        if one.conditions.since != stored.says.modified {
            let (asked, has) = (one.conditions.since, stored.says.modified);
            return Err(format!("the origin was asked for a change since {asked:?}, not {has:?}"));
        }
        Ok(())
    }

    /// Whether the conditions are the client's, which may go on when nothing is stored of the answer.
    fn passes_own(&self, ask: &AskSpec, one: &Exchange) -> Result<(), String> {
        let since = ask.if_modified_since.map(|before| self.began.div_euclid(1000) - before);
        let own = one.conditions == Conditions { tags: ask.if_none_match.clone(), since };
        let may = ask.authorization || ask.directives().no_store || ask.method == Method::Head;
        if own && may { Ok(()) } else { Err(format!("the origin was asked with {:?}", one.conditions)) }
    }

    /// A whole answer to GET.
    fn whole(
        &self,
        state: &State,
        ask: &AskSpec,
        selected: Option<usize>,
        now: i64,
        given: &Given,
        behind: bool,
    ) -> Outcomes {
        let mut sure = self.is_storable(ask, given);
        if behind && sure == Sure::No {
            // What the client may not leave behind, the cache may: the request is its own.
            let own = AskSpec { authorization: false, control: None, method: Method::Get, ..ask.clone() };
            sure = self.is_storable(&own, given).at_most_may();
        }
        let mut outcomes = Outcomes::new();
        for side in sure.sides() {
            let (kept, states) = match side {
                true => (Kept::Stored, self.inserted(state, ask, selected, now, given)),
                false => (Kept::Not, without(state, ask, selected, given)),
            };
            outcomes.extend(states.into_iter().map(|state| (Outcome::Whole(given.clone(), kept), state)));
        }
        outcomes
    }

    /// With a new stored answer.
    pub(super) fn inserted(
        &self,
        state: &State,
        ask: &AskSpec,
        selected: Option<usize>,
        now: i64,
        given: &Given,
    ) -> Vec<State> {
        let vary = given.vary;
        let granted = selected.and_then(|which| state.urls[ask.url][which].granted);
        let new = Stored {
            body: given.body(),
            says: given.clone(),
            selecting: ask.selecting,
            secret: given.line("x-secret").is_some() && !hides_secret(&effective(given).0),
            granted: None,
            doubt: Doubt::Nothing,
        };
        let mut all = Vec::new();
        // Of answers that vary on something else a cache may give up those that this request selects, too, or all.
        for (own, others) in [(true, true), (false, true), (false, false)] {
            let mut next = state.clone();
            next.varied[ask.url] |= vary.is_some();
            next.tags[ask.url].extend(given.etag);
            next.tags[ask.url].sort();
            next.tags[ask.url].dedup();
            // Where one of several answers forgot to say Vary, it may stay for the requests that are like its own.
            let narrowly = vary.is_none() && next.varied[ask.url] && others;
            next.urls[ask.url].retain(|old| {
                let selected = old.selecting.same(ask.selecting, old.says.vary);
                match old.says.vary == vary {
                    true if narrowly => old.selecting != ask.selecting,
                    true => !selected,
                    false => {
                        if selected {
                            own
                        } else {
                            others
                        }
                    }
                }
            });
            next.urls[ask.url].push(new.clone());
            super::add(&mut all, next.clone());
            // The limit on what clients force may count by URL, too.
            if granted.is_some_and(|last| now - last < 1000) {
                next.urls[ask.url].last_mut().expect("just stored").granted = granted;
                super::add(&mut all, next);
            }
        }
        all
    }

    /// An answer to HEAD.
    ///
    /// > the cache SHOULD update the stored response with the header fields provided in the HEAD response [if validators
    /// > and Content-Length match]; otherwise, the cache SHOULD consider the stored response to be stale (RFC 9111 section
    /// > 4.3.5).
    fn headed(&self, state: &State, ask: &AskSpec, given: &Given) -> Outcomes {
        let free = given.status != 200 || ask.directives().no_store || ask.authorization || !self.may_keep(given);
        let mut states = vec![state.clone()];
        for which in 0..state.urls[ask.url].len() {
            let old = &state.urls[ask.url][which];
            if !old.selecting.same(ask.selecting, old.says.vary) {
                continue;
            }
            let says = &old.says;
            let same = (says.etag, says.modified, says.padding) == (given.etag, given.modified, given.padding);
            let differs = says.padding != given.padding
                || (given.etag.is_some() && given.etag != says.etag)
                || (given.modified.is_some() && given.modified != says.modified);
            let stale = Stored { doubt: worse(old.doubt), ..old.clone() };
            // With its new fields it may be nothing that a cache keeps.
            let keeps = self.keeps(&merged(old, given).says) == Sure::Yes;
            let sure =
                !free && keeps && !state.is_doubtful(ask, old) && says.status == 200 && old.doubt != Doubt::Invalid;
            let choices = match (sure, same, differs) {
                (true, true, _) => self.updated(old, ask, given),
                // What varies now may as well be given up.
                (true, _, true) if given.vary.is_some() && given.vary != says.vary => vec![Some(stale), None],
                (true, _, true) => vec![Some(stale)],
                _ => {
                    let mut choices = vec![Some(old.clone()), Some(stale), None];
                    if given.status == 200 && !differs {
                        choices.extend(self.updated(old, ask, given));
                    }
                    choices
                }
            };
            states = replaced(&states, ask, which, &choices);
        }
        let pass = |state| (Outcome::Whole(given.clone(), Kept::Not), swept(state));
        states.into_iter().map(pass).collect()
    }

    /// Which stored answers a 304 may be about, and whether the origin is asked again instead.
    ///
    /// > If the new response contains one or more strong validators [..], then each of those strong validators identifies
    /// > a selected representation for update (RFC 9111 section 4.3.4).
    fn is_about(&self, state: &State, ask: &AskSpec, selected: Option<usize>, given: &Given) -> (Vec<usize>, Sure) {
        let all = &state.urls[ask.url];
        // One that may not change what is stored, or changes so much that it may not be shared or varies on other fields,
        // may be too little or too much for a 304.
        let again = |which: usize| {
            let varies = given.vary.is_some() && given.vary != all[which].says.vary;
            let new = merged(&all[which], given);
            let shared = self.is_for(ask, &all[which]) == Sure::Yes && self.is_for(ask, &new) == Sure::Yes;
            let plain = shared && !ask.directives().no_store && !varies && self.keeps(&new.says) == Sure::Yes;
            if plain { Sure::No } else { Sure::Either }
        };
        if let Some(tag) = given.etag {
            let named: Vec<usize> = (0..all.len()).filter(|which| all[*which].says.etag == Some(tag)).collect();
            return match selected {
                Some(which) if named.contains(&which) => (vec![which], again(which)),
                _ if named.is_empty() => (named, Sure::Yes),
                // A weak tag may be that of several variants.
                Some(_) if tag == Tag::C => (named, Sure::Either),
                Some(_) => {
                    let sure = named.iter().map(|which| again(*which)).fold(Sure::No, |all, one| all | one);
                    (named, sure)
                }
                None => (named, Sure::Either),
            };
        }
        match selected {
            // It says nothing of what it is about, or not all.
            Some(which) if given.modified.is_some() && given.modified == all[which].says.modified => {
                (vec![which], if all[which].says.etag.is_some() { Sure::Either } else { again(which) })
            }
            Some(which) => (vec![which], Sure::Either),
            None => ((0..all.len()).collect(), Sure::Either),
        }
    }

    fn not_modified(
        &self,
        state: &State,
        ask: &AskSpec,
        selected: Option<usize>,
        given: &Given,
        conditions: &Conditions,
    ) -> Outcomes {
        let mut outcomes = Outcomes::new();
        let all = &state.urls[ask.url];
        for which in self.is_about(state, ask, selected, given).0 {
            for choice in self.updated(&all[which], ask, given) {
                let shown = choice.clone().unwrap_or_else(|| merged(&all[which], given));
                let mut states = replaced(std::slice::from_ref(state), ask, which, &[choice]);
                if selected != Some(which) {
                    // It is what this request selects, too, beside what it selected or in its place.
                    let found = states[0].clone();
                    let mut instead = found.clone();
                    if let Some(old) = selected {
                        instead.urls[ask.url][old].body.clear();
                    }
                    for mut also in [found, instead] {
                        let vary = shown.says.vary;
                        let again = |old: &Stored| old.says.vary == vary && old.selecting.same(ask.selecting, vary);
                        also.urls[ask.url].retain(|old| !again(old));
                        also.urls[ask.url].push(Stored { selecting: ask.selecting, ..shown.clone() });
                        super::add(&mut states, also);
                    }
                }
                for state in states {
                    outcomes.push((Outcome::Validated(Box::new(shown.clone())), swept(state.clone())));
                    outcomes.push((Outcome::Validated(Box::new(all[which].clone())), swept(state)));
                }
            }
        }
        let exchange = Exchange { method: String::new(), conditions: conditions.clone(), said: Said::Nothing };
        if ask.is_conditional() && self.passes_own(ask, &exchange).is_ok() {
            outcomes.push((Outcome::Passed, state.clone()));
        }
        outcomes
    }

    /// What a stored answer may be after a 304 or an answer to HEAD; `None`: gone.
    fn updated(&self, old: &Stored, ask: &AskSpec, given: &Given) -> Vec<Option<Stored>> {
        let new = merged(old, given);
        if self.mistake == Some(Mistake::UpdateForgotten) {
            return vec![Some(old.clone())];
        }
        let revaried = given.vary.is_some() && given.vary != old.says.vary;
        let (control, _) = effective(&new.says);
        let kept = self.may_keep(&Given { cookie: false, ..new.says.clone() });
        let own = AskSpec { method: Method::Get, ..ask.clone() };
        let asked = !ask.directives().no_store && (!ask.authorization || self.is_for(&own, &new) == Sure::Yes);
        if !kept {
            return vec![None, Some(old.clone())];
        }
        let mut choices = vec![Some(new.clone())];
        if revaried {
            let mut still = new;
            still.says.vary = old.says.vary;
            choices.extend([Some(still), Some(old.clone()), None]);
        } else if !asked
            || self.keeps(&Given { cookie: false, ..choices[0].as_ref().expect("it is new").says.clone() }) != Sure::Yes
            || (given.cookie && self.site.cookies != Cookies::Store)
            || control.no_store
        {
            choices.extend([Some(old.clone()), None]);
        }
        choices
    }
}

/// > the cache MUST add each header field in the provided response to the stored response, replacing field values that are
/// > already present (RFC 9111 section 3.2), but for those of the body itself.
fn merged(old: &Stored, given: &Given) -> Stored {
    let mut says = old.says.clone();
    says.serial = given.serial;
    says.at = given.at;
    says.date = given.date;
    says.age = given.age;
    says.control = given.control.or(says.control);
    says.targeted = given.targeted.or(says.targeted);
    says.expires = given.expires.or(says.expires);
    says.modified = given.modified.or(says.modified);
    says.vary = given.vary.or(says.vary);
    says.cookie |= given.cookie;
    let renewed = |name: &str| given.lines.iter().any(|(have, _)| have.eq_ignore_ascii_case(name));
    says.lines.retain(|(name, _)| name == "etag" || !renewed(name));
    says.lines.extend(given.lines.iter().filter(|(name, _)| name != "etag").cloned());
    let hidden = hides_secret(&effective(&says).0);
    let secret = (old.secret || given.line("x-secret").is_some()) && !hidden;
    Stored { says, secret, doubt: Doubt::Nothing, ..old.clone() }
}

fn hides_secret(control: &Control) -> bool {
    control.private == Scope::Secret || control.no_cache == Scope::Secret
}

fn worse(doubt: Doubt) -> Doubt {
    if doubt == Doubt::Nothing { Doubt::Stale } else { doubt }
}

/// When the answer is not stored: what is may stay, or be forgotten as the URL no longer gives it. A failure of the origin
/// says nothing of it.
fn without(state: &State, ask: &AskSpec, selected: Option<usize>, given: &Given) -> Vec<State> {
    let mut all = vec![state.clone()];
    if given.status < 500 {
        let mut next = state.clone();
        if let Some(which) = selected {
            next.urls[ask.url].remove(which);
            super::add(&mut all, next.clone());
        }
        next.urls[ask.url].clear();
        super::add(&mut all, next);
    }
    all
}

/// Each state with each of the choices. What is gone leaves a hole, so that numbers hold until [`swept`].
fn replaced(states: &[State], ask: &AskSpec, which: usize, choices: &[Option<Stored>]) -> Vec<State> {
    let mut all = Vec::new();
    for state in states {
        for choice in choices {
            let mut next = state.clone();
            match choice {
                Some(stored) => next.urls[ask.url][which] = stored.clone(),
                None => next.urls[ask.url][which].body.clear(),
            }
            super::add(&mut all, next);
        }
    }
    all
}

fn swept(mut state: State) -> State {
    for url in &mut state.urls {
        url.retain(|stored| !stored.body.is_empty());
    }
    state
}
