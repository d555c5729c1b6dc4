use http::header::HOST;
use http::uri::Scheme;
use http_body_util::BodyExt;
use nearcast_shared::config::{Config, Inputs};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::body::RequestBody;
use crate::origin::connectors;

/// What an origin is told to do.
enum Order {
    /// To write this when it has a request.
    Answer(&'static str),
    /// To write this, too.
    More(&'static str),
    Close,
}

/// A pool, and an origin that takes one connection at a time and orders in their order.
struct Script {
    place: Place,
    pool: Arc<Pool>,
    orders: mpsc::UnboundedSender<Order>,
    /// One for each connection that was taken, and for each that ended.
    seen: mpsc::UnboundedReceiver<&'static str>,
}

impl Script {
    async fn begin() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string().parse().unwrap();
        let (give, mut orders) = mpsc::unbounded_channel();
        let (tell, seen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tell.send("taken").unwrap();
                let (mut buffer, mut asked) = ([0; 4096], false);
                loop {
                    tokio::select! {
                        read = stream.read(&mut buffer), if !asked => match read {
                            Ok(bytes) if bytes > 0 => asked = true,
                            _ => break,
                        },
                        order = orders.recv() => match order {
                            Some(Order::Answer(piece)) => {
                                if !asked && !matches!(stream.read(&mut buffer).await, Ok(bytes) if bytes > 0) {
                                    break;
                                }
                                asked = false;
                                stream.write_all(piece.as_bytes()).await.unwrap();
                            }
                            Some(Order::More(piece)) => stream.write_all(piece.as_bytes()).await.unwrap(),
                            Some(Order::Close) => break,
                            None => return,
                        },
                    }
                }
                drop(stream);
                tell.send("ended").unwrap();
            }
        });
        let text = "[[pop]]\nname = \"a\"\naddresses = [\"192.0.2.1\"]\n";
        let config = Config::parse(text, std::path::Path::new("test.toml"), &Inputs::default()).unwrap();
        let [_, one] = connectors(&config.origin).unwrap();
        Self { place: (Scheme::HTTP, authority), pool: Pool::new(one, &config.origin), orders: give, seen }
    }

    fn answers(&self, piece: &'static str) {
        assert!(self.orders.send(Order::Answer(piece)).is_ok());
    }

    async fn ask(&self) -> Response<Answer> {
        let (upload, _turn) = Upload::new(RequestBody::Empty);
        let request = Request::get("/a?b").header(HOST, "h.test").body(upload).unwrap();
        self.pool.ask(self.place.clone(), request).await.unwrap()
    }

    /// How many wait for the next request.
    fn idle(&self) -> usize {
        self.pool.shelf.lock().idle.values().map(Vec::len).sum()
    }
}

const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[tokio::test]
async fn a_connection_is_used_again_when_all_was_read() {
    let mut script = Script::begin().await;
    for _ in 0..3 {
        script.answers(WHOLE);
        let answer = script.ask().await;
        assert_eq!(
            (script.idle(), answer.into_body().collect().await.unwrap().to_bytes().as_ref()),
            (0, b"hello".as_slice())
        );
        assert_eq!(script.idle(), 1);
    }
    script.answers("HTTP/1.1 204 No Content\r\n\r\n");
    assert!(script.ask().await.body().is_end_stream());
    assert_eq!(script.idle(), 1, "nothing was to be read");
    assert_eq!((script.seen.try_recv(), script.seen.try_recv().is_err()), (Ok("taken"), true));
}

#[tokio::test]
async fn one_that_was_closed_is_let_go_and_not_used() {
    let mut script = Script::begin().await;
    script.answers(WHOLE);
    drop(script.ask().await.into_body().collect().await.unwrap());
    assert!(script.pool.look());
    assert!(script.orders.send(Order::Close).is_ok());
    assert_eq!((script.seen.recv().await, script.seen.recv().await), (Some("taken"), Some("ended")));
    while script.pool.look() {
        tokio::task::yield_now().await;
    }
    script.answers(WHOLE);
    drop(script.ask().await.into_body().collect().await.unwrap());
    assert_eq!(script.seen.recv().await, Some("taken"));
}

#[tokio::test]
async fn one_whose_answer_is_not_read_to_its_end_is_closed() {
    let mut script = Script::begin().await;
    script.answers(WHOLE);
    drop(script.ask().await);
    assert_eq!((script.seen.recv().await, script.seen.recv().await), (Some("taken"), Some("ended")));
    assert_eq!(script.idle(), 0);
    script.answers("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello");
    let mut answer = script.ask().await;
    assert!(script.orders.send(Order::Close).is_ok());
    assert_eq!(answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
    assert!(answer.body_mut().frame().await.unwrap().is_err(), "it broke off");
    drop(answer);
    assert_eq!(script.idle(), 0);
}

#[tokio::test]
async fn kept_ones_are_kept_for_a_time() {
    let script = Script::begin().await;
    script.answers(WHOLE);
    drop(script.ask().await.into_body().collect().await.unwrap());
    tokio::time::pause();
    tokio::time::advance(script.pool.idle_timeout).await;
    assert!(script.pool.take(&script.place).is_none());
    assert!(!script.pool.look());
}

#[tokio::test]
async fn what_came_with_the_header_is_at_hand() {
    let script = Script::begin().await;
    script.answers(WHOLE);
    let mut answer = script.ask().await;
    assert_eq!(answer.body_mut().all_at_hand(5).await.unwrap(), "hello");
    assert_eq!(script.idle(), 1);
    assert!(answer.body_mut().frame().await.is_none());
    // What is not all here, or more than was meant, is read later.
    for (piece, rest, length) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", "llo", 5),
        (WHOLE, "", 4),
        (WHOLE, "", 6),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "hello", 5),
    ] {
        script.answers(piece);
        let mut answer = script.ask().await;
        assert_eq!(answer.body_mut().all_at_hand(length).await, None);
        assert_eq!(answer.body().size_hint().exact(), Some(5));
        assert!(!answer.body().is_end_stream());
        assert!(script.orders.send(Order::More(rest)).is_ok());
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
        assert_eq!(script.idle(), 1);
    }
}
