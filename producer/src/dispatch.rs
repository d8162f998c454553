//! Publishing: the job rows are their own outbox, and this loop is its only reader. It decides when a row is published and marked;
//! it never decides that a job is due (the row says so) and never forgets one (an unmarked row is published again).
//!
//! Two ways lead here. The fast path: a submission that was just committed is offered and published at once. The relay: whatever is
//! due and unpublished (retries, scheduled starts, rescues, what a refusal or a crash left) is read from the store and published.
//! Both are one task, and a turn of the relay first publishes and marks what has been offered, so it never publishes again what
//! this task has received. A job that is committed and not yet offered when the relay reads may be published twice; the claim
//! absorbs the duplicate.
//!
//! A turn comes before what is offered: under any load of submissions, what is due goes out and the backlog is counted. A turn lasts as long
//! as there is something due, so within it, too, what is offered goes out after each group and the backlog is counted from time to time:
//! whoever is refused because of it, or should be, does not wait for the end of the turn.
//!
//! A lane that refuses a message is left out for the rest of the turn, so a full lane holds up no other one. A job whose lane is no
//! longer configured goes to the longest lane.
//!
//! Marking is for nobody's latency: it waits for a full group, the next turn or the stop, and most of those jobs have started by
//! then, which makes their mark a no-op (each transaction of marks takes about 0.3 ms of the store's one writer).
//!
//! Failures: a refused or unknown publication stays unmarked; the relay tries again at its next turn. A crash between confirm and mark
//! publishes twice; the claim absorbs the duplicate. A full window leaves the job to the relay.

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use siding_core::{
    broker::{EventBus, Heard, Hint, HintStream, Published, Publisher},
    clock::{Clock, Timestamp},
    drain::Drain,
    envelope::{Due, Envelope},
    error::chain,
    id::{LaneName, MessageId},
    lane::Lanes,
    limits,
    retry::{Policy, retry},
    store::{Dispatch, DueJob, Publication},
    telemetry::{Metrics, PublishOutcome, Source},
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

/// Confirmed publications that may wait for their mark between two turns.
const UNMARKED_MAX: usize = limits::GROUP_ROWS_MAX;

/// Shortest time between a turn and the next one that a hint asks for: all hints in between ask for the same turn.
const HINTED_TURN_EVERY: Duration = Duration::from_millis(5);

/// How often the backlog is counted within one turn. A count reads as many rows as the bound allows, a few milliseconds at most.
const COUNTED_EVERY: Duration = Duration::from_millis(500);

/// What the loop works with.
pub struct Parts {
    /// Where messages go.
    pub publisher: Arc<dyn Publisher>,
    /// Where rows come from.
    pub store: Arc<dyn Dispatch>,
    /// What wakes the relay.
    pub bus: Arc<dyn EventBus>,
    /// Which lanes there are.
    pub lanes: Lanes,
    /// Times the relay's turns.
    pub clock: Arc<dyn Clock>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// The relay's longest sleep.
    pub relay_poll: Duration,
    /// Up to where the backlog is counted.
    pub unpublished_max: usize,
}

/// The way into the loop. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outbox {
    /// Jobs just committed, for the fast path.
    offered: mpsc::Sender<DueJob>,
    /// Written by the loop, after each relay turn and every `COUNTED_EVERY` within it: due jobs that are unpublished.
    backlog: watch::Receiver<usize>,
}

impl Outbox {
    /// Publishes this job soon. `false` when too many wait already: then the job is left to the relay.
    pub fn offer(&self, job: DueJob) -> bool {
        // A full or closed window is no loss: the row is due and unpublished, so the relay (of any process) finds it.
        self.offered.try_send(job).is_ok()
    }

    /// Due jobs that the broker had not taken when the relay last counted them.
    #[must_use]
    pub fn backlog(&self) -> usize {
        *self.backlog.borrow()
    }
}

/// Starts the loop. It ends after the stop signal, once what was offered is published and marked.
#[must_use]
pub fn start(drain: &Drain, parts: Parts) -> Outbox {
    let (tx, offered) = mpsc::channel(limits::PUBLISH_WINDOW_MAX);
    let (backlog_tx, backlog) = watch::channel(0);
    let dispatcher = Dispatcher { parts, drain: drain.clone(), offered, unmarked: Vec::new(), backlog: backlog_tx };
    drain.spawn(dispatcher.run());
    Outbox { offered: tx, backlog }
}

struct Dispatcher {
    parts: Parts,
    drain: Drain,
    offered: mpsc::Receiver<DueJob>,
    /// Confirmed and not yet marked.
    unmarked: Vec<Publication>,
    backlog: watch::Sender<usize>,
}

impl Dispatcher {
    async fn run(mut self) {
        // `None` while the bus is gone: then the poll alone finds what is due, and each turn tries to listen again.
        let mut hints = Some(self.parts.bus.listen());
        let (clock, drain) = (self.parts.clock.clone(), self.drain.clone());
        let mut batch = Vec::with_capacity(limits::PUBLISH_WINDOW_MAX);
        let mut next_turn = clock.sleep(Duration::ZERO);
        let (mut hinted, mut hinted_from) = (false, Instant::now());
        loop {
            // In this order: whatever the load of submissions, the stop and the relay have their turn.
            let turn_now = tokio::select! {
                biased;
                () = drain.stopping(), if !self.offered.is_closed() => {
                    self.offered.close();
                    false
                }
                () = &mut next_turn => true,
                () = tokio::time::sleep_until(hinted_from), if hinted => true,
                due = hear_of_due(&mut hints) => {
                    hinted |= due;
                    due && Instant::now() >= hinted_from
                }
                taken = self.offered.recv_many(&mut batch, limits::PUBLISH_WINDOW_MAX) => {
                    if taken == 0 {
                        self.mark().await;
                        return;
                    }
                    self.publish(std::mem::take(&mut batch), Source::FastPath).await;
                    if self.unmarked.len() >= UNMARKED_MAX {
                        self.mark().await;
                    }
                    false
                }
            };
            if turn_now {
                hints.get_or_insert_with(|| self.parts.bus.listen());
                next_turn = clock.sleep(self.turn().await);
                (hinted, hinted_from) = (false, Instant::now() + HINTED_TURN_EVERY);
            }
        }
    }

    /// Publishes and marks what was offered, then everything that is due and unpublished; returns how long to sleep until the next turn.
    async fn turn(&mut self) -> Duration {
        self.publish_offered().await;
        self.mark().await;
        // Read first: what becomes due while the rest is published is not slept over.
        let next = self.next_turn_at().await;
        self.relay().await;
        next.since(self.parts.clock.now())
    }

    async fn publish_offered(&mut self) {
        let waiting = std::iter::from_fn(|| self.offered.try_recv().ok()).take(limits::PUBLISH_WINDOW_MAX).collect();
        self.publish(waiting, Source::FastPath).await;
    }

    async fn next_turn_at(&self) -> Timestamp {
        let next = self.parts.store.next_due_in().await.ok().flatten();
        let wait = next.map_or(self.parts.relay_poll, |next| next.min(self.parts.relay_poll));
        self.parts.clock.now().plus(wait)
    }

    async fn relay(&mut self) {
        let mut refusing: Vec<LaneName> = Vec::new();
        let (mut marked, mut counted_at) = (true, Instant::now());
        while marked && !self.drain.is_stopping() {
            let store = &self.parts.store;
            let due = match retry(Policy::Loop, || store.due(limits::GROUP_ROWS_MAX, &refusing)).await {
                Ok(due) => due,
                Err(error) => {
                    self.parts.metrics.store_error("due");
                    tracing::error!(error = chain(&error), "cannot read what is due; will look again");
                    return;
                }
            };
            let full = due.len() == limits::GROUP_ROWS_MAX;
            refusing.extend(self.publish(due, Source::Relay).await);
            if full {
                // Before the mark and the next read, which then finds none of them.
                self.publish_offered().await;
            }
            marked = self.mark().await;
            if !full {
                break;
            }
            if counted_at.elapsed() >= COUNTED_EVERY {
                self.observe_backlog(true).await;
                counted_at = Instant::now();
            }
        }
        self.observe_backlog(!marked || !refusing.is_empty()).await;
    }

    /// Counts what is left; nothing is when the broker has taken all.
    async fn observe_backlog(&mut self, some_left: bool) {
        let before = *self.backlog.borrow();
        let backlog = match some_left {
            true => self.parts.store.backlog(self.parts.unpublished_max).await.unwrap_or(before),
            false => 0,
        };
        self.parts.metrics.unpublished(backlog);
        self.backlog.send_replace(backlog);
    }

    /// Publishes the jobs, remembers the confirmed ones for `mark`, and returns the lanes of those that the broker did not take.
    async fn publish(&mut self, jobs: Vec<DueJob>, source: Source) -> Vec<LaneName> {
        if jobs.is_empty() {
            return Vec::new();
        }
        let lanes = &self.parts.lanes;
        let messages = jobs.iter().map(|job| envelope(job, lanes, MessageId::generate())).collect();
        let outcomes = self.parts.publisher.publish(messages).await;
        let (mut confirmed, mut refused, mut unknown) = (0, 0, 0);
        let mut refusing = Vec::new();
        for (job, outcome) in jobs.into_iter().zip(outcomes) {
            match outcome {
                Published::Confirmed => {
                    confirmed += 1;
                    self.unmarked.push(Publication { job: job.id, attempt: job.attempt });
                    continue;
                }
                Published::Refused => refused += 1,
                Published::Unknown => unknown += 1,
            }
            if !refusing.contains(&job.lane) {
                refusing.push(job.lane);
            }
        }
        for (outcome, count) in
            [(PublishOutcome::Confirmed, confirmed), (PublishOutcome::Refused, refused), (PublishOutcome::Unknown, unknown)]
        {
            if count > 0 {
                self.parts.metrics.published(source, outcome, count);
            }
        }
        if refused + unknown > 0 {
            tracing::warn!(refused, unknown, "the broker did not take all messages; the relay will publish them again");
        }
        refusing
    }

    /// Marks what was confirmed. Returns whether nothing is left to mark; what could not be marked is published again by the relay.
    async fn mark(&mut self) -> bool {
        if self.unmarked.is_empty() {
            return true;
        }
        let (store, unmarked) = (&self.parts.store, std::mem::take(&mut self.unmarked));
        match retry(Policy::Loop, || store.mark_published(&unmarked)).await {
            Ok(()) => true,
            Err(error) => {
                self.parts.metrics.store_error("mark_published");
                tracing::error!(
                    error = chain(&error),
                    count = unmarked.len(),
                    "cannot mark publications; their messages will be doubled"
                );
                false
            }
        }
    }
}

/// Waits for a hint that something may be due; `false` when the bus is gone. Cancel-safe.
async fn hear_of_due(hints: &mut Option<HintStream>) -> bool {
    let Some(stream) = hints else { return std::future::pending().await };
    loop {
        match stream.next().await {
            Heard::Hint(Hint::Due) | Heard::Missed => return true,
            Heard::Hint(_) => {}
            Heard::Closed => break,
        }
    }
    *hints = None;
    false
}

/// The message of one publication. Each try is a publication of its own: a claim must not take one for another.
fn envelope(job: &DueJob, lanes: &Lanes, message: MessageId) -> Envelope {
    Envelope::V1(Due {
        job: job.id,
        attempt: job.attempt,
        lane: lanes.get_or_longest(&job.lane).name.clone(),
        model: job.model.clone(),
        version: job.version.clone(),
        due_at_ms: job.due_at,
        expected_ms: job.expected_ms,
        traceparent: job.traceparent.clone(),
        message: Some(message),
    })
}
