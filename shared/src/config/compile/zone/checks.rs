//! Whether a zone's records agree with one another and with the rest of the config. Pure.

use std::collections::HashMap;

use super::super::super::Record;
use super::super::super::mistake::Place;
use super::Placed;
use crate::name::{Name, suffixes};
use crate::rtype;

/// What else is known of the zone.
pub(super) struct Grounds<'a> {
    pub(super) apex: &'a Name,
    pub(super) claims: Vec<Claim>,
    /// Our own zones within this one.
    pub(super) children: Vec<Name>,
}

/// A name that has addresses from elsewhere in the config.
pub(super) struct Claim {
    pub(super) name: Name,
    pub(super) kind: Kind,
    /// Who claims it.
    pub(super) owner: String,
}

/// What kind of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Those that everyone gets.
    Pop {
        /// Whether it is a CNAME instead.
        alias: bool,
    },
    /// Those that depend on who asks.
    Steered {
        /// Whether some get a CNAME instead.
        alias: bool,
    },
}

/// Something to tell of a record.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) place: Place,
    pub(super) severity: Severity,
    pub(super) message: String,
    /// Where the record is that it does not agree with.
    pub(super) first: Option<Place>,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    /// The config is refused.
    Mistake,
    /// It is told.
    Warning,
}

/// The records that count, each once and sorted, and what is to be told of them.
pub(super) fn check(grounds: &Grounds<'_>, mut placed: Placed) -> (Placed, Vec<Finding>) {
    let mut findings = Findings(Vec::new());
    placed.retain(|(place, record)| belongs(grounds, place, record, &mut findings));
    // A stable sort: of what is there twice, the first is first.
    placed.sort_by(|(_, a), (_, b)| (a.name.wire(), a.rtype).cmp(&(b.name.wire(), b.rtype)));
    let placed = without_duplicates(placed, &mut findings);
    let zone = Zone::new(grounds, &placed);
    for set in placed.chunk_by(|(_, a), (_, b)| a.name == b.name && a.rtype == b.rtype) {
        one_ttl(set, &mut findings);
    }
    for (place, record) in &placed {
        zone.beside_others(place, record, &mut findings);
        zone.beside_claims(place, record, &mut findings);
        zone.below_a_cut(place, record, &mut findings);
        zone.in_its_place(place, record, &mut findings);
        zone.target(place, record, &mut findings);
    }
    for claim in &grounds.claims {
        zone.claim_below_a_cut(claim, &placed, &mut findings);
    }
    (placed, findings.0)
}

struct Findings(Vec<Finding>);

impl Findings {
    fn mistake(&mut self, place: &Place, message: String) {
        self.0.push(Finding { place: place.clone(), severity: Severity::Mistake, message, first: None });
    }

    fn warning(&mut self, place: &Place, message: String) {
        self.0.push(Finding { place: place.clone(), severity: Severity::Warning, message, first: None });
    }
}

/// Whether the zone has a say on the record's name. Of a zone of ours within it, a parent has the NS set, which is the
/// child's own word, addresses for it, which are the child's, too, and the DS set, which is the parent's.
fn belongs(grounds: &Grounds<'_>, place: &Place, record: &Record, findings: &mut Findings) -> bool {
    let name = &record.name;
    if !grounds.apex.holds(name) {
        findings.mistake(place, format!("`{name}` is not in the zone {}", grounds.apex));
        return false;
    }
    let Some(child) = grounds.children.iter().find(|child| child.holds(name)) else { return true };
    match record.rtype {
        rtype::DS if child == name => true,
        rtype::NS if child == name => false,
        rtype::A | rtype::AAAA => false,
        _ => {
            findings.mistake(place, format!("`{name}` is in the zone {child}, which is one of ours: write it there"));
            false
        }
    }
}

/// RFC 2181 section 5: of records with the same name, type and data there is one.
fn without_duplicates(placed: Placed, findings: &mut Findings) -> Placed {
    let mut seen: HashMap<(Name, u16, Vec<u8>), Place> = HashMap::new();
    let mut kept = Vec::with_capacity(placed.len());
    for (place, record) in placed {
        let key = (record.name.clone(), record.rtype, canonical(&record));
        match seen.get(&key) {
            Some(first) => {
                let message = format!("{} {} is there twice", record.name, rtype::text(record.rtype));
                findings.0.push(Finding { place, severity: Severity::Warning, message, first: Some(first.clone()) });
            }
            None => {
                seen.insert(key, place.clone());
                kept.push((place, record));
            }
        }
    }
    kept
}

/// The data, the name in it in lower case: letter case is a matter of names, not of the bytes of numbers.
fn canonical(record: &Record) -> Vec<u8> {
    let mut rdata = record.rdata.to_vec();
    if let Some(name) = rtype::target_range(record.rtype, &rdata).and_then(|range| rdata.get_mut(range)) {
        name.make_ascii_lowercase();
    }
    rdata
}

/// RFC 2181 section 5.2: "[..] the TTLs of all RRs in an RRSet must be the same."
fn one_ttl(set: &[(Place, Record)], findings: &mut Findings) {
    let Some((first_place, first)) = set.first() else { return };
    for (place, record) in set.iter().filter(|(_, record)| record.ttl != first.ttl) {
        let message = format!(
            "{} {} has a TTL of {}, but the first of its type {}; they must be the same",
            record.name,
            rtype::text(record.rtype),
            record.ttl,
            first.ttl
        );
        let (place, first) = (place.clone(), Some(first_place.clone()));
        findings.0.push(Finding { place, severity: Severity::Mistake, message, first });
    }
}

/// What is where.
struct Zone<'a> {
    grounds: &'a Grounds<'a>,
    types: HashMap<&'a [u8], Vec<u16>>,
    claims: HashMap<&'a [u8], &'a Claim>,
}

impl<'a> Zone<'a> {
    fn new(grounds: &'a Grounds<'a>, placed: &'a [(Place, Record)]) -> Self {
        let mut types: HashMap<&[u8], Vec<u16>> = HashMap::new();
        for (_, record) in placed {
            types.entry(record.name.wire()).or_default().push(record.rtype);
        }
        // The first claim counts, as it does in answers.
        let claims = grounds.claims.iter().rev().map(|claim| (claim.name.wire(), claim)).collect();
        Self { grounds, types, claims }
    }

    fn has(&self, name: &[u8], rtype: u16) -> bool {
        self.types.get(name).is_some_and(|types| types.contains(&rtype))
    }

    fn has_address(&self, name: &[u8]) -> bool {
        self.has(name, rtype::A) || self.has(name, rtype::AAAA) || self.claims.contains_key(name)
    }

    /// The topmost delegation at or above a name.
    fn cut<'n>(&self, name: &'n [u8]) -> Option<&'n [u8]> {
        let apex = self.grounds.apex.wire();
        let inside = suffixes(name).take_while(|suffix| *suffix != apex);
        inside.filter(|suffix| self.has(suffix, rtype::NS)).last()
    }

    /// RFC 1034 section 3.6.2: "If a CNAME RR is present at a node, no other data should be present [..]". One CNAME is
    /// meant, too.
    fn beside_others(&self, place: &Place, record: &Record, findings: &mut Findings) {
        if record.rtype != rtype::CNAME {
            return;
        }
        let types = self.types.get(record.name.wire()).map(Vec::as_slice).unwrap_or_default();
        let others: Vec<String> =
            types.iter().filter(|other| **other != rtype::CNAME).map(|t| rtype::text(*t)).collect();
        if !others.is_empty() {
            let message = format!("{} has a CNAME and also {}; a CNAME is alone", record.name, others.join(", "));
            findings.mistake(place, message);
        } else if types.len() > 1 {
            findings.mistake(place, format!("{} has {} CNAMEs; there may be one", record.name, types.len()));
        }
    }

    fn beside_claims(&self, place: &Place, record: &Record, findings: &mut Findings) {
        let Some(claim) = self.claims.get(record.name.wire()) else { return };
        let (name, rtype, owner) = (&record.name, rtype::text(record.rtype), &claim.owner);
        let clashes = match record.rtype {
            rtype::A | rtype::AAAA | rtype::CNAME => true,
            rtype::HTTPS => matches!(claim.kind, Kind::Steered { .. }),
            rtype::NS => name != self.grounds.apex,
            _ => false,
        };
        let why = match claim.kind {
            Kind::Steered { alias: true } if name != self.grounds.apex => "its policy may choose a PoP that is a CNAME",
            Kind::Pop { alias: true } => "it is a CNAME",
            Kind::Pop { alias: false } if clashes => "it has that PoP's addresses",
            Kind::Steered { .. } if clashes => "it is steered",
            Kind::Pop { alias: false } | Kind::Steered { .. } => return,
        };
        findings.mistake(place, format!("{name} is {owner}, and {why}: it cannot have {rtype} records of its own"));
    }

    /// RFC 1034 section 4.2.1: below a delegation a zone has nothing but the addresses of name servers ("glue").
    fn below_a_cut(&self, place: &Place, record: &Record, findings: &mut Findings) {
        let Some(cut) = self.cut(record.name.wire()) else { return };
        let at_cut = cut == record.name.wire();
        let fits = match record.rtype {
            rtype::NS | rtype::DS => at_cut,
            rtype::A | rtype::AAAA => true,
            _ => false,
        };
        if !fits {
            let (name, rtype, cut) = (&record.name, rtype::text(record.rtype), shown(cut));
            findings.mistake(place, format!("{name} {rtype} is never answered: {cut} is delegated"));
        }
    }

    fn claim_below_a_cut(&self, claim: &Claim, placed: &[(Place, Record)], findings: &mut Findings) {
        let Some(cut) = self.cut(claim.name.wire()).filter(|cut| *cut != claim.name.wire()) else { return };
        let delegation = placed.iter().find(|(_, record)| record.rtype == rtype::NS && record.name.wire() == cut);
        if let Some((place, _)) = delegation {
            let message = format!("{} is delegated, but {} below it is {}", shown(cut), claim.name, claim.owner);
            findings.mistake(place, message);
        }
    }

    /// Types that belong to certain names.
    fn in_its_place(&self, place: &Place, record: &Record, findings: &mut Findings) {
        let (name, apex) = (&record.name, self.grounds.apex);
        let types = self.types.get(name.wire()).map(Vec::as_slice).unwrap_or_default();
        match record.rtype {
            rtype::SOA if name != apex => {
                findings.mistake(place, format!("{name} has a SOA record, but the zone is {apex}"));
            }
            rtype::SOA if types.iter().filter(|rtype| **rtype == rtype::SOA).count() > 1 => {
                findings.mistake(place, "there may be one SOA record".to_owned());
            }
            // RFC 4592 section 4.2: "[..] the use of a wildcard NS RRset is discouraged".
            rtype::NS if name.is_wildcard() => {
                findings
                    .mistake(place, format!("{name}: a wildcard cannot be delegated; write NS records for each name"));
            }
            // RFC 4035 section 2.4: "[..] a DS RRset SHOULD be present at a delegation point", and nowhere else.
            rtype::DS if !types.contains(&rtype::NS) && !self.grounds.children.contains(name) || name == apex => {
                findings.mistake(place, format!("{name} has a DS record but is no delegation"));
            }
            _ => {}
        }
    }

    /// Where a record points to within the zone there should be something to go on with.
    fn target(&self, place: &Place, record: &Record, findings: &mut Findings) {
        let Some(target) = rtype::target(record.rtype, &record.rdata).and_then(Name::from_wire) else { return };
        let (name, rtype) = (&record.name, rtype::text(record.rtype));
        let ours = self.grounds.apex.holds(&target) && !self.grounds.children.iter().any(|child| child.holds(&target));
        if !ours {
            return;
        }
        match record.rtype {
            // RFC 2181 section 10.3: "The domain name used as the value of a NS resource record, or part of the value of a
            // MX resource record must not be an alias."
            rtype::NS | rtype::MX | rtype::SRV if self.has(target.wire(), rtype::CNAME) => {
                findings.warning(place, format!("{name} {rtype} points to {target}, which is a CNAME"));
            }
            rtype::NS if self.has_address(target.wire()) => {}
            rtype::NS => {
                let needed = name == self.grounds.apex || self.cut(target.wire()).is_some();
                let message = format!("{name} NS points to {target}, which has no address in this zone");
                if needed { findings.mistake(place, message) } else { findings.warning(place, message) }
            }
            rtype::MX | rtype::SRV
                if !self.has_address(target.wire()) && self.cut(target.wire()).is_none() && !self.wildcard(&target) =>
            {
                findings.warning(place, format!("{name} {rtype} points to {target}, which has no address"));
            }
            _ => {}
        }
    }

    /// Whether some wildcard could give the name its data.
    fn wildcard(&self, name: &Name) -> bool {
        suffixes(name.wire()).skip(1).any(|above| {
            let wildcard = [b"\x01*", above].concat();
            self.types.contains_key(wildcard.as_slice())
        })
    }
}

fn shown(wire: &[u8]) -> String {
    Name::from_wire(wire).map(|name| name.to_string()).unwrap_or_default()
}
