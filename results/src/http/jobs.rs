//! One job: its view and its result. What is finished never changes, so its view is remembered; whether it is finished is always
//! read from the store or remembered with it.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use siding_core::{
    api::{JobView, path::JobPath},
    id::JobId,
    job,
    problem::{Code, Problem},
    store::JobRecord,
};

use super::ResultsState;

/// How long a finished job's view is remembered.
const VIEW_TTL: Duration = Duration::from_secs(600);
/// Larger views are read from the store each time, so that few large outputs do not push out many small ones.
const VIEW_BYTES_CACHED_MAX: usize = 256 * 1024;

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
    let key = cache_key(id);
    if let Some(view) = state.cache.get(&key).await {
        return Ok(json(view));
    }
    let record = state.reader.record(id).await?;
    let finished = record.state.is_terminal();
    let has_output = record.has_output;
    let view = state.reader.view(record).await?;
    // An output that is missing now may be put back.
    let whole = has_output == view.output.is_some();
    let view = Bytes::from(serde_json::to_vec(&view).map_err(|error| Problem::internal(&error))?);
    if finished && whole && view.len() <= VIEW_BYTES_CACHED_MAX {
        state.cache.put(&key, view.clone(), VIEW_TTL).await;
    }
    Ok(json(view))
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
        job::State::Succeeded => {
            let output = state.reader.output(id).await?;
            Ok(json(String::from(Box::<str>::from(output)).into()))
        }
        job::State::Queued | job::State::Running | job::State::Cancelling => {
            let detail = format!("Job {id} is {}; its result comes with its terminal event.", record.state);
            Err(Problem::new(Code::NotFinished, detail).about(id))
        }
        job::State::Failed | job::State::Canceled | job::State::Expired => Err(no_result(record)),
    }
}

fn no_result(record: JobRecord) -> Problem {
    let how = match &record.failure {
        Some(failure) => format!("Job {} has failed: {}", record.id, failure.message),
        None => format!("Job {} is {}.", record.id, record.state),
    };
    Problem::new(Code::NoResult, how).about(record.id).with_failure(record.failure)
}

fn cache_key(job: JobId) -> String {
    format!("job-view/1/{job}")
}

fn json(body: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
