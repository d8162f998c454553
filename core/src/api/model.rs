//! Models on the wire.

use serde::{Deserialize, Serialize};

use crate::id::{ModelName, ModelVersion};

/// The models of the repository, by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ModelList {
    /// The models.
    pub models: Vec<ModelView>,
}

/// One model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ModelView {
    /// Its name.
    #[schema(value_type = String)]
    pub name: ModelName,
    /// Its versions, oldest first; jobs that name none get the last one that can be served.
    pub versions: Vec<VersionView>,
}

/// One version of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct VersionView {
    /// Its name.
    #[schema(value_type = String)]
    pub version: ModelVersion,
    /// Why it cannot be served; absent when it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
    /// What runs it, for example `tensor`; absent when broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
    /// What the model is, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The tensors that `input` must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<TensorView>,
    /// The tensors that `output` holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<TensorView>,
    /// How long a run is expected to take for jobs without `expected_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostView>,
}

/// One named tensor of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TensorView {
    /// Its name.
    pub name: String,
    /// Its element type, in the words of the Open Inference Protocol: `FP32`, `INT64`, `BOOL`, …
    pub datatype: String,
    /// Its dimensions; -1 stands for any size.
    pub shape: Vec<i64>,
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
    fn a_model_looks_like_this_for_ever() {
        let tensor = |name: &str| TensorView { name: name.into(), datatype: "FP32".into(), shape: vec![-1, 4] };
        let name = |text: &str| text.parse().expect("name");
        let broken = VersionView {
            version: name("1"),
            broken: Some("model.toml: runner is missing".into()),
            runner: None,
            description: None,
            inputs: vec![],
            outputs: vec![],
            cost: None,
        };
        let served = VersionView {
            version: name("2"),
            broken: None,
            runner: Some("tensor".into()),
            description: Some("Spins.".into()),
            inputs: vec![tensor("x")],
            outputs: vec![tensor("y")],
            cost: Some(CostView { base_ms: 1.0, per_unit_ms: 0.5 }),
        };
        let model = ModelView { name: "spin".parse().expect("name"), versions: vec![broken, served] };
        let golden = concat!(
            r#"{"name":"spin","versions":[{"version":"1","broken":"model.toml: runner is missing"},{"version":"2","#,
            r#""runner":"tensor","description":"Spins.","inputs":[{"name":"x","datatype":"FP32","shape":[-1,4]}],"#,
            r#""outputs":[{"name":"y","datatype":"FP32","shape":[-1,4]}],"cost":{"base_ms":1.0,"per_unit_ms":0.5}}]}"#
        );
        assert_eq!(serde_json::to_string(&model).expect("json"), golden);
        assert_eq!(serde_json::from_str::<ModelView>(golden).expect("json"), model);
    }
}
