//! Messages that are lost without a word: a queue that somebody has emptied, a message that was set aside unread, a mark that came after its message was
//! gone. It decides which publications are old enough to be made anew: those whose queue is empty. It must never decide that a job runs again: a
//! doubled message is absorbed by the claim.
//!
//! A net, and slow on purpose: whoever loses a queue says so at once (`dead_letters`). Here only what nobody has told is found. A message that a worker
//! holds in hand is in no queue either; `lost_after` is many times what a worker holds one for, and should it be exceeded the job has two messages.
//! May run in many processes at once.

use std::{sync::Arc, time::Duration};

use siding_core::{
    broker::{Consumer, EventBus, Hint},
    clock::Clock,
    drain::Drain,
    error::chain,
    id::LaneName,
    lane::Lanes,
    retry::{Policy, retry},
    store::{Counts, Dispatch, Jobs, Lost},
    telemetry::Metrics,
};

/// Looks in the time after which a publication counts as lost: so much later than that it is found at most.
const LOOKS: u32 = 5;

/// What the loop works with.
pub struct Parts {
    /// Who knows whether a queue is empty.
    pub consumer: Arc<dyn Consumer>,
    /// Who knows whether jobs wait.
    pub jobs: Arc<dyn Jobs>,
    /// Whose publications are forgotten.
    pub outbox: Arc<dyn Dispatch>,
    /// Who wakes the relay.
    pub bus: Arc<dyn EventBus>,
    /// Which lanes there are.
    pub lanes: Lanes,
    /// Times the looks.
    pub clock: Arc<dyn Clock>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// From which age on a publication whose queue is empty counts as lost.
    pub lost_after: Duration,
}

/// The lanes with jobs that wait, each with the lane whose queue their messages went to: its own, or the longest one's when it is no
/// longer configured.
fn waiting(lanes: &Lanes, counts: &[Counts]) -> Vec<(LaneName, LaneName)> {
    let waiting = counts.iter().filter(|counts| counts.queued > 0);
    waiting.map(|counts| (counts.lane.clone(), lanes.get_or_longest(&counts.lane).name.clone())).collect()
}

/// Starts the loop; it ends at the stop signal.
pub fn start(drain: &Drain, parts: Parts) {
    let stop = drain.clone();
    drain.spawn(async move {
        loop {
            tokio::select! {
                () = stop.stopping() => return,
                () = parts.clock.sleep(parts.lost_after / LOOKS) => {}
            }
            turn(&parts).await;
        }
    });
}

/// Looks once at every lane in which jobs wait.
pub async fn turn(parts: &Parts) {
    let counts = match retry(Policy::Loop, || parts.jobs.counts()).await {
        Ok(counts) => counts,
        Err(error) => {
            parts.metrics.store_error("counts");
            tracing::error!(error = chain(&error), "cannot look for lost messages; will look again");
            return;
        }
    };
    for (lane, queue) in waiting(&parts.lanes, &counts) {
        match parts.consumer.ready_count(&queue).await {
            Ok(0) => publish_again(parts, lane).await,
            Ok(_) => {}
            Err(error) => tracing::debug!(lane.name = %queue, error = chain(&error), "cannot look whether a queue is empty"),
        }
    }
}

async fn publish_again(parts: &Parts, lane: LaneName) {
    let lost = Lost::Lane { lane: lane.clone(), older_than: parts.lost_after };
    match retry(Policy::Loop, || parts.outbox.forget_published(&lost)).await {
        Ok(0) => {}
        Ok(jobs) => {
            tracing::warn!(lane.name = %lane, jobs.queued = jobs, "jobs wait for messages that are in no queue; they are published again");
            parts.metrics.lost_messages(jobs);
            parts.bus.send(&[Hint::Due]);
        }
        Err(error) => {
            parts.metrics.store_error("forget_published");
            tracing::error!(lane.name = %lane, error = chain(&error), "the jobs of lost messages cannot be published again; will try again");
        }
    }
}

#[cfg(test)]
mod tests {
    use siding_core::config::Settings;

    use super::*;

    #[test]
    fn a_lane_s_messages_are_looked_for_in_the_queue_that_they_went_to() {
        let lanes = Settings::default().lanes().expect("valid");
        let counts = |lane: &str, queued| Counts {
            lane: lane.parse().expect("a name"),
            queued,
            scheduled: 7,
            running: 7,
            oldest_due_for: None,
        };
        let rows = [("instant", 3, Some("instant")), ("short", 0, None), ("removed", 1, Some("long"))];
        for (lane, queued, queue) in rows {
            let found = waiting(&lanes, &[counts(lane, queued)]);
            let expected: Vec<_> =
                queue.map(|queue| (lane.parse().expect("a name"), queue.parse().expect("a name"))).into_iter().collect();
            assert_eq!(found, expected, "{lane}");
        }
    }
}
