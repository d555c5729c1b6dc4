//! HTTP clients that ask for one object as fast as it comes, over many connections, many requests at once on each: a node's
//! workers have nothing but work.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::DEADLINE;
use super::client::{Ask, HOST};
use super::origin::{Origin, Reply};

/// Threads, connections of each, and requests on each at a time.
const THREADS: usize = 4;
const CONNECTIONS: usize = 16;
const PIPELINED: usize = 16;

/// The object.
const TARGET: &str = "/busy";

/// What its body ends with, and nothing before that has.
const END: u8 = b'!';

/// The load, until it is stopped.
pub(crate) struct Saturation {
    stopping: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    started: Instant,
    clients: Vec<JoinHandle<()>>,
}

/// An origin of what the clients ask for: a kibibyte that any cache keeps.
pub(crate) fn origin() -> Origin {
    let body = [&[b'.'; 1023][..], &[END]].concat();
    Origin::start(move |_| Reply::ok(body.clone()).field("cache-control", "max-age=3600"))
}

impl Saturation {
    /// Asks the node at `to`, until all of its clients have had answers.
    pub(crate) fn start(to: SocketAddr) -> Self {
        assert_eq!(Ask::get(TARGET).send(to).status, 200);
        let (stopping, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |_| {
            let (stopping, answered) = (stopping.clone(), answered.clone());
            thread::spawn(move || ask(to, &stopping, &answered))
        };
        let clients = (0..THREADS).map(client).collect();
        super::eventually("a busy node", || answered.load(Ordering::Relaxed) > 10 * THREADS * CONNECTIONS * PIPELINED);
        answered.store(0, Ordering::Relaxed);
        Self { stopping, answered, started: Instant::now(), clients }
    }

    /// Ends it: the requests that were answered, and how long that took.
    pub(crate) fn stop(self) -> (usize, Duration) {
        let (answered, took) = (self.answered.load(Ordering::Relaxed), self.started.elapsed());
        self.stopping.store(true, Ordering::SeqCst);
        self.clients.into_iter().for_each(|client| client.join().unwrap());
        (answered, took)
    }
}

fn ask(to: SocketAddr, stopping: &AtomicBool, answered: &AtomicUsize) {
    let requests = format!("GET {TARGET} HTTP/1.1\r\nhost: {HOST}\r\n\r\n").repeat(PIPELINED);
    let connect = |_| {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    };
    let mut streams: Vec<TcpStream> = (0..CONNECTIONS).map(connect).collect();
    let mut buffer = [0; 32 << 10];
    while !stopping.load(Ordering::SeqCst) {
        for stream in &mut streams {
            stream.write_all(requests.as_bytes()).unwrap();
        }
        for stream in &mut streams {
            let mut left = PIPELINED;
            while left > 0 {
                let length = stream.read(&mut buffer).unwrap();
                assert!(length > 0, "the node closes no connection");
                left -= buffer[..length].iter().filter(|byte| **byte == END).count();
            }
            answered.fetch_add(PIPELINED, Ordering::Relaxed);
        }
    }
}
