//! The two halves of every change of jobs: begin and read them; update them, insert their events and commit. It decides no
//! transition.

use std::collections::HashMap;

use sqlx::{query, sqlite::SqliteRow};

use super::{
    SqliteStore,
    connection::{Statement, Turn},
    rows::{self, JobUpdate},
};
use crate::{
    id::JobId,
    store::{
        Error,
        decide::{Ledger, Stored},
    },
};

/// Inserts events from `?2`, an array of `NewEvent`, at time `?3`.
macro_rules! insert_events {
    () => {
        "INSERT INTO event (job_id, seq, kind, at, attempt, data) \
         SELECT e.value ->> 'job', e.value ->> 'seq', e.value ->> 'kind', ?3, e.value ->> 'attempt', e.value -> 'data' \
         FROM json_each(?2) AS e"
    };
}
pub(super) use insert_events;

const UPDATE_AND_COMMIT: &str = concat!(
    "UPDATE job SET state = c.state, attempt = c.attempt, failures = c.failures, event_seq = c.event_seq, due_at = c.due_at, \
       published_at = c.published_at, started_at = c.started_at, finished_at = c.finished_at, worker = c.worker, \
       lease_until = c.lease_until, cancel_requested_at = c.cancel_requested_at, failure_code = c.failure_code, \
       failure_message = c.failure_message, output = c.output, output_blob = c.output_blob \
     FROM (SELECT value ->> 'id' AS id, value ->> 'state' AS state, value ->> 'attempt' AS attempt, \
       value ->> 'failures' AS failures, value ->> 'event_seq' AS event_seq, value ->> 'due_at' AS due_at, \
       value ->> 'published_at' AS published_at, value ->> 'started_at' AS started_at, value ->> 'finished_at' AS finished_at, \
       value ->> 'worker' AS worker, value ->> 'lease_until' AS lease_until, \
       value ->> 'cancel_requested_at' AS cancel_requested_at, value ->> 'failure_code' AS failure_code, \
       value ->> 'failure_message' AS failure_message, value ->> 'output' AS output, value ->> 'output_blob' AS output_blob \
       FROM json_each(?1)) AS c \
     WHERE job.id = c.id; ",
    insert_events!(),
    "; COMMIT"
);

/// Jobs in the hands of one writing transaction.
pub(super) struct Jobs {
    stored: Vec<Stored>,
    by_id: HashMap<JobId, usize>,
}

impl Jobs {
    pub(super) fn of(rows: &[SqliteRow]) -> Result<Self, Error> {
        let stored = rows::stored(rows)?;
        let by_id = stored.iter().enumerate().map(|(index, stored)| (stored.job.id, index)).collect();
        Ok(Self { stored, by_id })
    }

    pub(super) fn get_mut(&mut self, job: JobId) -> Option<&mut Stored> {
        self.by_id.get(&job).map(|index| &mut self.stored[*index])
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stored> {
        self.stored.iter_mut()
    }
}

impl SqliteStore {
    /// Begins a writing transaction by `statement`, which reads rows of `job_columns!()`. The time is read once the lock is held, so
    /// that later commits have later times.
    pub(super) async fn begin(&self, statement: Statement<'_>) -> Result<(Turn<'_>, Vec<SqliteRow>), Error> {
        let mut turn = self.writer.turn().await?;
        let rows = turn.part(statement).await?;
        Ok((turn, rows))
    }

    /// Writes the changed jobs and the events, and commits.
    pub(super) async fn commit(&self, mut turn: Turn<'_>, jobs: &Jobs, ledger: &Ledger) -> Result<(), Error> {
        let changed = jobs.stored.iter().filter(|stored| stored.changed);
        let updates = rows::array(changed.map(JobUpdate::of))?;
        if ledger.events.is_empty() {
            return turn.nothing_written().await;
        }
        let statement = query(UPDATE_AND_COMMIT).bind(updates).bind(rows::events(&ledger.events)?).bind(ledger.now.0);
        turn.whole(statement).await.map(drop)
    }
}

/// Ids as one JSON array without repeats: each job is read once, however often it is named.
pub(super) fn id_array(ids: impl Iterator<Item = JobId>) -> Result<String, Error> {
    let mut ids: Vec<JobId> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    rows::array(ids)
}
