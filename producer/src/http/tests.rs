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
    blob::Blobs,
    broker::{EventBus, Hint, memory::MemoryBroker},
    clock::{ManualClock, Timestamp},
    config::Settings,
    drain::Drain,
    id::{JobId, WorkerId},
    job::Finish,
    limits,
    model::repository::Repository,
    problem::{Code, Problem},
    store::{Attempts, Claim, Claimed, Payload, Record, RecordChange, sqlite::SqliteStore},
    telemetry::Metrics,
};
use tempfile::TempDir;
use tower::ServiceExt;

use super::*;
use crate::{dispatch, submitter, submitter::Submitter};

const PATIENCE: Duration = Duration::from_secs(20);

/// Why, the request's headers and body, and the code it is refused with.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], String, Code);

struct Service {
    router: Router,
    store: Arc<SqliteStore>,
    broker: Arc<MemoryBroker>,
    clock: Arc<ManualClock>,
    follower: Follower,
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
        Self::with_room(Bodies::default()).await
    }

    async fn with_room(bodies: Bodies) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let version = folder.path().join("models/script/1");
        std::fs::create_dir_all(&version).expect("folder");
        let manifest = "name = \"script\"\nversion = \"1\"\ndescription = \"d\"\nlicense = \"MIT\"\nsource = \"\"\nrunner = \"scripted\"\ncost = { base_ms = 1 }\n";
        std::fs::write(version.join("model.toml"), manifest).expect("file");
        let repository = Arc::new(Repository::open(&folder.path().join("models"), true).expect("repository"));

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
        let parts = submitter::Parts {
            repository: repository.clone(),
            blobs: blobs.clone(),
            submissions: store.clone(),
            jobs: store.clone(),
            outbox,
            bus,
            metrics,
            lanes: lanes.clone(),
            settings: settings.submit.clone(),
        };
        let router = router(ProducerState {
            intake: Submitter::start(&drain, parts),
            reader: Reader::new(store.clone(), blobs),
            follower: follower.clone(),
            catalog: repository,
            lanes,
            bodies,
        });
        Self { router: router.into(), store, broker, clock, follower, drain, _folder: folder }
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
        let claim = Claim { job, lease: Duration::from_secs(60), message: None, takeover: false };
        let claimed = self.store.claim(WorkerId::generate(), &[claim]).await.expect("store");
        let [Claimed::Run(work)] = claimed.as_slice() else { panic!("not claimed: {claimed:?}") };
        let finish = Finish::Succeeded { output: Payload::Inline(output.into()) };
        let change = RecordChange::Finish { finish, run: Duration::from_millis(5) };
        self.store.record(&[Record { job, attempt: work.attempt, change }]).await.expect("store");
        self.broker.send(&[Hint::Event { job, seq: work.event_seq, terminal: true }]);
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

#[tokio::test]
async fn a_submission_is_answered_with_the_job_and_where_it_is() {
    let service = Service::start().await;
    let answer = service.post("/v1/jobs", &[], echo(1)).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.headers[header::LOCATION], format!("/v1/jobs/{}", id(&answer)));
    assert_eq!(
        (&answer.body["state"], &answer.body["lane"], &answer.body["event_seq"]),
        (&json!("queued"), &json!("instant"), &json!(1))
    );
    assert!(!answer.headers.contains_key("idempotent-replayed"));
}

#[tokio::test]
async fn bad_input_is_refused_with_its_code_and_accepts_nothing() {
    let service = Service::start().await;
    let with = |field: &str| format!(r#"{{"model":"script","input":{{"op":"noop"}},{field}}}"#);
    let json: &[(&str, &str)] = &[];
    let too_large = (limits::BODY_BYTES_MAX + 1).to_string();
    let announced = [("content-length", too_large.as_str())];
    let rows: Vec<Row> = vec![
        ("nothing", json, String::new(), Code::MalformedJson),
        ("not JSON", json, "{".into(), Code::MalformedJson),
        ("depth bomb", json, format!(r#"{{"model":"script","input":{}"#, r#"{"a":"#.repeat(100_000)), Code::MalformedJson),
        ("huge number", json, with("\"delay_ms\":1e999"), Code::MalformedJson),
        ("duplicate key", json, with("\"model\":\"script\""), Code::MalformedJson),
        ("not an object", json, "[]".into(), Code::InvalidRequest),
        ("unknown field", json, with("\"priority\":9"), Code::InvalidRequest),
        ("input is no object", json, r#"{"model":"script","input":[1]}"#.into(), Code::InvalidRequest),
        ("path trick", json, r#"{"model":"../../etc","input":{}}"#.into(), Code::InvalidRequest),
        ("unknown model", json, r#"{"model":"nobody","input":{}}"#.into(), Code::UnknownModel),
        ("unknown version", json, with("\"version\":\"7\""), Code::UnknownVersion),
        ("unfit input", json, r#"{"model":"script","input":{"op":"dance"}}"#.into(), Code::InvalidInput),
        ("out of range", json, with("\"attempts_max\":0"), Code::InvalidInput),
        ("no content type", &[("content-type", "")], echo(1), Code::UnsupportedMediaType),
        ("a form", &[("content-type", "application/x-www-form-urlencoded")], echo(1), Code::UnsupportedMediaType),
        ("compressed", &[("content-encoding", "gzip")], echo(1), Code::UnsupportedMediaType),
        ("announced too large", &announced, echo(1), Code::BodyTooLarge),
        ("too large", json, " ".repeat(limits::BODY_BYTES_MAX + 1), Code::BodyTooLarge),
        ("bad key", &[("idempotency-key", "a b")], echo(1), Code::InvalidRequest),
        ("two keys", &[("idempotency-key", "a"), ("idempotency-key", "b")], echo(1), Code::InvalidRequest),
    ];
    for (why, headers, body, code) in rows {
        let problem = check(&service.post("/v1/jobs", headers, body).await, code);
        assert!(!problem.detail.is_empty() && problem.type_ref.ends_with(code.as_str()), "{why}: {problem:?}");
    }
    let lanes = service.get("/v1/lanes").await.body;
    assert!(
        lanes["lanes"].as_array().expect("lanes").iter().all(|lane| lane["queued"] == 0 && lane["scheduled"] == 0),
        "{lanes}"
    );
}

#[tokio::test]
async fn a_chunked_body_is_cut_off_at_the_limit_without_being_held() {
    let service = Service::start().await;
    let chunk = bytes::Bytes::from(vec![b' '; 1024 * 1024]);
    let pulled = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = pulled.clone();
    let endless = futures::stream::repeat_with(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok::<_, std::convert::Infallible>(chunk.clone())
    });
    check(&service.post("/v1/jobs", &[], Body::from_stream(endless)).await, Code::BodyTooLarge);
    assert_eq!(pulled.load(std::sync::atomic::Ordering::SeqCst), limits::BODY_BYTES_MAX / (1024 * 1024) + 1);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let bodies = Bodies::new(limits::BODIES_BYTES_MAX, Duration::ZERO);
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, "application/json".parse().expect("header"))]);
    let never = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::convert::Infallible>>());
    let refused = bodies.read::<Value>(&headers, never).await.err().map(|problem| problem.code);
    assert_eq!(refused, Some(Code::BodyTooSlow));
}

#[tokio::test]
async fn a_body_for_which_there_is_no_room_is_told_to_come_back_and_leaves_no_trace() {
    let service = Service::with_room(Bodies::new(32 * 1024, PATIENCE)).await;
    let answer = service.post("/v1/jobs", &[], " ".repeat(33 * 1024)).await;
    assert!(check(&answer, Code::Busy).retryable);
    assert_eq!(answer.headers[header::RETRY_AFTER], "1");
    assert_eq!(service.post("/v1/jobs", &[], echo(1)).await.status, StatusCode::ACCEPTED, "the room was given back");
}

#[tokio::test]
async fn a_repeated_key_is_one_job_and_another_payload_is_refused() {
    let service = Service::start().await;
    let first = service.post("/v1/jobs", &[("idempotency-key", "\"k-1\"")], echo(1)).await;
    let again = service.post("/v1/jobs", &[("idempotency-key", "k-1")], echo(1)).await;
    assert_eq!((again.status, id(&again)), (StatusCode::ACCEPTED, id(&first)), "quoted and bare are one key");
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let other = service.post("/v1/jobs", &[("idempotency-key", "k-1")], echo(2)).await;
    assert_eq!(check(&other, Code::IdempotencyKeyReused).job_id, Some(id(&first)));
}

#[tokio::test]
async fn a_chosen_id_is_one_job_and_another_payload_is_refused() {
    let service = Service::start().await;
    let path = format!("/v1/jobs/{}", JobId::generate());
    for replayed in [false, true] {
        let answer = service.call(request("PUT", &path, &[], echo(1))).await;
        assert_eq!(
            (answer.status, answer.headers[header::LOCATION].to_str().expect("ASCII")),
            (StatusCode::ACCEPTED, path.as_str())
        );
        assert_eq!(answer.headers.contains_key("idempotent-replayed"), replayed);
    }
    check(&service.call(request("PUT", &path, &[], echo(2))).await, Code::IdTaken);
    for bad in ["/v1/jobs/1", "/v1/jobs/..%2f..%2fetc%2fpasswd", "/v1/jobs/%ff"] {
        check(&service.call(request("PUT", bad, &[], echo(1))).await, Code::InvalidRequest);
    }
}

#[tokio::test]
async fn a_preferred_wait_is_answered_with_the_finished_job() {
    let service = Service::start().await;
    let job = JobId::generate();
    let put = request("PUT", &format!("/v1/jobs/{job}"), &[("prefer", "wait=30")], echo(7));
    let work = async {
        service.followed(1).await;
        service.finish(job, r#"{"y":7}"#).await;
    };
    let (answer, ()) = tokio::join!(service.call(put), work);
    assert_eq!((answer.status, &answer.body["output"]), (StatusCode::OK, &json!({"y": 7})), "{}", answer.body);
    assert_eq!(answer.headers["preference-applied"], "wait=30");
    assert_eq!(service.follower.followed_count(), 0);

    // A repeat of the finished job does not wait at all.
    let again = service.call(request("PUT", &format!("/v1/jobs/{job}"), &[("prefer", "wait=30")], echo(7))).await;
    assert_eq!((again.status, &again.body["state"]), (StatusCode::OK, &json!("succeeded")));
}

#[tokio::test]
async fn a_preferred_wait_that_is_over_is_answered_with_the_accepted_job() {
    let service = Service::start().await;
    let advance = async {
        service.followed(1).await;
        service.clock.advance(Duration::from_secs(2));
    };
    let (answer, ()) = tokio::join!(service.post("/v1/jobs", &[("prefer", "wait=2")], echo(1)), advance);
    assert_eq!(
        (answer.status, &answer.headers["preference-applied"]),
        (StatusCode::ACCEPTED, &"wait=2".parse().expect("header"))
    );
    let at_once = service.post("/v1/jobs", &[("prefer", "respond-async")], echo(1)).await;
    assert_eq!(at_once.headers["preference-applied"], "respond-async");
}

#[tokio::test]
async fn a_stopping_service_answers_those_who_wait() {
    let service = Service::start().await;
    let stop = async {
        service.followed(1).await;
        service.drain.stop();
    };
    let (answer, ()) = tokio::join!(service.post("/v1/jobs", &[("prefer", "wait=60")], echo(1)), stop);
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    check(&service.post("/v1/jobs", &[], echo(1)).await, Code::Unavailable);
}

#[tokio::test]
async fn a_cancel_tells_whether_the_job_is_over_or_being_stopped() {
    let service = Service::start().await;
    let cancel = async |job: JobId| service.post(&format!("/v1/jobs/{job}/cancel"), &[], "").await;
    let queued = id(&service.post("/v1/jobs", &[], echo(1)).await);
    for _ in 0..2 {
        let answer = cancel(queued).await;
        assert_eq!((answer.status, &answer.body["state"]), (StatusCode::OK, &json!("canceled")));
    }
    let running = id(&service.post("/v1/jobs", &[], echo(1)).await);
    let claim = Claim { job: running, lease: Duration::from_secs(60), message: None, takeover: false };
    service.store.claim(WorkerId::generate(), &[claim]).await.expect("store");
    let answer = cancel(running).await;
    assert_eq!((answer.status, &answer.body["state"]), (StatusCode::ACCEPTED, &json!("cancelling")));
    check(&cancel(JobId::generate()).await, Code::UnknownJob);
}

#[tokio::test]
async fn a_retry_is_a_new_job_that_names_the_old_one() {
    let service = Service::start().await;
    let retry = async |job: JobId| service.post(&format!("/v1/jobs/{job}/retry"), &[], "").await;
    let job = id(&service.post("/v1/jobs", &[], echo(1)).await);
    assert!(!check(&retry(job).await, Code::NotFinished).retryable);
    service.finish(job, "1").await;
    let answer = retry(job).await;
    assert_eq!((answer.status, &answer.body["retry_of"]), (StatusCode::ACCEPTED, &json!(job.to_string())));
    assert_ne!(id(&answer), job);
    check(&retry(JobId::generate()).await, Code::UnknownJob);
}

#[tokio::test]
async fn models_and_lanes_show_what_can_be_run_and_where_it_waits() {
    let service = Service::start().await;
    service.post("/v1/jobs", &[], echo(1)).await;
    let model = json!({
        "name": "script", "version": "1", "runner": "scripted", "description": "d", "license": "MIT",
        "inputs": [], "outputs": [], "cost": {"base_ms": 1.0, "per_unit_ms": 0.0},
    });
    for path in ["/v1/models", "/v1/models/script"] {
        assert_eq!(service.get(path).await.body, json!({"models": [model], "broken": []}));
    }
    check(&service.get("/v1/models/nobody").await, Code::UnknownModel);
    check(&service.get("/v1/models/..%2fscript").await, Code::InvalidRequest);
    let lanes = service.get("/v1/lanes").await.body;
    assert_eq!((&lanes["lanes"][0]["name"], &lanes["lanes"][0]["queued"]), (&json!("instant"), &json!(1)));
}
