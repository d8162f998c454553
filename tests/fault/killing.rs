//! The kill matrix: a process of one role dies at each step of a job's life, over real servers, while others of its role stand by or come after it. Each
//! test prints how long it took until everything was over.

use std::{collections::HashSet, time::Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use siding::services::Role;
use siding_client::{Client, EventKind, JobId, State, Submission};
use siding_tests::{
    harness::{child::Cluster, invariants},
    kill_points::{KillPoint, VARIABLE},
};

use super::given::{PROGRAM, all_end_well, ended, running};

/// Jobs of one test: enough that some of them are elsewhere when one is hit.
const JOBS: usize = 12;

/// Posts one job with its key and returns its id, when it was answered.
async fn post(producer: &str, model: &str, script: &Value, key: &str) -> Option<String> {
    // Not the SDK: it would repeat by itself, and what one request becomes is what is asked here.
    let request = reqwest::Client::new()
        .post(format!("{producer}/v1/jobs"))
        .header("idempotency-key", key)
        .json(&json!({"model": model, "input": script, "attempts_max": 5}));
    let answer = request.send().await.ok()?;
    assert!(answer.status().is_success(), "{key}: {}", answer.status());
    let job: Value = answer.json().await.ok()?;
    Some(job["id"].as_str().expect("a job has an id").to_owned())
}

async fn all_succeed(client: &Client, jobs: impl IntoIterator<Item = JobId>) -> Vec<siding_client::Job> {
    let ended = join_all(jobs.into_iter().map(|job| ended(client, job))).await;
    for job in &ended {
        assert_eq!(job.state, State::Succeeded, "{job:?}");
    }
    ended
}

/// An own test for each row: its name and what the check is given.
macro_rules! cases {
    ($group:ident, $check:ident: $($name:ident($($given:expr),*),)*) => {
        mod $group {
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    $check($($given),*).await;
                }
            )*
        }
    };
}

cases! { a_producer_killed, no_job_is_lost_or_doubled:
    before_its_commit(KillPoint::BeforeSubmit),
    behind_its_commit(KillPoint::AfterSubmit),
    before_it_publishes(KillPoint::BeforePublish),
    between_confirm_and_mark(KillPoint::AfterPublish),
    behind_the_mark(KillPoint::AfterMark),
}

async fn no_job_is_lost_or_doubled(point: KillPoint) {
    let cluster = Cluster::new(PROGRAM).await;
    let (worker, results) = (cluster.start(Role::Worker).await, cluster.start(Role::Results).await);
    let victim = cluster.start_with(Role::Producer, &[(VARIABLE, &point.to_string())]).await;
    let script = json!({"op": "delay", "ms": 20});
    let keys: Vec<String> = (0..JOBS).map(|number| format!("key-{number}")).collect();
    let answered = join_all(keys.iter().map(|key| post(&victim.url, "scripted", &script, key))).await;
    victim.died().await;
    let died = Instant::now();
    let second = cluster.start(Role::Producer).await;
    let client = Cluster::client(&second, &results);
    let mut ids = HashSet::new();
    for (key, before) in keys.iter().zip(answered) {
        let again = post(&second.url, "scripted", &script, key).await.expect("the second producer answers");
        assert!(before.is_none_or(|before| before == again), "{key} is one job, whoever is asked");
        ids.insert(again);
    }
    assert_eq!(ids.len(), JOBS, "one job a key");
    let ended = all_succeed(&client, ids.iter().map(|id| id.parse().expect("an id"))).await;
    assert!(ended.iter().all(|job| job.failures == 0), "no attempt has failed: {ended:?}");
    println!("killed {point}: everything over {:?} after the death", died.elapsed());
    cluster.at_rest().await;
    let seams = cluster.seams().await;
    assert_eq!(invariants::all_jobs(&*seams.jobs).await.len(), JOBS, "nothing else was accepted");
    seams.close().await;
    all_end_well([second, worker, results]).await;
}

/// What a worker's death at a step costs a job that it had.
struct Cost {
    /// The most attempts that one job takes.
    attempts_max: u32,
    /// The most jobs that lose one.
    jobs_max: usize,
}

// Before the claim nothing is claimed: the messages come back, and the attempts are first ones. What is recorded stays; what was claimed beside it
// runs again.
cases! { a_worker_killed, it_costs_only_what_was_claimed:
    before_its_claim_of_short_work(KillPoint::BeforeClaim, "scripted", Cost { attempts_max: 1, jobs_max: 0 }),
    behind_its_claim_of_short_work(KillPoint::AfterClaim, "scripted", Cost { attempts_max: 2, jobs_max: JOBS }),
    with_the_output_of_short_work_stored(KillPoint::BeforeRecord, "scripted", Cost { attempts_max: 2, jobs_max: JOBS }),
    behind_its_record_of_short_work(KillPoint::AfterRecord, "scripted", Cost { attempts_max: 2, jobs_max: JOBS - 1 }),
    before_its_claim_of_long_work(KillPoint::BeforeClaim, "scripted-long", Cost { attempts_max: 1, jobs_max: 0 }),
    behind_its_claim_of_long_work(KillPoint::AfterClaim, "scripted-long", Cost { attempts_max: 2, jobs_max: 2 }),
    with_the_output_of_long_work_stored(KillPoint::BeforeRecord, "scripted-long", Cost { attempts_max: 2, jobs_max: 2 }),
    behind_its_record_of_long_work(KillPoint::AfterRecord, "scripted-long", Cost { attempts_max: 2, jobs_max: 2 }),
}

async fn it_costs_only_what_was_claimed(point: KillPoint, model: &str, cost: Cost) {
    let cluster = Cluster::new(PROGRAM).await;
    let (producer, results) = (cluster.start(Role::Producer).await, cluster.start(Role::Results).await);
    let victim = cluster.start_with(Role::Worker, &[(VARIABLE, &point.to_string())]).await;
    let client = Cluster::client(&producer, &results);
    // Above what a row takes, so that the output is a blob.
    let script = json!({"op": "big", "bytes": 100_000});
    let mut jobs = Vec::new();
    for _ in 0..JOBS {
        let submission = Submission::new(model, &script).expect("a script is JSON").with_attempts_max(5);
        jobs.push(client.submit(&submission).await.expect("accepted").id);
    }
    victim.died().await;
    let died = Instant::now();
    let second = cluster.start(Role::Worker).await;
    let started = died.elapsed();
    let ended = all_succeed(&client, jobs).await;
    println!("killed {point} ({model}): another worker {started:?} after the death, everything over after {:?}", died.elapsed());
    let again: Vec<_> = ended.iter().filter(|job| job.attempt > 1).collect();
    assert!(ended.iter().all(|job| job.attempt <= cost.attempts_max), "{ended:?}");
    assert!(again.len() <= cost.jobs_max, "{again:?}");
    cluster.at_rest().await;
    all_end_well([producer, results, second]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_killed_behind_its_sweep_leaves_the_job_to_the_relay_of_another() {
    let cluster = Cluster::new(PROGRAM).await;
    let results = cluster.start(Role::Results).await;
    let victim = cluster.start_with(Role::Producer, &[(VARIABLE, &KillPoint::AfterSweep.to_string())]).await;
    let worker = cluster.start(Role::Worker).await;
    let client = Cluster::client(&victim, &results);
    let hanging = Submission::new("scripted-long", &json!({"op": "delay", "ms": 1_000})).expect("a script is JSON");
    let job = client.submit(&hanging.with_attempts_max(5)).await.expect("accepted").id;
    running(&client, job).await;
    worker.kill().await;
    // Its lease ends, the sweep finds it, and the sweeper dies.
    victim.died().await;
    let died = Instant::now();
    let (producer, worker) = (cluster.start(Role::Producer).await, cluster.start(Role::Worker).await);
    let ended = all_succeed(&Cluster::client(&producer, &results), [job]).await;
    assert_eq!((ended[0].attempt, ended[0].failures), (2, 1), "the sweep counted once: {ended:?}");
    println!("killed after-sweep: over {:?} after the death", died.elapsed());
    cluster.at_rest().await;
    all_end_well([producer, worker, results]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_worker_is_killed_goes_on_from_its_checkpoint_on_another() {
    let cluster = Cluster::new(PROGRAM).await;
    let (producer, results) = (cluster.start(Role::Producer).await, cluster.start(Role::Results).await);
    let often = [("SIDING_WORKER__CHECKPOINT_MS", "100")];
    let mut worker = cluster.start_with(Role::Worker, &often).await;
    let client = Cluster::client(&producer, &results);
    let script = json!({"op": "delay", "ms": 4_000, "steps": 400});
    let submission = Submission::new("scripted-long", &script).expect("a script is JSON").with_attempts_max(2);
    let job = client.submit(&submission).await.expect("accepted").id;
    let mut events = client.events(job, 0);
    let mut progress = 0;
    // Three deaths, of which an uncounted retry each: with counted ones, the job would fail.
    for attempt in 1..=3 {
        let mut checkpoint = 0;
        while checkpoint == 0 {
            let event = events.next().await.expect("it is not over").expect("the stream stands");
            match event.kind {
                EventKind::Checkpoint if event.attempt == attempt => checkpoint = event.data["done"].as_u64().expect("a count"),
                EventKind::Started if event.attempt > 1 => {
                    let resumes = event.started().and_then(|started| started.resumes).expect("it goes on from a checkpoint");
                    assert!(resumes.done >= progress, "attempt {attempt} goes on from {} of {progress}", resumes.done);
                }
                _ => {}
            }
        }
        progress = checkpoint;
        worker.kill().await;
        worker = cluster.start_with(Role::Worker, &often).await;
    }
    let killed = Instant::now();
    let ended = all_succeed(&client, [job]).await;
    assert_eq!((ended[0].attempt, ended[0].failures), (4, 0), "{ended:?}");
    assert_eq!(client.result(job).await.expect("a result").get(), "4000");
    println!("killed three times at checkpoints up to {progress} of 400: over {:?} after the last death", killed.elapsed());
    cluster.at_rest().await;
    all_end_well([producer, results, worker]).await;
}
