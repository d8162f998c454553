//! `/v1/models` and `/v1/lanes`: what can be run, and where it waits.

use std::sync::Arc;

use axum::{Json, extract::State};
use siding_core::{
    api::{BrokenView, CostView, DimensionView, LaneList, LaneView, ModelList, ModelView, TensorView, path::ModelPath},
    id::ModelName,
    model::{
        catalog,
        repository::{Broken, Model},
    },
    problem::{Code, Problem},
    retry::{Policy, retry},
    tensor::{Dim, TensorSpec},
};

use super::{Catalog, ProducerState};

impl Catalog for catalog::Catalog {
    fn list(&self) -> ModelList {
        let repository = self.current();
        let broken = |broken: &Broken| BrokenView { folder: broken.folder.clone(), error: broken.why.clone() };
        ModelList {
            models: repository.models().iter().map(|model| view(model)).collect(),
            broken: repository.broken().iter().map(broken).collect(),
        }
    }
}

fn view(model: &Model) -> ModelView {
    let manifest = &model.manifest;
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ModelView {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        runner: manifest.runner.to_string(),
        description: given(&manifest.description),
        license: given(&manifest.license),
        inputs: manifest.inputs.iter().map(tensor).collect(),
        outputs: manifest.outputs.iter().map(tensor).collect(),
        cost: Some(CostView { base_ms: manifest.cost.base_ms, per_unit_ms: manifest.cost.per_unit_ms }),
    }
}

fn tensor(spec: &TensorSpec) -> TensorView {
    let dimension = |dim: &Dim| match dim {
        Dim::Fixed(size) => DimensionView::Size(i64::try_from(*size).unwrap_or(i64::MAX)),
        Dim::Symbol(symbol) => DimensionView::Name(symbol.clone()),
    };
    TensorView {
        name: spec.name.clone(),
        datatype: spec.datatype.as_str().to_owned(),
        shape: spec.shape.iter().map(dimension).collect(),
    }
}

/// Lists the models.
#[utoipa::path(
    get, path = "/v1/models", tag = "models",
    responses((status = 200, description = "Every version that can be served, and every folder that cannot.", body = ModelList)),
)]
pub async fn models(State(state): State<Arc<ProducerState>>) -> Json<ModelList> {
    Json(state.catalog.list())
}

/// Shows one model: the same list, of this model alone.
#[utoipa::path(
    get, path = "/v1/models/{name}", tag = "models",
    params(("name" = String, Path, description = "The model's name.")),
    responses(
        (status = 200, description = "The model's versions, newest first.", body = ModelList),
        (status = 404, description = "unknown_model", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn model(State(state): State<Arc<ProducerState>>, ModelPath(name): ModelPath) -> Result<Json<ModelList>, Problem> {
    let mut list = state.catalog.list();
    list.models.retain(|model| model.name == name);
    list.broken.retain(|broken| is_of(&broken.folder, &name));
    if list.models.is_empty() && list.broken.is_empty() {
        let detail = format!("There is no model {name}; GET /v1/models lists those there are.");
        return Err(Problem::new(Code::UnknownModel, detail));
    }
    Ok(Json(list))
}

/// Whether a folder of the repository belongs to the model.
fn is_of(folder: &str, name: &ModelName) -> bool {
    folder.split('/').next() == Some(name.as_str())
}

/// Lists the lanes, with what waits and runs in each.
#[utoipa::path(
    get, path = "/v1/lanes", tag = "lanes",
    responses(
        (status = 200, description = "The lanes, shortest first.", body = LaneList),
        (status = 503, description = "unavailable", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn lanes(State(state): State<Arc<ProducerState>>) -> Result<Json<LaneList>, Problem> {
    let counts = retry(Policy::StoreRequest, || state.reader.jobs().counts()).await?;
    let lanes = state.lanes.as_slice().iter().map(|lane| LaneView::new(lane, &counts)).collect();
    Ok(Json(LaneList { lanes }))
}
