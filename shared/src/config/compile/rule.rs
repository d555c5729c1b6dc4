//! Rules of sites.

use std::time::Duration;

use toml::Spanned;

use super::super::file::{self, At, Status, Statuses, Texts};
use super::super::units::format_duration;
use super::super::{Pattern, Rule, StatusMatch};
use super::{Compiler, is_token};

impl Compiler<'_> {
    /// The `number`th rule of its site, from 1.
    pub(super) fn rule(&mut self, entry: &Spanned<file::Rule>, number: usize, lifetime_max: Duration) -> Rule {
        let rule = entry.get_ref();
        self.does_something(entry);
        let named = rule.name.as_ref().map(|name| (name.get_ref().clone(), name.span()));
        if let Some((name, span)) = &named
            && name.is_empty()
        {
            self.gather.at(
                Some(span.clone()),
                "site.rule.name",
                "must not be empty; left out it is `rule 1` and so on",
            );
        }
        Rule {
            name: named.map_or_else(|| format!("rule {number}"), |(name, _)| name),
            paths: self.conditions("site.rule.path", &rule.path, Texts::all, path),
            statuses: self.conditions("site.rule.status", &rule.status, Statuses::all, status),
            content_types: self.conditions("site.rule.content-type", &rule.content_type, Texts::all, content_type),
            bypass: is_on(&rule.bypass),
            ttl: self.ttl(&rule.ttl, lifetime_max),
            force: is_on(&rule.force),
            browser_ttl: self.browser_ttl(&rule.browser_ttl),
        }
    }

    /// That the settings make sense together.
    fn does_something(&mut self, entry: &Spanned<file::Rule>) {
        let rule = entry.get_ref();
        let given = [
            ("ttl", rule.ttl.as_ref().map(Spanned::span)),
            ("force", rule.force.as_ref().filter(|on| *on.get_ref()).map(Spanned::span)),
            ("browser-ttl", rule.browser_ttl.as_ref().map(Spanned::span)),
        ];
        if is_on(&rule.bypass) {
            for (name, span) in given {
                if span.is_some() {
                    let message = "has no meaning beside bypass = true: what is not stored has no lifetime here; give one of both";
                    self.gather.at(span, &format!("site.rule.{name}"), message);
                }
            }
            return;
        }
        let [(_, ttl), (_, force), (_, browser_ttl)] = given;
        if force.is_some() {
            if ttl.is_none() && !self.is_taken_out("site.rule.ttl") {
                let message = "force says that ttl counts whatever the answer says: give ttl, such as \"1h\"";
                self.gather.at(force, "site.rule.force", message);
            }
        } else if ttl.is_none() && browser_ttl.is_none() {
            let keys = ["bypass", "ttl", "browser-ttl"].map(|key| format!("site.rule.{key}"));
            if !keys.iter().any(|key| self.is_taken_out(key)) {
                let message = "does nothing; give bypass = true, ttl or browser-ttl";
                self.gather.at(Some(entry.span()), "site.rule", message);
            }
        }
    }

    /// What must hold: one of these. Left out: anything.
    fn conditions<G, T, M>(
        &mut self,
        key: &str,
        given: &At<G>,
        all: fn(&G) -> &[T],
        read: fn(&T) -> Result<M, String>,
    ) -> Vec<M> {
        let Some(given) = given else { return Vec::new() };
        let values = all(given.get_ref());
        if values.is_empty() {
            let message = "an empty list matches nothing; leave the key out to match everything";
            self.gather.at(Some(given.span()), key, message);
        }
        values.iter().filter_map(|value| self.judge(key, given.span(), read(value))).collect()
    }

    fn ttl(&mut self, given: &At<String>, lifetime_max: Duration) -> Option<Duration> {
        let value = given.as_ref()?;
        let ttl = self.duration("site.rule.ttl", value)?;
        if ttl > lifetime_max {
            let message = format!("must not exceed cache.lifetime-max, which is {}", format_duration(lifetime_max));
            self.gather.at(Some(value.span()), "site.rule.ttl", message);
        }
        Some(ttl)
    }

    fn browser_ttl(&mut self, given: &At<String>) -> Option<Duration> {
        let value = given.as_ref()?;
        let ttl = self.duration("site.rule.browser-ttl", value)?;
        // "delta-seconds .. a non-negative integer, representing time in seconds" (RFC 9111 section 1.2.2).
        if ttl.subsec_nanos() != 0 {
            self.gather.at(Some(value.span()), "site.rule.browser-ttl", "must be whole seconds, such as \"60s\"");
        }
        Some(ttl)
    }
}

fn is_on(given: &At<bool>) -> bool {
    given.as_ref().is_some_and(|on| *on.get_ref())
}

fn path(text: &String) -> Result<Pattern, String> {
    if !text.starts_with(['/', '*']) {
        return Err(format!("`{text}` must begin with / or *, such as \"/assets/*\" or \"*.css\""));
    }
    if text.contains(['?', '#']) {
        return Err(format!(
            "`{text}` has a query, which is no part of a path; write the path alone, such as \"/a/*\""
        ));
    }
    Ok(Pattern::new(text))
}

pub(super) fn status(given: &Status) -> Result<StatusMatch, String> {
    let found = match given {
        Status::Number(number) => {
            u16::try_from(*number).ok().filter(|number| (200..=599).contains(number)).map(StatusMatch::Exact)
        }
        Status::Text(text) => {
            let digit = ["2xx", "3xx", "4xx", "5xx"].iter().zip(2..).find(|(class, _)| *class == text);
            digit.map(|(_, digit)| StatusMatch::Class(digit))
        }
    };
    found.ok_or_else(|| {
        let shown = match given {
            Status::Number(number) => number.to_string(),
            Status::Text(text) => text.clone(),
        };
        format!("`{shown}` is not a number from 200 to 599, nor \"2xx\", \"3xx\", \"4xx\" or \"5xx\"")
    })
}

fn content_type(text: &String) -> Result<Pattern, String> {
    let parts: Vec<&str> = text.split('/').collect();
    let whole = parts.len() == 2 || (parts.len() == 1 && text.contains('*'));
    if !whole || !parts.iter().all(|part| is_token(part)) {
        return Err(format!(
            "`{text}` is not a media type without parameters, such as \"text/html\", \"image/*\" or \"*json\""
        ));
    }
    Ok(Pattern::new(&text.to_ascii_lowercase()))
}
