//! Replies as far as their form goes. hickory-proto refuses some that are right, such as with a client subnet of family 0.

/// A reply.
#[derive(Debug)]
pub(super) struct Reply {
    /// All bits of it, those of the OPT record too.
    pub(super) rcode: u16,
    pub(super) truncated: bool,
    pub(super) answers: u16,
    /// As on the wire; empty when there is none.
    pub(super) question: Vec<u8>,
    pub(super) opt: Option<Opt>,
}

/// Its OPT record.
#[derive(Debug)]
pub(super) struct Opt {
    pub(super) version: u8,
    pub(super) flags: u16,
    /// Codes, in their order.
    pub(super) options: Vec<u16>,
}

impl Reply {
    /// `None` unless it is a whole message with nothing behind it.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        let mut at = 12;
        for _ in 0..number(4)? {
            at = after_name(bytes, at)? + 4;
        }
        let question = bytes.get(12..at)?.to_vec();
        let (mut opt, mut extended) = (None, 0);
        for _ in 0..u32::from(number(6)?) + u32::from(number(8)?) + u32::from(number(10)?) {
            let head = after_name(bytes, at)?;
            let end = head + 10 + usize::from(number(head + 8)?);
            if number(head)? == 41 {
                extended = u16::from(*bytes.get(head + 4)?) << 4;
                let options = codes(bytes.get(head + 10..end)?)?;
                opt = Some(Opt { version: *bytes.get(head + 5)?, flags: number(head + 6)?, options });
            }
            at = end;
        }
        let rcode = u16::from(bytes[3] & 0x0f) | extended;
        let whole = at == bytes.len();
        whole.then_some(Self { rcode, truncated: bytes[2] & 2 != 0, answers: number(6)?, question, opt })
    }
}

fn after_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            _ => return Some(at + 2),
        }
    }
}

fn codes(mut options: &[u8]) -> Option<Vec<u16>> {
    let mut all = Vec::new();
    while let [a, b, c, d, rest @ ..] = options {
        all.push(u16::from_be_bytes([*a, *b]));
        options = rest.get(usize::from(u16::from_be_bytes([*c, *d]))..)?;
    }
    options.is_empty().then_some(all)
}
