//! ONNX Runtime: the only place that names `ort`. It decides how sessions are made and what of their errors is whose fault; it never
//! trusts a model's file (checked before it is opened) or the runtime's own input checks (it does not compare symbolic dimensions).
//!
//! One environment per process, one session per slot: a session runs one job at a time on the slot's own thread, with one thread of
//! its own. Two sessions of one thread each do more work on two cores than one session of two, and nothing spins when idle.

mod engine;
mod external;
mod files;
mod functions;
mod interface;
pub mod library;
mod protobuf;
pub mod raw;
mod tensor;
mod values;

use ort::{
    Error,
    ep::CPU,
    logging::LogLevel,
    session::{Session, builder::GraphOptimizationLevel},
};
use siding_core::model::{manifest::Runner, repository::Model};

use self::{engine::Engine, library::Library};
use super::{LoadError, LoadedModel, ModelRuntime, RuntimeReport};

pub use engine::session_time;
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
        Ok(Box::new(tensor::Loaded::new(model.manifest.clone(), Engine::new(session))))
    }
}

/// What the runtime says, for a caller: one line, no source paths, not too long.
fn said(error: &Error) -> String {
    let words = error.message().split_whitespace().filter(|word| !word.starts_with('/'));
    words.collect::<Vec<_>>().join(" ").chars().take(SAID_CHARS_MAX).collect()
}
