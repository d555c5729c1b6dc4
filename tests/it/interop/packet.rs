//! Packets as nobody should send them, made byte by byte.

/// `SOA` of the zone that every node here has.
pub(super) const SOA: &[u8] = b"\x03cdn\x04test\0\0\x06\0\x01";
/// An OPT record without options: EDNS version 0, 1232 bytes.
pub(super) const OPT: &[u8] = &[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0];
/// An A record of the question's name.
pub(super) const A: &[u8] = &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1];

/// A packet while it is being made.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    flags: [u8; 2],
    counts: [u16; 4],
    body: Vec<u8>,
    /// The flags of its OPT record, if it has one that can be answered.
    pub(super) opt: Option<u16>,
    /// Codes of the options that the answer has, in order.
    pub(super) gets: Vec<u16>,
}

impl Packet {
    /// A question, as it is on the wire.
    pub(super) fn asking(question: &[u8]) -> Self {
        Self { flags: [0, 0], counts: [1, 0, 0, 0], body: question.to_vec(), opt: None, gets: Vec::new() }
    }

    /// For the zone's SOA.
    pub(super) fn soa() -> Self {
        Self::asking(SOA)
    }

    /// For this type and class of the zone's name.
    pub(super) fn of(qtype: u16, class: u16) -> Self {
        Self::asking(&[&SOA[..10], &qtype.to_be_bytes(), &class.to_be_bytes()].concat())
    }

    /// For the A record of a name with these labels before the zone's.
    pub(super) fn named(labels: &[&[u8]]) -> Self {
        let before: Vec<u8> = labels.iter().flat_map(|label| [&[label.len() as u8], *label].concat()).collect();
        Self::asking(&[&before, &SOA[..10], &[0, 1, 0, 1]].concat())
    }

    /// With these bits of the third and fourth byte.
    pub(super) fn flags(self, third: u8, fourth: u8) -> Self {
        Self { flags: [third, fourth], ..self }
    }

    /// With this operation.
    pub(super) fn opcode(self, opcode: u8) -> Self {
        self.flags(opcode << 3, 0)
    }

    /// So many questions, answers, authority and additional records are said to be there.
    pub(super) fn counts(self, counts: [u16; 4]) -> Self {
        Self { counts, ..self }
    }

    /// With a record in this section: 1 to 3.
    pub(super) fn record(mut self, section: usize, record: &[u8]) -> Self {
        self.counts[section] += 1;
        self.trailing(record)
    }

    /// With an OPT record of this version and these flags and options.
    pub(super) fn edns(mut self, version: u8, flags: u16, options: &[u8]) -> Self {
        let [high, low] = flags.to_be_bytes();
        let [length_high, length_low] = (options.len() as u16).to_be_bytes();
        let head = [0, 0, 41, 0x04, 0xd0, 0, version, high, low, length_high, length_low];
        self.opt = Some(flags);
        self.record(3, &[&head, options].concat())
    }

    /// With an OPT record of this one option.
    pub(super) fn option(self, code: u8, data: &[u8]) -> Self {
        self.edns(0, 0, &option(code, data))
    }

    /// With these bytes, which no count tells of.
    pub(super) fn trailing(mut self, bytes: &[u8]) -> Self {
        self.body.extend(bytes);
        self
    }

    /// With another size of UDP answers, in the OPT record that ends it.
    pub(super) fn size(mut self, size: u16) -> Self {
        let at = self.body.len() - OPT.len() + 3;
        self.body[at..at + 2].copy_from_slice(&size.to_be_bytes());
        self
    }

    /// Cut after so many bytes of what follows the header.
    pub(super) fn cut(mut self, length: usize) -> Self {
        self.body.truncate(length);
        self
    }

    /// An answer that has the options of these codes, and no others.
    pub(super) fn gets(mut self, codes: &[u16]) -> Self {
        self.gets = codes.to_vec();
        self
    }

    /// The question, if it is one that can be read.
    pub(super) fn question(&self) -> &[u8] {
        let mut end = 0;
        while let Some(length @ 1..=63) = self.body.get(end) {
            end += 1 + usize::from(*length);
        }
        let is_name = self.body.get(end) == Some(&0) && end < 255;
        self.body.get(..end + 5).filter(|_| is_name && self.counts[0] == 1).unwrap_or_default()
    }

    /// On the wire.
    pub(super) fn bytes(&self, id: u16) -> Vec<u8> {
        let counts = self.counts.iter().flat_map(|count| count.to_be_bytes());
        let head = id.to_be_bytes().into_iter().chain(self.flags).chain(counts);
        head.chain(self.body.iter().copied()).collect()
    }
}

/// An EDNS option.
pub(super) fn option(code: u8, data: &[u8]) -> Vec<u8> {
    [&[0, code, 0, data.len() as u8], data].concat()
}
