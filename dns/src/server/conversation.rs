//! Queries and answers in a row, each with its length before it (RFC 1035 section 4.2.2), over TCP (RFC 7766) or TLS (RFC
//! 7858).
//!
//! One read takes what there is, every whole query of it is answered, and one write sends the answers: a client that sends
//! many at once costs few calls of the system. An answer takes microseconds and waits for nothing, so there is none to
//! overtake: queries are answered in their order. More is read once the answers before are written, so
//! that a client that does not read has at most [`ANSWERS_MAX`] and one message waiting here. A connection is closed when no
//! whole query came, or no answer was taken, for the timeout. Who says that it sends no more gets its answers first.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tracing::debug;

use super::Plane;
use super::streams::Streams;
use crate::metrics::{ConnectionEvent, Transport};
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
    /// What was read and not answered yet: queries and the beginning of one.
    input: Vec<u8>,
    /// One answer.
    answer: Vec<u8>,
    /// Answers with their lengths, to be written.
    answers: Vec<u8>,
}

impl<'a> Conversation<'a> {
    fn new(peer: SocketAddr, transport: Transport, plane: &'a Plane, streams: &'a Streams) -> Self {
        let (desk, input) = (Desk::default(), Vec::with_capacity(READ));
        Self { peer, transport, plane, streams, desk, input, answer: Vec::new(), answers: Vec::new() }
    }

    async fn run<S: AsyncRead + AsyncWrite + Unpin>(mut self, stream: &mut S) -> End {
        let patience = self.streams.patience(self.transport);
        let alarm = sleep_until(Instant::now() + patience);
        tokio::pin!(alarm);
        loop {
            match self.read(stream, alarm.as_mut()).await {
                Ok(0) => return End::Said,
                Ok(_) => {}
                Err(end) => return end,
            }
            let mut queries = 0;
            loop {
                let answered = self.answer_some();
                if answered == 0 {
                    break;
                }
                queries += answered;
                if let Err(end) = self.write(stream).await {
                    return end;
                }
                if queries >= TURN {
                    queries = 0;
                    tokio::task::yield_now().await;
                }
                // The next whole query is waited for from here on.
                let patience = self.streams.patience(self.transport);
                alarm.as_mut().reset(Instant::now() + patience);
            }
        }
    }

    /// Reads what there is; nothing at the stream's end.
    async fn read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        alarm: std::pin::Pin<&mut Sleep>,
    ) -> Result<usize, End> {
        self.input.reserve(READ.max(missing(&self.input)));
        tokio::select! {
            biased;
            read = stream.read_buf(&mut self.input) => read.map_err(End::Broken),
            () = alarm => Err(End::Idle),
        }
    }

    /// Answers whole queries until there are no more, or enough answers, or others should have their turn; returns how many.
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
        if self.answers.is_empty() {
            return Ok(());
        }
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

/// The first query of `input`, if all of it is there.
fn whole(input: &[u8]) -> Option<&[u8]> {
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
    use super::*;

    #[test]
    fn queries_are_found_whole() {
        type Row<'a> = (&'a [u8], Option<&'a [u8]>, usize);
        let rows: [Row<'_>; 7] = [
            (&[], None, 0),
            (&[0], None, 0),
            (&[0, 0], Some(&[]), 0),
            (&[0, 3, 1, 2], None, 1),
            (&[0, 2, 1, 2], Some(&[1, 2]), 0),
            (&[0, 2, 1, 2, 0], Some(&[1, 2]), 0),
            (&[0xff, 0xff, 1], None, 65_534),
        ];
        for (input, wanted, lacks) in rows {
            assert_eq!((whole(input), missing(input)), (wanted, lacks), "{input:?}");
        }
        let mut framed = Vec::new();
        frame(&[7; 300], &mut framed);
        assert_eq!((framed.len(), &framed[..2], whole(&framed)), (302, &[1, 44][..], Some(&[7; 300][..])));
    }
}
