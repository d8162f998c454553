//! Following jobs live: turns hints into reads of the store, one registry and one listening task per process. It decides when to
//! read; what it yields always comes from the store, so a lost, late or doubled hint costs time and never an event. It must
//! never buffer for a caller: a page is read when it is asked for, and no store connection is held in between.
//!
//! The order that makes it safe: a follower is registered first, then reads, then waits for a hint or the poll. A hint that
//! comes between reading and waiting has already marked the signal as changed, so the wait ends at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Semaphore, watch};

use crate::{
    broker::{EventBus, Heard, Hint, HintStream},
    clock::Clock,
    drain::Drain,
    error,
    id::{EventSeq, JobId},
    job::Event,
    limits,
    retry::{Policy, retry},
    store::{
        self, Feed,
        group::{CallError, Grouped},
    },
};

/// A handle for following jobs. Clones share the process's one registry and listening task.
#[derive(Clone)]
pub struct Follower(Arc<Shared>);

struct Shared {
    feed: Arc<dyn Feed>,
    clock: Arc<dyn Clock>,
    poll: Duration,
    drain: Drain,
    /// Asks for many jobs' ends in one store call.
    ended: Grouped<JobId, Option<Event>, store::Error>,
    /// One permit for each call that waits for an end.
    waits: Semaphore,
    followed: Mutex<Followed>,
}

/// Who is to be woken: written by followers that come and go, read by the listening task. An entry lives as long as its
/// newest follower. Every hint marks the signal as changed; its value counts those with which the job may have ended.
type Followed = HashMap<JobId, watch::Sender<u64>>;

impl Follower {
    /// Starts the listening task. `poll` is how often a follower reads the store when no hint comes.
    #[must_use]
    pub fn start(drain: &Drain, feed: Arc<dyn Feed>, bus: &Arc<dyn EventBus>, clock: Arc<dyn Clock>, poll: Duration) -> Self {
        let ends = feed.clone();
        let ended = Grouped::start(drain, limits::WAITS_OPEN_MAX, move |jobs: Vec<JobId>| {
            let feed = ends.clone();
            async move {
                let found = retry(Policy::Loop, || feed.ended(&jobs)).await;
                found.inspect_err(|cause| {
                    tracing::warn!(jobs = jobs.len(), error = %error::chain(cause), "cannot look for the ends of jobs; waiting calls look again at their next poll");
                })
            }
        });
        let follower = Self(Arc::new(Shared {
            feed,
            clock,
            poll,
            drain: drain.clone(),
            ended,
            waits: Semaphore::new(limits::WAITS_OPEN_MAX),
            followed: Mutex::default(),
        }));
        drain.spawn(listen(bus.listen(), follower.clone()));
        follower
    }

    /// Follows `job` from the event after `after`. It need not exist yet.
    #[must_use]
    pub fn follow(&self, job: JobId, after: EventSeq) -> Following {
        Following { registered: self.register(job), cursor: after, over: false, event_bytes: EVENT_BYTES_FIRST }
    }

    /// Waits until `job` has ended; returns its terminal event. `None` once `within` has passed, when the service stops, and
    /// at once when `limits::WAITS_OPEN_MAX` calls wait already. A store that fails is asked again.
    pub async fn finished(&self, job: JobId, within: Duration) -> Option<Event> {
        let _permit = self.0.waits.try_acquire().ok()?;
        tokio::select! {
            biased;
            event = self.ended(job) => event,
            () = self.0.clock.sleep(within) => None,
            () = self.0.drain.stopping() => None,
        }
    }

    /// How many jobs are followed now, for metrics and tests.
    #[must_use]
    pub fn followed_count(&self) -> usize {
        self.0.followed().len()
    }

    async fn ended(&self, job: JobId) -> Option<Event> {
        let mut registered = self.register(job);
        loop {
            let ends_heard = *registered.signal.borrow_and_update();
            match self.0.ended.call(job).await {
                Ok(Some(event)) => return Some(event),
                Err(CallError::Stopping) => return None,
                // Failures were logged where the group's call was made.
                Ok(None) | Err(CallError::Overloaded | CallError::Failed(_)) => registered.end_or_poll(ends_heard).await,
            }
        }
    }

    fn register(&self, job: JobId) -> Registered {
        let signal = self.0.followed().entry(job).or_insert_with(|| watch::Sender::new(0)).subscribe();
        Registered { shared: self.0.clone(), job, signal }
    }
}

impl Shared {
    fn followed(&self) -> MutexGuard<'_, Followed> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, heard: Heard) {
        match heard {
            Heard::Hint(Hint::Event { job, terminal, .. }) => {
                if let Some(signal) = self.followed().get(&job) {
                    signal.send_modify(|ends_heard| *ends_heard += u64::from(terminal));
                }
            }
            Heard::Missed => self.followed().values().for_each(|signal| signal.send_modify(|ends_heard| *ends_heard += 1)),
            Heard::Hint(Hint::Cancel { .. } | Hint::Due | Hint::Load(_) | Hint::Unload(_)) | Heard::Closed => {}
        }
    }
}

/// Listens until the service stops or the bus is gone; from then on, followers live by their poll.
async fn listen(mut hints: HintStream, follower: Follower) {
    let drain = follower.0.drain.clone();
    loop {
        tokio::select! {
            () = drain.stopping() => return,
            heard = hints.next() => {
                let is_closed = heard == Heard::Closed;
                follower.0.wake(heard);
                if is_closed {
                    return;
                }
            }
        }
    }
}

/// A place in the registry; given up when dropped.
struct Registered {
    shared: Arc<Shared>,
    job: JobId,
    signal: watch::Receiver<u64>,
}

impl Registered {
    async fn hint_or_poll(&mut self) {
        tokio::select! {
            // The sender lives in the registry as long as this receiver does, so this cannot fail.
            changed = self.signal.changed() => debug_assert!(changed.is_ok(), "an entry outlives its followers"),
            () = self.shared.clock.sleep(self.shared.poll) => {}
        }
    }

    /// Waits for a hint that the job may have ended since `ends_heard` was read, or for the poll.
    async fn end_or_poll(&mut self, ends_heard: u64) {
        tokio::select! {
            // As above.
            heard = self.signal.wait_for(|now| *now != ends_heard) => debug_assert!(heard.is_ok(), "an entry outlives its followers"),
            () = self.shared.clock.sleep(self.shared.poll) => {}
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut followed = self.shared.followed();
        // Our own receiver still counts. New ones are made under this lock, so nobody can join in between.
        if followed.get(&self.job).is_some_and(|signal| signal.receiver_count() <= 1) {
            followed.remove(&self.job);
        }
    }
}

/// What an event is taken to weigh before one was seen: the first page stays below 32 large events.
const EVENT_BYTES_FIRST: usize = 8 * 1024;

/// One caller's place in one job's events.
pub struct Following {
    registered: Registered,
    cursor: EventSeq,
    over: bool,
    /// The heaviest event seen, in bytes of data: how many fit into a page.
    event_bytes: usize,
}

impl Following {
    /// The next events, in order, without gap or repeat: never empty before the end, empty for ever after it. Waits when
    /// there are none. Cancel-safe: a call that is dropped has moved nothing.
    ///
    /// # Errors
    /// What the store said after the policy `StoreRequest`; the next call goes on from the same place.
    pub async fn next(&mut self) -> Result<Vec<Event>, store::Error> {
        while !self.over {
            self.registered.signal.mark_unchanged();
            let page = self.read_page().await?;
            if let Some(last) = page.last() {
                self.cursor = last.seq;
                self.over = last.kind.is_terminal();
                self.event_bytes = page.iter().map(|event| event.data.get().len()).fold(self.event_bytes, usize::max);
                return Ok(page);
            }
            self.registered.hint_or_poll().await;
        }
        Ok(Vec::new())
    }

    /// Whether the terminal event was yielded.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The last event that was yielded, or where following began.
    #[must_use]
    pub fn cursor(&self) -> EventSeq {
        self.cursor
    }

    async fn read_page(&self) -> Result<Vec<Event>, store::Error> {
        let limit = (limits::EVENTS_PAGE_BYTES / self.event_bytes).clamp(1, limits::EVENTS_PAGE_MAX);
        let (feed, job) = (&self.registered.shared.feed, self.registered.job);
        retry(Policy::StoreRequest, || feed.events(job, self.cursor, limit)).await
    }
}

#[cfg(test)]
mod tests;
