//! What a steered name answers: addresses, a name, an HTTPS record, or what stands in for them.

use std::borrow::Cow;

use nearcast_shared::rtype;

use super::{Addresses, Answer, Asked, Data, Outcome, Place, Sent, binding};
use crate::steering::{Family, Verdict};
use crate::view::Steered;

impl<'v> Asked<'_, 'v> {
    /// The HTTPS record, with the port and the addresses of the PoPs that A and AAAA name for this client. When these are not
    /// the same it is about that of A, and has the addresses of another only if that one listens on the same port.
    pub(super) fn binding(&self, answer: &mut Answer<'v>, place: Place<'v>, steered: Steered) {
        let decisions = [Family::V4, Family::V6].map(|family| (family, self.decide(place, steered, family)));
        let scope = decisions.iter().map(|(_, made)| made.coverage.scope).max().unwrap_or_default();
        if !answer.answers.is_empty() && scope > 0 {
            return;
        }
        let ttl = decisions.iter().filter_map(|(_, made)| made.coverage.ttl_max).fold(u32::MAX, u32::min);
        let chosen = || {
            decisions.iter().filter_map(|(family, made)| match &made.verdict {
                Verdict::Pops(chosen) => Some((*family, chosen)),
                Verdict::Addresses(_) | Verdict::NoData | Verdict::AllDown | Verdict::ServFail => None,
            })
        };
        let Some((_, first)) = chosen().next() else {
            // That of the family which has data.
            let instead = decisions.iter().map(|(_, made)| &made.verdict).find(|made| !matches!(made, Verdict::NoData));
            return match instead {
                // Resolvers keep "no data" for everybody, and other clients' PoPs may be up. Nothing is known of who is there.
                Some(Verdict::Addresses(_)) => {
                    answer.answers.push(place.set(https(binding::plain())).at_most(ttl));
                    (answer.outcome, answer.scope) = (Outcome::Fallback, scope);
                }
                Some(Verdict::ServFail) => *answer = Answer::empty(Outcome::AllDown),
                Some(Verdict::AllDown) => self.deny_for(answer, place, Outcome::NobodyUp, ttl),
                Some(Verdict::Pops(_) | Verdict::NoData) | None => self.deny(answer, place, Outcome::NoData),
            };
        };
        let pop = first.first();
        let mapped = decisions.iter().all(|(_, made)| made.mapped);
        let sent = Sent { pop, cause: first.cause, mapped };
        let data = match (self.view.cname(pop), self.view.https_port(pop)) {
            (Some(name), _) => Data::Cname(name),
            (None, None) => return self.deny(answer, place, Outcome::NoData),
            (None, Some(port)) => {
                let there = chosen()
                    .filter(|(_, chosen)| chosen.pops().iter().all(|pop| self.view.https_port(*pop) == Some(port)));
                let hints = there.flat_map(|(family, chosen)| self.addresses(chosen, steered.policy, family));
                https(binding::rdata(port, &hints.collect::<Vec<_>>()))
            }
        };
        answer.answers.push(place.set(data).at_most(ttl));
        (answer.outcome, answer.scope) = (Outcome::Steered(sent), scope);
    }

    /// For types that a steered name has no data of, if all its PoPs are CNAMEs. RFC 1034 section 3.6.2: a CNAME answers
    /// whatever is asked for; the config lets no other records be beside it. Where only some are there is no such data for
    /// anybody, since resolvers keep that for everybody (RFC 7871 section 7.4).
    pub(super) fn pointer(&self, answer: &mut Answer<'v>, place: Place<'v>, steered: Steered) {
        let points = |family: &Family| match self.decide(place, steered, *family).verdict {
            Verdict::Pops(chosen) => self.view.cname(chosen.first()).is_some(),
            Verdict::Addresses(_) | Verdict::NoData | Verdict::AllDown | Verdict::ServFail => false,
        };
        match [Family::V4, Family::V6].into_iter().find(points) {
            Some(family) => self.steered(answer, place, steered, family),
            // All are down, which may be over soon.
            None => {
                let ttl = self.decide(place, steered, Family::V4).coverage.ttl_max.unwrap_or(u32::MAX);
                self.deny_for(answer, place, Outcome::NoData, ttl);
            }
        }
    }

    /// The addresses, or the name, of the PoP for this client; after CNAMEs of ours only if everyone may have them.
    pub(super) fn steered(&self, answer: &mut Answer<'v>, place: Place<'v>, steered: Steered, family: Family) {
        let decision = self.decide(place, steered, family);
        if !answer.answers.is_empty() && decision.coverage.scope > 0 {
            return;
        }
        let ttl = decision.coverage.ttl_max.unwrap_or(u32::MAX);
        let set = |data| place.set(data).at_most(ttl);
        let scope = decision.coverage.scope;
        match decision.verdict {
            Verdict::Pops(chosen) => {
                let data = match self.view.cname(chosen.first()) {
                    Some(name) => Data::Cname(name),
                    None => Data::Addresses(family, self.addresses(&chosen, steered.policy, family)),
                };
                answer.answers.push(set(data));
                let sent = Sent { pop: chosen.first(), cause: chosen.cause, mapped: decision.mapped };
                (answer.outcome, answer.scope) = (Outcome::Steered(sent), scope);
            }
            Verdict::Addresses(addresses) => {
                let fitting: Addresses =
                    addresses.iter().copied().filter(|address| Family::of(*address) == family).collect();
                if fitting.is_empty() {
                    return self.deny_for(answer, place, Outcome::NobodyUp, ttl);
                }
                answer.answers.push(set(Data::Addresses(family, fitting)));
                (answer.outcome, answer.scope) = (Outcome::Fallback, scope);
            }
            Verdict::NoData => self.deny(answer, place, Outcome::NoData),
            Verdict::AllDown => self.deny_for(answer, place, Outcome::NobodyUp, ttl),
            Verdict::ServFail => *answer = Answer::empty(Outcome::AllDown),
        }
    }
}

fn https<'v>(rdata: Vec<u8>) -> Data<'v> {
    Data::Made(rtype::HTTPS, vec![Cow::Owned(rdata)])
}
