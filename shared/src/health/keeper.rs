//! Has the board look at the time once a second: holds end, states settle, the node's own load is looked at.

use std::sync::Arc;
use std::time::Duration;

use super::HealthBoard;

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Keeps `board` until it is dropped.
pub async fn keep(board: Arc<HealthBoard>) {
    let mut turns = tokio::time::interval(PERIOD);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let board = board.clone();
        // It may write a file.
        let _runtime_ends = tokio::task::spawn_blocking(move || board.tick()).await;
    }
}
