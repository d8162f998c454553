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
mod providers;
pub mod raw;
mod stepped;
mod tensor;
mod text;
mod values;

use ort::{
    Error,
    ep::ExecutionProviderDispatch,
    logging::LogLevel,
    session::{Session, builder::GraphOptimizationLevel},
};
use siding_core::{
    config::Settings,
    limits,
    model::{
        manifest::{Runner, stepped::Prelude},
        repository::Model,
    },
};

use self::{engine::Engine, library::Library, providers::Providers};
use super::{LoadError, LoadedModel, ModelRuntime, RuntimeReport};

pub use engine::session_time;
pub use library::Unavailable;
pub use providers::Options;

/// The runtime's name in reports.
pub const NAME: &str = "onnxruntime";

/// Longest piece of the runtime's own words in an error, in characters.
const SAID_CHARS_MAX: usize = 300;

/// ONNX Runtime, loaded into this process.
#[derive(Debug)]
pub struct Onnx {
    library: Library,
    providers: Providers,
    /// How long a stepped model's runs are bundled into one step, in milliseconds.
    step_ms: u64,
}

impl Onnx {
    /// Loads the library (see `library`), with the default options and these execution providers.
    ///
    /// # Errors
    /// `Unavailable` when there is no usable library.
    pub fn open(library: &str, providers: &[&str]) -> Result<Self, Unavailable> {
        let defaults = Options::of(&Settings::default());
        Self::with(library, Options { providers: providers.iter().map(|name| (*name).to_owned()).collect(), ..defaults })
    }

    /// Loads the library and tries each provider of the options once. One that cannot be used is reported and left out, and the CPU is always
    /// there.
    ///
    /// # Errors
    /// `Unavailable` when there is no usable library.
    pub fn with(library: &str, options: Options) -> Result<Self, Unavailable> {
        let library = Library::open(library)?;
        let providers = Providers::try_each(&library, options);
        Ok(Self { library, providers, step_ms: limits::STEP_MS })
    }

    /// The same with steps of another length. 0 makes each run of a stepped model a step of its own, which is how tests cut wherever a
    /// computation can be cut.
    #[must_use]
    pub fn with_step_ms(self, step_ms: u64) -> Self {
        Self { step_ms, ..self }
    }

    /// A session over the active providers; over the CPU alone when they fail for this model and may be done without.
    fn session(&self, files: &files::Files) -> ort::Result<Session> {
        let session = self.session_over(files, &self.providers.dispatches());
        if !self.providers.may_fall_back() {
            return session;
        }
        session.or_else(|error| {
            tracing::warn!(
                error = said(&error),
                providers = self.providers.active.join(","),
                "a model cannot be loaded so; trying the CPU alone"
            );
            self.session_over(files, &Providers::cpu())
        })
    }

    fn session_over(&self, files: &files::Files, providers: &[ExecutionProviderDispatch]) -> ort::Result<Session> {
        // Every option is said, also where it is the default: defaults differ between versions.
        let mut builder = Session::builder(self.library.environment())?
            .with_execution_providers(providers)?
            .with_intra_threads(self.providers.options.intra_threads)?
            // A pool that waits for work by spinning takes cores from the other slots.
            .with_intra_op_spinning(false)?
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
            providers_active: self.providers.active.clone(),
            providers_refused: self.providers.refused.clone(),
        }
    }

    fn load(&self, model: &Model) -> Result<Box<dyn LoadedModel>, LoadError> {
        if let Some(why) = self.providers.forbids() {
            return Err(LoadError::new(model, why));
        }
        let manifest = &model.manifest;
        match manifest.runner {
            Runner::Tensor => Ok(Box::new(tensor::Loaded::new(manifest.clone(), Engine::new(self.main_session(model)?)))),
            Runner::Text => Ok(Box::new(text::Loaded::new(model, Engine::new(self.main_session(model)?))?)),
            Runner::Stepped => Ok(Box::new(self.stepped(model)?)),
            runner => Err(LoadError::new(model, format!("{NAME} has no runner {runner}"))),
        }
    }
}

impl Onnx {
    /// A session of the model's own file, which is what the manifest says.
    fn main_session(&self, model: &Model) -> Result<Session, LoadError> {
        let files = files::read(model).map_err(|why| LoadError::new(model, why))?;
        let session = self.session(&files).map_err(|error| refused(model, error))?;
        interface::check(&model.manifest, session.inputs(), session.outputs()).map_err(|why| LoadError::new(model, why))?;
        Ok(session)
    }

    fn stepped(&self, model: &Model) -> Result<stepped::Loaded, LoadError> {
        let engine = Engine::new(self.main_session(model)?);
        let prelude = model.manifest.stepped.iter().find_map(|stepped| stepped.prelude.as_ref());
        let prelude = prelude.map(|prelude| self.prelude_session(model, prelude)).transpose()?;
        let loaded = stepped::Loaded::new(model, engine, prelude.map(Engine::new), self.step_ms);
        loaded.map_err(|why| LoadError::new(model, why))
    }

    fn prelude_session(&self, model: &Model, prelude: &Prelude) -> Result<Session, LoadError> {
        let files = files::read_alone(model, &prelude.file).map_err(|why| LoadError::new(model, why))?;
        let session = self.session(&files).map_err(|error| refused(model, error))?;
        interface::check_prelude(prelude, session.inputs(), session.outputs()).map_err(|why| LoadError::new(model, why))?;
        Ok(session)
    }
}

fn refused(model: &Model, error: Error) -> LoadError {
    let why = format!("{NAME} refuses the file: {}", said(&error));
    LoadError { source: Some(Box::new(error)), ..LoadError::new(model, why) }
}

/// What the runtime says, for a caller: one line, no source paths, not too long.
fn said(error: &Error) -> String {
    let words = error.message().split_whitespace().filter(|word| !word.starts_with('/'));
    words.collect::<Vec<_>>().join(" ").chars().take(SAID_CHARS_MAX).collect()
}
