//! Health and the pages of problem codes. Live says that the process answers; ready says that it can serve: the store can be read
//! and the service is not stopping.

use std::{sync::Arc, time::Duration};

use axum::extract::{Path, State, rejection::PathRejection};
use siding_core::{
    id::JobId,
    problem::{Code, Problem},
};
use uuid::Uuid;

use super::ResultsState;

/// How long readiness waits for the store.
const READY_PATIENCE: Duration = Duration::from_secs(2);
/// When to ask again.
const READY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Says that the process answers.
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, description = "It does.", body = String)))]
pub async fn live() -> &'static str {
    "live\n"
}

/// Says whether the service can serve.
#[utoipa::path(
    get, path = "/health/ready", tag = "health",
    responses(
        (status = 200, description = "It can.", body = String),
        (status = 503, description = "unavailable: the store cannot be read, or the service is stopping", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn ready(State(state): State<Arc<ResultsState>>) -> Result<&'static str, Problem> {
    if state.drain.is_stopping() {
        return Err(Problem::unavailable("The service is stopping.", READY_RETRY_AFTER));
    }
    // Any read will do; this one finds nothing by its primary key.
    let nobody = JobId::from(Uuid::nil());
    match tokio::time::timeout(READY_PATIENCE, state.reader.jobs().get(nobody)).await {
        Ok(read) => read.map(|_| "ready\n").map_err(Problem::from),
        Err(_) => Err(Problem::unavailable("The store does not answer.", READY_RETRY_AFTER)),
    }
}

/// Explains a problem code: what it means and what to do.
#[utoipa::path(
    get, path = "/problems/{code}", tag = "health",
    params(("code" = String, Path, description = "The `code` of a problem.")),
    responses(
        (status = 200, description = "The explanation, as plain text.", body = String),
        (status = 404, description = "unknown_path", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn problem_page(code: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let code = code.ok().and_then(|Path(code)| code.parse::<Code>().ok());
    code.map(Code::page)
        .ok_or_else(|| Problem::new(Code::UnknownPath, "There is no problem code of that name; docs/api.md lists them."))
}
