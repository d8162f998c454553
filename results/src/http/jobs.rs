//! One job's view. An output never changes, so it is remembered; everything else is read from the store each time,
//! because a finished job may still be run again or dropped.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use siding_core::{
    api::{JobView, Output, path::JobPath},
    id::JobId,
    problem::Problem,
};

use super::ResultsState;

/// How long an output is remembered.
const OUTPUT_TTL: Duration = Duration::from_secs(600);

/// Shows a job, with its output once it has succeeded, unless that is large.
#[utoipa::path(
    get, path = "/v1/jobs/{id}", tag = "jobs",
    params(("id" = String, Path, description = "The job's id.")),
    responses(
        (status = 200, description = "The job as it stands.", body = JobView),
        (status = 400, description = "invalid_request", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "unknown_job", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn get(State(state): State<Arc<ResultsState>>, JobPath(id): JobPath) -> Result<Response, Problem> {
    let record = state.reader.record(id).await?;
    let output = if record.has_output { Some(output(&state, id).await?) } else { None };
    let view = state.reader.view(record, output).await?.into_bytes()?;
    Ok(([(header::CONTENT_TYPE, "application/json")], view).into_response())
}

/// The output of a job that has one: remembered, or read and remembered. One that is lost now may be put back.
async fn output(state: &ResultsState, id: JobId) -> Result<Output, Problem> {
    let key = cache_key(id);
    if let Some(text) = state.cache.get(&key).await {
        return state.reader.shown(text).await;
    }
    let output = state.reader.output(id).await?;
    if let Output::Text { text, .. } = &output {
        state.cache.put(&key, text.clone(), OUTPUT_TTL).await;
    }
    Ok(output)
}

fn cache_key(job: JobId) -> String {
    format!("job-output/1/{job}")
}
