//! Dealing with dead jobs, many in one request: running them again or dropping them, group by group. It decides the order (which they
//! are, then group by group, each committed before the next) and what is told when a later group fails; whether a job is dead is the
//! store's to say, in the transaction that deals with it. A repeat of the same request goes on where it was left and doubles nothing.

use std::collections::HashSet;

use siding_core::{
    api::{DeadOutcome, DeadSkipReason, DeadSkipped},
    broker::Hint,
    error::{Classified, chain},
    id::JobId,
    limits,
    retry::{Policy, retry},
    store::{self, Acceptance, DeadFilter, Dropped, JobRecord, NewJob, Page, Submitted},
    telemetry::DealtWith,
};

use super::{Submitter, Under, stopping, store_failed};
use crate::{
    admission,
    submit::{Deal, Dealt, How, Refusal, Which},
};

impl Submitter {
    pub(super) async fn deal_with(&self, deal: Deal) -> Result<Dealt, Refusal> {
        if deal.dry_run {
            return self.look_at(&deal.which).await;
        }
        let (jobs, more) = match &deal.which {
            Which::Jobs(jobs) => (each_once(jobs), false),
            Which::Matching { filter, limit } => {
                let (found, more) = self.matching(filter, *limit).await?;
                (found.into_iter().map(|job| job.id).collect(), more)
            }
        };
        let mut dealt = Dealt { more, ..Dealt::default() };
        for group in jobs.chunks(limits::GROUP_ROWS_MAX) {
            let done = match deal.how {
                How::Replay => self.replay(group, &mut dealt).await,
                How::Drop => self.drop_dead(group, &mut dealt).await,
            };
            match done {
                Ok(()) => {}
                Err(refusal) if dealt.jobs.is_empty() => return Err(refusal),
                Err(refusal) => {
                    tracing::warn!(
                        error = chain(&refusal),
                        jobs.done = dealt.jobs.len(),
                        "some dead jobs were dealt with, others could not be"
                    );
                    dealt.more = true;
                    break;
                }
            }
        }
        Ok(dealt)
    }

    /// The dead jobs that match, and whether more do than may be dealt with.
    async fn matching(&self, filter: &DeadFilter, limit: usize) -> Result<(Vec<JobRecord>, bool), Refusal> {
        let page = Page { before: None, limit: limit + 1 };
        let found = retry(Policy::StoreRequest, || self.parts.dead.dead(filter, page)).await;
        let mut found = found.map_err(|error| self.not_dealt_with(error))?;
        let more = found.len() > limit;
        found.truncate(limit);
        Ok((found, more))
    }

    /// Tells which would be dealt with. Their inputs, which are up to 64 MiB, are of no interest for that.
    async fn look_at(&self, which: &Which) -> Result<Dealt, Refusal> {
        let mut dealt = Dealt::default();
        match which {
            Which::Matching { filter, limit } => {
                let (found, more) = self.matching(filter, *limit).await?;
                dealt.jobs = found.iter().map(|job| DeadOutcome { id: job.id, retried_by: None }).collect();
                dealt.more = more;
            }
            Which::Jobs(jobs) => {
                for id in each_once(jobs) {
                    let found = retry(Policy::StoreRequest, || self.parts.jobs.get(id)).await;
                    match found.map_err(|error| self.not_dealt_with(error))? {
                        Some(job) if job.is_dead() => dealt.jobs.push(DeadOutcome { id, retried_by: None }),
                        job => dealt.skip(id, job.as_ref()),
                    }
                }
            }
        }
        Ok(dealt)
    }

    /// Runs the dead ones of `group` again, in one transaction that marks them.
    async fn replay(&self, group: &[JobId], dealt: &mut Dealt) -> Result<(), Refusal> {
        self.admit()?;
        if self.drain.is_stopping() {
            return Err(stopping());
        }
        let found = retry(Policy::StoreRequest, || self.parts.dead.with_inputs(group)).await;
        let (mut firsts, mut jobs): (Vec<JobRecord>, Vec<NewJob>) = (Vec::new(), Vec::new());
        for (id, found) in group.iter().zip(found.map_err(|error| self.not_dealt_with(error))?) {
            match found {
                Some((first, input)) if first.is_dead() => {
                    jobs.push(admission::again(&first, input, &self.parts.lanes));
                    firsts.push(first);
                }
                found => dealt.skip(*id, found.map(|(job, _)| job).as_ref()),
            }
        }
        if jobs.is_empty() {
            return Ok(());
        }
        // A repeat after an unknown outcome finds the new jobs by their ids, as existing.
        let submissions = &self.parts.submissions;
        let submitted = retry(Policy::StoreRequest, || submissions.submit_as(jobs.clone(), Acceptance::Replays)).await;
        let submitted = submitted.map_err(|error| self.not_dealt_with(error))?;
        let mut all_offered = true;
        for ((first, job), submitted) in firsts.iter().zip(&jobs).zip(submitted) {
            match submitted {
                // Somebody has dealt with it since it was read.
                Submitted::NotDead => dealt.skip(first.id, Some(first)),
                submitted => {
                    let job = self.tell(Under::of(job, None), submitted)?.job;
                    all_offered &= self.offer(&job);
                    self.tell_dealt_with(first, DealtWith::Replayed, Some(job.id));
                    dealt.jobs.push(DeadOutcome { id: first.id, retried_by: Some(job.id) });
                }
            }
        }
        if !all_offered {
            self.parts.bus.send(&[Hint::Due]);
        }
        Ok(())
    }

    async fn drop_dead(&self, group: &[JobId], dealt: &mut Dealt) -> Result<(), Refusal> {
        // A drop whose answer was lost has changed the job, and its repeat says that it did not: the count may be too low, never too high.
        let dropped = retry(Policy::StoreRequest, || self.parts.dead.drop_dead(group)).await;
        for (id, dropped) in group.iter().zip(dropped.map_err(|error| self.not_dealt_with(error))?) {
            match dropped {
                Some(Dropped { job, changed: true }) => {
                    self.tell_dealt_with(&job, DealtWith::Dropped, None);
                    dealt.jobs.push(DeadOutcome { id: *id, retried_by: None });
                }
                dropped => dealt.skip(*id, dropped.map(|dropped| dropped.job).as_ref()),
            }
        }
        Ok(())
    }

    /// Counts and logs that somebody dealt with a dead job.
    pub(super) fn tell_dealt_with(&self, first: &JobRecord, how: DealtWith, by: Option<JobId>) {
        self.parts.metrics.dealt_with(&first.lane, how);
        tracing::info!(job.id = %first.id, lane.name = %first.lane, how = how.as_str(), retried_by = by.map(tracing::field::display), "dead job dealt with");
    }

    fn not_dealt_with(&self, error: store::Error) -> Refusal {
        self.parts.metrics.store_error("dead");
        store_failed(error.transience(), error)
    }
}

fn each_once(jobs: &[JobId]) -> Vec<JobId> {
    let mut seen = HashSet::new();
    jobs.iter().copied().filter(|job| seen.insert(*job)).collect()
}

impl Dealt {
    /// A job that was not dead when it was to be dealt with; `None` when there is no such job.
    fn skip(&mut self, id: JobId, job: Option<&JobRecord>) {
        let reason = if job.is_some() { DeadSkipReason::NotDead } else { DeadSkipReason::UnknownJob };
        self.skipped.push(DeadSkipped { id, reason, retried_by: job.and_then(|job| job.retried_by) });
    }
}
