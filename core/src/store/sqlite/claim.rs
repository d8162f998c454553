//! Claiming: a whole group in one transaction, inputs included.

use std::collections::HashMap;

use sqlx::query;

use super::{SqliteStore, connection::Durability, rows};
use crate::{
    id::{JobId, WorkerId},
    store::{
        Claim, Claimed, Error, Payload,
        decide::{Jobs, Ledger},
        rows::{id_array, job_array},
    },
};

const BEGIN: &str = concat!(
    "BEGIN IMMEDIATE; SELECT json_group_array(json_array(",
    job_array!("json_array"),
    ", j.input, j.input_blob)) FROM json_each(?1) AS wanted CROSS JOIN job AS j ON j.id = wanted.value"
);

impl SqliteStore {
    pub(super) async fn claim_group(&self, worker: WorkerId, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        let ids = id_array(claims.iter().map(|claim| claim.job))?;
        // A claim that a power cut undoes was the claim of a worker that the power cut ended.
        let (turn, rows) = self.begin(Durability::Process, query(BEGIN).bind(ids)).await?;
        let mut ledger = Ledger::at(self.clock.now());
        let (stored, inputs) = rows::stored_with_inputs(&rows)?;
        let inputs: HashMap<JobId, Payload> = stored.iter().map(|stored| stored.job.id).zip(inputs).collect();
        let mut jobs = Jobs::new(stored);
        let claimed = jobs.claim(worker, claims, &inputs, &mut ledger);
        self.commit(turn, &jobs, &ledger).await?;
        Ok(claimed)
    }
}
