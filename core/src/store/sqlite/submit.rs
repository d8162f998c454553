//! Accepting and cancelling: how a group of jobs is written with its first events. Who was there first is decided in `decide`.

use async_trait::async_trait;
use sqlx::query;

use super::{
    SqliteStore,
    connection::Durability,
    rows::{self, JobInsert, job_array},
    write::{Jobs, id_array, insert_events},
};
use crate::{
    id::{IdempotencyKey, JobId},
    store::{
        Cancelled, Error, NewJob, Submissions, Submitted,
        decide::{Ledger, accept},
    },
};

/// Begins, and reads the jobs that stand under these ids (`?1`) or idempotency keys (`?2`).
const BEGIN: &str = concat!(
    "BEGIN IMMEDIATE; SELECT json_group_array(json_array(",
    job_array!(),
    ", j.idempotency_key, hex(j.fingerprint))) FROM job AS j WHERE j.id IN (SELECT value FROM json_each(?1)) \
       OR j.idempotency_key IN (SELECT value FROM json_each(?2))"
);

/// Inserts jobs (`?1`) and their events (`?2`) and commits. None of the jobs stands already: `BEGIN` has looked.
const INSERT_AND_COMMIT: &str = concat!(
    "WITH new AS MATERIALIZED (SELECT value FROM json_each(?1)) \
     INSERT INTO job (id, model, version, lane, state, event_seq, attempts_max, created_at, due_at, start_deadline_at, \
       run_timeout_ms, p50_ms, p90_ms, estimate_source, retry_of, traceparent, idempotency_key, fingerprint, input, input_blob) \
     SELECT value ->> 'id', value ->> 'model', value ->> 'version', value ->> 'lane', 'queued', 1, value ->> 'attempts_max', \
       value ->> 'created_at', value ->> 'due_at', value ->> 'start_deadline_at', value ->> 'run_timeout_ms', \
       value ->> 'p50_ms', value ->> 'p90_ms', value ->> 'estimate_source', value ->> 'retry_of', value ->> 'traceparent', \
       value ->> 'idempotency_key', unhex(value ->> 'fingerprint'), value ->> 'input', value ->> 'input_blob' \
     FROM new; ",
    insert_events!(),
    "; COMMIT"
);

const BEGIN_ONE: &str = concat!("BEGIN IMMEDIATE; SELECT json_group_array(", job_array!(), ") FROM job AS j WHERE j.id = ?1");

#[async_trait]
impl Submissions for SqliteStore {
    async fn submit(&self, jobs: Vec<NewJob>) -> Result<Vec<Submitted>, Error> {
        let ids = id_array(jobs.iter().map(|new| new.id))?;
        let keys = rows::array(jobs.iter().filter_map(|new| new.idempotency_key.as_ref().map(IdempotencyKey::as_str)))?;
        let (mut turn, standing) = self.begin(Durability::Disk, query(BEGIN).bind(ids).bind(keys)).await?;
        let mut ledger = Ledger::at(self.clock.now());
        let accepted = accept(&jobs, rows::standing(&standing)?, &mut ledger);
        if ledger.events.is_empty() {
            turn.nothing_written().await?;
            return Ok(accepted.answers);
        }
        let inserts = rows::array(accepted.created(&jobs).map(|(new, job)| JobInsert::of(new, job)))?;
        let events = rows::events(&ledger.events)?;
        turn.whole(query(INSERT_AND_COMMIT).bind(inserts).bind(events).bind(ledger.now.0)).await?;
        Ok(accepted.answers)
    }

    async fn cancel(&self, job: JobId) -> Result<Option<Cancelled>, Error> {
        let (turn, rows) = self.begin(Durability::Disk, query(BEGIN_ONE).bind(job.to_string())).await?;
        let mut ledger = Ledger::at(self.clock.now());
        let mut jobs = Jobs::new(rows::stored(&rows)?);
        let cancelled = jobs.get_mut(job).map(|stored| {
            let changed = stored.cancel(&mut ledger);
            Cancelled { job: stored.job.clone(), changed }
        });
        self.commit(turn, &jobs, &ledger).await?;
        Ok(cancelled)
    }
}
