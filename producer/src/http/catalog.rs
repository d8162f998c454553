//! `/v1/models` and `/v1/lanes`: what can be run, and where it waits.

use std::sync::Arc;

use axum::{Json, extract::State};
use siding_core::{
    api::{LaneList, LaneView, ModelList, path::ModelPath},
    id::ModelName,
    problem::{Code, Problem},
    retry::{Policy, retry},
};

use super::ProducerState;

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
