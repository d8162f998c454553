//! How many event streams are open, and that they are never more than may be.

use std::sync::Arc;

use siding_core::{limits, telemetry::Metrics};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for open streams. Clones are the same room.
#[derive(Clone)]
pub struct Streams {
    room: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    open_max: usize,
}

/// An open stream; closed when dropped.
pub struct Open {
    metrics: Arc<Metrics>,
    _permit: OwnedSemaphorePermit,
}

impl Streams {
    /// Room for `limits::STREAMS_OPEN_MAX`.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self::of(limits::STREAMS_OPEN_MAX, metrics)
    }

    /// Room for so many.
    #[must_use]
    pub fn of(open_max: usize, metrics: Arc<Metrics>) -> Self {
        Self { room: Arc::new(Semaphore::new(open_max)), metrics, open_max }
    }

    /// Opens one; `None` when there is no room.
    #[must_use]
    pub fn open(&self) -> Option<Open> {
        let permit = self.room.clone().try_acquire_owned().ok()?;
        self.metrics.streams_changed(1);
        Some(Open { metrics: self.metrics.clone(), _permit: permit })
    }

    /// How many are open now.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.open_max - self.room.available_permits()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.streams_changed(-1);
    }
}
