//! Rescuing what was lost and expiring what came too late. Several sweepers at once share the work: none waits for a job that
//! another one, or its worker, has in hand.

use sqlx::query;

use super::{
    PostgresStore, rows,
    time::{now, now_after_locks},
};
use crate::store::{
    Error, Rescued,
    rows::{job_array, limit},
};

/// Jobs whose lease is over, and jobs that were to start before now, at most `$2` of each.
const LOCK: &str = concat!(
    "WITH lost AS MATERIALIZED (SELECT * FROM job WHERE lease_until <= ",
    now!("$1"),
    " ORDER BY lease_until LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED), \
     late AS MATERIALIZED (SELECT * FROM job WHERE state = 'queued' AND started_at IS NULL AND start_deadline_at < ",
    now!("$1"),
    " ORDER BY start_deadline_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED) \
     SELECT ",
    job_array!("json_build_array"),
    "::text, ",
    now_after_locks!("$1"),
    " AS now FROM (SELECT * FROM lost UNION ALL SELECT * FROM late) AS j"
);

const END_LEASES: &str = concat!(
    "WITH held AS MATERIALIZED (SELECT id FROM job WHERE lease_until > ",
    now!("$1"),
    " ORDER BY id FOR NO KEY UPDATE), \
     ended AS (UPDATE job SET lease_until = ",
    now!("$1"),
    " FROM held WHERE job.id = held.id RETURNING 1) SELECT count(*) FROM ended"
);

impl PostgresStore {
    pub(super) async fn sweep_some(&self, most: usize) -> Result<Vec<Rescued>, Error> {
        let mut begun = self.begin_by(query(LOCK).bind(self.time.given()).bind(limit(most))).await?;
        let rescued = begun.jobs.sweep(&mut begun.ledger);
        begun.commit().await?;
        Ok(rescued)
    }

    pub(super) async fn end_leases(&self) -> Result<u64, Error> {
        rows::count(&self.sessions.rows(query(END_LEASES).bind(self.time.given())).await?)
    }
}
