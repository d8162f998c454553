//! `POST /v1/jobs:batch`: many jobs in one request. It decides how a batch is read (each job by itself), where its errors point, and how
//! many requests about many jobs are handled at once; what becomes of each job is the intake's. A request whose body has not arrived must
//! never take the place of another: its sender alone decides how long that lasts.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde_json::value::RawValue;
use siding_core::{
    api::{BatchAnswer, BatchItem, BatchOutcome, BatchRequest, BatchStatus, answer::keeping, json},
    limits,
    problem::{Code, Problem, WrongValue},
    store::Acceptance,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    ProducerState,
    jobs::{idempotency_key, submission, traceparent},
    refusal,
};
use crate::submit::{Accepted, Batch, Refusal, Submission};

/// When a caller for whose batch there is no room may come back.
const NO_ROOM_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Room for requests about many jobs, shared by all of them. Clones are the same room.
#[derive(Debug, Clone)]
pub struct Batches {
    submitted: Arc<Semaphore>,
    dealt: Arc<Semaphore>,
}

impl Default for Batches {
    /// Room for `limits::BATCHES_OPEN_MAX` and, apart from those, for `limits::DEALS_OPEN_MAX`.
    fn default() -> Self {
        Self {
            submitted: Arc::new(Semaphore::new(limits::BATCHES_OPEN_MAX)),
            dealt: Arc::new(Semaphore::new(limits::DEALS_OPEN_MAX)),
        }
    }
}

impl Batches {
    /// For a batch, until its answer is written.
    pub(super) fn submit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        open(&self.submitted)
    }

    /// For a request to deal with dead jobs, while it is dealt with.
    pub(super) fn deal(&self) -> Result<OwnedSemaphorePermit, Problem> {
        open(&self.dealt)
    }
}

fn open(room: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    room.clone().try_acquire_owned().map_err(|_| {
        Problem::new(Code::Busy, "As many requests about many jobs are open as this process holds; nothing has happened.")
            .after(NO_ROOM_RETRY_AFTER)
    })
}

/// Submits many jobs in one request.
///
/// Each job is answered by itself, in order: one that is wrong hinders no other. With `"atomic": true` all are accepted or none. What is
/// accepted is one transaction, and durable with the answer.
#[utoipa::path(
    post, path = "/v1/jobs:batch", tag = "jobs", request_body = BatchRequest,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Makes repeats of this request the same jobs: each job without an `id` or `idempotency_key` of its own has this key and its place."),
        ("traceparent" = Option<String>, Header, description = "W3C trace context; passed on with every job."),
    ),
    responses(
        (status = 200, description = "What became of each job.", body = BatchAnswer),
        (status = 400, description = "malformed_json, invalid_request", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "idempotency_in_flight", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "body_too_large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "unsupported_media_type", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "batch_refused: of an atomic batch", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "busy", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn submit(State(state): State<Arc<ProducerState>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let (key, trace) = (idempotency_key(&headers)?, traceparent(&headers));
    let request = state.bodies.read_with(&headers, body, move |body| read(body, trace.as_deref())).await?;
    let open = state.batches.submit()?;
    let (jobs, acceptance) = request.value;
    let outcomes = state.intake.submit_batch(Batch { jobs, key, acceptance }).await.map_err(refusal::problem)?;
    if acceptance == Acceptance::Whole && outcomes.iter().any(Result::is_err) {
        return Err(nothing_accepted(outcomes));
    }
    let outcomes = outcomes.into_iter().enumerate().map(|(index, outcome)| show(&state, index, outcome)).collect();
    let answer = serde_json::to_vec(&BatchAnswer::new(outcomes)).map_err(|error| Problem::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], keeping(answer, open)).into_response())
}

/// Each job of the body, read by itself, and how they hang together.
fn read(body: &[u8], trace: Option<&str>) -> Result<(Vec<Result<Submission, Refusal>>, Acceptance), Problem> {
    let batch: BatchRequest<'_> = json::parse_shell(body)?;
    let unreadable = |problem| Refusal::Unreadable(Box::new(problem));
    let jobs = batch.jobs.into_iter().map(|text| read_job(text, trace).map_err(unreadable)).collect();
    Ok((jobs, if batch.atomic { Acceptance::Whole } else { Acceptance::Each }))
}

fn read_job(text: &RawValue, trace: Option<&str>) -> Result<Submission, Problem> {
    let item: BatchItem = json::parse_job(text.get())?;
    let (id, idempotency_key) = (item.id, item.idempotency_key.clone());
    if id.is_some() && idempotency_key.is_some() {
        let wrong =
            WrongValue { pointer: "/idempotency_key".into(), detail: "cannot stand beside id: each names the job".into() };
        return Err(Problem::new(Code::InvalidRequest, "The job has an id and a key.").with_errors(vec![wrong]));
    }
    Ok(Submission { id, idempotency_key, ..submission(item.into_request(), trace.map(str::to_owned))? })
}

fn show(state: &ProducerState, index: usize, outcome: Result<Accepted, Refusal>) -> BatchOutcome {
    match outcome {
        Ok(Accepted { job, created }) => {
            let status = if created { BatchStatus::Accepted } else { BatchStatus::Existing };
            BatchOutcome { status, job: Some(state.reader.show(job)), problem: None }
        }
        Err(refusal) => {
            let problem = Some(at_place(index, refusal::problem(refusal)));
            BatchOutcome { status: BatchStatus::Refused, job: None, problem }
        }
    }
}

/// The problem of one job with pointers into the batch; a job that is wrong in very many places does not make the answer long.
fn at_place(index: usize, mut problem: Problem) -> Problem {
    problem.errors.truncate(limits::BATCH_JOB_WRONG_VALUES_MAX);
    problem.errors.iter_mut().for_each(|error| error.pointer.insert_str(0, &format!("/jobs/{index}")));
    problem
}

/// The answer to an atomic batch of which some job was refused: each such job with its code, and where the code is about values, those.
fn nothing_accepted(outcomes: Vec<Result<Accepted, Refusal>>) -> Problem {
    let refused = outcomes.into_iter().enumerate().filter_map(|(index, outcome)| Some((index, outcome.err()?)));
    let refused: Vec<(usize, Refusal)> = refused.filter(|(_, refusal)| !matches!(refusal, Refusal::Withheld)).collect();
    let count = refused.len();
    let wrong = refused.into_iter().flat_map(|(index, refusal)| {
        let Problem { code, detail, mut errors, .. } = at_place(index, refusal::problem(refusal));
        if errors.is_empty() {
            errors.push(WrongValue { pointer: format!("/jobs/{index}"), detail });
        }
        errors.into_iter().map(move |error| WrongValue { detail: format!("{code}: {}", error.detail), ..error })
    });
    let errors = wrong.take(limits::BATCH_WRONG_VALUES_MAX).collect();
    let detail = format!("Nothing was accepted, because {count} of the jobs were refused and the batch is atomic.");
    Problem::new(Code::BatchRefused, detail).with_errors(errors)
}
