//! `model.toml`: a model's architecture as data.

use serde::{Deserialize, Serialize};

/// `[cost]`: how long one run takes by the size of its input: `base_ms + per_unit_ms * size`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Milliseconds that every run takes.
    pub base_ms: f64,
    /// Milliseconds for each unit of size.
    #[serde(default)]
    pub per_unit_ms: f64,
    /// What the size is; without it only `base_ms` counts.
    #[serde(default)]
    pub size: Option<SizeOf>,
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
