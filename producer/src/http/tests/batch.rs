//! Batches: each job answered by itself, or all or none.

use super::*;

/// The body of a batch of these jobs, each as text.
fn batch(jobs: &[String]) -> String {
    format!(r#"{{"jobs":[{}]}}"#, jobs.join(","))
}

fn atomic(jobs: &[String]) -> String {
    format!(r#"{{"atomic":true,"jobs":[{}]}}"#, jobs.join(","))
}

/// An echo with further fields.
fn echo_with(value: u64, fields: &str) -> String {
    format!(r#"{{"model":"script","input":{{"op":"echo","value":{value}}},{fields}}}"#)
}

impl Service {
    async fn submit_batch(&self, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        self.post("/v1/jobs:batch", headers, body).await
    }

    /// How many jobs there are.
    async fn count(&self) -> usize {
        let page = siding_core::store::Page { before: None, limit: 10_000 };
        siding_core::store::Jobs::list(&*self.store, &Default::default(), page).await.expect("store").len()
    }
}

/// What became of each job, in a word: its status, or the code that it was refused with.
fn words(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let outcomes = answer.body["jobs"].as_array().expect("one outcome for each job");
    let word = |outcome: &Value| {
        let status = outcome["status"].as_str().expect("a status");
        assert_eq!(outcome.get("job").is_some(), status != "refused", "{outcome}");
        assert_eq!(outcome.get("problem").is_some(), status == "refused", "{outcome}");
        outcome["problem"]["code"].as_str().unwrap_or(status).to_owned()
    };
    let words: Vec<String> = outcomes.iter().map(word).collect();
    for (count, status) in [("accepted", "accepted"), ("existing", "existing"), ("refused", "refused")] {
        let of_status = outcomes.iter().filter(|outcome| outcome["status"] == status).count();
        assert_eq!(answer.body[count], json!(of_status), "{}", answer.body);
    }
    words
}

fn ids(answer: &Answer) -> Vec<String> {
    let outcomes = answer.body["jobs"].as_array().expect("one outcome for each job");
    outcomes.iter().map(|outcome| outcome["job"]["id"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn each_job_of_a_batch_is_answered_by_itself_and_in_order() {
    let service = Service::start().await;
    let taken = JobId::generate();
    service.call(request("PUT", &format!("/v1/jobs/{taken}"), &[], echo(1))).await;
    service.post("/v1/jobs", &[("idempotency-key", "k")], echo(1)).await;
    let rows = [
        (echo(1), "accepted", ""),
        (echo_with(1, &format!("\"id\":\"{taken}\"")), "existing", ""),
        (echo_with(2, &format!("\"id\":\"{taken}\"")), "id_taken", ""),
        (echo_with(1, "\"idempotency_key\":\"k\""), "existing", ""),
        (echo_with(2, "\"idempotency_key\":\"k\""), "idempotency_key_reused", ""),
        (echo_with(1, "\"idempotency_key\":\"new\""), "accepted", ""),
        (echo_with(1, "\"idempotency_key\":\"new\""), "existing", ""),
        (echo_with(2, "\"idempotency_key\":\"new\""), "idempotency_key_reused", ""),
        (echo_with(1, &format!("\"idempotency_key\":\"both\",\"id\":\"{taken}\"")), "invalid_request", "/jobs/8/idempotency_key"),
        (echo_with(1, "\"idempotency_key\":\"a b\""), "invalid_request", "/jobs/9/idempotency_key"),
        (echo_with(1, "\"id\":\"1\""), "invalid_request", "/jobs/10/id"),
        (echo_with(1, "\"model\":\"script\""), "malformed_json", ""),
        (echo_with(1, "\"priority\":9"), "invalid_request", "/jobs/12/priority"),
        (echo_with(1, "\"attempts_max\":0"), "invalid_input", "/jobs/13/attempts_max"),
        (echo_with(1, "\"delay_ms\":1e999"), "malformed_json", ""),
        (r#"{"model":"script","input":{"op":"dance"}}"#.into(), "invalid_input", "/jobs/15/input/op"),
        (r#"{"model":"nobody","input":{}}"#.into(), "unknown_model", ""),
        ("7".into(), "invalid_request", "/jobs/17"),
        (format!(r#"{{"model":"script","input":{}1{}}}"#, r#"{"a":"#.repeat(64), "}".repeat(64)), "malformed_json", ""),
        (echo_with(1, "\"start_at\":\"2023-11-14T22:14:20Z\""), "accepted", ""),
    ];
    let jobs: Vec<String> = rows.iter().map(|(job, ..)| job.clone()).collect();
    let answer = service.submit_batch(&[], batch(&jobs)).await;
    assert_eq!(words(&answer), rows.iter().map(|(_, word, _)| *word).collect::<Vec<_>>());
    for ((job, _, pointer), outcome) in rows.iter().zip(answer.body["jobs"].as_array().expect("outcomes")) {
        assert_eq!(outcome["problem"]["errors"][0]["pointer"].as_str().unwrap_or_default(), *pointer, "{job:.100}: {outcome}");
    }
    let made = ids(&answer);
    assert_eq!((&made[1], &made[6]), (&taken.to_string(), &made[5]), "a repeat is the job that was there first");
    assert_eq!(service.count().await, 2 + 3);
    assert_eq!(answer.body["jobs"][19]["job"]["scheduled"], true);
    let metrics = service.metrics.render();
    let refused = |reason: &str, count: u64| {
        let row = format!("siding_submissions_refused_total{{reason=\"{reason}\"}} {count}");
        assert!(metrics.contains(&row), "{row} is not in {metrics}");
    };
    [("invalid_request", 5), ("malformed_json", 3), ("invalid_input", 2), ("idempotency_key_reused", 2), ("id_taken", 1)]
        .into_iter()
        .for_each(|(reason, count)| refused(reason, count));
}

#[tokio::test]
async fn a_thousand_jobs_are_accepted_in_one_request_and_all_published() {
    let service = Service::start().await;
    let jobs: Vec<String> = (0..1000).map(echo).collect();
    let answer = service.submit_batch(&[], batch(&jobs)).await;
    assert_eq!(words(&answer), vec!["accepted"; 1000]);
    // The queue of these tests holds 100 messages; the rest waits in the store.
    let instant = "instant".parse().expect("a name");
    service.published(&instant, 100).await;
    assert_eq!(service.get("/v1/lanes").await.body["lanes"][0]["queued"], 1000);
}

#[tokio::test]
async fn what_is_no_batch_is_refused_as_a_whole() {
    let service = Service::start().await;
    let json: &[(&str, &str)] = &[];
    let too_many: Vec<String> = (0..=1000).map(echo).collect();
    let rows: Vec<Row> = vec![
        ("one too many", json, batch(&too_many), Code::InvalidRequest),
        ("none", json, batch(&[]), Code::InvalidRequest),
        ("no list", json, echo(1), Code::InvalidRequest),
        ("torn", json, r#"{"jobs":[{"model":"script""#.into(), Code::MalformedJson),
        ("something besides", json, r#"{"jobs":[{}],"model":"script"}"#.into(), Code::InvalidRequest),
        ("too large", json, " ".repeat(limits::BODY_BYTES_MAX + 1), Code::BodyTooLarge),
        ("a form", &[("content-type", "text/csv")], batch(&[echo(1)]), Code::UnsupportedMediaType),
        ("bad key", &[("idempotency-key", "a b")], batch(&[echo(1)]), Code::InvalidRequest),
    ];
    for (why, headers, body, code) in rows {
        let problem = check(&service.submit_batch(headers, body).await, code);
        assert!(!problem.detail.is_empty(), "{why}");
    }
    assert_eq!(service.count().await, 0);
}

#[tokio::test]
async fn a_repeat_of_a_batch_with_its_key_makes_no_second_job() {
    let service = Service::start().await;
    let wrong = r#"{"model":"script","input":{"op":"dance"}}"#.to_owned();
    let jobs = [echo(1), echo(1), wrong, echo_with(3, "\"idempotency_key\":\"own\"")];
    let key = [("idempotency-key", "order-17")];
    let first = service.submit_batch(&key, batch(&jobs)).await;
    assert_eq!(words(&first), ["accepted", "accepted", "invalid_input", "accepted"], "equal jobs are jobs of their own");
    let again = service.submit_batch(&key, batch(&jobs)).await;
    assert_eq!(words(&again), ["existing", "existing", "invalid_input", "existing"]);
    assert_eq!(ids(&again), ids(&first));

    // The job that was wrong, mended; one that is another now; one more.
    let mended = [echo(1), echo(9), echo(2), jobs[3].clone(), echo(5)];
    let mended = service.submit_batch(&key, batch(&mended)).await;
    assert_eq!(words(&mended), ["existing", "idempotency_key_reused", "accepted", "existing", "accepted"]);
    assert_eq!(service.count().await, 5);
    let single = service.post("/v1/jobs", &key, echo(1)).await;
    assert_eq!((single.status, service.count().await), (StatusCode::ACCEPTED, 6), "the key of one job is another one");
    check(&service.post("/v1/jobs", &[("idempotency-key", "order-17 0")], echo(1)).await, Code::InvalidRequest);
}

#[tokio::test]
async fn an_atomic_batch_is_accepted_whole_or_not_at_all() {
    let service = Service::start().await;
    service.post("/v1/jobs", &[("idempotency-key", "k")], echo(1)).await;
    let wrong = r#"{"model":"script","input":{"op":"dance"}}"#.to_owned();
    let rows = [
        (vec![echo(1), wrong, echo(2)], vec![("/jobs/1/input/op", "invalid_input: ")]),
        (vec!["[]".into(), echo(2)], vec![("/jobs/0", "invalid_request: ")]),
        (vec![echo(1), echo_with(2, "\"idempotency_key\":\"k\"")], vec![("/jobs/1", "idempotency_key_reused: ")]),
        (
            vec![r#"{"model":"nobody","input":{}}"#.into(), "{}".into()],
            vec![("/jobs/0", "unknown_model: "), ("/jobs/1", "invalid_request: ")],
        ),
    ];
    for (jobs, expected) in rows {
        let problem = check(&service.submit_batch(&[], atomic(&jobs)).await, Code::BatchRefused);
        assert_eq!(problem.errors.len(), expected.len(), "{problem:?}");
        for (error, (pointer, start)) in problem.errors.iter().zip(expected) {
            assert!(error.pointer == pointer && error.detail.starts_with(start), "{error:?}");
        }
    }
    assert_eq!(service.count().await, 1);
    let good = [echo(1), echo_with(1, "\"idempotency_key\":\"k\""), echo(3)];
    let key = [("idempotency-key", "whole")];
    assert_eq!(words(&service.submit_batch(&key, atomic(&good)).await), ["accepted", "existing", "accepted"]);
    assert_eq!(words(&service.submit_batch(&key, atomic(&good)).await), ["existing"; 3]);
    assert_eq!(service.count().await, 3);
}

#[tokio::test]
async fn a_batch_for_which_there_is_no_room_is_told_to_come_back() {
    let service = Service::start().await;
    // An answer that nobody reads keeps its place until its connection is gone.
    let mut unread = Vec::new();
    for value in 0..limits::BATCHES_OPEN_MAX as u64 {
        let request = request("POST", "/v1/jobs:batch", &[], batch(&[echo(value)]));
        unread.push(service.router.clone().oneshot(request).await.expect("routed"));
    }
    let refused = service.submit_batch(&[], batch(&[echo(1)])).await;
    assert!(check(&refused, Code::Busy).retryable && refused.headers.contains_key(header::RETRY_AFTER));
    // Batches take no room from those who deal with dead jobs.
    assert_eq!(service.post("/v1/dead:replay", &[], r#"{"filter":{}}"#).await.status, StatusCode::OK);
    drop(unread.pop());
    assert_eq!(words(&service.submit_batch(&[], batch(&[echo(1)])).await), ["accepted"]);
}

#[tokio::test]
async fn bodies_that_do_not_arrive_and_answers_about_dead_jobs_that_nobody_reads_shut_nobody_out() {
    let service = Service::start().await;
    for (path, body) in [("/v1/jobs:batch", batch(&[echo(1)])), ("/v1/dead:replay", r#"{"filter":{}}"#.to_owned())] {
        let mut stalled = Vec::new();
        for _ in 0..2 * limits::BATCHES_OPEN_MAX {
            let never = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::convert::Infallible>>());
            let mut call = Box::pin(service.router.clone().oneshot(request("POST", path, &[], never)));
            assert!(futures::poll!(&mut call).is_pending());
            stalled.push(call);
        }
        let mut unread = Vec::new();
        for _ in 0..2 * limits::DEALS_OPEN_MAX {
            let answer = service.router.clone().oneshot(request("POST", path, &[], body.clone())).await.expect("routed");
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            unread.push(answer);
        }
    }
}

#[tokio::test]
async fn a_batch_with_large_inputs_is_accepted_and_a_stopping_service_accepts_none() {
    let service = Service::start().await;
    let pad = "x".repeat(limits::INLINE_BYTES_MAX);
    let large = format!(r#"{{"model":"script","input":{{"op":"echo","value":"{pad}"}}}}"#);
    let answer = service.submit_batch(&[], batch(&vec![large; 20])).await;
    assert_eq!(words(&answer), ["accepted"; 20]);
    service.drain.stop();
    check(&service.submit_batch(&[], batch(&[echo(1)])).await, Code::Unavailable);
}
