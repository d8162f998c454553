//! The loop over an outbox in memory: which job goes out when, and when it is marked.

use std::sync::{
    Mutex, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use siding_core::{
    broker::{Consumer, memory::MemoryBroker},
    clock::SystemClock,
    config::Settings,
    id::{Attempt, JobId},
    store,
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
/// Far away: what happens before it was not waited for.
const POLL: Duration = Duration::from_secs(600);

/// Due jobs, and what was asked of them.
#[derive(Default)]
struct Rows {
    unpublished: Mutex<Vec<DueJob>>,
    marked: Mutex<Vec<JobId>>,
    reads: AtomicUsize,
}

#[async_trait]
impl Dispatch for Rows {
    async fn due(&self, limit: usize, except: &[LaneName]) -> Result<Vec<DueJob>, store::Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let rows = self.unpublished.lock().expect("no panic");
        Ok(rows.iter().filter(|job| !except.contains(&job.lane)).take(limit).cloned().collect())
    }

    async fn mark_published(&self, published: &[Publication]) -> Result<(), store::Error> {
        let ids: Vec<JobId> = published.iter().map(|publication| publication.job).collect();
        self.unpublished.lock().expect("no panic").retain(|job| !ids.contains(&job.id));
        self.marked.lock().expect("no panic").extend(ids);
        Ok(())
    }

    async fn backlog(&self, limit: usize) -> Result<usize, store::Error> {
        Ok(self.unpublished.lock().expect("no panic").len().min(limit))
    }

    async fn next_due_in(&self) -> Result<Option<Duration>, store::Error> {
        Ok(None)
    }

    async fn forget_published(&self, _lost: &store::Lost) -> Result<u64, store::Error> {
        Ok(0)
    }
}

impl Rows {
    fn marked(&self) -> usize {
        self.marked.lock().expect("no panic").len()
    }
}

fn due(lane: &str) -> DueJob {
    DueJob {
        id: JobId::generate(),
        attempt: Attempt(0),
        lane: lane.parse().expect("a name"),
        model: "m".parse().expect("a name"),
        version: "1".parse().expect("a name"),
        due_at: Timestamp(0),
        expected_ms: 1.0,
        traceparent: None,
    }
}

fn lanes() -> Lanes {
    Settings::default().lanes().expect("valid")
}

fn broker(messages_max: usize) -> Arc<MemoryBroker> {
    let names: Vec<LaneName> = lanes().as_slice().iter().map(|lane| lane.name.clone()).collect();
    MemoryBroker::new(&names, messages_max)
}

fn started(drain: &Drain, rows: &Arc<Rows>, bus: Arc<MemoryBroker>, publisher: Arc<dyn Publisher>) -> Outbox {
    let parts = Parts {
        publisher,
        store: rows.clone(),
        bus,
        lanes: lanes(),
        clock: Arc::new(SystemClock),
        metrics: Arc::new(Metrics::new()),
        relay_poll: POLL,
        unpublished_max: 1_000,
    };
    start(drain, parts)
}

/// Waits until the lane's queue holds `count` messages.
async fn waiting(broker: &MemoryBroker, lane: &LaneName, count: u64) {
    let reached = async {
        while broker.ready_count(lane).await.expect("a lane") != count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.expect("the messages come");
}

#[tokio::test]
async fn a_full_lane_holds_up_no_other_lane() {
    let (drain, rows, broker) = (Drain::new(), Arc::new(Rows::default()), broker(2));
    let long = lanes().as_slice().last().expect("a lane").name.clone();
    let short = lanes().as_slice()[0].name.clone();
    // More than one page of the full lane stands before the other's job.
    rows.unpublished.lock().expect("no panic").extend((0..2 * limits::GROUP_ROWS_MAX).map(|_| due(long.as_str())));
    rows.unpublished.lock().expect("no panic").push(due(short.as_str()));
    let outbox = started(&drain, &rows, broker.clone(), broker.clone());
    waiting(&broker, &short, 1).await;
    waiting(&broker, &long, 2).await;
    drain.stopped(PATIENCE).await.expect("it ends");
    assert_eq!(outbox.backlog(), 2 * limits::GROUP_ROWS_MAX - 2, "what the broker refused is counted");
}

#[tokio::test]
async fn a_job_of_a_lane_that_is_gone_goes_to_the_longest_lane() {
    let (drain, rows, broker) = (Drain::new(), Arc::new(Rows::default()), broker(2));
    rows.unpublished.lock().expect("no panic").push(due("gone"));
    let _outbox = started(&drain, &rows, broker.clone(), broker.clone());
    waiting(&broker, &lanes().as_slice().last().expect("a lane").name, 1).await;
    drain.stopped(PATIENCE).await.expect("it ends");
    assert_eq!(rows.marked(), 1);
}

/// Offers a further job with every publication, so that the fast path is never idle.
#[derive(Default)]
struct Saturating {
    outbox: OnceLock<Outbox>,
    lane: OnceLock<LaneName>,
    seen: AtomicUsize,
}

#[async_trait]
impl Publisher for Saturating {
    async fn publish(&self, messages: Vec<Envelope>) -> Vec<Published> {
        if let Some(outbox) = self.outbox.get() {
            outbox.offer(due("instant"));
        }
        let wanted = self.lane.get().expect("set before");
        let seen = messages.iter().filter(|message| &message.due().lane == wanted).count();
        self.seen.fetch_add(seen, Ordering::Relaxed);
        messages
            .iter()
            .map(|message| if &message.due().lane == wanted { Published::Refused } else { Published::Confirmed })
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_goes_out_and_is_counted_while_submissions_never_pause() {
    let (drain, rows, broker) = (Drain::new(), Arc::new(Rows::default()), broker(2));
    let long = lanes().as_slice().last().expect("a lane").name.clone();
    let publisher = Arc::new(Saturating::default());
    publisher.lane.set(long.clone()).expect("once");
    let outbox = started(&drain, &rows, broker.clone(), publisher.clone());
    assert!(publisher.outbox.set(outbox.clone()).is_ok(), "once");
    outbox.offer(due("instant"));
    rows.unpublished.lock().expect("no panic").push(due(long.as_str()));
    let reached = async {
        while publisher.seen.load(Ordering::Relaxed) == 0 || outbox.backlog() == 0 {
            broker.send(&[Hint::Due]);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.expect("the relay has its turn");
    drain.stopped(PATIENCE).await.expect("it ends, although jobs are offered without end");
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_hints_asks_for_one_turn() {
    let (drain, rows, broker) = (Drain::new(), Arc::new(Rows::default()), broker(2));
    let _outbox = started(&drain, &rows, broker.clone(), broker.clone());
    SystemClock.sleep(2 * HINTED_TURN_EVERY).await;
    assert_eq!(rows.reads.load(Ordering::Relaxed), 1, "the turn at the start");
    for _ in 0..100 {
        broker.send(&vec![Hint::Due; 10]);
        tokio::task::yield_now().await;
    }
    SystemClock.sleep(10 * HINTED_TURN_EVERY).await;
    assert_eq!(rows.reads.load(Ordering::Relaxed), 3, "one at once, and one for all hints that came after it had begun");
    drain.stopped(PATIENCE).await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn marks_wait_for_a_full_group_a_turn_or_the_stop() {
    let (drain, rows, broker) = (Drain::new(), Arc::new(Rows::default()), broker(10_000));
    let outbox = started(&drain, &rows, broker.clone(), broker.clone());
    let offer = |count: usize| (0..count).for_each(|_| assert!(outbox.offer(due("instant"))));
    let settle = || SystemClock.sleep(Duration::from_secs(1));
    settle().await;
    offer(3);
    settle().await;
    assert_eq!(rows.marked(), 0, "published, and marked later");
    offer(UNMARKED_MAX - 3);
    settle().await;
    assert_eq!(rows.marked(), UNMARKED_MAX, "a full group");
    offer(2);
    settle().await;
    broker.send(&[Hint::Due]);
    settle().await;
    assert_eq!(rows.marked(), UNMARKED_MAX + 2, "a turn");
    offer(1);
    drain.stopped(PATIENCE).await.expect("it ends");
    assert_eq!(rows.marked(), UNMARKED_MAX + 3, "the stop");
}

/// A broker that takes everything, and its time for it.
#[derive(Default)]
struct Slow {
    taken: Mutex<Vec<JobId>>,
}

#[async_trait]
impl Publisher for Slow {
    async fn publish(&self, messages: Vec<Envelope>) -> Vec<Published> {
        SystemClock.sleep(COUNTED_EVERY / 2).await;
        self.taken.lock().expect("no panic").extend(messages.iter().map(|message| message.due().job));
        vec![Published::Confirmed; messages.len()]
    }
}

#[tokio::test(start_paused = true)]
async fn within_a_long_turn_the_backlog_is_counted_and_what_is_offered_goes_out() {
    let (drain, rows, broker) = (Drain::new(), Arc::new(Rows::default()), broker(1));
    let count = 6 * limits::GROUP_ROWS_MAX;
    rows.unpublished.lock().expect("no panic").extend((0..count).map(|_| due("instant")));
    let publisher = Arc::new(Slow::default());
    let mut outbox = started(&drain, &rows, broker, publisher.clone());
    let mut seen = Vec::new();
    let offered = due("instant");
    while seen.last() != Some(&0) {
        tokio::time::timeout(PATIENCE, outbox.backlog.changed()).await.expect("it is counted").expect("the loop runs");
        seen.push(outbox.backlog());
        if seen.len() == 1 {
            assert!(outbox.offer(offered.clone()));
        }
    }
    assert_eq!(
        seen,
        [1_000, 3 * limits::GROUP_ROWS_MAX, limits::GROUP_ROWS_MAX, 0],
        "up to the bound, then what is left, then nothing"
    );
    drain.stopped(PATIENCE).await.expect("it ends");
    let taken = publisher.taken.lock().expect("no panic");
    let place = taken.iter().position(|job| *job == offered.id).expect("published");
    assert_eq!((place, taken.len()), (3 * limits::GROUP_ROWS_MAX, count + 1), "after the group that was on its way");
}
