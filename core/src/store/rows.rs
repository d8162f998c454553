//! A job's row, read and written the same way whatever the dialect: rows travel as JSON texts, one for each job or group. It decides
//! which columns there are and how a field is spelled in SQL; what cannot be read back is `Broken`, never a default. It does no I/O
//! and knows no database.

mod update;

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Deserializer, Serialize};

pub(super) use update::JobUpdate;

use super::{Checkpoint, DueJob, Error, JobRecord, Lease, NewJob, Payload, Publication, decide::Stored};
use crate::{
    blob::{BlobRef, hex},
    clock::Timestamp,
    estimate::{self, Estimate},
    id::{Attempt, EventSeq, IdempotencyKey, JobId, LaneName, MessageId, ModelName, ModelVersion, WorkerId},
    job::{CancelMet, Canceled, Failure, FailureCode, State},
    limits,
};

/// A job as one JSON array in the order of `JobRow`, of a table called `j`, as a literal for `concat!`; the argument is the dialect's
/// function that makes an array. One text for each job instead of a row of columns: in SQLite, handing rows over costs a wake-up for
/// every row and an allocation for every column, more than reading them does.
macro_rules! job_array {
    ($array:literal) => {
        concat!(
            $array,
            "(j.id, j.model, j.version, j.lane, j.state, j.attempt, j.failures, j.attempts_max, j.event_seq, \
             j.created_at, j.due_at, j.published_at, j.start_deadline_at, j.run_timeout_ms, j.started_at, j.finished_at, \
             j.worker, j.lease_until, j.claimed_message, j.cancel_requested_at, j.failure_code, j.failure_message, j.p50_ms, \
             j.p90_ms, j.estimate_source, j.retry_of, j.traceparent, j.retried_by, j.dropped_at, \
             j.stall_timeout_ms, j.cancel_met, j.cancel_spent_ms, j.checkpoint_blob, j.checkpoint_done, j.checkpoint_total, \
             j.checkpoint_attempt, j.checkpoint_seq, j.begun_attempt)"
        )
    };
}
pub(super) use job_array;

/// A job in the outbox as one JSON array in the order of `DueRow`, as `job_array!`.
macro_rules! due_array {
    ($array:literal) => {
        concat!($array, "(j.id, j.attempt, j.lane, j.model, j.version, j.due_at, j.p50_ms, j.traceparent)")
    };
}
pub(super) use due_array;

/// What `job_array!` gives.
#[derive(Deserialize)]
pub(super) struct JobRow {
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
    claimed_message: Option<MessageId>,
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
    stall_timeout_ms: Option<u64>,
    cancel_met: Option<CancelMet>,
    cancel_spent_ms: Option<u64>,
    #[serde(deserialize_with = "blob")]
    checkpoint_blob: Option<BlobRef>,
    checkpoint_done: Option<u64>,
    checkpoint_total: Option<u64>,
    checkpoint_attempt: Option<Attempt>,
    checkpoint_seq: Option<EventSeq>,
    begun_attempt: Option<Attempt>,
}

fn blob<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BlobRef>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}

impl JobRow {
    /// The schema does not hold that its columns are set together; what is not whole is no checkpoint.
    fn checkpoint(&self) -> Option<Checkpoint> {
        Some(Checkpoint {
            blob: self.checkpoint_blob.clone()?,
            done: self.checkpoint_done?,
            total: self.checkpoint_total,
            attempt: self.checkpoint_attempt?,
            after_seq: self.checkpoint_seq?,
        })
    }

    fn canceled(&self) -> Option<Canceled> {
        Some(Canceled { met: self.cancel_met?, spent: Duration::from_millis(self.cancel_spent_ms?) })
    }
}

impl From<JobRow> for Stored {
    fn from(row: JobRow) -> Self {
        let (checkpoint, canceled) = (row.checkpoint(), row.canceled());
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
            stall_timeout: row.stall_timeout_ms.map(Duration::from_millis),
            started_at: row.started_at,
            finished_at: row.finished_at,
            worker: row.worker,
            failure,
            canceled,
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
            claimed_message: row.claimed_message,
            published_at: row.published_at,
            cancel_requested_at: row.cancel_requested_at,
            checkpoint,
            begun: row.begun_attempt,
            released: None,
            output: None,
            changed: false,
        }
    }
}

/// A payload from its two columns; `None` when both are empty.
pub(super) fn payload(inline: Option<Arc<str>>, blob: Option<&str>) -> Result<Option<Payload>, Error> {
    match (inline, blob) {
        (Some(text), _) => Ok(Some(Payload::Inline(text))),
        (None, Some(blob)) => {
            blob.parse().map(|blob| Some(Payload::Blob(blob))).map_err(|error| Error::broken("a blob's reference", error))
        }
        (None, None) => Ok(None),
    }
}

/// A job in the outbox.
#[derive(Deserialize)]
pub(super) struct DueRow {
    id: JobId,
    attempt: Attempt,
    lane: LaneName,
    model: ModelName,
    version: ModelVersion,
    due_at: Timestamp,
    p50_ms: f64,
    traceparent: Option<String>,
}

impl From<DueRow> for DueJob {
    fn from(row: DueRow) -> Self {
        Self {
            id: row.id,
            attempt: row.attempt,
            lane: row.lane,
            model: row.model,
            version: row.version,
            due_at: row.due_at,
            expected_ms: row.p50_ms,
            traceparent: row.traceparent,
        }
    }
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
    stall_timeout_ms: Option<i64>,
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
            stall_timeout_ms: job.stall_timeout.map(ms),
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

impl JobInsert<'_> {
    /// The order in which a group takes keys and ids: groups that share some wait for each other, never in a circle.
    pub(super) fn taking_order(&self) -> (Option<&str>, JobId) {
        (self.idempotency_key, self.id)
    }
}

/// A publication, as the marking statement reads it.
#[derive(Serialize)]
pub(super) struct PublicationRow {
    job: JobId,
    attempt: Attempt,
}

impl From<&Publication> for PublicationRow {
    fn from(publication: &Publication) -> Self {
        Self { job: publication.job, attempt: publication.attempt }
    }
}

/// A lease, as the extending statement reads it.
#[derive(Serialize)]
pub(super) struct LeaseRow {
    job: JobId,
    attempt: Attempt,
    lease_ms: i64,
}

impl From<&Lease> for LeaseRow {
    fn from(lease: &Lease) -> Self {
        Self { job: lease.job, attempt: lease.attempt, lease_ms: ms(lease.lease).min(LEASE_MS_MAX) }
    }
}

/// Longest lease, in milliseconds: an added one stays far from where SQL's integers end.
const LEASE_MS_MAX: i64 = 1 << 52;

/// The 32 bytes of a fingerprint from their hexadecimal digits.
pub(super) fn fingerprint(digits: &str) -> Result<[u8; 32], Error> {
    unhex(digits).ok_or_else(|| Error::broken("a fingerprint has 32 bytes", sqlx::Error::RowNotFound))
}

fn unhex(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    (digits.len() == 64).then_some(bytes)
}

/// Rows as one JSON array, for `json_each` and `json_to_recordset`.
pub(super) fn array<T: Serialize>(rows: impl IntoIterator<Item = T>) -> Result<String, Error> {
    let rows: Vec<T> = rows.into_iter().collect();
    serde_json::to_string(&rows).map_err(|error| Error::broken("rows as JSON", error))
}

/// As `array`, for rows that may be long: a batch's inputs are 16 MiB. Between two pieces of the text, whoever else has something to do
/// gets onto the executor.
pub(super) async fn long_array<T: Serialize>(rows: &[T]) -> Result<String, Error> {
    let (mut text, mut piece_begins) = (String::from("["), 0);
    for row in rows {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&serde_json::to_string(row).map_err(|error| Error::broken("rows as JSON", error))?);
        if text.len() - piece_begins > limits::EXECUTOR_BYTES_MAX {
            piece_begins = text.len();
            tokio::task::yield_now().await;
        }
    }
    text.push(']');
    Ok(text)
}

/// Ids as one JSON array, in order and without repeats: each job is read once, however often it is named.
pub(super) fn id_array(ids: impl Iterator<Item = JobId>) -> Result<String, Error> {
    array(sorted(ids))
}

/// Ids in order and without repeats.
pub(super) fn sorted(ids: impl Iterator<Item = JobId>) -> Vec<JobId> {
    let mut ids: Vec<JobId> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Whole milliseconds, saturating at what SQL counts to.
pub(super) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A limit, saturating at what SQL counts to.
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
