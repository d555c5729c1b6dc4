//! How pieces are written to disk. Numbers are little-endian; texts are preceded by their length in four bytes.
//!
//! ```text
//! Piece  = format:u8 kind:u8 ( Base | Object | Chunk )
//! Base   = names:u32 (name:text)* variants:u32 (key:[u8;32])*
//! Object = https:u8 site:text host:text target:text parts:text status:u16 request_time:i64 response_time:i64
//!          initial_age_ms:u64 lifetime_ms:u64 tick:u64 version:u64 length:u64 fields:u32 (name:text value:text)* inline:u8 [body:text]
//! Chunk  = bytes:text
//! ```
//!
//! What comes from disk may be anything: every length is checked against a limit before it is believed.

use std::io::{Read, Write};
use std::time::Duration;

use bytes::Bytes;
use foyer::{Code, Error, ErrorKind, Result};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use nearcast_shared::clock::Timestamp;

use super::Piece;
use super::object::{Base, Body, CHUNK, Object};
use crate::key::StoreKey;
use crate::policy::directives::ResponseDirectives;
use crate::policy::freshness::Exchange;

/// Raised whenever the layout changes: older pieces are then misses.
const FORMAT: u8 = 2;

/// No text of a valid piece is longer.
const TEXT_MAX: u32 = CHUNK as u32;

/// No list of a valid piece is longer.
const LIST_MAX: u32 = 4096;

impl Code for StoreKey {
    fn encode(&self, writer: &mut impl Write) -> Result<()> {
        writer.write_all(&self.0).map_err(Error::io_error)
    }

    fn decode(reader: &mut impl Read) -> Result<Self> {
        let mut bytes = [0; 32];
        reader.read_exact(&mut bytes).map_err(Error::io_error)?;
        Ok(Self(bytes))
    }

    fn estimated_size(&self) -> usize {
        32
    }
}

impl Code for Piece {
    fn encode(&self, writer: &mut impl Write) -> Result<()> {
        let mut out = Out(writer);
        out.u8(FORMAT)?;
        match self {
            Self::Base(base) => out.u8(b'b').and_then(|()| out.base(base)),
            Self::Object(object) => out.u8(b'o').and_then(|()| out.object(object)),
            Self::Chunk(bytes) => out.u8(b'c').and_then(|()| out.text(bytes)),
        }
    }

    fn decode(reader: &mut impl Read) -> Result<Self> {
        let mut from = From(reader);
        if from.u8()? != FORMAT {
            return Err(invalid("another format"));
        }
        match from.u8()? {
            b'b' => Ok(Self::Base(from.base()?.into())),
            b'o' => Ok(Self::Object(from.object()?.into())),
            b'c' => Ok(Self::Chunk(from.text()?.into())),
            _ => Err(invalid("unknown kind")),
        }
    }

    fn estimated_size(&self) -> usize {
        self.weight()
    }
}

fn invalid(what: &'static str) -> Error {
    Error::new(ErrorKind::Parse, what)
}

struct Out<'w, W>(&'w mut W);

impl<W: Write> Out<'_, W> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes).map_err(Error::io_error)
    }

    fn u8(&mut self, n: u8) -> Result<()> {
        self.bytes(&[n])
    }

    fn u32(&mut self, n: usize) -> Result<()> {
        let n = u32::try_from(n).map_err(|_| invalid("too long"))?;
        self.bytes(&n.to_le_bytes())
    }

    fn u64(&mut self, n: u64) -> Result<()> {
        self.bytes(&n.to_le_bytes())
    }

    fn text(&mut self, text: &[u8]) -> Result<()> {
        self.u32(text.len())?;
        self.bytes(text)
    }

    fn base(&mut self, base: &Base) -> Result<()> {
        self.u32(base.vary.len())?;
        for name in &base.vary {
            self.text(name.as_str().as_bytes())?;
        }
        self.u32(base.variants.len())?;
        base.variants.iter().try_for_each(|key| self.bytes(&key.0))
    }

    fn object(&mut self, o: &Object) -> Result<()> {
        self.u8(u8::from(o.https))?;
        for text in [&o.site, &o.host, &o.target, &o.parts] {
            self.text(text.as_bytes())?;
        }
        self.bytes(&o.status.as_u16().to_le_bytes())?;
        self.bytes(&o.exchange.request_time.0.to_le_bytes())?;
        self.bytes(&o.exchange.response_time.0.to_le_bytes())?;
        self.u64(millis(o.initial_age))?;
        self.u64(millis(o.lifetime))?;
        for number in [o.tick, o.version, o.length] {
            self.u64(number)?;
        }
        self.u32(o.headers.len())?;
        for (name, value) in &o.headers {
            self.text(name.as_str().as_bytes())?;
            self.text(value.as_bytes())?;
        }
        match &o.body {
            Body::Inline(bytes) => self.u8(1).and_then(|()| self.text(bytes)),
            Body::Chunks => self.u8(0),
        }
    }
}

struct From<'r, R>(&'r mut R);

impl<R: Read> From<'_, R> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).map_err(Error::io_error)?;
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[n]| n)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn count(&mut self, max: u32) -> Result<usize> {
        let n = u32::from_le_bytes(self.array()?);
        if n > max {
            return Err(invalid("a length beyond all bounds"));
        }
        Ok(n as usize)
    }

    fn text(&mut self) -> Result<Vec<u8>> {
        let mut text = vec![0; self.count(TEXT_MAX)?];
        self.0.read_exact(&mut text).map_err(Error::io_error)?;
        Ok(text)
    }

    fn string(&mut self) -> Result<String> {
        String::from_utf8(self.text()?).map_err(|_| invalid("not UTF-8"))
    }

    fn name(&mut self) -> Result<HeaderName> {
        HeaderName::from_bytes(&self.text()?).map_err(|_| invalid("not a field name"))
    }

    fn base(&mut self) -> Result<Base> {
        let vary = (0..self.count(LIST_MAX)?).map(|_| self.name()).collect::<Result<_>>()?;
        let variants = (0..self.count(LIST_MAX)?).map(|_| self.array().map(StoreKey)).collect::<Result<_>>()?;
        Ok(Base { vary, variants })
    }

    fn object(&mut self) -> Result<Object> {
        let https = self.u8()? == 1;
        let (site, host) = (self.string()?, self.string()?);
        let (target, parts) = (self.string()?, self.string()?);
        let status = StatusCode::from_u16(u16::from_le_bytes(self.array()?)).map_err(|_| invalid("not a status"))?;
        let exchange = Exchange {
            request_time: Timestamp(i64::from_le_bytes(self.array()?)),
            response_time: Timestamp(i64::from_le_bytes(self.array()?)),
        };
        let (initial_age, lifetime) = (Duration::from_millis(self.u64()?), Duration::from_millis(self.u64()?));
        let (tick, version, length) = (self.u64()?, self.u64()?, self.u64()?);
        let mut headers = HeaderMap::new();
        for _ in 0..self.count(LIST_MAX)? {
            let name = self.name()?;
            let value =
                HeaderValue::from_maybe_shared(Bytes::from(self.text()?)).map_err(|_| invalid("not a field value"))?;
            headers.try_append(name, value).map_err(|_| invalid("too many fields"))?;
        }
        let body = if self.u8()? == 1 { Body::Inline(self.text()?.into()) } else { Body::Chunks };
        if matches!(&body, Body::Inline(bytes) if bytes.len() as u64 != length) {
            return Err(invalid("a body of another length"));
        }
        let directives = ResponseDirectives::parse(&headers);
        Ok(Object {
            site,
            https,
            host,
            target,
            parts,
            status,
            headers,
            exchange,
            initial_age,
            lifetime,
            tick,
            version,
            length,
            body,
            directives,
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn object(body: Body, length: u64) -> Object {
        let mut headers = HeaderMap::new();
        headers.append("cache-control", HeaderValue::from_static("max-age=60, no-cache"));
        headers.append("x-obs", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        headers.append("x-twice", HeaderValue::from_static("1"));
        headers.append("x-twice", HeaderValue::from_static("2"));
        Object {
            site: "s".to_owned(),
            https: true,
            host: "h".to_owned(),
            target: "/a?b".to_owned(),
            parts: "country=DE".to_owned(),
            status: StatusCode::OK,
            directives: ResponseDirectives::parse(&headers),
            headers,
            exchange: Exchange { request_time: Timestamp(-5), response_time: Timestamp(7) },
            initial_age: Duration::from_millis(1),
            lifetime: Duration::from_secs(60),
            tick: 9,
            version: 11,
            length,
            body,
        }
    }

    fn there_and_back(piece: &Piece) -> Piece {
        let mut bytes = Vec::new();
        piece.encode(&mut bytes).unwrap();
        Piece::decode(&mut bytes.as_slice()).unwrap()
    }

    #[test]
    fn pieces_come_back_as_they_were() {
        let base = Base { vary: vec![http::header::ACCEPT], variants: vec![StoreKey([3; 32])] };
        for piece in [
            Piece::Object(object(Body::Inline(Bytes::from_static(b"hello")), 5).into()),
            Piece::Object(object(Body::Chunks, 1 << 40).into()),
            Piece::Base(base.into()),
            Piece::Chunk(vec![1; CHUNK as usize].into()),
        ] {
            assert_eq!(there_and_back(&piece), piece);
        }
    }

    #[test]
    fn damage_is_an_error() {
        let mut bytes = Vec::new();
        Piece::Object(object(Body::Inline(Bytes::from_static(b"hello")), 5).into()).encode(&mut bytes).unwrap();
        for end in 0..bytes.len() {
            assert!(Piece::decode(&mut &bytes[..end]).is_err(), "cut at {end}");
        }
        bytes[0] = FORMAT + 1;
        assert!(Piece::decode(&mut bytes.as_slice()).is_err(), "another format");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut framed = vec![FORMAT];
            framed.extend(bytes);
            let _either = Piece::decode(&mut framed.as_slice());
        }
    }
}
