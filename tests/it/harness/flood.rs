//! Datagrams at a rate that no resolver has, from several networks, by someone who does not care for answers.

use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use socket2::Socket;

use super::loopback;

/// Networks (/24) that it comes from, with one address and one port in each.
const SOURCES: u8 = 16;

/// Datagrams of one system call.
const BATCH: usize = 50;

/// What is due in one go.
const TICK: Duration = Duration::from_millis(1);

/// How far it may be behind: beyond that, a machine that cannot send so many sends fewer.
const BEHIND_MAX: Duration = Duration::from_millis(50);

/// A running flood.
pub(crate) struct Flood {
    stopping: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    started: Instant,
    sender: JoinHandle<()>,
}

impl Flood {
    /// Sends `packet` to `to`, `rate` times a second, each time as `change` leaves it, which is told how many went before.
    pub(crate) fn start(
        to: SocketAddr,
        rate: u64,
        packet: &[u8],
        change: impl FnMut(u64, &mut [u8]) + Send + 'static,
    ) -> Self {
        let (stopping, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let sockets = sources().map(|source| socket(source, to)).collect();
        let packets = vec![packet.to_vec(); BATCH];
        let sender = {
            let (stopping, sent) = (stopping.clone(), sent.clone());
            thread::spawn(move || send(sockets, packets, rate, change, &stopping, &sent))
        };
        Self { stopping, sent, started: Instant::now(), sender }
    }

    /// Ends it; how many it has sent each second.
    pub(crate) fn stop(self) -> f64 {
        self.stopping.store(true, Ordering::SeqCst);
        let rate = self.sent.load(Ordering::SeqCst) as f64 / self.started.elapsed().as_secs_f64();
        self.sender.join().unwrap();
        rate
    }
}

/// Addresses of this machine, each in a network of its own, that no other test uses.
pub(crate) fn sources() -> impl Iterator<Item = IpAddr> {
    let IpAddr::V4(own) = loopback::address() else { panic!("of IPv4") };
    let [first, second, third, last] = own.octets();
    (0..SOURCES).map(move |number| Ipv4Addr::new(first, second, third ^ number, last).into())
}

fn socket(source: IpAddr, to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((source, 0)).unwrap();
    socket.connect(to).unwrap();
    let socket = Socket::from(socket);
    // Answers are not read: the kernel shall not keep many.
    socket.set_recv_buffer_size(1).unwrap();
    socket.set_send_buffer_size(1 << 20).unwrap();
    socket.into()
}

fn send(
    sockets: Vec<UdpSocket>,
    mut packets: Vec<Vec<u8>>,
    rate: u64,
    mut change: impl FnMut(u64, &mut [u8]),
    stopping: &AtomicBool,
    sent: &AtomicU64,
) {
    let mut started = Instant::now();
    let mut number = 0;
    for socket in sockets.iter().cycle() {
        if stopping.load(Ordering::SeqCst) {
            return;
        }
        let due = started + Duration::from_secs_f64(number as f64 / rate as f64);
        let now = Instant::now();
        if due > now {
            thread::sleep(TICK);
            continue;
        }
        if now - due > BEHIND_MAX {
            started += now - due;
        }
        for packet in &mut packets {
            change(number, packet);
            number += 1;
        }
        batch(socket, &packets);
        sent.store(number, Ordering::SeqCst);
    }
}

fn batch(socket: &UdpSocket, packets: &[Vec<u8>]) {
    let slices: Vec<_> = packets.iter().map(|packet| [IoSlice::new(packet)]).collect();
    let mut controls: Vec<_> = packets.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let headers = slices.iter().zip(&mut controls).map(|(slice, control)| MMsgHdr::new(slice, control));
    // What the kernel does not take is lost, as on any way.
    let _sent = sendmmsg(socket, &mut headers.collect::<Vec<_>>(), SendFlags::empty());
}
