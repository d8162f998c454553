//! How many event streams are open, and that they are never more than may be.

use std::sync::Arc;

use siding_core::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for open streams. Clones are the same room.
#[derive(Debug, Clone)]
pub struct Streams {
    room: Arc<Semaphore>,
    open_max: usize,
}

/// An open stream; closed when dropped.
#[derive(Debug)]
pub struct Open(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Default for Streams {
    /// Room for `limits::STREAMS_OPEN_MAX`.
    fn default() -> Self {
        Self::of(limits::STREAMS_OPEN_MAX)
    }
}

impl Streams {
    /// Room for so many.
    #[must_use]
    pub fn of(open_max: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(open_max)), open_max }
    }

    /// Opens one; `None` when there is no room.
    #[must_use]
    pub fn open(&self) -> Option<Open> {
        self.room.clone().try_acquire_owned().ok().map(Open)
    }

    /// How many are open now.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.open_max - self.room.available_permits()
    }
}
