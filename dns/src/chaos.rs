//! Class CHAOS: what the server says of itself, if its operator wants it to (RFC 4892).
//!
//! ```text
//!   version.bind, version.server     which software
//!   hostname.bind, id.server         which node
//! ```

use crate::message::Question;

/// QCLASS of it.
pub(crate) const CLASS: u16 = 3;

const TXT: u16 = 16;
const ANY: u16 = 255;

/// What is asked of the server itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    Version,
    Id,
}

/// What a question is about, if it is one of these.
pub(crate) fn about(question: Question<'_>) -> Option<About> {
    if question.qclass != CLASS || !matches!(question.qtype, TXT | ANY) {
        return None;
    }
    let is = |name: &[u8]| question.name.eq_ignore_ascii_case(name);
    if is(b"\x07version\x04bind\0") || is(b"\x07version\x06server\0") {
        Some(About::Version)
    } else if is(b"\x08hostname\x04bind\0") || is(b"\x02id\x06server\0") {
        Some(About::Id)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::message::decode;

    #[test]
    fn questions() {
        // (name, class, type, what it is about)
        let rows = [
            ("version.bind", 3, 16, Some(About::Version)),
            ("VERSION.Server", 3, 16, Some(About::Version)),
            ("version.bind", 3, 255, Some(About::Version)),
            ("hostname.bind", 3, 16, Some(About::Id)),
            ("id.server", 3, 16, Some(About::Id)),
            ("version.bind", 3, 1, None),
            ("version.bind", 1, 16, None),
            ("version.bind", 4, 16, None),
            ("authors.bind", 3, 16, None),
            ("x.version.bind", 3, 16, None),
            ("", 3, 16, None),
        ];
        for (name, class, qtype, wanted) in rows {
            let mut packet = fixture::query(name, qtype);
            *packet.last_mut().unwrap() = class;
            let question = decode(&packet).unwrap().question.unwrap();
            assert_eq!(about(question), wanted, "{name} {class} {qtype}");
        }
    }
}
