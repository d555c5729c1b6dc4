//! What a hit from memory and a miss allocate, from the bytes of the request to those of the answer, counted in a whole node. The
//! numbers may only fall: whoever makes a hit cheaper writes down the new one, and nobody a larger.
#![expect(clippy::unwrap_used, reason = "a test's own mistake may end it")]

use std::alloc::System;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use nearcast::node::Node;
use nearcast_shared::clock::Clock;
use nearcast_shared::config::{Config, Inputs};
use stats_alloc::{INSTRUMENTED_SYSTEM, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Hits that are counted together.
const HITS: usize = 200;
/// Rounds, of which the best counts: the node's other threads allocate, too, if seldom.
const ROUNDS: usize = 5;

/// One kind of hit: its name, target, field, status, and the most that it may allocate.
type Row = (&'static str, &'static str, &'static str, u16, usize);

const ROWS: [Row; 6] = [
    ("1 KiB", "/1024", "", 200, 2),
    ("64 KiB", "/65536", "", 200, 2),
    ("1 MiB, in chunks", "/1048576", "", 200, 15),
    ("one byte of 1 MiB", "/1048576", "Range: bytes=300000-300000\r\n", 206, 26),
    ("what the client has", "/1024", "If-None-Match: \"v1\"\r\n", 304, 3),
    ("one of several variants", "/1024/varies", "Accept-Encoding: gzip, br\r\n", 200, 18),
];

/// The most that a miss of 4 KiB may allocate, from the origin and into memory.
const MISS: usize = 56;

#[test]
fn a_hit_allocates_no_more_than_it_did() {
    let origin = origin();
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[listen]\nhttp = [\"127.0.0.1:0\"]\nhttps = []\ndns = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n\
         [runtime]\nworkers = 1\n[state]\npath = \"{}\"\n[shutdown]\nlinger = \"0s\"\n\
         [[pop]]\nname = \"fra\"\nlocation = [50.03, 8.57]\naddresses = [\"192.0.2.10\"]\nprobe = false\n\
         [[site]]\ndomains = [\"www.cdn.test\"]\norigin = \"http://{origin}\"\n",
        folder.path().display()
    );
    let inputs = Inputs { pop: Some("fra".to_owned()), ..Inputs::default() };
    let config = Config::parse(&text, &folder.path().join("nearcast.toml"), &inputs).unwrap();
    let node = Node::start(config, inputs, Clock::System).unwrap();
    let mut client = Client::new(node.control.addresses.http[0]);
    let counted = ROWS.map(|(name, target, field, status, most)| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: www.cdn.test\r\nUser-Agent: test\r\n{field}\r\n");
        // The first one is a miss. What a connection and its buffers grow to, they have after some.
        (0..50).for_each(|_| assert_eq!(client.ask(request.as_bytes()), status, "{name}"));
        assert!(client.was_hit(), "{name}");
        let hits = (0..ROUNDS).map(|_| {
            let before = allocations();
            (0..HITS).for_each(|_| _ = client.ask(request.as_bytes()));
            (allocations() - before) / HITS
        });
        (name, hits.min().unwrap(), most)
    });
    let missed = count_misses(&mut client) - count_misses(&mut Client::new(origin));
    drop(client);
    node.stop(std::future::pending(), std::future::pending());
    for (name, count, _) in counted {
        println!("{name}: {count}");
    }
    println!("a miss: {missed}");
    for (name, count, most) in counted {
        assert!(count <= most, "{name}: {count} allocations a hit, {most} at most");
    }
    assert!(missed <= MISS, "{missed} allocations a miss, {MISS} at most");
}

/// Allocations for each of many targets that nobody asked for before. Whoever answers is in this process, too: what that one allocates by
/// itself is to be taken off.
fn count_misses(client: &mut Client) -> usize {
    let request = |number| format!("GET /4096/{number} HTTP/1.1\r\nHost: www.cdn.test\r\nUser-Agent: test\r\n\r\n");
    let requests: Vec<String> = (0..ROUNDS * HITS).map(request).collect();
    let rounds = requests.chunks(HITS).map(|requests| {
        let before = allocations();
        requests.iter().for_each(|request| assert_eq!(client.ask(request.as_bytes()), 200));
        (allocations() - before) / HITS
    });
    rounds.min().unwrap()
}

/// Of the whole process so far.
fn allocations() -> usize {
    let Stats { allocations, reallocations, .. } = ALLOCATOR.stats();
    allocations + reallocations
}

/// A client that allocates nothing while it asks.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes of the last header.
    head: usize,
}

impl Client {
    fn new(to: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(to).unwrap(), buffer: vec![0; 2 << 20], head: 0 }
    }

    /// Sends a request, takes all of the answer, and says its status.
    fn ask(&mut self, request: &[u8]) -> u16 {
        self.stream.write_all(request).unwrap();
        let (mut filled, mut whole) = (0, None);
        while whole.is_none_or(|whole| filled < whole) {
            let read = self.stream.read(&mut self.buffer[filled..]).unwrap();
            assert!(read > 0, "the answer broke off");
            filled += read;
            if whole.is_none()
                && let Some(end) = find(&self.buffer[..filled], b"\r\n\r\n")
            {
                self.head = end + 4;
                whole = Some(self.head + self.body_length());
            }
        }
        assert_eq!(whole, Some(filled), "there is one answer to one request");
        number(&self.buffer[b"HTTP/1.1 ".len()..]).try_into().unwrap()
    }

    fn body_length(&self) -> usize {
        const NAME: &[u8] = b"\r\ncontent-length: ";
        find(&self.buffer[..self.head], NAME).map_or(0, |at| number(&self.buffer[at + NAME.len()..]))
    }

    fn was_hit(&self) -> bool {
        find(&self.buffer[..self.head], b"; hit; ").is_some()
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

fn number(text: &[u8]) -> usize {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
}

/// Answers `/n` and what is below it with `n` bytes that may be kept.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || answer_all(&stream));
        }
    });
    address
}

fn answer_all(stream: &TcpStream) {
    let (mut lines, mut writer) = (BufReader::new(stream).lines(), stream);
    while let Some(Ok(first)) = lines.next() {
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let target = first.split(' ').nth(1).unwrap();
        let length = number(&target.as_bytes()[1..]);
        let vary = if target.ends_with("/varies") { "Vary: Accept-Encoding\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nContent-Type: text/plain\r\n\
             Cache-Control: public, max-age=3600\r\nETag: \"v1\"\r\n{vary}\r\n"
        );
        writer.write_all(&[head.into_bytes(), vec![b'x'; length]].concat()).unwrap();
    }
}
