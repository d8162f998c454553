//! Accepting and cancelling: how a group of jobs is written with its first events. Who was there first is decided in `decide`.

use async_trait::async_trait;
use sqlx::query;

use super::{
    PostgresStore, errors, rows,
    sessions::Statement,
    time::{now, now_after_locks},
    write::{ids, insert_events, locked},
};
use crate::{
    id::{IdempotencyKey, JobId},
    store::{
        Cancelled, Error, NewJob, Submissions, Submitted,
        decide::{Accepted, Jobs, Ledger, accept},
        rows::{JobInsert, array, job_array, stored_array},
    },
};

/// How often a group may find, when it writes, that another process has taken one of its ids or keys since it looked.
const RACES_MAX: usize = 4;

/// The time, and the jobs that stand under these ids (`$1`) or idempotency keys (`$2`): one row at least.
const LOOK: &str = concat!(
    "SELECT ",
    now!("$3"),
    ", CASE WHEN j.id IS NOT NULL THEN ",
    job_array!("json_build_array"),
    "::text END, j.idempotency_key, encode(j.fingerprint, 'hex') FROM (VALUES (1)) AS one(row) \
     LEFT JOIN job AS j ON j.id = ANY ($1::text[]::uuid[]) \
       OR (j.idempotency_key IS NOT NULL AND j.idempotency_key = ANY ($2::text[]))"
);

/// Inserts jobs (`$1`) and their events (`$2`) at `$3`. It fails, and nothing is written, when an id or key is taken.
const INSERT: &str = concat!(
    "WITH accepted AS (INSERT INTO job (id, model, version, lane, state, event_seq, attempts_max, created_at, due_at, \
       start_deadline_at, run_timeout_ms, p50_ms, p90_ms, estimate_source, retry_of, traceparent, idempotency_key, \
       fingerprint, input, input_blob) \
     SELECT n.id, n.model, n.version, n.lane, 'queued', 1, n.attempts_max, n.created_at, n.due_at, \
       n.start_deadline_at, n.run_timeout_ms, n.p50_ms, n.p90_ms, n.estimate_source, n.retry_of, n.traceparent, \
       n.idempotency_key, decode(n.fingerprint, 'hex'), n.input, n.input_blob \
     FROM json_to_recordset($1::json) AS n(id uuid, model text, version text, lane text, attempts_max bigint, \
       created_at bigint, due_at bigint, start_deadline_at bigint, run_timeout_ms bigint, p50_ms double precision, \
       p90_ms double precision, estimate_source text, retry_of uuid, traceparent text, idempotency_key text, \
       fingerprint text, input text, input_blob text)) ",
    insert_events!()
);

const LOCK: &str =
    concat!(locked!(), "SELECT ", now_after_locks!("$2"), ", ", stored_array!("json_build_array"), "::text FROM j");

#[async_trait]
impl Submissions for PostgresStore {
    async fn submit(&self, jobs: Vec<NewJob>) -> Result<Vec<Submitted>, Error> {
        let mut races = 0;
        loop {
            match self.submit_unless_taken(&jobs).await {
                Err(error) if errors::is_taken(&error) && races < RACES_MAX => races += 1,
                answer => return answer,
            }
        }
    }

    async fn cancel(&self, wanted: Vec<JobId>) -> Result<Vec<Option<Cancelled>>, Error> {
        let lock = query(LOCK).bind(ids(wanted.iter().copied())).bind(self.time.given());
        let (session, rows, mut ledger) = self.begin(lock).await?;
        let mut jobs = Jobs::new(rows::stored(&rows)?);
        let cancelled = jobs.cancel(&wanted, &mut ledger);
        self.commit(session, &jobs, &ledger).await?;
        Ok(cancelled)
    }
}

impl PostgresStore {
    /// Looks, decides and writes, in two statements that commit by themselves: nothing has to be held in between, because the schema
    /// refuses whoever comes second. The look brings the time, which the jobs need before they are written.
    async fn submit_unless_taken(&self, jobs: &[NewJob]) -> Result<Vec<Submitted>, Error> {
        let keys: Vec<&str> = jobs.iter().filter_map(|new| new.idempotency_key.as_ref().map(IdempotencyKey::as_str)).collect();
        let look = query(LOOK).bind(ids(jobs.iter().map(|new| new.id))).bind(keys).bind(self.time.given());
        let mut session = self.sessions.take().await?;
        let found = session.rows(look).await?;
        let mut ledger = Ledger::at(rows::now(&found)?);
        let accepted = accept(jobs, rows::standing(&found)?, &mut ledger);
        if !ledger.events.is_empty() {
            session.rows(insert(jobs, &accepted, &ledger)?).await?;
        }
        Ok(accepted.answers)
    }
}

fn insert(jobs: &[NewJob], accepted: &Accepted, ledger: &Ledger) -> Result<Statement<'static>, Error> {
    let mut created: Vec<JobInsert> = accepted.created(jobs).map(|(new, job)| JobInsert::of(new, job)).collect();
    // Two groups that share keys wait for each other at the index: in one order, never in a circle.
    created.sort_unstable_by(|a, b| a.taking_order().cmp(&b.taking_order()));
    Ok(query(INSERT).bind(array(created)?).bind(rows::events(&ledger.events)?).bind(ledger.now.0))
}
