//! A gate that a script waits at until the test opens it.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::DEADLINE;

/// Closed at first; once open it stays so.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets everyone through.
    pub(crate) fn open(&self) {
        *self.0.0.lock() = true;
        self.0.1.notify_all();
    }

    /// Whether it is.
    pub(crate) fn is_open(&self) -> bool {
        *self.0.0.lock()
    }

    /// Waits until it is open.
    pub(crate) fn wait(&self) {
        let mut open = self.0.0.lock();
        while !*open {
            assert!(!self.0.1.wait_for(&mut open, DEADLINE).timed_out(), "a gate stayed closed");
        }
    }
}
