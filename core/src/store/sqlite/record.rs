//! Keeping and recording attempts: how a lease is extended and a group of records is written. The outcome of each is decided in
//! `decide`.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::{Row, query};

use super::{SqliteStore, connection::Durability, rows};
use crate::{
    id::{Attempt, JobId, WorkerId},
    job::State,
    store::{
        Attempts, Claim, Claimed, Error, Extended, Lease, Record, Recorded, Rescued, Source,
        decide::{Jobs, Ledger, extended},
        rows::{LeaseRow, array, id_array, job_array},
    },
};

const BEGIN: &str = concat!(
    "BEGIN IMMEDIATE; SELECT json_group_array(",
    job_array!("json_array"),
    ") FROM json_each(?1) AS wanted CROSS JOIN job AS j ON j.id = wanted.value"
);

const EXTEND: &str = "UPDATE job SET lease_until = ?3 + (l.value ->> 'lease_ms') FROM json_each(?1) AS l \
     WHERE job.id = l.value ->> 'job' AND job.attempt = l.value ->> 'attempt' AND job.worker = ?2 \
       AND job.state IN ('running', 'cancelling') \
     RETURNING id, attempt, state";

#[async_trait]
impl Attempts for SqliteStore {
    async fn claim(&self, worker: WorkerId, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        self.claim_group(worker, claims).await
    }

    async fn extend(&self, worker: WorkerId, leases: &[Lease]) -> Result<Vec<Extended>, Error> {
        let array = array(leases.iter().map(LeaseRow::from))?;
        let mut turn = self.writer.turn(Durability::Process).await?;
        let now = self.clock.now();
        let rows = turn.whole(query(EXTEND).bind(array).bind(worker.to_string()).bind(now.0)).await?;
        let mut held = HashMap::with_capacity(rows.len());
        for row in &rows {
            let read = || -> Result<_, Source> {
                let (job, state): (&str, &str) = (row.try_get(0)?, row.try_get(2)?);
                Ok(((job.parse()?, Attempt(row.try_get(1)?)), state.parse()?))
            };
            let (lease, state): ((JobId, Attempt), State) = read().map_err(|cause| Error::broken("an extended lease", cause))?;
            held.insert(lease, state);
        }
        Ok(extended(leases, &held))
    }

    async fn record(&self, records: &[Record]) -> Result<Vec<Recorded>, Error> {
        let ids = id_array(records.iter().map(|record| record.job))?;
        // Progress too: a caller whose cursor stands behind events that a power cut took would miss the ones told in their place.
        let (turn, rows) = self.begin(Durability::Disk, query(BEGIN).bind(ids)).await?;
        let mut ledger = Ledger::at(self.clock.now());
        let mut jobs = Jobs::new(rows::stored(&rows)?);
        let recorded = jobs.record(records, &mut ledger)?;
        self.commit(turn, &jobs, &ledger).await?;
        Ok(recorded)
    }

    async fn sweep(&self, limit: usize) -> Result<Vec<Rescued>, Error> {
        self.sweep_some(limit).await
    }

    async fn end_all_leases(&self) -> Result<u64, Error> {
        self.end_leases().await
    }
}
