//! Accepting and cancelling: how a group of jobs is written with its first events. Who was there first is decided in `decide`.

use async_trait::async_trait;
use sqlx::query;

use super::{
    PostgresStore, errors, rows,
    sessions::{Session, Statement},
    time::now,
    write::{ids, insert_events},
};
use crate::{
    id::{IdempotencyKey, JobId},
    store::{
        Acceptance, Cancelled, Error, NewJob, Submissions, Submitted,
        decide::{Accepted, Ledger, accept},
        rows::{JobInsert, array, job_array, long_array},
    },
};

/// How often a group may find, when it writes, that another process has taken one of its ids or keys since it looked.
const RACES_MAX: usize = 4;

/// The time, and the jobs that stand under these ids (`$1`, those of jobs that are run again too) or idempotency keys (`$2`): one row at
/// least.
const LOOK: &str = concat!(
    "SELECT CASE WHEN j.id IS NOT NULL THEN ",
    job_array!("json_build_array"),
    "::text END, ",
    now!("$3"),
    " AS now, j.idempotency_key, encode(j.fingerprint, 'hex') AS fingerprint FROM (VALUES (1)) AS one(row) \
     LEFT JOIN job AS j ON j.id = ANY ($1::text[]::uuid[]) \
       OR (j.idempotency_key IS NOT NULL AND j.idempotency_key = ANY ($2::text[]))"
);

/// Inserts jobs (`$1`) and their events (`$2`) at `$3`. It fails, and nothing is written, when an id or key is taken. The argument is what
/// else is done with it.
macro_rules! insert {
    ($more:literal) => {
        concat!(
            "WITH ",
            $more,
            "accepted AS (INSERT INTO job (id, model, version, lane, state, event_seq, attempts_max, created_at, due_at, \
               start_deadline_at, run_timeout_ms, stall_timeout_ms, p50_ms, p90_ms, estimate_source, retry_of, traceparent, idempotency_key, \
               fingerprint, input, input_blob) \
             SELECT n.id, n.model, n.version, n.lane, 'queued', 1, n.attempts_max, n.created_at, n.due_at, \
               n.start_deadline_at, n.run_timeout_ms, n.stall_timeout_ms, n.p50_ms, n.p90_ms, n.estimate_source, n.retry_of, n.traceparent, \
               n.idempotency_key, decode(n.fingerprint, 'hex'), n.input, n.input_blob \
             FROM json_to_recordset($1::json) AS n(id uuid, model text, version text, lane text, attempts_max bigint, \
               created_at bigint, due_at bigint, start_deadline_at bigint, run_timeout_ms bigint, stall_timeout_ms bigint, p50_ms double precision, \
               p90_ms double precision, estimate_source text, retry_of uuid, traceparent text, idempotency_key text, \
               fingerprint text, input text, input_blob text)) ",
            insert_events!()
        )
    };
}

const INSERT: &str = insert!("");

/// As `INSERT`, and marks the jobs that are run again (`$4`), whose rows are locked.
const INSERT_AND_MARK: &str = insert!(
    "retried AS (UPDATE job SET retried_by = r.by FROM json_to_recordset($4::json) AS r(job uuid, by uuid) WHERE job.id = r.job), "
);

/// Locks the jobs that are run again (`$1`): of two that run one again, the second waits, and sees the mark.
const LOCK_RETRIED: &str = "SELECT 1 FROM job WHERE id = ANY ($1::text[]::uuid[]) ORDER BY id FOR NO KEY UPDATE";

#[async_trait]
impl Submissions for PostgresStore {
    async fn submit_as(&self, jobs: Vec<NewJob>, acceptance: Acceptance) -> Result<Vec<Submitted>, Error> {
        let mut races = 0;
        loop {
            let answer = match jobs.iter().any(|new| new.retry_of.is_some()) {
                true => self.submit_again(&jobs, acceptance).await,
                false => self.submit_unless_taken(&jobs, acceptance).await,
            };
            match answer {
                Err(error) if errors::is_taken(&error) && races < RACES_MAX => races += 1,
                answer => return answer,
            }
        }
    }

    async fn cancel(&self, wanted: Vec<JobId>) -> Result<Vec<Option<Cancelled>>, Error> {
        let mut begun = self.begin(wanted.iter().copied()).await?;
        let cancelled = begun.jobs.cancel(&wanted, &mut begun.ledger);
        begun.commit().await?;
        Ok(cancelled)
    }
}

impl PostgresStore {
    /// Looks, decides and writes, in two statements that commit by themselves: nothing has to be held in between, because the schema
    /// refuses whoever comes second. The look brings the time, which the jobs need before they are written.
    async fn submit_unless_taken(&self, jobs: &[NewJob], acceptance: Acceptance) -> Result<Vec<Submitted>, Error> {
        let mut session = self.sessions.take().await?;
        let (accepted, ledger) = self.look(&mut session, jobs, acceptance).await?;
        if !ledger.events.is_empty() {
            session.rows(insert(INSERT, jobs, &accepted, &ledger).await?).await?;
        }
        Ok(accepted.answers)
    }

    /// As `submit_unless_taken`, in one transaction that holds the jobs that are run again.
    async fn submit_again(&self, jobs: &[NewJob], acceptance: Acceptance) -> Result<Vec<Submitted>, Error> {
        let mut session = self.sessions.take().await?;
        session.begin().await?;
        session.rows(query(LOCK_RETRIED).bind(ids(jobs.iter().filter_map(|new| new.retry_of)))).await?;
        let (accepted, ledger) = self.look(&mut session, jobs, acceptance).await?;
        if !ledger.events.is_empty() {
            let retried = array(&accepted.retried)?;
            session.rows(insert(INSERT_AND_MARK, jobs, &accepted, &ledger).await?.bind(retried)).await?;
        }
        session.commit().await?;
        Ok(accepted.answers)
    }

    async fn look(
        &self,
        session: &mut Session<'_>,
        jobs: &[NewJob],
        acceptance: Acceptance,
    ) -> Result<(Accepted, Ledger), Error> {
        let keys: Vec<&str> = jobs.iter().filter_map(|new| new.idempotency_key.as_ref().map(IdempotencyKey::as_str)).collect();
        let named = jobs.iter().flat_map(|new| [Some(new.id), new.retry_of]).flatten();
        let found = session.rows(query(LOOK).bind(ids(named)).bind(keys).bind(self.time.given())).await?;
        let mut ledger = Ledger::at(rows::now(&found)?);
        let accepted = accept(jobs, acceptance, rows::standing(&found)?, &mut ledger);
        Ok((accepted, ledger))
    }
}

async fn insert(text: &'static str, jobs: &[NewJob], accepted: &Accepted, ledger: &Ledger) -> Result<Statement<'static>, Error> {
    let mut created: Vec<JobInsert> = accepted.created(jobs).map(|(new, job)| JobInsert::of(new, job)).collect();
    // Two groups that share keys wait for each other at the index: in one order, never in a circle.
    created.sort_unstable_by(|a, b| a.taking_order().cmp(&b.taking_order()));
    Ok(query(text).bind(long_array(&created).await?).bind(rows::events(&ledger.events)?).bind(ledger.now.0))
}
