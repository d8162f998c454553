//! One job's computation as a row of steps. Between two of them nothing runs: there its progress is told, it can be stopped and its state
//! can be saved. It decides nothing about when any of that happens; its slot makes its steps one after another and does nothing else meanwhile.

use siding_core::tensor::Tensors;

use super::{RunControl, RunError};

/// How far a computation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all, when known.
    pub total: Option<u64>,
}

/// What one step came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// There is more to do.
    More(Progress),
    /// It is over: the JSON text of the output.
    Done(String),
}

/// All that a computation needs besides its model and its input to go on between two steps.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Its tensors, bit for bit.
    pub tensors: Tensors,
    /// What is not a tensor (counts, the state of a random generator), as JSON text of the runner's own.
    pub note: String,
}

/// One job on one loaded model. It holds what it needs of the model; one computation of a loaded model makes a step at a time.
pub trait Computation: Send {
    /// Makes one step: a bounded piece of work, or all of it where a model's run cannot be divided. Blocks; ends soon after `control.stop()`.
    /// Pieces of output are reported to `control`; progress is not, the caller does that. Not called again after `Done` or an error.
    ///
    /// # Errors
    /// `RunError`.
    fn step(&mut self, control: &RunControl) -> Result<Step, RunError>;

    /// The state after the last step, from which `LoadedModel::begin` goes on to the identical result; `None` for a computation that
    /// cannot be divided.
    fn save(&self) -> Option<State>;
}

/// A computation that cannot be divided: `run` is its only step.
pub fn one_step(run: impl FnOnce(&RunControl) -> Result<String, RunError> + Send + 'static) -> Box<dyn Computation> {
    Box::new(OneStep(Some(run)))
}

struct OneStep<F>(Option<F>);

impl<F: FnOnce(&RunControl) -> Result<String, RunError> + Send> Computation for OneStep<F> {
    fn step(&mut self, control: &RunControl) -> Result<Step, RunError> {
        let run = self.0.take().ok_or_else(|| RunError::Failed("a computation that is over was asked for a step".into()))?;
        run(control).map(Step::Done)
    }

    fn save(&self) -> Option<State> {
        None
    }
}
