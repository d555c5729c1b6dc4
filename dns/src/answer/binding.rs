//! The data of HTTPS records for steered names (RFC 9460): how the PoPs of this client's answer are reached over TLS.

use std::net::IpAddr;

/// The port that needs no mention.
const HTTPS: u16 = 443;
/// SvcParamKeys, RFC 9460 section 14.3.2.
const ALPN: u16 = 1;
const PORT: u16 = 3;
const IPV4_HINT: u16 = 4;
const IPV6_HINT: u16 = 6;

/// `1 . alpn=h2 port=.. ipv4hint=.. ipv6hint=..`: the name itself, over HTTP/2 or, which is implied, HTTP/1.1.
pub(super) fn rdata(port: u16, hints: &[IpAddr]) -> Vec<u8> {
    let mut wire = plain();
    // RFC 9460 section 2.2: "SvcParamKeys SHALL appear in increasing numeric order."
    push(&mut wire, ALPN, b"\x02h2");
    if port != HTTPS {
        push(&mut wire, PORT, &port.to_be_bytes());
    }
    let v4 = hints.iter().filter_map(|hint| match hint {
        IpAddr::V4(v4) => Some(v4.octets()),
        IpAddr::V6(_) => None,
    });
    let v6 = hints.iter().filter_map(|hint| match hint {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => Some(v6.octets()),
    });
    push(&mut wire, IPV4_HINT, &v4.flatten().collect::<Vec<u8>>());
    push(&mut wire, IPV6_HINT, &v6.flatten().collect::<Vec<u8>>());
    wire
}

/// `1 .`: the name itself, and nothing more is known.
pub(super) fn plain() -> Vec<u8> {
    vec![0, 1, 0]
}

/// No parameter of ours may be empty.
fn push(wire: &mut Vec<u8>, key: u16, value: &[u8]) {
    let Ok(length) = u16::try_from(value.len()) else { return };
    if length > 0 {
        wire.extend(key.to_be_bytes());
        wire.extend(length.to_be_bytes());
        wire.extend(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_wire() {
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        let alpn = [0, 1, 0, 0, 1, 0, 3, 2, b'h', b'2'];
        let v4_hint = [0, 4, 0, 4, 192, 0, 2, 1];
        let v6_hint = [&[0, 6, 0, 16, 0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[1]].concat();
        let port = [0, 3, 0, 2, 0x20, 0xfb];
        assert_eq!(rdata(443, &[]), alpn);
        assert_eq!(rdata(443, &[v4]), [&alpn[..], &v4_hint].concat());
        assert_eq!(rdata(8443, &[v6, v4]), [&alpn[..], &port, &v4_hint, &v6_hint].concat());
        let two = rdata(443, &[v4, v4]);
        assert_eq!(two[alpn.len()..][..4], [0, 4, 0, 8]);
    }
}
