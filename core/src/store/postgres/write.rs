//! The two halves of every change of jobs: lock and read them; update them and insert their events. It decides no transition.

use std::collections::HashMap;

use sqlx::{postgres::PgRow, query};

use super::{
    PostgresStore, rows,
    sessions::{Session, Statement},
    time::now_after_locks,
};
use crate::{
    id::JobId,
    store::{
        Error, Payload,
        decide::{Jobs, Ledger},
        rows::{JobUpdate, array, job_array, sorted},
    },
};

/// Locks and reads jobs `$1`, in the order of their ids, whatever the group: two groups that share jobs wait for each other, and never in a
/// circle. A row that was waited for is read as it is now. The lock leaves alone who only refers to the job (an event's foreign key).
/// The argument names further columns.
macro_rules! lock_jobs {
    ($more:literal) => {
        concat!(
            "WITH j AS MATERIALIZED (SELECT * FROM job WHERE id = ANY ($1::text[]::uuid[]) ORDER BY id FOR NO KEY UPDATE) SELECT ",
            job_array!("json_build_array"),
            "::text, ",
            now_after_locks!("$2"),
            " AS now",
            $more,
            " FROM j"
        )
    };
}

const LOCK: &str = lock_jobs!("");

const LOCK_WITH_INPUTS: &str = lock_jobs!(", j.input, j.input_blob");

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
       lease_until bigint, claimed_message uuid, cancel_requested_at bigint, failure_code text, failure_message text, output text, output_blob text, \
       cancel_met text, cancel_spent_ms bigint, checkpoint_blob text, checkpoint_done bigint, checkpoint_total bigint, \
       checkpoint_attempt bigint, checkpoint_seq bigint, begun_attempt bigint)), \
     told AS (",
    insert_events!(),
    ") UPDATE job SET state = c.state, attempt = c.attempt, failures = c.failures, event_seq = c.event_seq, due_at = c.due_at, \
       published_at = c.published_at, started_at = c.started_at, finished_at = c.finished_at, worker = c.worker, \
       lease_until = c.lease_until, claimed_message = c.claimed_message, cancel_requested_at = c.cancel_requested_at, failure_code = c.failure_code, \
       failure_message = c.failure_message, output = c.output, output_blob = c.output_blob, \
       cancel_met = c.cancel_met, cancel_spent_ms = c.cancel_spent_ms, checkpoint_blob = c.checkpoint_blob, \
       checkpoint_done = c.checkpoint_done, checkpoint_total = c.checkpoint_total, checkpoint_attempt = c.checkpoint_attempt, \
       checkpoint_seq = c.checkpoint_seq, begun_attempt = c.begun_attempt \
     FROM c WHERE job.id = c.id"
);

/// A transaction that has locked and read its jobs.
pub(super) struct Begun<'a> {
    pub session: Session<'a>,
    pub jobs: Jobs,
    pub ledger: Ledger,
}

impl PostgresStore {
    /// Begins a transaction with these jobs, locked.
    pub(super) async fn begin(&self, jobs: impl Iterator<Item = JobId>) -> Result<Begun<'_>, Error> {
        self.begin_by(query(LOCK).bind(ids(jobs)).bind(self.time.given())).await
    }

    /// As `begin`, by a statement that finds, locks and reads them.
    pub(super) async fn begin_by(&self, statement: Statement<'_>) -> Result<Begun<'_>, Error> {
        let (session, rows) = self.begun(statement).await?;
        Ok(Begun { session, ledger: Ledger::at(rows::now(&rows)?), jobs: Jobs::new(rows::stored(&rows)?) })
    }

    /// As `begin`, with the jobs' inputs.
    pub(super) async fn begin_with_inputs(
        &self,
        jobs: impl Iterator<Item = JobId>,
    ) -> Result<(Begun<'_>, HashMap<JobId, Payload>), Error> {
        let (session, rows) = self.begun(query(LOCK_WITH_INPUTS).bind(ids(jobs)).bind(self.time.given())).await?;
        let (stored, inputs) = rows::stored_with_inputs(&rows)?;
        Ok((Begun { session, ledger: Ledger::at(rows::now(&rows)?), jobs: Jobs::new(stored) }, inputs))
    }

    async fn begun(&self, statement: Statement<'_>) -> Result<(Session<'_>, Vec<PgRow>), Error> {
        let mut session = self.sessions.take().await?;
        session.begin().await?;
        let rows = session.rows(statement).await?;
        Ok((session, rows))
    }
}

impl Begun<'_> {
    /// Writes the changed jobs and the events, and commits. A change may have no event: nothing that a caller sees has changed.
    pub(super) async fn commit(self) -> Result<(), Error> {
        let Self { mut session, jobs, ledger } = self;
        let changed = jobs.changed();
        if !changed.is_empty() {
            let updates = array(changed.into_iter().map(JobUpdate::of))?;
            session.rows(query(UPDATE).bind(updates).bind(rows::events(&ledger.events)?).bind(ledger.now.0)).await?;
        }
        session.commit().await
    }
}

/// Ids as an array of texts, for `$1::text[]::uuid[]`.
pub(super) fn ids(ids: impl Iterator<Item = JobId>) -> Vec<String> {
    sorted(ids).iter().map(ToString::to_string).collect()
}
