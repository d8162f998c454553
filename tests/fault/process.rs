//! The whole process is killed and started again, or told to stop.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;
use siding_client::{Client, JobId, State};
use siding_tests::harness::child::ChildSystem;

use super::given::{PROGRAM, ended, submission};

/// Submits one job after the other, for ever; notes those that were accepted.
async fn keep_submitting(client: &Client, rng: &mut StdRng, accepted: &mut Vec<JobId>) {
    loop {
        let script = json!({"op": "delay", "ms": rng.random_range(0..20)});
        if let Ok(job) = client.submit(&submission("scripted", &script)).await {
            accepted.push(job.id);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_at_random_instants_loses_no_accepted_job() {
    let seed = std::env::var("SIDING_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random::<u64>);
    println!("seed {seed} (SIDING_SEED={seed} repeats it)");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut system = ChildSystem::new(PROGRAM);
    let mut accepted = Vec::new();
    for _ in 0..6 {
        let client = system.start().await;
        let lifetime = Duration::from_millis(rng.random_range(5..400));
        // The instant of the kill is random on purpose; nothing waits for it but the submissions that it cuts.
        let submitting = keep_submitting(&client, &mut rng, &mut accepted);
        tokio::time::timeout(lifetime, submitting).await.expect_err("it submits for ever");
        system.kill().await;
    }
    let client = system.start().await;
    assert!(!accepted.is_empty(), "some jobs were accepted");
    for job in &accepted {
        assert_eq!(ended(&client, *job).await.state, State::Succeeded, "seed {seed}");
    }
    assert!(system.terminate().await, "it stops well");
    assert_eq!(system.violations().await, Vec::<String>::new(), "seed {seed}, {} jobs", accepted.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_a_long_job_goes_on_at_once_and_its_stream_from_its_cursor() {
    let mut system = ChildSystem::new(PROGRAM);
    let client = system.start().await;
    let job =
        client.submit(&submission("scripted-long", &json!({"op": "delay", "ms": 1500, "steps": 15}))).await.expect("accepted").id;
    let mut events = client.events(job, 0);
    let mut cursor = 0;
    while cursor < 4 {
        let event = events.next().await.expect("the job runs").expect("an event");
        assert_eq!(event.seq, cursor + 1);
        cursor = event.seq;
    }
    drop(events);
    system.kill().await;
    let client = system.start().await;
    let mut events = client.events(job, cursor);
    let mut kinds = Vec::new();
    while let Some(event) = events.next().await {
        let event = event.expect("an event");
        assert_eq!(event.seq, cursor + 1, "no gap, no repeat over the restart");
        cursor = event.seq;
        kinds.push(event.kind.as_str().to_owned());
    }
    assert_eq!(kinds.last().map(String::as_str), Some("succeeded"));
    assert_eq!(kinds.iter().filter(|kind| *kind == "retrying").count(), 1, "{kinds:?}");
    assert_eq!(client.get(job).await.expect("kept").attempt, 2);
    assert!(system.terminate().await);
    assert_eq!(system.violations().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_over_the_same_folder_is_refused() {
    let mut system = ChildSystem::new(PROGRAM);
    let _client = system.start().await;
    let second = tokio::process::Command::new(PROGRAM)
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(system.data())
        .output()
        .await
        .expect("it can be started");
    assert!(!second.status.success());
    let words = String::from_utf8_lossy(&second.stderr);
    assert!(words.contains("in use") && words.contains("--data"), "{words}");
    assert!(system.terminate().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminated_process_ends_its_streams_and_keeps_its_jobs() {
    let mut system = ChildSystem::new(PROGRAM);
    let client = system.start().await;
    let job =
        client.submit(&submission("scripted", &json!({"op": "delay", "ms": 60_000, "steps": 6_000}))).await.expect("accepted").id;
    let mut events = client.events(job, 0);
    events.next().await.expect("queued").expect("an event");
    // The open stream must not hold the stop; the run is interrupted after drain_ms at the latest.
    let started = std::time::Instant::now();
    assert!(system.terminate().await);
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    let client = system.start().await;
    let record = client.get(job).await.expect("kept");
    assert!(!record.state.is_terminal() && record.failures == 0, "{record:?}");
    client.cancel(job).await.expect("accepted");
    assert_eq!(ended(&client, job).await.state, State::Canceled);
    assert!(system.terminate().await);
    assert_eq!(system.violations().await, Vec::<String>::new());
}
