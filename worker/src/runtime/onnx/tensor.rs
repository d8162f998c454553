//! The runner `tensor`: named tensors in, named tensors out, one run. It decides nothing but the order: parse, run, write.

use siding_core::{
    model::manifest::Manifest,
    tensor::{Tensors, write_output},
};

use super::{engine::Engine, said, values};
use crate::runtime::{Computation, LoadedModel, RunControl, RunError, State, one_step};

pub(super) struct Loaded {
    manifest: std::sync::Arc<Manifest>,
    engine: Engine,
}

impl Loaded {
    pub(super) fn new(manifest: Manifest, engine: Engine) -> Self {
        Self { manifest: manifest.into(), engine }
    }
}

impl LoadedModel for Loaded {
    fn begin(&mut self, input: &str, from: Option<State>) -> Result<Box<dyn Computation>, RunError> {
        if from.is_some() {
            return Err(RunError::BadCheckpoint("a model of one step has none".into()));
        }
        let tensors = self.manifest.parse_input(input).map_err(|problems| RunError::bad_input(&problems))?;
        let (manifest, engine) = (self.manifest.clone(), self.engine.clone());
        Ok(one_step(move |control| run(&manifest, &engine, tensors, control)))
    }
}

fn run(manifest: &Manifest, engine: &Engine, tensors: Tensors, control: &RunControl) -> Result<String, RunError> {
    let shapes = tensors.iter().map(|(_, tensor)| tensor.shape().to_vec()).collect();
    let inputs = values::inputs(tensors).map_err(|error| RunError::BadInput(said(&error)))?;
    let output = engine.run(inputs, shapes, control, |outputs| values::outputs(&outputs, &manifest.outputs))?;
    write_output(&output).map_err(|error| RunError::OutputTooLarge { bytes: error.bytes, max: error.max })
}
