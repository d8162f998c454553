//! The keeper: extends the leases of all running jobs in one statement, stops runs whose lease is lost or whose time is over, and
//! passes cancels on. It is the self-fence: a worker that cannot extend a lease stops the work itself, on its own monotonic clock, before
//! the lease ends.

use std::{
    collections::HashSet,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use siding_core::{
    broker::{EventBus, Heard, Hint},
    drain::Drain,
    error::chain,
    id::WorkerId,
    job::CancelMet,
    store::{self, Attempts, Extended, Lease},
    telemetry::Metrics,
};

use crate::{
    loaded::NotLoaded,
    recorder::Recorder,
    running::{Running, RunningJobs, Stage, StopReason},
    verdict::RunEnd,
};

/// How often the keeper looks at its jobs: the resolution of run timeouts and of the self-fence.
const TICK: Duration = Duration::from_millis(100);
/// A lease is extended after this share of it, and the work is stopped after that share without success.
const EXTEND_AFTER: f64 = 0.25;
const FENCE_AFTER: f64 = 0.75;
/// How long the loading of a model may take before the job that waits for it is stopped as one that passed its time.
const LOAD_MAX: Duration = Duration::from_secs(600);
/// How long a run that was killed may take to end. One that cannot be killed (it hangs in native code of this process), or does not end by that, is
/// recorded as stopped without its help: another attempt would hang the next slot. It holds its slot until it returns, and the fence refuses what
/// it says then.
const KILL_PATIENCE: Duration = Duration::from_secs(2);
/// How long a run may take at most to heed the stop of a drain. With what its kill may take, it is shorter than the wait of the worker that stops: a
/// run that is not recorded by then costs its job an attempt.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);

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
    /// Where the end of a run that does not heed its stop is recorded.
    pub recorder: Recorder,
    /// How long a run may take to heed its stop.
    pub stop_patience: Duration,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// What is to be done with one running job now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Care {
    Nothing,
    Extend,
    Stop(StopReason),
    /// It was told to stop and does not: end it by force.
    Kill,
    /// It cannot be ended by force: record its end without it.
    GiveUp,
}

/// What the decision about one job looks at.
#[derive(Debug, Clone, Copy)]
struct Looked {
    lease: Duration,
    lease_age: Duration,
    ran_for: Duration,
    run_timeout: Duration,
    /// How long its present step takes, if it has steps.
    stepping_for: Option<Duration>,
    stall_timeout: Option<Duration>,
    stopped_for: Option<Duration>,
    stop_patience: Duration,
    killed_for: Option<Duration>,
}

/// The decision for one job: pure.
fn care(job: Looked) -> Care {
    let stalls = job.stepping_for.zip(job.stall_timeout).is_some_and(|(step, limit)| step > limit);
    let is_deaf = job.stopped_for.is_some_and(|stopped_for| stopped_for > job.stop_patience);
    // A killed run that does not end may be given up; the lease of a run that is ended by force still needs care.
    let is_lost = job.killed_for.is_some_and(|killed_for| killed_for > KILL_PATIENCE);
    if job.lease_age >= job.lease.mul_f64(FENCE_AFTER) && !(is_deaf && job.killed_for.is_none()) {
        Care::Stop(StopReason::LeaseLost)
    } else if is_lost {
        Care::GiveUp
    } else if is_deaf && job.killed_for.is_none() {
        Care::Kill
    } else if job.ran_for > job.run_timeout && job.stopped_for.is_none() {
        Care::Stop(StopReason::Timeout)
    } else if stalls && job.stopped_for.is_none() {
        Care::Stop(StopReason::Stall)
    } else if job.lease_age >= job.lease.mul_f64(EXTEND_AFTER) {
        Care::Extend
    } else {
        Care::Nothing
    }
}

/// How long a run that was stopped for this reason may take to heed that.
fn patience(stop: Option<StopReason>, configured: Duration) -> Duration {
    if stop == Some(StopReason::Drain) { configured.min(DRAIN_PATIENCE) } else { configured }
}

/// What is recorded of a run that is given up: what does not compute is not given up computing, however long it holds its slot.
fn end_without_it(stage: Stage) -> RunEnd {
    match stage {
        Stage::Loading => RunEnd::NotLoaded(NotLoaded::Stopped),
        Stage::Beginning => RunEnd::Stopped(CancelMet::NotStarted),
        Stage::BetweenSteps => RunEnd::Stopped(CancelMet::BetweenSteps),
        Stage::Computing => RunEnd::Stopped(CancelMet::GivenUp),
    }
}

/// Starts the loop; it ends at the stop signal of `drain`, which comes after the last job has left.
pub fn start(drain: &Drain, parts: Parts) {
    let stop = drain.clone();
    let parts = Arc::new(parts);
    drain.spawn(async move {
        // At most one extension is under way, beside the loop: a store that stalls must not delay fences, timeouts and cancels.
        let mut extending: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = None;
        let mut hints = parts.bus.listen();
        let mut cancelled = HashSet::new();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.stopping() => return,
                () = async { if let Some(extending) = &mut extending { extending.await } }, if extending.is_some() => {
                    // What is still to be extended waits for the tick: a store that refuses is not asked without a pause.
                    extending = None;
                    continue;
                }
                _ = tick.tick() => {}
                heard = hints.next() => match heard {
                    Heard::Hint(Hint::Cancel { job }) if parts.running.get(job).is_some() => { cancelled.insert(job); }
                    Heard::Hint(_) => continue,
                    // Any job may have been cancelled: ask about all of them.
                    Heard::Missed => cancelled.extend(parts.running.all().iter().map(|running| running.work.job)),
                    // The next tick listens anew; until then the extension tells of cancels.
                    Heard::Closed => { tick.tick().await; hints = parts.bus.listen(); }
                },
            }
            let extend = look_after(&stop, &parts, |running| cancelled.contains(&running.work.job));
            if extending.is_none() && !extend.is_empty() {
                extending = Some(Box::pin(extend_leases(parts.clone(), extend)));
                cancelled.clear();
            }
        }
    });
}

/// Looks once at every job and returns those whose lease is to be extended; `ask` picks some whatever their lease's age.
fn look_after(drain: &Drain, parts: &Parts, ask: impl Fn(&Running) -> bool) -> Vec<Arc<Running>> {
    let mut extend = Vec::new();
    for running in parts.running.all() {
        let stopped = running.stopped();
        let stopped_for = stopped.map(|(_, at)| at.elapsed());
        // Loading is not the job's doing; it has a limit of its own.
        let (ran_for, limit) = match running.computed_for() {
            Some(computed_for) => (computed_for, running.work.run_timeout),
            None => (running.ran_for(), LOAD_MAX),
        };
        let mut cared = care(Looked {
            lease: running.lease,
            lease_age: running.lease_from().elapsed(),
            ran_for,
            run_timeout: limit,
            stepping_for: running.stepping_for(),
            stall_timeout: running.work.stall_timeout,
            stopped_for,
            stop_patience: patience(stopped.map(|(reason, _)| reason), parts.stop_patience),
            killed_for: running.killed_for(),
        });
        if cared == Care::Kill {
            tracing::warn!(job.id = %running.work.job, attempt = running.work.attempt.0, "a run does not heed its stop; killing it");
            cared = if running.kill() { Care::Nothing } else { Care::GiveUp };
        }
        match cared {
            Care::Stop(reason) => {
                if stopped_for.is_none() {
                    tracing::warn!(job.id = %running.work.job, attempt = running.work.attempt.0, ?reason, "stopping a run");
                }
                running.stop(reason);
            }
            Care::Extend => extend.push(running),
            Care::Nothing if ask(&running) => extend.push(running),
            Care::GiveUp if running.hang() => {
                tracing::error!(job.id = %running.work.job, attempt = running.work.attempt.0, model.name = %running.work.model,
                    "a run does not stop; its job ends without it, and its slot is lost until it returns");
                let recorder = parts.recorder.clone();
                let end = end_without_it(running.stage());
                drain.spawn(async move { recorder.finished(running, end).await });
            }
            Care::Nothing | Care::Kill | Care::GiveUp => {}
        }
    }
    extend
}

/// How long until the first of these leases is fenced: an answer after that is of no use to it.
fn nearest_fence(running: &[Arc<Running>]) -> Duration {
    let left = |running: &Arc<Running>| running.lease.mul_f64(FENCE_AFTER).saturating_sub(running.lease_from().elapsed());
    running.iter().map(left).min().unwrap_or_default().max(TICK)
}

async fn extend_leases(parts: Arc<Parts>, running: Vec<Arc<Running>>) {
    let lease = |running: &Arc<Running>| Lease { job: running.work.job, attempt: running.work.attempt, lease: running.lease };
    let leases: Vec<Lease> = running.iter().map(lease).collect();
    let asked_at = Instant::now();
    let patience = nearest_fence(&running);
    let answer = tokio::time::timeout(patience, parts.store.extend(parts.worker, &leases)).await;
    match answer.unwrap_or_else(|_| Err(store::Error::Unavailable("no answer before the nearest fence".into()))) {
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
    use crate::runtime::RunControl;

    #[test]
    fn a_lease_is_extended_early_and_the_work_stopped_before_it_ends() {
        let ms = Duration::from_millis;
        let lease = ms(1000);
        // Lease's age, ran for, present step, stopped for, killed for.
        let rows = [
            (0, 0, None, None, None, Care::Nothing),
            (249, 0, None, None, None, Care::Nothing),
            (250, 0, None, None, None, Care::Extend),
            (749, 0, None, None, None, Care::Extend),
            (750, 0, None, None, None, Care::Stop(StopReason::LeaseLost)),
            (0, 501, None, None, None, Care::Stop(StopReason::Timeout)),
            (300, 501, None, None, None, Care::Stop(StopReason::Timeout)),
            (300, 501, None, Some(1), None, Care::Extend),
            (800, 501, None, None, None, Care::Stop(StopReason::LeaseLost)),
            (0, 400, Some(100), None, None, Care::Nothing),
            (0, 400, Some(101), None, None, Care::Stop(StopReason::Stall)),
            (300, 400, Some(101), Some(1), None, Care::Extend),
            (200, 501, None, Some(1_001), None, Care::Kill),
            (800, 501, None, Some(1_001), None, Care::Kill),
            (200, 501, None, Some(1_001), Some(2_000), Care::Nothing),
            (300, 501, None, Some(1_001), Some(2_000), Care::Extend),
            (200, 501, None, Some(1_001), Some(2_001), Care::GiveUp),
            (800, 501, None, Some(1_001), Some(2_001), Care::Stop(StopReason::LeaseLost)),
        ];
        for (age, ran, step, stopped, killed, expected) in rows {
            let looked = Looked {
                lease,
                lease_age: ms(age),
                ran_for: ms(ran),
                run_timeout: ms(500),
                stepping_for: step.map(ms),
                stall_timeout: Some(ms(100)),
                stopped_for: stopped.map(ms),
                stop_patience: ms(1_000),
                killed_for: killed.map(ms),
            };
            assert_eq!(care(looked), expected, "{looked:?}");
        }
    }

    #[test]
    fn what_is_given_up_says_how_far_it_was() {
        let work = crate::verdict::tests::work(0);
        let running = Running::new(work, 0, Duration::from_secs(1), RunControl::new(drop), Instant::now(), None);
        let mut stages = vec![end_without_it(running.stage())];
        let moves: [fn(&Running); 5] =
            [Running::start, Running::loaded, Running::begun, Running::step_ended, Running::step_begins];
        for go_on in moves {
            go_on(&running);
            stages.push(end_without_it(running.stage()));
        }
        let expected = [
            RunEnd::NotLoaded(NotLoaded::Stopped),
            RunEnd::NotLoaded(NotLoaded::Stopped),
            RunEnd::Stopped(CancelMet::NotStarted),
            RunEnd::Stopped(CancelMet::GivenUp),
            RunEnd::Stopped(CancelMet::BetweenSteps),
            RunEnd::Stopped(CancelMet::GivenUp),
        ];
        assert_eq!(stages, expected);
    }

    #[test]
    fn a_model_process_is_silent_before_its_job_has_waited_too_long() {
        assert!(crate::runtime::isolated::LOAD_PATIENCE < LOAD_MAX);
    }

    #[test]
    fn a_drain_waits_for_nobody_longer_than_its_worker_does() {
        let secs = Duration::from_secs;
        let rows = [
            (None, 10, 10),
            (Some(StopReason::Cancel), 10, 10),
            (Some(StopReason::Drain), 10, 2),
            (Some(StopReason::Drain), 1, 1),
        ];
        for (stop, configured, expected) in rows {
            assert_eq!(patience(stop, secs(configured)), secs(expected), "{stop:?}");
        }
        assert!(DRAIN_PATIENCE + KILL_PATIENCE + 5 * TICK < crate::worker::STOP_PATIENCE, "with what it takes to record it");
    }
}
