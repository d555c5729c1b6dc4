//! Class CHAOS: what the server says of itself, if its operator wants it to (RFC 4892).
//!
//! ```text
//!   version.bind, version.server     which software
//!   hostname.bind, id.server         which node
//! ```

use nearcast_shared::rtype;

use crate::message::Question;

/// QCLASS of it.
const CLASS: u16 = 3;

/// What is asked of the server itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    Version,
    Id,
}

/// What a question is about, if it is one of these.
pub(crate) fn about(question: &Question<'_>) -> Option<About> {
    if question.qclass != CLASS || !matches!(question.qtype, rtype::TXT | rtype::ANY) {
        return None;
    }
    match question.name.wire() {
        b"\x07version\x04bind\0" | b"\x07version\x06server\0" => Some(About::Version),
        b"\x08hostname\x04bind\0" | b"\x02id\x06server\0" => Some(About::Id),
        _ => None,
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
            assert_eq!(about(&question), wanted, "{name} {class} {qtype}");
        }
    }
}
