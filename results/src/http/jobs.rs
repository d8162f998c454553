//! One job: its view and its result. An output never changes, so it is remembered; everything else is read from the store each time,
//! because a finished job may still be run again or dropped.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use siding_core::{
    api::{JobView, Output, path::JobPath},
    id::JobId,
    job,
    problem::{Code, Problem},
    store::JobRecord,
};

use super::ResultsState;

/// How long an output is remembered.
const OUTPUT_TTL: Duration = Duration::from_secs(600);
/// Larger outputs are read from the store each time, so that few large ones do not push out many small ones.
const OUTPUT_BYTES_CACHED_MAX: usize = 256 * 1024;

/// Shows a job, with its output once it has succeeded.
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
    let view = state.reader.view(record, output).await?;
    let view = serde_json::to_vec(&view).map_err(|error| Problem::internal(&error))?;
    Ok(json(view.into()))
}

/// The output of a job that has one: remembered, or read and remembered. One that is lost now may be put back.
async fn output(state: &ResultsState, id: JobId) -> Result<Output, Problem> {
    let key = cache_key(id);
    if let Some(text) = state.cache.get(&key).await {
        return Ok(Output::Text(text));
    }
    let output = state.reader.output(id).await?;
    if let Output::Text(text) = &output
        && text.len() <= OUTPUT_BYTES_CACHED_MAX
    {
        state.cache.put(&key, text.clone(), OUTPUT_TTL).await;
    }
    Ok(output)
}

/// Gives a job's output alone.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/result", tag = "jobs",
    params(("id" = String, Path, description = "The job's id.")),
    responses(
        (status = 200, description = "The model's output.", body = serde_json::Value),
        (status = 400, description = "invalid_request", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "unknown_job", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "not_finished", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "no_result: failed, canceled or expired", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn result(State(state): State<Arc<ResultsState>>, JobPath(id): JobPath) -> Result<Response, Problem> {
    let record = state.reader.record(id).await?;
    match record.state {
        job::State::Succeeded => match state.reader.output(id).await? {
            Output::Text(text) => Ok(json(text)),
            Output::Lost => Err(lost(id)),
        },
        job::State::Queued | job::State::Running | job::State::Cancelling => {
            let detail = format!("Job {id} is {}; its result comes with its terminal event.", record.state);
            Err(Problem::new(Code::NotFinished, detail).about(id))
        }
        job::State::Failed | job::State::Canceled | job::State::Expired => Err(no_result(record)),
    }
}

fn lost(job: JobId) -> Problem {
    let detail = "The job has succeeded, but its output is missing or damaged in the service's blob store.";
    Problem::new(Code::Internal, detail).about(job)
}

fn no_result(record: JobRecord) -> Problem {
    let how = match &record.failure {
        Some(failure) => format!("Job {} has failed: {}", record.id, failure.message),
        None => format!("Job {} is {}.", record.id, record.state),
    };
    Problem::new(Code::NoResult, how).about(record.id).with_failure(record.failure)
}

fn cache_key(job: JobId) -> String {
    format!("job-output/1/{job}")
}

fn json(body: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
