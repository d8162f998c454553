//! Models in processes of their own: what their native code breaks is theirs. It decides how a model process is used; it never decides which
//! models need one (`guard`), and nothing of a process's end, by whatever cause, reaches further than an error of the run that it cost.
//!
//! One process for each loaded model: a crash costs one slot's copy of one model, unloading gives all of its memory back, and a process has
//! one model to tell of. The process is the same program again (`serve`), told over a socket pair what to do (`wire`).

mod cause;
mod process;
pub mod serve;
mod wire;

use std::{path::PathBuf, sync::Arc, time::Duration};

use siding_core::model::{
    manifest::{FILE_NAME, Manifest},
    repository::Model,
};

use self::{
    process::Process,
    wire::{Answer, Ask, Load},
};
use super::{Computation, LoadError, LoadedModel, ModelRuntime, RunControl, RunError, RuntimeReport, State, Step};

pub use cause::Cause;
pub use process::SUBCOMMAND;

/// How long a process may take to load its model: less than the keeper lets a job wait for it, so that what is told is that the process was silent.
pub(crate) const LOAD_PATIENCE: Duration = Duration::from_secs(540);
/// How long it may take to begin a computation or to save one: nothing is computed there.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

/// What model processes are started with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The program that has the subcommand: this one, but for tests.
    pub program: PathBuf,
    /// The setting `worker.onnxruntime`.
    pub library: String,
    /// Most bytes of its own that one process may have; 0 for no bound.
    pub memory_bytes_max: u64,
    /// Settings that it reads itself, as variables of its environment.
    pub variables: Vec<(String, String)>,
}

/// Loads each model in a process of its own.
#[derive(Debug, Clone)]
pub struct Isolated {
    setup: Setup,
}

impl Isolated {
    /// Nothing is started before a model is loaded.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        Self { setup }
    }

    fn first_ask(&self, model: &Model) -> Result<Vec<u8>, LoadError> {
        let read = std::fs::read_to_string(model.folder.join(FILE_NAME));
        let manifest = read.map_err(|error| LoadError::new(model, format!("{FILE_NAME} cannot be read: {}", error.kind())))?;
        // What is loaded must be what inputs are checked against.
        if Manifest::parse(&manifest).ok().as_ref() != Some(&model.manifest) {
            return Err(LoadError::new(model, format!("{FILE_NAME} has changed since it was read")));
        }
        let folder = model.folder.to_str().ok_or_else(|| LoadError::new(model, "its folder's name is no text"))?.to_owned();
        let load = Load {
            version: wire::VERSION,
            library: self.setup.library.clone(),
            manifest,
            folder,
            memory_bytes_max: self.setup.memory_bytes_max,
        };
        Ask::Load(load).to_frame().ok_or_else(|| LoadError::new(model, format!("{FILE_NAME} is too large")))
    }
}

impl ModelRuntime for Isolated {
    fn report(&self) -> RuntimeReport {
        RuntimeReport {
            name: "isolated".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            library: self.setup.library.clone(),
            providers_active: Vec::new(),
            providers_refused: Vec::new(),
        }
    }

    fn load(&self, model: &Model) -> Result<Box<dyn LoadedModel>, LoadError> {
        let first = self.first_ask(model)?;
        let process = Process::start(&self.setup.program, &self.setup.variables, &model.manifest)
            .map_err(|error| LoadError::new(model, format!("a process for it cannot be started: {}", error.kind())))?;
        let crashed = |cause| LoadError { crashed: Some(cause), ..LoadError::new(model, format!("its process {cause}")) };
        match process.exchange(&first, Some(LOAD_PATIENCE), drop) {
            Ok(Answer::Loaded) => Ok(Box::new(Loaded(Arc::new(process)))),
            Ok(Answer::NotLoaded(why)) => Err(LoadError::new(model, why)),
            Ok(_) => Err(crashed(process.nonsense())),
            Err(cause) => Err(crashed(cause)),
        }
    }
}

struct Loaded(Arc<Process>);

impl LoadedModel for Loaded {
    fn is_stale(&self) -> bool {
        self.0.is_gone()
    }

    fn begin(&mut self, input: &str, from: Option<State>) -> Result<Box<dyn Computation>, RunError> {
        let computation = self.0.next_number();
        let frame = Ask::Begin { computation, input: input.to_owned(), from }.to_frame();
        let frame = frame.ok_or_else(|| RunError::Failed("the input with its state is too large for a model process".into()))?;
        match self.0.exchange(&frame, Some(ANSWER_PATIENCE), drop).map_err(RunError::Crashed)? {
            Answer::Begun => Ok(Box::new(Remote { process: self.0.clone(), computation, is_over: false })),
            Answer::Failed(error) => Err(error),
            _ => Err(RunError::Crashed(self.0.nonsense())),
        }
    }
}

/// A computation in a model process.
struct Remote {
    process: Arc<Process>,
    computation: u64,
    is_over: bool,
}

impl Computation for Remote {
    fn step(&mut self, control: &RunControl) -> Result<Step, RunError> {
        let step = self.process.next_number();
        let ask = Ask::Step { computation: self.computation, step };
        let frame = ask.to_frame().ok_or_else(|| RunError::Failed("a step is not to be told".into()))?;
        let (stopped, killed) = (self.process.clone(), self.process.clone());
        let answer = control.interruptible(
            move || stopped.tell(&Ask::Stop { step }),
            || {
                let kill = move || killed.kill(Cause::NotStopping);
                control.killable(kill, || self.process.exchange(&frame, None, |report| control.report(report)))
            },
        );
        let answer = answer.map_err(RunError::Crashed);
        self.is_over = !matches!(answer, Ok(Answer::More(_)));
        match answer? {
            Answer::More(progress) => Ok(Step::More(progress)),
            Answer::Done(output) => Ok(Step::Done(output)),
            Answer::Failed(error) => Err(error),
            _ => Err(RunError::Crashed(self.process.nonsense())),
        }
    }

    fn save(&self) -> Option<State> {
        let frame = Ask::Save { computation: self.computation }.to_frame()?;
        // A process that is gone, or that fails to save, is told of by the next step.
        match self.process.exchange(&frame, Some(ANSWER_PATIENCE), drop) {
            Ok(Answer::Saved(state)) => state,
            Ok(Answer::Failed(error)) => {
                tracing::error!(%error, "a state cannot be saved");
                None
            }
            Ok(_) => {
                self.process.nonsense();
                None
            }
            Err(_) => None,
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if !self.is_over && !self.process.is_gone() {
            self.process.tell(&Ask::Forget { computation: self.computation });
        }
    }
}
