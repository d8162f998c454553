//! The scripted runtime: models that behave as their input asks (`siding_core::model::script`), for tests and for measuring everything
//! but the model. It does exactly what the script says; nothing is random and nothing is kept but the counts of `fail`.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use siding_core::{
    limits,
    model::{manifest::Runner, repository::Model, script::Script},
    tensor::Tensors,
};

use super::{
    Computation, LoadError, LoadedModel, ModelRuntime, Progress, RunControl, RunError, RunReport, RuntimeReport, State, Step,
    one_step,
};

/// Most keys of `fail` that one process counts; one more fails its run without being counted.
const KEYS_MAX: usize = 100_000;

/// How often each key of `fail` has failed in this process. Written and read by every slot.
type Failures = Arc<Mutex<HashMap<String, u64>>>;

/// Carries out scripts.
#[derive(Debug, Default)]
pub struct Scripted {
    failures: Failures,
    is_expendable: bool,
}

impl Scripted {
    /// A runtime in which nothing has failed yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same in a process that exists for one model: its scripts may end the process.
    #[must_use]
    pub fn expendable() -> Self {
        Self { is_expendable: true, ..Self::default() }
    }
}

impl ModelRuntime for Scripted {
    fn report(&self) -> RuntimeReport {
        RuntimeReport {
            name: "scripted".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            library: String::new(),
            providers_active: Vec::new(),
            providers_refused: Vec::new(),
        }
    }

    fn load(&self, model: &Model) -> Result<Box<dyn LoadedModel>, LoadError> {
        if model.manifest.runner != Runner::Scripted {
            return Err(LoadError::new(model, format!("the scripted runtime has no runner {}", model.manifest.runner)));
        }
        Ok(Box::new(Loaded { failures: self.failures.clone(), is_expendable: self.is_expendable }))
    }
}

struct Loaded {
    failures: Failures,
    is_expendable: bool,
}

impl LoadedModel for Loaded {
    fn begin(&mut self, input: &str, from: Option<State>) -> Result<Box<dyn Computation>, RunError> {
        let script = Script::parse(input).map_err(|problem| RunError::bad_input(&[problem]))?;
        if let Script::Delay { ms, steps: Some(steps) } = script {
            return Delay::begin(ms, steps, from).map(|delay| Box::new(delay) as Box<dyn Computation>);
        }
        if from.is_some() {
            return Err(RunError::BadCheckpoint("this script has no steps".into()));
        }
        Ok(match script {
            Script::Noop => one_step(|_| Ok("null".into())),
            Script::Echo { value } => {
                let value = value.to_owned();
                one_step(|_| Ok(value))
            }
            Script::Delay { ms, .. } => {
                let until = Instant::now() + Duration::from_millis(ms);
                one_step(move |control| wait(Some(until), control).map(|()| ms.to_string()))
            }
            Script::Fail { times, key, message } => {
                let outcome = self.fail(times, key, message);
                one_step(|_| outcome)
            }
            Script::Panic => one_step(|_| panic!("panicked on request")),
            Script::Hang { deaf: false } => one_step(|control| wait(None, control).map(|()| "null".into())),
            Script::Hang { deaf: true } => one_step(|control| {
                // For whoever waits for the moment from which on it hears nothing.
                control.report(RunReport::Output("\"deaf\"".into()));
                loop {
                    std::thread::park();
                }
            }),
            Script::Crash | Script::Eat { .. } if !self.is_expendable => {
                one_step(|_| Err(RunError::Failed("only a model in a process of its own does that".into())))
            }
            Script::Crash => one_step(|_| std::process::abort()),
            Script::Eat { bytes } => one_step(move |_| Ok(eat(bytes).to_string())),
            Script::Stream { chunks } => one_step(move |control| stream(chunks, control)),
            Script::Big { bytes } => one_step(move |_| big(bytes)),
        })
    }
}

impl Loaded {
    fn fail(&self, times: u64, key: &str, message: Option<&str>) -> Result<String, RunError> {
        let text = |json: &str| serde_json::from_str::<String>(json).map_err(|error| RunError::BadInput(error.to_string()));
        let key = text(key)?;
        let message = message.map_or_else(|| Ok("failed on request".into()), text)?;
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= KEYS_MAX && !failures.contains_key(&key) {
            return Err(RunError::Failed(format!("more than {KEYS_MAX} keys have failed in this process")));
        }
        let failed = failures.entry(key).or_default();
        if *failed < times {
            *failed += 1;
            return Err(RunError::Failed(message));
        }
        Ok(failed.to_string())
    }
}

/// A delay in equal steps. Its state is how many of them are done.
struct Delay {
    ms: u64,
    steps: u64,
    done: u64,
}

impl Delay {
    fn begin(ms: u64, steps: u64, from: Option<State>) -> Result<Self, RunError> {
        let refused = |why: &str| RunError::BadCheckpoint(format!("the number of steps {why}"));
        let done = match from {
            Some(state) => state.note.parse().map_err(|_| refused("cannot be read"))?,
            None => 0,
        };
        if done < steps { Ok(Self { ms, steps, done }) } else { Err(refused("is larger than the script's")) }
    }
}

impl Computation for Delay {
    fn step(&mut self, control: &RunControl) -> Result<Step, RunError> {
        let micros = u128::from(self.ms) * 1000 / u128::from(self.steps);
        wait(Some(Instant::now() + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))), control)?;
        self.done += 1;
        if self.done == self.steps {
            return Ok(Step::Done(self.ms.to_string()));
        }
        Ok(Step::More(Progress { done: self.done, total: Some(self.steps) }))
    }

    fn save(&self) -> Option<State> {
        Some(State { tensors: Tensors::new(), note: self.done.to_string() })
    }
}

/// Waits until then, or for ever; ends at once when the run is stopped.
fn wait(until: Option<Instant>, control: &RunControl) -> Result<(), RunError> {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let open = {
        let gate = gate.clone();
        move || {
            *gate.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            gate.1.notify_all();
        }
    };
    let stopped = control.interruptible(open, || {
        let mut stopped = gate.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stopped {
            stopped = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return false,
                Some(left) => gate.1.wait_timeout(stopped, left).unwrap_or_else(PoisonError::into_inner).0,
                None => gate.1.wait(stopped).unwrap_or_else(PoisonError::into_inner),
            };
        }
        true
    });
    if stopped { Err(RunError::Stopped) } else { Ok(()) }
}

fn stream(chunks: u64, control: &RunControl) -> Result<String, RunError> {
    for chunk in 0..chunks {
        if control.is_stopped() {
            return Err(RunError::Stopped);
        }
        control.report(RunReport::Output(chunk.to_string()));
    }
    Ok(chunks.to_string())
}

/// Takes memory and writes to it, so that it is really there.
fn eat(bytes: u64) -> usize {
    vec![1_u8; usize::try_from(bytes).unwrap_or(usize::MAX)].len()
}

fn big(bytes: u64) -> Result<String, RunError> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    if bytes > limits::OUTPUT_BYTES_MAX {
        return Err(RunError::OutputTooLarge { bytes, max: limits::OUTPUT_BYTES_MAX });
    }
    Ok(format!("\"{}\"", "x".repeat(bytes.saturating_sub(2))))
}
