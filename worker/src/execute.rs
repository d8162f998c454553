//! One run on one slot: take a copy of the model, run it step by step, and turn every way it can end into a `RunEnd`. Between two steps it
//! tells progress, heeds a stop and keeps checkpoints. A panic costs this job and this copy of the model, never the thread. It never decides why or
//! when a run is stopped.

use std::panic::{AssertUnwindSafe, catch_unwind};

use siding_core::job::{CancelMet, RestartReason};

use crate::{
    checkpoint::keeping::{Keeping, Kept, NoState},
    loaded::{LoadedModels, NotLoaded},
    running::{Running, StopReason},
    runtime::{Computation, LoadedModel, RunControl, RunError, RunReport, Step},
    verdict::RunEnd,
};

/// One slot's executor.
pub struct Executor {
    models: LoadedModels,
    keeping: Keeping,
}

impl Executor {
    /// An executor that takes its models from these.
    #[must_use]
    pub fn new(models: LoadedModels, keeping: Keeping) -> Self {
        Self { models, keeping }
    }

    /// Runs the job. Blocks until it has ended.
    pub fn execute(&mut self, running: &Running, input: &str) -> RunEnd {
        if running.control.is_stopped() {
            return RunEnd::Stopped(CancelMet::NotStarted);
        }
        let (name, version) = (&running.work.model, &running.work.version);
        // The model is this slot's alone while it runs: a panic loses it, and the next job loads a fresh copy.
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let mut loaded = self.models.take(name, version, || running.control.is_stopped())?;
            // The stop came while the model was loaded: one for its time is about the loading.
            if running.control.is_stopped() {
                return Ok((loaded, RunEnd::NotLoaded(NotLoaded::Stopped)));
            }
            let version = loaded.version().clone();
            let end = compute(loaded.model.as_mut(), running, input, &mut self.keeping.of(running, &version.manifest, input));
            Ok((loaded, end))
        }));
        match ended {
            Ok(Ok((loaded, end))) => {
                self.models.keep(loaded);
                end
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

/// Computes the job step by step, from its checkpoint where it has one.
fn compute(model: &mut dyn LoadedModel, running: &Running, input: &str, kept: &mut Kept<'_>) -> RunEnd {
    let mut computation = match begin(model, running, input, kept) {
        Ok(computation) => computation,
        Err(end) => return end,
    };
    let control = &running.control;
    // The stop came while the checkpoint was read or the input was checked.
    if control.is_stopped() {
        return RunEnd::Stopped(CancelMet::NotStarted);
    }
    running.begun();
    loop {
        let progress = match computation.step(control) {
            Ok(Step::Done(output)) => return RunEnd::Output(output),
            Ok(Step::More(progress)) => progress,
            Err(error) => return ended_by(error, control),
        };
        running.step_ended();
        control.report(RunReport::Progress { done: progress.done, total: progress.total });
        if control.is_stopped() {
            return RunEnd::Stopped(CancelMet::BetweenSteps);
        }
        if running.is_leaving() {
            kept.save(computation.as_ref(), progress);
            running.stop(StopReason::Drain);
            return RunEnd::Stopped(CancelMet::BetweenSteps);
        }
        kept.after_step(computation.as_ref(), progress);
        // A stop that came while it was written.
        if control.is_stopped() {
            return RunEnd::Stopped(CancelMet::BetweenSteps);
        }
        running.step_begins();
    }
}

/// Begins where the job's checkpoint says; from nothing when there is none, and when it is refused.
fn begin(model: &mut dyn LoadedModel, running: &Running, input: &str, kept: &Kept<'_>) -> Result<Box<dyn Computation>, RunEnd> {
    let read = kept.load();
    // What the blob store takes is not the job's doing either.
    running.loaded();
    let reason = match read {
        Ok(state) => match model.begin(input, state) {
            Ok(computation) => return Ok(computation),
            Err(RunError::BadCheckpoint(why)) => {
                tracing::warn!(why, "the model does not go on from the job's checkpoint");
                RestartReason::Refused
            }
            Err(error) => return Err(RunEnd::Error(error)),
        },
        Err(NoState::Refused(reason)) => reason,
        Err(NoState::Unavailable) => return Err(RunEnd::NoCheckpoint),
    };
    kept.restart(reason);
    model.begin(input, None).map_err(RunEnd::Error)
}

/// What an error of a step means: a run that was stopped ends as stopped, whatever a killed one says.
fn ended_by(error: RunError, control: &RunControl) -> RunEnd {
    match error {
        _ if control.is_killed() => RunEnd::Stopped(CancelMet::Killed),
        RunError::Stopped if control.is_stopped() => RunEnd::Stopped(CancelMet::InsideRun),
        error => RunEnd::Error(error),
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "without a message",
    }
}
