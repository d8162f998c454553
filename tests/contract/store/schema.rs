//! What the schema refuses from whoever writes: a defect of ours, or a person with a shell.

use siding_tests::harness::seams::StoreSeam;

use super::given::Given;

pub async fn a_job_that_contradicts_itself_is_refused(seam: &StoreSeam) {
    let job = seam.queued().await;
    let worker = "'0190b7c0-0000-7000-8000-000000000001'";
    let rows = [
        "state = 'done'",
        "state = 'running'",
        &format!("state = 'running', attempt = 1, started_at = 1, worker = {worker}"),
        &format!("state = 'cancelling', attempt = 1, started_at = 1, worker = {worker}, lease_until = 1"),
        &format!("worker = {worker}"),
        "lease_until = 1",
        &format!("claimed_message = {worker}"),
        "finished_at = 1",
        "state = 'canceled'",
        "state = 'succeeded', finished_at = 1",
        "state = 'failed', finished_at = 1",
        "state = 'failed', finished_at = 1, failure_code = 'bad_input'",
        "failure_code = 'bad_input', failure_message = 'x'",
        "output = '1'",
        "state = 'succeeded', attempt = 1, started_at = 1, finished_at = 1, output = '1', output_blob = 'b'",
        "input = NULL",
        "input_blob = 'b'",
        "started_at = 1",
        &format!("state = 'running', attempt = 1, worker = {worker}, lease_until = 1"),
        "failures = 4",
        "failures = -1",
        "attempt = -1",
        "event_seq = 0",
        "fingerprint = ''",
        "p50_ms = 'long'",
        "p90_ms = -1",
        "id = 'short'",
        &format!("retried_by = {worker}"),
        "state = 'canceled', finished_at = 1, retried_by = 'short'",
        "state = 'canceled', finished_at = 1, dropped_at = 1",
    ];
    for set in rows {
        assert!(seam.shell.run(&format!("UPDATE job SET {set}")).await.is_err(), "{set}");
    }
    let before = seam.job(job).await;
    seam.shell.run("UPDATE job SET due_at = 5").await.expect("what does not contradict is allowed");
    assert_eq!(seam.job(job).await.due_at.0, 5);
    assert_eq!(seam.job(job).await.state, before.state);
}

pub async fn an_event_that_contradicts_its_job_is_refused(seam: &StoreSeam) {
    let job = seam.queued().await;
    let insert =
        |job: &str, rest: &str| format!("INSERT INTO event (job_id, seq, kind, at, attempt, data) VALUES ('{job}', {rest})");
    for rest in [
        "1, 'queued', 1, 0, '{}'",
        "0, 'queued', 1, 0, '{}'",
        "2, 'done', 1, 0, '{}'",
        "2, 'progress', 1, -1, '{}'",
        "2, 'progress', 1, 0, '{'",
    ] {
        assert!(seam.shell.run(&insert(&job.to_string(), rest)).await.is_err(), "{rest}");
    }
    let orphan = insert("00000000-0000-0000-0000-000000000000", "1, 'queued', 1, 0, '{}'");
    assert!(seam.shell.run(&orphan).await.is_err(), "an event needs its job");
}
