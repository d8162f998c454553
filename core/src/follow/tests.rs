//! What following promises, against a feed in memory and a bus whose hints the test may lose.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use serde_json::value::RawValue;
use tokio::sync::broadcast;

use super::*;
use crate::{
    clock::{ManualClock, Timestamp},
    id::Attempt,
    job::EventKind,
};

const POLL: Duration = Duration::from_secs(2);

#[derive(Default)]
struct FakeFeed {
    events: Mutex<HashMap<JobId, Vec<Event>>>,
    reads: AtomicUsize,
    /// How many of the next reads fail.
    failing: AtomicUsize,
    /// Counts reads for those who wait for one.
    read: watch::Sender<usize>,
}

#[async_trait]
impl Feed for FakeFeed {
    async fn events(&self, job: JobId, after: EventSeq, limit: usize) -> Result<Vec<Event>, store::Error> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.failing.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(store::Error::ReadOnly("as told".into()));
        }
        let events = self.events.lock().expect("lock");
        let page = events.get(&job).into_iter().flatten().filter(|event| event.seq > after).take(limit).cloned().collect();
        self.read.send_modify(|reads| *reads += 1);
        Ok(page)
    }
}

struct FakeBus(broadcast::Sender<Heard>);

impl EventBus for FakeBus {
    fn send(&self, hints: &[Hint]) {
        for hint in hints {
            self.0.send(Heard::Hint(hint.clone())).expect("somebody listens");
        }
    }

    fn listen(&self) -> HintStream {
        HintStream::new(self.0.subscribe())
    }
}

struct Fixture {
    drain: Drain,
    feed: Arc<FakeFeed>,
    bus: Arc<dyn EventBus>,
    clock: Arc<ManualClock>,
    follower: Follower,
    job: JobId,
}

impl Fixture {
    fn new() -> Self {
        let (drain, feed, clock) = (Drain::new(), Arc::new(FakeFeed::default()), ManualClock::starting_at(Timestamp(0)));
        let bus: Arc<dyn EventBus> = Arc::new(FakeBus(broadcast::Sender::new(4)));
        let follower = Follower::start(&drain, feed.clone(), &bus, clock.clone(), POLL);
        Self { drain, feed, bus, clock, follower, job: JobId::generate() }
    }

    /// Commits an event without a hint.
    fn commit(&self, kind: EventKind) -> EventSeq {
        self.commit_for(self.job, kind)
    }

    fn commit_for(&self, job: JobId, kind: EventKind) -> EventSeq {
        let mut events = self.feed.events.lock().expect("lock");
        let events = events.entry(job).or_default();
        let seq = EventSeq(u32::try_from(events.len()).expect("few") + 1);
        let data = RawValue::from_string("{}".into()).expect("json");
        events.push(Event { job, seq, kind, at: Timestamp(0), attempt: Attempt(0), data });
        seq
    }

    fn hint(&self, seq: EventSeq) {
        let terminal =
            self.feed.events.lock().expect("lock")[&self.job].iter().any(|event| event.seq == seq && event.kind.is_terminal());
        self.bus.send(&[Hint::Event { job: self.job, seq, terminal }]);
    }

    /// Returns once the feed was read `reads` times in all.
    async fn read(&self, reads: usize) {
        self.feed.read.subscribe().wait_for(|seen| *seen >= reads).await.expect("the feed lives");
    }
}

fn seqs(events: &[Event]) -> Vec<u32> {
    events.iter().map(|event| event.seq.0).collect()
}

#[tokio::test]
async fn what_was_stored_before_is_replayed_from_the_cursor() {
    let rows = [(0, vec![1, 2, 3]), (1, vec![2, 3]), (2, vec![3])];
    for (after, expected) in rows {
        let fixture = Fixture::new();
        for kind in [EventKind::Queued, EventKind::Started, EventKind::Succeeded] {
            fixture.commit(kind);
        }
        let mut following = fixture.follower.follow(fixture.job, EventSeq(after));
        assert_eq!(seqs(&following.next().await.expect("feed")), expected);
        assert!(following.is_over());
        assert!(following.next().await.expect("feed").is_empty(), "nothing follows the terminal event");
    }
}

#[tokio::test]
async fn an_event_committed_while_waiting_is_yielded_on_its_hint_without_the_clock_moving() {
    let fixture = Fixture::new();
    let mut following = fixture.follower.follow(fixture.job, EventSeq(0));
    let commit = async {
        fixture.read(1).await;
        fixture.hint(fixture.commit(EventKind::Queued));
    };
    let (page, ()) = tokio::join!(following.next(), commit);
    assert_eq!(seqs(&page.expect("feed")), [1]);
}

#[tokio::test]
async fn a_lost_hint_costs_one_poll_and_no_event() {
    let fixture = Fixture::new();
    let mut following = fixture.follower.follow(fixture.job, EventSeq(0));
    let commit = async {
        fixture.read(1).await;
        fixture.commit(EventKind::Queued);
        fixture.clock.advance(POLL);
    };
    let (page, ()) = tokio::join!(following.next(), commit);
    assert_eq!(seqs(&page.expect("feed")), [1]);
}

#[tokio::test]
async fn a_listener_that_missed_hints_wakes_every_follower() {
    let fixture = Fixture::new();
    let mut following = fixture.follower.follow(fixture.job, EventSeq(0));
    let commit = async {
        fixture.read(1).await;
        fixture.commit(EventKind::Queued);
        // More hints than the bus buffers, none of them for this job, before the listening task can run.
        let other = Hint::Event { job: JobId::generate(), seq: EventSeq(1), terminal: true };
        fixture.bus.send(&vec![other; 16]);
    };
    let (page, ()) = tokio::join!(following.next(), commit);
    assert_eq!(seqs(&page.expect("feed")), [1]);
}

#[tokio::test]
async fn hints_for_other_jobs_cost_no_read() {
    let fixture = Fixture::new();
    let mut following = fixture.follower.follow(fixture.job, EventSeq(0));
    let commit = async {
        fixture.read(1).await;
        fixture.bus.send(&[Hint::Event { job: JobId::generate(), seq: EventSeq(1), terminal: true }, Hint::Due]);
        tokio::task::yield_now().await;
        fixture.hint(fixture.commit(EventKind::Queued));
    };
    let (page, ()) = tokio::join!(following.next(), commit);
    assert_eq!(seqs(&page.expect("feed")), [1]);
    assert_eq!(fixture.feed.reads.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_dropped_wait_loses_nothing() {
    let fixture = Fixture::new();
    let mut following = fixture.follower.follow(fixture.job, EventSeq(0));
    for reads in 1..=3 {
        tokio::select! {
            biased;
            page = following.next() => panic!("nothing was committed: {page:?}"),
            () = fixture.read(reads) => {}
        }
    }
    fixture.hint(fixture.commit(EventKind::Queued));
    fixture.hint(fixture.commit(EventKind::Canceled));
    assert_eq!(seqs(&following.next().await.expect("feed")), [1, 2]);
}

#[tokio::test]
async fn a_long_history_comes_in_bounded_pages_without_gap_or_repeat() {
    let fixture = Fixture::new();
    let total = u32::try_from(limits::EVENTS_PAGE_MAX).expect("small") * 2 + 7;
    for _ in 1..total {
        fixture.commit(EventKind::Progress);
    }
    fixture.commit(EventKind::Succeeded);
    let mut following = fixture.follower.follow(fixture.job, EventSeq(0));
    let mut seen = Vec::new();
    while !following.is_over() {
        let page = following.next().await.expect("feed");
        assert!(!page.is_empty() && page.len() <= limits::EVENTS_PAGE_MAX);
        seen.extend(seqs(&page));
    }
    assert_eq!(seen, (1..=total).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_failed_read_is_told_and_the_next_call_goes_on() {
    let fixture = Fixture::new();
    fixture.commit(EventKind::Queued);
    fixture.feed.failing.store(1, Ordering::SeqCst);
    let mut following = fixture.follower.follow(fixture.job, EventSeq(0));
    assert!(matches!(following.next().await, Err(store::Error::ReadOnly(_))));
    assert_eq!(seqs(&following.next().await.expect("feed")), [1]);
}

#[tokio::test]
async fn the_registry_forgets_a_job_with_its_last_follower() {
    let fixture = Fixture::new();
    let first = fixture.follower.follow(fixture.job, EventSeq(0));
    let second = fixture.follower.follow(fixture.job, EventSeq(0));
    let other = fixture.follower.follow(JobId::generate(), EventSeq(0));
    assert_eq!(fixture.follower.followed_count(), 2);
    drop(first);
    assert_eq!(fixture.follower.followed_count(), 2);
    drop((second, other));
    assert_eq!(fixture.follower.followed_count(), 0);
}

#[tokio::test]
async fn waiting_for_the_end_ends_with_the_terminal_event() {
    let fixture = Fixture::new();
    fixture.commit(EventKind::Queued);
    let commit = async {
        fixture.read(1).await;
        fixture.hint(fixture.commit(EventKind::Started));
        fixture.hint(fixture.commit(EventKind::Failed));
    };
    let (ended, ()) = tokio::join!(fixture.follower.finished(fixture.job, POLL * 10), commit);
    assert_eq!(ended.map(|event| event.kind), Some(EventKind::Failed));
    assert_eq!(fixture.follower.followed_count(), 0);
}

#[tokio::test]
async fn waiting_for_the_end_reads_the_store_for_no_hint_but_that_of_the_end() {
    let fixture = Fixture::new();
    fixture.commit(EventKind::Queued);
    let commit = async {
        fixture.read(1).await;
        for kind in [EventKind::Started, EventKind::Progress, EventKind::Succeeded] {
            fixture.hint(fixture.commit(kind));
            for _ in 0..64 {
                tokio::task::yield_now().await;
            }
        }
    };
    let (ended, ()) = tokio::join!(fixture.follower.finished(fixture.job, POLL * 10), commit);
    assert_eq!(ended.map(|event| event.kind), Some(EventKind::Succeeded));
    assert_eq!(fixture.feed.reads.load(Ordering::SeqCst), 3, "two pages before waiting, one for the end");
}

#[tokio::test]
async fn a_waiter_for_the_end_that_missed_hints_looks_again() {
    let fixture = Fixture::new();
    fixture.commit(EventKind::Queued);
    let commit = async {
        fixture.read(1).await;
        fixture.commit(EventKind::Failed);
        let other = Hint::Event { job: JobId::generate(), seq: EventSeq(1), terminal: false };
        fixture.bus.send(&vec![other; 16]);
    };
    let (ended, ()) = tokio::join!(fixture.follower.finished(fixture.job, POLL * 10), commit);
    assert_eq!(ended.map(|event| event.kind), Some(EventKind::Failed));
}

#[tokio::test]
async fn waiting_for_the_end_is_over_when_its_time_is() {
    let fixture = Fixture::new();
    fixture.commit(EventKind::Queued);
    let advance = async {
        fixture.read(1).await;
        fixture.clock.advance(POLL);
    };
    let (ended, ()) = tokio::join!(fixture.follower.finished(fixture.job, POLL), advance);
    assert!(ended.is_none());
}

#[tokio::test]
async fn a_stopping_service_holds_nobody_who_waits_for_an_end() {
    let fixture = Fixture::new();
    let stop = async {
        fixture.follower.0.drain.stop();
    };
    let (ended, ()) = tokio::join!(fixture.follower.finished(fixture.job, POLL * 1000), stop);
    assert!(ended.is_none());
    fixture.drain.stopped(Duration::from_secs(5)).await.expect("every task ends");
}
