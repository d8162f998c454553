//! One run on one slot: take a copy of the model, run it, and turn every way it can end into a `RunEnd`. A panic costs this job and this copy
//! of the model, never the thread.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{loaded::LoadedModels, running::Running, runtime::RunError, verdict::RunEnd};

/// One slot's executor.
pub struct Executor {
    models: LoadedModels,
}

impl Executor {
    /// An executor that takes its models from these.
    #[must_use]
    pub fn new(models: LoadedModels) -> Self {
        Self { models }
    }

    /// Runs the job. Blocks until it has ended.
    pub fn execute(&mut self, running: &Running, input: &str) -> RunEnd {
        if running.control.is_stopped() {
            return RunEnd::Error(RunError::Stopped);
        }
        let (name, version) = (&running.work.model, &running.work.version);
        // The model is this slot's alone while it runs: a panic loses it, and the next job loads a fresh copy.
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let mut loaded = self.models.take(name, version, || running.control.is_stopped())?;
            running.loaded();
            let end = loaded.model.run(input, &running.control);
            Ok((loaded, end))
        }));
        match ended {
            Ok(Ok((loaded, end))) => {
                self.models.keep(loaded);
                end.map_or_else(RunEnd::Error, RunEnd::Output)
            }
            Ok(Err(not_loaded)) => RunEnd::NotLoaded(not_loaded),
            Err(panic) => {
                tracing::error!(job.id = %running.work.job, attempt = running.work.attempt.0, model.name = %name, model.version = %version,
                    panic.message = message(panic.as_ref()), "the run panicked");
                RunEnd::Panicked
            }
        }
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "without a message",
    }
}
