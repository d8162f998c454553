//! `model.toml`: a model's architecture as data. It decides what a valid manifest is and whether an input fits it; it never opens the
//! model's file. Every error names the line and the key, because a person wrote the file and will mend it.

mod check;
pub mod stepped;
pub mod text;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::script::Script;
use crate::{
    id::{ModelName, ModelVersion},
    tensor::{InputProblem, TensorSpec, Tensors, parse_input},
};

pub use check::{Error, Place};

/// The manifest's file name in a version's folder.
pub const FILE_NAME: &str = "model.toml";

/// Which runner carries a model out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runner {
    /// Named tensors in, named tensors out, one run of an ONNX file.
    Tensor,
    /// Texts in; embeddings or labels out, through a tokenizer.
    Text,
    /// A loop around an ONNX file with explicit state.
    Stepped,
    /// Behaviour on request (`model::script`), for tests and benches; only where the settings allow it.
    Scripted,
}

impl Runner {
    /// The word in `model.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tensor => "tensor",
            Self::Text => "text",
            Self::Stepped => "stepped",
            Self::Scripted => "scripted",
        }
    }
}

impl fmt::Display for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A file of the version's folder and what its bytes must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedFile {
    /// A plain file name: never a path.
    pub path: String,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

/// `[file]`: the model's own file and the data files that it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFile {
    /// The ONNX file.
    pub model: CheckedFile,
    /// `[[file.external]]`: its external data, all of it: a model that refers to anything else is refused.
    pub external: Vec<CheckedFile>,
}

impl ModelFile {
    /// Whether one of the files has this name.
    pub(super) fn has(&self, path: &str) -> bool {
        std::iter::once(&self.model).chain(&self.external).any(|file| file.path == path)
    }
}

/// One valid `model.toml`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Manifest {
    /// The model's name; equals its folder's.
    pub name: ModelName,
    /// Its version; equals its folder's.
    pub version: ModelVersion,
    /// What it does, for a person.
    pub description: String,
    /// Under which licence its weights may be used.
    pub license: String,
    /// Where its weights come from.
    pub source: String,
    /// Which runner carries it out.
    pub runner: Runner,
    /// Its file; `None` exactly for `Runner::Scripted`.
    pub file: Option<ModelFile>,
    /// The tensors it takes; empty for `Runner::Scripted`.
    pub inputs: Vec<TensorSpec>,
    /// The tensors it gives; empty for `Runner::Scripted`.
    pub outputs: Vec<TensorSpec>,
    /// `[text]`; set exactly for `Runner::Text`.
    pub text: Option<text::Text>,
    /// `[stepped]`; set exactly for `Runner::Stepped`.
    pub stepped: Option<stepped::Stepped>,
    /// How long a run takes.
    pub cost: Cost,
    /// An input that fits, as JSON text.
    pub example: Option<String>,
    /// SHA-256 of the text that it was parsed from: whatever is said otherwise, it is another one.
    pub sha256: [u8; 32],
}

impl Manifest {
    /// Parses `text`. Also checks that `[example]` fits.
    ///
    /// # Errors
    /// `Error` names the line, the column and the key.
    pub fn parse(text: &str) -> Result<Self, Error> {
        check::parse(text)
    }

    /// Every file of the version's folder that it names.
    pub fn files(&self) -> impl Iterator<Item = &CheckedFile> {
        let own = self.file.iter().flat_map(|file| std::iter::once(&file.model).chain(&file.external));
        let of_text = self.text.iter().map(|text| &text.tokenizer);
        own.chain(of_text).chain(self.stepped.iter().flat_map(stepped::Stepped::files))
    }

    /// Parses a job's input as the tensors that the model takes.
    ///
    /// # Errors
    /// Everything that is wrong; pointers are relative to the input. Always an error for `Runner::Scripted`, which takes no tensors.
    pub fn parse_input(&self, json: &str) -> Result<Tensors, Vec<InputProblem>> {
        match self.runner {
            Runner::Tensor => parse_input(json, &self.inputs),
            runner @ (Runner::Text | Runner::Stepped | Runner::Scripted) => Err(vec![InputProblem {
                pointer: String::new(),
                detail: format!("a {runner} model does not take tensors by their names"),
            }]),
        }
    }

    /// Checks a job's input and returns its size, the number that `cost` multiplies: what `cost.size` names; for a text model
    /// its tokens as far as they can be told without a tokenizer; for a scripted model the milliseconds of a delay; else 0.
    ///
    /// # Errors
    /// Everything that is wrong; pointers are relative to the input.
    pub fn check_input(&self, json: &str) -> Result<f64, Vec<InputProblem>> {
        match self.runner {
            Runner::Tensor => self.parse_input(json).map(|tensors| self.cost.size_in(&tensors)),
            Runner::Text => text::check_input(self, json),
            Runner::Stepped => stepped::check_input(self, json),
            Runner::Scripted => Script::parse(json).map(|script| script.size()).map_err(|problem| vec![problem]),
        }
    }
}

/// `[cost]`: how long one run takes by the size of its input: `base_ms + per_unit_ms * size`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Milliseconds that every run takes.
    pub base_ms: f64,
    /// Milliseconds for each unit of size.
    #[serde(default)]
    pub per_unit_ms: f64,
    /// What the size is; without it only `base_ms` counts. A text model's size is always its tokens (`text::Texts::size`), a scripted model's
    /// the milliseconds of a delay.
    #[serde(default)]
    pub size: Option<SizeOf>,
}

impl Cost {
    /// The size of an input that was checked against the same manifest.
    fn size_in(&self, tensors: &Tensors) -> f64 {
        let Some((size, tensor)) = self.size.as_ref().and_then(|size| Some((size, tensors.get(&size.input)?))) else {
            return 0.0;
        };
        match size.by {
            #[expect(clippy::cast_precision_loss, reason = "at most limits::TENSOR_ELEMENTS_MAX")]
            SizeBy::Elements => tensor.data().len() as f64,
            SizeBy::Value => tensor.data().first_number().unwrap_or_default().max(0.0),
        }
    }
}

/// Which number of the input is its size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeOf {
    /// The input tensor's name.
    pub input: String,
    /// Which number of it.
    pub by: SizeBy,
}

/// Which number of an input tensor is its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SizeBy {
    /// How many elements it has.
    Elements,
    /// The value of its only element.
    Value,
}

#[cfg(test)]
mod tests;
