//! What all client commands share: talking to the admin listeners of nodes.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use nearcast_shared::config::units;
use rustls::pki_types::ServerName;
use serde_json::Value;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

mod nodes;

pub(super) use nodes::Nodes;
use nodes::{Node, TokenSource};

/// Bytes of an answer from a node.
const ANSWER_MAX: usize = 16 << 20;

/// One request of the admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    method: Method,
    /// Path and query.
    target: String,
    body: Option<Value>,
}

impl Call {
    pub(super) fn get(target: impl Into<String>) -> Self {
        Self { method: Method::GET, target: target.into(), body: None }
    }

    pub(super) fn delete(target: impl Into<String>) -> Self {
        Self { method: Method::DELETE, target: target.into(), body: None }
    }

    pub(super) fn post(target: impl Into<String>, body: Option<Value>) -> Self {
        Self { method: Method::POST, target: target.into(), body }
    }
}

/// Why a node did not do as it was asked.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// Nobody listens there.
    #[error("{0}: connection refused; is the node running, and is this its admin listener?")]
    Refused(String),
    /// There is no way there.
    #[error("{0}: cannot connect: {1}")]
    Connect(String, io::Error),
    /// A name that stands for this machine and resolves to another.
    #[error("{0}: does not resolve to a loopback address, so the token is not sent there in the clear")]
    NotThisMachine(String),
    /// The handshake.
    #[error("{0}: TLS: {1}{2}")]
    Tls(String, String, &'static str),
    /// Not an HTTP answer.
    #[error("{0}: no HTTP answer ({1}); {2}")]
    Http(String, hyper::Error, &'static str),
    /// The answer took too long.
    #[error("{0}: no answer within {1}; --timeout waits longer")]
    TimedOut(String, String),
    /// Not JSON.
    #[error("{0}: answered {1}, but not in JSON; is this the admin listener of a nearcast node?")]
    NotJson(String, StatusCode),
    /// The node does not take the token.
    #[error("{0}: refuses the token of {1}: it must be the one in the node's own [admin] token or token-file")]
    Token(String, TokenSource),
    /// The node says no, in its own words.
    #[error("{0}")]
    Answered(String),
}

impl Failure {
    /// Whether the node itself said no; another one would say the same.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self, Self::Answered(_) | Self::Token(..))
    }
}

/// What each node answered, in the order of the config.
pub(super) type Answers<'c> = Vec<(&'c Node, Result<Value, Failure>)>;

/// Nodes, and what it takes to talk to them.
pub(super) struct Client {
    pub(super) nodes: Vec<Node>,
    authorization: HeaderValue,
    token_source: TokenSource,
    tls: Arc<rustls::ClientConfig>,
    timeout: Duration,
}

impl Client {
    /// Asks every node at once.
    ///
    /// # Errors
    /// When this machine has no room for it; what goes wrong with a node is in its answer.
    pub(super) fn ask_all(&self, call: &Call) -> io::Result<Answers<'_>> {
        let ask = |node| async move { (node, self.ask(node, call).await) };
        Ok(runtime()?.block_on(join_all(self.nodes.iter().map(ask))))
    }

    /// Asks every node one call after the other until one fails. `together` makes one answer of all of a node, and `done` is
    /// told of each.
    ///
    /// # Errors
    /// When this machine has no room for it; what goes wrong with a node is in its answer.
    pub(super) fn ask_all_in_turn(
        &self,
        calls: &[Call],
        together: impl Fn(&Value, Value) -> Value,
        done: impl Fn(),
    ) -> io::Result<Answers<'_>> {
        let (together, done) = (&together, &done);
        let ask = |node| async move {
            let mut all = Value::Null;
            for call in calls {
                match self.ask(node, call).await {
                    Ok(answer) => all = together(&all, answer),
                    Err(failure) => return (node, Err(failure)),
                }
                done();
            }
            (node, Ok(all))
        };
        Ok(runtime()?.block_on(join_all(self.nodes.iter().map(ask))))
    }

    /// Asks the nodes in their order until one answers, yes or no. Those that did not come first.
    ///
    /// # Errors
    /// When this machine has no room for it; what goes wrong with a node is in its answer.
    pub(super) fn ask_first(&self, call: &Call) -> io::Result<Answers<'_>> {
        let runtime = runtime()?;
        let mut answers = Vec::new();
        for node in &self.nodes {
            let answer = runtime.block_on(self.ask(node, call));
            let done = answer.as_ref().map_or_else(Failure::is_answer, |_| true);
            answers.push((node, answer));
            if done {
                break;
            }
        }
        Ok(answers)
    }

    /// Asks one node.
    pub(super) async fn ask(&self, node: &Node, call: &Call) -> Result<Value, Failure> {
        let exchange = self.exchange(node, call, async |response| self.read(node, response).await);
        tokio::time::timeout(self.timeout, exchange).await.map_err(|_| self.timed_out(node, self.timeout))?
    }

    /// Makes each call to every node, one after the other, and hands over the lines of JSON that come, as they come. After
    /// a call that fails no more are made to that node.
    ///
    /// # Errors
    /// When this machine has no room for it; what goes wrong with a node is in its answer.
    pub(super) fn lines_of_all(
        &self,
        calls: &[Call],
        take: impl Fn(&Node, Value),
    ) -> io::Result<Vec<(&Node, Result<(), Failure>)>> {
        let ask = async |node| {
            for call in calls {
                if let Err(failure) = self.lines(node, call, |line| take(node, line)).await {
                    return (node, Err(failure));
                }
            }
            (node, Ok(()))
        };
        Ok(runtime()?.block_on(join_all(self.nodes.iter().map(ask))))
    }

    async fn lines(&self, node: &Node, call: &Call, take: impl FnMut(Value)) -> Result<(), Failure> {
        let begun = Cell::new(false);
        let exchange = self.exchange(node, call, async |response| {
            begun.set(true);
            self.read_lines(node, response, take).await
        });
        let late = async {
            tokio::time::sleep(self.timeout).await;
            if begun.get() {
                // From then on it is silence that counts.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            done = exchange => done,
            () = late => Err(self.timed_out(node, self.timeout)),
        }
    }

    fn timed_out(&self, node: &Node, after: Duration) -> Failure {
        Failure::TimedOut(node.to_string(), units::format_duration(after))
    }

    async fn exchange<T>(
        &self,
        node: &Node,
        call: &Call,
        read: impl AsyncFnOnce(Response<Incoming>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let stream = connect(node).await?;
        if node.is_plain() {
            return self.send(node, call, stream, read).await;
        }
        let tls = |error: String, hint| Failure::Tls(node.to_string(), error, hint);
        let name = ServerName::try_from(node.host().to_owned()).map_err(|error| tls(error.to_string(), ""))?;
        let connector = tokio_rustls::TlsConnector::from(self.tls.clone());
        let stream = connector.connect(name, stream).await.map_err(|error| tls(error.to_string(), tls_hint(&error)))?;
        self.send(node, call, stream, read).await
    }

    async fn send<T>(
        &self,
        node: &Node,
        call: &Call,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        read: impl AsyncFnOnce(Response<Incoming>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let http = |error| {
            let hint = if node.is_plain() { "does it speak https?" } else { "is it a nearcast node?" };
            Failure::Http(node.to_string(), error, hint)
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
        let exchange = async {
            let response = sender.send_request(self.request(node, call)).await.map_err(http)?;
            read(response).await
        };
        // The connection is driven here, not in a task of its own: it ends with the exchange. When it ends first, the
        // exchange has all there is, or its own error.
        let (mut exchange, mut connection) = (std::pin::pin!(exchange), std::pin::pin!(connection));
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            _ = &mut connection => exchange.await,
        }
    }

    fn request(&self, node: &Node, call: &Call) -> Request<Full<Bytes>> {
        let body = call.body.as_ref().map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = call.method.clone();
        // Targets are made here, of constants and percent-encoded text.
        *request.uri_mut() = call.target.parse().expect("an encoded path and query");
        let authority = node.url.authority().map_or("", |authority| authority.as_str());
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(authority).expect("an authority is visible ASCII"));
        headers.insert(AUTHORIZATION, self.authorization.clone());
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if call.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        request
    }

    async fn read_lines(
        &self,
        node: &Node,
        response: Response<Incoming>,
        mut take: impl FnMut(Value),
    ) -> Result<(), Failure> {
        let status = response.status();
        if !status.is_success() {
            return self.read(node, response).await.map(drop);
        }
        let not_json = || Failure::NotJson(node.to_string(), status);
        let silence = self.timeout.max(SILENCE_MAX);
        let (mut body, mut bytes) = (response.into_body(), Vec::new());
        loop {
            let frame = tokio::time::timeout(silence, body.frame()).await;
            let Some(frame) = frame.map_err(|_| self.timed_out(node, silence))? else { break };
            let frame = frame.map_err(|error| Failure::Http(node.to_string(), error, "it broke off"))?;
            bytes.extend_from_slice(frame.data_ref().map_or(&[][..], Bytes::as_ref));
            take_lines(&mut bytes, &mut take).filter(|()| bytes.len() <= LINE_MAX).ok_or_else(not_json)?;
        }
        if bytes.is_empty() { Ok(()) } else { Err(not_json()) }
    }

    async fn read(&self, node: &Node, response: Response<Incoming>) -> Result<Value, Failure> {
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED {
            return Err(Failure::Token(node.to_string(), self.token_source.clone()));
        }
        let not_json = || Failure::NotJson(node.to_string(), status);
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await.map_err(|_| not_json())?;
        let value: Value = serde_json::from_slice(&body.to_bytes()).map_err(|_| not_json())?;
        if status.is_success() {
            return Ok(value);
        }
        let words = value.get("error").and_then(Value::as_str).ok_or_else(not_json)?;
        Err(Failure::Answered(words.to_owned()))
    }
}

/// A node that says nothing for so long in the middle of an answer is taken for gone: it would send empty lines.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Bytes of a line.
const LINE_MAX: usize = 1 << 20;

/// Takes the whole lines out of `bytes`; `None`: one is not JSON.
fn take_lines(bytes: &mut Vec<u8>, mut take: impl FnMut(Value)) -> Option<()> {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let rest = bytes.split_off(end);
    let lines = std::mem::replace(bytes, rest);
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        take(serde_json::from_slice(line).ok()?);
    }
    Some(())
}

async fn connect(node: &Node) -> Result<TcpStream, Failure> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Refused(node.to_string()),
        _ => Failure::Connect(node.to_string(), error),
    };
    let found = tokio::net::lookup_host((node.host(), node.port())).await.map_err(failed)?;
    let safe = |address: &SocketAddr| !node.is_plain() || address.ip().to_canonical().is_loopback();
    let addresses: Vec<SocketAddr> = found.filter(safe).collect();
    if addresses.is_empty() {
        return Err(Failure::NotThisMachine(node.to_string()));
    }
    TcpStream::connect(addresses.as_slice()).await.map_err(failed)
}

/// What to do about a handshake that failed.
fn tls_hint(error: &io::Error) -> &'static str {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => "; --ca FILE adds your own certificate authority",
        Some(rustls::Error::InvalidMessage(_)) => "; does it speak plain http?",
        _ => "",
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Prints one entry per node; `line` puts a good answer into words. Success only if all answers are good.
pub(super) fn print(answers: &Answers<'_>, line: impl Fn(&Value) -> String) -> ExitCode {
    let width = answers.iter().map(|(node, _)| node.name.len()).max().unwrap_or(0);
    for (node, answer) in answers {
        let words = match answer {
            Ok(value) => line(value),
            Err(failure) => format!("FAILED  {failure}"),
        };
        println!("{}", entry(&node.name, width, &words));
    }
    let good = answers.iter().all(|(_, answer)| answer.is_ok());
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// `words` behind a name; further lines stand below the first.
fn entry(name: &str, width: usize, words: &str) -> String {
    let below = format!("\n{:width$}  ", "");
    format!("{name:width$}  {}", words.trim_end().replace('\n', &below))
}

/// A field of an answer as text; `-` when it is not there.
pub(super) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or("-")
}

/// `text` for a path segment or a query value.
pub(super) fn encode(text: &str) -> String {
    use fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _infallible = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client says of a listener that answers with these bytes, and what it had sent.
    fn talk(answer: &str) -> (Result<Value, String>, String) {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let client = nodes::tests::nodes(&["--admin", &url]).client_with(Some("correct-horse".to_owned())).unwrap();
        let (mut answers, sent) = std::thread::scope(|scope| {
            let node = scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                    head.push(byte[0]);
                }
                stream.write_all(answer.as_bytes()).unwrap();
                String::from_utf8(head).unwrap()
            });
            (client.ask_first(&Call::post("/v1/reload", None)).unwrap(), node.join().unwrap())
        });
        (answers.remove(0).1.map_err(|failure| failure.to_string().replace(&url, "URL")), sent)
    }

    fn http(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn a_call_and_its_answers() {
        let (answer, sent) = talk(&http("200 OK", "{\"generation\": 2}"));
        assert_eq!(answer, Ok(serde_json::json!({ "generation": 2 })));
        assert!(sent.starts_with("POST /v1/reload HTTP/1.1\r\n"), "{sent}");
        assert!(sent.contains("authorization: Bearer correct-horse\r\n"), "{sent}");
        let rows = [
            (http("409 Conflict", "{\"error\": \"one\\ntwo\"}"), "one\ntwo"),
            (
                http("401 Unauthorized", ""),
                "URL: refuses the token of NEARCAST_ADMIN_TOKEN: it must be the one in the node's own [admin] token or \
                 token-file",
            ),
            (
                http("404 Not Found", "no\n"),
                "URL: answered 404 Not Found, but not in JSON; is this the admin listener of a nearcast node?",
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}".to_owned(),
                "URL: answered 200 OK, but not in JSON; is this the admin listener of a nearcast node?",
            ),
        ];
        for (answer, wanted) in rows {
            assert_eq!(talk(&answer).0, Err(wanted.to_owned()));
        }
        assert!(talk("\u{15}\u{3}\u{3}").0.unwrap_err().ends_with("does it speak https?"));
    }

    #[test]
    fn nobody_listens() {
        // Bound, so that nobody else gets the port, but not listening.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let client = nodes::tests::nodes(&["--admin", &url]).client_with(Some("correct-horse".to_owned())).unwrap();
        let answers = client.ask_all(&Call::get("/v1/status")).unwrap();
        let failure = answers[0].1.as_ref().unwrap_err();
        assert!(matches!(failure, Failure::Refused(_)), "{failure}");
        assert!(!failure.is_answer());
    }

    #[test]
    fn lines_as_they_come() {
        let mut seen = Vec::new();
        let mut bytes = b"{\"a\": 1}\n\n{\"a\": 2}\n{\"a\"".to_vec();
        assert_eq!(take_lines(&mut bytes, |line| seen.push(line["a"].clone())), Some(()));
        assert_eq!((seen.len(), bytes.as_slice()), (2, &b"{\"a\""[..]));
        bytes.extend_from_slice(b": 3}\n");
        assert_eq!(take_lines(&mut bytes, |line| seen.push(line["a"].clone())), Some(()));
        assert_eq!((seen, bytes.len()), (vec![1.into(), 2.into(), 3.into()], 0));
        assert_eq!(take_lines(&mut b"no\n".to_vec(), drop), None);
    }

    #[test]
    fn encoding() {
        assert_eq!(encode("www.cdn.example.net"), "www.cdn.example.net");
        assert_eq!(encode("2001:db8::1"), "2001%3Adb8%3A%3A1");
        assert_eq!(encode("a/b c&d=é%"), "a%2Fb%20c%26d%3D%C3%A9%25");
    }

    #[test]
    fn entries_of_several_lines() {
        assert_eq!(entry("fra", 5, "FAILED  one\ntwo\n"), "fra    FAILED  one\n       two");
    }
}
