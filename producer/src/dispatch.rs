//! Publishing: the job rows are their own outbox, and this loop is its only reader. It decides when a row is published and marked;
//! it never decides that a job is due (the row says so) and never forgets one (an unmarked row is published again).
//!
//! Two ways lead here. The fast path: a submission that was just committed is offered and published at once. The relay: whatever is
//! due and unpublished (retries, scheduled starts, rescues, what a refusal or a crash left) is read from the store and published.
//! Both are one task, so that the relay never publishes what the fast path is about to mark.
//!
//! Failures: a refused or unknown publication stays unmarked; the relay tries again at its next turn. A crash between confirm and mark
//! publishes twice; the claim absorbs the duplicate. A full window leaves the job to the relay.

use std::{sync::Arc, time::Duration};

use siding_core::{
    broker::{EventBus, Heard, Hint, HintStream, Published, Publisher},
    clock::Clock,
    drain::Drain,
    envelope::{Due, Envelope},
    error::chain,
    limits,
    retry::{Policy, retry},
    store::{Dispatch, DueJob, Publication},
    telemetry::{Metrics, PublishOutcome, Source},
};
use tokio::sync::{mpsc, watch};

/// How long a confirmed publication may wait to be marked together with others. Marking is for nobody's latency: most jobs of a short
/// lane have started by then, and their mark is a no-op.
const MARK_LINGER: Duration = Duration::from_millis(20);

/// What the loop works with.
pub struct Parts {
    /// Where messages go.
    pub publisher: Arc<dyn Publisher>,
    /// Where rows come from.
    pub store: Arc<dyn Dispatch>,
    /// What wakes the relay.
    pub bus: Arc<dyn EventBus>,
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
    /// Written by the loop after each relay turn: due jobs that stayed unpublished.
    backlog: watch::Receiver<usize>,
}

impl Outbox {
    /// Publishes this job soon. When too many wait already, the job is left to the relay.
    pub fn offer(&self, job: DueJob) {
        // A full or closed window is no loss: the row is due and unpublished, so the relay (of any process) finds it.
        drop(self.offered.try_send(job));
    }

    /// Due jobs that the broker had not taken at the relay's last turn.
    #[must_use]
    pub fn backlog(&self) -> usize {
        *self.backlog.borrow()
    }
}

/// Starts the loop. It ends after the stop signal, once what was offered is published and marked.
#[must_use]
pub fn start(drain: &Drain, parts: Parts) -> Outbox {
    let (offered, rx) = mpsc::channel(limits::PUBLISH_WINDOW_MAX);
    let (backlog_tx, backlog) = watch::channel(0);
    let dispatcher = Dispatcher { parts, unmarked: Vec::new(), backlog: backlog_tx };
    drain.spawn(dispatcher.run(drain.clone(), rx));
    Outbox { offered, backlog }
}

struct Dispatcher {
    parts: Parts,
    /// Confirmed and not yet marked.
    unmarked: Vec<Publication>,
    backlog: watch::Sender<usize>,
}

impl Dispatcher {
    async fn run(mut self, drain: Drain, mut offered: mpsc::Receiver<DueJob>) {
        // `None` while the bus is gone: then the poll alone finds what is due, and each turn tries to listen again.
        let mut hints = Some(self.parts.bus.listen());
        let mut batch = Vec::with_capacity(limits::GROUP_ROWS_MAX);
        let clock = self.parts.clock.clone();
        let mut turn = clock.sleep(Duration::ZERO);
        loop {
            tokio::select! {
                biased;
                taken = offered.recv_many(&mut batch, limits::GROUP_ROWS_MAX) => {
                    if taken == 0 {
                        self.mark().await;
                        return;
                    }
                    self.publish(std::mem::take(&mut batch), Source::FastPath).await;
                    if self.unmarked.len() >= limits::GROUP_ROWS_MAX {
                        self.mark().await;
                    }
                }
                () = tokio::time::sleep(MARK_LINGER), if !self.unmarked.is_empty() => { self.mark().await; }
                () = &mut turn => {
                    hints.get_or_insert_with(|| self.parts.bus.listen());
                    turn = clock.sleep(self.relay().await);
                }
                heard = hear(&mut hints) => match heard {
                    Heard::Hint(Hint::Due) | Heard::Missed => turn = clock.sleep(self.relay().await),
                    Heard::Hint(_) => {}
                    Heard::Closed => hints = None,
                },
                () = drain.stopping(), if !offered.is_closed() => offered.close(),
            }
        }
    }

    /// Publishes everything that is due and unpublished; returns how long to sleep until the next turn.
    async fn relay(&mut self) -> Duration {
        self.mark().await;
        loop {
            let store = &self.parts.store;
            let due = match retry(Policy::Loop, || store.due(limits::GROUP_ROWS_MAX)).await {
                Ok(due) => due,
                Err(error) => {
                    self.parts.metrics.store_error("due");
                    tracing::error!(error = chain(&error), "cannot read what is due; will look again");
                    return self.parts.relay_poll;
                }
            };
            let full = due.len() == limits::GROUP_ROWS_MAX;
            let count = due.len();
            let confirmed = if count == 0 { 0 } else { self.publish(due, Source::Relay).await };
            let marked = self.mark().await;
            // A broker that takes less than it is given is full or away: the rest waits for the next turn.
            if !full || confirmed < count || !marked {
                self.observe_backlog(count - confirmed, full).await;
                break;
            }
        }
        self.sleep_until_next().await
    }

    async fn observe_backlog(&mut self, left: usize, maybe_more: bool) {
        let backlog = match maybe_more {
            true => self.parts.store.backlog(self.parts.unpublished_max).await.unwrap_or(left),
            false => left,
        };
        self.parts.metrics.unpublished(backlog);
        self.backlog.send_replace(backlog);
    }

    async fn sleep_until_next(&self) -> Duration {
        match self.parts.store.next_due_in().await {
            // What is due now was just refused: give the broker a pause.
            Ok(Some(next)) if !next.is_zero() => next.min(self.parts.relay_poll),
            Ok(_) | Err(_) => self.parts.relay_poll,
        }
    }

    /// Publishes the jobs, remembers the confirmed ones for `mark`, and returns how many they are.
    async fn publish(&mut self, jobs: Vec<DueJob>, source: Source) -> usize {
        let publications: Vec<_> = jobs.iter().map(|job| Publication { job: job.id, attempt: job.attempt }).collect();
        let outcomes = self.parts.publisher.publish(jobs.into_iter().map(envelope).collect()).await;
        let before = self.unmarked.len();
        let (mut refused, mut unknown) = (0, 0);
        for (publication, outcome) in publications.into_iter().zip(outcomes) {
            match outcome {
                Published::Confirmed => self.unmarked.push(publication),
                Published::Refused => refused += 1,
                Published::Unknown => unknown += 1,
            }
        }
        let confirmed = self.unmarked.len() - before;
        for (outcome, count) in [
            (PublishOutcome::Confirmed, confirmed as u64),
            (PublishOutcome::Refused, refused),
            (PublishOutcome::Unknown, unknown),
        ] {
            if count > 0 {
                self.parts.metrics.published(source, outcome, count);
            }
        }
        if refused + unknown > 0 {
            tracing::warn!(refused, unknown, "the broker did not take all messages; the relay will publish them again");
        }
        confirmed
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

async fn hear(hints: &mut Option<HintStream>) -> Heard {
    match hints {
        Some(hints) => hints.next().await,
        None => std::future::pending().await,
    }
}

fn envelope(job: DueJob) -> Envelope {
    Envelope::V1(Due {
        job: job.id,
        attempt: job.attempt,
        lane: job.lane,
        model: job.model,
        version: job.version,
        due_at_ms: job.due_at,
        expected_ms: job.expected_ms,
        traceparent: job.traceparent,
    })
}
