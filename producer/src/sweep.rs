//! The sweep: finds running jobs whose lease is over and queued jobs whose start deadline has passed, and moves them on. It decides
//! nothing (the store does, on its own clock) and may run in many processes at once: each job is moved once.

use std::{sync::Arc, time::Duration};

use siding_core::{
    blob::{BlobRef, Blobs},
    broker::{EventBus, Hint},
    clock::Clock,
    drain::Drain,
    error::chain,
    limits,
    retry::{Policy, retry},
    store::{Attempts, Rescued},
    telemetry::{AttemptEnd, Metrics},
};

/// What the loop works with.
pub struct Parts {
    /// Whose jobs are swept.
    pub store: Arc<dyn Attempts>,
    /// Where the checkpoints of jobs that end here are removed.
    pub blobs: Blobs,
    /// Who is told.
    pub bus: Arc<dyn EventBus>,
    /// Times the turns.
    pub clock: Arc<dyn Clock>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Between two turns.
    pub every: Duration,
}

/// Starts the loop; it ends at the stop signal.
pub fn start(drain: &Drain, parts: Parts) {
    let stop = drain.clone();
    drain.spawn(async move {
        loop {
            tokio::select! {
                () = stop.stopping() => return,
                () = parts.clock.sleep(parts.every) => {}
            }
            turn(&parts).await;
        }
    });
}

/// Moves everything that can be moved now.
pub async fn turn(parts: &Parts) {
    loop {
        match retry(Policy::Loop, || parts.store.sweep(limits::GROUP_ROWS_MAX)).await {
            Ok(rescued) => {
                tell(parts, &rescued);
                let useless: Vec<BlobRef> = rescued.iter().filter_map(|one| one.released.clone()).collect();
                parts.blobs.discard(&useless).await;
                if rescued.len() < limits::GROUP_ROWS_MAX {
                    return;
                }
            }
            Err(error) => {
                parts.metrics.store_error("sweep");
                tracing::error!(error = chain(&error), "cannot sweep; will try again");
                return;
            }
        }
    }
}

fn tell(parts: &Parts, rescued: &[Rescued]) {
    let event = |one: &Rescued| Hint::Event { job: one.job, seq: one.seq, terminal: one.state.is_terminal() };
    let mut hints: Vec<Hint> = rescued.iter().map(event).collect();
    for one in rescued {
        if one.code.is_some() {
            parts.metrics.attempt(&one.lane, AttemptEnd::Lost);
        }
        if one.state.is_terminal() {
            parts.metrics.finished(&one.lane, &one.model, one.state);
        } else {
            hints.push(Hint::Due);
        }
        tracing::warn!(job.id = %one.job, lane.name = %one.lane, job.state = %one.state, lease_over = one.code.is_some(), "sweep moved a job");
    }
    parts.bus.send(&hints);
}
