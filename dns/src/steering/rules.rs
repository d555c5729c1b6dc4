//! Which rule of a policy is about a client. The closest word counts: the longest network, then the autonomous system,
//! the subdivision, the country, the continent. The config lets nothing stand in two rules.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use nearcast_shared::config::{Policy, PolicyRule};
use nearcast_shared::geo::Place;
#[cfg(doc)]
use nearcast_shared::net;

use crate::map::table::{Tables, nested};

/// Stands for a rule's number where addresses have IPv4 addresses inside, by which they are looked up ([`net::effective`]): a
/// prefix around has to end there.
pub(crate) const EMBEDDED: u16 = u16::MAX;

/// IPv4-mapped, 6to4 and Teredo: first address and length.
const EMBEDDING: [(u128, u8); 3] = [(0xffff << 32, 96), (0x2002 << 112, 16), (0x2001 << 112, 32)];

/// The rules of a policy, ready to be asked.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Per network the rule's position plus one; 0 where none is about the network; [`EMBEDDED`].
    networks: Tables,
    asns: HashMap<u32, usize>,
    subdivisions: HashMap<String, usize>,
    countries: HashMap<String, usize>,
    continents: HashMap<String, usize>,
}

/// What is known of a client beside its address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) place: &'a Place,
    pub(crate) asn: Option<u32>,
}

impl Rules {
    pub(crate) fn new(policy: &Policy) -> Self {
        let (mut v4, mut v6) = (Vec::new(), EMBEDDING.map(|(first, length)| (first, length, EMBEDDED)).to_vec());
        // The config allows far fewer rules.
        for (rule, number) in policy.rules.iter().zip(1..EMBEDDED) {
            for network in &rule.networks {
                match network {
                    IpNet::V4(network) => v4.push((network.network().to_bits(), network.prefix_len(), number)),
                    IpNet::V6(network) => v6.push((network.network().to_bits(), network.prefix_len(), number)),
                }
            }
        }
        Self {
            networks: Tables { v4: nested(v4, 0), v6: nested(v6, 0) },
            asns: positions(policy, |rule| &rule.asns),
            subdivisions: positions(policy, |rule| &rule.subdivisions),
            countries: positions(policy, |rule| &rule.countries),
            continents: positions(policy, |rule| &rule.continents),
        }
    }

    /// Per network the rule's position plus one, or 0, or [`EMBEDDED`].
    pub(crate) fn networks(&self) -> &Tables {
        &self.networks
    }

    /// The rule that names the network of `address`, and the length of the prefix in which it does or none does.
    pub(crate) fn of_network(&self, address: IpAddr) -> (Option<usize>, u8) {
        let (number, length) = self.networks.lookup(address);
        (usize::from(number).checked_sub(1).filter(|_| number != EMBEDDED), length)
    }

    /// The rule about clients of whom that is known, when none names their network.
    pub(crate) fn of_facts(&self, facts: Facts<'_>) -> Option<usize> {
        let of_asn = || facts.asn.and_then(|asn| self.asns.get(&asn));
        let of = |code: &Option<String>, rules: &HashMap<String, usize>| {
            let code = code.as_ref().filter(|_| !rules.is_empty())?;
            rules.get(&code.to_uppercase()).copied()
        };
        of_asn()
            .copied()
            .or_else(|| of(&facts.place.subdivision, &self.subdivisions))
            .or_else(|| of(&facts.place.country, &self.countries))
            .or_else(|| of(&facts.place.continent, &self.continents))
    }
}

fn positions<T: Clone + Eq + std::hash::Hash>(
    policy: &Policy,
    of: impl Fn(&PolicyRule) -> &Vec<T>,
) -> HashMap<T, usize> {
    let all = policy.rules.iter().enumerate();
    all.flat_map(|(position, rule)| of(rule).iter().map(move |what| (what.clone(), position))).collect()
}
