//! Health of a process, whatever its roles, and the pages of problem codes. Live says that the process answers; ready says that callers may
//! be sent to it: the store can be read and it is not leaving. The broker has no say: a producer without it accepts into the store, and results
//! read from there.

use std::{sync::Arc, time::Duration};

use axum::extract::{Path, State, rejection::PathRejection};
use siding_core::{
    drain::Drain,
    id::JobId,
    problem::{Code, Problem},
    store::Jobs,
};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use siding_worker::warming::Warming;

use crate::services::{Leaving, Services};

/// How long readiness waits for the store.
const READY_PATIENCE: Duration = Duration::from_secs(2);
/// When to ask again.
const READY_RETRY_AFTER: Duration = Duration::from_secs(1);

struct HealthState {
    jobs: Arc<dyn Jobs>,
    leaving: Leaving,
    warming: Warming,
    front: Drain,
}

/// The routes that every process has.
pub fn router(services: &Services) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(live)).routes(routes!(ready)).routes(routes!(problem_page)).with_state(Arc::new(
        HealthState {
            jobs: services.seams().jobs.clone(),
            leaving: services.leaving().clone(),
            warming: services.warming().clone(),
            front: services.front().clone(),
        },
    ))
}

/// Says that the process answers.
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, description = "It does.", body = String)))]
async fn live() -> &'static str {
    "live\n"
}

/// Says whether the process can serve.
#[utoipa::path(
    get, path = "/health/ready", tag = "health",
    responses(
        (status = 200, description = "It can.", body = String),
        (status = 503, description = "unavailable: the store cannot be read, the worker is loading the models of worker.preload, or the process is stopping", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn ready(State(state): State<Arc<HealthState>>) -> Result<&'static str, Problem> {
    if state.leaving.is_leaving() || state.front.is_stopping() {
        return Err(Problem::unavailable("The service is stopping.", READY_RETRY_AFTER));
    }
    if state.warming.is_warming() {
        return Err(Problem::unavailable("The worker is loading its models.", READY_RETRY_AFTER));
    }
    // Any read will do; this one finds nothing by its primary key.
    let nobody = JobId::from(Uuid::nil());
    match tokio::time::timeout(READY_PATIENCE, state.jobs.get(nobody)).await {
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
async fn problem_page(code: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let code = code.ok().and_then(|Path(code)| code.parse::<Code>().ok());
    code.map(Code::page)
        .ok_or_else(|| Problem::new(Code::UnknownPath, "There is no problem code of that name; docs/api.md lists them."))
}
