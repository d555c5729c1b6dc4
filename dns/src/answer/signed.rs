//! The signatures of an answer's sets. Not pure, as the rest of answering is: signatures are made and kept on the way.

use nearcast_shared::clock::Timestamp;

use super::{Answer, Owner};
use crate::dnssec::{self, Asker, Local, Pool, Refused, Signers};
use crate::message::Request;

impl Answer<'_> {
    /// Puts signatures to the sets of signed zones, if the query wants them. `wall` is what the machine's clock says.
    pub(crate) fn sign(
        &mut self,
        request: &Request<'_>,
        signers: &Signers,
        local: &mut Local,
        asker: Asker,
        wall: Timestamp,
    ) -> Result<(), Refused> {
        let Some(question) = request.question.as_ref().filter(|_| request.edns.is_some_and(|edns| edns.dnssec_ok))
        else {
            return Ok(());
        };
        for set in self.answers.iter_mut().chain(&mut self.authority) {
            let Some(keys) = set.zone.and_then(|zone| zone.keys.as_ref()) else { continue };
            let owner = match set.owner {
                Owner::Question => question.name.wire(),
                Owner::Name(name) => name.wire(),
                Owner::Wire(wire) => wire,
            };
            let data = &set.data;
            let rdatas = |each: &mut dyn FnMut(&[u8])| data.for_each(each);
            let about = dnssec::Set { owner, rtype: data.rtype(), ttl: set.ttl_original, rdatas: &rdatas };
            let pool = if set.passing { Pool::Passing } else { Pool::Kept };
            set.signatures = signers.sign(keys, local, &about, pool, asker, wall)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
