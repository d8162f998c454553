//! Rows to records and records to rows, purely. It decides how each field is spelled in SQL; a row that cannot be read back is
//! `Broken`, never a default.

use std::{error::Error as StdError, str::FromStr, time::Duration};

use serde::Serialize;
use sqlx::{Row, Sqlite, Type, decode::Decode, sqlite::SqliteRow};

use super::errors::broken;
use crate::{
    blob::{BlobRef, hex},
    clock::Timestamp,
    estimate::Estimate,
    id::{Attempt, EventSeq, IdempotencyKey, JobId},
    job::{Event, Failure, FailureCode},
    store::{
        DueJob, Error, JobRecord, NewJob, Payload,
        decide::{NewEvent, Stored},
    },
};

/// The columns of `JobRecord` and `Stored`, of a table called `j`, as a literal for `concat!`.
macro_rules! job_columns {
    () => {
        "j.id, j.model, j.version, j.lane, j.state, j.attempt, j.failures, j.attempts_max, j.event_seq, j.created_at, \
         j.due_at, j.published_at, j.start_deadline_at, j.run_timeout_ms, j.started_at, j.finished_at, j.worker, \
         j.lease_until, j.cancel_requested_at, j.failure_code, j.failure_message, j.p50_ms, j.p90_ms, j.estimate_source, \
         j.retry_of, j.traceparent"
    };
}
pub(super) use job_columns;

type Cause = Box<dyn StdError + Send + Sync>;

/// One row being read.
#[derive(Clone, Copy)]
pub(super) struct Reading<'r>(pub &'r SqliteRow);

impl<'r> Reading<'r> {
    pub(super) fn get<T: Decode<'r, Sqlite> + Type<Sqlite>>(self, column: &str) -> Result<T, Cause> {
        Ok(self.0.try_get(column)?)
    }

    pub(super) fn parsed<T: FromStr<Err: StdError + Send + Sync + 'static>>(self, column: &str) -> Result<T, Cause> {
        Ok(self.get::<&str>(column)?.parse()?)
    }

    fn maybe_parsed<T: FromStr<Err: StdError + Send + Sync + 'static>>(self, column: &str) -> Result<Option<T>, Cause> {
        Ok(self.get::<Option<&str>>(column)?.map(str::parse).transpose()?)
    }

    fn number<T: TryFrom<i64, Error: StdError + Send + Sync + 'static>>(self, column: &str) -> Result<T, Cause> {
        Ok(T::try_from(self.get::<i64>(column)?)?)
    }

    fn time(self, column: &str) -> Result<Timestamp, Cause> {
        self.get(column).map(Timestamp)
    }

    fn maybe_time(self, column: &str) -> Result<Option<Timestamp>, Cause> {
        Ok(self.get::<Option<i64>>(column)?.map(Timestamp))
    }

    /// A word of one of our enums, as serde spells it.
    fn word<T: serde::de::DeserializeOwned>(self, column: &str) -> Result<T, Cause> {
        use serde::de::IntoDeserializer;
        let text: &str = self.get(column)?;
        let word: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
        Ok(T::deserialize(word)?)
    }
}

/// Rows of `job_columns!()` as jobs.
pub(super) fn stored(rows: &[SqliteRow]) -> Result<Vec<Stored>, Error> {
    rows.iter().map(|row| stored_of(Reading(row)).map_err(|cause| broken("a job's row", cause))).collect()
}

/// The one job of a row of `job_columns!()`.
pub(super) fn job(row: &SqliteRow) -> Result<JobRecord, Error> {
    job_of(Reading(row)).map_err(|cause| broken("a job's row", cause))
}

fn stored_of(row: Reading<'_>) -> Result<Stored, Cause> {
    Ok(Stored {
        job: job_of(row)?,
        lease_until: row.maybe_time("lease_until")?,
        published_at: row.maybe_time("published_at")?,
        cancel_requested_at: row.maybe_time("cancel_requested_at")?,
        output: None,
        changed: false,
    })
}

fn job_of(row: Reading<'_>) -> Result<JobRecord, Cause> {
    let state = row.parsed("state")?;
    let failure = match row.get::<Option<String>>("failure_message")? {
        Some(message) => Some(Failure { code: row.word::<FailureCode>("failure_code")?, message }),
        None => None,
    };
    Ok(JobRecord {
        id: row.parsed("id")?,
        model: row.parsed("model")?,
        version: row.parsed("version")?,
        lane: row.parsed("lane")?,
        estimate: Estimate { p50_ms: row.get("p50_ms")?, p90_ms: row.get("p90_ms")?, source: row.word("estimate_source")? },
        state,
        attempt: Attempt(row.number("attempt")?),
        failures: row.number("failures")?,
        attempts_max: row.number("attempts_max")?,
        created_at: row.time("created_at")?,
        due_at: row.time("due_at")?,
        start_deadline_at: row.maybe_time("start_deadline_at")?,
        run_timeout: Duration::from_millis(row.number("run_timeout_ms")?),
        started_at: row.maybe_time("started_at")?,
        finished_at: row.maybe_time("finished_at")?,
        worker: row.maybe_parsed("worker")?,
        failure,
        // The schema holds that exactly the succeeded jobs have one.
        has_output: state == crate::job::State::Succeeded,
        event_seq: EventSeq(row.number("event_seq")?),
        retry_of: row.maybe_parsed("retry_of")?,
        traceparent: row.get("traceparent")?,
    })
}

/// A payload from its two columns; `None` when both are empty.
pub(super) fn payload(row: &SqliteRow, inline: &str, blob: &str) -> Result<Option<Payload>, Error> {
    let row = Reading(row);
    let read = || -> Result<_, Cause> {
        Ok(match row.get::<Option<&str>>(inline)? {
            Some(text) => Some(Payload::Inline(text.into())),
            None => row.maybe_parsed::<BlobRef>(blob)?.map(Payload::Blob),
        })
    };
    read().map_err(|cause| broken("a payload", cause))
}

/// A row of the outbox.
pub(super) fn due(row: &SqliteRow) -> Result<DueJob, Error> {
    let row = Reading(row);
    let read = || -> Result<_, Cause> {
        Ok(DueJob {
            id: row.parsed("id")?,
            attempt: Attempt(row.number("attempt")?),
            lane: row.parsed("lane")?,
            model: row.parsed("model")?,
            version: row.parsed("version")?,
            due_at: row.time("due_at")?,
            expected_ms: row.get("p50_ms")?,
            traceparent: row.get("traceparent")?,
        })
    };
    read().map_err(|cause| broken("a due job's row", cause))
}

/// A row of `event`.
pub(super) fn event(job: JobId, row: &SqliteRow) -> Result<Event, Error> {
    let row = Reading(row);
    let read = || -> Result<_, Cause> {
        Ok(Event {
            job,
            seq: EventSeq(row.number("seq")?),
            kind: row.parsed("kind")?,
            at: row.time("at")?,
            attempt: Attempt(row.number("attempt")?),
            data: serde_json::value::RawValue::from_string(row.get("data")?)?,
        })
    };
    read().map_err(|cause| broken("an event's row", cause))
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
    estimate_source: crate::estimate::Source,
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
    worker: Option<crate::id::WorkerId>,
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
