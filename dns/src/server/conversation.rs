//! Queries and answers in a row, each with its length before it (RFC 1035 section 4.2.2), over TCP (RFC 7766) or TLS (RFC
//! 7858).
//!
//! One read takes what there is, every whole query of it is answered, and one write sends the answers: a client that sends
//! many at once costs few calls of the system. An answer takes microseconds and waits for nothing, so there is none to
//! overtake: queries are answered in their order. More is read once the answers before are written, so
//! that a client that does not read has at most [`ANSWERS_MAX`] and one message waiting here. A connection is closed when no
//! whole query came, or no answer was taken, for the timeout; what is no query, an answer say, is none here either. Who says that it sends no more gets its answers first.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tracing::debug;

use super::streams::Streams;
use super::{Plane, QUERY_MAX};
use crate::metrics::{ConnectionEvent, Dropped, Transport};
use crate::respond::Desk;

/// Bytes of answers from which on they are written before more is answered.
const ANSWERS_MAX: usize = 16 << 10;

/// Bytes that there is always room for before a read.
const READ: usize = 4 << 10;

/// Bytes of a buffer that an idle connection may keep.
const KEPT: usize = 8 << 10;

/// Queries in a row after which others have their turn.
const TURN: usize = 64;

/// For the last words of TLS.
const FAREWELL: Duration = Duration::from_secs(1);

/// How a conversation ended.
enum End {
    /// The client has no more to say.
    Said,
    /// It said nothing whole in time.
    Idle,
    /// It says that it has a query of more than [`QUERY_MAX`] bytes.
    Long,
    /// It did not take its answers in time.
    Unread,
    /// The connection broke.
    Broken(io::Error),
}

/// Answers the queries of one connection until it ends.
pub(super) async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    peer: SocketAddr,
    transport: Transport,
    plane: &Plane,
    streams: &Streams,
) {
    let end = Conversation::new(peer, transport, plane, streams).run(&mut stream).await;
    match end {
        End::Said => {}
        End::Idle => _ = plane.metrics.connection(transport, ConnectionEvent::Idle).inc(),
        End::Long => {
            plane.count_drop(Dropped::Long);
            plane.metrics.connection(transport, ConnectionEvent::ProtocolError).inc();
        }
        // It takes no last words either.
        End::Unread => {
            plane.metrics.connection(transport, ConnectionEvent::Unread).inc();
            return;
        }
        End::Broken(error) => return debug!(%error, "connection broke"),
    }
    let _gone_already = timeout(FAREWELL, stream.shutdown()).await;
}

struct Conversation<'a> {
    peer: SocketAddr,
    transport: Transport,
    plane: &'a Plane,
    streams: &'a Streams,
    desk: Desk,
    /// Since when a query that has an answer is waited for.
    since: Instant,
    /// What was read and not answered yet: queries and the beginning of one.
    input: Vec<u8>,
    /// One answer.
    answer: Vec<u8>,
    /// Answers with their lengths, to be written.
    answers: Vec<u8>,
}

impl<'a> Conversation<'a> {
    fn new(peer: SocketAddr, transport: Transport, plane: &'a Plane, streams: &'a Streams) -> Self {
        let (desk, since, input) = (Desk::default(), Instant::now(), Vec::with_capacity(READ));
        Self { peer, transport, plane, streams, desk, since, input, answer: Vec::new(), answers: Vec::new() }
    }

    async fn run<S: AsyncRead + AsyncWrite + Unpin>(mut self, stream: &mut S) -> End {
        let alarm = sleep_until(self.since);
        tokio::pin!(alarm);
        loop {
            match self.read(stream, alarm.as_mut()).await {
                Ok(0) => return End::Said,
                Ok(_) => {}
                Err(end) => return end,
            }
            let mut queries = 0;
            loop {
                let taken = self.answer_some();
                if taken == 0 {
                    break;
                }
                queries += taken;
                if !self.answers.is_empty() {
                    if let Err(end) = self.write(stream).await {
                        return end;
                    }
                    // The next is waited for from here on.
                    self.since = Instant::now();
                }
                if queries >= TURN {
                    queries = 0;
                    tokio::task::yield_now().await;
                }
            }
            if is_too_long(&self.input) {
                return End::Long;
            }
        }
    }

    /// Reads what there is; nothing at the stream's end.
    async fn read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        mut alarm: std::pin::Pin<&mut Sleep>,
    ) -> Result<usize, End> {
        self.input.reserve(READ.max(missing(&self.input)));
        while let Some(wake) = self.streams.wake(self.transport, self.since) {
            alarm.as_mut().reset(wake);
            tokio::select! {
                biased;
                read = stream.read_buf(&mut self.input) => return read.map_err(End::Broken),
                () = alarm.as_mut() => {}
            }
        }
        Err(End::Idle)
    }

    /// Answers whole queries until there are no more, or enough answers, or others should have their turn; returns how many
    /// there were.
    fn answer_some(&mut self) -> usize {
        self.desk.patience = Some(self.streams.patience(self.transport));
        let (mut at, mut count) = (0, 0);
        while let Some(query) = whole(&self.input[at..]) {
            at += 2 + query.len();
            count += 1;
            match self.plane.respond(query, self.peer, self.transport, &mut self.desk, &mut self.answer) {
                Ok(()) => frame(&self.answer, &mut self.answers),
                Err(reason) => self.plane.count_drop(reason),
            }
            if self.answers.len() >= ANSWERS_MAX || count >= TURN {
                break;
            }
        }
        self.input.drain(..at);
        count
    }

    async fn write<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> Result<(), End> {
        let writing = async {
            stream.write_all(&self.answers).await?;
            // TLS keeps what the socket did not take.
            stream.flush().await
        };
        match timeout(self.streams.patience(self.transport), writing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(End::Broken(error)),
            Err(_) => return Err(End::Unread),
        }
        self.answers.clear();
        self.answers.shrink_to(KEPT);
        if self.input.len() < KEPT {
            self.input.shrink_to(KEPT);
        }
        Ok(())
    }
}

/// Whether `input` begins a query that is too long.
pub(super) fn is_too_long(input: &[u8]) -> bool {
    input.first_chunk().is_some_and(|length| usize::from(u16::from_be_bytes(*length)) > QUERY_MAX)
}

/// The first query of `input`, if all of it is there and it is not too long.
fn whole(input: &[u8]) -> Option<&[u8]> {
    if is_too_long(input) {
        return None;
    }
    let (length, rest) = input.split_first_chunk()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

/// Bytes that `input`, which begins a query, lacks of it, as far as is known.
fn missing(input: &[u8]) -> usize {
    let Some((length, rest)) = input.split_first_chunk() else { return 0 };
    usize::from(u16::from_be_bytes(*length)).saturating_sub(rest.len())
}

/// Adds a message with its length before it.
pub(super) fn frame(message: &[u8], out: &mut Vec<u8>) {
    // No answer is longer: `respond` sees to it.
    let Ok(length) = u16::try_from(message.len()) else { return };
    out.extend(length.to_be_bytes());
    out.extend(message);
}

#[cfg(test)]
mod tests {
    use super::super::clients::Clients;
    use super::super::tests::streams;
    use super::*;
    use crate::fixture;

    #[test]
    fn queries_are_found_whole() {
        type Row<'a> = (&'a [u8], Option<&'a [u8]>, usize);
        const LONG: [u8; 2 + 4097] = {
            let mut bytes = [1; 2 + 4097];
            bytes[0] = 0x10;
            bytes
        };
        let rows: [Row<'_>; 8] = [
            (&[], None, 0),
            (&[0], None, 0),
            (&[0, 0], Some(&[]), 0),
            (&[0, 3, 1, 2], None, 1),
            (&[0, 2, 1, 2], Some(&[1, 2]), 0),
            (&[0, 2, 1, 2, 0], Some(&[1, 2]), 0),
            (&[0x10, 0, 1], None, 4095),
            (&LONG, None, 0),
        ];
        for (input, wanted, lacks) in rows {
            assert_eq!((whole(input), missing(input)), (wanted, lacks), "{input:?}");
        }
        let mut framed = Vec::new();
        frame(&[7; 300], &mut framed);
        assert_eq!((framed.len(), &framed[..2], whole(&framed)), (302, &[1, 44][..], Some(&[7; 300][..])));
    }

    /// After how long a connection ends that sends `bytes` each second, and what was dropped of them as too long. Its timeout
    /// is ten seconds; `meanwhile` runs after half a second.
    async fn ends(bytes: &[u8], streams: &Streams, meanwhile: impl FnOnce()) -> (Duration, u64) {
        let plane = fixture::plane(fixture::view());
        let (mut client, server) = tokio::io::duplex(64 << 10);
        let begun = Instant::now();
        let asking = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            meanwhile();
            while client.write_all(bytes).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = converse(server, ([127, 0, 0, 1], 4000).into(), Transport::Tcp, &plane, streams) => {}
            () = asking => {}
            () = tokio::time::sleep(Duration::from_secs(60)) => {}
        }
        (begun.elapsed(), plane.metrics.dropped(Dropped::Long).get())
    }

    #[tokio::test(start_paused = true)]
    async fn what_keeps_a_connection_open() {
        let framed = |packet: &[u8]| {
            let mut framed = Vec::new();
            frame(packet, &mut framed);
            framed
        };
        let query = fixture::query("cdn.example.net", 6);
        let mut answer = query.clone();
        answer[2] |= 0x80;
        let rows = [
            ("queries", framed(&query), 60_000, 0),
            ("nothing", Vec::new(), 10_000, 0),
            ("answers", framed(&answer), 10_000, 0),
            ("empty messages", vec![0, 0], 10_000, 0),
            ("a long one", vec![0x10, 1], 500, 1),
        ];
        for (name, bytes, wanted_ms, wanted_long) in rows {
            let (after, long) = ends(&bytes, &streams(), || {}).await;
            // Timers have a grain of a millisecond.
            let after_ms = after.as_millis();
            assert!((wanted_ms..=wanted_ms + 5).contains(&after_ms), "{name}: {after_ms}");
            assert_eq!(long, wanted_long, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_while_others_come_waits_for_less() {
        let streams = Streams { plain: Clients::new(2, 2), ..streams() };
        let mut held = Vec::new();
        let (after, _) = ends(&[], &streams, || {
            held.extend((0..2).map(|_| streams.plain.admit([127, 0, 0, 1].into()).unwrap()));
        })
        .await;
        assert!(after <= Duration::from_millis(1005), "{after:?}");
    }
}
