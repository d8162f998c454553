//! The runtimes of one worker: each model goes to the one that its manifest's `runner` names. A runtime that is not available fails
//! the loading of its own models, with the reason and the remedy, and nothing else: the worker starts without it.

use siding_core::{
    config::Settings,
    model::{manifest::Runner, repository::Model},
};

use super::{
    LoadError, LoadedModel, ModelRuntime, RuntimeReport,
    onnx::{Onnx, Options, Unavailable},
    scripted::Scripted,
};

/// Every runtime that this worker has.
#[derive(Debug)]
pub struct Runtimes {
    tensor: Result<Onnx, Unavailable>,
    /// `None` where the settings do not allow scripted models.
    scripted: Option<Scripted>,
}

impl Runtimes {
    /// Opens ONNX Runtime (`library` is the setting `worker.onnxruntime`, see `onnx::library`) and, where allowed, the scripted runtime.
    #[must_use]
    pub fn open(library: &str, allow_scripted: bool) -> Self {
        Self::of(Onnx::open(library, &["cpu"]), allow_scripted)
    }

    /// The same, with everything that the settings say.
    #[must_use]
    pub fn of_settings(settings: &Settings) -> Self {
        Self::of(Onnx::with(&settings.worker.onnxruntime, Options::of(settings)), settings.worker.scripted)
    }

    /// The given ONNX Runtime, or the reason why there is none.
    #[must_use]
    pub fn of(tensor: Result<Onnx, Unavailable>, allow_scripted: bool) -> Self {
        Self { tensor, scripted: allow_scripted.then(Scripted::new) }
    }

    /// Why ONNX Runtime is not available; for the start-up report and `siding doctor`.
    #[must_use]
    pub fn unavailable(&self) -> Option<&Unavailable> {
        self.tensor.as_ref().err()
    }
}

impl ModelRuntime for Runtimes {
    /// ONNX Runtime's report. When it is not available, it is the report of what was asked for and refused.
    fn report(&self) -> RuntimeReport {
        match &self.tensor {
            Ok(onnx) => onnx.report(),
            Err(unavailable) => RuntimeReport {
                name: super::onnx::NAME.into(),
                version: String::new(),
                library: String::new(),
                providers_active: Vec::new(),
                providers_refused: vec![("cpu".into(), unavailable.to_string())],
            },
        }
    }

    fn load(&self, model: &Model) -> Result<Box<dyn LoadedModel>, LoadError> {
        match (model.manifest.runner, &self.tensor, &self.scripted) {
            (Runner::Tensor | Runner::Text | Runner::Stepped, Ok(onnx), _) => onnx.load(model),
            (Runner::Tensor | Runner::Text | Runner::Stepped, Err(unavailable), _) => {
                Err(LoadError::new(model, unavailable.to_string()))
            }
            (Runner::Scripted, _, Some(scripted)) => scripted.load(model),
            (Runner::Scripted, _, None) => {
                Err(LoadError::new(model, "the setting worker.scripted does not allow scripted models"))
            }
        }
    }
}
