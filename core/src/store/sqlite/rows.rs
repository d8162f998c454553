//! Rows to records and records to rows, purely. It decides how each field is spelled in SQL; a row that cannot be read back is
//! `Broken`, never a default.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::{Row, sqlite::SqliteRow};

use super::errors::{self, broken};
use crate::{
    blob::hex,
    clock::Timestamp,
    estimate::{self, Estimate},
    id::{Attempt, EventSeq, IdempotencyKey, JobId, LaneName, ModelName, ModelVersion, WorkerId},
    job::{Event, Failure, FailureCode, State},
    limits,
    store::{
        DueJob, Error, JobRecord, NewJob, Payload, Source,
        decide::{NewEvent, Standing, Stored},
    },
};

/// A job as one JSON array in the order of `JobRow`, of a table called `j`, as a literal for `concat!`. One text for each job, or for
/// a whole group (`json_group_array`), instead of a row of columns: handing rows over costs a wake-up for every row and
/// an allocation for every column, more than reading them does.
macro_rules! job_array {
    () => {
        "json_array(j.id, j.model, j.version, j.lane, j.state, j.attempt, j.failures, j.attempts_max, j.event_seq, \
         j.created_at, j.due_at, j.published_at, j.start_deadline_at, j.run_timeout_ms, j.started_at, j.finished_at, \
         j.worker, j.lease_until, j.cancel_requested_at, j.failure_code, j.failure_message, j.p50_ms, j.p90_ms, \
         j.estimate_source, j.retry_of, j.traceparent, j.retried_by, j.dropped_at)"
    };
}
pub(super) use job_array;

/// What `job_array!()` gives.
#[derive(Deserialize)]
struct JobRow {
    id: JobId,
    model: ModelName,
    version: ModelVersion,
    lane: LaneName,
    state: State,
    attempt: Attempt,
    failures: u32,
    attempts_max: u32,
    event_seq: EventSeq,
    created_at: Timestamp,
    due_at: Timestamp,
    published_at: Option<Timestamp>,
    start_deadline_at: Option<Timestamp>,
    run_timeout_ms: u64,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    worker: Option<WorkerId>,
    lease_until: Option<Timestamp>,
    cancel_requested_at: Option<Timestamp>,
    failure_code: Option<FailureCode>,
    failure_message: Option<String>,
    p50_ms: f64,
    p90_ms: f64,
    estimate_source: estimate::Source,
    retry_of: Option<JobId>,
    traceparent: Option<String>,
    retried_by: Option<JobId>,
    dropped_at: Option<Timestamp>,
}

/// Texts of `job_array!()` or of groups of it, as jobs.
pub(super) fn stored(rows: &[SqliteRow]) -> Result<Vec<Stored>, Error> {
    let mut stored: Vec<Stored> = Vec::new();
    for row in rows {
        let group: Vec<JobRow> = json(row, "a group of jobs")?;
        stored.extend(group.into_iter().map(Stored::from));
    }
    Ok(stored)
}

/// The text of a group of jobs with their inputs (inline, blob).
pub(super) fn stored_with_inputs(rows: &[SqliteRow]) -> Result<(Vec<Stored>, Vec<Payload>), Error> {
    let mut jobs = Vec::new();
    let mut inputs = Vec::new();
    for row in rows {
        let group: Vec<(JobRow, Option<Arc<str>>, Option<String>)> = json(row, "a group of jobs with inputs")?;
        for (job, inline, blob) in group {
            let input = payload(inline, blob.as_deref())?;
            inputs.push(input.ok_or_else(|| broken("a job has an input", sqlx::Error::RowNotFound))?);
            jobs.push(job.into());
        }
    }
    Ok((jobs, inputs))
}

/// The text of a group of jobs with their idempotency key and the hexadecimal digits of their fingerprint.
pub(super) fn standing(rows: &[SqliteRow]) -> Result<Vec<Standing>, Error> {
    let mut standing = Vec::new();
    for row in rows {
        let group: Vec<(JobRow, Option<String>, &str)> = json(row, "a group of standing jobs")?;
        for (job, idempotency_key, digits) in group {
            let fingerprint = unhex(digits).ok_or_else(|| broken("a fingerprint has 32 bytes", sqlx::Error::RowNotFound))?;
            standing.push(Standing { job: Stored::from(job).job, idempotency_key, fingerprint });
        }
    }
    Ok(standing)
}

fn unhex(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    (digits.len() == 64).then_some(bytes)
}

/// The text of one job.
pub(super) fn job(row: &SqliteRow) -> Result<JobRecord, Error> {
    json::<JobRow>(row, "a job").map(|job| Stored::from(job).job)
}

/// The row's first column, a JSON text.
fn json<'r, T: Deserialize<'r>>(row: &'r SqliteRow, what: &'static str) -> Result<T, Error> {
    let text: &str = row.try_get(0).map_err(errors::of)?;
    serde_json::from_str(text).map_err(|error| broken(what, error))
}

impl From<JobRow> for Stored {
    fn from(row: JobRow) -> Self {
        let failure = row.failure_code.zip(row.failure_message).map(|(code, message)| Failure { code, message });
        let job = JobRecord {
            id: row.id,
            model: row.model,
            version: row.version,
            lane: row.lane,
            estimate: Estimate { p50_ms: row.p50_ms, p90_ms: row.p90_ms, source: row.estimate_source },
            state: row.state,
            attempt: row.attempt,
            failures: row.failures,
            attempts_max: row.attempts_max,
            created_at: row.created_at,
            due_at: row.due_at,
            start_deadline_at: row.start_deadline_at,
            run_timeout: Duration::from_millis(row.run_timeout_ms),
            started_at: row.started_at,
            finished_at: row.finished_at,
            worker: row.worker,
            failure,
            // The schema holds that exactly the succeeded jobs have one.
            has_output: row.state == State::Succeeded,
            event_seq: row.event_seq,
            retry_of: row.retry_of,
            retried_by: row.retried_by,
            dropped_at: row.dropped_at,
            traceparent: row.traceparent,
        };
        Self {
            job,
            lease_until: row.lease_until,
            published_at: row.published_at,
            cancel_requested_at: row.cancel_requested_at,
            output: None,
            changed: false,
        }
    }
}

/// A payload from its two columns; `None` when both are empty.
fn payload(inline: Option<Arc<str>>, blob: Option<&str>) -> Result<Option<Payload>, Error> {
    match (inline, blob) {
        (Some(text), _) => Ok(Some(Payload::Inline(text))),
        (None, Some(blob)) => {
            blob.parse().map(|blob| Some(Payload::Blob(blob))).map_err(|error| broken("a blob's reference", error))
        }
        (None, None) => Ok(None),
    }
}

/// A payload from a row's first two columns, inline and blob.
pub(super) fn payload_of(row: &SqliteRow) -> Result<Option<Payload>, Error> {
    let inline: Option<&str> = row.try_get(0).map_err(errors::of)?;
    payload(inline.map(Arc::from), row.try_get(1).map_err(errors::of)?)
}

/// A job in the outbox.
#[derive(Deserialize)]
struct DueRow {
    id: JobId,
    attempt: Attempt,
    lane: LaneName,
    model: ModelName,
    version: ModelVersion,
    due_at: Timestamp,
    p50_ms: f64,
    traceparent: Option<String>,
}

/// The text of a job in the outbox: an array in the order of `DueRow`.
pub(super) fn due(row: &SqliteRow) -> Result<DueJob, Error> {
    let row: DueRow = json(row, "a due job")?;
    Ok(DueJob {
        id: row.id,
        attempt: row.attempt,
        lane: row.lane,
        model: row.model,
        version: row.version,
        due_at: row.due_at,
        expected_ms: row.p50_ms,
        traceparent: row.traceparent,
    })
}

/// A row of `event`: its job, seq, kind, at, attempt and data.
pub(super) fn event(row: &SqliteRow) -> Result<Event, Error> {
    let read = || -> Result<_, Source> {
        Ok(Event {
            job: row.try_get::<&str, _>(0)?.parse()?,
            seq: EventSeq(row.try_get(1)?),
            kind: row.try_get::<&str, _>(2)?.parse()?,
            at: Timestamp(row.try_get(3)?),
            attempt: Attempt(row.try_get(4)?),
            data: RawValue::from_string(row.try_get(5)?)?,
        })
    };
    read().map_err(|cause| broken("an event's row", cause))
}

/// The number in the only row.
pub(super) fn count(rows: &[SqliteRow]) -> Result<u64, Error> {
    rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(errors::of)
}

/// A submitted job, as the insert statement reads it.
#[derive(Serialize)]
pub(super) struct JobInsert<'a> {
    id: JobId,
    model: &'a str,
    version: &'a str,
    lane: &'a str,
    attempts_max: u32,
    created_at: Timestamp,
    due_at: Timestamp,
    start_deadline_at: Option<Timestamp>,
    run_timeout_ms: i64,
    p50_ms: f64,
    p90_ms: f64,
    estimate_source: estimate::Source,
    retry_of: Option<JobId>,
    traceparent: Option<&'a str>,
    idempotency_key: Option<&'a str>,
    fingerprint: String,
    input: Option<&'a str>,
    input_blob: Option<String>,
}

impl<'a> JobInsert<'a> {
    pub(super) fn of(new: &'a NewJob, job: &'a JobRecord) -> Self {
        let (input, input_blob) = columns(Some(&new.input));
        Self {
            id: job.id,
            model: job.model.as_str(),
            version: job.version.as_str(),
            lane: job.lane.as_str(),
            attempts_max: job.attempts_max,
            created_at: job.created_at,
            due_at: job.due_at,
            start_deadline_at: job.start_deadline_at,
            run_timeout_ms: ms(job.run_timeout),
            p50_ms: job.estimate.p50_ms,
            p90_ms: job.estimate.p90_ms,
            estimate_source: job.estimate.source,
            retry_of: job.retry_of,
            traceparent: job.traceparent.as_deref(),
            idempotency_key: new.idempotency_key.as_ref().map(IdempotencyKey::as_str),
            fingerprint: hex(&new.fingerprint),
            input,
            input_blob,
        }
    }
}

/// A changed job, as the update statement reads it: all that a change of state may touch.
#[derive(Serialize)]
pub(super) struct JobUpdate<'a> {
    id: JobId,
    state: &'static str,
    attempt: Attempt,
    failures: u32,
    event_seq: EventSeq,
    due_at: Timestamp,
    published_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    worker: Option<WorkerId>,
    lease_until: Option<Timestamp>,
    cancel_requested_at: Option<Timestamp>,
    failure_code: Option<&'static str>,
    failure_message: Option<&'a str>,
    output: Option<&'a str>,
    output_blob: Option<String>,
}

impl<'a> JobUpdate<'a> {
    pub(super) fn of(stored: &'a Stored) -> Self {
        let job = &stored.job;
        let (output, output_blob) = columns(stored.output.as_ref());
        Self {
            id: job.id,
            state: job.state.as_str(),
            attempt: job.attempt,
            failures: job.failures,
            event_seq: job.event_seq,
            due_at: job.due_at,
            published_at: stored.published_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            worker: job.worker,
            lease_until: stored.lease_until,
            cancel_requested_at: stored.cancel_requested_at,
            failure_code: job.failure.as_ref().map(|failure| failure.code.as_str()),
            failure_message: job.failure.as_ref().map(|failure| failure.message.as_str()),
            output,
            output_blob,
        }
    }
}

/// Rows as one JSON array, for `json_each`.
pub(super) fn array<T: Serialize>(rows: impl IntoIterator<Item = T>) -> Result<String, Error> {
    let rows: Vec<T> = rows.into_iter().collect();
    serde_json::to_string(&rows).map_err(|error| broken("rows as JSON", error))
}

/// As `array`, for rows that may be long: a batch's inputs are 16 MiB. Between two pieces of the text, whoever else has something to do
/// gets onto the executor.
pub(super) async fn long_array<T: Serialize>(rows: &[T]) -> Result<String, Error> {
    let (mut text, mut piece_begins) = (String::from("["), 0);
    for row in rows {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&serde_json::to_string(row).map_err(|error| broken("rows as JSON", error))?);
        if text.len() - piece_begins > limits::EXECUTOR_BYTES_MAX {
            piece_begins = text.len();
            tokio::task::yield_now().await;
        }
    }
    text.push(']');
    Ok(text)
}

/// Events as one JSON array, for `json_each`.
pub(super) fn events(events: &[NewEvent]) -> Result<String, Error> {
    array(events)
}

/// Whole milliseconds, saturating at what SQLite counts to.
pub(super) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A limit, saturating at what SQLite counts to.
pub(super) fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn columns(payload: Option<&Payload>) -> (Option<&str>, Option<String>) {
    match payload {
        Some(Payload::Inline(text)) => (Some(text), None),
        Some(Payload::Blob(blob)) => (None, Some(blob.to_string())),
        None => (None, None),
    }
}
