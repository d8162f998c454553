//! The model process itself: `siding model-process`, over the connection that is its standard input. It decides nothing: it loads the one
//! model that it is told, computes what it is asked, and ends when the connection ends, whatever its model is doing.

use std::{
    collections::HashMap,
    io::{self, BufReader},
    os::{fd::AsFd, unix::net::UnixStream},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};

use nix::sys::{
    resource::{Resource, setrlimit},
    signal::{SigSet, Signal, raise},
};
use siding_core::{
    limits,
    model::{
        manifest::{Manifest, Runner},
        repository::Model,
    },
};

use super::{
    cause::PANICKED,
    wire::{self, Answer, Ask, Load, Lost, VERSION},
};
use crate::runtime::{
    Computation, LoadedModel, ModelRuntime, RunControl, RunError, Step,
    onnx::{Onnx, Options},
    scripted::Scripted,
};

/// Serves until the connection ends; then it ends the process and does not return. Call it first in a process, while there is no other
/// thread.
///
/// # Errors
/// When standard input is no connection of a worker: somebody has called this by hand.
pub fn serve(options: Options) -> io::Result<()> {
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    stream.peer_addr()?;
    // A supervisor that ends a whole group, or a terminal, means the worker. It ends us when its runs have ended.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block()?;
    let writer = Writer(Arc::new(Mutex::new(stream.try_clone()?)));
    let mut reader = BufReader::new(stream);
    let steps = Steps::default();
    // An ask at a time, and computations that are forgotten meanwhile.
    let (asks, asked) = mpsc::sync_channel(limits::MODEL_COMPUTATIONS_MAX + 2);
    let computing = (steps.clone(), writer.clone());
    thread::Builder::new().name("model".into()).spawn(move || {
        let (steps, writer) = computing;
        if catch_unwind(AssertUnwindSafe(|| compute(&asked, &options, &steps, &writer))).is_err() {
            // The panic has said on standard error what it is.
            process::exit(PANICKED);
        }
        end();
    })?;
    loop {
        let ask = match wire::read(&mut reader).and_then(|frame| Ask::of_frame(&frame)) {
            Ok(Ask::Stop { step }) => {
                steps.stop(step);
                continue;
            }
            Ok(ask) => ask,
            Err(Lost::Gone(_) | Lost::Garbled) => end(),
        };
        // A worker that asks more than it may is none of ours.
        if asks.try_send(ask).is_err() {
            end();
        }
    }
}

/// Ends this process now: a usual exit would wait for what native code has put behind it. The exit is there for the compiler.
fn end() -> ! {
    match raise(Signal::SIGKILL) {
        Ok(()) | Err(_) => process::exit(0),
    }
}

/// Loads what the first ask says and computes what the others ask, until there are no more.
fn compute(asked: &mpsc::Receiver<Ask>, options: &Options, steps: &Steps, writer: &Writer) {
    let Ok(Ask::Load(load)) = asked.recv() else { return };
    let mut loaded = match self::load(&load, options) {
        Ok(loaded) => loaded,
        Err(why) => return writer.say(&Answer::NotLoaded(why)),
    };
    writer.say(&Answer::Loaded);
    let mut computations: HashMap<u64, Box<dyn Computation>> = HashMap::new();
    for ask in asked {
        let answer = match ask {
            Ask::Begin { .. } if computations.len() == limits::MODEL_COMPUTATIONS_MAX => {
                Answer::Failed(RunError::Failed("too many computations were begun and not ended".into()))
            }
            Ask::Begin { computation, input, from } => match loaded.begin(&input, from) {
                Ok(begun) => {
                    computations.insert(computation, begun);
                    Answer::Begun
                }
                Err(error) => Answer::Failed(error),
            },
            Ask::Step { computation, step } => {
                let answer = match computations.get_mut(&computation) {
                    Some(begun) => self::step(&mut **begun, &steps.begin(step, writer)),
                    None => Answer::Failed(RunError::Failed("a computation that is over was asked for a step".into())),
                };
                if !matches!(answer, Answer::More(_)) {
                    computations.remove(&computation);
                }
                answer
            }
            Ask::Save { computation } => Answer::Saved(computations.get(&computation).and_then(|begun| begun.save())),
            Ask::Forget { computation } => {
                computations.remove(&computation);
                continue;
            }
            // Handled by the reader, or said twice.
            Ask::Stop { .. } | Ask::Load(_) => return,
        };
        writer.say(&answer);
    }
}

fn step(computation: &mut dyn Computation, control: &RunControl) -> Answer {
    match computation.step(control) {
        Ok(Step::More(progress)) => Answer::More(progress),
        Ok(Step::Done(output)) => Answer::Done(output),
        Err(error) => Answer::Failed(error),
    }
}

fn load(load: &Load, options: &Options) -> Result<Box<dyn LoadedModel>, String> {
    if load.version != VERSION {
        return Err("its process is of another version than this worker".into());
    }
    if load.memory_bytes_max > 0 {
        // What it may write to counts, not address space: drivers of devices reserve far more than they use.
        setrlimit(Resource::RLIMIT_DATA, load.memory_bytes_max, load.memory_bytes_max)
            .map_err(|error| format!("its memory cannot be bounded: {error}"))?;
    }
    let manifest = Manifest::parse(&load.manifest).map_err(|error| error.to_string())?;
    let model = Model::in_folder(manifest, PathBuf::from(&load.folder));
    let loaded = match model.manifest.runner {
        Runner::Scripted => Scripted::expendable().load(&model),
        Runner::Tensor | Runner::Text | Runner::Stepped => {
            Onnx::with(&load.library, options.clone()).map_err(|unavailable| unavailable.to_string())?.load(&model)
        }
    };
    loaded.map_err(|error| error.why)
}

/// The way back. Cheap to clone.
#[derive(Clone)]
struct Writer(Arc<Mutex<UnixStream>>);

impl Writer {
    /// Says it; a worker that is gone is noticed by the reader.
    fn say(&self, answer: &Answer) {
        let too_large = || Answer::Failed(RunError::Failed("what it gave is too large to leave its process".into())).to_frame();
        let frame = answer.to_frame().or_else(too_large).unwrap_or_default();
        if let Err(error) = wire::write(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), &frame) {
            tracing::debug!(%error, "the worker is gone");
        }
    }
}

/// The step that is made, and the newest one that is to stop. Written by the reader and the model's thread. Cheap to clone.
#[derive(Clone, Default)]
struct Steps(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    current: Option<(u64, Arc<RunControl>)>,
    /// A stop may come before the step that it is for.
    to_stop: Option<u64>,
}

impl Steps {
    fn begin(&self, step: u64, writer: &Writer) -> Arc<RunControl> {
        let writer = writer.clone();
        let control = Arc::new(RunControl::new(move |report| writer.say(&Answer::Report(report))));
        let mut state = self.lock();
        state.current = Some((step, control.clone()));
        if state.to_stop == Some(step) {
            control.stop();
        }
        control
    }

    fn stop(&self, step: u64) {
        let mut state = self.lock();
        state.to_stop = Some(step);
        let current = state.current.clone();
        drop(state);
        if let Some((_, control)) = current.filter(|(current, _)| *current == step) {
            control.stop();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
