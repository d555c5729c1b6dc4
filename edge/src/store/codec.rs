//! How pieces are written to disk. Numbers are little-endian; texts are preceded by their length in four bytes.
//!
//! ```text
//! Piece   = format:u8 kind:u8 ( Base | Object | Chunk )
//! Base    = vary:names variants:u32 (key:[u8;32] tagged:u8 [tag:text])*
//! Object  = https:u8 site:text host:text target:text parts:text status:u16 request_time:i64 response_time:i64
//!           initial_age_ms:u64 lifetime_ms:u64 by:u8 [rule:text] browser_ttl:time source:u8 Said groups:u32 (group:u128)*
//!           tags:u32 (tag:u128)* tick:u64 length:u64 headers:fields
//!           hidden:fields ( 1:u8 body:text | 0:u8 spans:u32 (first:u64 end:u64 base:u64 version:u64 large:u8)* )
//! Said    = flags:u8 max_age:time s_maxage:time stale_while_revalidate:time stale_if_error:time no_cache:names
//!           private:names
//! Chunk   = bytes:text
//! fields  = count:u32 (name:text value:text)*
//! names   = count:u32 name:text*
//! time    = ms:u64, all ones for none
//! ```
//!
//! What comes from disk may be anything: every length is checked against a limit before it is believed.

use std::io::Write;
use std::time::Duration;

use bytes::{Buf, Bytes};
use foyer::{Error, ErrorKind, Result};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use nearcast_shared::clock::Timestamp;

use super::Piece;
use super::object::{Base, Body, CHUNK, Hits, Object, Span, Variant};
use super::prepared::Prepared;
use crate::key::{GroupId, StoreKey, TagId};
use crate::policy::control::Source;
use crate::policy::directives::ResponseDirectives;
use crate::policy::freshness::{By, Exchange, Lifetime};

/// Raised whenever the layout changes: older pieces are then misses.
const FORMAT: u8 = 5;

/// No text of a valid piece is longer.
const TEXT_MAX: u32 = CHUNK as u32;

/// No list of a valid piece is longer.
const LIST_MAX: u32 = 4096;

impl Piece {
    /// Appends its bytes to `out`.
    ///
    /// # Errors
    /// When something of it is too long.
    pub fn encode(&self, out: &mut impl Write) -> Result<()> {
        let mut out = Out(out);
        out.u8(FORMAT)?;
        match self {
            Self::Base(base) => out.u8(b'b').and_then(|()| out.base(base)),
            Self::Object(object) => out.u8(b'o').and_then(|()| out.object(object)),
            Self::Chunk(bytes) => out.u8(b'c').and_then(|()| out.text(bytes)),
        }
    }

    /// The piece in `bytes`, which it shares: body and field values are not copied.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(bytes: Bytes) -> Result<Self> {
        let mut from = From(bytes);
        if from.u8()? != FORMAT {
            return Err(invalid("another format"));
        }
        match from.u8()? {
            b'b' => Ok(Self::Base(from.base()?.into())),
            b'o' => Ok(Self::Object(from.object()?.into())),
            b'c' => Ok(Self::Chunk(from.text()?)),
            _ => Err(invalid("unknown kind")),
        }
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

    fn time(&mut self, time: Option<Duration>) -> Result<()> {
        self.u64(time.map_or(u64::MAX, millis))
    }

    fn names(&mut self, names: &[HeaderName]) -> Result<()> {
        self.u32(names.len())?;
        names.iter().try_for_each(|name| self.text(name.as_str().as_bytes()))
    }

    fn fields(&mut self, fields: &HeaderMap) -> Result<()> {
        self.u32(fields.len())?;
        for (name, value) in fields {
            self.text(name.as_str().as_bytes())?;
            self.text(value.as_bytes())?;
        }
        Ok(())
    }

    fn base(&mut self, base: &Base) -> Result<()> {
        self.names(&base.vary)?;
        self.u32(base.variants.len())?;
        for variant in &base.variants {
            self.bytes(&variant.key.0)?;
            match &variant.tag {
                Some(tag) => self.u8(1).and_then(|()| self.text(tag.as_bytes()))?,
                None => self.u8(0)?,
            }
        }
        Ok(())
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
        self.lifetime(&o.lifetime)?;
        self.time(o.browser_ttl)?;
        self.u8(match o.source {
            Source::CacheControl => 0,
            Source::CdnCacheControl => 1,
            Source::SurrogateControl => 2,
        })?;
        self.said(&o.directives)?;
        self.u32(o.groups.len())?;
        o.groups.iter().try_for_each(|group| self.bytes(&group.0.to_le_bytes()))?;
        self.u32(o.tags.len())?;
        o.tags.iter().try_for_each(|tag| self.bytes(&tag.0.to_le_bytes()))?;
        self.u64(o.tick)?;
        self.u64(o.length)?;
        self.fields(&o.headers)?;
        self.fields(&o.hidden)?;
        match &o.body {
            Body::Inline(bytes) => self.u8(1).and_then(|()| self.text(bytes)),
            Body::Spans(spans) => {
                self.u8(0)?;
                self.u32(spans.len())?;
                spans.iter().try_for_each(|span| {
                    [span.first, span.end, span.base, span.version]
                        .into_iter()
                        .try_for_each(|number| self.u64(number))?;
                    self.u8(u8::from(span.large))
                })
            }
        }
    }

    fn lifetime(&mut self, lifetime: &Lifetime) -> Result<()> {
        self.u64(millis(lifetime.duration))?;
        match &lifetime.by {
            By::SMaxage => self.u8(0),
            By::MaxAge => self.u8(1),
            By::Expires => self.u8(2),
            By::Heuristic => self.u8(3),
            By::Nobody => self.u8(4),
            By::Rule(name) => self.u8(5).and_then(|()| self.text(name.as_bytes())),
        }
    }

    fn said(&mut self, said: &ResponseDirectives) -> Result<()> {
        self.u8(flags(said).iter().enumerate().fold(0, |byte, (bit, set)| byte | u8::from(**set) << bit))?;
        for time in [said.max_age, said.s_maxage, said.stale_while_revalidate, said.stale_if_error] {
            self.time(time)?;
        }
        self.names(&said.no_cache_fields)?;
        self.names(&said.private_fields)
    }
}

/// The directives without argument, in the order of their bits. `must-understand` says nothing more of what is stored.
fn flags(said: &ResponseDirectives) -> [&bool; 6] {
    let ResponseDirectives { no_store, no_cache, private, public, must_revalidate, proxy_revalidate, .. } = said;
    [no_store, no_cache, private, public, must_revalidate, proxy_revalidate]
}

/// What is not read yet.
struct From(Bytes);

impl From {
    fn bytes(&mut self, length: usize) -> Result<Bytes> {
        if length > self.0.len() {
            return Err(invalid("it ends early"));
        }
        Ok(self.0.split_to(length))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (array, _) = self.0.split_first_chunk().ok_or_else(|| invalid("it ends early"))?;
        let array = *array;
        self.0.advance(N);
        Ok(array)
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

    fn text(&mut self) -> Result<Bytes> {
        let length = self.count(TEXT_MAX)?;
        self.bytes(length)
    }

    /// A text that is looked at and not kept.
    fn seen<T>(&mut self, look: impl FnOnce(&[u8]) -> Option<T>, wanted: &'static str) -> Result<T> {
        let length = self.count(TEXT_MAX)?;
        let text = self.0.get(..length).ok_or_else(|| invalid("it ends early"))?;
        let seen = look(text).ok_or_else(|| invalid(wanted))?;
        self.0.advance(length);
        Ok(seen)
    }

    fn string(&mut self) -> Result<String> {
        self.seen(|text| Some(str::from_utf8(text).ok()?.to_owned()), "not UTF-8")
    }

    fn name(&mut self) -> Result<HeaderName> {
        self.seen(|text| HeaderName::from_bytes(text).ok(), "not a field name")
    }

    fn names(&mut self) -> Result<Vec<HeaderName>> {
        (0..self.count(LIST_MAX)?).map(|_| self.name()).collect()
    }

    fn value(&mut self) -> Result<HeaderValue> {
        HeaderValue::from_maybe_shared(self.text()?).map_err(|_| invalid("not a field value"))
    }

    fn fields(&mut self) -> Result<HeaderMap> {
        let count = self.count(LIST_MAX)?;
        let mut fields = HeaderMap::with_capacity(count.min(64));
        for _ in 0..count {
            let (name, value) = (self.name()?, self.value()?);
            fields.try_append(name, value).map_err(|_| invalid("too many fields"))?;
        }
        Ok(fields)
    }

    fn time(&mut self) -> Result<Option<Duration>> {
        Ok(Some(self.u64()?).filter(|ms| *ms != u64::MAX).map(Duration::from_millis))
    }

    fn base(&mut self) -> Result<Base> {
        let vary = self.names()?;
        let variants = (0..self.count(LIST_MAX)?).map(|_| self.variant()).collect::<Result<_>>()?;
        Ok(Base { vary, variants })
    }

    fn variant(&mut self) -> Result<Variant> {
        let key = StoreKey(self.array()?);
        let tag = if self.u8()? == 1 { Some(self.value()?) } else { None };
        Ok(Variant { key, tag })
    }

    fn lifetime(&mut self) -> Result<Lifetime> {
        let duration = Duration::from_millis(self.u64()?);
        let by = match self.u8()? {
            0 => By::SMaxage,
            1 => By::MaxAge,
            2 => By::Expires,
            3 => By::Heuristic,
            4 => By::Nobody,
            5 => By::Rule(self.string()?.into()),
            _ => return Err(invalid("unknown source of a lifetime")),
        };
        Ok(Lifetime { duration, by })
    }

    fn source(&mut self) -> Result<Source> {
        match self.u8()? {
            0 => Ok(Source::CacheControl),
            1 => Ok(Source::CdnCacheControl),
            2 => Ok(Source::SurrogateControl),
            _ => Err(invalid("unknown source of directives")),
        }
    }

    fn said(&mut self) -> Result<ResponseDirectives> {
        let byte = self.u8()?;
        let is_set = |bit: u8| byte >> bit & 1 == 1;
        Ok(ResponseDirectives {
            no_store: is_set(0),
            no_cache: is_set(1),
            private: is_set(2),
            public: is_set(3),
            must_revalidate: is_set(4),
            proxy_revalidate: is_set(5),
            must_understand: false,
            max_age: self.time()?,
            s_maxage: self.time()?,
            stale_while_revalidate: self.time()?,
            stale_if_error: self.time()?,
            no_cache_fields: self.names()?,
            private_fields: self.names()?,
        })
    }

    fn body(&mut self, length: u64) -> Result<Body> {
        if self.u8()? == 1 {
            let bytes = self.text()?;
            return if bytes.len() as u64 == length {
                Ok(Body::Inline(bytes))
            } else {
                Err(invalid("a body of another length"))
            };
        }
        let mut spans: Vec<Span> = Vec::new();
        for _ in 0..self.count(LIST_MAX)? {
            let (first, end, base, version) = (self.u64()?, self.u64()?, self.u64()?, self.u64()?);
            let span = Span { first, end, base, version, large: self.u8()? == 1 };
            let sorted = spans.last().is_none_or(|last| last.first <= span.first);
            if span.base > span.first || span.first >= span.end || span.end > length || !sorted {
                return Err(invalid("a part that cannot be"));
            }
            spans.push(span);
        }
        Ok(Body::Spans(spans))
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
        let initial_age = Duration::from_millis(self.u64()?);
        let (lifetime, browser_ttl) = (self.lifetime()?, self.time()?);
        let (source, directives) = (self.source()?, self.said()?);
        let groups = (0..self.count(LIST_MAX)?).map(|_| self.array().map(u128::from_le_bytes).map(GroupId));
        let groups = groups.collect::<Result<_>>()?;
        let tags = (0..self.count(LIST_MAX)?).map(|_| self.array().map(u128::from_le_bytes).map(TagId));
        let tags = tags.collect::<Result<_>>()?;
        let (tick, length) = (self.u64()?, self.u64()?);
        let (headers, hidden) = (self.fields()?, self.fields()?);
        let body = self.body(length)?;
        Ok(Object {
            site,
            https,
            host,
            target,
            parts,
            status,
            headers,
            hidden,
            exchange,
            initial_age,
            lifetime,
            browser_ttl,
            directives,
            source,
            groups,
            tags,
            tick,
            length,
            body,
            hits: Hits::default(),
            prepared: Prepared::default(),
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
            directives: ResponseDirectives {
                private_fields: vec![http::header::ACCEPT],
                must_understand: false,
                ..ResponseDirectives::parse(&headers)
            },
            source: Source::SurrogateControl,
            hidden: headers.clone(),
            headers,
            exchange: Exchange { request_time: Timestamp(-5), response_time: Timestamp(7) },
            initial_age: Duration::from_millis(1),
            lifetime: Lifetime { duration: Duration::from_secs(60), by: By::Rule("r".into()) },
            browser_ttl: Some(Duration::from_secs(5)),
            groups: vec![GroupId(7), GroupId(u128::MAX)],
            tags: vec![TagId(u128::MAX), TagId(8)],
            tick: 9,
            length,
            body,
            hits: Hits::default(),
            prepared: Prepared::default(),
        }
    }

    fn there_and_back(piece: &Piece) -> Piece {
        let mut bytes = Vec::new();
        piece.encode(&mut bytes).unwrap();
        Piece::decode(bytes.into()).unwrap()
    }

    #[test]
    fn pieces_come_back_as_they_were() {
        let tagged = Variant { key: StoreKey([3; 32]), tag: Some(HeaderValue::from_static("\"a\"")) };
        let untagged = Variant { key: StoreKey([4; 32]), tag: None };
        let base = Base { vary: vec![http::header::ACCEPT], variants: vec![tagged, untagged] };
        let spans = vec![
            Span { first: 0, end: 9, base: 0, version: 1, large: false },
            Span { first: 100, end: 1 << 40, base: 50, version: 2, large: true },
        ];
        for piece in [
            Piece::Object(object(Body::Inline(Bytes::from_static(b"hello")), 5).into()),
            Piece::Object(object(Body::Spans(spans), 1 << 40).into()),
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
            assert!(Piece::decode(Bytes::copy_from_slice(&bytes[..end])).is_err(), "cut at {end}");
        }
        bytes[0] = FORMAT + 1;
        assert!(Piece::decode(bytes.into()).is_err(), "another format");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut framed = vec![FORMAT];
            framed.extend(bytes);
            let _either = Piece::decode(framed.into());
        }
    }
}
