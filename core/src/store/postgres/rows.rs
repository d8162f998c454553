//! Rows as Postgres hands them over, to records, purely: a job is a JSON text of `store::rows`. A row that cannot be read back is
//! `Broken`, never a default.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::{Row, postgres::PgRow};

use super::errors;
use crate::{
    clock::Timestamp,
    id::{Attempt, EventSeq, JobId},
    job::{Event, EventKind},
    store::{
        DueJob, Error, JobRecord, Payload, Source,
        decide::{NewEvent, Standing, Stored},
        rows::{self, DueRow, JobRow, payload},
    },
};

/// The call's time: the first column of its rows, latest in the last. What has no rows has nothing to tell at any time.
pub(super) fn now(rows: &[PgRow]) -> Result<Timestamp, Error> {
    rows.last().map_or(Ok(0), |row| row.try_get(0)).map(Timestamp).map_err(errors::of)
}

/// Jobs from the second column.
pub(super) fn stored(rows: &[PgRow]) -> Result<Vec<Stored>, Error> {
    rows.iter().map(|row| json::<JobRow>(row, 1, "a job").map(Stored::from)).collect()
}

/// The job's input, from the columns three and four.
pub(super) fn input(row: &PgRow) -> Result<Payload, Error> {
    payload_at(row, 2)?.ok_or_else(|| Error::broken("a job has an input", sqlx::Error::RowNotFound))
}

/// Jobs from the second column, with key and fingerprint; the only row has no job when none stands.
pub(super) fn standing(rows: &[PgRow]) -> Result<Vec<Standing>, Error> {
    let mut standing = Vec::new();
    for row in rows {
        if row.try_get::<Option<&str>, _>(1).map_err(errors::of)?.is_some() {
            let job = json::<JobRow>(row, 1, "a standing job").map(Stored::from)?.job;
            let fingerprint = rows::fingerprint(row.try_get(3).map_err(errors::of)?)?;
            standing.push(Standing { job, idempotency_key: row.try_get(2).map_err(errors::of)?, fingerprint });
        }
    }
    Ok(standing)
}

/// The job in the only column.
pub(super) fn job(row: &PgRow) -> Result<JobRecord, Error> {
    json::<JobRow>(row, 0, "a job").map(|job| Stored::from(job).job)
}

/// The job of the outbox in the only column.
pub(super) fn due(row: &PgRow) -> Result<DueJob, Error> {
    json::<DueRow>(row, 0, "a due job").map(DueJob::from)
}

/// A payload from the first two columns, inline and blob.
pub(super) fn payload_of(row: &PgRow) -> Result<Option<Payload>, Error> {
    payload_at(row, 0)
}

fn payload_at(row: &PgRow, first: usize) -> Result<Option<Payload>, Error> {
    let inline: Option<&str> = row.try_get(first).map_err(errors::of)?;
    payload(inline.map(Arc::from), row.try_get(first + 1).map_err(errors::of)?)
}

/// A row of `event`: its job, seq, kind, at, attempt and data.
pub(super) fn event(row: &PgRow) -> Result<Event, Error> {
    let read = || -> Result<_, Source> {
        Ok(Event {
            job: row.try_get::<&str, _>(0)?.parse()?,
            seq: EventSeq(row.try_get::<i64, _>(1)?.try_into()?),
            kind: row.try_get::<&str, _>(2)?.parse()?,
            at: Timestamp(row.try_get(3)?),
            attempt: Attempt(row.try_get::<i64, _>(4)?.try_into()?),
            data: RawValue::from_string(row.try_get(5)?)?,
        })
    };
    read().map_err(|cause| Error::broken("an event's row", cause))
}

/// The number in the only row.
pub(super) fn count(rows: &[PgRow]) -> Result<u64, Error> {
    let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(errors::of)?;
    u64::try_from(count).map_err(|error| Error::broken("a count is not negative", error))
}

fn json<'r, T: Deserialize<'r>>(row: &'r PgRow, column: usize, what: &'static str) -> Result<T, Error> {
    let text: &str = row.try_get(column).map_err(errors::of)?;
    serde_json::from_str(text).map_err(|error| Error::broken(what, error))
}

/// An event, as the inserting statement reads it. Its data is a text in the array and not a part of it: Postgres refuses to read
/// U+0000 anywhere in a JSON value that it takes apart, and stores a text with the escape as it is.
#[derive(Serialize)]
struct EventInsert {
    job: JobId,
    seq: EventSeq,
    kind: EventKind,
    attempt: Attempt,
    data: String,
}

/// Events as one JSON array, for `json_to_recordset`.
pub(super) fn events(events: &[NewEvent]) -> Result<String, Error> {
    let row = |event: &NewEvent| -> Result<EventInsert, Error> {
        let data = serde_json::to_string(&event.data).map_err(|error| Error::broken("an event's data as JSON", error))?;
        Ok(EventInsert { job: event.job, seq: event.seq, kind: event.kind, attempt: event.attempt, data })
    };
    rows::array(events.iter().map(row).collect::<Result<Vec<_>, _>>()?)
}
