//! The life of a job as a caller sees it, from submission to result.

use std::time::Duration;

use serde_json::json;
use siding_client::{JobFilter, JobId, State, Submission};
use siding_core::job::FailureCode;
use siding_tests::harness::{Profile, TestSystem, system::stored_id};

const WAIT: Duration = Duration::from_secs(10);

fn submission(script: &serde_json::Value) -> Submission {
    Submission::new("scripted", script).expect("a script is JSON")
}

async fn a_submitted_job_runs_and_its_result_is_what_the_model_returned(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let script = json!({"op": "echo", "value": {"answer": 42}});
    let job = system.client.submit_waiting(&submission(&script), WAIT).await.expect("accepted");
    assert_eq!(job.state, State::Succeeded, "{job:?}");
    assert_eq!(system.client.result(job.id).await.expect("a result").get(), r#"{"answer":42}"#);
    assert_eq!(system.event_kinds(stored_id(job.id)).await, ["queued", "started", "succeeded"]);
    system.finish().await;
}

async fn a_result_too_large_for_a_row_comes_back_whole(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let job = system.client.submit_waiting(&submission(&json!({"op": "big", "bytes": 300_000})), WAIT).await.expect("accepted");
    assert_eq!(
        (job.state, job.output_bytes, job.output.is_none()),
        (State::Succeeded, Some(300_000), true),
        "too large to be shown"
    );
    let result = system.client.result(job.id).await.expect("a result");
    assert_eq!(result.get().len(), 300_000);
    let text = "y".repeat(200_000);
    let echo = system.client.submit_waiting(&submission(&json!({"op": "echo", "value": text})), WAIT).await.expect("accepted");
    assert_eq!(echo.output.expect("shown, although it lies in a blob").get(), format!("\"{text}\""));
    assert_eq!(system.client.result(echo.id).await.expect("a result").get(), format!("\"{text}\""));
    system.finish().await;
}

async fn a_failing_run_is_tried_again_and_then_fails_with_its_cause(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let recovers = submission(&json!({"op": "fail", "times": 1, "key": "recovers"}));
    let job = system.submit_as(&recovers).await;
    let ended = system.ended(job).await;
    assert_eq!((ended.state.as_str(), ended.failures, ended.attempt.0), ("succeeded", 1, 2));
    assert_eq!(system.event_kinds(job).await, ["queued", "started", "retrying", "started", "succeeded"]);

    let gives_up = submission(&json!({"op": "fail", "times": 9, "key": "gives up", "message": "as asked"})).with_attempts_max(2);
    let job = system.submit_as(&gives_up).await;
    let ended = system.ended(job).await;
    let failure = ended.failure.expect("a failed job says why");
    assert_eq!((ended.attempt.0, failure.code), (2, FailureCode::RuntimeError));
    assert!(failure.message.contains("as asked"), "{failure:?}");
    system.finish().await;
}

async fn one_key_makes_one_job_however_many_ask_at_once(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let body = r#"{"model": "scripted", "input": {"op": "delay", "ms": 50}}"#;
    let post = |key: &'static str, body: &'static str| {
        let request = reqwest::Client::new().post(format!("{}/v1/jobs", system.url));
        request.header("Idempotency-Key", key).header("Content-Type", "application/json").body(body).send()
    };
    let answers = futures::future::join_all((0..16).map(|i| post(if i % 2 == 0 { "\"once\"" } else { "once" }, body))).await;
    let mut ids = std::collections::HashSet::new();
    for answer in answers {
        let answer = answer.expect("an answer");
        match answer.status().as_u16() {
            202 => drop(ids.insert(answer.json::<siding_client::Job>().await.expect("a job").id)),
            status => assert_eq!(status, 409),
        }
    }
    assert_eq!(ids.len(), 1, "every accepted answer names the same job");
    let other = post("once", r#"{"model": "scripted", "input": {"op": "noop"}}"#).await.expect("an answer");
    assert_eq!(other.status().as_u16(), 422, "another payload under the same key");
    system.finish().await;
}

async fn a_chosen_id_names_one_job_for_ever(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let id = JobId::generate();
    let echo = |value| submission(&json!({"op": "echo", "value": value})).with_id(id);
    let first = system.client.submit(&echo(1)).await.expect("accepted");
    assert_eq!(first.id, id);
    assert_eq!(system.client.submit(&echo(1)).await.expect("a repeat").id, id);
    let refused = system.client.submit(&echo(2)).await.expect_err("another payload");
    assert_eq!(refused.problem().expect("a problem").code, "id_taken");
    system.finish().await;
}

async fn running_a_finished_job_again_is_a_new_job_that_names_the_first(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let first = system.client.submit_waiting(&submission(&json!({"op": "echo", "value": 7})), WAIT).await.expect("accepted");
    let again = system.client.retry(first.id).await.expect("accepted");
    assert_eq!(again.retry_of, Some(first.id));
    let ended = system.client.wait(again.id).await.expect("ends");
    assert_eq!(ended.state, State::Succeeded);
    assert_eq!(system.client.get(first.id).await.expect("kept").state, State::Succeeded);

    let hanging = system.client.submit(&submission(&json!({"op": "hang"}))).await.expect("accepted");
    let refused = system.client.retry(hanging.id).await.expect_err("it is not finished");
    assert_eq!(refused.problem().expect("a problem").code, "not_finished");
    system.client.cancel(hanging.id).await.expect("cancelled");
    system.finish().await;
}

async fn a_delayed_job_starts_when_it_is_due_and_not_before(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let job = system.submit_as(&submission(&json!({"op": "noop"})).delayed(Duration::from_millis(400))).await;
    let ended = system.ended(job).await;
    let started = ended.started_at.expect("it has started");
    assert!(started >= ended.due_at, "{ended:?}");
    assert!(ended.due_at.since(ended.created_at) >= Duration::from_millis(400));
    system.finish().await;
}

async fn a_job_that_cannot_start_in_time_expires(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let mut holders = Vec::new();
    for _ in 0..2 {
        holders.push(system.submit("scripted", json!({"op": "hang"})).await);
    }
    for holder in &holders {
        system.in_state(*holder, siding_core::job::State::Running).await;
    }
    let late = submission(&json!({"op": "noop"})).with_start_deadline(Duration::from_millis(100));
    let late = system.submit_as(&late).await;
    assert_eq!(system.ended(late).await.state.as_str(), "expired");
    for holder in holders {
        system.client.cancel(holder.to_string().parse().expect("an id")).await.expect("cancelled");
    }
    system.finish().await;
}

async fn a_list_shows_what_matches_page_by_page(profile: Profile) {
    use futures::TryStreamExt;
    let system = TestSystem::on(profile).await;
    for value in 0..7 {
        system.client.submit_waiting(&submission(&json!({"op": "echo", "value": value})), WAIT).await.expect("accepted");
    }
    let failing = submission(&json!({"op": "fail", "times": 1, "key": "list"})).with_attempts_max(1);
    system.client.submit_waiting(&failing, WAIT).await.expect("accepted");
    let count = |states: Vec<State>| {
        let filter = JobFilter { states, page_size: Some(3), ..JobFilter::default() };
        system.client.list_all(filter).try_fold(0, |count, _| async move { Ok(count + 1) })
    };
    assert_eq!(count(vec![]).await.expect("a list"), 8);
    assert_eq!(count(vec![State::Succeeded]).await.expect("a list"), 7);
    assert_eq!(count(vec![State::Failed]).await.expect("a list"), 1);
    assert_eq!(count(vec![State::Running, State::Queued]).await.expect("a list"), 0);
    system.finish().await;
}

siding_tests::on_every_profile!(
    a_submitted_job_runs_and_its_result_is_what_the_model_returned,
    a_result_too_large_for_a_row_comes_back_whole,
    a_failing_run_is_tried_again_and_then_fails_with_its_cause,
    one_key_makes_one_job_however_many_ask_at_once,
    a_chosen_id_names_one_job_for_ever,
    running_a_finished_job_again_is_a_new_job_that_names_the_first,
    a_delayed_job_starts_when_it_is_due_and_not_before,
    a_job_that_cannot_start_in_time_expires,
    a_list_shows_what_matches_page_by_page,
);
