//! `/v1/jobs`, the changing half: submit, submit under an own id, cancel, run again.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use siding_core::{
    api::{JobView, SubmitRequest, json, path::JobPath},
    id::{IdempotencyKey, JobId},
    problem::{Code, Problem, WrongValue},
    store::JobRecord,
};

use super::{ProducerState, body::Held, prefer::Preference, refusal};
use crate::submit::{Accepted, Submission};

/// Submits a job.
///
/// The answer comes once the job is durable. With `Prefer: wait=n` it comes when the job has ended, or after n seconds.
#[utoipa::path(
    post, path = "/v1/jobs", tag = "jobs", request_body = SubmitRequest,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Makes repeats of this request one job; quoted or bare."),
        ("Prefer" = Option<String>, Header, description = "`wait=n` (at most 60) or `respond-async`."),
        ("traceparent" = Option<String>, Header, description = "W3C trace context; passed on with the job."),
    ),
    responses(
        (status = 202, description = "Accepted, now or by an earlier request with this key.", body = JobView),
        (status = 200, description = "Accepted, and ended within the preferred wait.", body = JobView),
        (status = 400, description = "malformed_json, invalid_request", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "unknown_model, unknown_version", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "idempotency_in_flight", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "body_too_large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "unsupported_media_type", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "invalid_input, broken_model, idempotency_key_reused", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "busy", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn submit(State(state): State<Arc<ProducerState>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    accept(&state, &headers, body, |submission| submission.idempotency_key = key).await
}

/// Submits a job under an id that the caller has chosen.
///
/// The id makes the request idempotent: repeated, it is answered with the same job. An `Idempotency-Key` is not looked at.
#[utoipa::path(
    put, path = "/v1/jobs/{id}", tag = "jobs", request_body = SubmitRequest,
    params(
        ("id" = String, Path, description = "The job's id, a UUID. Version 7 is best: jobs then lie in the order of time."),
        ("Prefer" = Option<String>, Header, description = "`wait=n` (at most 60) or `respond-async`."),
        ("traceparent" = Option<String>, Header, description = "W3C trace context; passed on with the job."),
    ),
    responses(
        (status = 202, description = "Accepted, now or before.", body = JobView),
        (status = 200, description = "Accepted, and ended within the preferred wait.", body = JobView),
        (status = 400, description = "malformed_json, invalid_request", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "unknown_model, unknown_version", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "id_taken", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "body_too_large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "unsupported_media_type", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "invalid_input, broken_model", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "busy", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn put(
    State(state): State<Arc<ProducerState>>,
    JobPath(id): JobPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    accept(&state, &headers, body, |submission| submission.id = Some(id)).await
}

/// Asks for a job's end.
///
/// A queued job is canceled at once; a running one is stopped, which its events tell. Repeating it changes nothing.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/cancel", tag = "jobs",
    params(("id" = String, Path, description = "The job's id.")),
    responses(
        (status = 200, description = "The job is over, by this request or before it.", body = JobView),
        (status = 202, description = "The computation is being stopped.", body = JobView),
        (status = 404, description = "unknown_job", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "busy", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn cancel(State(state): State<Arc<ProducerState>>, JobPath(id): JobPath) -> Result<Response, Problem> {
    let cancelled = state.intake.cancel(id).await.map_err(refusal::problem)?;
    let status = if cancelled.job.state.is_terminal() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(state.reader.show(cancelled.job))).into_response())
}

/// Runs a finished job again, as a new job that names the old one.
///
/// The old job never changes. Not idempotent: each request makes a job.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/retry", tag = "jobs",
    params(("id" = String, Path, description = "The finished job's id.")),
    responses(
        (status = 202, description = "The new job.", body = JobView),
        (status = 404, description = "unknown_job", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "not_finished", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "busy", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn retry(
    State(state): State<Arc<ProducerState>>,
    JobPath(id): JobPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let accepted = state.intake.retry(id).await.map_err(refusal::problem)?;
    answer(&state, accepted, Preference::read(&headers)).await
}

async fn accept(
    state: &ProducerState,
    headers: &HeaderMap,
    body: Body,
    complete: impl FnOnce(&mut Submission),
) -> Result<Response, Problem> {
    let trace = traceparent(headers);
    let read = |body: &[u8]| submission(json::parse(body)?, trace);
    let Held { value: mut submission, room } = state.bodies.read_with(headers, body, read).await?;
    complete(&mut submission);
    let accepted = state.intake.submit(submission).await.map_err(refusal::problem)?;
    // From here on only the store holds the input.
    drop(room);
    answer(state, accepted, Preference::read(headers)).await
}

pub(super) fn submission(request: SubmitRequest, traceparent: Option<String>) -> Result<Submission, Problem> {
    if !request.input.get().starts_with('{') {
        let wrong = WrongValue { pointer: "/input".into(), detail: "must be an object".into() };
        return Err(Problem::new(Code::InvalidRequest, "The input must be a JSON object.").with_errors(vec![wrong]));
    }
    Ok(Submission {
        id: None,
        idempotency_key: None,
        input: request.input.get().into(),
        model: request.model,
        version: request.version,
        expected_ms: request.expected_ms,
        delay_ms: request.delay_ms,
        start_at: request.start_at.map(|start| start.0),
        start_deadline_ms: request.start_deadline_ms,
        run_timeout_ms: request.run_timeout_ms,
        stall_timeout_ms: request.stall_timeout_ms,
        attempts_max: request.attempts_max,
        traceparent,
    })
}

/// The answer for an accepted job: the job as it stands, at once or after the preferred wait.
async fn answer(state: &ProducerState, accepted: Accepted, preference: Preference) -> Result<Response, Problem> {
    let id = accepted.job.id;
    let (status, view) = ended_in_time(state, accepted.job, preference).await?;
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], view).into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location(id));
    if let Some(applied) = preference.applied() {
        headers.insert("preference-applied", applied);
    }
    if !accepted.created {
        headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// The job's view: 200 with its output when it has ended within the preferred wait, else 202 as it was accepted. The job is
/// accepted in any case, so a store that fails now, or answers that hold all the room, are no reason to say otherwise.
async fn ended_in_time(state: &ProducerState, job: JobRecord, preference: Preference) -> Result<(StatusCode, Bytes), Problem> {
    let ended = match preference.wait() {
        Some(_) if job.state.is_terminal() => true,
        Some(within) => state.follower.finished(job.id, within).await.is_some(),
        None => false,
    };
    if ended {
        match whole(state, job.id).await {
            Ok(view) => return Ok((StatusCode::OK, view)),
            Err(problem) => {
                tracing::warn!(job.id = %job.id, problem.code = %problem.code, "an ended job cannot be read back; the caller is told that it was accepted")
            }
        }
    }
    let view = serde_json::to_vec(&state.reader.show(job)).map_err(|error| Problem::internal(&error))?;
    Ok((StatusCode::ACCEPTED, view.into()))
}

async fn whole(state: &ProducerState, job: JobId) -> Result<Bytes, Problem> {
    let record = state.reader.record(job).await?;
    let output = if record.has_output { Some(state.reader.output(job).await?) } else { None };
    state.reader.view(record, output).await?.into_bytes()
}

fn location(job: JobId) -> HeaderValue {
    HeaderValue::from_str(&format!("/v1/jobs/{job}")).expect("a UUID is ASCII")
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let mut values = headers.get_all("idempotency-key").into_iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::new(Code::InvalidRequest, "Idempotency-Key must be sent once."));
    }
    // What is not ASCII is refused by the key's own rule.
    Ok(Some(value.to_str().unwrap_or_default().parse()?))
}

/// The W3C trace context, when it is well-formed; anything else is ignored, as its recommendation asks.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let hex = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let set = |part: &str| part.bytes().any(|b| b != b'0');
    let parts: Vec<&str> = text.splitn(5, '-').collect();
    let [version, trace, parent, flags] = parts.as_slice() else { return None };
    let well_formed =
        hex(version, 2) && *version != "ff" && hex(trace, 32) && set(trace) && hex(parent, 16) && set(parent) && hex(flags, 2);
    well_formed.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_trace_context_is_passed_on() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let rows = [
            (good.to_owned(), true),
            (good.to_uppercase(), false),
            (good.replacen("00", "ff", 1), false),
            (good[..54].to_owned(), false),
            (format!("{good}-x"), false),
            (good.replace("b7ad6b7169203331", "0000000000000000"), false),
            (good.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)), false),
            (String::new(), false),
        ];
        for (text, ok) in rows {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", HeaderValue::from_str(&text).expect("ASCII"));
            assert_eq!(traceparent(&headers).is_some(), ok, "{text:?}");
        }
    }
}
