//! Keeping and recording attempts: how a lease is extended and a group of records is written. The outcome of each is decided in
//! `decide`.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::{Row, query};

use super::{PostgresStore, relaxed, time::now_after_locks, write::ids};
use crate::{
    id::{Attempt, JobId, WorkerId},
    job::State,
    store::{
        Attempts, Claim, Claimed, Error, Extended, Lease, Record, Recorded, Rescued, Source,
        decide::extended,
        rows::{LeaseRow, array},
    },
};

/// Extends leases (`$1`, of the jobs `$4`) of worker `$2`. The rows are locked first, in the order of their ids, as everywhere, and found by
/// them alone: a join with the leases would be planned by guesses about workers and states.
const EXTEND: &str = concat!(
    "WITH ",
    relaxed!(),
    ", held AS MATERIALIZED (SELECT id, attempt FROM job WHERE id = ANY ($4::text[]::uuid[]) \
       AND worker = $2::text::uuid AND state IN ('running', 'cancelling') ORDER BY id FOR NO KEY UPDATE) \
     UPDATE job SET lease_until = ",
    now_after_locks!("$3"),
    " + l.lease_ms FROM held \
       JOIN json_to_recordset($1::json) AS l(job uuid, attempt bigint, lease_ms bigint) ON l.job = held.id AND l.attempt = held.attempt, \
       relaxed WHERE job.id = held.id AND relaxed.level = 'off' \
     RETURNING job.id::text, job.attempt, job.state"
);

#[async_trait]
impl Attempts for PostgresStore {
    async fn claim(&self, worker: WorkerId, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        self.claim_group(worker, claims).await
    }

    async fn extend(&self, worker: WorkerId, leases: &[Lease]) -> Result<Vec<Extended>, Error> {
        let array = array(leases.iter().map(LeaseRow::from))?;
        let jobs = ids(leases.iter().map(|lease| lease.job));
        let extend = query(EXTEND).bind(array).bind(worker.to_string()).bind(self.time.given()).bind(jobs);
        let rows = self.sessions.rows(extend).await?;
        let mut held = HashMap::with_capacity(rows.len());
        for row in &rows {
            let read = || -> Result<_, Source> {
                let job: JobId = row.try_get::<&str, _>(0)?.parse()?;
                let attempt = Attempt(row.try_get::<i64, _>(1)?.try_into()?);
                Ok(((job, attempt), row.try_get::<&str, _>(2)?.parse()?))
            };
            let (lease, state): ((JobId, Attempt), State) = read().map_err(|cause| Error::broken("an extended lease", cause))?;
            held.insert(lease, state);
        }
        Ok(extended(leases, &held))
    }

    async fn record(&self, records: &[Record]) -> Result<Vec<Recorded>, Error> {
        let mut begun = self.begin(records.iter().map(|record| record.job)).await?;
        let recorded = begun.jobs.record(records, &mut begun.ledger)?;
        begun.commit().await?;
        Ok(recorded)
    }

    async fn sweep(&self, limit: usize) -> Result<Vec<Rescued>, Error> {
        self.sweep_some(limit).await
    }

    async fn end_all_leases(&self) -> Result<u64, Error> {
        self.end_leases().await
    }
}
