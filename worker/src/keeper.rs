//! The keeper: extends the leases of all running jobs in one statement, stops runs whose lease is lost or whose time is over, and
//! passes cancels on. It is the self-fence: a worker that cannot extend a lease stops the work itself, on its own monotonic clock, before
//! the lease ends.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use siding_core::{
    broker::{EventBus, Heard, Hint},
    drain::Drain,
    error::chain,
    id::WorkerId,
    store::{Attempts, Extended, Lease},
    telemetry::Metrics,
};

use crate::running::{Running, RunningJobs, StopReason};

/// How often the keeper looks at its jobs: the resolution of run timeouts and of the self-fence.
const TICK: Duration = Duration::from_millis(100);
/// A lease is extended after this share of it, and the work is stopped after that share without success.
const EXTEND_AFTER: f64 = 0.25;
const FENCE_AFTER: f64 = 0.75;
/// How long a run that was told to stop keeps its lease. A run that hangs in native code for longer loses its job, and holds its slot.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// What the keeper works with.
pub struct Parts {
    /// Who holds the leases.
    pub worker: WorkerId,
    /// Where leases are kept.
    pub store: Arc<dyn Attempts>,
    /// Where cancels are heard.
    pub bus: Arc<dyn EventBus>,
    /// Whose leases.
    pub running: Arc<RunningJobs>,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// What is to be done with one running job now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Care {
    Nothing,
    Extend,
    Stop(StopReason),
    /// It was told to stop and does not: let its lease run out, so that the job goes on without it.
    GiveUp,
}

/// The decision for one job: pure.
fn care(lease: Duration, lease_age: Duration, ran_for: Duration, run_timeout: Duration, stopped_for: Option<Duration>) -> Care {
    if stopped_for.is_some_and(|stopped_for| stopped_for > STOP_PATIENCE) {
        Care::GiveUp
    } else if lease_age >= lease.mul_f64(FENCE_AFTER) {
        Care::Stop(StopReason::LeaseLost)
    } else if ran_for > run_timeout && stopped_for.is_none() {
        Care::Stop(StopReason::Timeout)
    } else if lease_age >= lease.mul_f64(EXTEND_AFTER) {
        Care::Extend
    } else {
        Care::Nothing
    }
}

/// Starts the loop; it ends at the stop signal of `drain`, which comes after the last job has left.
pub fn start(drain: &Drain, parts: Parts) {
    let stop = drain.clone();
    drain.spawn(async move {
        let mut hints = parts.bus.listen();
        let mut cancelled = HashSet::new();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.stopping() => return,
                _ = tick.tick() => {}
                heard = hints.next() => match heard {
                    Heard::Hint(Hint::Cancel { job }) => { cancelled.insert(job); }
                    Heard::Hint(_) => continue,
                    // Any job may have been cancelled: ask about all of them.
                    Heard::Missed => cancelled.extend(parts.running.all().iter().map(|running| running.work.job)),
                    // The next tick listens anew; until then the extension tells of cancels.
                    Heard::Closed => { tick.tick().await; hints = parts.bus.listen(); }
                },
            }
            look_after(&parts, |running| cancelled.contains(&running.work.job)).await;
            cancelled.clear();
        }
    });
}

/// Looks once at every job; `ask` picks those whose lease is extended now, whatever its age.
async fn look_after(parts: &Parts, ask: impl Fn(&Running) -> bool) {
    let mut extend = Vec::new();
    for running in parts.running.all() {
        let stopped_for = running.stopped().map(|(_, at)| at.elapsed());
        match care(running.lease, running.lease_from().elapsed(), running.ran_for(), running.work.run_timeout, stopped_for) {
            Care::Stop(reason) => {
                if stopped_for.is_none() {
                    tracing::warn!(job.id = %running.work.job, attempt = running.work.attempt.0, ?reason, "stopping a run");
                }
                running.stop(reason);
            }
            Care::Extend => extend.push(running),
            Care::Nothing if ask(&running) => extend.push(running),
            Care::Nothing | Care::GiveUp => {}
        }
    }
    if !extend.is_empty() {
        extend_leases(parts, &extend).await;
    }
}

async fn extend_leases(parts: &Parts, running: &[Arc<Running>]) {
    let lease = |running: &Arc<Running>| Lease { job: running.work.job, attempt: running.work.attempt, lease: running.lease };
    let leases: Vec<Lease> = running.iter().map(lease).collect();
    let asked_at = Instant::now();
    match parts.store.extend(parts.worker, &leases).await {
        Ok(answers) => {
            for (running, answer) in running.iter().zip(answers) {
                match answer {
                    Extended::Held => running.lease_extended(asked_at),
                    Extended::CancelRequested => {
                        running.lease_extended(asked_at);
                        running.stop(StopReason::Cancel);
                    }
                    // Recorded meanwhile, or taken over: if it still runs, its result would be refused.
                    Extended::Lost => running.stop(StopReason::LeaseLost),
                }
            }
        }
        Err(error) => {
            parts.metrics.store_error("extend");
            tracing::error!(
                error = chain(&error),
                leases = leases.len(),
                "cannot extend leases; the work stops itself before they end"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_extended_early_and_the_work_stopped_before_it_ends() {
        let ms = Duration::from_millis;
        let lease = ms(1000);
        let rows = [
            (0, 0, None, Care::Nothing),
            (249, 0, None, Care::Nothing),
            (250, 0, None, Care::Extend),
            (749, 0, None, Care::Extend),
            (750, 0, None, Care::Stop(StopReason::LeaseLost)),
            (0, 501, None, Care::Stop(StopReason::Timeout)),
            (300, 501, None, Care::Stop(StopReason::Timeout)),
            (300, 501, Some(1), Care::Extend),
            (800, 501, None, Care::Stop(StopReason::LeaseLost)),
            (300, 501, Some(10_001), Care::GiveUp),
        ];
        for (age, ran, stopped, expected) in rows {
            assert_eq!(care(lease, ms(age), ms(ran), ms(500), stopped.map(ms)), expected, "{age} {ran} {stopped:?}");
        }
    }
}
