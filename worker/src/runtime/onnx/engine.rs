//! One session and how it is run: what every runner on ONNX Runtime shares. It decides what becomes of the arena's memory, how a run is
//! stopped, and whose fault an error is; it never looks into a tensor.

use std::{
    borrow::Cow,
    cell::Cell,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ort::{
    ErrorCode,
    session::{RunOptions, Session, SessionInputValue, SessionOutputs},
};

use super::said;
use crate::runtime::{RunControl, RunError};

thread_local! {
    /// How long this thread has been inside of ONNX Runtime.
    static SESSION_TIME: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// How long the calling thread has been inside of ONNX Runtime since it began: what of a runner's time was the model's.
#[must_use]
pub fn session_time() -> Duration {
    SESSION_TIME.get()
}

/// A session that its slot's computations share: each run has it for itself.
#[derive(Clone)]
pub(super) struct Engine(Arc<Mutex<Inner>>);

struct Inner {
    session: Session,
    /// The input shapes of the last run.
    shapes: Vec<Vec<usize>>,
}

/// Inputs by name.
pub(super) type Inputs<'a> = Vec<(String, SessionInputValue<'a>)>;

impl Engine {
    /// An engine whose session has not run yet.
    pub(super) fn new(session: Session) -> Self {
        Self(Arc::new(Mutex::new(Inner { session, shapes: Vec::new() })))
    }

    /// Runs once on `inputs`, whose shapes are `shapes`, and hands the outputs to `read`. A stop of `control` ends the run between two
    /// kernels.
    ///
    /// # Errors
    /// `Stopped`, `BadInput` for values that the graph refuses, `Failed`; or what `read` says.
    pub(super) fn run<T>(
        &self,
        inputs: Inputs<'_>,
        shapes: Vec<Vec<usize>>,
        control: &RunControl,
        read: impl FnOnce(SessionOutputs<'_>) -> Result<T, RunError>,
    ) -> Result<T, RunError> {
        self.hold(shapes, control, |held| held.run(inputs, read))
    }

    /// Hands the session to `body` for many runs on inputs of the same `shapes`: what a run needs besides its inputs is made once for all of
    /// them. A stop of `control` ends the run that it meets, and every later one at once.
    ///
    /// # Errors
    /// `Failed`, or what `body` says.
    pub(super) fn hold<T>(
        &self,
        shapes: Vec<Vec<usize>>,
        control: &RunControl,
        body: impl FnOnce(&mut Held<'_>) -> Result<T, RunError>,
    ) -> Result<T, RunError> {
        // A run that panicked has lost its model with it: nobody comes here after that.
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { session, shapes: before } = &mut *inner;
        // New ones each time: what has stopped a run would stop the next one too.
        let options = |memory| run_options(memory).map(Arc::new).map_err(|error| RunError::Failed(said(&error)));
        let kept = options(Memory::Kept)?;
        let first = if shapes == *before { kept.clone() } else { options(Memory::Returned)? };
        *before = shapes;
        let stop = {
            let all = [kept.clone(), first.clone()];
            move || {
                if let Some(error) = all.iter().find_map(|options| options.terminate().err()) {
                    tracing::error!(error = said(&error), "a run could not be told to stop");
                }
            }
        };
        control.interruptible(stop, || body(&mut Held { session, next: first, kept, control }))
    }
}

/// A session in the hands of one computation.
pub(super) struct Held<'a> {
    session: &'a mut Session,
    /// What the next run is made with.
    next: Arc<RunOptions>,
    /// What all further ones are made with.
    kept: Arc<RunOptions>,
    control: &'a RunControl,
}

impl Held<'_> {
    /// Runs once.
    ///
    /// # Errors
    /// `Stopped`, `BadInput` for values that the graph refuses, `Failed`; or what `read` says.
    pub(super) fn run<'i, 'v: 'i, T, K: Into<Cow<'i, str>>>(
        &mut self,
        inputs: Vec<(K, SessionInputValue<'v>)>,
        read: impl FnOnce(SessionOutputs<'_>) -> Result<T, RunError>,
    ) -> Result<T, RunError> {
        let options = mem::replace(&mut self.next, self.kept.clone());
        let started = Instant::now();
        let ended = self.session.run_with_options(inputs, &*options);
        SESSION_TIME.set(SESSION_TIME.get() + started.elapsed());
        match ended {
            Ok(outputs) => read(outputs),
            // The runtime has no code of its own for this; whether we stopped it is known only here.
            Err(_) if self.control.is_stopped() => Err(RunError::Stopped),
            // It checks values against the graph (an index out of range), after we have checked names, types and shapes.
            Err(error) if error.code() == ErrorCode::InvalidArgument => Err(RunError::BadInput(said(&error))),
            Err(error) => Err(RunError::Failed(said(&error))),
        }
    }
}

/// What becomes of the arena's memory after a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Memory {
    /// The run had the shapes of the one before, and so may the next: it will need just this memory, and asking the system for it again
    /// costs some 3 % of the time in page faults.
    Kept,
    /// The shapes change: without this the arena keeps the largest run's memory for ever (measured: 1095 MB instead of 152 MB after
    /// one large batch).
    Returned,
}

fn run_options(memory: Memory) -> ort::Result<RunOptions> {
    let mut options = RunOptions::new()?;
    if memory == Memory::Returned {
        options.set("memory.enable_memory_arena_shrinkage", "cpu:0")?;
    }
    Ok(options)
}
