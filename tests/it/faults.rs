//! Origins that fail in the middle of an answer: a client sees that as an error and never as a clean end, nothing wrong is
//! stored, the next request has the right bytes, and the connection is not used again.
//!
//! | the origin | where it is shown |
//! |---|---|
//! | says 1,000 bytes and closes after 600 | here; all who follow: `fill`; to an HTTP/1.0 client: `errors`; a length past 64 KiB: `fill` |
//! | ends without the last chunk | here; within a chunk, its size or the trailers: `framing` |
//! | sends a bad chunk size | here; too large a one: `framing` |
//! | resets the connection | here |
//! | resets the HTTP/2 stream | here; before its header: `errors` |
//! | ends TLS without close_notify | here |
//! | stalls | here; before its header: `fill`, `errors` |
//! | sends more than the length | `framing`, also that the rest is not the next answer; `fill` |
//! | sends two lengths | here when they differ, `framing` when they do not, and in all other spellings |
//! | sends a header of 100 KiB | here; too many fields: `http` |
//! | changes the body midway, by its ETag | `resume`, `parts` |

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Version;
use parking_lot::Mutex;

use crate::harness::client::{Answer, Ask, Plain};
use crate::harness::gate::Gate;
use crate::harness::h2::{self, Then};
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply, Seen, Talk};
use crate::harness::tls::Authority;
use crate::harness::wire::End;
use crate::harness::{eventually, noise};

/// What is right.
fn body() -> Vec<u8> {
    noise(1000, 1)
}

/// How far an origin gets.
const DONE: usize = 600;

/// What a client sees of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// A body that breaks off.
    Broken,
    /// An error of ours.
    Status(u16),
    /// All of it.
    Whole,
}

struct Fault {
    name: &'static str,
    /// Header fields, to the end of the header or not.
    head: &'static str,
    sends: fn(&mut Talk<'_>),
    /// What becomes of the connection.
    then: Then,
    outcome: Outcome,
}

const FAULTS: [Fault; 8] = [
    Fault {
        name: "closed at 600 of 1,000",
        head: "content-length: 1000\r\n\r\n",
        sends: |talk| talk.write(&body()[..DONE]),
        then: Then::Close,
        outcome: Outcome::Broken,
    },
    Fault {
        name: "chunks without the last",
        head: "transfer-encoding: chunked\r\n\r\n",
        sends: |talk| talk.write(&[b"258\r\n", &body()[..DONE], b"\r\n"].concat()),
        then: Then::Close,
        outcome: Outcome::Broken,
    },
    Fault {
        name: "a bad chunk size",
        head: "transfer-encoding: chunked\r\n\r\n",
        sends: |talk| talk.write(&[b"258\r\n", &body()[..DONE], b"\r\nmuch\r\n"].concat()),
        then: Then::GoOn,
        outcome: Outcome::Broken,
    },
    Fault {
        name: "a stall",
        head: "content-length: 1000\r\n\r\n",
        sends: |talk| talk.write(&body()[..DONE]),
        then: Then::GoOn,
        outcome: Outcome::Broken,
    },
    Fault {
        name: "a stall between chunks",
        head: "transfer-encoding: chunked\r\n\r\n",
        sends: |talk| talk.write(&[b"258\r\n", &body()[..DONE], b"\r\n"].concat()),
        then: Then::GoOn,
        outcome: Outcome::Broken,
    },
    Fault {
        name: "two lengths",
        head: "content-length: 1000\r\ncontent-length: 600\r\n\r\n",
        sends: |talk| talk.write(&body()),
        then: Then::GoOn,
        outcome: Outcome::Status(502),
    },
    Fault {
        name: "a header of 100 KiB",
        head: "content-length: 1000\r\nx-long: ",
        sends: |talk| talk.offer(&vec![b'x'; 100 << 10]),
        then: Then::GoOn,
        outcome: Outcome::Status(502),
    },
    Fault {
        name: "a header of 100 KiB in small fields",
        head: "content-length: 1000\r\n",
        sends: |talk| talk.offer(format!("x-long: {}\r\n", "x".repeat(1014)).repeat(100).as_bytes()),
        then: Then::GoOn,
        outcome: Outcome::Status(502),
    },
];

#[test]
fn faults_of_an_answer() {
    for Fault { name, head, sends, then, outcome } in FAULTS {
        let closed = Arc::new(Mutex::new(Vec::new()));
        let noted = closed.clone();
        let origin = Origin::start(first_time(move || {
            let noted = noted.clone();
            Reply::talk(move |talk| {
                talk.write(format!("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n{head}").as_bytes());
                sends(talk);
                if then == Then::GoOn {
                    noted.lock().push(talk.is_closed());
                }
            })
        }));
        let node = Setup::new(&origin).set("origin.read-timeout", "\"300ms\"").set("runtime.workers", "1").start();
        both_ways(name, &node, outcome);
        assert_eq!(origin.seen().len(), 4, "{name}");
        if then == Then::GoOn {
            eventually(&format!("the end of both connections: {name}"), || closed.lock().len() == 2);
            assert_eq!(*closed.lock(), [true, true], "{name}: used again");
        }
    }
}

/// The end of the connection is that of the body, which over TLS can be told from a broken one.
#[test]
fn faults_of_tls() {
    let authority = Authority::new();
    type Sends = fn(&mut Talk<'_>);
    let rows: [(&str, &str, Sends, Outcome); 3] = [
        ("a length", "content-length: 1000\r\n", |talk| talk.write(&body()[..DONE]), Outcome::Broken),
        ("no close_notify", "", |talk| talk.write(&body()[..DONE]), Outcome::Broken),
        (
            "close_notify",
            "",
            |talk| {
                talk.write(&body());
                talk.close_notify();
            },
            Outcome::Whole,
        ),
    ];
    for (name, head, sends, outcome) in rows {
        let origin = Origin::start_tls(
            authority.server("127.0.0.1"),
            first_time(move || {
                Reply::talk(move |talk| {
                    talk.write(format!("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n{head}\r\n").as_bytes());
                    sends(talk);
                })
            }),
        );
        let setup = Setup::new(&origin).set("origin.ca", "\"ca.pem\"");
        std::fs::write(setup.folder().join("ca.pem"), authority.pem()).unwrap();
        // Whose end is not sure is not waited for, nor stored: not for as long, either.
        both_ways(name, &setup.set("cache.uncacheable-for", "\"0s\"").start(), outcome);
    }
}

#[test]
fn faults_of_an_http_2_stream() {
    const DATA: u8 = 0;
    const RST_STREAM: u8 = 3;
    const END_STREAM: u8 = 1;
    type After = fn(u8) -> (Vec<u8>, Then);
    let reset: After = |stream| (h2::frame(RST_STREAM, 0, stream, &[0, 0, 0, 2]), Then::GoOn);
    let rows: [(&str, bool, After); 5] = [
        ("a reset", false, reset),
        ("a reset before the length", true, reset),
        ("an end before the length", true, |stream| (h2::frame(DATA, END_STREAM, stream, b""), Then::GoOn)),
        ("more than the length", true, |stream| (h2::frame(DATA, END_STREAM, stream, &[0; 401]), Then::GoOn)),
        ("the end of the connection", false, |_| (Vec::new(), Then::Close)),
    ];
    let authority = Authority::new();
    for (name, announced, after) in rows {
        let number = Arc::new(AtomicUsize::new(0));
        let origin = Origin::start_tls(authority.server_of("127.0.0.1", "h2"), move |_| {
            let number = number.clone();
            Reply::talk(move |talk| {
                let _closed = h2::answer_streams(talk, |stream| {
                    // Of two requests for a target, the first meets the fault.
                    let faulty = number.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
                    let mut bytes = head_of(stream, announced);
                    bytes.extend(h2::frame(DATA, 0, stream, &body()[..DONE]));
                    let (last, then) = match faulty {
                        true => after(stream),
                        false => (h2::frame(DATA, END_STREAM, stream, &body()[DONE..]), Then::GoOn),
                    };
                    bytes.extend(last);
                    (bytes, then)
                });
            })
        });
        let setup = Setup::new(&origin).set("origin.ca", "\"ca.pem\"");
        std::fs::write(setup.folder().join("ca.pem"), authority.pem()).unwrap();
        both_ways(name, &setup.start(), Outcome::Broken);
    }
}

/// The header of an answer, with its length or without (RFC 7541 appendix A: 8 is ":status: 200").
fn head_of(stream: u8, announced: bool) -> Vec<u8> {
    const HEADERS: u8 = 1;
    const END_HEADERS: u8 = 4;
    let mut block = vec![0x88];
    let (control, length) = (24, 28);
    let mut literal = |name: u8, value: &[u8]| {
        block.extend([0x0f, name - 15, u8::try_from(value.len()).unwrap()]);
        block.extend_from_slice(value);
    };
    literal(control, b"max-age=60");
    if announced {
        literal(length, b"1000");
    }
    h2::frame(HEADERS, END_HEADERS, stream, &block)
}

#[test]
fn a_connection_that_is_reset() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(first_time(move || {
        let held = held.clone();
        Reply::talk(move |talk| {
            talk.write(b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 1000\r\n\r\n");
            talk.write(&body()[..DONE]);
            // What is not read by then is lost.
            held.wait();
            talk.reset();
        })
    }));
    let node = Setup::new(&origin).start();
    let mut client = Plain::connect(node.http());
    let mut begun = client.begin(&Ask::get("/a"));
    assert!(client.some(&mut begun, DONE) == body()[..DONE]);
    gate.open();
    assert_eq!(client.rest(begun).end, End::Broken);
    then_right("reset", &node, || node.get("/a"));
}

/// The first request for a target gets the fault, all others what is right.
fn first_time(fault: impl Fn() -> Reply + Send + Sync + 'static) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    let targets = Mutex::new(HashSet::new());
    move |seen| {
        let is_first = targets.lock().insert(seen.target.clone());
        if is_first { fault() } else { Reply::ok(body()).control("max-age=60") }
    }
}

/// Meets the fault once over HTTP/1.1 and once over HTTP/2.
fn both_ways(name: &str, node: &Node, outcome: Outcome) {
    type Way = fn(&Node, &Ask) -> Option<Answer>;
    let h1: Way = |node, ask| Plain::connect(node.http()).exchange(ask);
    let h2: Way = |node, ask| ask.over(node.http(), Version::HTTP_2, None).ok();
    for (target, way) in [("/h1", h1), ("/h2", h2)] {
        let (name, ask) = (format!("{name} to {target}"), Ask::get(target));
        match (outcome, way(node, &ask)) {
            // What fails at once may end before its header has gone out.
            (Outcome::Broken, None) => {}
            (Outcome::Broken, Some(faulty)) => {
                assert_eq!((faulty.status, faulty.end, faulty.is_hit()), (200, End::Broken, false), "{name}");
                assert!(body().starts_with(&faulty.body) && faulty.body.len() <= DONE, "{name}");
            }
            (Outcome::Status(status), Some(faulty)) => {
                assert_eq!((faulty.status, faulty.end), (status, End::Clean), "{name}");
                assert_eq!(faulty.field("cache-control").as_deref(), Some("no-store"), "{name}");
            }
            (Outcome::Whole, Some(answer)) => {
                assert_eq!((answer.status, answer.end, answer.is_hit()), (200, End::Clean, false), "{name}");
                assert!(answer.body == body(), "{name}");
            }
            (Outcome::Status(_) | Outcome::Whole, None) => panic!("{name}: no answer"),
        }
        if outcome != Outcome::Whole {
            then_right(&name, node, || way(node, &ask).unwrap());
        }
    }
}

/// Nothing is stored; what is asked for next is right, and that is stored.
fn then_right(name: &str, node: &Node, ask: impl Fn() -> Answer) {
    for hit in [false, true] {
        node.settle();
        let answer = ask();
        assert_eq!((answer.status, answer.end, answer.is_hit()), (200, End::Clean, hit), "{name}");
        assert!(answer.body == body(), "{name}");
    }
}
