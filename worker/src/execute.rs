//! One run on one slot: find the model, load it if this slot has not yet, run it step by step, and turn every way it can end into a `RunEnd`.
//! Between two steps it tells progress, heeds a stop and keeps checkpoints. A panic costs this job and this slot's copy of the model, never the
//! thread. It never decides why or when a run is stopped.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use siding_core::{
    error::chain,
    id::{ModelName, ModelVersion},
    job::{CancelMet, RestartReason},
    model::{manifest::Manifest, repository::Repository},
};

use crate::{
    checkpoint::keeping::{Keeping, Kept, NoState},
    running::{Running, StopReason},
    runtime::{Computation, LoadError, LoadedModel, ModelRuntime, RunControl, RunError, RunReport, Step},
    verdict::RunEnd,
};

/// Most models that one slot keeps loaded; the one not used for longest goes first.
const LOADED_MAX: usize = 8;

/// How long a failed load stands: until then an attempt fails with the same words, instead of reading and checking the files again.
const FAILED_LOAD_STANDS: Duration = Duration::from_secs(10);
/// Most failed loads that one slot remembers; the oldest goes first.
const FAILED_LOADS_MAX: usize = 32;

/// One slot's executor: its loaded models.
pub struct Executor {
    runtime: Arc<dyn ModelRuntime>,
    repository: Arc<Repository>,
    keeping: Keeping,
    /// Most recently used last.
    loaded: Vec<Loaded>,
    /// Oldest first.
    failed: VecDeque<FailedLoad>,
}

struct FailedLoad {
    name: ModelName,
    version: ModelVersion,
    at: Instant,
    message: String,
}

struct Loaded {
    name: ModelName,
    version: ModelVersion,
    manifest: Manifest,
    model: Box<dyn LoadedModel>,
}

impl Executor {
    /// An executor with nothing loaded.
    #[must_use]
    pub fn new(runtime: Arc<dyn ModelRuntime>, repository: Arc<Repository>, keeping: Keeping) -> Self {
        Self { runtime, repository, keeping, loaded: Vec::new(), failed: VecDeque::new() }
    }

    /// Runs the job. Blocks until it has ended.
    pub fn execute(&mut self, running: &Running, input: &str) -> RunEnd {
        if running.control.is_stopped() {
            return RunEnd::Stopped(CancelMet::NotStarted);
        }
        let (name, version) = (&running.work.model, &running.work.version);
        // The model leaves the list while it runs: a panic loses it, and the next job loads a fresh copy.
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let mut loaded = match self.take_loaded(name, version) {
                Some(loaded) => loaded,
                None => self.load(name, version)?,
            };
            running.loaded();
            let end = compute(loaded.model.as_mut(), running, input, &mut self.keeping.of(running, &loaded.manifest, input));
            Ok((loaded, end))
        }));
        match ended {
            Ok(Ok((loaded, end))) => {
                self.keep(loaded);
                end
            }
            Ok(Err(not_loaded)) => not_loaded,
            Err(panic) => {
                tracing::error!(job.id = %running.work.job, attempt = running.work.attempt.0, model.name = %name, model.version = %version,
                    panic.message = message(panic.as_ref()), "the run panicked");
                RunEnd::Panicked
            }
        }
    }

    fn take_loaded(&mut self, name: &ModelName, version: &ModelVersion) -> Option<Loaded> {
        let at = self.loaded.iter().position(|loaded| &loaded.name == name && &loaded.version == version)?;
        let loaded = self.loaded.remove(at);
        (!loaded.model.is_stale()).then_some(loaded)
    }

    fn keep(&mut self, loaded: Loaded) {
        if self.loaded.len() == LOADED_MAX {
            self.loaded.remove(0);
        }
        self.loaded.push(loaded);
    }

    /// Loads, unless that has failed a moment ago.
    fn load(&mut self, name: &ModelName, version: &ModelVersion) -> Result<Loaded, RunEnd> {
        self.failed.retain(|failed| failed.at.elapsed() < FAILED_LOAD_STANDS);
        if let Some(failed) = self.failed.iter().find(|failed| &failed.name == name && &failed.version == version) {
            return Err(RunEnd::NotLoaded(failed.message.clone()));
        }
        self.load_now(name, version).inspect_err(|end| {
            // A rest knows its own end, and a crash is counted elsewhere.
            let RunEnd::NotLoaded(message) = end else { return };
            if self.failed.len() == FAILED_LOADS_MAX {
                self.failed.pop_front();
            }
            let (name, version, message) = (name.clone(), version.clone(), message.clone());
            self.failed.push_back(FailedLoad { name, version, at: Instant::now(), message });
        })
    }

    fn load_now(&self, name: &ModelName, version: &ModelVersion) -> Result<Loaded, RunEnd> {
        let resolved = self.repository.resolve(name, Some(version));
        let model = resolved.map_err(|error| RunEnd::NotLoaded(error.to_string()))?;
        let started = Instant::now();
        match self.runtime.load(&model) {
            Ok(loaded) => {
                tracing::info!(model.name = %name, model.version = %version, load_ms = started.elapsed().as_secs_f64() * 1e3, "model loaded");
                Ok(Loaded { name: name.clone(), version: version.clone(), manifest: model.manifest.clone(), model: loaded })
            }
            Err(LoadError { rests_for: Some(left), .. }) => Err(RunEnd::Resting(left)),
            Err(error) => {
                // The chain is for the operator; the caller learns that the model is not available, and which.
                tracing::error!(model.name = %name, model.version = %version, error = chain(&error), "model cannot be loaded");
                // A crash is not remembered: it is counted, and another load may end otherwise.
                let not_loaded = || RunEnd::NotLoaded(format!("model {name} version {version} cannot be loaded on this worker"));
                Err(error.crashed.map_or_else(not_loaded, |cause| RunEnd::Error(RunError::Crashed(cause))))
            }
        }
    }
}

/// Computes the job step by step, from its checkpoint where it has one.
fn compute(model: &mut dyn LoadedModel, running: &Running, input: &str, kept: &mut Kept<'_>) -> RunEnd {
    let mut computation = match begin(model, input, kept) {
        Ok(computation) => computation,
        Err(end) => return end,
    };
    let control = &running.control;
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
        running.step_begins();
    }
}

/// Begins where the job's checkpoint says; from nothing when there is none, and when it is refused.
fn begin(model: &mut dyn LoadedModel, input: &str, kept: &Kept<'_>) -> Result<Box<dyn Computation>, RunEnd> {
    let reason = match kept.load() {
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
