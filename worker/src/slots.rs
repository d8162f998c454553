//! Slots: the threads that run models, and the ready queue that they share. It decides which thread takes which claimed job (any free
//! one, first come first served); it never decides what is claimed. Models run here and nowhere else: never on the async executor.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use siding_core::schedule::group::{AHEAD_MS_MAX, LEAD_MS, SlotsView};
use tokio::sync::Notify;

use crate::{execute::Executor, running::Running, verdict::RunEnd};

/// A claimed job with its input, waiting for a slot.
#[derive(Debug)]
pub struct Ready {
    /// The job.
    pub running: Arc<Running>,
    /// Its input as JSON text.
    pub input: Arc<str>,
    /// When it was put here.
    pub since: Instant,
}

/// The end of one run, as a slot reports it. Blocks when the recorder is behind: a slot takes no new job then.
pub type Report = Arc<dyn Fn(Arc<Running>, RunEnd) + Send + Sync>;

/// The worker's slots. Cheap to clone.
#[derive(Clone)]
pub struct Slots(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Tells the threads that there is work, or that they are to end.
    work: Condvar,
    /// Tells the taking loop that a slot or the ready queue has changed.
    changed: Notify,
    count: usize,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Ready>,
    /// What each slot runs.
    running: Vec<Option<Arc<Running>>>,
    /// Claimed jobs whose input is still being read.
    coming: Vec<Arc<Running>>,
    /// Jobs that are coming, ready or running, by lane.
    by_lane: Vec<usize>,
    ending: bool,
}

impl State {
    fn busy(&self) -> usize {
        self.running.iter().flatten().count()
    }
}

/// The slots and the queue as the policies see them.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// For `schedule::group`.
    pub slots: SlotsView,
    /// Slots that run a job.
    pub busy: usize,
    /// Jobs that are coming, ready or running, by lane.
    pub by_lane: Vec<usize>,
    /// How long until the next slot is expected to be within `LEAD_MS` of its end, of those that are not yet.
    pub next_ending_in: Option<Duration>,
}

/// A claimed job on its way to the ready queue: it has its place in its lane's share from the claim on. The place is free again when this
/// is dropped.
#[must_use]
pub struct Coming {
    slots: Slots,
    running: Arc<Running>,
}

impl Coming {
    /// Its input is here: it is ready.
    pub fn arrived(self, input: Arc<str>) {
        // For a moment it counts twice, never not at all.
        self.slots.push([Ready { running: self.running.clone(), input, since: Instant::now() }]);
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        state.coming.retain(|coming| !Arc::ptr_eq(coming, &self.running));
        state.by_lane[self.running.lane_index] -= 1;
        drop(state);
        self.slots.0.changed.notify_one();
    }
}

impl Slots {
    /// Starts `count` threads, each with an executor of its own.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(
        count: usize,
        lanes: usize,
        executor: impl Fn() -> Executor,
        report: Report,
    ) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        let state = State { by_lane: vec![0; lanes], running: vec![None; count], ..State::default() };
        let slots = Self(Arc::new(Shared { state: Mutex::new(state), work: Condvar::new(), changed: Notify::new(), count }));
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let (slots, executor, report) = (slots.clone(), executor(), report.clone());
            let run = move || slots.serve(index, executor, &report);
            threads.push(std::thread::Builder::new().name(format!("slot-{index}")).spawn(run)?);
        }
        Ok((slots, threads))
    }

    /// How many slots there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.count
    }

    /// What the policies need to know.
    #[must_use]
    pub fn view(&self) -> View {
        let state = self.lock();
        let waiting = || state.ready.iter().map(|ready| &ready.running).chain(&state.coming);
        let ready_ms = waiting().map(|running| running.work.estimate.p50_ms).sum();
        let left_ms = |running: &Arc<Running>| left_ms(running.work.estimate.p50_ms, running.ran_for());
        let free_in = || state.running.iter().map(|slot| slot.as_ref().map_or(0.0, left_ms));
        let free_in_ms = free_in().fold(f64::INFINITY, f64::min);
        let within = |ms_max: f64| free_in().filter(|ms| *ms <= ms_max).count();
        let soon = within(AHEAD_MS_MAX);
        let busy = state.busy();
        let idle = self.0.count - busy;
        // An idle slot counts as free at once, so it is within any time.
        let slots = SlotsView { idle, ending: within(LEAD_MS) - idle, free_in_ms, soon, ready: waiting().count(), ready_ms };
        let next_ending_in = free_in().map(|ms| ms - LEAD_MS).filter(|ms| *ms > 0.0 && ms.is_finite()).reduce(f64::min);
        let next_ending_in = next_ending_in.map(|ms| Duration::from_secs_f64(ms / 1e3));
        View { slots, busy, by_lane: state.by_lane.clone(), next_ending_in }
    }

    /// How many slots run something that does not heed its stop: they take nothing until it returns.
    #[must_use]
    pub fn hung(&self) -> usize {
        self.lock().running.iter().flatten().filter(|running| running.is_hung()).count()
    }

    /// Puts claimed jobs at the end of the ready queue.
    pub fn push(&self, jobs: impl IntoIterator<Item = Ready>) {
        let mut state = self.lock();
        for job in jobs {
            state.by_lane[job.running.lane_index] += 1;
            state.ready.push_back(job);
        }
        drop(state);
        self.0.work.notify_all();
    }

    /// Counts a claimed job whose input is still to be read as one that is ready.
    pub fn expect(&self, running: Arc<Running>) -> Coming {
        let mut state = self.lock();
        state.by_lane[running.lane_index] += 1;
        state.coming.push(running.clone());
        Coming { slots: self.clone(), running }
    }

    /// Takes back ready jobs that have waited longer than `longer_than` while every slot is busy, or all of them.
    #[must_use]
    pub fn take_back(&self, longer_than: Option<Duration>) -> Vec<Ready> {
        let mut state = self.lock();
        let all_busy = state.busy() == self.0.count;
        let (back, stay) = std::mem::take(&mut state.ready)
            .into_iter()
            .partition::<VecDeque<_>, _>(|ready| longer_than.is_none_or(|limit| all_busy && ready.since.elapsed() > limit));
        state.ready = stay;
        for ready in &back {
            state.by_lane[ready.running.lane_index] -= 1;
        }
        back.into()
    }

    /// Returns after the next change of a slot or of the ready queue. Cancel-safe; a change between two calls is not missed.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Lets every thread end once it runs nothing. What is ready stays in the queue.
    pub fn end(&self) {
        self.lock().ending = true;
        self.0.work.notify_all();
    }

    fn serve(&self, slot: usize, mut executor: Executor, report: &Report) {
        while let Some(ready) = self.take(slot) {
            let end = executor.execute(&ready.running, &ready.input);
            report(ready.running.clone(), end);
            let mut state = self.lock();
            state.running[slot] = None;
            state.by_lane[ready.running.lane_index] -= 1;
            drop(state);
            self.0.changed.notify_one();
        }
    }

    fn take(&self, slot: usize) -> Option<Ready> {
        let mut state = self.lock();
        loop {
            if state.ending {
                return None;
            }
            if let Some(ready) = state.ready.pop_front() {
                ready.running.start();
                state.running[slot] = Some(ready.running.clone());
                let ran_dry = state.ready.is_empty();
                drop(state);
                if ran_dry {
                    // The next group may be claimed while this job runs.
                    self.0.changed.notify_one();
                }
                return Some(ready);
            }
            state = self.0.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long past its expected end a run still counts as about to end.
const ABOUT_TO_END_MS: f64 = 5.0;

/// How long a run is expected to go on, in milliseconds. A run that has clearly outlived its estimate may go on for ever.
fn left_ms(expected_ms: f64, ran_for: Duration) -> f64 {
    let left = expected_ms - ran_for.as_secs_f64() * 1e3;
    if left < -ABOUT_TO_END_MS { f64::INFINITY } else { left.max(0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_has_outlived_its_estimate_is_not_expected_to_end() {
        for (expected, ran, left) in
            [(100.0, 0, 100.0), (100.0, 60, 40.0), (100.0, 104, 0.0), (100.0, 106, f64::INFINITY), (0.0, 0, 0.0)]
        {
            assert!(
                (left_ms(expected, Duration::from_millis(ran)) - left).abs() < 1e-9 || left.is_infinite(),
                "{expected} {ran}"
            );
            assert_eq!(left_ms(expected, Duration::from_millis(ran)).is_infinite(), left.is_infinite(), "{expected} {ran}");
        }
    }
}
