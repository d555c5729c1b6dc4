//! A thread beside a runtime: told to end, missed when it ends by itself, and never left behind.

use std::io::{self, PipeReader, PipeWriter};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;
use tracing::error;

/// The thread. Dropped, it is told to end and waited for.
#[derive(Debug)]
pub(in crate::server) struct Beside {
    /// Closed to say that it shall end.
    running: Option<PipeWriter>,
    /// Until it is known to have.
    ended: Option<oneshot::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Beside {
    /// Starts it. It shall return soon after the pipe that it is given is closed at the other end: a file, so that
    /// it can be waited for beside sockets.
    ///
    /// # Errors
    /// When there is no thread or file to be had.
    pub(super) fn spawn(name: String, body: impl FnOnce(&PipeReader) + Send + 'static) -> io::Result<Self> {
        let (stopped, running) = io::pipe()?;
        let (ending, ended) = oneshot::channel();
        let thread = thread::Builder::new().name(name).spawn(move || {
            // Dropped however the thread ends.
            let _ending: oneshot::Sender<()> = ending;
            body(&stopped);
        })?;
        Ok(Self { running: Some(running), ended: Some(ended), thread: Some(thread) })
    }

    /// Waits until it has ended; before it was told to, that is because it panicked.
    pub(in crate::server) async fn ended(&mut self) {
        if let Some(ended) = &mut self.ended {
            let _dropped = ended.await;
            self.ended = None;
        }
    }

    /// Tells it to end and waits for that; returns whether it ended well.
    pub(in crate::server) async fn stop(mut self) -> bool {
        self.running = None;
        self.ended().await;
        self.thread.take().is_none_or(|thread| thread.join().is_ok())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.running = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("a thread of the DNS failed: a bug");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Until the other end is closed.
    fn wait(mut stopped: &PipeReader) {
        assert_eq!(stopped.read(&mut [0]).unwrap(), 0);
    }

    #[tokio::test]
    async fn it_ends_when_told_to() {
        let mut beside = Beside::spawn("told".to_owned(), wait).unwrap();
        tokio::select! {
            biased;
            () = beside.ended() => panic!("too early"),
            () = tokio::task::yield_now() => {}
        }
        assert!(beside.stop().await);
    }

    #[tokio::test]
    async fn a_panic_is_noticed() {
        let mut beside = Beside::spawn("panics".to_owned(), |_| panic!("as a test wants it")).unwrap();
        beside.ended().await;
        assert!(!beside.stop().await);
    }

    #[test]
    fn dropped_it_has_ended() {
        let ended = Arc::new(AtomicBool::new(false));
        let seen = ended.clone();
        let beside = Beside::spawn("dropped".to_owned(), move |stopped| {
            wait(stopped);
            seen.store(true, Ordering::Relaxed);
        });
        drop(beside.unwrap());
        assert!(ended.load(Ordering::Relaxed));
    }
}
