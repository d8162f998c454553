//! The accepting routes over the real submitter and a real store; what a worker would do, the test does.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
};
use object_store::memory::InMemory;
use serde_json::{Value, json};
use siding_core::{
    api::answer::Answers,
    blob::Blobs,
    broker::{Consumer, EventBus, Hint, memory::MemoryBroker},
    clock::{ManualClock, Timestamp},
    config::Settings,
    drain::Drain,
    id::{JobId, LaneName, WorkerId},
    job::{Failure, FailureCode, Finish},
    limits,
    model::{catalog::Catalog, repository::Repository},
    offload::Offload,
    problem::{Code, Problem},
    store::{Attempts, Claim, Claimed, Payload, Record, RecordChange, sqlite::SqliteStore},
    telemetry::Metrics,
};
use tempfile::TempDir;
use tower::ServiceExt;

use super::*;
use crate::{dispatch, submitter, submitter::Submitter};

mod batch;
mod dead;
mod jobs;
mod stall;

const PATIENCE: Duration = Duration::from_secs(20);

/// Why, the request's headers and body, and the code it is refused with.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], String, Code);

struct Service {
    router: Router,
    store: Arc<SqliteStore>,
    broker: Arc<MemoryBroker>,
    clock: Arc<ManualClock>,
    follower: Follower,
    metrics: Arc<Metrics>,
    drain: Drain,
    _folder: TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Service {
    async fn start() -> Self {
        Self::with_room(limits::BODIES_BYTES_MAX).await
    }

    /// One with room for so many bytes of bodies.
    async fn with_room(bodies_bytes_max: usize) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let version = folder.path().join("models/script/1");
        std::fs::create_dir_all(&version).expect("folder");
        let manifest = "name = \"script\"\nversion = \"1\"\ndescription = \"d\"\nlicense = \"MIT\"\nsource = \"\"\nrunner = \"scripted\"\ncost = { base_ms = 1 }\n";
        std::fs::write(version.join("model.toml"), manifest).expect("file");
        let catalog = Catalog::of(Repository::open(&folder.path().join("models"), true).expect("repository"));

        let settings = Settings::default();
        let lanes = settings.lanes().expect("valid");
        let names: Vec<_> = lanes.as_slice().iter().map(|lane| lane.name.clone()).collect();
        let clock = ManualClock::starting_at(Timestamp(1_700_000_000_000));
        let path = folder.path().join("siding.sqlite");
        let store = SqliteStore::open(&path, &settings.store, clock.clone()).await.expect("store");
        let broker = MemoryBroker::new(&names, 100);
        let bus: Arc<dyn EventBus> = broker.clone();
        let (drain, metrics, blobs) = (Drain::new(), Arc::new(Metrics::new()), Blobs::new(Arc::new(InMemory::new())));
        let outbox = dispatch::start(
            &drain,
            dispatch::Parts {
                publisher: broker.clone(),
                store: store.clone(),
                bus: bus.clone(),
                lanes: lanes.clone(),
                clock: clock.clone(),
                metrics: metrics.clone(),
                relay_poll: Duration::from_secs(1),
                unpublished_max: settings.submit.unpublished_max,
            },
        );
        let follower = Follower::start(&drain, store.clone(), &bus, clock.clone(), Duration::from_secs(3600));
        let offload = Offload::new(&drain);
        let parts = submitter::Parts {
            offload: offload.clone(),
            clock: clock.clone(),
            catalog: catalog.clone(),
            blobs: blobs.clone(),
            submissions: store.clone(),
            jobs: store.clone(),
            dead: store.clone(),
            outbox,
            bus,
            metrics: metrics.clone(),
            lanes: lanes.clone(),
            settings: settings.submit.clone(),
        };
        let router = router(ProducerState {
            intake: Submitter::start(&drain, parts),
            reader: Reader::new(store.clone(), blobs, clock.clone(), Answers::default()),
            follower: follower.clone(),
            catalog: Arc::new(catalog),
            lanes,
            bodies: Bodies::of(bodies_bytes_max, PATIENCE, offload),
            batches: Batches::default(),
        });
        Self { router: router.into(), store, broker, clock, follower, metrics, drain, _folder: folder }
    }

    async fn call(&self, request: Request<Body>) -> Answer {
        let response =
            tokio::time::timeout(PATIENCE, self.router.clone().oneshot(request)).await.expect("in time").expect("routed");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("body");
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).expect("JSON") };
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        self.call(request("POST", path, headers, body)).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(request("GET", path, &[], "")).await
    }

    /// Runs the job, as a worker would.
    async fn finish(&self, job: JobId, output: &str) {
        self.end(job, Finish::Succeeded { output: Payload::Inline(output.into()) }).await;
    }

    /// Runs the job to this end.
    async fn end(&self, job: JobId, finish: Finish) {
        let claim = Claim { job, lease: Duration::from_secs(60), message: None, takeover: false };
        let claimed = self.store.claim(WorkerId::generate(), &[claim]).await.expect("store");
        let [Claimed::Run(work)] = claimed.as_slice() else { panic!("not claimed: {claimed:?}") };
        let change = RecordChange::Finish { finish, run: Duration::from_millis(5) };
        self.store.record(&[Record { job, attempt: work.attempt, change }]).await.expect("store");
        self.broker.send(&[Hint::Event { job, seq: work.event_seq, terminal: true }]);
    }

    /// Returns once `count` messages wait in the lane, or more: a job that the relay finds before it was offered has two.
    async fn published(&self, lane: &LaneName, count: u64) {
        let reached = async {
            while self.broker.ready_count(lane).await.expect("the lane has a queue") < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("the jobs are published");
    }

    /// Returns once `count` jobs are followed.
    async fn followed(&self, count: usize) {
        let reached = async {
            while self.follower.followed_count() != count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("somebody follows");
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/json");
    }
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(body.into()).expect("request")
}

fn echo(value: u64) -> String {
    json!({"model": "script", "input": {"op": "echo", "value": value}}).to_string()
}

fn id(answer: &Answer) -> JobId {
    answer.body["id"].as_str().expect("an id").parse().expect("a UUID")
}

fn check(answer: &Answer, code: Code) -> Problem {
    let problem: Problem =
        serde_json::from_value(answer.body.clone()).unwrap_or_else(|_| panic!("{} {}", answer.status, answer.body));
    assert_eq!((problem.code, answer.status), (code, code.facts().status), "{}", problem.detail);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json");
    problem
}
