//! Keeping and recording attempts: how a lease is extended and a group of records is written. The outcome of each is decided in
//! `decide`.

use std::collections::HashMap;

use async_trait::async_trait;
use serde::Serialize;
use sqlx::{Row, query};

use super::{
    SqliteStore,
    connection::Durability,
    errors,
    rows::{self, job_array},
    write::{Jobs, id_array},
};
use crate::{
    id::{Attempt, JobId, WorkerId},
    job::State,
    store::{Attempts, Claim, Claimed, Error, Extended, Lease, Record, Recorded, Rescued, Source, decide::Ledger},
};

const BEGIN: &str = concat!(
    "BEGIN IMMEDIATE; SELECT json_group_array(",
    job_array!(),
    ") FROM json_each(?1) AS wanted CROSS JOIN job AS j ON j.id = wanted.value"
);

const EXTEND: &str = "UPDATE job SET lease_until = ?3 + (l.value ->> 'lease_ms') FROM json_each(?1) AS l \
     WHERE job.id = l.value ->> 'job' AND job.attempt = l.value ->> 'attempt' AND job.worker = ?2 \
       AND job.state IN ('running', 'cancelling') \
     RETURNING id, attempt, state";

#[derive(Serialize)]
struct LeaseRow {
    job: JobId,
    attempt: Attempt,
    lease_ms: i64,
}

#[async_trait]
impl Attempts for SqliteStore {
    async fn claim(&self, worker: WorkerId, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        self.claim_group(worker, claims).await
    }

    async fn extend(&self, worker: WorkerId, leases: &[Lease]) -> Result<Vec<Extended>, Error> {
        let array = rows::array(leases.iter().map(|lease| LeaseRow {
            job: lease.job,
            attempt: lease.attempt,
            lease_ms: rows::ms(lease.lease).min(LEASE_MS_MAX),
        }))?;
        let mut turn = self.writer.turn(Durability::Process).await?;
        let now = self.clock.now();
        let extended = turn.whole(query(EXTEND).bind(array).bind(worker.to_string()).bind(now.0)).await?;
        let mut held = HashMap::with_capacity(extended.len());
        for row in &extended {
            let read = || -> Result<_, Source> {
                let (job, state): (&str, &str) = (row.try_get(0)?, row.try_get(2)?);
                Ok(((job.parse()?, Attempt(row.try_get(1)?)), state.parse()?))
            };
            let (lease, state): ((JobId, Attempt), State) = read().map_err(|cause| errors::broken("an extended lease", cause))?;
            held.insert(lease, state);
        }
        let answer = |lease: &Lease| match held.get(&(lease.job, lease.attempt)) {
            Some(State::Cancelling) => Extended::CancelRequested,
            Some(_) => Extended::Held,
            None => Extended::Lost,
        };
        Ok(leases.iter().map(answer).collect())
    }

    async fn record(&self, records: &[Record]) -> Result<Vec<Recorded>, Error> {
        let ids = id_array(records.iter().map(|record| record.job))?;
        // Progress too: a caller whose cursor stands behind events that a power cut took would miss the ones told in their place.
        let (turn, rows) = self.begin(Durability::Disk, query(BEGIN).bind(ids)).await?;
        let mut ledger = Ledger::at(self.clock.now());
        let mut jobs = Jobs::new(rows::stored(&rows)?);
        let record_one = |record: &Record| match jobs.get_mut(record.job) {
            Some(stored) => stored.record(record, &mut ledger),
            None => Ok(Recorded::Fenced),
        };
        let recorded = records.iter().map(record_one).collect::<Result<_, _>>()?;
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

/// Longest lease, in milliseconds: an added one stays far from where SQLite's integers end.
const LEASE_MS_MAX: i64 = 1 << 52;
