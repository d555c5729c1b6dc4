//! A scripted HTTP/1.1 origin: it answers as told, also wrongly, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use ::http::HeaderMap;
use parking_lot::Mutex;

use super::gate::Gate;
use super::vast::Vast;
use super::wire::{Framing, Head, Incoming};
use super::{DEADLINE, eventually};

/// A request as the origin got it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// The method.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// All fields.
    pub(crate) fields: HeaderMap,
    /// The body, once it was read.
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// The one value of a field; all lines of it joined.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        joined(&self.fields, name)
    }

    /// The one range that it asks for, of a body of `length` bytes; the end is never before the first.
    pub(crate) fn range(&self, length: u64) -> Option<(u64, u64)> {
        let text = self.field("range")?;
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        Some(match (first.parse::<u64>().ok(), last.parse::<u64>().ok()) {
            (Some(first), last) => (first, last.map_or(length, |last| (last + 1).min(length)).max(first)),
            (None, last) => (length.saturating_sub(last?), length),
        })
    }
}

/// All lines of a field, joined as a list.
pub(crate) fn joined(fields: &HeaderMap, name: &str) -> Option<String> {
    let lines: Vec<_> = fields.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

type Script = Box<dyn FnOnce(&mut Talk<'_>) + Send>;

/// A script for one answer.
pub(crate) struct Reply {
    status: u16,
    fields: Vec<(String, String)>,
    framing: Option<Framing>,
    hold: Option<Gate>,
    parts: Vec<Part>,
    /// Ends in the middle: without the rest of the length, or the last chunk.
    cut: bool,
    talk: Option<Script>,
}

enum Part {
    Bytes(Vec<u8>),
    /// Bytes `first..end` of that.
    Vast(Vast, u64, u64),
    Wait(Gate),
}

impl Part {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Vast(_, first, end) => end - first,
            Self::Wait(_) => 0,
        }
    }
}

impl Reply {
    /// An answer with that status and nothing else.
    pub(crate) fn new(status: u16) -> Self {
        let (fields, parts) = (Vec::new(), Vec::new());
        Self { status, fields, framing: None, hold: None, parts, cut: false, talk: None }
    }

    /// 200 with a body.
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200).body(body)
    }

    /// The request's body and the answer's in the script's own hands.
    pub(crate) fn talk(script: impl FnOnce(&mut Talk<'_>) + Send + 'static) -> Self {
        Self { talk: Some(Box::new(script)), ..Self::new(200) }
    }

    /// Just these bytes, once the request's body is here; then the connection closes.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::talk(move |talk| {
            while talk.read().is_ok_and(|more| !more.is_empty()) {}
            talk.write(&bytes);
        })
    }

    /// No answer at all: the connection closes.
    pub(crate) fn hang_up() -> Self {
        Self::talk(|_| {})
    }

    /// Takes and answers nothing until the gate opens, then closes the connection.
    pub(crate) fn waiting(gate: &Gate) -> Self {
        let gate = gate.clone();
        Self::talk(move |_| gate.wait())
    }

    /// One more field.
    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `Cache-Control`.
    pub(crate) fn control(self, value: &str) -> Self {
        self.field("cache-control", value)
    }

    /// More of the body.
    pub(crate) fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.parts.push(Part::Bytes(bytes.into()));
        self
    }

    /// More of the body: bytes `first..end` of `vast`, made as they are sent.
    pub(crate) fn vast(mut self, vast: &Vast, first: u64, end: u64) -> Self {
        self.parts.push(Part::Vast(vast.clone(), first, end));
        self
    }

    /// What an origin answers that serves ranges of `vast` under this ETag, if `seen` asks for one and If-Range holds.
    pub(crate) fn ranged(seen: &Seen, vast: &Vast, tag: &str) -> Self {
        let length = vast.length;
        let reply = |status| Self::new(status).control("max-age=3600").field("etag", tag);
        if seen.field("if-none-match").is_some_and(|tags| tags.contains(tag)) {
            return reply(304);
        }
        let holds = seen.field("if-range").is_none_or(|wanted| wanted == tag);
        match seen.range(length).filter(|_| holds) {
            None => reply(200).vast(vast, 0, length),
            Some((first, end)) if first < end => {
                reply(206).field("content-range", &format!("bytes {first}-{}/{length}", end - 1)).vast(vast, first, end)
            }
            Some(_) => reply(416).field("content-range", &format!("bytes */{length}")),
        }
    }

    /// Waits here, before what follows of the body.
    pub(crate) fn wait(mut self, gate: &Gate) -> Self {
        self.parts.push(Part::Wait(gate.clone()));
        self
    }

    /// Waits before the header.
    pub(crate) fn hold(mut self, gate: &Gate) -> Self {
        self.hold = Some(gate.clone());
        self
    }

    /// Announces this length, whatever the body's.
    pub(crate) fn announce(mut self, length: u64) -> Self {
        self.framing = Some(Framing::Length(length));
        self
    }

    /// In chunks.
    pub(crate) fn chunked(mut self) -> Self {
        self.framing = Some(Framing::Chunked);
        self
    }

    /// Until the connection closes.
    pub(crate) fn until_close(mut self) -> Self {
        self.framing = Some(Framing::UntilClose);
        self
    }

    /// Closes the connection after the given body, without its end.
    pub(crate) fn cut(mut self) -> Self {
        self.cut = true;
        self
    }

    fn length(&self) -> u64 {
        self.parts.iter().map(Part::length).sum()
    }

    /// Plays the script; `false`: the connection is at its end.
    fn play(self, method: &str, to: &mut impl Write) -> std::io::Result<bool> {
        if let Some(gate) = &self.hold {
            gate.wait();
        }
        let framing = self.framing.unwrap_or(Framing::Length(self.length()));
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match framing {
            _ if self.status == 304 || self.status == 204 => {}
            Framing::Length(length) => head.push_str(&format!("content-length: {length}\r\n")),
            Framing::Chunked => head.push_str("transfer-encoding: chunked\r\n"),
            Framing::UntilClose => head.push_str("connection: close\r\n"),
            Framing::None => {}
        }
        to.write_all(format!("{head}\r\n").as_bytes())?;
        if method == "HEAD" {
            return Ok(true);
        }
        for part in &self.parts {
            let chunked = framing == Framing::Chunked && part.length() > 0;
            if chunked {
                to.write_all(format!("{:x}\r\n", part.length()).as_bytes())?;
            }
            match part {
                Part::Wait(gate) => gate.wait(),
                Part::Bytes(bytes) => to.write_all(bytes)?,
                Part::Vast(vast, first, end) => {
                    let mut at = *first;
                    while at < *end {
                        let piece = vast.piece(at, *end);
                        to.write_all(&piece)?;
                        at += piece.len() as u64;
                    }
                }
            }
            if chunked {
                to.write_all(b"\r\n")?;
            }
        }
        if framing == Framing::Chunked && !self.cut {
            to.write_all(b"0\r\n\r\n")?;
        }
        Ok(!self.cut && framing != Framing::UntilClose)
    }
}

/// Both directions of one exchange, in a script's hands.
pub(crate) struct Talk<'a> {
    from: &'a mut BufReader<Wire>,
    incoming: Incoming,
}

impl Talk<'_> {
    /// Some of the request's body; empty at its end.
    ///
    /// # Errors
    /// When it breaks off.
    pub(crate) fn read(&mut self) -> std::io::Result<Vec<u8>> {
        self.incoming.read(self.from)
    }

    /// Just so many bytes as they come, whatever the request's framing.
    ///
    /// # Errors
    /// When the connection ends before.
    pub(crate) fn take(&mut self, length: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.from.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Closes the connection at once, which the other side sees as a reset.
    pub(crate) fn reset(&mut self) {
        let Channel::Plain(stream) = &self.from.get_ref().channel else { panic!("a plain connection") };
        socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Sends bytes as they are, to a side that may have had enough before their end.
    pub(crate) fn offer(&mut self, bytes: &[u8]) {
        let _had_enough = self.from.get_mut().write_all(bytes);
    }

    /// Says over TLS that nothing follows; without this the connection just ends.
    pub(crate) fn close_notify(&mut self) {
        let Channel::Tls(stream) = &mut self.from.get_mut().channel else { panic!("a connection over TLS") };
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    }

    /// Waits for the other side to close; `false`: it sent more instead.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.from.fill_buf().map_or(true, <[u8]>::is_empty)
    }

    /// Sends bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.from.get_mut().write_all(bytes).unwrap();
    }
}

/// The origin's side of a connection.
pub(crate) struct Wire {
    channel: Channel,
    /// Bytes that all connections of the origin have sent.
    sent: Arc<AtomicU64>,
}

enum Channel {
    Plain(TcpStream),
    Tls(Box<rustls::StreamOwned<rustls::ServerConnection, TcpStream>>),
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match &mut self.channel {
            Channel::Plain(stream) => stream.read(buffer),
            Channel::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = match &mut self.channel {
            Channel::Plain(stream) => stream.write(bytes),
            Channel::Tls(stream) => stream.write(bytes),
        }?;
        self.sent.fetch_add(written as u64, Ordering::SeqCst);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match &mut self.channel {
            Channel::Plain(stream) => stream.flush(),
            Channel::Tls(stream) => stream.flush(),
        }
    }
}

type Route = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// A running origin. Its threads end with the test.
#[derive(Clone)]
pub(crate) struct Origin {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// `http` or `https`.
    scheme: &'static str,
    seen: Arc<Mutex<Vec<Seen>>>,
    sent: Arc<AtomicU64>,
}

impl Origin {
    /// Answers by `route`.
    pub(crate) fn start(route: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(None, Arc::new(route))
    }

    /// The same over TLS.
    pub(crate) fn start_tls(
        config: Arc<rustls::ServerConfig>,
        route: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Some(config), Arc::new(route))
    }

    fn listen(tls: Option<Arc<rustls::ServerConfig>>, route: Route) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let origin = Self { address, scheme, seen: Arc::default(), sent: Arc::default() };
        let accepting = origin.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, origin, route, tls) = (stream.unwrap(), accepting.clone(), route.clone(), tls.clone());
                thread::spawn(move || origin.serve(stream, tls, &route));
            }
        });
        origin
    }

    fn serve(&self, stream: TcpStream, tls: Option<Arc<rustls::ServerConfig>>, route: &Route) {
        stream.set_nodelay(true).unwrap();
        let channel = match tls {
            None => Channel::Plain(stream),
            Some(config) => {
                let session = rustls::ServerConnection::new(config).unwrap();
                Channel::Tls(Box::new(rustls::StreamOwned::new(session, stream)))
            }
        };
        let mut wire = BufReader::new(Wire { channel, sent: self.sent.clone() });
        while let Some(head) = Head::read(&mut wire) {
            if !self.exchange(head, &mut wire, route) {
                return;
            }
        }
    }

    fn exchange(&self, head: Head, wire: &mut BufReader<Wire>, route: &Route) -> bool {
        let mut words = head.first.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut incoming = Incoming::new(head.framing(Framing::None));
        let seen = Seen { method: method.clone(), target, fields: head.fields, body: Vec::new() };
        let number = {
            let mut all = self.seen.lock();
            all.push(seen.clone());
            all.len() - 1
        };
        let mut reply = route(&seen);
        if let Some(script) = reply.talk.take() {
            script(&mut Talk { from: wire, incoming });
            return false;
        }
        let (body, _) = incoming.read_all(wire);
        self.seen.lock()[number].body = body;
        reply.play(&method, wire.get_mut()).unwrap_or(false)
    }

    /// Its URL, for a site's `origin`.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Bytes sent so far, headers among them.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// How many requests came so far.
    pub(crate) fn asked(&self) -> usize {
        self.seen.lock().len()
    }

    /// Forgets all requests so far. None may be running.
    pub(crate) fn forget(&self) {
        self.seen.lock().clear();
    }

    /// The newest request for `target`.
    pub(crate) fn last(&self, target: &str) -> Seen {
        self.seen().into_iter().rfind(|seen| seen.target == target).unwrap()
    }

    /// How many requests for `target` came so far.
    pub(crate) fn count(&self, target: &str) -> usize {
        self.seen.lock().iter().filter(|seen| seen.target == target).count()
    }

    /// Waits until so many requests for `target` have come.
    pub(crate) fn wait_for(&self, target: &str, count: usize) {
        eventually(&format!("{count} request(s) for {target} at the origin"), || self.count(target) >= count);
    }
}

/// Reads until the peer closes, and says whether it did.
pub(crate) fn is_closed(from: &mut BufReader<TcpStream>) -> bool {
    from.get_ref().set_read_timeout(Some(DEADLINE)).unwrap();
    from.fill_buf().map_or_else(|error| error.kind() != std::io::ErrorKind::WouldBlock, <[u8]>::is_empty)
}
