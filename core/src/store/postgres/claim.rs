//! Claiming: a whole group in one transaction, inputs included.

use std::collections::HashMap;

use sqlx::query;

use super::{
    PostgresStore, rows,
    time::now_after_locks,
    write::{ids, locked},
};
use crate::{
    id::{JobId, WorkerId},
    store::{Claim, Claimed, Error, Payload, decide::Jobs, rows::stored_array},
};

const LOCK: &str = concat!(
    locked!(),
    "SELECT ",
    now_after_locks!("$2"),
    ", ",
    stored_array!("json_build_array"),
    "::text, j.input, j.input_blob FROM j"
);

impl PostgresStore {
    pub(super) async fn claim_group(&self, worker: WorkerId, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        let lock = query(LOCK).bind(ids(claims.iter().map(|claim| claim.job))).bind(self.time.given());
        let (session, rows, mut ledger) = self.begin(lock).await?;
        let stored = rows::stored(&rows)?;
        let mut inputs: HashMap<JobId, Payload> = HashMap::with_capacity(rows.len());
        for (stored, row) in stored.iter().zip(&rows) {
            inputs.insert(stored.job.id, rows::input(row)?);
        }
        let mut jobs = Jobs::new(stored);
        let claimed = jobs.claim(worker, claims, &inputs, &mut ledger);
        self.commit(session, &jobs, &ledger).await?;
        Ok(claimed)
    }
}
