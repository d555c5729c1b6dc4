//! What a steered name answers: addresses, a name, an HTTPS record, or what stands in for them.

use super::{Answer, Asked, Data, Outcome, Owner, Record, Sent, binding};
use crate::steering::{Family, Verdict};
use crate::view::{Steered, Zone};

impl<'v> Asked<'_, 'v> {
    /// The HTTPS record, with the port and the addresses of the PoPs that A and AAAA name for this client. When these are not
    /// the same it is about that of A, and has the addresses of another only if that one listens on the same port.
    pub(super) fn binding(
        &self,
        mut answer: Answer<'v>,
        owner: Owner<'v>,
        zone: &'v Zone,
        steered: Steered,
    ) -> Answer<'v> {
        let guide = self.view.guide();
        let decide = |family| guide.decide(steered, self.asker(), family, self.health, zone.ttl);
        let decisions = [Family::V4, Family::V6].map(|family| (family, decide(family)));
        let scope = decisions.iter().map(|(_, made)| made.coverage.scope).max().unwrap_or_default();
        if !answer.answers.is_empty() && scope > 0 {
            return answer;
        }
        let ttl = decisions.iter().filter_map(|(_, made)| made.coverage.ttl_max).fold(zone.ttl, u32::min);
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
                    answer.answers.push(Record { owner, ttl, data: Data::Https(binding::plain()) });
                    Answer { outcome: Outcome::Fallback, scope, ..answer }
                }
                Some(Verdict::ServFail) => Answer::empty(Outcome::AllDown),
                Some(Verdict::AllDown) => answer.denied_for(Outcome::NobodyUp, zone, ttl),
                Some(Verdict::Pops(_) | Verdict::NoData) | None => answer.denied(Outcome::NoData, zone),
            };
        };
        let pop = first.first();
        let mapped = decisions.iter().all(|(_, made)| made.mapped);
        let sent = Sent { pop, cause: first.cause, mapped };
        let data = match (self.view.cname(pop), self.view.https_port(pop)) {
            (Some(name), _) => Data::Cname(name),
            (None, None) => return answer.denied(Outcome::NoData, zone),
            (None, Some(port)) => {
                let there = chosen()
                    .filter(|(_, chosen)| chosen.pops().iter().all(|pop| self.view.https_port(*pop) == Some(port)));
                let hints = there.flat_map(|(family, chosen)| {
                    guide.addresses(chosen, steered.policy, family, self.health, self.request.id)
                });
                Data::Https(binding::rdata(port, &hints.collect::<Vec<_>>()))
            }
        };
        answer.answers.push(Record { owner, ttl, data });
        Answer { outcome: Outcome::Steered(sent), scope, ..answer }
    }

    /// For types that a steered name has no data of, if all its PoPs are CNAMEs. RFC 1034 section 3.6.2: a CNAME answers
    /// whatever is asked for; the config lets no other records be beside it. Where only some are there is no such data for
    /// anybody, since resolvers keep that for everybody (RFC 7871 section 7.4).
    pub(super) fn pointer(&self, answer: Answer<'v>, owner: Owner<'v>, zone: &'v Zone, steered: Steered) -> Answer<'v> {
        let guide = self.view.guide();
        let decide = |family| guide.decide(steered, self.asker(), family, self.health, zone.ttl);
        let points = |family: &Family| match decide(*family).verdict {
            Verdict::Pops(chosen) => self.view.cname(chosen.first()).is_some(),
            Verdict::Addresses(_) | Verdict::NoData | Verdict::AllDown | Verdict::ServFail => false,
        };
        match [Family::V4, Family::V6].into_iter().find(points) {
            Some(family) => self.steered(answer, owner, zone, steered, family),
            None => answer.denied(Outcome::NoData, zone),
        }
    }

    /// The addresses, or the name, of the PoP for this client; after CNAMEs of ours only if everyone may have them.
    pub(super) fn steered(
        &self,
        mut answer: Answer<'v>,
        owner: Owner<'v>,
        zone: &'v Zone,
        steered: Steered,
        family: Family,
    ) -> Answer<'v> {
        let guide = self.view.guide();
        let decision = guide.decide(steered, self.asker(), family, self.health, zone.ttl);
        if !answer.answers.is_empty() && decision.coverage.scope > 0 {
            return answer;
        }
        let ttl = decision.coverage.ttl_max.map_or(zone.ttl, |max| zone.ttl.min(max));
        let record = |data| Record { owner, ttl, data };
        let scope = decision.coverage.scope;
        match decision.verdict {
            Verdict::Pops(chosen) => {
                match self.view.cname(chosen.first()) {
                    Some(name) => answer.answers.push(record(Data::Cname(name))),
                    None => {
                        let addresses = guide.addresses(&chosen, steered.policy, family, self.health, self.request.id);
                        answer.answers.extend(addresses.into_iter().map(|address| record(Data::from(address))));
                    }
                }
                let sent = Sent { pop: chosen.first(), cause: chosen.cause, mapped: decision.mapped };
                Answer { outcome: Outcome::Steered(sent), scope, ..answer }
            }
            Verdict::Addresses(addresses) => {
                let mut fitting = addresses.iter().copied().filter(|address| Family::of(*address) == family).peekable();
                if fitting.peek().is_none() {
                    return answer.denied_for(Outcome::NobodyUp, zone, ttl);
                }
                answer.answers.extend(fitting.map(|address| record(Data::from(address))));
                Answer { outcome: Outcome::Fallback, scope, ..answer }
            }
            Verdict::NoData => answer.denied(Outcome::NoData, zone),
            Verdict::AllDown => answer.denied_for(Outcome::NobodyUp, zone, ttl),
            Verdict::ServFail => Answer::empty(Outcome::AllDown),
        }
    }
}
