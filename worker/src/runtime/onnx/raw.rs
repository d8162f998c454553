//! The raw loop: a session run again and again on the same tensors (of a stepped model: those of its first run), with nothing of ours around it. It exists only as the limit that
//! `siding bench inference` measures beside the system; no job runs here.

use ort::{
    session::{Session, SessionInputValue},
    value::DynValue,
};
use siding_core::model::repository::Model;

use super::{Onnx, files, said, values};
use crate::runtime::{LoadError, RunError};

/// One session and the tensors that it runs on.
pub struct Raw {
    session: Session,
    inputs: Vec<(String, DynValue)>,
    /// How often a job of this input runs the session, at most.
    pub runs: u64,
}

impl Onnx {
    /// A raw loop over the model on `input`, a job's input as JSON text; the session is made like a slot's.
    ///
    /// # Errors
    /// `LoadError` when the model or the input does not load.
    pub fn raw(&self, model: &Model, input: &str) -> Result<Raw, LoadError> {
        let files = files::read(model).map_err(|why| LoadError::new(model, why))?;
        let session = self.session(&files).map_err(|error| LoadError::new(model, said(&error)))?;
        if model.manifest.stepped.is_some() {
            let loaded = self.stepped(model)?;
            let (inputs, runs) = loaded.first(input).map_err(|error| LoadError::new(model, error.to_string()))?;
            return Ok(Raw { session, inputs, runs });
        }
        let tensors = model
            .manifest
            .parse_input(input)
            .map_err(|problems| LoadError::new(model, RunError::bad_input(&problems).to_string()))?;
        let inputs = values::owned(tensors).map_err(|error| LoadError::new(model, said(&error)))?;
        Ok(Raw { session, inputs, runs: 1 })
    }
}

impl Raw {
    /// Runs once and drops the outputs. Blocks.
    ///
    /// # Errors
    /// `RunError::Failed`.
    pub fn run(&mut self) -> Result<(), RunError> {
        let inputs: Vec<_> = self.inputs.iter().map(|(name, value)| (name.as_str(), SessionInputValue::from(value))).collect();
        self.session.run(inputs).map(drop).map_err(|error| RunError::Failed(said(&error)))
    }
}
