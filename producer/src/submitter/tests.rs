//! What the submitter says when the store or the stop is against it.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures::TryStreamExt;
use object_store::{ObjectStore, memory::InMemory};
use siding_core::{
    broker::memory::MemoryBroker,
    clock::SystemClock,
    config::Settings,
    model::repository::Repository,
    problem::Code,
    store::{Acceptance, DeadFilter, Dropped, Error, Page, Payload, sqlite::SqliteStore},
};
use tempfile::TempDir;

use super::*;
use crate::{
    dispatch,
    http::refusal::problem,
    submit::{How, Which},
};

type Fails = fn() -> Error;

/// Fails as it is told.
struct Failing(Fails);

#[async_trait]
impl Submissions for Failing {
    async fn submit_as(&self, _: Vec<NewJob>, _: Acceptance) -> Result<Vec<Submitted>, Error> {
        Err(self.0())
    }

    async fn cancel(&self, _: Vec<JobId>) -> Result<Vec<Option<Cancelled>>, Error> {
        Err(self.0())
    }
}

/// Has committed the first call, and says that it does not know.
struct LosesOne {
    store: Arc<SqliteStore>,
    lost: AtomicBool,
}

#[async_trait]
impl Submissions for LosesOne {
    async fn submit_as(&self, jobs: Vec<NewJob>, acceptance: Acceptance) -> Result<Vec<Submitted>, Error> {
        let submitted = self.store.submit_as(jobs, acceptance).await?;
        match self.lost.swap(true, Ordering::Relaxed) {
            false => Err(Error::Unavailable("the answer was lost".into())),
            true => Ok(submitted),
        }
    }

    async fn cancel(&self, jobs: Vec<JobId>) -> Result<Vec<Option<Cancelled>>, Error> {
        self.store.cancel(jobs).await
    }
}

/// No job is dead, and no input can be read.
struct NoInputs;

#[async_trait]
impl Dead for NoInputs {
    async fn dead(&self, _: &DeadFilter, _: Page) -> Result<Vec<JobRecord>, Error> {
        Ok(Vec::new())
    }

    async fn with_inputs(&self, _: &[JobId]) -> Result<Vec<Option<(JobRecord, Payload)>>, Error> {
        Err(Error::Corrupt("inputs were asked for".into()))
    }

    async fn drop_dead(&self, jobs: &[JobId]) -> Result<Vec<Option<Dropped>>, Error> {
        Ok(vec![None; jobs.len()])
    }
}

struct Given {
    submitter: Arc<Submitter>,
    objects: Arc<InMemory>,
    metrics: Arc<Metrics>,
    drain: Drain,
    _folder: TempDir,
}

async fn failing(with: Fails) -> Given {
    given(|_| Arc::new(Failing(with))).await
}

async fn given(submissions: impl FnOnce(Arc<SqliteStore>) -> Arc<dyn Submissions>) -> Given {
    let folder = tempfile::tempdir().expect("folder");
    let version = folder.path().join("models/script/1");
    std::fs::create_dir_all(&version).expect("folder");
    let manifest = "name = \"script\"\nversion = \"1\"\ndescription = \"d\"\nlicense = \"MIT\"\nsource = \"\"\nrunner = \"scripted\"\ncost = { base_ms = 1 }\n";
    std::fs::write(version.join("model.toml"), manifest).expect("file");
    let settings = Settings::default();
    let (drain, metrics, objects) = (Drain::new(), Arc::new(Metrics::new()), Arc::new(InMemory::new()));
    let clock = Arc::new(SystemClock);
    let store = SqliteStore::open(&folder.path().join("s.sqlite"), &settings.store, clock.clone()).await.expect("store");
    let lanes: Vec<_> = settings.lanes().expect("valid").as_slice().iter().map(|lane| lane.name.clone()).collect();
    let broker = MemoryBroker::new(&lanes, 100);
    let dispatch = dispatch::Parts {
        publisher: broker.clone(),
        store: store.clone(),
        bus: broker.clone(),
        lanes: settings.lanes().expect("valid"),
        clock: clock.clone(),
        metrics: metrics.clone(),
        relay_poll: Duration::from_secs(600),
        unpublished_max: 10,
    };
    let parts = Parts {
        catalog: Catalog::of(Repository::open(&folder.path().join("models"), true).expect("repository")),
        blobs: Blobs::new(objects.clone()),
        offload: Offload::new(&drain),
        submissions: submissions(store.clone()),
        jobs: store,
        dead: Arc::new(NoInputs),
        outbox: dispatch::start(&drain, dispatch),
        bus: broker,
        clock,
        metrics: metrics.clone(),
        lanes: settings.lanes().expect("valid"),
        settings: settings.submit.clone(),
    };
    Given { submitter: Submitter::start(&drain, parts), objects, metrics, drain, _folder: folder }
}

fn large() -> Submission {
    let pad = "x".repeat(limits::INLINE_BYTES_MAX);
    Submission {
        id: None,
        idempotency_key: None,
        model: "script".parse().expect("a name"),
        version: None,
        input: format!(r#"{{"op":"echo","value":"{pad}"}}"#).into(),
        expected_ms: None,
        delay_ms: None,
        start_at: None,
        start_deadline_ms: None,
        run_timeout_ms: None,
        stall_timeout_ms: None,
        attempts_max: None,
        traceparent: None,
    }
}

#[tokio::test]
async fn a_store_that_will_not_come_back_by_itself_is_not_called_busy() {
    let rows: [(Fails, Code); 5] = [
        (|| Error::Unavailable("secret".into()), Code::Unavailable),
        (|| Error::Full("secret".into()), Code::Unavailable),
        (|| Error::ReadOnly("secret".into()), Code::Internal),
        (|| Error::Corrupt("secret".into()), Code::Internal),
        (|| Error::Broken { what: "secret", source: "secret".into() }, Code::Internal),
    ];
    for (with, expected) in rows {
        let given = failing(with).await;
        for refusal in [
            given.submitter.submit(large()).await.expect_err("refused"),
            given.submitter.cancel(JobId::generate()).await.expect_err("refused"),
        ] {
            let reason = refusal.reason();
            let problem = problem(refusal);
            assert_eq!((problem.code, reason), (expected, expected.as_str()));
            assert!(!problem.detail.contains("secret"), "causes are for the log: {}", problem.detail);
        }
    }
}

#[tokio::test]
async fn a_submission_that_finds_no_place_leaves_no_blob() {
    let given = failing(|| Error::Unavailable("not asked".into())).await;
    given.drain.stopped(Duration::from_secs(20)).await.expect("the loops end");
    let refusal = given.submitter.submit(large()).await.expect_err("refused");
    assert!(matches!(refusal, Refusal::Unavailable { source: None, .. }), "{refusal:?}");
    let left: Vec<_> = given.objects.list(None).try_collect().await.expect("list");
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_dry_run_reads_no_inputs() {
    let given = failing(|| Error::Unavailable("not asked".into())).await;
    let nobody = JobId::generate();
    for (which, skipped) in
        [(Which::Matching { filter: DeadFilter::default(), limit: 10 }, 0), (Which::Jobs(vec![nobody, nobody]), 1)]
    {
        let dealt = given.submitter.deal_with_dead(Deal { which, how: How::Replay, dry_run: true }).await.expect("looked at");
        assert_eq!((dealt.jobs.len(), dealt.skipped.len()), (0, skipped));
    }
    let deal = Deal { which: Which::Jobs(vec![nobody]), how: How::Replay, dry_run: false };
    given.submitter.deal_with_dead(deal).await.expect_err("this one needs them");
}

#[tokio::test]
async fn a_job_whose_commit_was_not_answered_is_this_callers_and_is_published_at_once() {
    let small = || Submission { input: r#"{"op":"noop"}"#.into(), ..large() };
    let chosen = || Submission { id: Some(JobId::generate()), ..small() };
    let batch =
        |jobs: Vec<Submission>| Batch { jobs: jobs.into_iter().map(Ok).collect(), key: None, acceptance: Acceptance::Each };
    let losing = || given(|store| Arc::new(LosesOne { store, lost: AtomicBool::new(false) }));

    let one = losing().await;
    assert!(one.submitter.submit(small()).await.expect("accepted").created);
    let many = losing().await;
    // Whether somebody else has submitted under a chosen id before cannot be told.
    let outcomes = many.submitter.submit_batch(batch(vec![small(), chosen(), small()])).await.expect("handled");
    let created: Vec<bool> = outcomes.into_iter().map(|outcome| outcome.expect("accepted").created).collect();
    assert_eq!(created, [true, false, true]);

    for (given, count) in [(one, 1), (many, 2)] {
        given.drain.stopped(Duration::from_secs(20)).await.expect("what was offered is published");
        let metrics = given.metrics.render();
        assert!(metrics.contains(&format!("siding_jobs_submitted_total{{lane=\"instant\"}} {count}")), "{metrics}");
        let published = metrics.lines().find(|line| line.contains("fast_path") && line.contains("confirmed"));
        assert!(published.is_some_and(|line| line.ends_with(&format!(" {count}"))), "{metrics}");
    }
}

#[test]
fn the_words_for_metrics_are_the_codes_that_callers_see() {
    let job = JobId::generate();
    let (model, why) = ("m".parse().expect("a name"), "why".to_owned());
    let rows = [
        Refusal::BrokenModel { model, why },
        Refusal::Invalid(Vec::new()),
        Refusal::InFlight,
        Refusal::KeyReused(job),
        Refusal::IdTaken(job),
        Refusal::UnknownJob(job),
        Refusal::NotFinished(job),
        Refusal::Busy { retry_after: RETRY_AFTER },
    ];
    for refusal in rows {
        let reason = refusal.reason();
        assert_eq!(problem(refusal).code.as_str(), reason);
    }
}
