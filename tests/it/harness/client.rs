//! Clients: HTTP/1.1 byte by byte, and hyper for HTTP/2 and TLS.

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming as HyperBody;
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};

use super::DEADLINE;
use super::origin::joined;
use super::vast::Vast;
use super::wire::{End, Framing, Head, Incoming};

/// An answer as a client saw it.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) end: End,
}

impl Answer {
    /// All lines of a field.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        joined(&self.fields, name)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// `Cache-Status` without the cache's name.
    pub(crate) fn cache(&self) -> String {
        let whole = self.field("cache-status").unwrap_or_default();
        whole.split_once("; ").map(|(_, rest)| rest.to_owned()).unwrap_or_default()
    }

    /// Whether it came from the store, fresh.
    pub(crate) fn is_hit(&self) -> bool {
        self.cache().starts_with("hit")
    }
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    method: String,
    target: String,
    host: String,
    /// For TLS, when it is not the host.
    server_name: Option<String>,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

/// The host that a node of the harness serves unless told otherwise.
pub(crate) const HOST: &str = "www.cdn.test";

impl Ask {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            host: HOST.to_owned(),
            server_name: None,
            fields: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    /// Over TLS, asks for this name's certificate.
    pub(crate) fn server_name(mut self, name: &str) -> Self {
        self.server_name = Some(name.to_owned());
        self
    }

    /// One more field.
    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = bytes.into();
        self
    }

    /// As HTTP/1.1.
    fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\nhost: {}\r\n", self.method, self.target, self.host);
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() {
            text.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        [text.as_bytes(), b"\r\n", &self.body].concat()
    }

    /// Over a new plain HTTP/1.1 connection.
    pub(crate) fn send(&self, to: SocketAddr) -> Answer {
        Plain::connect(to).ask(self)
    }

    /// Over hyper: HTTP/1.1 or HTTP/2, plain or with `tls`.
    pub(crate) fn over(&self, to: SocketAddr, version: Version, tls: Option<&Trusted>) -> Result<Answer, Failed> {
        RUNTIME.block_on(async {
            let exchange = async {
                let stream = tokio::net::TcpStream::connect(to).await.map_err(|_| Failed::Connect)?;
                stream.set_nodelay(true).unwrap();
                match tls {
                    None => self.exchange(stream, version).await,
                    Some(trusted) => {
                        let name = self.server_name.as_ref().unwrap_or(&self.host);
                        self.exchange(trusted.handshake(stream, name, version).await?, version).await
                    }
                }
            };
            tokio::time::timeout(DEADLINE, exchange).await.expect("an answer in time")
        })
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        version: Version,
    ) -> Result<Answer, Failed> {
        let mut request = Request::builder().method(self.method.as_str()).version(version);
        request = match version {
            Version::HTTP_2 => request.uri(format!("http://{}{}", self.host, self.target)),
            _ => request.uri(&self.target).header("host", &self.host),
        };
        for (name, value) in &self.fields {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(self.body.clone()))).unwrap();
        let (io, refused) = (TokioIo::new(stream), |_| Failed::Refused);
        let answer = if version == Version::HTTP_2 {
            let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
            builder.initial_stream_window_size(1 << 20).initial_connection_window_size(1 << 20);
            let (mut sender, connection) = builder.handshake(io).await.map_err(refused)?;
            tokio::spawn(connection);
            sender.send_request(request).await.map_err(refused)?
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(refused)?;
            tokio::spawn(connection);
            sender.send_request(request).await.map_err(refused)?
        };
        Ok(collect(answer).await)
    }
}

async fn collect(answer: Response<HyperBody>) -> Answer {
    let (parts, mut incoming) = answer.into_parts();
    let (mut body, mut end) = (Vec::new(), End::Clean);
    while let Some(frame) = incoming.frame().await {
        match frame {
            Ok(frame) => body.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(_) => {
                end = End::Broken;
                break;
            }
        }
    }
    Answer { status: parts.status.as_u16(), fields: parts.headers, body, end }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// No connection.
    Connect,
    /// No TLS.
    Handshake,
    /// No header.
    Refused,
}

/// Drives hyper's clients and servers.
pub(crate) static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

/// A TLS client that trusts one authority.
#[derive(Debug, Clone)]
pub(crate) struct Trusted(pub(crate) Arc<rustls::RootCertStore>);

impl Trusted {
    /// TLS with `host`, for HTTP of that version.
    pub(crate) async fn handshake(
        &self,
        stream: tokio::net::TcpStream,
        host: &str,
        version: Version,
    ) -> Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>, Failed> {
        let alpn: &[u8] = if version == Version::HTTP_2 { b"h2" } else { b"http/1.1" };
        let name = host.split(':').next().unwrap().to_owned().try_into().unwrap();
        let connector = tokio_rustls::TlsConnector::from(self.client(&[alpn]));
        let stream = connector.connect(name, stream).await.map_err(|_| Failed::Handshake)?;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn));
        Ok(stream)
    }

    /// A client configuration with these protocols.
    pub(crate) fn client(&self, alpn: &[&[u8]]) -> Arc<rustls::ClientConfig> {
        let provider = nearcast_shared::trust::provider();
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.unwrap().with_root_certificates(self.0.clone()).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }
}

/// A plain HTTP/1.1 connection, byte by byte.
pub(crate) struct Plain {
    stream: BufReader<TcpStream>,
}

/// An answer whose body is still on its way.
pub(crate) struct Begun {
    pub(crate) head: Head,
    incoming: Incoming,
}

impl Plain {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { stream: BufReader::with_capacity(64 << 10, stream) }
    }

    /// A client for whom the kernel takes little ahead: it soon stops the other side when it does not read.
    pub(crate) fn narrow(to: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        socket.connect(&to.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { stream: BufReader::with_capacity(1 << 10, stream) }
    }

    /// Sends these bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        // The other side may have had enough already.
        let _closed = self.stream.get_mut().write_all(bytes);
    }

    /// Sends a request.
    pub(crate) fn send(&mut self, ask: &Ask) {
        self.write(&ask.bytes());
    }

    /// Sends a request and reads its answer.
    pub(crate) fn ask(&mut self, ask: &Ask) -> Answer {
        self.exchange(ask).expect("an answer before the connection ends")
    }

    /// The same; `None` when the connection ends first.
    pub(crate) fn exchange(&mut self, ask: &Ask) -> Option<Answer> {
        self.write(&ask.bytes());
        self.answer(&ask.method)
    }

    /// Sends a request and reads the header of its answer.
    pub(crate) fn begin(&mut self, ask: &Ask) -> Begun {
        self.write(&ask.bytes());
        self.begun(&ask.method).expect("an answer before the connection ends")
    }

    /// The next answer; `None` when the connection ends first.
    pub(crate) fn answer(&mut self, method: &str) -> Option<Answer> {
        let begun = self.begun(method)?;
        Some(self.rest(begun))
    }

    /// The header of the next answer; `None` when the connection ends first.
    pub(crate) fn begun(&mut self, method: &str) -> Option<Begun> {
        let head = Head::read(&mut self.stream)?;
        let bodiless = method == "HEAD" || matches!(status(&head), 204 | 304);
        let framing = if bodiless { Framing::None } else { head.framing(Framing::UntilClose) };
        Some(Begun { head, incoming: Incoming::new(framing) })
    }

    /// At least `length` more bytes of a body that has begun.
    pub(crate) fn some(&mut self, begun: &mut Begun, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let more = begun.incoming.read(&mut self.stream).expect("more of the body in time");
            assert!(!more.is_empty(), "the body ended after {} bytes", bytes.len());
            bytes.extend_from_slice(&more);
        }
        bytes
    }

    /// Some of the next bytes of a body that has begun, no more than `most`.
    pub(crate) fn up_to(&mut self, begun: &mut Begun, most: usize) -> Vec<u8> {
        let bytes = begun.incoming.read_up_to(&mut self.stream, most).expect("more of the body in time");
        assert!(!bytes.is_empty(), "the body ended");
        bytes
    }

    /// The rest of a body that has begun, bit by bit, and how it ended.
    pub(crate) fn each(&mut self, mut begun: Begun, mut take: impl FnMut(&[u8])) -> End {
        loop {
            match begun.incoming.read(&mut self.stream) {
                Ok(bytes) if bytes.is_empty() => return End::Clean,
                Ok(bytes) => take(&bytes),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("a body stalled"),
                Err(_) => return End::Broken,
            }
        }
    }

    /// The rest of a body that has begun, which must be that of `vast` from `offset` on: how far it came, and how it ended.
    pub(crate) fn rest_of(&mut self, begun: Begun, vast: &Vast, offset: u64) -> (u64, End) {
        let mut at = offset;
        let end = self.each(begun, |bytes| {
            assert!(vast.has(at, bytes), "a wrong byte near {at}");
            at += bytes.len() as u64;
        });
        (at, end)
    }

    /// The rest of a body that has begun.
    pub(crate) fn rest(&mut self, mut begun: Begun) -> Answer {
        let (body, end) = begun.incoming.read_all(&mut self.stream);
        Answer { status: status(&begun.head), fields: begun.head.fields, body, end }
    }

    /// Sends nothing any more.
    pub(crate) fn half_close(&mut self) {
        self.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    }

    /// Everything until the other side closes.
    pub(crate) fn reads_until_the_end(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        self.stream.read_to_end(&mut all).expect("the end in time");
        all
    }

    /// Whether the other side closes the connection now, without another byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        super::origin::is_closed(&mut self.stream)
    }
}

fn status(head: &Head) -> u16 {
    head.first.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line")
}
