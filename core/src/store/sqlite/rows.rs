//! Rows as SQLite hands them over, to records, purely: most of them are JSON texts of `store::rows`. A row that cannot be read
//! back is `Broken`, never a default.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use sqlx::{Row, sqlite::SqliteRow};

use super::errors;
use crate::{
    clock::Timestamp,
    id::{Attempt, EventSeq},
    job::Event,
    store::{
        DueJob, Error, JobRecord, Payload, Source,
        decide::{NewEvent, Standing, Stored},
        rows::{self, DueRow, JobRow, payload},
    },
};

/// Groups of `job_array!`, as jobs.
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
            inputs.push(input.ok_or_else(|| Error::broken("a job has an input", sqlx::Error::RowNotFound))?);
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
            let fingerprint = rows::fingerprint(digits)?;
            standing.push(Standing { job: Stored::from(job).job, idempotency_key, fingerprint });
        }
    }
    Ok(standing)
}

/// The text of one job.
pub(super) fn job(row: &SqliteRow) -> Result<JobRecord, Error> {
    json::<JobRow>(row, "a job").map(|job| Stored::from(job).job)
}

/// The row's first column, a JSON text.
fn json<'r, T: Deserialize<'r>>(row: &'r SqliteRow, what: &'static str) -> Result<T, Error> {
    let text: &str = row.try_get(0).map_err(errors::of)?;
    serde_json::from_str(text).map_err(|error| Error::broken(what, error))
}

/// A payload from a row's first two columns, inline and blob.
pub(super) fn payload_of(row: &SqliteRow) -> Result<Option<Payload>, Error> {
    let inline: Option<&str> = row.try_get(0).map_err(errors::of)?;
    payload(inline.map(Arc::from), row.try_get(1).map_err(errors::of)?)
}

/// The text of a job in the outbox.
pub(super) fn due(row: &SqliteRow) -> Result<DueJob, Error> {
    json::<DueRow>(row, "a due job").map(DueJob::from)
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
    read().map_err(|cause| Error::broken("an event's row", cause))
}

/// The number in the only row.
pub(super) fn count(rows: &[SqliteRow]) -> Result<u64, Error> {
    rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(errors::of)
}

/// Events as one JSON array, for `json_each`.
pub(super) fn events(events: &[NewEvent]) -> Result<String, Error> {
    rows::array(events)
}
