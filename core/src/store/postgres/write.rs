//! The two halves of every change of jobs: lock and read them; update them and insert their events. It decides no transition.

use sqlx::{postgres::PgRow, query};

use super::{
    PostgresStore, rows,
    sessions::{Session, Statement},
};
use crate::store::{
    Error,
    decide::{Jobs, Ledger},
    rows::{JobUpdate, array},
};

/// Jobs `$1`, locked in the order of their ids, whatever the group: two groups that share jobs wait for each other, and never in a circle.
/// A row that was waited for is read as it is now. The lock leaves alone who only refers to the job (an event's foreign key).
macro_rules! locked {
    () => {
        "WITH j AS MATERIALIZED (SELECT * FROM job WHERE id = ANY ($1::text[]::uuid[]) ORDER BY id FOR NO KEY UPDATE) "
    };
}
pub(super) use locked;

/// Inserts events from `$2`, an array of `EventInsert`, at time `$3`.
macro_rules! insert_events {
    () => {
        "INSERT INTO event (job_id, seq, kind, at, attempt, data) \
         SELECT e.job, e.seq, e.kind, $3::bigint, e.attempt, e.data \
         FROM json_to_recordset($2::json) AS e(job uuid, seq bigint, kind text, attempt bigint, data text)"
    };
}
pub(super) use insert_events;

const UPDATE: &str = concat!(
    "WITH c AS MATERIALIZED (SELECT * FROM json_to_recordset($1::json) AS c(id uuid, state text, attempt bigint, failures bigint, \
       event_seq bigint, due_at bigint, published_at bigint, started_at bigint, finished_at bigint, worker uuid, \
       lease_until bigint, claimed_message uuid, cancel_requested_at bigint, failure_code text, failure_message text, output text, output_blob text)), \
     told AS (",
    insert_events!(),
    ") UPDATE job SET state = c.state, attempt = c.attempt, failures = c.failures, event_seq = c.event_seq, due_at = c.due_at, \
       published_at = c.published_at, started_at = c.started_at, finished_at = c.finished_at, worker = c.worker, \
       lease_until = c.lease_until, claimed_message = c.claimed_message, cancel_requested_at = c.cancel_requested_at, failure_code = c.failure_code, \
       failure_message = c.failure_message, output = c.output, output_blob = c.output_blob \
     FROM c WHERE job.id = c.id"
);

impl PostgresStore {
    /// Begins a transaction by `statement`, which locks and reads jobs, with the time in the first column.
    pub(super) async fn begin(&self, statement: Statement<'_>) -> Result<(Session<'_>, Vec<PgRow>, Ledger), Error> {
        let mut session = self.sessions.take().await?;
        session.begin().await?;
        let rows = session.rows(statement).await?;
        let ledger = Ledger::at(rows::now(&rows)?);
        Ok((session, rows, ledger))
    }

    /// Writes the changed jobs and the events, and commits. A change may have no event: nothing that a caller sees has changed.
    pub(super) async fn commit(&self, mut session: Session<'_>, jobs: &Jobs, ledger: &Ledger) -> Result<(), Error> {
        let changed = jobs.changed();
        if !changed.is_empty() {
            let updates = array(changed.into_iter().map(JobUpdate::of))?;
            session.rows(query(UPDATE).bind(updates).bind(rows::events(&ledger.events)?).bind(ledger.now.0)).await?;
        }
        session.commit().await
    }
}

/// Ids as an array of texts, for `$1::text[]::uuid[]`.
pub(super) fn ids(ids: impl Iterator<Item = crate::id::JobId>) -> Vec<String> {
    crate::store::rows::sorted(ids).iter().map(ToString::to_string).collect()
}
