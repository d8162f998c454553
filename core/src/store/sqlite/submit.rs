//! Accepting and cancelling: how a group of jobs is written with its first events. Who was there first is decided in `decide`.

use async_trait::async_trait;
use sqlx::query;

use super::{
    SqliteStore,
    connection::{Durability, Statement},
    errors, rows,
    write::insert_events,
};
use crate::{
    id::{IdempotencyKey, JobId},
    store::{
        Acceptance, Cancelled, Error, NewJob, Submissions, Submitted,
        decide::{Accepted, Jobs, Ledger, accept},
        rows::{JobInsert, array, id_array, job_array, long_array},
    },
};

/// Begins, and reads the jobs that stand under these ids (`?1`, those of jobs that are run again too) or idempotency keys (`?2`).
const BEGIN: &str = concat!(
    "BEGIN IMMEDIATE; SELECT json_group_array(json_array(",
    job_array!("json_array"),
    ", j.idempotency_key, hex(j.fingerprint))) FROM job AS j WHERE j.id IN (SELECT value FROM json_each(?1)) \
       OR j.idempotency_key IN (SELECT value FROM json_each(?2))"
);

/// Inserts jobs (`?1`) and their events (`?2`) at `?3`.
macro_rules! insert_with_events {
    () => {
        concat!(
            "WITH new AS MATERIALIZED (SELECT value FROM json_each(?1)) \
             INSERT INTO job (id, model, version, lane, state, event_seq, attempts_max, created_at, due_at, \
               start_deadline_at, run_timeout_ms, stall_timeout_ms, p50_ms, p90_ms, estimate_source, retry_of, traceparent, idempotency_key, \
               fingerprint, input, input_blob) \
             SELECT value ->> 'id', value ->> 'model', value ->> 'version', value ->> 'lane', 'queued', 1, \
               value ->> 'attempts_max', value ->> 'created_at', value ->> 'due_at', value ->> 'start_deadline_at', \
               value ->> 'run_timeout_ms', value ->> 'stall_timeout_ms', value ->> 'p50_ms', value ->> 'p90_ms', value ->> 'estimate_source', \
               value ->> 'retry_of', value ->> 'traceparent', value ->> 'idempotency_key', unhex(value ->> 'fingerprint'), \
               value ->> 'input', value ->> 'input_blob' \
             FROM new; ",
            insert_events!()
        )
    };
}

/// A whole transaction in one text. It fails, and nothing is written, when an id or key is taken.
const INSERT_ALL: &str = concat!("BEGIN IMMEDIATE; ", insert_with_events!(), "; COMMIT");

/// The end of a transaction that has seen which jobs stand; marks those that are run again (`?4`).
const INSERT_REST: &str = concat!(
    insert_with_events!(),
    "; UPDATE job SET retried_by = r.value ->> 'by' FROM json_each(?4) AS r WHERE job.id = r.value ->> 'job'; COMMIT"
);

/// Begins, and reads the jobs of these ids (`?1`).
const BEGIN_CANCEL: &str = concat!(
    "BEGIN IMMEDIATE; SELECT json_group_array(",
    job_array!("json_array"),
    ") FROM json_each(?1) AS wanted CROSS JOIN job AS j ON j.id = wanted.value"
);

#[async_trait]
impl Submissions for SqliteStore {
    async fn submit_as(&self, jobs: Vec<NewJob>, acceptance: Acceptance) -> Result<Vec<Submitted>, Error> {
        if jobs.iter().any(|new| new.retry_of.is_some()) {
            return self.submit_among_standing(&jobs, acceptance).await;
        }
        // Nearly every group is all new: it is written without looking first. One that is not is refused by the schema.
        let mut turn = self.writer.turn(Durability::Disk).await?;
        let mut ledger = Ledger::at(self.clock.now());
        let accepted = accept(&jobs, acceptance, Vec::new(), &mut ledger);
        if !ledger.events.is_empty() {
            match turn.whole(insert(INSERT_ALL, &jobs, &accepted, &ledger).await?).await {
                Ok(_) => return Ok(accepted.answers),
                Err(error) if errors::is_taken(&error) => (),
                Err(error) => return Err(error),
            }
        }
        // A whole that contradicts itself comes here too: which of its jobs stand already is told all the same.
        drop(turn);
        self.submit_among_standing(&jobs, acceptance).await
    }

    async fn cancel(&self, wanted: Vec<JobId>) -> Result<Vec<Option<Cancelled>>, Error> {
        let ids = id_array(wanted.iter().copied())?;
        let (turn, rows) = self.begin(Durability::Disk, query(BEGIN_CANCEL).bind(ids)).await?;
        let mut ledger = Ledger::at(self.clock.now());
        let mut jobs = Jobs::new(rows::stored(&rows)?);
        let cancelled = jobs.cancel(&wanted, &mut ledger);
        self.commit(turn, &jobs, &ledger).await?;
        Ok(cancelled)
    }
}

impl SqliteStore {
    /// Looks at the jobs that stand first, then writes the others.
    async fn submit_among_standing(&self, jobs: &[NewJob], acceptance: Acceptance) -> Result<Vec<Submitted>, Error> {
        let ids = id_array(jobs.iter().flat_map(|new| [Some(new.id), new.retry_of]).flatten())?;
        let keys = array(jobs.iter().filter_map(|new| new.idempotency_key.as_ref().map(IdempotencyKey::as_str)))?;
        let (mut turn, standing) = self.begin(Durability::Disk, query(BEGIN).bind(ids).bind(keys)).await?;
        let mut ledger = Ledger::at(self.clock.now());
        let accepted = accept(jobs, acceptance, rows::standing(&standing)?, &mut ledger);
        if ledger.events.is_empty() {
            turn.nothing_written().await?;
        } else {
            let retried = array(&accepted.retried)?;
            turn.whole(insert(INSERT_REST, jobs, &accepted, &ledger).await?.bind(retried)).await?;
        }
        Ok(accepted.answers)
    }
}

async fn insert(text: &'static str, jobs: &[NewJob], accepted: &Accepted, ledger: &Ledger) -> Result<Statement<'static>, Error> {
    let inserts: Vec<JobInsert<'_>> = accepted.created(jobs).map(|(new, job)| JobInsert::of(new, job)).collect();
    let inserts = long_array(&inserts).await?;
    Ok(query(text).bind(inserts).bind(rows::events(&ledger.events)?).bind(ledger.now.0))
}
