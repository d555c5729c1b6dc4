//! DNS queries at a steady pace, over UDP from several sockets, that wait for no answer: a node that stands still for
//! longer than its own sockets' buffers last loses some. Every query has to be answered, once and in time: an answer
//! belongs to its query by socket and id.

use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use parking_lot::Mutex;

use super::dns::{Query, Reply};

/// Sockets, so that every worker of the node gets some: the kernel spreads clients by their ports.
const SOCKETS: usize = 16;

/// What is due in one go.
const TICK: Duration = Duration::from_millis(1);

/// What a client waits for an answer: one that comes later is lost on it.
const PATIENCE: Duration = Duration::from_secs(2);

/// How far the sender may be behind. What it misses beyond that, on a busy machine, it does not ask in one burst later,
/// which would fill a buffer all by itself.
const BEHIND_MAX: Duration = Duration::from_millis(20);

/// A running load.
pub(crate) struct Load {
    shared: Arc<Shared>,
    sender: JoinHandle<()>,
    receivers: Vec<JoinHandle<Vec<Received>>>,
    queries: usize,
}

struct Shared {
    sockets: Vec<Socket>,
    stopping: AtomicBool,
    answered: AtomicUsize,
}

struct Socket {
    udp: UdpSocket,
    /// What has no answer yet, by id.
    open: Mutex<HashMap<u16, Asked>>,
}

#[derive(Clone, Copy)]
struct Asked {
    query: usize,
    due: Instant,
    sent: Instant,
}

struct Received {
    /// `None` for what nobody asked.
    asked: Option<Asked>,
    at: Instant,
    bytes: Vec<u8>,
}

/// One query and its answer.
#[derive(Debug)]
pub(crate) struct Answered {
    /// Which of the queries.
    pub(crate) query: usize,
    /// When it was sent.
    pub(crate) sent: Instant,
    /// From the moment it was due until its answer was there.
    pub(crate) took: Duration,
    pub(crate) code: ResponseCode,
    /// The addresses it names.
    pub(crate) addresses: Vec<IpAddr>,
}

/// What became of a load.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) answers: Vec<Answered>,
    /// When those queries were sent that had no answer in time.
    pub(crate) lost: Vec<Instant>,
    /// Answers to no query, or to one that was answered before.
    pub(crate) strays: usize,
}

impl Load {
    /// Asks `to` each of `queries` in turn, `rate` a second in all, until it is told to stop.
    pub(crate) fn start(to: SocketAddr, rate: u64, queries: &[Query]) -> Self {
        let socket = |_| {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            udp.connect(to).unwrap();
            udp.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            Socket { udp, open: Mutex::default() }
        };
        let shared = Arc::new(Shared {
            sockets: (0..SOCKETS).map(socket).collect(),
            stopping: AtomicBool::new(false),
            answered: AtomicUsize::new(0),
        });
        let receiver = |index: usize| {
            let shared = shared.clone();
            thread::spawn(move || shared.receive(&shared.sockets[index]))
        };
        let receivers = (0..SOCKETS).map(receiver).collect();
        let packets: Vec<Vec<u8>> = queries.iter().map(Query::bytes).collect();
        let sender = {
            let shared = shared.clone();
            thread::spawn(move || shared.send(rate, packets))
        };
        Self { shared, sender, receivers, queries: queries.len() }
    }

    /// Queries answered so far.
    pub(crate) fn answered(&self) -> usize {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Goes on until `moment`.
    pub(crate) fn until(&self, moment: Instant) {
        thread::sleep(moment.saturating_duration_since(Instant::now()));
    }

    /// Goes on until every query was asked `rounds` more times.
    pub(crate) fn rounds(&self, rounds: usize) {
        let wanted = self.answered() + rounds * self.queries;
        super::eventually("more answers", || self.answered() >= wanted);
    }

    /// Asks no more, and waits for the answers that are due.
    pub(crate) fn stop(self) -> Outcome {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.sender.join().unwrap();
        let received = self.receivers.into_iter().flat_map(|receiver| receiver.join().unwrap());
        let mut outcome = Outcome { answers: Vec::new(), lost: Vec::new(), strays: 0 };
        for Received { asked, at, bytes } in received {
            let Some(asked) = asked else {
                outcome.strays += 1;
                continue;
            };
            if at - asked.sent > PATIENCE {
                outcome.lost.push(asked.sent);
                continue;
            }
            let reply = Reply::parse(&bytes);
            outcome.answers.push(Answered {
                query: asked.query,
                sent: asked.sent,
                took: at - asked.due,
                code: reply.code(),
                addresses: reply.data().iter().filter_map(|data| data.parse().ok()).collect(),
            });
        }
        for socket in &self.shared.sockets {
            outcome.lost.extend(socket.open.lock().values().map(|asked| asked.sent));
        }
        outcome
    }
}

impl Shared {
    fn send(&self, rate: u64, mut packets: Vec<Vec<u8>>) {
        let mut started = Instant::now();
        let mut number = 0_usize;
        while !self.stopping.load(Ordering::SeqCst) {
            let due = started + Duration::from_secs_f64(number as f64 / rate as f64);
            let now = Instant::now();
            if due > now {
                thread::sleep(TICK);
                continue;
            }
            let behind = now - due;
            if behind > BEHIND_MAX {
                started += behind;
                continue;
            }
            let socket = &self.sockets[number % SOCKETS];
            let query = number % packets.len();
            let id = u16::try_from(number / SOCKETS % 0x1_0000).unwrap();
            packets[query][..2].copy_from_slice(&id.to_be_bytes());
            // First, since the answer may be there before `send` returns.
            socket.open.lock().insert(id, Asked { query, due, sent: now });
            match socket.udp.send(&packets[query]) {
                // What went before it was refused: this one was not sent, and is as lost.
                Err(error) if error.kind() != ErrorKind::ConnectionRefused => panic!("{error}"),
                _ => number += 1,
            }
        }
    }

    /// Until all is answered after the last query, or nobody waits any more.
    fn receive(&self, socket: &Socket) -> Vec<Received> {
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        let mut give_up = None;
        loop {
            match socket.udp.recv(&mut buffer) {
                Ok(length) => {
                    let (at, bytes) = (Instant::now(), buffer[..length].to_vec());
                    let id = u16::from_be_bytes([bytes[0], bytes[1]]);
                    let asked = socket.open.lock().remove(&id);
                    self.answered.fetch_add(usize::from(asked.is_some()), Ordering::Relaxed);
                    received.push(Received { asked, at, bytes });
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if !self.stopping.load(Ordering::SeqCst) {
                        continue;
                    }
                    // A whole timeout in which nothing came: also no second answer.
                    let give_up = *give_up.get_or_insert_with(|| Instant::now() + PATIENCE);
                    if socket.open.lock().is_empty() || Instant::now() > give_up {
                        return received;
                    }
                }
                // Nobody is there any more.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

impl Outcome {
    /// So many of a hundred answers took no longer than this.
    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        let mut times: Vec<Duration> = self.answers.iter().map(|answer| answer.took).collect();
        times.sort();
        let rank = (times.len() as f64 * percent / 100.0).ceil() as usize;
        times[rank.clamp(1, times.len()) - 1]
    }

    /// The addresses in the answers to a query while it was asked in that time.
    pub(crate) fn named(&self, when: Range<Instant>, query: usize) -> Vec<IpAddr> {
        let asked = self.answers.iter().filter(|answer| answer.query == query && when.contains(&answer.sent));
        asked.flat_map(|answer| answer.addresses.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// How long after the beginning of that time the last query was asked whose answer names `address`.
    pub(crate) fn last_named(&self, when: Range<Instant>, address: IpAddr) -> Duration {
        let named = self.answers.iter().filter(|answer| answer.addresses == [address] && when.contains(&answer.sent));
        named.map(|answer| answer.sent - when.start).max().unwrap_or_default()
    }

    /// Who got an answer other than one good address, if anybody did.
    pub(crate) fn odd(&self) -> Option<&Answered> {
        self.answers.iter().find(|answer| answer.code != ResponseCode::NoError || answer.addresses.len() != 1)
    }
}
