//! Models on the wire: what a caller may know of a model. No path and no digest of the repository is shown here.

use serde::{Deserialize, Serialize};

use crate::id::{ModelName, ModelVersion};

/// What the repository holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ModelList {
    /// The versions that can be served, by model, each model's newest first: the one that jobs without `version` get.
    pub models: Vec<ModelView>,
    /// The folders that cannot be served.
    pub broken: Vec<BrokenView>,
}

/// One version of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ModelView {
    /// The model's name.
    #[schema(value_type = String)]
    pub name: ModelName,
    /// The version's name.
    #[schema(value_type = String)]
    pub version: ModelVersion,
    /// What runs it, for example `tensor`.
    pub runner: String,
    /// What the model is, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its licence, as an SPDX expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// The tensors that `input` must hold.
    pub inputs: Vec<TensorView>,
    /// The tensors that `output` holds.
    pub outputs: Vec<TensorView>,
    /// How long a run is expected to take for jobs without `expected_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostView>,
}

/// A folder of the repository that cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BrokenView {
    /// Its place in the repository: `<model>` or `<model>/<version>`.
    pub folder: String,
    /// What is wrong with it: which file, which key, and what would be right.
    pub error: String,
}

/// One named tensor of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TensorView {
    /// Its name.
    pub name: String,
    /// Its element type, in the words of the Open Inference Protocol: `FP32`, `INT64`, `BOOL`, …
    pub datatype: String,
    /// Its dimensions.
    pub shape: Vec<DimensionView>,
}

/// One dimension of a tensor: a size, -1 for any size, or a name. Dimensions of one name have one size in one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum DimensionView {
    /// This size, or any when it is -1.
    Size(i64),
    /// Any size, the same wherever the name stands.
    Name(String),
}

/// A cost profile: one run takes `base_ms + per_unit_ms * size`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CostView {
    /// Milliseconds that every run takes.
    pub base_ms: f64,
    /// Milliseconds for each unit of the input's size.
    pub per_unit_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_models_looks_like_this_for_ever() {
        let tensor = |name: &str| TensorView {
            name: name.into(),
            datatype: "FP32".into(),
            shape: vec![DimensionView::Name("batch".into()), DimensionView::Size(-1), DimensionView::Size(4)],
        };
        let model = ModelView {
            name: "spin".parse().expect("name"),
            version: "2".parse().expect("name"),
            runner: "tensor".into(),
            description: Some("Spins.".into()),
            license: Some("MIT".into()),
            inputs: vec![tensor("x")],
            outputs: vec![tensor("y")],
            cost: Some(CostView { base_ms: 1.0, per_unit_ms: 0.5 }),
        };
        let broken = BrokenView { folder: "spin/1".into(), error: "model.toml: runner is missing".into() };
        let list = ModelList { models: vec![model], broken: vec![broken] };
        let golden = concat!(
            r#"{"models":[{"name":"spin","version":"2","runner":"tensor","description":"Spins.","license":"MIT","#,
            r#""inputs":[{"name":"x","datatype":"FP32","shape":["batch",-1,4]}],"#,
            r#""outputs":[{"name":"y","datatype":"FP32","shape":["batch",-1,4]}],"cost":{"base_ms":1.0,"per_unit_ms":0.5}}],"#,
            r#""broken":[{"folder":"spin/1","error":"model.toml: runner is missing"}]}"#
        );
        assert_eq!(serde_json::to_string(&list).expect("json"), golden);
        assert_eq!(serde_json::from_str::<ModelList>(golden).expect("json"), list);
    }
}
