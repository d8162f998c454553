//! Stopping: every task of a service is spawned here, so that it can be told to stop, waited for, and counted. A task that
//! nobody awaits does not exist in Siding.

use std::{future::Future, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// One service's tasks and their stop signal. Cheap to clone; all clones are the same drain.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The tasks that were still running when the wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{left} tasks did not stop within {waited_ms} ms")]
pub struct Unfinished {
    /// How many.
    pub left: usize,
    /// How long was waited, in milliseconds.
    pub waited_ms: u128,
}

impl Drain {
    /// A drain with no tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` until it ends by itself; it watches `stopping` or `stopped` to know when to.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task);
    }

    /// Runs blocking `work` on a thread of its own pool; it watches `is_stopping`.
    pub fn spawn_blocking<F>(&self, work: F)
    where
        F: FnOnce() + Send + 'static,
    {
        self.tasks.spawn_blocking(work);
    }

    /// Whether the stop signal was given.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits for the stop signal. Cancel-safe.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Gives the stop signal. Safe to call twice, and before anything was spawned.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Gives the stop signal and waits for every task to end.
    ///
    /// # Errors
    /// `Unfinished` when some task has not ended within `patience`.
    pub async fn stopped(&self, patience: Duration) -> Result<(), Unfinished> {
        self.stop();
        self.tasks.close();
        tokio::time::timeout(patience, self.tasks.wait())
            .await
            .map_err(|_| Unfinished { left: self.tasks.len(), waited_ms: patience.as_millis() })
    }
}
