//! `[text]`: what stands between a job's texts and a model's tensors.

use serde::Deserialize;

use super::Manifest;
use crate::tensor::InputProblem;

/// `[text]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {}

pub(super) fn check(_manifest: &Manifest) -> Result<(), String> {
    Err("runner: \"text\" is not supported".into())
}

pub(super) fn check_input(_manifest: &Manifest, _json: &str) -> Result<f64, Vec<InputProblem>> {
    Err(Vec::new())
}
