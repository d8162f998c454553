//! The jobs that this worker has claimed and not yet recorded: who may be stopped, whose lease is to be extended, whose delivery is to
//! be settled. It decides nothing; it is the one place where the worker's loops meet.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use siding_core::{broker::Delivery, id::JobId, store::Work};
use tokio::sync::Notify;

use crate::runtime::RunControl;

/// Why a run is stopped. The first reason wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The caller cancelled.
    Cancel,
    /// It passed its run timeout.
    Timeout,
    /// One of its steps took too long.
    Stall,
    /// Its claim is no longer ours, or could not be extended in time.
    LeaseLost,
    /// The worker is shutting down.
    Drain,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has no model yet, or its checkpoint is being read.
    Loading,
    /// Its input is being checked.
    Beginning,
    /// A step is under way.
    Computing,
    /// A step has ended, and what comes after it is not the model's: a checkpoint, or a wait for the store.
    BetweenSteps,
}

/// One claimed job.
pub struct Running {
    /// What was claimed.
    pub work: Work,
    /// The lane's place in the set, for counting.
    pub lane_index: usize,
    /// How long a claim of its lane holds.
    pub lease: Duration,
    /// The way to stop it, and its way to report.
    pub control: RunControl,
    /// Set once, by whoever stops it first, before the control is told.
    stop: OnceLock<(StopReason, Instant)>,
    /// Set once, by the slot that starts it.
    started: OnceLock<Instant>,
    /// Set once, by that slot, when the model is loaded and the checkpoint read: the run timeout counts from then.
    loaded: OnceLock<Instant>,
    /// When the step that runs now began, from the second step on: a computation of one step has no steps to be late with. Written by the slot,
    /// read by the keeper.
    step_begun: Mutex<Option<Instant>>,
    /// Set once, by the slot: its first step is under way, or over.
    begun: AtomicBool,
    /// Set once, by the slot: its computation has steps.
    stepped: AtomicBool,
    /// Set once, by the stopping worker, read by the slot: leave between two steps, with a checkpoint.
    leaving: AtomicBool,
    /// Set once, by the keeper, when it ends the run by force.
    killed: OnceLock<Instant>,
    /// Set once, by the keeper: the run does not heed its stop, and its end was recorded without it.
    hung: AtomicBool,
    /// From when the lease counts: the moment before the store was last asked. Written by the keeper, read by it.
    lease_from: Mutex<Instant>,
    /// The unsettled delivery of an `on_record` lane; taken by the recorder, exchanged by the taking loop when its message comes back.
    delivery: Mutex<Option<Box<dyn Delivery>>>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("job", &self.work.job).field("attempt", &self.work.attempt).finish_non_exhaustive()
    }
}

impl Running {
    /// A job claimed by a call that was sent at `asked_at`.
    #[must_use]
    pub fn new(
        work: Work,
        lane_index: usize,
        lease: Duration,
        control: RunControl,
        asked_at: Instant,
        delivery: Option<Box<dyn Delivery>>,
    ) -> Self {
        Self {
            work,
            lane_index,
            lease,
            control,
            stop: OnceLock::new(),
            started: OnceLock::new(),
            loaded: OnceLock::new(),
            step_begun: Mutex::new(None),
            begun: AtomicBool::new(false),
            stepped: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            killed: OnceLock::new(),
            hung: AtomicBool::new(false),
            lease_from: Mutex::new(asked_at),
            delivery: Mutex::new(delivery),
        }
    }

    /// Stops the run, for the first reason given. Safe at any time.
    pub fn stop(&self, reason: StopReason) {
        // A second reason changes nothing: the run is already ending.
        let (reason, _) = *self.stop.get_or_init(|| (reason, Instant::now()));
        if matches!(reason, StopReason::Cancel | StopReason::Drain | StopReason::LeaseLost) {
            self.control.excuse();
        }
        self.control.stop();
    }

    /// Why it was stopped, and when; `None` while nobody has.
    #[must_use]
    pub fn stopped(&self) -> Option<(StopReason, Instant)> {
        self.stop.get().copied()
    }

    /// Its first step begins.
    pub fn begun(&self) {
        self.begun.store(true, Ordering::SeqCst);
    }

    /// How far it is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        if self.loaded.get().is_none() {
            Stage::Loading
        } else if !self.begun.load(Ordering::SeqCst) {
            Stage::Beginning
        } else if self.has_steps() && self.stepping_for().is_none() {
            Stage::BetweenSteps
        } else {
            Stage::Computing
        }
    }

    /// A step ended and another one may follow.
    pub fn step_ended(&self) {
        self.stepped.store(true, Ordering::SeqCst);
        *self.step_begun.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A step begins that is not the first.
    pub fn step_begins(&self) {
        *self.step_begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// How long the step that runs now has been running; `None` in the first one and between two.
    #[must_use]
    pub fn stepping_for(&self) -> Option<Duration> {
        self.step_begun.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }

    /// Whether its computation is known to have steps.
    #[must_use]
    pub fn has_steps(&self) -> bool {
        self.stepped.load(Ordering::SeqCst)
    }

    /// Asks the run to save its state between two steps and to end there: nothing is lost. A run without steps does not heed it.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::SeqCst);
    }

    /// Whether it was asked to leave.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst)
    }

    /// Ends by force a run that does not heed its stop. Returns whether there is anything to be killed.
    pub fn kill(&self) -> bool {
        self.killed.get_or_init(Instant::now);
        self.control.kill()
    }

    /// How long ago it was killed.
    #[must_use]
    pub fn killed_for(&self) -> Option<Duration> {
        self.killed.get().map(Instant::elapsed)
    }

    /// It does not heed its stop. Returns whether this is news.
    pub fn hang(&self) -> bool {
        !self.hung.swap(true, Ordering::SeqCst)
    }

    /// Whether its end was recorded without it.
    #[must_use]
    pub fn is_hung(&self) -> bool {
        self.hung.load(Ordering::SeqCst)
    }

    /// A slot starts it now.
    pub fn start(&self) {
        self.started.get_or_init(Instant::now);
    }

    /// Its model is loaded and its checkpoint read; it computes from now.
    pub fn loaded(&self) {
        self.loaded.get_or_init(Instant::now);
    }

    /// How long it has been computing; `None` while its model is not loaded.
    #[must_use]
    pub fn computed_for(&self) -> Option<Duration> {
        self.loaded.get().map(Instant::elapsed)
    }

    /// How long it has been running; zero before it starts.
    #[must_use]
    pub fn ran_for(&self) -> Duration {
        self.started.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    /// Since when its lease counts.
    #[must_use]
    pub fn lease_from(&self) -> Instant {
        *self.lease_from.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lease was extended by a call that was sent at `asked_at`.
    pub fn lease_extended(&self, asked_at: Instant) {
        *self.lease_from.lock().unwrap_or_else(PoisonError::into_inner) = asked_at;
    }

    /// Its message has come back, because the connection that brought it was cut: the new delivery takes the place of the old one, which is
    /// returned to be settled. A delivery of another message, or one that comes when the old one is settled already, is given back.
    ///
    /// # Errors
    /// The delivery.
    pub fn adopt(&self, delivery: Box<dyn Delivery>) -> Result<Box<dyn Delivery>, Box<dyn Delivery>> {
        let message = delivery.envelope().due().message;
        let mut current = self.delivery.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *current {
            Some(old) if message.is_some() && old.envelope().due().message == message => Ok(std::mem::replace(old, delivery)),
            _ => Err(delivery),
        }
    }

    /// Its delivery, once.
    pub fn take_delivery(&self) -> Option<Box<dyn Delivery>> {
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// All claimed jobs of this worker. A job is claimed here at most once at a time: a second claim of it is a newer attempt, and the
/// older entry is stopped by then (its lease is lost).
#[derive(Debug, Default)]
pub struct RunningJobs {
    jobs: Mutex<HashMap<JobId, Arc<Running>>>,
    /// Told whenever a job leaves.
    left: Notify,
}

impl RunningJobs {
    /// Adds a claimed job. An older attempt of the same job has lost its lease.
    pub fn insert(&self, running: Arc<Running>) {
        let older = self.lock().insert(running.work.job, running);
        if let Some(older) = older {
            older.stop(StopReason::LeaseLost);
        }
    }

    /// Removes this very attempt; a newer one stays.
    pub fn remove(&self, running: &Arc<Running>) {
        {
            let mut jobs = self.lock();
            if jobs.get(&running.work.job).is_some_and(|current| Arc::ptr_eq(current, running)) {
                jobs.remove(&running.work.job);
            }
        }
        self.left.notify_waiters();
    }

    /// The claimed job of that id.
    #[must_use]
    pub fn get(&self, job: JobId) -> Option<Arc<Running>> {
        self.lock().get(&job).cloned()
    }

    /// Hands a delivery to the claimed job that its very message was claimed for (`Running::adopt`).
    ///
    /// # Errors
    /// The delivery, when there is none.
    pub fn adopt(&self, delivery: Box<dyn Delivery>) -> Result<Box<dyn Delivery>, Box<dyn Delivery>> {
        match self.get(delivery.envelope().due().job) {
            Some(running) => running.adopt(delivery),
            None => Err(delivery),
        }
    }

    /// All of them, as they are now.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Running>> {
        self.lock().values().cloned().collect()
    }

    /// Returns once there is none.
    pub async fn none_left(&self) {
        self.none_left_of(|_| true).await;
    }

    /// Returns once there is none of `those`.
    pub async fn none_left_of(&self, those: impl Fn(&Running) -> bool) {
        loop {
            let left = self.left.notified();
            if !self.lock().values().any(|running| those(running)) {
                return;
            }
            left.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Arc<Running>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use siding_core::{
        broker::{Consumer, Publisher, memory::MemoryBroker},
        clock::Timestamp,
        envelope::{Due, Envelope},
        id::{Attempt, MessageId},
    };

    use super::*;
    use crate::verdict::tests::work;

    async fn delivery(work: &Work, message: Option<MessageId>) -> Box<dyn Delivery> {
        let broker = MemoryBroker::new(std::slice::from_ref(&work.lane), 1);
        let due = Due {
            job: work.job,
            attempt: Attempt(0),
            lane: work.lane.clone(),
            model: work.model.clone(),
            version: work.version.clone(),
            due_at_ms: Timestamp(0),
            expected_ms: 1.0,
            traceparent: None,
            message,
        };
        broker.publish(vec![Envelope::V1(due)]).await;
        broker.subscribe(&work.lane, 1).await.expect("the lane has a queue").next().await.expect("a message waits")
    }

    #[tokio::test]
    async fn only_the_message_that_is_still_to_be_settled_is_exchanged() {
        let (own, other) = (MessageId::generate(), MessageId::generate());
        let rows = [
            ("its own message came back", Some(Some(own)), Some(own), true),
            ("a doubled one", Some(Some(own)), Some(other), false),
            ("one that carries no id", Some(Some(own)), None, false),
            ("two that carry none may be two", Some(None), None, false),
            ("it was settled already, or at the claim", None, Some(own), false),
        ];
        for (reason, held, came, expected) in rows {
            let work = work(0);
            let came = delivery(&work, came).await;
            let held = match held {
                Some(message) => Some(delivery(&work, message).await),
                None => None,
            };
            let control = RunControl::new(|_| ());
            let running = Running::new(work, 0, Duration::from_secs(1), control, Instant::now(), held);
            assert_eq!(running.adopt(came).is_ok(), expected, "{reason}");
        }
    }
}
