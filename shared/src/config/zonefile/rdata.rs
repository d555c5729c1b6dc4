//! The data of one record, from text to the wire, and the same for names. The knowledge of the types is the `domain`
//! crate's.

use std::str::FromStr;

use bytes::Bytes;
use domain::base::name::{Name as LibraryName, UncertainName};
use domain::base::rdata::ComposeRecordData;
use domain::base::{ParsedName, Rtype};
use domain::dep::octseq::Parser;
use domain::rdata::ZoneRecordData;
use domain::zonefile::inplace::{Entry, Zonefile};

use crate::name::Name;
use crate::rtype;

/// The name that a piece of a file stands for, relative to `origin` unless it ends with a dot.
pub(super) fn name(text: &str, origin: &Name) -> Result<Name, String> {
    if text == "@" {
        return Ok(origin.clone());
    }
    let refused = |why: String| format!("`{text}` is not a domain name: {why}");
    let given = UncertainName::<Vec<u8>>::from_str(text).map_err(|error| refused(error.to_string()))?;
    let mut wire = given.as_slice().to_vec();
    if !given.is_absolute() {
        wire.extend(origin.wire());
    }
    Name::from_wire(&wire).ok_or_else(|| refused(format!("with {origin} it has more than 255 bytes")))
}

/// Whether records of that type can be served from a zone's data at all.
pub(super) fn servable(rtype: u16) -> Result<(), String> {
    // RRSIG, NSEC, NSEC3, NSEC3PARAM, DNSKEY, CDS and CDNSKEY.
    const DNSSEC: [u16; 7] = [46, 47, 50, 51, 48, 59, 60];
    let name = rtype::text(rtype);
    if rtype == rtype::DNAME {
        Err("DNAME is not supported; write a CNAME for each name, or a wildcard CNAME".to_owned())
    } else if DNSSEC.contains(&rtype) {
        Err(format!(
            "{name} belongs to a signed zone: give the unsigned file, and dnssec = true in the [[zone]] to have it signed here"
        ))
    } else if rtype::is_meta(rtype) {
        Err(format!("{name} is a type of questions, not of records"))
    } else {
        Ok(())
    }
}

/// The data of a record of that type in wire form, uncompressed. `pieces` keep their quotes and escapes.
pub(super) fn read(rtype: u16, pieces: &[String], origin: &Name) -> Result<Box<[u8]>, String> {
    let refused = |why: &str| {
        let form = form(rtype).map(|form| format!("; its form is `{form}`")).unwrap_or_default();
        format!("{}: {why}{form}", rtype::text(rtype))
    };
    if pieces.is_empty() {
        return Err(refused("the data is missing"));
    }
    let text = format!(". 0 IN TYPE{rtype} {}\n", settled(rtype, pieces, origin).join(" "));
    let mut file = Zonefile::from(text.as_str());
    let origin = Bytes::copy_from_slice(origin.wire());
    file.set_origin(LibraryName::from_octets(origin).map_err(|error| error.to_string())?);
    match file.next_entry() {
        Ok(Some(Entry::Record(record))) => {
            let mut wire = Vec::new();
            record.data().compose_rdata(&mut wire).map_err(|_| refused("too long"))?;
            known(rtype, &wire).ok_or_else(|| refused("the bytes given are not what this type has"))
        }
        Ok(_) => Err(refused("not a record")),
        // What remains of the error after its place, which is one in `text`.
        Err(error) => Err(refused(error.to_string().splitn(3, ':').last().unwrap_or_default().trim())),
    }
}

/// The pieces as the library takes them: `@` in place of a name is the origin, and the last four numbers of an SOA record
/// are times, which may have units as TTLs do.
fn settled(rtype: u16, pieces: &[String], origin: &Name) -> Vec<String> {
    let names: &[usize] = match rtype {
        rtype::NS | rtype::CNAME | rtype::PTR => &[0],
        rtype::SOA => &[0, 1],
        rtype::MX | rtype::SVCB | rtype::HTTPS => &[1],
        rtype::SRV => &[3],
        rtype::NAPTR => &[5],
        // MD, MF, MB, MG and MR; MINFO and RP; AFSDB, RT and KX.
        3 | 4 | 7..=9 => &[0],
        14 | 17 => &[0, 1],
        18 | 21 | 36 => &[1],
        _ => &[],
    };
    let settle = |(at, piece): (usize, &String)| match super::seconds(piece) {
        Some(seconds) if rtype == rtype::SOA && at > 2 => seconds.to_string(),
        None if piece == "@" && names.contains(&at) => format!("{origin}."),
        Some(_) | None => piece.clone(),
    };
    pieces.iter().enumerate().map(settle).collect()
}

/// The data once more, as its type has it. RFC 3597 section 5: types that are known may be written like unknown ones, so
/// this may be the first time that anyone looks at the bytes.
fn known(rtype: u16, wire: &[u8]) -> Option<Box<[u8]>> {
    let mut parser = Parser::from_ref(wire);
    type Data<'a> = ZoneRecordData<&'a [u8], ParsedName<&'a [u8]>>;
    let data: Data<'_> = match domain::base::rdata::ParseRecordData::parse_rdata(Rtype::from_int(rtype), &mut parser) {
        Ok(Some(data)) if parser.remaining() == 0 => data,
        Ok(Some(_) | None) | Err(_) => return None,
    };
    let mut again = Vec::with_capacity(wire.len());
    data.compose_rdata(&mut again).ok()?;
    u16::try_from(again.len()).ok().map(|_| again.into_boxed_slice())
}

/// An example of the data of a type.
fn form(rtype: u16) -> Option<&'static str> {
    Some(match rtype {
        rtype::A => "192.0.2.1",
        rtype::NS | rtype::CNAME | rtype::PTR => "www.example.net.",
        rtype::SOA => "ns1.example.net. hostmaster.example.net. 2026112601 86400 7200 3600000 300",
        rtype::MX => "10 mail.example.net.",
        rtype::TXT => "\"up to 255 bytes\" \"and more\"",
        rtype::AAAA => "2001:db8::1",
        rtype::SRV => "0 5 443 www.example.net.",
        rtype::NAPTR => "100 10 \"u\" \"E2U+sip\" \"!^.*$!sip:info@example.net!\" .",
        rtype::DS => "12345 13 2 with 64 hexadecimal digits",
        rtype::SSHFP => "4 2 with 64 hexadecimal digits",
        rtype::TLSA => "3 1 1 with 64 hexadecimal digits",
        rtype::SVCB | rtype::HTTPS => "1 . alpn=\"h2\" port=8443",
        rtype::CAA => "0 issue \"ca.example.net\"",
        other if rtype::text(other).starts_with("TYPE") => "\\# 4 0A000001",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Name {
        Name::parse("example.net").unwrap()
    }

    fn pieces(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn names() {
        let origin = origin();
        let rows = [
            ("@", "example.net"),
            ("www", "www.example.net"),
            ("WWW.a", "www.a.example.net"),
            ("www.Example.com.", "www.example.com"),
            ("*.b", "*.b.example.net"),
            ("a\\.b", "a\\.b.example.net"),
            ("a\\046b\\000", "a\\.b\\000.example.net"),
            ("_443._tcp", "_443._tcp.example.net"),
        ];
        for (text, wanted) in rows {
            assert_eq!(name(text, &origin).unwrap().to_string(), wanted, "{text}");
        }
        let long = ["abcdefg"; 31].join(".");
        for text in ["a..b", &"a".repeat(64), "a\\256", "a\\25", &long] {
            assert!(name(text, &origin).unwrap_err().contains("is not a domain name: "), "{text}");
        }
        assert!(name(&format!("{long}."), &origin).is_ok());
    }

    #[test]
    fn data_of_types() {
        let host: &[u8] = b"\x01a\x07example\x03net\x00";
        let with = |before: &[u8]| [before, host].concat();
        let rows: [(u16, &str, Vec<u8>); 16] = [
            (rtype::A, "192.0.2.1", vec![192, 0, 2, 1]),
            (rtype::AAAA, "2001:db8::1", [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[1]].concat()),
            (rtype::NS, "a", with(&[])),
            (rtype::CNAME, "a.example.net.", with(&[])),
            (rtype::PTR, "a", with(&[])),
            (rtype::MX, "10 a", with(&[0, 10])),
            // RFC 7505 section 3: the null MX.
            (rtype::MX, "0 .", vec![0, 0, 0]),
            (rtype::SRV, "1 2 443 a", with(&[0, 1, 0, 2, 1, 187])),
            (rtype::TXT, "a \"b\" \"\" \\195\\164", b"\x01a\x01b\x00\x02\xc3\xa4".to_vec()),
            (rtype::CAA, "128 issue \"ca\"", b"\x80\x05issueca".to_vec()),
            (rtype::TLSA, "3 1 1 0a0B 0c", vec![3, 1, 1, 10, 11, 12]),
            (rtype::SSHFP, "4 2 0a0b", vec![4, 2, 10, 11]),
            (rtype::DS, "258 13 2 0a0b", vec![1, 2, 13, 2, 10, 11]),
            // RFC 3597 section 5, for an unknown type and for a known one.
            (4711, "\\# 4 0A00 0001", vec![10, 0, 0, 1]),
            (4711, "\\# 0", vec![]),
            (rtype::A, "\\# 4 C0000201", vec![192, 0, 2, 1]),
        ];
        for (rtype, text, wanted) in rows {
            let made = read(rtype, &pieces(text), &origin());
            assert_eq!(made.as_deref(), Ok(&wanted[..]), "{} {text}", rtype::text(rtype));
        }
    }

    /// RFC 9460 section 2.2: "SvcParamKeys SHALL appear in increasing numeric order."
    #[test]
    fn service_bindings() {
        let text = "1 . port=8443 alpn=\"h2,h3\" ipv4hint=192.0.2.1 key65333=ab";
        let wire = [
            &[0, 1, 0][..],
            b"\x00\x01\x00\x06\x02h2\x02h3",
            &[0, 3, 0, 2, 0x20, 0xfb],
            &[0, 4, 0, 4, 192, 0, 2, 1],
            &[0xff, 0x35, 0, 2, b'a', b'b'],
        ];
        for rtype in [rtype::SVCB, rtype::HTTPS] {
            assert_eq!(read(rtype, &pieces(text), &origin()).as_deref(), Ok(&wire.concat()[..]));
        }
        assert!(read(rtype::HTTPS, &pieces("1 . port=1 port=2"), &origin()).is_err(), "twice");
        assert!(read(rtype::HTTPS, &pieces("1 . mandatory=port"), &origin()).is_err(), "mandatory and missing");
    }

    #[test]
    fn the_origin_in_place_of_a_name() {
        let rows = [
            (rtype::CNAME, "@", "example.net."),
            (rtype::MX, "10 @", "10 example.net."),
            (rtype::SRV, "0 0 0 @", "0 0 0 example.net."),
            (rtype::SOA, "@ @ 1 1 1 1 1", "example.net. example.net. 1 1 1 1 1"),
            (rtype::HTTPS, "1 @", "1 example.net."),
            (rtype::NAPTR, "1 1 s @ @ @", "1 1 s \\064 \\064 example.net."),
            (rtype::TXT, "@", "\\064"),
        ];
        for (rtype, short, whole) in rows {
            let read = |text| read(rtype, &pieces(text), &origin()).unwrap();
            assert_eq!(read(short), read(whole), "{} {short}", rtype::text(rtype));
        }
    }

    #[test]
    fn times_of_an_soa_record() {
        let read = |text| read(rtype::SOA, &pieces(text), &origin());
        assert_eq!(read("a b 1 1d 2h 5w 1m30s"), read("a b 1 86400 7200 3024000 90"));
        assert!(read("a b 1d 1 1 1 1").is_err(), "the serial is none");
        assert!(read("a b 1 1x 1 1 1").is_err());
    }

    #[test]
    fn refusals() {
        let rows = [
            (rtype::A, "192.0.2.256", "A: ", "its form is `192.0.2.1`"),
            (rtype::A, "192.0.2.1 192.0.2.2", "A: ", "its form is"),
            (rtype::A, "\\# 3 C00002", "A: the bytes given are not what this type has", "its form is"),
            (rtype::MX, "mail.example.net.", "MX: ", "its form is `10 mail.example.net.`"),
            (rtype::MX, "\\# 4 000A0161", "MX: the bytes given", "its form"),
            (rtype::TXT, &"a".repeat(256), "TXT: ", "its form is `\"up to 255 bytes\""),
            (4711, "abc", "TYPE4711: ", "its form is `\\# 4 0A000001`"),
            (4711, "\\# 4 0A", "TYPE4711: ", "its form is"),
        ];
        for (rtype, text, start, end) in rows {
            let why = read(rtype, &pieces(text), &origin()).unwrap_err();
            assert!(why.starts_with(start) && why.contains(end), "{text}: {why}");
        }
        assert!(read(rtype::MX, &[], &origin()).unwrap_err().contains("the data is missing"));
        for (rtype, why) in
            [(rtype::DNAME, "not supported"), (46, "signed"), (252, "questions"), (rtype::OPT, "questions")]
        {
            assert!(servable(rtype).unwrap_err().contains(why));
        }
        assert_eq!((servable(rtype::A), servable(4711)), (Ok(()), Ok(())));
    }
}
