//! What the fuzz targets and the benchmarks need of this crate and nobody else does: no part of its interface.

use std::net::{IpAddr, SocketAddr};

use nearcast_shared::clock::Timestamp;

use crate::cookie::{Cookie, Keys};
use crate::dnssec;
use crate::ecs::ClientSubnet;
use crate::message::{Fault, decode};
use crate::metrics::{CookieState, Lane, Transport};
use crate::name::Name;
use crate::respond::{Desk, Sitting};
use crate::server::Plane;

/// A query as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The same in the answer.
    pub id: u16,
    /// Four bits.
    pub opcode: u8,
    /// RD.
    pub recursion_desired: bool,
    /// The name as it came, the type and the class; `None` when there was not exactly one that could be read.
    pub question: Option<(Vec<u8>, u16, u16)>,
    /// The size, the version and DO of the OPT record.
    pub edns: Option<(u16, u8, bool)>,
    /// What is answered in place of an answer.
    pub fault: Option<Wrong>,
}

/// What is wrong with a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// NOTIMP.
    Opcode,
    /// FORMERR.
    Malformed,
    /// BADVERS.
    Version,
}

/// Reads a packet; `None` for what is not answered at all.
pub fn read(packet: &[u8]) -> Option<Read> {
    let request = decode(packet).ok()?;
    Some(Read {
        id: request.id,
        opcode: request.opcode,
        recursion_desired: request.recursion_desired,
        question: request.question.map(|question| {
            let (name, _) = question.wire.split_at(question.name.wire().len());
            (name.to_vec(), question.qtype, question.qclass)
        }),
        edns: request.edns.map(|edns| (edns.udp_size, edns.version, edns.dnssec_ok)),
        fault: request.fault.map(|fault| match fault {
            Fault::Opcode => Wrong::Opcode,
            Fault::Malformed(_) | Fault::NoQuestion | Fault::QueryType => Wrong::Malformed,
            Fault::Version => Wrong::Version,
        }),
    })
}

/// Reads the data of an ECS option: the network it names, if any; an error for what is a format error.
#[expect(clippy::result_unit_err, reason = "what is wrong with it is the same to everybody")]
pub fn subnet(data: &[u8]) -> Result<Option<(IpAddr, u8)>, ()> {
    let subnet = ClientSubnet::parse(data).map_err(|_| ())?;
    Ok(subnet.subnet().map(|subnet| (subnet.address, subnet.source)))
}

/// Reads the data of a cookie option of `client` under a fixed secret: whether it is valid, and what is answered; `None` for
/// what is a format error.
pub fn cookie(data: &[u8], client: IpAddr, now: Timestamp) -> Option<(bool, Option<Vec<u8>>)> {
    let cookie = Cookie::parse(data)?;
    let judged = Keys::new(vec![[7; 16], [8; 16]]).judge(cookie, client, now);
    Some((judged.state == CookieState::Valid, judged.answer.map(|answer| answer.to_vec())))
}

/// Reads a key from the texts of its two files, and writes both again; `None` for what is no key of `zone`.
pub fn key_files(public: &str, private: &str, zone: &Name) -> Option<(String, String)> {
    dnssec::rewritten(public, private, zone)
}

/// What a packet is answered over one transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Whether it has to fit a datagram.
    pub is_datagram: bool,
    /// Whether it is that over HTTPS.
    pub is_https: bool,
    /// `None` when there is nothing to send.
    pub reply: Option<Vec<u8>>,
}

/// Answers `packet` as each transport would.
pub fn respond(plane: &Plane, packet: &[u8], peer: SocketAddr) -> Vec<Said> {
    let over = |transport| {
        let mut reply = Vec::new();
        let answered = plane.respond(packet, peer, transport, &mut Desk::default(), &mut reply).is_ok();
        Said {
            is_datagram: transport == Transport::Udp,
            is_https: transport == Transport::Https,
            reply: answered.then_some(reply),
        }
    };
    Transport::ALL.map(over).to_vec()
}

/// Answers `packet` three times, as a thread of UDP does that remembers: the third answer may be the second one.
pub fn repeated(plane: &Plane, packet: &[u8], peer: SocketAddr) -> [Option<Vec<u8>>; 3] {
    let mut desk = Desk::of_thread(1);
    let mut sitting = Sitting::new(plane, &mut desk);
    [(); 3].map(|()| {
        let mut reply = Vec::new();
        sitting.respond(packet, peer, &mut reply).is_ok().then_some(reply)
    })
}

/// Answers as a thread of UDP does.
#[derive(Debug)]
pub struct Datagrams<'p> {
    plane: &'p Plane,
    desk: Desk,
    reply: Vec<u8>,
    _lane: Lane,
}

impl<'p> Datagrams<'p> {
    /// On this thread, which may remember so many answers.
    pub fn new(plane: &'p Plane, remembered: usize) -> Self {
        Self { plane, desk: Desk::of_thread(remembered), reply: Vec::new(), _lane: Lane::take() }
    }

    /// Answers all of a batch; shows each reply.
    pub fn answer(&mut self, batch: &[(Vec<u8>, SocketAddr)], mut replied: impl FnMut(&[u8])) {
        let Self { plane, desk, reply, .. } = self;
        let mut sitting = Sitting::new(plane, desk);
        for (packet, peer) in batch {
            if sitting.respond(packet, *peer, reply).is_ok() {
                replied(reply);
            }
        }
    }
}
