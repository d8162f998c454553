//! The showing routes over a real store; what the other services would do, the test does.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, BodyDataStream},
    http::{HeaderMap, Request, StatusCode, header},
};
use bytes::Bytes;
use futures::StreamExt;
use object_store::memory::InMemory;
use serde_json::{Value, json};
use siding_core::{
    api::answer::Answers,
    blob::Blobs,
    broker::{EventBus, Hint, memory::MemoryBroker},
    cache::in_process::InProcessCache,
    clock::{ManualClock, Timestamp},
    config::Settings,
    estimate::{Estimate, Source},
    id::{Attempt, EventSeq, JobId, WorkerId},
    job::{Failure, FailureCode, Finish},
    problem::{Code, Problem},
    store::{
        Attempts, Claim, Claimed, NewJob, Payload, Record, RecordChange, Recorded, Start, Submissions, Submitted,
        sqlite::SqliteStore,
    },
    telemetry::Metrics,
};
use tempfile::TempDir;
use tower::ServiceExt;

use super::*;

mod dead;
mod events;
mod jobs;
mod result;

const PATIENCE: Duration = Duration::from_secs(20);

struct Service {
    router: Router,
    store: Arc<SqliteStore>,
    broker: Arc<MemoryBroker>,
    blobs: Blobs,
    clock: Arc<ManualClock>,
    follower: Follower,
    streams: Streams,
    answers: Answers,
    drain: Drain,
    _folder: TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

impl Service {
    async fn start() -> Self {
        Self::with_room(10, Answers::default()).await
    }

    /// One with room for so many streams, and for these answers.
    async fn with_room(open_max: usize, answers: Answers) -> Self {
        Self::over(Blobs::new(Arc::new(InMemory::new())), open_max, answers).await
    }

    /// One over these blobs.
    async fn over(blobs: Blobs, open_max: usize, answers: Answers) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let settings = Settings::default();
        let clock = ManualClock::starting_at(Timestamp(1_700_000_000_000));
        let path = folder.path().join("siding.sqlite");
        let store = SqliteStore::open(&path, &settings.store, clock.clone()).await.expect("store");
        let broker = MemoryBroker::new(&[], 1);
        let bus: Arc<dyn EventBus> = broker.clone();
        let drain = Drain::new();
        let follower = Follower::start(&drain, store.clone(), &bus, clock.clone(), Duration::from_secs(3600));
        let streams = Streams::of(open_max, Arc::new(Metrics::new()));
        let router = router(ResultsState {
            reader: Reader::new(store.clone(), blobs.clone(), clock.clone(), answers.clone()),
            feed: store.clone(),
            dead: store.clone(),
            follower: follower.clone(),
            cache: Arc::new(InProcessCache::new(1 << 20)),
            clock: clock.clone(),
            drain: drain.clone(),
            stream: settings.stream,
            streams: streams.clone(),
        });
        Self { router: router.into(), store, broker, blobs, clock, follower, streams, answers, drain, _folder: folder }
    }

    /// Accepts a job.
    async fn submit(&self) -> JobId {
        let job = NewJob {
            id: JobId::generate(),
            model: "spin".parse().expect("name"),
            version: "1".parse().expect("name"),
            input: Payload::Inline("{}".into()),
            idempotency_key: None,
            fingerprint: [0; 32],
            lane: "instant".parse().expect("name"),
            estimate: Estimate { p50_ms: 1.0, p90_ms: 2.0, source: Source::Manifest },
            attempts_max: 1,
            start: Start::In(Duration::ZERO),
            start_deadline: None,
            run_timeout: Duration::from_secs(10),
            stall_timeout: None,
            retry_of: None,
            traceparent: None,
        };
        let id = job.id;
        let submitted = self.store.submit(vec![job]).await.expect("store");
        assert!(matches!(submitted.as_slice(), [Submitted::Created(_)]));
        id
    }

    /// Starts an attempt, as a worker would.
    async fn claim(&self, job: JobId) -> Attempt {
        let claim = Claim { job, lease: Duration::from_secs(60), message: None, takeover: false };
        let claimed = self.store.claim(WorkerId::generate(), &[claim]).await.expect("store");
        let [Claimed::Run(work)] = claimed.as_slice() else { panic!("not claimed: {claimed:?}") };
        self.hint(job, work.event_seq, false);
        work.attempt
    }

    async fn record(&self, job: JobId, attempt: Attempt, change: RecordChange) {
        let recorded = self.store.record(&[Record { job, attempt, change }]).await.expect("store");
        let [Recorded::Done { seq, state, .. }] = recorded.as_slice() else { panic!("fenced") };
        self.hint(job, *seq, state.is_terminal());
    }

    async fn progress(&self, job: JobId, attempt: Attempt, done: u64) {
        self.record(job, attempt, RecordChange::Progress { done, total: Some(10) }).await;
    }

    async fn finish(&self, job: JobId, attempt: Attempt, finish: Finish) {
        self.record(job, attempt, RecordChange::Finish { finish, run: Duration::from_millis(5) }).await;
    }

    /// Accepts a job and takes it to its end: three events.
    async fn finished(&self, finish: Finish) -> JobId {
        let job = self.submit().await;
        let attempt = self.claim(job).await;
        self.finish(job, attempt, finish).await;
        job
    }

    fn hint(&self, job: JobId, seq: EventSeq, terminal: bool) {
        self.broker.send(&[Hint::Event { job, seq, terminal }]);
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let response = self.open(path, headers).await;
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(PATIENCE, axum::body::to_bytes(body, usize::MAX)).await.expect("in time").expect("body");
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn open(&self, path: &str, headers: &[(&str, &str)]) -> axum::response::Response {
        let request = headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
        let request = request.body(Body::empty()).expect("request");
        tokio::time::timeout(PATIENCE, self.router.clone().oneshot(request)).await.expect("in time").expect("routed")
    }
}

fn succeeded(output: &str) -> Finish {
    Finish::Succeeded { output: Payload::Inline(output.into()) }
}

fn failed() -> Finish {
    Finish::Failed { failure: Failure::new(FailureCode::RuntimeError, "it broke"), retry_at: None }
}

fn check(answer: &Answer, code: Code) -> Problem {
    let problem: Problem = serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{} {:?}", answer.status, answer.body));
    assert_eq!((problem.code, answer.status), (code, code.facts().status), "{}", problem.detail);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json");
    problem
}
