//! `[stepped]`: a loop around a model as data.

use serde::Deserialize;

use super::Manifest;
use crate::tensor::InputProblem;

/// `[stepped]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stepped {}

pub(super) fn check(_manifest: &Manifest) -> Result<(), String> {
    Err("runner: \"stepped\" is not supported".into())
}

pub(super) fn check_input(_manifest: &Manifest, _json: &str) -> Result<f64, Vec<InputProblem>> {
    Err(Vec::new())
}
