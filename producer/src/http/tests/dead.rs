//! Dead jobs: run again or dropped, by filter or by name.

use siding_core::store::{Dead, DeadFilter, Jobs, Page};

use super::*;

impl Service {
    /// A job that failed for this reason.
    async fn dead_job(&self, code: FailureCode) -> JobId {
        let job = id(&self.post("/v1/jobs", &[], echo(1)).await);
        self.end(job, Finish::Failed { failure: Failure::new(code, "it broke"), retry_at: None }).await;
        job
    }

    async fn deal(&self, how: &str, request: Value) -> Value {
        let answer = self.post(&format!("/v1/dead:{how}"), &[], request.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        assert_eq!(answer.body["count"].as_u64(), answer.body["jobs"].as_array().map(|jobs| jobs.len() as u64));
        answer.body
    }

    async fn count_dead(&self) -> usize {
        self.store.dead(&DeadFilter::default(), Page { before: None, limit: 10_000 }).await.expect("store").len()
    }
}

#[tokio::test]
async fn replayed_jobs_are_new_jobs_and_a_repeat_makes_no_others() {
    let service = Service::start().await;
    let (first, other) = (service.dead_job(FailureCode::Panicked).await, service.dead_job(FailureCode::RuntimeError).await);
    let request = json!({"filter": {"code": "panicked", "model": "script", "lane": "instant"}});

    let dry = service.deal("replay", json!({"filter": {"code": "panicked"}, "dry_run": true})).await;
    assert_eq!((&dry["dry_run"], &dry["jobs"]), (&json!(true), &json!([{"id": first}])));
    let dry =
        service.deal("drop", json!({"ids": [other.to_string(), other.to_string(), NOBODY.to_owned()], "dry_run": true})).await;
    assert_eq!((&dry["jobs"], &dry["skipped"][0]["reason"]), (&json!([{"id": other}]), &json!("unknown_job")));
    assert_eq!(service.count_dead().await, 2, "nothing was done");

    let answer = service.deal("replay", request.clone()).await;
    let new: JobId = answer["jobs"][0]["retried_by"].as_str().expect("a new job").parse().expect("a UUID");
    assert_eq!(
        answer,
        json!({"dry_run": false, "count": 1, "jobs": [{"id": first, "retried_by": new}], "skipped": [], "more": false})
    );
    let record = service.store.get(new).await.expect("store").expect("there");
    assert_eq!(
        (record.retry_of, service.store.input(new).await.expect("store")),
        (Some(first), service.store.input(first).await.expect("store"))
    );
    service.published(&"instant".parse().expect("a name"), 3).await;

    assert_eq!(service.deal("replay", request).await["count"], 0);
    let named = service
        .deal("replay", json!({"ids": [first.to_string(), other.to_string(), other.to_string(), NOBODY.to_owned()]}))
        .await;
    assert_eq!((&named["count"], &named["jobs"][0]["id"]), (&json!(1), &json!(other)));
    let skipped = json!([{"id": first, "reason": "not_dead", "retried_by": new}, {"id": NOBODY, "reason": "unknown_job"}]);
    assert_eq!(named["skipped"], skipped);
    assert_eq!(service.count_dead().await, 0);
    let metrics = service.metrics.render();
    assert!(metrics.contains("siding_dead_jobs_dealt_with_total{how=\"replayed\",lane=\"instant\"} 2"), "{metrics}");
}

/// The id of no job.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

#[tokio::test]
async fn dropped_jobs_are_kept_and_dead_no_more() {
    let service = Service::start().await;
    let mut dead = Vec::new();
    for _ in 0..3 {
        dead.push(service.dead_job(FailureCode::RuntimeError).await);
        service.clock.advance(Duration::from_secs(1));
    }
    let answer = service.deal("drop", json!({"filter": {}, "limit": 2})).await;
    assert_eq!(
        (&answer["jobs"], &answer["more"]),
        (&json!([{"id": dead[2]}, {"id": dead[1]}]), &json!(true)),
        "the newest first"
    );
    let record = service.store.get(dead[2]).await.expect("store").expect("kept");
    assert!(record.dropped_at.is_some() && record.failure.is_some());
    let rest = service.deal("drop", json!({"filter": {"failed_until": "2023-11-14T22:13:21Z"}})).await;
    assert_eq!((&rest["jobs"], &rest["more"]), (&json!([{"id": dead[0]}]), &json!(false)));
    let again = service.deal("drop", json!({"ids": dead})).await;
    assert_eq!((&again["count"], again["skipped"].as_array().map(Vec::len)), (&json!(0), Some(3)));
    // A single one can still be run again.
    let retried = service.post(&format!("/v1/jobs/{}/retry", dead[0]), &[], "").await;
    assert_eq!(retried.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_retry_deals_with_the_dead_job_that_it_names() {
    let service = Service::start().await;
    let first = service.dead_job(FailureCode::RuntimeError).await;
    let retried = service.post(&format!("/v1/jobs/{first}/retry"), &[], "").await;
    let record = service.store.get(first).await.expect("store").expect("kept");
    assert_eq!((record.retried_by, service.count_dead().await), (Some(id(&retried)), 0));
    let metrics = service.metrics.render();
    assert!(metrics.contains("siding_dead_jobs_dealt_with_total{how=\"retried\",lane=\"instant\"} 1"), "{metrics}");
}

#[tokio::test]
async fn a_thousand_dead_jobs_are_replayed_in_one_request() {
    let service = Service::start().await;
    let jobs: Vec<String> = (0..1000).map(echo).collect();
    let body = format!(r#"{{"jobs":[{}]}}"#, jobs.join(","));
    let accepted = service.post("/v1/jobs:batch", &[], body).await.body;
    let outcomes = accepted["jobs"].as_array().expect("outcomes");
    for outcome in outcomes {
        let job = outcome["job"]["id"].as_str().expect("an id").parse().expect("a UUID");
        service.end(job, Finish::Failed { failure: Failure::new(FailureCode::Panicked, "it broke"), retry_at: None }).await;
    }
    let answer = service.deal("replay", json!({"filter": {}})).await;
    let new: std::collections::HashSet<_> =
        answer["jobs"].as_array().expect("jobs").iter().map(|job| job["retried_by"].as_str().expect("a new job")).collect();
    assert_eq!((new.len(), &answer["more"], service.count_dead().await), (1000, &json!(false), 0));
    assert_eq!(service.deal("replay", json!({"filter": {}})).await["count"], 0);
}

#[tokio::test]
async fn a_request_that_does_not_say_clearly_which_jobs_deals_with_none() {
    let service = Service::start().await;
    service.dead_job(FailureCode::RuntimeError).await;
    let many: Vec<JobId> = (0..1001).map(|_| JobId::generate()).collect();
    let rows = [
        json!({}),
        json!([]),
        json!({"dry_run": true}),
        json!({"filter": {}, "ids": [NOBODY]}),
        json!({"ids": []}),
        json!({"ids": many}),
        json!({"ids": ["1"]}),
        json!({"ids": [NOBODY], "limit": 1}),
        json!({"filter": {}, "limit": 0}),
        json!({"filter": {}, "limit": 1001}),
        json!({"filter": {"code": "sad"}}),
        json!({"filter": {"model": "../x"}}),
        json!({"filter": {"failed_since": 1}}),
        json!({"filter": {"state": "failed"}}),
        json!({"filter": {}, "dry_run": "yes"}),
    ];
    for row in rows {
        for how in ["replay", "drop"] {
            let answer = service.post(&format!("/v1/dead:{how}"), &[], row.to_string()).await;
            let problem = check(&answer, Code::InvalidRequest);
            assert!(!problem.detail.is_empty() && problem.detail.len() < 300, "{problem:?}");
        }
    }
    assert_eq!(service.count_dead().await, 1);
    service.drain.stop();
    let stopping = service.post("/v1/dead:replay", &[], json!({"filter": {}}).to_string()).await;
    check(&stopping, Code::Unavailable);
}
