//! Claiming: a whole group in one transaction, inputs included.

use std::collections::{HashMap, HashSet};

use sqlx::query;

use super::{
    SqliteStore,
    connection::Durability,
    rows::{self, job_array},
    write::{Jobs, id_array},
};
use crate::{
    id::{JobId, WorkerId},
    store::{
        Claim, Claimed, Error, Payload, Skip, Work,
        decide::{Ledger, Stored},
    },
};

const BEGIN: &str = concat!(
    "BEGIN IMMEDIATE; SELECT json_group_array(json_array(",
    job_array!(),
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
        let mut claimed_here = HashSet::new();
        let mut claim_one = |claim: &Claim| {
            let Some(stored) = jobs.get_mut(claim.job) else {
                return Claimed::Skip(Skip::Unknown);
            };
            // Not even a takeover takes from the call that it stands in.
            if claimed_here.contains(&claim.job) {
                return Claimed::Skip(Skip::Held);
            }
            match stored.claim(worker, claim, &mut ledger) {
                Ok(started) => {
                    claimed_here.insert(claim.job);
                    Claimed::Run(Box::new(work(stored, started, &inputs)))
                }
                Err(skip) => Claimed::Skip(skip),
            }
        };
        let claimed = claims.iter().map(&mut claim_one).collect();
        self.commit(turn, &jobs, &ledger).await?;
        Ok(claimed)
    }
}

fn work(stored: &Stored, started: crate::store::decide::Started, inputs: &HashMap<JobId, Payload>) -> Work {
    let job = &stored.job;
    Work {
        job: job.id,
        attempt: job.attempt,
        model: job.model.clone(),
        version: job.version.clone(),
        lane: job.lane.clone(),
        input: inputs[&job.id].clone(),
        estimate: job.estimate,
        run_timeout: job.run_timeout,
        failures: job.failures,
        attempts_max: job.attempts_max,
        waited: started.waited,
        takeover: started.takeover,
        event_seq: started.event_seq,
        traceparent: job.traceparent.clone(),
    }
}
