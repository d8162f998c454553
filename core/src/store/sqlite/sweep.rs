//! Rescuing what was lost and expiring what came too late.

use sqlx::query;

use super::{SqliteStore, connection::Durability, rows};
use crate::store::{
    Error, Rescued,
    decide::{Jobs, Ledger},
    rows::{job_array, limit},
};

/// Jobs whose lease is over at `?1`, and jobs that were to start before it, at most `?2` of each.
const BEGIN: &str = concat!(
    "BEGIN IMMEDIATE; SELECT json_group_array(json(job)) FROM (SELECT ",
    job_array!("json_array"),
    " AS job FROM job AS j INDEXED BY job_leased WHERE j.lease_until <= ?1 ORDER BY j.lease_until LIMIT ?2); \
     SELECT json_group_array(json(job)) FROM (SELECT ",
    job_array!("json_array"),
    " AS job FROM job AS j INDEXED BY job_start_deadline \
     WHERE j.state = 'queued' AND j.started_at IS NULL AND j.start_deadline_at < ?1 ORDER BY j.start_deadline_at LIMIT ?2)"
);

const END_LEASES: &str = "UPDATE job SET lease_until = ?1 WHERE lease_until > ?1; SELECT changes()";

impl SqliteStore {
    pub(super) async fn sweep_some(&self, most: usize) -> Result<Vec<Rescued>, Error> {
        let mut ledger = Ledger::at(self.clock.now());
        let (turn, rows) = self.begin(Durability::Process, query(BEGIN).bind(ledger.now.0).bind(limit(most))).await?;
        let mut jobs = Jobs::new(rows::stored(&rows)?);
        let rescued = jobs.sweep(&mut ledger);
        self.commit(turn, &jobs, &ledger).await?;
        Ok(rescued)
    }

    pub(super) async fn end_leases(&self) -> Result<u64, Error> {
        let mut turn = self.writer.turn(Durability::Process).await?;
        let now = self.clock.now();
        rows::count(&turn.whole(query(END_LEASES).bind(now.0)).await?)
    }
}
