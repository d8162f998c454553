//! Claiming: a whole group in one transaction, inputs included.

use super::PostgresStore;
use crate::{
    id::WorkerId,
    store::{Claim, Claimed, Error},
};

impl PostgresStore {
    pub(super) async fn claim_group(&self, worker: WorkerId, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        let (mut begun, inputs) = self.begin_with_inputs(claims.iter().map(|claim| claim.job)).await?;
        let claimed = begun.jobs.claim(worker, claims, &inputs, &mut begun.ledger);
        begun.commit().await?;
        Ok(claimed)
    }
}
