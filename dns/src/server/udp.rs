//! DNS over UDP: a thread beside each worker that owns the worker's UDP sockets and answers in batches.
//!
//! A thread of its own and not a task of the worker's runtime: a query costs a few microseconds, and behind a turn of the
//! runtime's other tasks (TLS handshakes, large bodies) it would wait for milliseconds. The kernel's scheduler gives
//! a thread that sleeps most of the time the core at once. Threads of different workers share nothing that is written to for
//! each query.
//!
//! Not hickory-server's own UDP listener, for three reasons: it answers FORMERR to a malformed packet even when that
//! is an answer itself, so that two servers can be set on each other by one forged packet; it spawns a task per
//! datagram, which costs as much as the answer; and it cannot take an ECS option of family 0.

use std::io::{self, PipeReader};
use std::iter;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::Duration;

use nearcast_shared::health::own::{BEAT, Ear, Pulse};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::{debug, info};

use super::{Plane, Udp};
use crate::metrics::{Dropped, Lane};
use crate::respond::{Desk, Sitting};

mod batch;
mod beside;
mod fragments;
mod room;

use batch::{Batch, DATAGRAMS, Datagram};
pub(super) use beside::Beside;

/// After an error of a socket itself (no memory), so that a lasting one does not spin.
const ERROR_PAUSE: Duration = Duration::from_millis(10);
/// The longest that the thread waits while nothing comes: [`BEAT`] in milliseconds.
const BEAT_MS: u16 = BEAT.as_millis() as u16;
/// A socket that had so many has more by the time that these are answered: it is asked again without waiting first, but not more
/// often than that, since there are others.
const MORE_COMING: usize = DATAGRAMS / 4;
const TURNS: usize = 8;
/// When serving ends, what already waits in each socket is answered still, but for no longer than so many batches.
const LAST_BATCHES: usize = 64;

/// Starts the thread.
///
/// # Errors
/// When there is no thread or file to be had.
pub(super) fn start(sockets: Vec<UdpSocket>, udp: Udp, plane: Plane) -> io::Result<Beside> {
    let Udp { worker, receive_buffer: asked, answer_max, remembered } = udp;
    for socket in &sockets {
        fragments::forbid(socket, answer_max)?;
    }
    let room = sockets.iter().map(|socket| room::make(socket, asked)).min();
    // The same for all workers, so one of them says it.
    if let Some(got) = room.filter(|got| worker == 0 && *got < asked) {
        info!(asked, got, "dns.udp-receive-buffer: the system allows less (net.core.rmem_max)");
    }
    let vitals = &plane.health.vitals;
    let pulse = vitals.worker();
    let line = |socket: UdpSocket| Ok(Line { v6: socket.local_addr()?.is_ipv6(), socket, ear: vitals.listener() });
    let lines = sockets.into_iter().map(line).collect::<io::Result<Vec<Line>>>()?;
    Beside::spawn(format!("dns-{worker}"), move |stopped| {
        let _lane = Lane::take();
        Thread { plane, batch: Batch::new(), desk: Desk::of_thread(remembered) }.run(&lines, stopped, &pulse);
    })
}

/// A socket of the thread.
#[derive(Debug)]
struct Line {
    socket: UdpSocket,
    v6: bool,
    ear: Ear,
}

struct Thread {
    plane: Plane,
    batch: Batch,
    desk: Desk,
}

impl Thread {
    /// Answers whatever arrives until the other end of `stopped` is closed.
    fn run(mut self, lines: &[Line], stopped: &PipeReader, pulse: &Pulse) {
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let sockets = lines.iter().map(|line| readable(line.socket.as_fd()));
        let mut waiting: Vec<PollFd<'_>> = iter::once(readable(stopped.as_fd())).chain(sockets).collect();
        let mut more = false;
        loop {
            pulse.beats();
            match poll(&mut waiting, if more { PollTimeout::ZERO } else { PollTimeout::from(BEAT_MS) }) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => {
                    debug!(%error, "waiting for UDP failed");
                    std::thread::sleep(ERROR_PAUSE);
                }
            }
            // Nobody writes into the pipe: it is ready when it is closed.
            if is_ready(&waiting[0]) {
                break;
            }
            more = false;
            for (line, _) in lines.iter().zip(&waiting[1..]).filter(|(_, socket)| is_ready(socket)) {
                more |= (0..TURNS).all(|_| self.serve(line) >= MORE_COMING);
            }
        }
        // Clients were not told yet to go elsewhere, and nobody else takes what waits in these sockets.
        for line in lines {
            let _dry = (0..LAST_BATCHES).find(|_| self.serve(line) == 0);
        }
    }

    /// Answers a batch; returns of how many.
    fn serve(&mut self, line: &Line) -> usize {
        let Self { plane, batch, desk } = self;
        let received = match batch.receive(&line.socket, line.v6) {
            Ok(received) => received,
            Err(error) => {
                line.ear.fails();
                debug!(%error, "UDP socket failed");
                std::thread::sleep(ERROR_PAUSE);
                return 0;
            }
        };
        line.ear.hears();
        let mut sitting = Sitting::new(plane, desk);
        batch.answer(|datagram, reply| match answer(&mut sitting, datagram, reply) {
            Ok(()) => true,
            Err(reason) => {
                plane.count_drop(reason);
                false
            }
        });
        batch.send(&line.socket, |error| {
            debug!(%error, "UDP answer not sent");
            plane.count_drop(Dropped::Send);
        });
        received
    }
}

fn is_ready(file: &PollFd<'_>) -> bool {
    file.any().unwrap_or(true)
}

fn answer(sitting: &mut Sitting<'_>, datagram: &Datagram<'_>, out: &mut Vec<u8>) -> Result<(), Dropped> {
    let peer = datagram.peer;
    if peer.port() == 0 || peer.ip().is_unspecified() {
        return Err(Dropped::Source);
    }
    if datagram.cut {
        return Err(Dropped::Long);
    }
    sitting.respond(datagram.bytes, peer, out)
}
