//! What the calls of a store cost on this machine. It asserts nothing; its figures stand in the stores' module texts.

use std::time::{Duration, Instant};

use siding_core::{
    id::{Attempt, JobId, WorkerId},
    store::{Claimed, Lease, NewJob, Publication, Submitted},
};
use siding_tests::harness::seams::{self, StoreSeam};

use super::given::{LEASE, claim, finish, new_job, succeeded};

/// Takes `rounds` groups of `group` jobs through the store and prints what each call took.
async fn measure(seam: &StoreSeam, name: &str, group: usize, rounds: usize) {
    let worker = WorkerId::generate();
    let mut times: [(&str, Vec<Duration>); 5] = ["submit", "mark", "claim", "extend", "record"].map(|call| (call, Vec::new()));
    let all = Instant::now();
    for _ in 0..rounds {
        let jobs: Vec<NewJob> = (0..group).map(|_| new_job()).collect();
        let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
        let started = Instant::now();
        let submitted = seam.store.submit(jobs).await.expect("submit");
        times[0].1.push(started.elapsed());
        assert!(submitted.iter().all(|submitted| matches!(submitted, Submitted::Created(_))));

        let published: Vec<_> = ids.iter().map(|&job| Publication { job, attempt: Attempt(0) }).collect();
        let started = Instant::now();
        seam.store.mark_published(&published).await.expect("mark");
        times[1].1.push(started.elapsed());

        let claims: Vec<_> = ids.iter().map(|&job| claim(job)).collect();
        let started = Instant::now();
        let claimed = seam.store.claim(worker, &claims).await.expect("claim");
        times[2].1.push(started.elapsed());

        let leases: Vec<_> = ids.iter().map(|&job| Lease { job, attempt: Attempt(1), lease: LEASE }).collect();
        let started = Instant::now();
        seam.store.extend(worker, &leases).await.expect("extend");
        times[3].1.push(started.elapsed());

        let record = |claimed: &Claimed| match claimed {
            Claimed::Run(work) => finish(work, succeeded()),
            other => panic!("{other:?}"),
        };
        let records: Vec<_> = claimed.iter().map(record).collect();
        let started = Instant::now();
        seam.store.record(&records).await.expect("record");
        times[4].1.push(started.elapsed());
    }
    #[expect(clippy::cast_precision_loss, reason = "printed")]
    let per_second = (group * rounds) as f64 / all.elapsed().as_secs_f64();
    for (call, times) in &mut times {
        times.sort_unstable();
        println!("{name}, group {group}: {call} p50 {:?} p99 {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
    }
    println!("{name}, group {group}: {per_second:.0} jobs/s through all five");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a quiet machine: it measures"]
async fn the_stores_calls_cost_this_much() {
    let rounds: usize = std::env::var("SIDING_MEASURE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(4);
    // TMPDIR chooses SQLite's disk, the server has its own.
    for (name, seam) in [("sqlite", seams::sqlite_store().await), ("postgres", seams::postgres_store().await)] {
        measure(&seam, name, 256, rounds).await;
        measure(&seam, name, 1, 10 * rounds).await;
    }
}
