//! Rehearses docs/runbooks/lease-storm.md in a region and a schema of its own: each lost job runs again, and who comes too late is refused. It must never touch what others run.

use std::time::Instant;

use serde_json::json;
use siding::services::Role;
use siding_tests::harness::child::Urls;

use super::given::System;

/// Workers that stand still at once.
const WORKERS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lease_storm_moves_each_job_once_and_the_late_writers_are_refused() {
    let system = System::over(Urls::default(), "").await;
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(system.cluster.start(Role::Worker).await);
    }
    let script = json!({"op": "delay", "ms": 2_000, "steps": 20});
    let mut jobs = Vec::new();
    // Long work may hold half of the slots of each worker: one of two.
    for _ in 0..=WORKERS {
        jobs.push(system.accepted("scripted-long", &script).await);
    }
    for job in &jobs {
        system.runs(*job).await;
    }
    for worker in workers.iter().chain([&system.worker]) {
        worker.pause();
    }
    let paused = Instant::now();
    let fresh = system.cluster.start(Role::Worker).await;
    for job in &jobs {
        assert!(system.succeeds(*job).await.attempt >= 2);
    }
    println!("lease storm: {} jobs over {:.2?} after their workers stood still", jobs.len(), paused.elapsed());
    for worker in workers.iter().chain([&system.worker]) {
        worker.resume();
    }
    // They find their leases gone and go on with new work.
    let after = system.accepted("scripted", &json!({"op": "noop"})).await;
    system.succeeds(after).await;
    workers.push(fresh);
    for worker in workers {
        assert!(worker.terminate().await, "it stops well");
    }
    system.finish().await;
}
