//! What a call does to its group of jobs: each wish in order, each upon what the one before has left. It decides in which order and
//! how often a job may be named; what one wish does to one job stands in the modules beside it.

use std::collections::{HashMap, HashSet};

use super::{Ledger, Started, Stored};
use crate::{
    id::{Attempt, JobId, WorkerId},
    job::State,
    store::{Cancelled, Claim, Claimed, Dropped, Error, Extended, Lease, Payload, Record, Recorded, Rescued, Skip, Work},
};

/// Jobs in the hands of one writing transaction.
#[derive(Debug)]
pub(in crate::store) struct Jobs {
    stored: Vec<Stored>,
    by_id: HashMap<JobId, usize>,
}

impl Jobs {
    pub(in crate::store) fn new(stored: Vec<Stored>) -> Self {
        let by_id = stored.iter().enumerate().map(|(index, stored)| (stored.job.id, index)).collect();
        Self { stored, by_id }
    }

    /// The jobs that this call has changed.
    pub(in crate::store) fn changed(&self) -> Vec<&Stored> {
        self.stored.iter().filter(|stored| stored.changed).collect()
    }

    /// Claims for `worker`; `inputs` holds every job's.
    pub(in crate::store) fn claim(
        &mut self,
        worker: WorkerId,
        claims: &[Claim],
        inputs: &HashMap<JobId, Payload>,
        ledger: &mut Ledger,
    ) -> Vec<Claimed> {
        let mut claimed_here = HashSet::new();
        let mut claim_one = |claim: &Claim| {
            let Some(stored) = self.get_mut(claim.job) else {
                return Claimed::Skip(Skip::Unknown);
            };
            // Not even a takeover takes from the call that it stands in.
            if claimed_here.contains(&claim.job) {
                return Claimed::Skip(Skip::Held);
            }
            match stored.claim(worker, claim, ledger) {
                Ok(started) => {
                    claimed_here.insert(claim.job);
                    Claimed::Run(Box::new(work(stored, started, inputs)))
                }
                Err(skip) => Claimed::Skip(skip),
            }
        };
        claims.iter().map(&mut claim_one).collect()
    }

    /// Cancels; `None` for a job that does not exist.
    pub(in crate::store) fn cancel(&mut self, wanted: &[JobId], ledger: &mut Ledger) -> Vec<Option<Cancelled>> {
        let mut cancel_one = |job: &JobId| {
            let stored = self.get_mut(*job)?;
            let changed = stored.cancel(ledger);
            Some(Cancelled { job: stored.job.clone(), changed, released: stored.released.take() })
        };
        wanted.iter().map(&mut cancel_one).collect()
    }

    /// Records; what names no job is fenced off.
    ///
    /// # Errors
    /// `Broken` for a record that is not JSON: then nothing of the group may be written.
    pub(in crate::store) fn record(&mut self, records: &[Record], ledger: &mut Ledger) -> Result<Vec<Recorded>, Error> {
        let record_one = |record: &Record| match self.get_mut(record.job) {
            Some(stored) => stored.record(record, ledger),
            None => Ok(Recorded::Fenced),
        };
        let mut recorded: Vec<Recorded> = records.iter().map(record_one).collect::<Result<_, _>>()?;
        // A group that is repeated because its answer was lost releases, on its way, the very checkpoint that it ends with.
        for (record, recorded) in records.iter().zip(&mut recorded) {
            let kept = self.get_mut(record.job).and_then(|stored| stored.checkpoint.as_ref()).map(|kept| &kept.blob);
            if let Recorded::Done { released, .. } = recorded {
                released.take_if(|released| Some(&*released) == kept);
            }
        }
        Ok(recorded)
    }

    /// Drops; `None` for a job that does not exist. Which were dropped is in `changed`.
    pub(in crate::store) fn drop_dead(&mut self, wanted: &[JobId], ledger: &Ledger) -> Vec<Option<Dropped>> {
        let mut drop_one = |job: &JobId| {
            let stored = self.get_mut(*job)?;
            let changed = stored.drop_dead(ledger.now);
            Some(Dropped { job: stored.job.clone(), changed })
        };
        wanted.iter().map(&mut drop_one).collect()
    }

    /// Sweeps them all.
    pub(in crate::store) fn sweep(&mut self, ledger: &mut Ledger) -> Vec<Rescued> {
        self.stored.iter_mut().filter_map(|stored| stored.sweep(ledger)).collect()
    }

    fn get_mut(&mut self, job: JobId) -> Option<&mut Stored> {
        self.by_id.get(&job).map(|index| &mut self.stored[*index])
    }
}

fn work(stored: &Stored, started: Started, inputs: &HashMap<JobId, Payload>) -> Work {
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
        stall_timeout: job.stall_timeout,
        checkpoint: stored.checkpoint.clone(),
        failures: job.failures,
        attempts_max: job.attempts_max,
        waited: started.waited,
        takeover: started.takeover,
        event_seq: started.event_seq,
        traceparent: job.traceparent.clone(),
    }
}

/// The answers to `leases`, of which those in `held` were extended, each with its job's state.
pub(in crate::store) fn extended(leases: &[Lease], held: &HashMap<(JobId, Attempt), State>) -> Vec<Extended> {
    let answer = |lease: &Lease| match held.get(&(lease.job, lease.attempt)) {
        Some(State::Cancelling) => Extended::CancelRequested,
        Some(_) => Extended::Held,
        None => Extended::Lost,
    };
    leases.iter().map(answer).collect()
}
