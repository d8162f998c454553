//! From texts to the tensors that a model takes: tokens, micro-batches, padding. It decides which input takes what, as the manifest says; it
//! never runs the model.

use siding_core::{
    limits,
    model::{manifest::text::Text, repository::Model},
    tensor::{Datatype, Tensor, TensorData, TensorSpec, Tensors},
};

use super::{
    plan::micro_batches,
    tokenizer::{Encoded, Tokenizer},
};
use crate::runtime::{LoadError, RunControl, RunError};

/// One model's `[text]` with its tokenizer.
pub(super) struct Reader {
    pub(super) text: Text,
    inputs: Vec<TensorSpec>,
    tokenizer: Tokenizer,
}

impl Reader {
    /// Loads the tokenizer's file.
    pub(super) fn new(model: &Model) -> Result<Self, LoadError> {
        let manifest = &model.manifest;
        let text = manifest.text.clone().ok_or_else(|| LoadError::new(model, "its manifest has no [text]"))?;
        let bytes = model.read(&text.tokenizer).map_err(|error| LoadError::new(model, error.to_string()))?;
        let tokenizer =
            Tokenizer::new(&bytes, &text).map_err(|why| LoadError::new(model, format!("{}: {why}", text.tokenizer.path)))?;
        Ok(Self { text, inputs: manifest.inputs.clone(), tokenizer })
    }

    /// The tokens of each text; ends between two texts when the run is stopped.
    pub(super) fn read(&self, texts: &[String], control: &RunControl) -> Result<Vec<Encoded>, RunError> {
        let mut read = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            if control.is_stopped() {
                return Err(RunError::Stopped);
            }
            let encoded = self.tokenizer.encode(text).map_err(|why| RunError::Failed(format!("text {index}: {why}")))?;
            if encoded.ids.is_empty() {
                return Err(RunError::BadInput(format!("/texts/{index} has no tokens")));
            }
            read.push(encoded);
        }
        Ok(read)
    }

    /// The model's inputs for the texts of one micro-batch, each padded to the longest.
    pub(super) fn tensors(&self, texts: &[Encoded], batch: &[usize]) -> Result<Tensors, RunError> {
        let tokens = batch.iter().map(|&text| texts[text].ids.len()).max().unwrap_or_default();
        let mut tensors = Tensors::new();
        for spec in &self.inputs {
            let mut numbers = Vec::with_capacity(batch.len() * tokens);
            for (row, &text) in batch.iter().enumerate() {
                let Encoded { ids, types, .. } = &texts[text];
                let mut pad = 0;
                if spec.name == self.text.ids {
                    numbers.extend(ids);
                    pad = self.text.pad_id;
                } else if spec.name == self.text.mask {
                    numbers.extend(ids.iter().map(|_| 1));
                } else {
                    numbers.extend(types);
                }
                numbers.resize((row + 1) * tokens, pad);
            }
            let data = match spec.datatype {
                // The tokenizer's ids were checked to be small enough for this.
                Datatype::Int32 => TensorData::Int32(numbers.into_iter().map(u32::cast_signed).collect()),
                _ => TensorData::Int64(numbers.into_iter().map(i64::from).collect()),
            };
            Tensor::new(vec![batch.len(), tokens], data)
                .and_then(|tensor| tensors.push(&spec.name, tensor))
                .map_err(|error| RunError::Failed(format!("input {}: {error}", spec.name)))?;
        }
        Ok(tensors)
    }
}

/// Which texts run together.
pub(super) fn plan(texts: &[Encoded]) -> Vec<Vec<usize>> {
    let lengths: Vec<_> = texts.iter().map(|text| text.ids.len()).collect();
    micro_batches(&lengths, limits::MICRO_BATCH_TOKENS_MAX)
}
