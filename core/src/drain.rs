//! Stopping: every task of a service is spawned here, so that it can be told to stop, waited for, and counted. A task that
//! nobody awaits does not exist in Siding. A task that panics takes its service with it: it is told with its place, the stop signal is
//! given, and whoever runs the service learns it from `failed`. A service that goes on without one of its loops would only look alive.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, Location, catch_unwind},
    time::Duration,
};

use futures::FutureExt;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// One service's tasks and their stop signal. Cheap to clone; all clones are the same drain.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Given when a task panics; `stop` is given with it.
    failed: CancellationToken,
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
    #[track_caller]
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (drain, place) = (self.clone(), Location::caller());
        self.tasks.spawn(async move {
            // Nothing of the task is looked at after its panic, so nothing half-changed can be seen.
            if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
                drain.fail(place, &*panic);
            }
        });
    }

    /// Runs blocking `work` on a thread of its own pool; it watches `is_stopping`.
    #[track_caller]
    pub fn spawn_blocking<F>(&self, work: F)
    where
        F: FnOnce() + Send + 'static,
    {
        let (drain, place) = (self.clone(), Location::caller());
        self.tasks.spawn_blocking(move || {
            // As above.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
                drain.fail(place, &*panic);
            }
        });
    }

    /// Whether a task has panicked.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.failed.is_cancelled()
    }

    /// Waits until a task panics. Cancel-safe.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    fn fail(&self, place: &Location<'_>, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        tracing::error!(task.place = %place, panic.text = text.unwrap_or("no text"), "a task has panicked: a defect; its service stops");
        // In this order: whoever hears of the failure finds the drain stopping.
        self.stop();
        self.failed.cancel();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_one_task_stops_the_others_and_is_told() {
        let panics: [fn(&Drain); 2] =
            [|drain| drain.spawn(async { panic!("as told") }), |drain| drain.spawn_blocking(|| panic!("as told"))];
        for panics in panics {
            let drain = Drain::new();
            let other = drain.clone();
            drain.spawn(async move { other.stopping().await });
            assert!(!drain.is_failed());
            panics(&drain);
            tokio::time::timeout(Duration::from_secs(5), drain.failed()).await.expect("it is told");
            assert!(drain.is_failed() && drain.is_stopping());
            drain.stopped(Duration::from_secs(5)).await.expect("every task has ended");
        }
    }

    #[tokio::test]
    async fn a_stop_is_no_failure() {
        let drain = Drain::new();
        let other = drain.clone();
        drain.spawn(async move { other.stopping().await });
        drain.stopped(Duration::from_secs(5)).await.expect("every task has ended");
        assert!(!drain.is_failed());
    }
}
