//! The two halves of every change of jobs: begin and read them; update them, insert their events and commit. It decides no
//! transition.

use sqlx::{query, sqlite::SqliteRow};

use super::{
    SqliteStore,
    connection::{Durability, Statement, Turn},
    rows,
};
use crate::store::{
    Error,
    decide::{Jobs, Ledger},
    rows::{JobUpdate, array},
};

/// Inserts events from `?2`, an array of `NewEvent`, at time `?3`.
macro_rules! insert_events {
    () => {
        "WITH e AS MATERIALIZED (SELECT value FROM json_each(?2)) \
         INSERT INTO event (job_id, seq, kind, at, attempt, data) \
         SELECT e.value ->> 'job', e.value ->> 'seq', e.value ->> 'kind', ?3, e.value ->> 'attempt', e.value -> 'data' FROM e"
    };
}
pub(super) use insert_events;

const UPDATE_AND_COMMIT: &str = concat!(
    "WITH c AS MATERIALIZED (SELECT value FROM json_each(?1)) \
     UPDATE job SET state = c.value ->> 'state', attempt = c.value ->> 'attempt', \
       failures = c.value ->> 'failures', event_seq = c.value ->> 'event_seq', \
       due_at = c.value ->> 'due_at', published_at = c.value ->> 'published_at', \
       started_at = c.value ->> 'started_at', finished_at = c.value ->> 'finished_at', \
       worker = c.value ->> 'worker', lease_until = c.value ->> 'lease_until', \
       claimed_message = c.value ->> 'claimed_message', \
       cancel_requested_at = c.value ->> 'cancel_requested_at', \
       failure_code = c.value ->> 'failure_code', failure_message = c.value ->> 'failure_message', \
       output = c.value ->> 'output', output_blob = c.value ->> 'output_blob', \
       cancel_met = c.value ->> 'cancel_met', \
       cancel_spent_ms = c.value ->> 'cancel_spent_ms', \
       checkpoint_blob = c.value ->> 'checkpoint_blob', \
       checkpoint_done = c.value ->> 'checkpoint_done', \
       checkpoint_total = c.value ->> 'checkpoint_total', \
       checkpoint_attempt = c.value ->> 'checkpoint_attempt', \
       checkpoint_seq = c.value ->> 'checkpoint_seq', begun_attempt = c.value ->> 'begun_attempt' \
     FROM c WHERE job.id = c.value ->> 'id'; ",
    insert_events!(),
    "; COMMIT"
);

impl SqliteStore {
    /// Begins a writing transaction by `statement`, which reads jobs. The time is read once the lock is held, so
    /// that later commits have later times.
    pub(super) async fn begin(
        &self,
        durability: Durability,
        statement: Statement<'_>,
    ) -> Result<(Turn<'_>, Vec<SqliteRow>), Error> {
        let mut turn = self.writer.turn(durability).await?;
        let rows = turn.part(statement).await?;
        Ok((turn, rows))
    }

    /// Writes the changed jobs and the events, and commits. A change may have no event: nothing that a caller sees has changed.
    pub(super) async fn commit(&self, mut turn: Turn<'_>, jobs: &Jobs, ledger: &Ledger) -> Result<(), Error> {
        let changed = jobs.changed();
        if changed.is_empty() {
            return turn.nothing_written().await;
        }
        let updates = array(changed.into_iter().map(JobUpdate::of))?;
        let statement = query(UPDATE_AND_COMMIT).bind(updates).bind(rows::events(&ledger.events)?).bind(ledger.now.0);
        turn.whole(statement).await.map(drop)
    }
}
