//! Rows as Postgres hands them over, to records, purely: a job is a JSON text of `store::rows`. A row that cannot be read back is
//! `Broken`, never a default.

use std::{collections::HashMap, sync::Arc};

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

/// The call's time: the column `now` of its rows, latest in the last. What has no rows has nothing to tell at any time.
pub(super) fn now(rows: &[PgRow]) -> Result<Timestamp, Error> {
    rows.last().map_or(Ok(0), |row| row.try_get("now")).map(Timestamp).map_err(errors::of)
}

/// Jobs from the first column.
pub(super) fn stored(rows: &[PgRow]) -> Result<Vec<Stored>, Error> {
    rows.iter().map(|row| json::<JobRow>(row, "a job").map(Stored::from)).collect()
}

/// Jobs from the first column, and their inputs.
pub(super) fn stored_with_inputs(rows: &[PgRow]) -> Result<(Vec<Stored>, HashMap<JobId, Payload>), Error> {
    let stored = stored(rows)?;
    let mut inputs = HashMap::with_capacity(rows.len());
    for (stored, row) in stored.iter().zip(rows) {
        let input = payload_of(row, "input", "input_blob")?;
        inputs.insert(stored.job.id, input.ok_or_else(|| Error::broken("a job has an input", sqlx::Error::RowNotFound))?);
    }
    Ok((stored, inputs))
}

/// Jobs from the first column, with key and fingerprint; the only row has no job when none stands.
pub(super) fn standing(rows: &[PgRow]) -> Result<Vec<Standing>, Error> {
    let mut standing = Vec::new();
    for row in rows {
        if row.try_get::<Option<&str>, _>(0).map_err(errors::of)?.is_some() {
            let job = json::<JobRow>(row, "a standing job").map(Stored::from)?.job;
            let fingerprint = rows::fingerprint(row.try_get("fingerprint").map_err(errors::of)?)?;
            standing.push(Standing { job, idempotency_key: row.try_get("idempotency_key").map_err(errors::of)?, fingerprint });
        }
    }
    Ok(standing)
}

/// The job in the only column.
pub(super) fn job(row: &PgRow) -> Result<JobRecord, Error> {
    json::<JobRow>(row, "a job").map(|job| Stored::from(job).job)
}

/// The job of the outbox in the only column.
pub(super) fn due(row: &PgRow) -> Result<DueJob, Error> {
    json::<DueRow>(row, "a due job").map(DueJob::from)
}

/// A payload from its two columns, by their names.
pub(super) fn payload_of(row: &PgRow, inline: &str, blob: &str) -> Result<Option<Payload>, Error> {
    let inline: Option<&str> = row.try_get(inline).map_err(errors::of)?;
    payload(inline.map(Arc::from), row.try_get(blob).map_err(errors::of)?)
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

/// The row's first column, a JSON text.
fn json<'r, T: Deserialize<'r>>(row: &'r PgRow, what: &'static str) -> Result<T, Error> {
    let text: &str = row.try_get(0).map_err(errors::of)?;
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
