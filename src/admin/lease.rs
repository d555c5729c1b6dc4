//! How long an admin connection may last. Clients ask once or twice, and one that reads nothing must not take a place for
//! ever; an answer that comes in pieces lasts as long as its client takes them.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// From the start, or from the last piece that there was room for.
const TERM: Duration = Duration::from_secs(120);

/// A connection's time.
#[derive(Debug)]
pub(super) struct Lease(Mutex<Instant>);

impl Lease {
    /// From now on.
    pub(super) fn new() -> Self {
        Self(Mutex::new(Instant::now() + TERM))
    }

    /// The client took a piece: its time begins anew.
    pub(super) fn renew(&self) {
        *self.0.lock() = Instant::now() + TERM;
    }

    /// Waits for its end.
    pub(super) async fn over(&self) {
        loop {
            let end = *self.0.lock();
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_lasts_while_it_is_renewed() {
        let began = Instant::now();
        let lease = Lease::new();
        let renewing = async {
            for _ in 0..3 {
                tokio::time::sleep(TERM - Duration::from_secs(1)).await;
                lease.renew();
            }
        };
        tokio::join!(lease.over(), renewing);
        assert_eq!(began.elapsed(), 4 * TERM - Duration::from_secs(3));
    }
}
