//! Encodes values of the MaxMind DB format: the data section with the records, and the map of
//! metadata.
//!
//! A part that occurred before (a key, a country, a number of degrees) is written as a pointer
//! to its first occurrence. Every first occurrence is inside a record, because checkers of the
//! format object to data between the records.

use std::collections::HashMap;

use crate::compact::place::Place;
use nearcast_shared::geo::continent::Continent;

/// The format's type numbers.
const POINTER: u8 = 1;
const STRING: u8 = 2;
const DOUBLE: u8 = 3;
const UINT16: u8 = 5;
const UINT32: u8 = 6;
const MAP: u8 = 7;
const UINT64: u8 = 9;
const ARRAY: u8 = 11;
#[cfg(test)]
const FLOAT: u8 = 15;

/// A part of records that may be pointed to.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Part {
    Key(&'static str),
    Country([u8; 2]),
    Continent(Continent),
    /// The bits of a double.
    Degrees(u64),
}

/// Encoded values, one after another.
#[derive(Debug, Default)]
pub(super) struct Data {
    bytes: Vec<u8>,
    /// Where each part was first written.
    parts: HashMap<Part, usize>,
}

impl Data {
    /// The encoded bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes a place as a GeoIP2 City record and returns its offset.
    pub(super) fn place(&mut self, place: &Place) -> usize {
        let offset = self.bytes.len();
        let (country, coordinates) = (place.country(), place.coordinates());
        self.map(
            [place.continent().is_some(), country.is_some(), coordinates.is_some()]
                .into_iter()
                .filter(|field| *field)
                .count(),
        );
        if let Some(continent) = place.continent() {
            self.key("continent");
            self.once(Part::Continent(continent), |data| {
                data.map(1);
                data.key("code");
                data.string(continent.code());
            });
        }
        if let Some(country) = country {
            self.key("country");
            self.once(Part::Country(country), |data| {
                data.map(1);
                data.key("iso_code");
                data.header(STRING, country.len());
                data.bytes.extend_from_slice(&country);
            });
        }
        if let Some(coordinates) = coordinates {
            self.key("location");
            self.map(2);
            self.key("latitude");
            self.degrees(coordinates.latitude);
            self.key("longitude");
            self.degrees(coordinates.longitude);
        }
        offset
    }

    /// Starts a map: `entries` keys follow, each with its value.
    pub(super) fn map(&mut self, entries: usize) {
        self.header(MAP, entries);
    }

    /// Starts an array: `values` values follow.
    pub(super) fn array(&mut self, values: usize) {
        self.header(ARRAY, values);
    }

    /// Writes a text.
    pub(super) fn string(&mut self, text: &str) {
        self.header(STRING, text.len());
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Writes a 16-bit number.
    pub(super) fn uint16(&mut self, number: u16) {
        self.unsigned(UINT16, &number.to_be_bytes());
    }

    /// Writes a 32-bit number.
    pub(super) fn uint32(&mut self, number: u32) {
        self.unsigned(UINT32, &number.to_be_bytes());
    }

    /// Writes a 64-bit number.
    pub(super) fn uint64(&mut self, number: u64) {
        self.unsigned(UINT64, &number.to_be_bytes());
    }

    /// Writes a single-precision number, as the flat City files have them.
    #[cfg(test)]
    pub(super) fn float(&mut self, number: f32) {
        self.header(FLOAT, 4);
        self.bytes.extend(number.to_be_bytes());
    }

    /// Numbers have no leading zero bytes; zero has no bytes at all.
    fn unsigned(&mut self, kind: u8, bytes: &[u8]) {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        self.header(kind, bytes.len() - zeros);
        self.bytes.extend_from_slice(&bytes[zeros..]);
    }

    fn key(&mut self, key: &'static str) {
        self.once(Part::Key(key), |data| data.string(key));
    }

    fn degrees(&mut self, degrees: f64) {
        self.once(Part::Degrees(degrees.to_bits()), |data| {
            data.header(DOUBLE, 8);
            data.bytes.extend_from_slice(&degrees.to_be_bytes());
        });
    }

    /// Writes a part in full the first time and a pointer from then on.
    fn once(&mut self, part: Part, write: impl FnOnce(&mut Self)) {
        if let Some(offset) = self.parts.get(&part) {
            return self.pointer(*offset);
        }
        self.parts.insert(part, self.bytes.len());
        write(self);
    }

    /// The three longer forms have an offset of their own, so that no number has two forms.
    fn pointer(&mut self, to: usize) {
        let to = u32::try_from(to).expect("the parts of all places on a grid are far below 4 GiB");
        let (form, value) = match to {
            0..0x800 => (0, to),
            0x800..0x8_0800 => (1, to - 0x800),
            0x8_0800..0x808_0800 => (2, to - 0x8_0800),
            _ => (3, to),
        };
        let bytes = value.to_be_bytes();
        let high = |bits: u8| POINTER << 5 | form << 3 | bits;
        match form {
            0 => self.bytes.extend([high(bytes[2]), bytes[3]]),
            1 => self.bytes.extend([high(bytes[1]), bytes[2], bytes[3]]),
            2 => self.bytes.extend([high(bytes[0]), bytes[1], bytes[2], bytes[3]]),
            _ => {
                self.bytes.push(high(0));
                self.bytes.extend(bytes);
            }
        }
    }

    /// The control byte, with the second byte of the types above 7 and the length's own bytes.
    fn header(&mut self, kind: u8, size: usize) {
        let (short, long) = match size {
            0..29 => (size, None),
            29..285 => (29, Some((size - 29, 1))),
            285..65_821 => (30, Some((size - 285, 2))),
            _ => (31, Some((size - 65_821, 3))),
        };
        let (kind, extension) = match kind {
            0..=7 => (kind, None),
            _ => (0, Some(kind - 7)),
        };
        self.bytes.push(kind << 5 | short as u8);
        self.bytes.extend(extension);
        if let Some((rest, length)) = long {
            let rest = rest.to_be_bytes();
            self.bytes.extend_from_slice(&rest[rest.len() - length..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that `write` makes.
    fn encoded(write: impl FnOnce(&mut Data)) -> Vec<u8> {
        let mut data = Data::default();
        write(&mut data);
        data.bytes
    }

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        assert_eq!(encoded(|data| data.uint16(6)), [0xa1, 6]);
        assert_eq!(encoded(|data| data.uint32(0)), [0xc0]);
        assert_eq!(encoded(|data| data.uint32(0x1_0000)), [0xc3, 1, 0, 0]);
        assert_eq!(encoded(|data| data.uint64(500)), [0x02, 2, 1, 0xf4]);
        assert_eq!(encoded(|data| data.array(1)), [0x01, 4]);
    }

    #[test]
    fn long_texts_have_long_headers() {
        for (length, header) in
            [(28, &[0x5c][..]), (29, &[0x5d, 0]), (284, &[0x5d, 255]), (285, &[0x5e, 0, 0]), (65_821, &[0x5f, 0, 0, 0])]
        {
            let bytes = encoded(|data| data.string(&"x".repeat(length)));
            assert_eq!(&bytes[..header.len()], header);
            assert_eq!(bytes.len(), header.len() + length);
        }
    }

    #[test]
    fn pointers_follow_the_specification() {
        assert_eq!(encoded(|data| data.pointer(0x7ff)), [0x27, 0xff]);
        assert_eq!(encoded(|data| data.pointer(0x800)), [0x28, 0, 0]);
        assert_eq!(encoded(|data| data.pointer(0x8_07ff)), [0x2f, 0xff, 0xff]);
        assert_eq!(encoded(|data| data.pointer(0x8_0800)), [0x30, 0, 0, 0]);
        assert_eq!(encoded(|data| data.pointer(0x808_0800)), [0x38, 0x08, 0x08, 0x08, 0]);
    }
}
