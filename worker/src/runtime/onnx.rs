//! ONNX Runtime: the only place that names `ort`. It decides how sessions are made and what of their errors is whose fault; it never
//! trusts a model's file (checked before it is opened) or the runtime's own input checks (it does not compare symbolic dimensions).
//!
//! One environment per process, one session per slot: a session runs one job at a time on the slot's own thread, with one thread of
//! its own. Two sessions of one thread each do more work on two cores than one session of two, and nothing spins when idle.

mod external;
mod files;
mod interface;
pub mod library;
pub mod raw;
mod values;

use std::sync::Arc;

use ort::{
    Error, ErrorCode,
    ep::CPU,
    logging::LogLevel,
    session::{RunOptions, Session, builder::GraphOptimizationLevel},
};
use siding_core::{
    model::{
        manifest::{Manifest, Runner},
        repository::Model,
    },
    tensor::{Tensors, write_output},
};

use self::library::Library;
use super::{LoadError, LoadedModel, ModelRuntime, RunControl, RunError, RuntimeReport};

pub use library::Unavailable;

/// The runtime's name in reports.
pub const NAME: &str = "onnxruntime";

/// Longest piece of the runtime's own words in an error, in characters.
const SAID_CHARS_MAX: usize = 300;

/// ONNX Runtime, loaded into this process.
#[derive(Debug)]
pub struct Onnx {
    library: Library,
    providers_active: Vec<String>,
    providers_refused: Vec<(String, String)>,
}

impl Onnx {
    /// Loads the library (see `library`). `providers` are the execution providers asked for; one that cannot be used is reported and
    /// left out, and the CPU is always there.
    ///
    /// # Errors
    /// `Unavailable` when there is no usable library.
    pub fn open(library: &str, providers: &[&str]) -> Result<Self, Unavailable> {
        let library = Library::open(library)?;
        let refused = |name: &&&str| (**name != "cpu").then(|| ((**name).to_owned(), "not supported; supported: cpu".to_owned()));
        Ok(Self {
            library,
            providers_active: vec!["cpu".into()],
            providers_refused: providers.iter().filter_map(|name| refused(&name)).collect(),
        })
    }

    fn session(&self, files: &files::Files) -> ort::Result<Session> {
        // Every option is said, also where it is the default: defaults differ between versions.
        let mut builder = Session::builder(self.library.environment())?
            .with_execution_providers([CPU::default().with_arena_allocator(true).build().error_on_failure()])?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_parallel_execution(false)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            // Shapes change from job to job; a memory pattern per shape would only add up.
            .with_memory_pattern(false)?
            // What it would log as an error is returned to us as an error and reported once, where it is handled.
            .with_log_level(LogLevel::Fatal)?
            // Never guess another format from the bytes: the checks are for this one.
            .with_config_entry("session.load_model_format", "ONNX")?;
        for (name, bytes) in &files.external {
            builder = builder.with_external_initializer_file_in_memory(name, bytes.clone())?;
        }
        builder.commit_from_memory(&files.model)
    }
}

impl ModelRuntime for Onnx {
    fn report(&self) -> RuntimeReport {
        RuntimeReport {
            name: NAME.into(),
            version: self.library.version().into(),
            library: self.library.path().display().to_string(),
            providers_active: self.providers_active.clone(),
            providers_refused: self.providers_refused.clone(),
        }
    }

    fn load(&self, model: &Model) -> Result<Box<dyn LoadedModel>, LoadError> {
        if model.manifest.runner != Runner::Tensor {
            return Err(LoadError::new(model, format!("{NAME} has no runner {}", model.manifest.runner)));
        }
        let files = files::read(model).map_err(|why| LoadError::new(model, why))?;
        let session = self.session(&files).map_err(|error| {
            let why = format!("{NAME} refuses the file: {}", said(&error));
            LoadError { source: Some(Box::new(error)), ..LoadError::new(model, why) }
        })?;
        interface::check(&model.manifest, session.inputs(), session.outputs()).map_err(|why| LoadError::new(model, why))?;
        Ok(Box::new(Loaded { manifest: model.manifest.clone(), session, shapes: Vec::new() }))
    }
}

struct Loaded {
    manifest: Manifest,
    session: Session,
    /// The input shapes of the last run.
    shapes: Vec<Vec<usize>>,
}

impl LoadedModel for Loaded {
    fn run(&mut self, input: &str, control: &RunControl) -> Result<String, RunError> {
        let tensors = self.manifest.parse_input(input).map_err(|problems| RunError::bad_input(&problems))?;
        let output = self.run_tensors(tensors, control)?;
        write_output(&output).map_err(|error| RunError::OutputTooLarge { bytes: error.bytes, max: error.max })
    }
}

impl Loaded {
    fn run_tensors(&mut self, tensors: Tensors, control: &RunControl) -> Result<Tensors, RunError> {
        let shapes: Vec<_> = tensors.iter().map(|(_, tensor)| tensor.shape().to_vec()).collect();
        let inputs = values::inputs(tensors).map_err(|error| RunError::BadInput(said(&error)))?;
        let memory = if shapes == self.shapes { Memory::Kept } else { Memory::Returned };
        self.shapes = shapes;
        // A new one for each run: one that has stopped a run would stop the next one too.
        let options = Arc::new(run_options(memory).map_err(|error| RunError::Failed(said(&error)))?);
        let stop = {
            let options = options.clone();
            move || {
                if let Err(error) = options.terminate() {
                    tracing::error!(error = said(&error), "a run could not be told to stop");
                }
            }
        };
        let (session, specs) = (&mut self.session, &self.manifest.outputs);
        control.interruptible(stop, || match session.run_with_options(inputs, &*options) {
            Ok(outputs) => values::outputs(&outputs, specs),
            // The runtime has no code of its own for this; whether we stopped it is known only here.
            Err(_) if control.is_stopped() => Err(RunError::Stopped),
            // It checks values against the graph (an index out of range), after we have checked names, types and shapes.
            Err(error) if error.code() == ErrorCode::InvalidArgument => Err(RunError::BadInput(said(&error))),
            Err(error) => Err(RunError::Failed(said(&error))),
        })
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

/// What the runtime says, for a caller: one line, no source paths, not too long.
fn said(error: &Error) -> String {
    let words = error.message().split_whitespace().filter(|word| !word.starts_with('/'));
    words.collect::<Vec<_>>().join(" ").chars().take(SAID_CHARS_MAX).collect()
}
