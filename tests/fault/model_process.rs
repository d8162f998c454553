//! Models in processes of their own: what breaks there costs the attempts that ran there, and nothing else of the worker. The last test rehearses
//! docs/runbooks/model-crashing.md.

use std::time::{Duration, Instant};

use serde_json::json;
use siding_client::{Client, EventKind, JobId, State};
use siding_tests::harness::{child::ChildSystem, eventually, processes};

use super::given::{PATIENCE, PROGRAM, ended, submission};

/// How soon a model process is gone when its worker is.
const GONE_MAX: Duration = Duration::from_secs(5);

async fn accepted(client: &Client, script: serde_json::Value, attempts_max: u32) -> JobId {
    client.submit(&submission("scripted", &script).with_attempts_max(attempts_max)).await.expect("accepted").id
}

/// Waits until a deaf run has begun to compute.
async fn hears_nothing(client: &Client, job: JobId) {
    let mut events = client.events(job, 0);
    while let Some(event) = events.next().await {
        if event.expect("the stream goes on").kind == EventKind::Output {
            return;
        }
    }
    panic!("it ended before it computed");
}

fn model_processes(system: &ChildSystem) -> Vec<u32> {
    processes::children_of(system.process().id())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_in_native_code_costs_one_attempt_and_the_worker_goes_on() {
    let mut system = ChildSystem::with(PROGRAM, "isolation = \"always\"\nmodel_memory_bytes_max = 268435456");
    let client = system.start().await;
    let rows = [
        (json!({"op": "crash"}), "SIGABRT"),
        (json!({"op": "eat", "bytes": 1_000_000_000}), "more memory than it may have"),
        (json!({"op": "panic"}), "panicked"),
    ];
    for (script, cause) in rows {
        let crashing = accepted(&client, script, 2).await;
        let mut others = Vec::new();
        for _ in 0..10 {
            others.push(accepted(&client, json!({"op": "delay", "ms": 1}), 1).await);
        }
        for other in others {
            assert_eq!(ended(&client, other).await.state, State::Succeeded, "beside {cause}");
        }
        let job = ended(&client, crashing).await;
        let failure = job.failure.expect("it failed");
        assert_eq!((failure.code.as_str(), job.attempt), ("model_crashed", 2), "{failure:?}");
        assert!(failure.message.contains(cause), "{}", failure.message);
        // A run that ends closes the series of crashes: nothing rests.
        assert_eq!(ended(&client, accepted(&client, json!({"op": "noop"}), 1).await).await.state, State::Succeeded);
    }
    let crashes = system.process().metric(r#"siding_model_crashes_total{model="scripted"}"#).await;
    assert_eq!(crashes, 6.0);
    assert!(model_processes(&system).len() <= 2, "one for each slot; the others are reaped");
    assert!(system.terminate().await, "it stops well");
    assert_eq!(system.violations().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_does_not_heed_its_stop_is_killed_after_the_patience_and_its_slot_goes_on() {
    let mut system = ChildSystem::with(PROGRAM, "isolation = \"always\"\nstop_patience_ms = 300");
    let client = system.start().await;
    let deaf = json!({"op": "hang", "deaf": true});
    let cancelled = accepted(&client, deaf.clone(), 3).await;
    hears_nothing(&client, cancelled).await;
    client.cancel(cancelled).await.expect("accepted");
    let late =
        client.submit(&submission("scripted", &deaf).with_run_timeout(Duration::from_millis(200))).await.expect("accepted").id;
    let job = ended(&client, cancelled).await;
    assert_eq!((job.state, job.cancel.map(|cancel| cancel.met)), (State::Canceled, Some("killed".to_owned())));
    let late = ended(&client, late).await;
    assert_eq!((late.state, late.failure.expect("it failed").code.as_str(), late.attempt), (State::Failed, "run_timeout", 1));
    // Both slots have lost their process and no more.
    for _ in 0..4 {
        assert_eq!(ended(&client, accepted(&client, json!({"op": "noop"}), 1).await).await.state, State::Succeeded);
    }
    assert!(system.terminate().await, "it stops well");
    assert_eq!(system.violations().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_costs_a_deaf_run_no_attempt() {
    // The patience of every other stop is longer than a worker that drains has.
    let mut system = ChildSystem::with(PROGRAM, "isolation = \"always\"\nstop_patience_ms = 6000");
    let client = system.start().await;
    let deaf = accepted(&client, json!({"op": "hang", "deaf": true}), 1).await;
    hears_nothing(&client, deaf).await;
    assert!(system.terminate().await, "its process is killed in time");
    let client = system.start().await;
    let again = eventually("it runs again", PATIENCE, || async {
        let job = client.get(deaf).await.map_err(|error| error.to_string())?;
        if job.state == State::Running && job.attempt == 2 { Ok(job) } else { Err(format!("{job:?}")) }
    })
    .await;
    assert_eq!(again.failures, 0, "its only attempt is not used up");
    client.cancel(deaf).await.expect("accepted");
    assert_eq!(ended(&client, deaf).await.state, State::Canceled);
    assert!(system.terminate().await, "it stops well");
    assert_eq!(system.violations().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_leaves_no_model_process_even_a_hanging_one() {
    let mut system = ChildSystem::with(PROGRAM, "isolation = \"always\"");
    let client = system.start().await;
    let hanging = accepted(&client, json!({"op": "hang", "deaf": true}), 100).await;
    hears_nothing(&client, hanging).await;
    let models = eventually("its model has a process", PATIENCE, || async {
        let models = model_processes(&system);
        if models.is_empty() { Err("none".to_owned()) } else { Ok(models) }
    })
    .await;
    system.kill().await;
    let killed = Instant::now();
    eventually("every model process ends", GONE_MAX, || async {
        let left: Vec<_> = models.iter().filter(|id| processes::runs(**id)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    println!("killed worker: {} model processes gone after {:?}", models.len(), killed.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn model_that_only_crashes_rests_its_jobs_wait_unharmed_and_it_is_tried_again() {
    let mut system = ChildSystem::with(PROGRAM, "isolation = \"always\"\nmodel_rest_ms = 1500");
    let client = system.start().await;
    for _ in 0..3 {
        let job = ended(&client, accepted(&client, json!({"op": "crash"}), 1).await).await;
        assert_eq!(job.failure.expect("it failed").code.as_str(), "model_crashed");
    }
    // One attempt is all that they have: a refused load must not cost it.
    let (first, second) = (accepted(&client, json!({"op": "noop"}), 1).await, accepted(&client, json!({"op": "noop"}), 1).await);
    let mut events = client.events(first, 0);
    let mut told = Vec::new();
    while let Some(event) = events.next().await {
        told.push(event.expect("an event").kind.as_str().to_owned());
    }
    assert_eq!(told.last().map(String::as_str), Some("succeeded"), "{told:?}");
    assert!(told.iter().any(|kind| kind == "interrupted"), "it was handed back while the model rested: {told:?}");
    assert_eq!(ended(&client, second).await.state, State::Succeeded);
    for job in [first, second] {
        assert_eq!(client.get(job).await.expect("kept").failures, 0, "what never ran has not failed");
    }
    let refused = system.process().metric(r#"siding_model_loads_refused_total{model="scripted"}"#).await;
    assert!(refused >= 1.0, "{refused}");
    let log = system.process().log();
    for line in ["the process of a model has ended", "is not loaded for a while"] {
        assert!(log.contains(line), "the runbook says that this is logged: {line}\n{log}");
    }
    assert!(system.terminate().await, "it stops well");
    assert_eq!(system.violations().await, Vec::<String>::new());
}
