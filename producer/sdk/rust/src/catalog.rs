//! What a server can run: its models and its lanes, as it lists them.

use serde::{Deserialize, Serialize};

/// Every model that a server knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Models {
    /// Those that can run.
    pub models: Vec<Model>,
    /// Folders that cannot be served, each with the reason.
    #[serde(default)]
    pub broken: Vec<BrokenModel>,
}

/// One version of a model.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What runs it.
    #[serde(default)]
    pub runner: String,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// Its licence.
    #[serde(default)]
    pub license: Option<String>,
    /// What goes in.
    #[serde(default)]
    pub inputs: Vec<Tensor>,
    /// What comes out.
    #[serde(default)]
    pub outputs: Vec<Tensor>,
    /// How long one run takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
}

/// One named tensor of a model.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its element type in the words of the Open Inference Protocol.
    pub datatype: String,
    /// Its dimensions: numbers, or names for those that may vary.
    #[serde(default)]
    pub shape: Vec<serde_json::Value>,
}

/// How long one run takes by the size of its input: `base_ms + per_unit_ms * size`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Cost {
    /// Milliseconds that every run takes.
    #[serde(default)]
    pub base_ms: f64,
    /// Milliseconds for each unit of size.
    #[serde(default)]
    pub per_unit_ms: f64,
}

/// A model's folder that cannot be served.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BrokenModel {
    /// Which one.
    pub folder: String,
    /// Why not.
    pub error: String,
}

/// One lane and what is in it now.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lane {
    /// Its name.
    pub name: String,
    /// Longest expected duration that belongs here, in milliseconds; the last lane has none.
    #[serde(default)]
    pub expected_ms_max: Option<u64>,
    /// When its deliveries are settled.
    #[serde(default)]
    pub ack: String,
    /// The share of a worker's slots that it and all longer lanes may hold together.
    #[serde(default)]
    pub slot_share_max: f64,
    /// Jobs that are due and wait.
    #[serde(default)]
    pub queued: u64,
    /// Jobs that wait for their time.
    #[serde(default)]
    pub scheduled: u64,
    /// Jobs that run.
    #[serde(default)]
    pub running: u64,
    /// How long the oldest due job has waited, in milliseconds.
    #[serde(default)]
    pub oldest_due_ms: Option<u64>,
}
