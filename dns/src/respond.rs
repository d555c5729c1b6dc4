//! From the bytes of a query to those of its answer: what every listener does with what it hears.
//!
//! ```text
//!   decode -> answer -> encode -> count
//! ```

use std::net::SocketAddr;

use nearcast_shared::net;
use smallvec::SmallVec;

use crate::answer::{Answer, Outcome, answer};
use crate::edns;
use crate::encode::{self, Opt};
use crate::message::{Request, Silence, decode};
use crate::metrics::{ClientSubnetKind, Dropped, QueryType, RankingSource, Transport, WithoutPop};
use crate::server::Plane;
use crate::view::View;

/// What a listener, or a connection, keeps from query to query.
#[derive(Debug, Default)]
pub(crate) struct Desk {}

impl Plane {
    /// Answers `packet`, which came from `peer`, into `out`: the whole message and nothing else, without the length that goes
    /// before it in a stream. An error says that there is no answer to send; it is not counted yet.
    pub(crate) fn respond(
        &self,
        packet: &[u8],
        peer: SocketAddr,
        transport: Transport,
        _desk: &mut Desk,
        out: &mut Vec<u8>,
    ) -> Result<(), Dropped> {
        let request = decode(packet).map_err(|silence| match silence {
            Silence::Short => Dropped::Short,
            Silence::Response => Dropped::Response,
        })?;
        let (view, health, texts) = (self.view.load(), self.health.table(), self.texts.load());
        let health = view.health(&health);
        let answer = answer(&request, net::unmapped(peer.ip()), &view, &health, self.clock.now(), &texts);
        let kind =
            request.question.as_ref().map_or(QueryType::Other, |question| QueryType::from_number(question.qtype));
        self.metrics.query(kind, answer.outcome.rcode(), transport).inc();
        self.count_steering(&view, &request, &answer);
        let udp_size = view.udp_size();
        let mut options = SmallVec::<[u8; 64]>::new();
        edns::answer_options(&request, &answer, &mut options);
        let limit = match transport {
            Transport::Udp => encode::udp_limit(&request, udp_size),
            Transport::Tcp | Transport::Tls | Transport::Https | Transport::Quic => encode::STREAM_LIMIT,
        };
        encode::encode(&request, &answer, &Opt { udp_size, options: &options }, limit, out);
        Ok(())
    }

    fn count_steering(&self, view: &View, request: &Request<'_>, answer: &Answer<'_>) {
        let subnet = request.edns.and_then(|edns| edns.subnet);
        self.metrics.client_subnet(ClientSubnetKind::of(subnet)).inc();
        match answer.outcome {
            Outcome::Steered(sent) => {
                view.steered_counter(sent.pop, sent.cause).inc();
                self.metrics.ranking(RankingSource::of(sent.mapped)).inc();
                if let Some(subnet) = subnet.and_then(|subnet| subnet.subnet()) {
                    self.metrics.scope(subnet.address, answer.scope).inc();
                }
            }
            Outcome::Fallback => {
                self.metrics.without_pop(WithoutPop::Fallback).inc();
            }
            Outcome::AllDown => {
                self.metrics.without_pop(WithoutPop::AllDown).inc();
            }
            Outcome::NobodyUp => {
                self.metrics.without_pop(WithoutPop::NoData).inc();
            }
            Outcome::Static
            | Outcome::Unsigned
            | Outcome::Explained
            | Outcome::Referral
            | Outcome::NoData
            | Outcome::NoName
            | Outcome::NoNameCompact
            | Outcome::Refused(_)
            | Outcome::Fault(_) => {}
        }
    }

    /// Counts what was not answered.
    pub(crate) fn count_drop(&self, reason: Dropped) {
        self.metrics.dropped(reason).inc();
    }
}
