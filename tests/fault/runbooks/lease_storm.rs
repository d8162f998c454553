//! Rehearses docs/runbooks/lease-storm.md in a region and a schema of its own: each lost job runs again, and who comes too late is refused. It must never touch what others run.

use std::time::Instant;

use serde_json::json;
use siding::services::Role;
use siding_tests::harness::{
    child::{ChildProcess, Urls},
    eventually,
};

use super::given::{PATIENCE, System};

/// Workers that stand still at once.
const WORKERS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lease_storm_moves_each_job_once_and_the_late_writers_are_refused() {
    let system = System::over(Urls::default(), "").await;
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(system.cluster.start(Role::Worker).await);
    }
    // Long beside what a look at each job takes on a busy machine: all must run at the same time.
    let script = json!({"op": "delay", "ms": 5_000, "steps": 50});
    let mut jobs = Vec::new();
    // Long work may hold half of the slots of each worker: one of two.
    for _ in 0..=WORKERS {
        jobs.push(system.accepted("scripted-long", &script).await);
    }
    for job in &jobs {
        system.runs(*job).await;
    }
    let still = || workers.iter().chain([&system.worker]);
    still().for_each(ChildProcess::pause);
    let paused = Instant::now();
    let fresh = [system.cluster.start(Role::Worker).await, system.cluster.start(Role::Worker).await];
    let mut ended = Vec::new();
    for job in &jobs {
        let job = system.succeeds(*job).await;
        assert_eq!((job.attempt, job.failures), (2, 1), "its worker was lost once: {job:?}");
        ended.push(format!("{job:?}"));
    }
    println!("lease storm: {} jobs over {:.2?} after their workers stood still", jobs.len(), paused.elapsed());
    still().for_each(ChildProcess::resume);
    // Each had one of the jobs, ends it after its time, and is refused.
    for worker in still() {
        eventually("the late writer is refused", PATIENCE, || async {
            let fenced = worker.metric(r#"siding_job_attempts_total{end="fenced"}"#).await;
            if fenced == 1.0 { Ok(()) } else { Err(format!("{fenced} attempts were fenced")) }
        })
        .await;
    }
    for (job, before) in jobs.iter().zip(&ended) {
        assert_eq!(format!("{:?}", system.succeeds(*job).await), *before, "nothing of the first attempt is recorded");
    }
    // They go on with new work.
    let after = system.accepted("scripted", &json!({"op": "noop"})).await;
    system.succeeds(after).await;
    for worker in workers.into_iter().chain(fresh) {
        assert!(worker.terminate().await, "it stops well");
    }
    system.finish().await;
}
