//! Many datagrams by one system call: recvmmsg(2) and sendmmsg(2), which cost more than the answers between them when
//! they are made one by one.
//!
//! Nothing is allocated from batch to batch: headers, addresses and buffers are those of the one before.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};

use crate::server::QUERY_MAX;

/// Datagrams that are received at once: more save little of a system call's cost, and each call pays for all that might come.
pub(super) const DATAGRAMS: usize = 32;
/// Bytes of the longest datagram taken whole: that is as much as `dns.udp-size` may say that we take, and what is read of a
/// longer one is not looked at.
pub(super) const DATAGRAM_MAX: usize = QUERY_MAX;
/// From one buffer to the next: not a power of two, else the beginnings of all would compete for the same lines of the cache.
const STRIDE: usize = DATAGRAM_MAX + 64;
/// Milliseconds that the send buffer may stay full; what could not be sent by then is given up.
const FULL_MS_MAX: u16 = 100;

/// What came, as it came.
#[derive(Debug)]
pub(super) struct Datagram<'a> {
    /// Its first [`DATAGRAM_MAX`] bytes.
    pub(super) bytes: &'a [u8],
    /// Who sent it.
    pub(super) peer: SocketAddr,
    /// Whether there was more.
    pub(super) cut: bool,
}

/// Datagrams received and the replies to them.
pub(super) struct Batch {
    /// Of IPv4, then of IPv6: the kernel notes in each header how long the sender's address was, nix does not set that
    /// back, and the next one would be cut there.
    incoming: [MultiHeaders<SockaddrStorage>; 2],
    buffers: Vec<u8>,
    received: usize,
    lengths: [usize; DATAGRAMS],
    cut: [bool; DATAGRAMS],
    /// Who sent them; from [`Batch::answer`] on, whom the replies are for.
    peers: [Option<SockaddrStorage>; DATAGRAMS],

    outgoing: MultiHeaders<SockaddrStorage>,
    replies: Vec<Vec<u8>>,
    pending: usize,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            incoming: [(); 2].map(|()| MultiHeaders::preallocate(DATAGRAMS, None)),
            buffers: vec![0; DATAGRAMS * STRIDE],
            received: 0,
            lengths: [0; DATAGRAMS],
            cut: [false; DATAGRAMS],
            peers: [None; DATAGRAMS],
            outgoing: MultiHeaders::preallocate(DATAGRAMS, None),
            replies: vec![Vec::new(); DATAGRAMS],
            pending: 0,
        }
    }

    /// Takes what waits in `socket`, which is one of IPv6 if `v6`, up to [`DATAGRAMS`], in place of what was here, and says
    /// how many those are. Does not wait itself.
    ///
    /// # Errors
    /// Of the socket; that nothing waits is none.
    pub(super) fn receive(&mut self, socket: &UdpSocket, v6: bool) -> io::Result<usize> {
        (self.received, self.pending) = (0, 0);
        let mut buffers = self.buffers.chunks_exact_mut(STRIDE);
        let mut slices: [_; DATAGRAMS] = std::array::from_fn(|_| {
            [IoSliceMut::new(buffers.next().map_or(&mut [], |buffer| &mut buffer[..DATAGRAM_MAX]))]
        });
        let fd = socket.as_raw_fd();
        let messages =
            match recvmmsg(fd, &mut self.incoming[usize::from(v6)], slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None) {
                Ok(messages) => messages,
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(0),
                Err(error) => return Err(error.into()),
            };
        for (index, message) in messages.enumerate() {
            self.lengths[index] = message.bytes;
            self.cut[index] = message.flags.contains(MsgFlags::MSG_TRUNC);
            self.peers[index] = message.address;
            self.received = index + 1;
        }
        Ok(self.received)
    }

    /// Shows each datagram to `respond`, once, with an empty buffer for the reply to it; `false` says that there is none.
    pub(super) fn answer(&mut self, mut respond: impl FnMut(&Datagram<'_>, &mut Vec<u8>) -> bool) {
        let received = std::mem::take(&mut self.received);
        let buffers = self.buffers.chunks_exact(STRIDE);
        for (index, buffer) in buffers.enumerate().take(received) {
            let Some(peer) = self.peers[index].as_ref().and_then(address) else { continue };
            let datagram = Datagram { bytes: &buffer[..self.lengths[index]], peer, cut: self.cut[index] };
            let reply = &mut self.replies[self.pending];
            reply.clear();
            if respond(&datagram, reply) {
                // There are never more replies than datagrams that were looked at.
                if self.pending < index {
                    self.peers[self.pending] = self.peers[index];
                }
                self.pending += 1;
            }
        }
    }

    /// Sends all replies, each to whom it is for; `failed` hears of each that could not be.
    pub(super) fn send(&mut self, socket: &UdpSocket, mut failed: impl FnMut(Errno)) {
        let pending = std::mem::take(&mut self.pending);
        let slices: [_; DATAGRAMS] =
            std::array::from_fn(|index| [IoSlice::new(if index < pending { &self.replies[index] } else { &[] })]);
        let (mut done, mut waited) = (0, false);
        while done < pending {
            let flags = MsgFlags::MSG_DONTWAIT;
            let to = &self.peers[done..pending];
            match sendmmsg(socket.as_raw_fd(), &mut self.outgoing, &slices[done..pending], to, [], flags) {
                Ok(sent) => (done, waited) = (done + sent.count(), false),
                Err(Errno::EINTR) => {}
                // Waiting here lets the receive buffer fill up and drop, which is the fair place.
                Err(Errno::EAGAIN) if !waited => {
                    waited = true;
                    let mut room = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
                    // Whether there is room now or time is over, the next try tells.
                    let _either = poll(&mut room, PollTimeout::from(FULL_MS_MAX));
                }
                Err(Errno::EAGAIN) => {
                    (done..pending).for_each(|_| failed(Errno::EAGAIN));
                    return;
                }
                // It is the first of those that remain that failed; those behind it have other destinations.
                Err(error) => {
                    failed(error);
                    done += 1;
                }
            }
        }
    }
}

fn address(peer: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = || peer.as_sockaddr_in().map(|v4| SocketAddr::from(*v4));
    v4().or_else(|| peer.as_sockaddr_in6().map(|v6| SocketAddr::from(*v6)))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use super::*;

    fn pair(ip: IpAddr) -> (UdpSocket, UdpSocket) {
        let (server, client) = (UdpSocket::bind((ip, 0)).unwrap(), UdpSocket::bind((ip, 0)).unwrap());
        client.connect(server.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (server, client)
    }

    fn heard(client: &UdpSocket) -> Vec<u8> {
        let mut buffer = [0; 8192];
        let length = client.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    }

    /// What `batch` shows of what waits.
    fn shown(batch: &mut Batch) -> Vec<(usize, SocketAddr, bool)> {
        let mut seen = Vec::new();
        batch.answer(|datagram, _| {
            seen.push((datagram.bytes.len(), datagram.peer, datagram.cut));
            false
        });
        seen
    }

    #[test]
    fn each_gets_its_own_reply_in_both_families() {
        let mut batch = Batch::new();
        for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let (server, one) = pair(ip);
            let two = UdpSocket::bind((ip, 0)).unwrap();
            two.connect(server.local_addr().unwrap()).unwrap();
            // The second round runs on headers that the kernel has written to.
            for round in ["a", "b"] {
                one.send(format!("one {round}").as_bytes()).unwrap();
                two.send(format!("two {round}").as_bytes()).unwrap();
                assert_eq!(batch.receive(&server, ip.is_ipv6()).unwrap(), 2);
                batch.answer(|datagram, reply| {
                    reply.extend(b"re: ");
                    reply.extend(datagram.bytes);
                    true
                });
                batch.send(&server, |error| panic!("{error}"));
                assert_eq!(heard(&one), format!("re: one {round}").as_bytes());
                assert_eq!(heard(&two), format!("re: two {round}").as_bytes());
            }
        }
    }

    #[test]
    fn nothing_waits_is_no_error() {
        let (server, _) = pair(Ipv4Addr::LOCALHOST.into());
        let mut batch = Batch::new();
        assert_eq!(batch.receive(&server, false).unwrap(), 0);
        assert!(shown(&mut batch).is_empty());
        batch.send(&server, |error| panic!("{error}"));
    }

    #[test]
    fn empty_long_and_too_long_ones() {
        let (server, client) = pair(Ipv4Addr::LOCALHOST.into());
        let peer = client.local_addr().unwrap();
        for length in [0, DATAGRAM_MAX, DATAGRAM_MAX + 1, 1] {
            client.send(&vec![7; length]).unwrap();
        }
        let mut batch = Batch::new();
        assert_eq!(batch.receive(&server, false).unwrap(), 4);
        let rows = [(0, peer, false), (DATAGRAM_MAX, peer, false), (DATAGRAM_MAX, peer, true), (1, peer, false)];
        assert_eq!(shown(&mut batch), rows);
    }

    #[test]
    fn more_than_a_batch_is_taken_in_turn() {
        let (server, client) = pair(Ipv4Addr::LOCALHOST.into());
        for number in 0..=DATAGRAMS {
            client.send(&vec![0; number]).unwrap();
        }
        let mut batch = Batch::new();
        assert_eq!(batch.receive(&server, false).unwrap(), DATAGRAMS);
        assert_eq!(shown(&mut batch).last().unwrap().0, DATAGRAMS - 1);
        assert_eq!(batch.receive(&server, false).unwrap(), 1);
        assert_eq!(shown(&mut batch)[0].0, DATAGRAMS);
    }

    #[test]
    fn only_what_is_answered_is_sent() {
        let (server, client) = pair(Ipv4Addr::LOCALHOST.into());
        for byte in 0..6 {
            client.send(&[byte]).unwrap();
        }
        let mut batch = Batch::new();
        batch.receive(&server, false).unwrap();
        batch.answer(|datagram, reply| {
            // What is left here of an unanswered one must not be before the next one's reply.
            reply.extend(datagram.bytes);
            datagram.bytes[0] % 2 == 1
        });
        batch.send(&server, |error| panic!("{error}"));
        assert_eq!([heard(&client), heard(&client), heard(&client)], [[1], [3], [5]]);
    }

    #[test]
    fn one_that_cannot_be_sent_takes_no_other_along() {
        let (server, client) = pair(Ipv4Addr::LOCALHOST.into());
        for byte in 0..5 {
            client.send(&[byte]).unwrap();
        }
        let mut batch = Batch::new();
        batch.receive(&server, false).unwrap();
        batch.answer(|datagram, reply| {
            // No datagram over IPv4 has as many bytes.
            let size = if [0, 2, 3].contains(&datagram.bytes[0]) { 70_000 } else { 1 };
            reply.resize(size, datagram.bytes[0]);
            true
        });
        let mut errors = Vec::new();
        batch.send(&server, |error| errors.push(error));
        assert_eq!(errors, [Errno::EMSGSIZE; 3]);
        assert_eq!([heard(&client), heard(&client)], [[1], [4]]);
    }
}
