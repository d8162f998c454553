//! Long computations beside the executor: parsing a body of 16 MiB on it would keep everybody else waiting, lease extensions among them. It
//! decides what is long, and that no more of it runs at once than there are cores. What blocks on the outside is not for here.

use std::{num::NonZeroUsize, sync::Arc, thread};

use tokio::sync::{Semaphore, oneshot};

use crate::{drain::Drain, limits, problem::Problem};

/// Runs long computations on threads of their own. Clones share the room.
#[derive(Debug, Clone)]
pub struct Offload {
    drain: Drain,
    room: Arc<Semaphore>,
}

/// The computation has no result: it panicked, which is a defect, and its service is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a computation has no result")]
pub struct NoResult;

impl From<NoResult> for Problem {
    /// The panic itself was logged where it happened.
    fn from(no_result: NoResult) -> Self {
        Self::internal(&no_result)
    }
}

impl Offload {
    /// Room for as many computations as there are cores; they count among the tasks of `drain`.
    #[must_use]
    pub fn new(drain: &Drain) -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self { drain: drain.clone(), room: Arc::new(Semaphore::new(cores)) }
    }

    /// The result of `work` on so many bytes: at once when they are few, else on a thread of its own, when there is room.
    ///
    /// # Errors
    /// `NoResult`.
    pub async fn run<T, F>(&self, bytes: usize, work: F) -> Result<T, NoResult>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        if bytes <= limits::EXECUTOR_BYTES_MAX {
            return Ok(work());
        }
        let permit = self.room.clone().acquire_owned().await.map_err(|_| NoResult)?;
        let (result, computed) = oneshot::channel();
        let drain = &self.drain;
        drain.spawn_blocking(move || {
            // A caller that has gone away does not want the result.
            drop(result.send(work()));
            drop(permit);
        });
        computed.await.map_err(|_| NoResult)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_long_leaves_the_executor_and_what_is_short_does_not() {
        let (drain, here) = (Drain::new(), thread::current().id());
        let offload = Offload::new(&drain);
        for (bytes, away) in [(0, false), (limits::EXECUTOR_BYTES_MAX, false), (limits::EXECUTOR_BYTES_MAX + 1, true)] {
            let there = offload.run(bytes, || thread::current().id()).await.expect("computed");
            assert_eq!(there != here, away, "{bytes}");
        }
        assert!(!drain.is_failed());
    }

    #[tokio::test]
    async fn a_computation_that_panics_has_no_result_and_its_service_stops() {
        let drain = Drain::new();
        let offload = Offload::new(&drain);
        let result = offload.run(usize::MAX, || -> u8 { panic!("as told") }).await;
        assert_eq!(result, Err(NoResult));
        drain.failed().await;
    }
}
