//! The runtime seam: something that loads models and runs them, blocking, on a thread that the caller provides. It decides nothing
//! about jobs: no retries, no leases, no recording. A stop must end a run soon; a panic in here costs one job, never the worker.

pub mod choose;
pub mod computation;
pub mod control;
pub mod guard;
pub mod isolated;
pub mod onnx;
pub mod scripted;

use siding_core::{model::repository::Model, tensor::InputProblem};

pub use choose::Runtimes;
pub use computation::{Computation, Progress, State, Step, one_step};
pub use control::{Report as RunReport, RunControl};
pub use isolated::{Cause, Isolated};

/// What a runtime is and what it can do, for the start-up report, `siding doctor` and `/v1/models`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeReport {
    /// The runtime's name, for example `onnxruntime`.
    pub name: String,
    /// Its version as it reports it.
    pub version: String,
    /// Where its library was loaded from; empty when it has none.
    pub library: String,
    /// Execution providers that are really in use.
    pub providers_active: Vec<String>,
    /// Providers that were asked for and are not in use, each with the reason.
    pub providers_refused: Vec<(String, String)>,
}

/// Why a model cannot be loaded. The text names the model's file and key; it is for the operator.
#[derive(Debug, thiserror::Error)]
#[error("model {model} version {version} cannot be loaded: {why}")]
pub struct LoadError {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: String,
    /// What is wrong, and what would be right.
    pub why: String,
    /// Why its process ended, when the model broke it.
    pub crashed: Option<Cause>,
    /// How long it is not to be loaded, because it has crashed too often.
    pub rests_for: Option<std::time::Duration>,
    /// What the runtime said.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl LoadError {
    /// Why this model cannot be loaded.
    #[must_use]
    pub fn new(model: &Model, why: impl Into<String>) -> Self {
        let manifest = &model.manifest;
        Self {
            model: manifest.name.to_string(),
            version: manifest.version.to_string(),
            why: why.into(),
            crashed: None,
            rests_for: None,
            source: None,
        }
    }
}

/// Why a run gave no output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The input does not fit the model: permanent, the caller's to mend.
    #[error("{0}")]
    BadInput(String),
    /// The runtime refused or broke.
    #[error("{0}")]
    Failed(String),
    /// The output is larger than a job may return: permanent.
    #[error("the output of {bytes} bytes is larger than the {max} that a job may return")]
    OutputTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The state that the computation was to go on from is damaged, or is none of this model's.
    #[error("the checkpoint is refused: {0}")]
    BadCheckpoint(String),
    /// The process that the model ran in is no more. It cost this run; the next one needs the model loaded anew.
    #[error("the process of the model {0}")]
    Crashed(Cause),
    /// `RunControl::stop` was called and the computation has ended because of it.
    #[error("the run was stopped")]
    Stopped,
}

impl RunError {
    /// `BadInput` with every problem and its place.
    #[must_use]
    pub fn bad_input(problems: &[InputProblem]) -> Self {
        let told: Vec<_> = problems.iter().map(|problem| format!("{} {}", problem.pointer, problem.detail)).collect();
        Self::BadInput(told.join("; "))
    }
}

/// Loads models. One per process; shared by all slots.
pub trait ModelRuntime: Send + Sync {
    /// What it is and what is active. Cheap.
    fn report(&self) -> RuntimeReport;

    /// Loads one version for one slot: checks the file against the manifest (sha256, tensor names, types, shapes) and makes it
    /// ready to run. Blocks.
    ///
    /// # Errors
    /// `LoadError` says what is wrong with the model or the runtime.
    fn load(&self, model: &Model) -> Result<Box<dyn LoadedModel>, LoadError>;
}

/// One version, loaded for one slot.
pub trait LoadedModel: Send {
    /// Whether it is to be loaded anew before its next run, because its process is no more or because it is to run elsewhere from now on.
    fn is_stale(&self) -> bool {
        false
    }

    /// Begins the computation of one job: checks the JSON text of its input and, with a state that an earlier computation of the same model on
    /// the same input has saved, goes on from there. Cheap: the work is in the steps.
    ///
    /// # Errors
    /// `BadInput`; `BadCheckpoint` when it cannot go on from that state.
    fn begin(&mut self, input: &str, from: Option<State>) -> Result<Box<dyn Computation>, RunError>;

    /// Runs the model on the JSON text of a job's input from beginning to end and returns the JSON text of its output. Blocks; ends soon after
    /// `control.stop()`. Usable again after any outcome but a panic, as far
    /// as it is not stale.
    ///
    /// # Errors
    /// `RunError`.
    fn run(&mut self, input: &str, control: &RunControl) -> Result<String, RunError> {
        let mut computation = self.begin(input, None)?;
        loop {
            match computation.step(control)? {
                Step::Done(output) => return Ok(output),
                Step::More(Progress { done, total }) => control.report(RunReport::Progress { done, total }),
            }
        }
    }
}
