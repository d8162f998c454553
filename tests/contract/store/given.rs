//! What the store's checks start from: jobs in every state, and short ways to do one thing with them. All of it goes through the
//! seam.

use std::{sync::Arc, time::Duration};

use siding_core::{
    clock::{Clock, Timestamp},
    estimate::{Estimate, Source},
    id::{Attempt, EventSeq, JobId, LaneName, MessageId, WorkerId},
    job::{CancelMet, Event, EventKind, Failure, FailureCode, Finish, InterruptReason, State},
    store::{
        Cancelled, Claim, Claimed, JobFilter, JobRecord, Lease, NewJob, Page, Payload, Record, RecordChange, Recorded, Start,
        Submitted, Work,
    },
};
use siding_tests::harness::seams::StoreSeam;

/// How long claims hold in these tests.
pub const LEASE: Duration = Duration::from_secs(10);
/// How long a run is said to have taken.
pub const RUN: Duration = Duration::from_millis(250);
/// How long after its due time a job with a start deadline may start.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub const SECOND: Duration = Duration::from_secs(1);

pub fn lane(name: &str) -> LaneName {
    name.parse().expect("a valid name")
}

pub fn text(json: &str) -> Payload {
    Payload::Inline(Arc::from(json))
}

/// A job as callers submit it, due at once.
pub fn new_job() -> NewJob {
    NewJob {
        id: JobId::generate(),
        model: "echo".parse().expect("a valid name"),
        version: "1".parse().expect("a valid name"),
        input: text(r#"{"text":"quotes \" and \\ and ü"}"#),
        idempotency_key: None,
        fingerprint: [1; 32],
        lane: lane("instant"),
        estimate: Estimate { p50_ms: 200.5, p90_ms: 300.25, source: Source::Hint },
        attempts_max: 3,
        start: Start::In(Duration::ZERO),
        start_deadline: None,
        run_timeout: Duration::from_secs(30),
        stall_timeout: None,
        retry_of: None,
        traceparent: None,
    }
}

pub fn failed(retry_at: Option<Timestamp>) -> Finish {
    Finish::Failed { failure: Failure::new(FailureCode::RuntimeError, "it broke"), retry_at }
}

pub fn succeeded() -> Finish {
    Finish::Succeeded { output: text(r#"{"answer":42}"#) }
}

pub fn drained() -> Finish {
    Finish::Interrupted { reason: InterruptReason::Drain, due_in: Duration::ZERO }
}

pub fn stopped() -> Finish {
    Finish::Stopped { met: CancelMet::InsideRun }
}

pub fn claim(job: JobId) -> Claim {
    Claim { job, lease: LEASE, message: Some(message(job)), takeover: false }
}

/// The message of the job's only publication.
pub fn message(job: JobId) -> MessageId {
    job.as_uuid().into()
}

/// As the broker's second handing out of the job's message asks for it.
pub fn takeover(job: JobId) -> Claim {
    Claim { takeover: true, ..claim(job) }
}

pub fn record(work: &Work, change: RecordChange) -> Record {
    Record { job: work.job, attempt: work.attempt, change }
}

pub fn finish(work: &Work, finish: Finish) -> Record {
    record(work, RecordChange::Finish { finish, run: RUN })
}

pub fn progress(work: &Work, done: u64) -> Record {
    record(work, RecordChange::Progress { done, total: Some(10) })
}

pub fn lease(work: &Work) -> Lease {
    Lease { job: work.job, attempt: work.attempt, lease: LEASE }
}

/// Short ways to do one thing, expecting it to work.
pub trait Given {
    fn now(&self) -> Timestamp;
    fn pass(&self, by: Duration);
    async fn submit_one(&self, new: NewJob) -> Submitted;
    async fn accept(&self, new: NewJob) -> JobRecord;
    async fn queued(&self) -> JobId;
    async fn claim_one(&self, worker: WorkerId, claim: Claim) -> Claimed;
    async fn start(&self, job: JobId) -> Work;
    async fn running(&self) -> Work;
    async fn record_one(&self, record: Record) -> Recorded;
    async fn cancel_one(&self, job: JobId) -> Cancelled;
    async fn in_state(&self, state: State) -> JobId;
    async fn job(&self, job: JobId) -> JobRecord;
    async fn events_of(&self, job: JobId) -> Vec<Event>;
    async fn kinds(&self, job: JobId) -> Vec<EventKind>;
    async fn last_data(&self, job: JobId) -> serde_json::Value;
}

impl Given for StoreSeam {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn pass(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn submit_one(&self, new: NewJob) -> Submitted {
        self.store.submit(vec![new]).await.expect("the store takes it").pop().expect("one answer")
    }

    async fn accept(&self, new: NewJob) -> JobRecord {
        match self.submit_one(new).await {
            Submitted::Created(job) => job,
            other => panic!("not created: {other:?}"),
        }
    }

    async fn queued(&self) -> JobId {
        self.accept(new_job()).await.id
    }

    async fn claim_one(&self, worker: WorkerId, claim: Claim) -> Claimed {
        self.store.claim(worker, &[claim]).await.expect("the store answers").pop().expect("one answer")
    }

    async fn start(&self, job: JobId) -> Work {
        match self.claim_one(WorkerId::generate(), claim(job)).await {
            Claimed::Run(work) => *work,
            Claimed::Skip(skip) => panic!("not granted: {skip:?}"),
        }
    }

    async fn running(&self) -> Work {
        let job = self.queued().await;
        self.start(job).await
    }

    async fn record_one(&self, record: Record) -> Recorded {
        self.store.record(&[record]).await.expect("the store answers").pop().expect("one answer")
    }

    async fn cancel_one(&self, job: JobId) -> Cancelled {
        self.store.cancel(vec![job]).await.expect("the store answers").pop().flatten().expect("the job exists")
    }

    /// A job of its own in that state.
    async fn in_state(&self, state: State) -> JobId {
        match state {
            State::Queued => self.queued().await,
            State::Running => self.running().await.job,
            State::Cancelling => {
                let job = self.running().await.job;
                self.cancel_one(job).await.job.id
            }
            State::Succeeded | State::Failed => {
                let work = self.running().await;
                let how = if state == State::Succeeded { succeeded() } else { failed(None) };
                self.record_one(finish(&work, how)).await;
                work.job
            }
            State::Canceled => {
                let job = self.queued().await;
                self.cancel_one(job).await.job.id
            }
            State::Expired => {
                let job = self.accept(NewJob { start_deadline: Some(Duration::ZERO), ..new_job() }).await.id;
                self.pass(Duration::from_millis(1));
                self.store.sweep(100).await.expect("the store sweeps");
                job
            }
        }
    }

    async fn job(&self, job: JobId) -> JobRecord {
        self.store.get(job).await.expect("the store reads").expect("the job exists")
    }

    async fn events_of(&self, job: JobId) -> Vec<Event> {
        self.store.events(job, EventSeq(0), 1000).await.expect("the store reads")
    }

    async fn kinds(&self, job: JobId) -> Vec<EventKind> {
        self.events_of(job).await.iter().map(|event| event.kind).collect()
    }

    /// The data of the newest event.
    async fn last_data(&self, job: JobId) -> serde_json::Value {
        let events = self.events_of(job).await;
        serde_json::from_str(events.last().expect("a job has events").data.get()).expect("data is JSON")
    }
}

/// What holds whatever was done: events without gaps, the newest one named by the job, exactly one terminal event of a terminal job,
/// one `started` event an attempt, and what is set exactly in some states.
pub async fn invariants(seam: &StoreSeam) {
    let jobs = seam.store.list(&JobFilter::default(), Page { before: None, limit: 10_000 }).await.expect("the store reads");
    for job in jobs {
        let events = seam.events_of(job.id).await;
        let seqs: Vec<u32> = events.iter().map(|event| event.seq.0).collect();
        assert_eq!(seqs, (1..=job.event_seq.0).collect::<Vec<_>>(), "events without gaps: {job:?}");
        let terminal: Vec<EventKind> = events.iter().map(|event| event.kind).filter(|kind| kind.is_terminal()).collect();
        assert_eq!(terminal, Vec::from_iter(EventKind::of_terminal(job.state)), "terminal events: {job:?}");
        assert_eq!(events.last().is_some_and(|event| event.kind.is_terminal()), job.state.is_terminal(), "{job:?}");
        let started = events.iter().filter(|event| event.kind == EventKind::Started).count();
        assert_eq!(started, job.attempt.0 as usize, "one start an attempt: {job:?}");
        assert!(events.is_sorted_by_key(|event| (event.at, event.attempt)), "time and attempts go forward: {events:?}");
        assert_eq!(job.finished_at.is_some(), job.state.is_terminal(), "{job:?}");
        assert_eq!(job.worker.is_some(), matches!(job.state, State::Running | State::Cancelling), "{job:?}");
        assert_eq!(job.failure.is_some(), job.state == State::Failed, "{job:?}");
        assert_eq!(job.has_output, job.state == State::Succeeded, "{job:?}");
        assert!(job.started_at.is_none() || job.attempt > Attempt(0), "{job:?}");
        assert!(job.failures <= job.attempts_max, "{job:?}");
    }
}
