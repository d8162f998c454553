//! What becomes of dead letters, over letters and jobs in memory.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use siding_core::{
    broker::{self, Consumer, DeadLettersFound, Loss, memory::MemoryBroker},
    clock::{SystemClock, Timestamp},
    config::Settings,
    estimate::{Estimate, Source},
    id::{Attempt, EventSeq, JobId, LaneName},
    store::{self, Counts, DueJob, JobFilter, Page, Payload, Publication},
};

use super::*;

/// Letters, by their jobs, and what was settled.
#[derive(Default)]
struct Letters {
    waiting: Mutex<Vec<Due>>,
    /// Whether a loss is told, until it is acknowledged.
    loss: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<JobId>>>,
}

#[async_trait]
impl DeadLetters for Letters {
    async fn take(&self, letters_max: usize) -> Result<DeadLettersFound, broker::Error> {
        let mut waiting = self.waiting.lock().expect("no panic");
        let count = waiting.len().min(letters_max);
        let letter = |due| Box::new(Letter { envelope: Envelope::V1(due), acknowledged: self.acknowledged.clone() });
        let letters = waiting.drain(..count).map(|due| letter(due) as Box<dyn Delivery>).collect();
        let told = self
            .loss
            .load(Ordering::Relaxed)
            .then(|| Box::new(Told(vec!["instant".parse().expect("a name")], self.loss.clone())) as Box<dyn Loss>);
        Ok(DeadLettersFound { letters, unreadable: 3, losses: told.into_iter().collect() })
    }
}

#[derive(Debug)]
struct Told(Vec<LaneName>, Arc<AtomicBool>);

#[async_trait]
impl Loss for Told {
    fn lanes(&self) -> &[LaneName] {
        &self.0
    }

    async fn ack(self: Box<Self>) -> Result<(), broker::Error> {
        self.1.store(false, Ordering::Relaxed);
        Ok(())
    }
}

#[derive(Debug)]
struct Letter {
    envelope: Envelope,
    acknowledged: Arc<Mutex<Vec<JobId>>>,
}

#[async_trait]
impl Delivery for Letter {
    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn redelivered(&self) -> bool {
        false
    }

    async fn ack(self: Box<Self>) -> Result<(), broker::Error> {
        self.acknowledged.lock().expect("no panic").push(self.envelope.due().job);
        Ok(())
    }

    async fn give_back(self: Box<Self>) -> Result<(), broker::Error> {
        Ok(())
    }
}

/// Some jobs, or an error.
struct SomeJobs {
    jobs: Mutex<Vec<JobRecord>>,
    away: AtomicBool,
    forgotten: AtomicBool,
}

#[async_trait]
impl Dispatch for SomeJobs {
    async fn due(&self, _: usize, _: &[LaneName]) -> Result<Vec<DueJob>, store::Error> {
        Ok(Vec::new())
    }

    async fn mark_published(&self, _: &[Publication]) -> Result<(), store::Error> {
        Ok(())
    }

    async fn backlog(&self, _: usize) -> Result<usize, store::Error> {
        Ok(0)
    }

    async fn next_due_in(&self) -> Result<Option<Duration>, store::Error> {
        Ok(None)
    }

    async fn forget_published(&self, lost: &Lost) -> Result<u64, store::Error> {
        assert!(matches!(lost, Lost::Lane { lane, .. } if lane.as_str() == "instant"), "{lost:?}");
        match self.away.load(Ordering::Relaxed) {
            true => Err(store::Error::Unavailable("away".into())),
            false => Ok(u64::from(!self.forgotten.swap(true, Ordering::Relaxed))),
        }
    }
}

#[async_trait]
impl Jobs for SomeJobs {
    async fn get(&self, id: JobId) -> Result<Option<JobRecord>, store::Error> {
        match self.away.load(Ordering::Relaxed) {
            true => Err(store::Error::Unavailable("away".into())),
            false => Ok(self.jobs.lock().expect("no panic").iter().find(|job| job.id == id).cloned()),
        }
    }

    async fn input(&self, _: JobId) -> Result<Option<Payload>, store::Error> {
        Ok(None)
    }

    async fn output(&self, _: JobId) -> Result<Option<Payload>, store::Error> {
        Ok(None)
    }

    async fn list(&self, _: &JobFilter, _: Page) -> Result<Vec<JobRecord>, store::Error> {
        Ok(Vec::new())
    }

    async fn position(&self, _: JobId) -> Result<Option<u64>, store::Error> {
        Ok(None)
    }

    async fn counts(&self) -> Result<Vec<Counts>, store::Error> {
        Ok(Vec::new())
    }
}

fn lanes() -> Lanes {
    Settings::default().lanes().expect("valid")
}

fn letter(lane: &str) -> Due {
    Due {
        job: JobId::generate(),
        attempt: Attempt(1),
        lane: lane.parse().expect("a name"),
        model: "m".parse().expect("a name"),
        version: "1".parse().expect("a name"),
        due_at_ms: Timestamp(0),
        expected_ms: 1.0,
        traceparent: None,
        message: None,
    }
}

fn record(letter: &Due, state: State, attempt: u32) -> JobRecord {
    JobRecord {
        id: letter.job,
        model: letter.model.clone(),
        version: letter.version.clone(),
        lane: letter.lane.clone(),
        estimate: Estimate { p50_ms: 1.0, p90_ms: 1.0, source: Source::Hint },
        state,
        attempt: Attempt(attempt),
        failures: 0,
        attempts_max: 3,
        created_at: Timestamp(0),
        due_at: Timestamp(0),
        start_deadline_at: None,
        run_timeout: Duration::from_secs(1),
        stall_timeout: None,
        started_at: None,
        finished_at: None,
        worker: None,
        failure: None,
        canceled: None,
        has_output: false,
        event_seq: EventSeq(1),
        retry_of: None,
        retried_by: None,
        dropped_at: None,
        traceparent: None,
    }
}

struct Fixture {
    parts: Parts,
    letters: Arc<Letters>,
    jobs: Arc<SomeJobs>,
    broker: Arc<MemoryBroker>,
}

fn fixture(letter: &Due, job: Option<JobRecord>, queue_messages_max: usize) -> Fixture {
    let names: Vec<LaneName> = lanes().as_slice().iter().map(|lane| lane.name.clone()).collect();
    let broker = MemoryBroker::new(&names, queue_messages_max);
    let letters = Arc::new(Letters::default());
    letters.waiting.lock().expect("no panic").push(letter.clone());
    let jobs = Arc::new(SomeJobs {
        jobs: Mutex::new(job.into_iter().collect()),
        away: AtomicBool::new(false),
        forgotten: AtomicBool::new(false),
    });
    let parts = Parts {
        letters: letters.clone(),
        publisher: broker.clone(),
        jobs: jobs.clone(),
        outbox: jobs.clone(),
        lanes: lanes(),
        clock: Arc::new(SystemClock),
        metrics: Arc::new(Metrics::new()),
    };
    Fixture { parts, letters, jobs, broker }
}

#[tokio::test]
async fn a_letter_is_published_again_exactly_when_its_job_waits_for_it() {
    let rows = [
        ("queued where the letter says: it waits for this message", Some((State::Queued, 1)), true),
        ("queued as another attempt: that one has its own message", Some((State::Queued, 2)), false),
        ("running: its lease stands for it", Some((State::Running, 2)), false),
        ("cancelling", Some((State::Cancelling, 2)), false),
        ("succeeded", Some((State::Succeeded, 2)), false),
        ("canceled while it was queued", Some((State::Canceled, 1)), false),
        ("expired while it was queued", Some((State::Expired, 1)), false),
        ("no such job", None, false),
    ];
    for (why, job, published) in rows {
        let letter = letter("instant");
        let fixture = fixture(&letter, job.map(|(state, attempt)| record(&letter, state, attempt)), 8);
        assert!(!turn(&fixture.parts, &mut Look::default()).await, "{why}");
        assert_eq!(fixture.broker.ready_count(&letter.lane).await.expect("a lane"), u64::from(published), "{why}");
        assert_eq!(*fixture.letters.acknowledged.lock().expect("no panic"), [letter.job], "{why}");
        let metrics = fixture.parts.metrics.render();
        assert!(metrics.contains("siding_dead_letters_kept 3"), "{metrics}");
        assert_eq!(metrics.contains("siding_dead_letters_total{done=\"published\"} 1"), published, "{metrics}");
    }
}

#[tokio::test]
async fn a_letter_of_a_lane_that_is_gone_goes_to_the_longest_lane() {
    let letter = letter("gone");
    let fixture = fixture(&letter, Some(record(&letter, State::Queued, 1)), 8);
    turn(&fixture.parts, &mut Look::default()).await;
    let longest = &lanes().as_slice().last().expect("a lane").name.clone();
    assert_eq!(fixture.broker.ready_count(longest).await.expect("a lane"), 1);
}

#[tokio::test]
async fn a_letter_is_kept_while_store_or_broker_do_not_answer() {
    let letter = letter("instant");
    let full = fixture(&letter, Some(record(&letter, State::Queued, 1)), 0);
    let away = fixture(&letter, Some(record(&letter, State::Queued, 1)), 8);
    away.jobs.away.store(true, Ordering::Relaxed);
    for fixture in [full, away] {
        assert!(!turn(&fixture.parts, &mut Look::default()).await);
        assert!(fixture.letters.acknowledged.lock().expect("no panic").is_empty());
        assert_eq!(fixture.broker.ready_count(&letter.lane).await.expect("a lane"), 0);
    }
}

#[tokio::test]
async fn the_letters_of_a_full_lane_are_kept_and_hold_up_no_other() {
    let first = letter("instant");
    let fixture = fixture(&first, Some(record(&first, State::Queued, 1)), 1);
    let longest = lanes().as_slice().last().expect("a lane").name.clone();
    // More than one group of the full lane stands before the other's.
    let others = (0..2 * LETTERS_MAX).map(|_| letter("instant")).chain([letter(longest.as_str())]);
    for letter in others {
        fixture.jobs.jobs.lock().expect("no panic").push(record(&letter, State::Queued, 1));
        fixture.letters.waiting.lock().expect("no panic").push(letter);
    }
    let last = fixture.letters.waiting.lock().expect("no panic").last().expect("a letter").job;
    let mut look = Look::default();
    while turn(&fixture.parts, &mut look).await {}
    assert_eq!(fixture.broker.ready_count(&longest).await.expect("a lane"), 1);
    assert_eq!(*fixture.letters.acknowledged.lock().expect("no panic"), [first.job, last]);
    assert_eq!(look.kept.len(), 2 * LETTERS_MAX);
    let metrics = fixture.parts.metrics.render();
    assert!(metrics.contains("siding_dead_letters_total{done=\"published\"} 2"), "{metrics}");
}

#[tokio::test]
async fn a_lost_queue_is_made_up_for_before_its_loss_is_acknowledged() {
    let letter = letter("instant");
    let fixture = fixture(&letter, None, 8);
    fixture.letters.loss.store(true, Ordering::Relaxed);
    fixture.jobs.away.store(true, Ordering::Relaxed);
    turn(&fixture.parts, &mut Look::default()).await;
    assert!(fixture.letters.loss.load(Ordering::Relaxed), "while the store is away, the loss stays told");
    fixture.jobs.away.store(false, Ordering::Relaxed);
    turn(&fixture.parts, &mut Look::default()).await;
    assert!(fixture.jobs.forgotten.load(Ordering::Relaxed) && !fixture.letters.loss.load(Ordering::Relaxed));
}
