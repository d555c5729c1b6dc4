//! Between HTTP/2 and the socket: the frames of many streams in few writes.
//!
//! hyper writes and flushes each answer by itself. Over TLS that is a record and a system call for each. Here what is written
//! is gathered, and a flush only marks that there is something to send. It goes when a full [`PIECE`] is there, and in any
//! case when the connection's task has had its turn: [`Turns`] sees to that, so that nothing waits for something else to
//! happen. What is larger than a piece is not copied. A socket that has nothing to read is not asked again in the same turn.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are written together: what one record of TLS can hold (RFC 8446 section 5.1).
pub(super) const PIECE: usize = 16 << 10;

/// The end of a socket that the protocol has.
#[derive(Debug)]
pub(super) struct Gathered<S>(Arc<Mutex<Gathering<S>>>);

/// A socket, and what is still to be written to it.
#[derive(Debug)]
struct Gathering<S> {
    socket: S,
    /// Less than a piece; the first `sent` of it are written. There is no buffer while there is nothing to hold.
    held: Vec<u8>,
    sent: usize,
    /// Whether there was a flush, or a write, since the last real one was complete.
    owed: bool,
    /// Whether there was nothing more to read when it was last asked in this turn.
    dry: bool,
}

/// Drives a connection over `socket`. `connect` gets its end of the socket.
pub(super) fn turns<S, C>(socket: S, connect: impl FnOnce(Gathered<S>) -> C) -> Turns<S, C>
where
    C: Future,
{
    let gathering = Gathering { socket, held: Vec::new(), sent: 0, owed: false, dry: false };
    let gathered = Arc::new(Mutex::new(gathering));
    Turns { connection: Box::pin(connect(Gathered(gathered.clone()))), gathered, ended: None }
}

/// A connection over a [`Gathered`] socket: after each of its turns all that was written is flushed.
#[derive(Debug)]
pub(super) struct Turns<S, C: Future> {
    connection: Pin<Box<C>>,
    gathered: Arc<Mutex<Gathering<S>>>,
    /// What it ended with, while the last it wrote is flushed.
    ended: Option<C::Output>,
}

impl<S, C: Future> Turns<S, C> {
    /// The connection.
    pub(super) fn connection(&mut self) -> Pin<&mut C> {
        self.connection.as_mut()
    }
}

impl<S, C, E> Future for Turns<S, C>
where
    S: AsyncWrite + Unpin,
    C: Future<Output = Result<(), E>>,
    E: Unpin,
{
    type Output = Result<(), Broken<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.gathered.lock().dry = false;
        if self.ended.is_none()
            && let Poll::Ready(ended) = self.connection.as_mut().poll(cx)
        {
            self.ended = Some(ended);
        }
        let flushed = self.gathered.lock().poll_send(cx);
        match (self.ended.take(), flushed) {
            (Some(Err(error)), Poll::Ready(_)) => Poll::Ready(Err(Broken::Protocol(error))),
            (_, Poll::Ready(Err(error))) => Poll::Ready(Err(Broken::Socket(error))),
            (Some(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            (ended, Poll::Pending | Poll::Ready(Ok(()))) => {
                self.ended = ended;
                Poll::Pending
            }
        }
    }
}

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken<E> {
    /// The protocol says so.
    #[error(transparent)]
    Protocol(E),
    /// What was gathered cannot be written.
    #[error(transparent)]
    Socket(io::Error),
}

impl<S: AsyncWrite + Unpin> Gathering<S> {
    /// Takes some of `slices`, at least a byte, and writes whole pieces.
    fn poll_take(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        if offered == 0 {
            return Poll::Ready(Ok(0));
        }
        self.owed = true;
        loop {
            let held = self.held.len() - self.sent;
            if held + offered < PIECE {
                self.hold(slices);
                return Poll::Ready(Ok(offered));
            }
            // What is beyond the last whole piece would be a record of its own.
            let wanted = (held + offered) / PIECE * PIECE;
            let mut pieces = [IoSlice::new(&[]); 8];
            let (first, others) = pieces.split_first_mut().expect("it has eight");
            *first = IoSlice::new(&self.held[self.sent..]);
            let mut left = wanted - held;
            let mut count = 1;
            for (piece, slice) in others.iter_mut().zip(slices) {
                let length = slice.len().min(left);
                *piece = IoSlice::new(&slice[..length]);
                left -= length;
                count += 1;
            }
            let written = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, &pieces[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let rest = written.saturating_sub(held);
            self.advance(written - rest);
            if rest > 0 {
                return Poll::Ready(Ok(rest));
            }
        }
    }

    fn hold(&mut self, slices: &[IoSlice<'_>]) {
        if self.sent > 0 {
            self.held.drain(..self.sent);
            self.sent = 0;
        }
        if self.held.capacity() == 0 {
            self.held.reserve_exact(PIECE);
        }
        slices.iter().for_each(|slice| self.held.extend_from_slice(slice));
    }

    fn advance(&mut self, written: usize) {
        self.sent += written;
        if self.sent == self.held.len() {
            self.held.clear();
            self.sent = 0;
        }
    }

    /// Writes and flushes all there is.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.owed {
            return Poll::Ready(Ok(()));
        }
        while self.sent < self.held.len() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.held[self.sent..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        self.held = Vec::new();
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        self.owed = false;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut gathering = self.0.lock();
        // HTTP/2 asks again after each request. Whoever was told to wait is woken, and has another turn.
        if gathering.dry {
            return Poll::Pending;
        }
        let read = Pin::new(&mut gathering.socket).poll_read(cx, buffer);
        gathering.dry = read.is_pending();
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().poll_take(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_take(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().owed = true;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathering = self.0.lock();
        ready!(gathering.poll_send(cx))?;
        Pin::new(&mut gathering.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Wake, Waker};

    use proptest::prelude::*;

    use super::*;

    /// A socket that takes as much as its script says: so many bytes, or with 0 nothing until it is released. After the
    /// script it takes everything.
    #[derive(Debug, Clone, Default)]
    struct Fickle(Arc<Mutex<Wire>>);

    #[derive(Debug, Default)]
    struct Wire {
        script: VecDeque<usize>,
        arrived: Vec<u8>,
        writes: Vec<usize>,
        flushed: usize,
        closed: bool,
        blocked: Option<Waker>,
    }

    impl Wire {
        fn poll_allowance(&mut self, cx: &Context<'_>) -> Poll<usize> {
            assert!(!self.closed, "nothing comes after the end");
            if self.blocked.is_some() || self.script.front() == Some(&0) {
                if self.blocked.is_none() {
                    self.script.pop_front();
                }
                self.blocked = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(self.script.pop_front().unwrap_or(usize::MAX))
        }
    }

    impl AsyncWrite for Fickle {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let mut wire = self.0.lock();
            let allowed = ready!(wire.poll_allowance(cx));
            let before = wire.arrived.len();
            for slice in slices {
                let left = allowed - (wire.arrived.len() - before);
                wire.arrived.extend_from_slice(&slice[..slice.len().min(left)]);
            }
            let written = wire.arrived.len() - before;
            wire.writes.push(written);
            Poll::Ready(Ok(written))
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            let mut wire = self.0.lock();
            ready!(wire.poll_allowance(cx));
            wire.flushed = wire.arrived.len();
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            let mut wire = self.0.lock();
            ready!(wire.poll_allowance(cx));
            wire.closed = true;
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Debug, Default)]
    struct Bell(AtomicBool);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// What a protocol does.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        /// Writes that many bytes, the first `cut` in a slice of their own.
        Write {
            length: usize,
            cut: usize,
        },
        Flush,
        /// Waits for something that comes from elsewhere.
        Wait,
        Close,
    }

    /// Bytes that tell where they are.
    fn bytes(from: usize, length: usize) -> Vec<u8> {
        (from..from + length).map(|place| (place % 251) as u8).collect()
    }

    /// A protocol that takes these steps; `given` counts the bytes it got rid of.
    async fn protocol(mut io: Gathered<Fickle>, steps: Vec<Step>, given: Arc<Mutex<usize>>) -> Result<(), Infallible> {
        for step in steps {
            match step {
                Step::Write { length, cut } => {
                    let all = bytes(*given.lock(), length);
                    let mut left = all.as_slice();
                    while !left.is_empty() {
                        let (first, second) = left.split_at(cut.min(left.len()));
                        let slices = [IoSlice::new(first), IoSlice::new(second)];
                        let taken = poll_fn(|cx| Pin::new(&mut io).poll_write_vectored(cx, &slices)).await.unwrap();
                        assert!((1..=left.len()).contains(&taken));
                        left = &left[taken..];
                        *given.lock() += taken;
                    }
                }
                Step::Flush => poll_fn(|cx| Pin::new(&mut io).poll_flush(cx)).await.unwrap(),
                Step::Close => poll_fn(|cx| Pin::new(&mut io).poll_shutdown(cx)).await.unwrap(),
                Step::Wait => {
                    let mut waited = false;
                    poll_fn(|_| if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending })
                        .await;
                }
            }
        }
        Ok(())
    }

    /// Runs a protocol over a socket, turn by turn, and holds each turn to what is promised.
    fn run(steps: Vec<Step>, script: Vec<usize>) -> Vec<usize> {
        let socket = Fickle::default();
        socket.0.lock().script = script.into();
        let given = Arc::new(Mutex::new(0));
        let mut turns = turns(socket.clone(), |io| protocol(io, steps, given.clone()));
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(bell.clone());
        let mut checked = 0;
        loop {
            let turn = Pin::new(&mut turns).poll(&mut Context::from_waker(&waker));
            let mut wire = socket.0.lock();
            let given = *given.lock();
            let arrived = wire.arrived.len();
            assert!(wire.arrived[checked..] == bytes(checked, arrived - checked), "in order, once");
            checked = arrived;
            assert!(given - arrived < PIECE, "no more than a piece is held");
            if turn.is_pending()
                && let Some(blocked) = wire.blocked.take()
            {
                drop(wire);
                bell.0.store(false, Ordering::Relaxed);
                blocked.wake();
                assert!(bell.0.load(Ordering::Relaxed), "whoever is kept waiting learns when there is room");
                continue;
            }
            assert_eq!((arrived, wire.flushed), (given, given), "after a turn nothing is held");
            if turn.is_ready() {
                return std::mem::take(&mut wire.writes);
            }
        }
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let length = prop_oneof![1..200usize, 1..3 * PIECE, Just(PIECE), Just(PIECE + 9), Just(PIECE - 1)];
        let step = prop_oneof![
            4 => (length, 0..300usize).prop_map(|(length, cut)| Step::Write { length, cut }),
            3 => Just(Step::Flush),
            2 => Just(Step::Wait),
        ];
        (prop::collection::vec(step, 0..40), any::<bool>()).prop_map(|(mut steps, closes)| {
            steps.extend(closes.then_some(Step::Close));
            steps
        })
    }

    proptest! {
        #[test]
        fn no_flush_is_lost(
            steps in steps(),
            script in prop::collection::vec(prop_oneof![2 => Just(0), 2 => 1..50usize, 3 => 1..2 * PIECE], 0..60),
        ) {
            run(steps, script);
        }
    }

    #[test]
    fn a_turns_small_frames_are_one_write() {
        let answer = [Step::Write { length: 1024, cut: 9 }, Step::Flush];
        let steps = [answer.repeat(10), vec![Step::Wait], answer.repeat(2)].concat();
        assert_eq!(run(steps, Vec::new()), [10 * 1024, 2 * 1024]);
    }

    #[test]
    fn large_frames_go_in_whole_pieces() {
        let frame = [Step::Write { length: PIECE + 9, cut: 9 }, Step::Flush];
        assert_eq!(run(frame.repeat(3), Vec::new()), [PIECE, PIECE, PIECE, 27]);
        assert_eq!(run(vec![Step::Write { length: 4 * PIECE + 5, cut: 9 }], Vec::new()), [4 * PIECE, 5]);
    }

    #[test]
    fn a_dry_socket_is_asked_once_a_turn() {
        let (mut client, socket) = tokio::io::duplex(64);
        let mut turn = 0;
        // Each turn reads three times; what comes between two reads of a turn is there in the next.
        let mut turns = turns(socket, |mut io| {
            poll_fn(move |cx| {
                turn += 1;
                let read: [usize; 3] = std::array::from_fn(|time| {
                    let mut bytes = [0; 9];
                    let mut buffer = ReadBuf::new(&mut bytes);
                    let read = Pin::new(&mut io).poll_read(cx, &mut buffer);
                    assert_eq!(read.is_pending(), buffer.filled().is_empty());
                    if (turn, time) == (1, 0) {
                        let sent = Pin::new(&mut client).poll_write(&mut Context::from_waker(Waker::noop()), b"frame");
                        assert!(matches!(sent, Poll::Ready(Ok(5))));
                    }
                    buffer.filled().len()
                });
                assert_eq!(read, [[0, 0, 0], [5, 0, 0], [0, 0, 0]][turn - 1]);
                if turn < 3 { Poll::Pending } else { Poll::Ready(Ok::<_, Infallible>(())) }
            })
        });
        let bell = Arc::new(Bell::default());
        let mut poll = || Pin::new(&mut turns).poll(&mut Context::from_waker(&Waker::from(bell.clone())));
        assert!(poll().is_pending());
        assert!(bell.0.load(Ordering::Relaxed), "it is told of what came");
        assert!(poll().is_pending() && poll().is_ready());
    }

    #[test]
    fn a_broken_socket_ends_the_connection() {
        #[derive(Debug)]
        struct Broken;
        impl AsyncWrite for Broken {
            fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
                Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
            }
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }
        let mut turns = turns(Broken, |mut io| async move {
            poll_fn(|cx| Pin::new(&mut io).poll_write(cx, b"frame")).await.unwrap();
            std::future::pending::<Result<(), Infallible>>().await
        });
        let ended = Pin::new(&mut turns).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(ended, Poll::Ready(Err(super::Broken::Socket(_)))), "{ended:?}");
    }
}
