//! A probe over HTTP: one GET on a connection of its own, of whose answer no more is read than it takes.

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::sites::{self, SITES_FIELD};
use super::super::{HEALTH_FIELD, LEAVING, OVERLOADED};
use super::Heard;
use crate::pop::{HttpProbe, Target};

/// Bytes of an answer's header.
const HEADER_MAX: usize = 16 << 10;
/// Fields of an answer.
const FIELDS_MAX: usize = 64;

/// Asks over `stream`.
pub(super) async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: &Target,
    probe: &HttpProbe,
) -> Result<Heard, String> {
    let failed = |error: hyper::Error| format!("http: {error}");
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEADER_MAX)
        .max_headers(FIELDS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let request = request(target, probe)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        judge(response, probe).await
    };
    tokio::pin!(answer);
    // The connection is driven here, not in a task of its own, so that a timeout ends both.
    tokio::select! {
        biased;
        answer = answer.as_mut() => answer,
        ended = connection => match ended {
            // It may end in the same moment as it delivers the answer.
            Ok(()) => answer.await,
            Err(error) => Err(failed(error)),
        },
    }
}

fn request(target: &Target, probe: &HttpProbe) -> Result<Request<Empty<Bytes>>, String> {
    let host = probe.host.clone().unwrap_or_else(|| target.authority());
    let mut request = Request::get(&probe.path).header(HOST, host).header(CONNECTION, "close");
    for (name, value) in &probe.headers {
        // The config knows that it is one; no cause is given, which might show it.
        let mut value = HeaderValue::try_from(value.reveal()).map_err(|_| format!("request: {name} is not a value"))?;
        value.set_sensitive(true);
        request = request.header(name, value);
    }
    request.body(Empty::new()).map_err(|error| format!("request: {error}"))
}

async fn judge(response: Response<Incoming>, probe: &HttpProbe) -> Result<Heard, String> {
    let (head, body) = response.into_parts();
    let status = head.status.as_u16();
    let field = |name: &str| head.headers.get(name).map(HeaderValue::as_bytes);
    let unreached = || field(SITES_FIELD).map(sites::read).unwrap_or_default();
    if !probe.statuses.iter().any(|wanted| wanted.matches(status)) {
        let says = |value: &str| {
            head.status == StatusCode::SERVICE_UNAVAILABLE && field(HEALTH_FIELD) == Some(value.as_bytes())
        };
        if says(OVERLOADED) || says(LEAVING) {
            return Ok(Heard { overloaded: says(OVERLOADED), leaving: says(LEAVING), unreached: unreached() });
        }
        return Err(format!("answered {status}"));
    }
    if let Some(wanted) = &probe.body
        && !holds(body, wanted.as_bytes()).await?
    {
        return Err(format!("answered {status} without the text in its first {} KiB", HttpProbe::BODY_MAX >> 10));
    }
    Ok(Heard { unreached: unreached(), ..Heard::default() })
}

/// Whether `wanted` is within what may be read of `body`.
async fn holds(mut body: Incoming, wanted: &[u8]) -> Result<bool, String> {
    let mut read = Vec::new();
    loop {
        if read.windows(wanted.len()).any(|window| window == wanted) {
            return Ok(true);
        }
        if read.len() >= HttpProbe::BODY_MAX {
            return Ok(false);
        }
        let Some(frame) = body.frame().await else { return Ok(false) };
        let frame = frame.map_err(|error| format!("body: {error}"))?;
        if let Ok(data) = frame.into_data() {
            let room = HttpProbe::BODY_MAX - read.len();
            read.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::super::sites::SiteHash;
    use super::*;
    use crate::config::{Secret, StatusMatch};
    use crate::pop::Question;

    fn probe() -> HttpProbe {
        HttpProbe {
            tls: None,
            host: None,
            path: "/up?a=b".to_owned(),
            statuses: vec![StatusMatch::Exact(204), StatusMatch::Class(2)],
            body: None,
            headers: vec![("x-token".parse().unwrap(), Secret::new("hunter2".to_owned()))],
        }
    }

    /// What comes of a server that answers `answer`, and what it was asked.
    async fn heard(probe: HttpProbe, answer: &[u8]) -> (Result<Heard, String>, String) {
        let (client, mut server) = tokio::io::duplex(1 << 20);
        let question = Arc::new(Question::Http(probe));
        let target = Target { address: None, host: "2001:db8::1".to_owned(), port: 8080, question: question.clone() };
        let Question::Http(probe) = &*question else { unreachable!("it was just made") };
        let serve = async {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(server.read_u8().await.unwrap());
            }
            server.write_all(answer).await.unwrap();
            drop(server);
            String::from_utf8(asked).unwrap()
        };
        tokio::join!(ask(client, &target, probe), serve)
    }

    #[tokio::test]
    async fn what_is_asked() {
        let (_, asked) = heard(probe(), b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let wanted =
            "GET /up?a=b HTTP/1.1\r\nhost: [2001:db8::1]:8080\r\nconnection: close\r\nx-token: hunter2\r\n\r\n";
        assert_eq!(asked, wanted);
        let (outcome, _) = heard(probe(), b"HTTP/1.1 503 No\r\nnearcast-health: leaving\r\n\r\n").await;
        assert_eq!(outcome, Ok(Heard { leaving: true, ..Heard::default() }));
        let named = HttpProbe { host: Some("www.test".to_owned()), ..probe() };
        let (_, asked) = heard(named, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        assert!(asked.contains("\r\nhost: www.test\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn answers() {
        let far = format!("HTTP/1.1 200 OK\r\n\r\n{}pong", "x".repeat(HttpProbe::BODY_MAX - 3));
        let near = format!("HTTP/1.1 200 OK\r\n\r\n{}pong", "x".repeat(HttpProbe::BODY_MAX - 4));
        let large = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "x".repeat(HEADER_MAX));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(FIELDS_MAX + 1));
        let without = "answered 200 without the text";
        type Row<'r> = (&'r str, Option<&'r str>, &'r str, Result<bool, &'r str>);
        let rows: [Row<'_>; 14] = [
            ("good", None, "HTTP/1.1 204 No\r\n\r\n", Ok(false)),
            ("good by its class", None, "HTTP/1.1 299 Odd\r\n\r\n", Ok(false)),
            ("another status", None, "HTTP/1.1 404 No\r\n\r\n", Err("answered 404")),
            ("down", None, "HTTP/1.1 503 No\r\n\r\n", Err("answered 503")),
            ("overloaded", None, "HTTP/1.1 503 No\r\nnearcast-health: overloaded\r\n\r\n", Ok(true)),
            ("in other words", None, "HTTP/1.1 503 No\r\nnearcast-health: tired\r\n\r\n", Err("answered 503")),
            (
                "only with that status",
                None,
                "HTTP/1.1 500 No\r\nnearcast-health: overloaded\r\n\r\n",
                Err("answered 500"),
            ),
            ("the text", Some("pong"), "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n-pong-", Ok(false)),
            ("not the text", Some("pong"), "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nping", Err(without)),
            ("at the very end of what is read", Some("pong"), &near, Ok(false)),
            ("beyond it", Some("pong"), &far, Err(without)),
            ("a large header", None, &large, Err("http: ")),
            ("a long header", None, &many, Err("http: ")),
            ("not HTTP", None, "SSH-2.0-OpenSSH\r\n\r\n", Err("http: ")),
        ];
        for (name, body, answer, wanted) in rows {
            let probe = HttpProbe { body: body.map(str::to_owned), ..probe() };
            let (outcome, _) = heard(probe, answer.as_bytes()).await;
            match (&outcome, wanted) {
                (Ok(heard), Ok(overloaded)) => assert_eq!(heard.overloaded, overloaded, "{name}"),
                (Err(why), Err(wanted)) => {
                    assert!(why.starts_with(wanted) && !why.contains("hunter2"), "{name}: {why}")
                }
                _ => panic!("{name}: {outcome:?}"),
            }
        }
    }

    #[tokio::test]
    async fn sites_come_with_both_answers() {
        let sites = sites::write(vec![SiteHash::of("www")]).unwrap();
        for (status, overload) in [("200 OK", ""), ("503 No", "nearcast-health: overloaded\r\n")] {
            let answer = format!("HTTP/1.1 {status}\r\n{overload}{SITES_FIELD}: {sites}\r\ncontent-length: 0\r\n\r\n");
            let (outcome, _) = heard(probe(), answer.as_bytes()).await;
            assert_eq!(outcome.unwrap().unreached, [SiteHash::of("www")]);
        }
    }
}
