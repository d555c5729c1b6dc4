//! What the OPT record of an answer says: the options, in the order in which they are written.

use smallvec::SmallVec;

use crate::cookie::{self, Baked};
use crate::ecs::{self, ClientSubnet};
use crate::edns::{KEEPALIVE, NSID, PADDING};

/// The option code of extended errors, RFC 8914 section 2.
const EXTENDED_ERROR: u16 = 15;
/// RFC 8467 section 4.1: the server "SHOULD pad the corresponding response to a multiple of 468 octets".
const PADDED_TO: usize = 468;
/// Bytes of an option's code and length.
const HEAD: usize = 4;

/// The options of an answer. Those that the query did not ask for are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Extras<'a> {
    /// Whom the query was for, and for which prefix length around it the answer holds.
    pub(crate) subnet: Option<(ClientSubnet<'a>, u8)>,
    /// Why it is an error, RFC 8914.
    pub(crate) error: Option<ExtendedError>,
    /// What the client is to send with its next query.
    pub(crate) cookie: Option<Baked>,
    /// Who answers, RFC 5001.
    pub(crate) nsid: Option<&'a [u8]>,
    /// How long a connection may be idle, in tenths of a second (RFC 7828).
    pub(crate) keepalive: Option<u16>,
    /// Whether the message's length is to tell less of it.
    pub(crate) padded: bool,
}

/// An INFO-CODE of RFC 8914, with words where the code alone does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExtendedError {
    pub(crate) code: u16,
    pub(crate) text: &'static str,
}

impl Extras<'_> {
    /// Writes the options to `out`; padding comes last, when the message is there, by [`Extras::pad`].
    pub(crate) fn write(&self, out: &mut SmallVec<[u8; 64]>) {
        let mut option = |code: u16, parts: &[&[u8]]| {
            // No option of ours comes near 16 bits.
            let length = parts.iter().map(|part| part.len()).sum::<usize>() as u16;
            out.extend_from_slice(&code.to_be_bytes());
            out.extend_from_slice(&length.to_be_bytes());
            parts.iter().for_each(|part| out.extend_from_slice(part));
        };
        if let Some((subnet, scope)) = self.subnet {
            let (head, address) = subnet.echo(scope);
            option(ecs::CODE, &[&head, address]);
        }
        if let Some(error) = self.error {
            option(EXTENDED_ERROR, &[&error.code.to_be_bytes(), error.text.as_bytes()]);
        }
        if let Some(cookie) = &self.cookie {
            option(cookie::CODE, &[cookie]);
        }
        if let Some(nsid) = self.nsid {
            option(NSID, &[nsid]);
        }
        if let Some(tenths) = self.keepalive {
            option(KEEPALIVE, &[&tenths.to_be_bytes()]);
        }
    }

    /// Pads a message that ends with an OPT record and so many bytes of options, if it is to be padded.
    pub(crate) fn pad(&self, options: usize, message: &mut Vec<u8>, limit: usize) {
        let Some(zeros) = padding(message.len(), limit).filter(|_| self.padded) else { return };
        let length = u16::try_from(options + HEAD + zeros).unwrap_or(u16::MAX).to_be_bytes();
        // The options' length stands before them.
        let Some(at) = message.len().checked_sub(options + 2) else { return };
        message[at..at + 2].copy_from_slice(&length);
        message.extend_from_slice(&PADDING.to_be_bytes());
        message.extend_from_slice(&(zeros as u16).to_be_bytes());
        message.resize(message.len() + zeros, 0);
    }
}

/// Zeros that pad a message of that length, as far as the limit allows; `None` when there is no room for the option itself.
fn padding(length: usize, limit: usize) -> Option<usize> {
    let bare = length + HEAD;
    bare.next_multiple_of(PADDED_TO).min(limit).checked_sub(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(extras: &Extras<'_>) -> Vec<u8> {
        let mut out = SmallVec::new();
        extras.write(&mut out);
        out.into_vec()
    }

    #[test]
    fn each_option() {
        let raw = [0, 1, 20, 0, 192, 0, 0x10];
        let none = Extras::default();
        let error = Some(ExtendedError { code: 20, text: "no" });
        let rows: [(&str, Extras<'_>, &[u8]); 7] = [
            ("none", none, &[]),
            (
                "subnet",
                Extras { subnet: Some((ClientSubnet::parse(&raw).unwrap(), 16)), ..none },
                &[0, 8, 0, 7, 0, 1, 20, 16, 192, 0, 0x10],
            ),
            ("error", Extras { error, ..none }, &[0, 15, 0, 4, 0, 20, b'n', b'o']),
            (
                "cookie",
                Extras { cookie: Some([9; 24]), ..none },
                &[0, 10, 0, 24, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9],
            ),
            ("nsid", Extras { nsid: Some(b"fra"), ..none }, &[0, 3, 0, 3, b'f', b'r', b'a']),
            ("keepalive", Extras { keepalive: Some(300), ..none }, &[0, 11, 0, 2, 1, 44]),
            (
                "several",
                Extras { keepalive: Some(1), nsid: Some(b"f"), ..none },
                &[0, 3, 0, 1, b'f', 0, 11, 0, 2, 0, 1],
            ),
        ];
        for (name, extras, wanted) in rows {
            assert_eq!(written(&extras), wanted, "{name}");
        }
    }

    #[test]
    fn padding_fills_blocks() {
        let extras = Extras { padded: true, keepalive: Some(1), ..Extras::default() };
        let options = written(&extras);
        // (bytes before, limit, bytes of the whole message)
        let rows = [
            (40, 65_535, 468),
            (464, 65_535, 468),
            (465, 65_535, 936),
            (1000, 65_535, 1404),
            (65_000, 65_535, 65_052),
            (65_100, 65_535, 65_520),
            // As far as there is room.
            (65_530, 65_535, 65_535),
            (65_531, 65_535, 65_535),
            (65_532, 65_535, 65_532),
        ];
        for (before, limit, whole) in rows {
            let mut message = vec![0xee; before - options.len() - 2];
            message.extend([0, options.len() as u8]);
            message.extend(&options);
            extras.pad(options.len(), &mut message, limit);
            assert_eq!(message.len(), whole, "{before} bytes");
            let (head, rest) = message.split_at(before - options.len());
            let length = usize::from(u16::from_be_bytes([head[head.len() - 2], head[head.len() - 1]]));
            assert_eq!((length, &rest[..options.len()]), (rest.len(), &options[..]), "{before} bytes");
            if let Some((head, zeros)) = rest[options.len()..].split_at_checked(4) {
                assert_eq!(
                    (&head[..2], usize::from(u16::from_be_bytes([head[2], head[3]]))),
                    (&[0, 12][..], zeros.len())
                );
                // RFC 7830 section 3: "The PADDING octets SHOULD be set to 0x00."
                assert!(zeros.iter().all(|byte| *byte == 0));
            }
        }
        let mut message = vec![0xee; 40];
        Extras::default().pad(0, &mut message, 65_535);
        assert_eq!(message, [0xee; 40], "nobody asked for it");
    }
}
