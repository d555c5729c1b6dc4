//! Memory that was needed by a burst goes back to the system, also when nothing comes after it.
//!
//! The allocator keeps what is free for a second, so that who needs it again does not pay for it, and gives back what is older whenever it
//! frees a page. A node that has become idle frees none: so one is freed here.

use std::hint::black_box;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

/// As often as the allocator looks itself.
const EVERY: Duration = Duration::from_secs(1);
/// So many bytes are pages of their own. Nobody writes to them, so that they cost no memory.
const BLOCK: usize = 4 << 20;

/// Has it looked for what is to go back, for as long as it runs.
pub(crate) async fn give_back() {
    let mut looks = interval(EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        drop(black_box(Vec::<u8>::with_capacity(BLOCK)));
    }
}
