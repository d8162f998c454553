//! Many callers at once, as many processes are: each job is moved once, and nobody stops anybody.

use std::collections::HashSet;

use futures::future::join_all;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use siding_core::{
    error::Classified,
    id::{Attempt, IdempotencyKey, JobId, WorkerId},
    store::{Claimed, Error, Lease, NewJob, Publication, Record, RecordChange, Submitted},
};
use siding_tests::harness::seams::StoreSeam;

use super::given::{Given, LEASE, claim, drained, new_job, succeeded, takeover};

/// Callers at once.
const CALLERS: usize = 8;

async fn some_queued(seam: &StoreSeam, count: usize) -> Vec<JobId> {
    let jobs: Vec<NewJob> = (0..count).map(|_| new_job()).collect();
    let ids = jobs.iter().map(|job| job.id).collect();
    seam.store.submit(jobs).await.expect("submit");
    ids
}

pub async fn many_claimers_of_one_group_get_each_job_once(seam: &StoreSeam) {
    let jobs = some_queued(seam, 64).await;
    let claimed = join_all((0..CALLERS).map(|caller| {
        let mut claims: Vec<_> = jobs.iter().map(|job| claim(*job)).collect();
        claims.shuffle(&mut StdRng::seed_from_u64(caller as u64));
        async move { seam.store.claim(WorkerId::generate(), &claims).await.expect("claim") }
    }))
    .await;
    let granted: Vec<JobId> = claimed
        .iter()
        .flatten()
        .filter_map(|claimed| if let Claimed::Run(work) = claimed { Some(work.job) } else { None })
        .collect();
    assert_eq!(granted.len(), jobs.len(), "{granted:?}");
    assert_eq!(granted.into_iter().collect::<HashSet<_>>(), jobs.into_iter().collect());
}

pub async fn many_sweepers_rescue_each_job_once(seam: &StoreSeam) {
    let jobs = some_queued(seam, 64).await;
    let claims: Vec<_> = jobs.iter().map(|job| claim(*job)).collect();
    seam.store.claim(WorkerId::generate(), &claims).await.expect("claim");
    seam.pass(LEASE);
    let swept = join_all((0..CALLERS).map(|_| async { seam.store.sweep(20).await.expect("sweep") })).await;
    let mut rescued: Vec<JobId> = swept.iter().flatten().map(|rescued| rescued.job).collect();
    // Who met only jobs that others had in hand has found nothing; whoever comes after them finds the rest.
    rescued.extend(seam.store.sweep(100).await.expect("sweep").iter().map(|rescued| rescued.job));
    assert_eq!(rescued.len(), jobs.len(), "{rescued:?}");
    assert_eq!(rescued.into_iter().collect::<HashSet<_>>(), jobs.into_iter().collect());
}

pub async fn groups_of_shared_keys_submitted_at_once_make_each_job_once(seam: &StoreSeam) {
    let key = |index: usize| -> IdempotencyKey { format!("key-{index}").parse().expect("a valid key") };
    let answers = join_all((0..CALLERS).map(|caller| {
        let mut jobs: Vec<_> = (0..32).map(|index| NewJob { idempotency_key: Some(key(index)), ..new_job() }).collect();
        jobs.shuffle(&mut StdRng::seed_from_u64(caller as u64));
        async move { seam.store.submit(jobs).await.expect("submit") }
    }))
    .await;
    let created = answers.iter().flatten().filter(|answer| matches!(answer, Submitted::Created(_))).count();
    let existing = answers.iter().flatten().filter(|answer| matches!(answer, Submitted::Existing(_))).count();
    assert_eq!((created, existing), (32, 32 * (CALLERS - 1)));
}

/// One caller's next call, on jobs in an order of its own. What the store may say to it is checked by the seam's invariants at the end.
async fn any_call(seam: &StoreSeam, worker: WorkerId, jobs: &[JobId], random: &mut StdRng) -> Result<(), Error> {
    let mut jobs: Vec<JobId> = jobs.to_vec();
    jobs.shuffle(random);
    jobs.truncate(random.random_range(1..=jobs.len()));
    let attempt = Attempt(random.random_range(1..4));
    let ending = if random.random_bool(0.5) { succeeded() } else { drained() };
    let finish = |job| Record { job, attempt, change: RecordChange::Finish { finish: ending.clone(), run: LEASE } };
    let progress = |job| Record { job, attempt, change: RecordChange::Progress { done: 1, total: None } };
    match random.random_range(0..8) {
        0 => seam.store.cancel(jobs.split_off(jobs.len() / 2)).await.map(drop),
        1 => seam.store.record(&jobs.iter().map(|job| finish(*job)).collect::<Vec<_>>()).await.map(drop),
        2 => seam.store.record(&jobs.iter().map(|job| progress(*job)).collect::<Vec<_>>()).await.map(drop),
        3 => seam.store.sweep(jobs.len()).await.map(drop),
        4 => {
            let marks: Vec<_> = jobs.iter().map(|job| Publication { job: *job, attempt: Attempt(attempt.0 - 1) }).collect();
            seam.store.mark_published(&marks).await
        }
        5 => {
            let leases: Vec<_> = jobs.iter().map(|job| Lease { job: *job, attempt, lease: LEASE }).collect();
            seam.store.extend(worker, &leases).await.map(drop)
        }
        6 => seam.store.claim(worker, &jobs.iter().map(|job| takeover(*job)).collect::<Vec<_>>()).await.map(drop),
        _ => seam.store.claim(worker, &jobs.iter().map(|job| claim(*job)).collect::<Vec<_>>()).await.map(drop),
    }
}

pub async fn groups_that_share_jobs_in_any_order_never_stop_each_other(seam: &StoreSeam) {
    let jobs = some_queued(seam, 48).await;
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let callers = (0..CALLERS as u64).map(|caller| {
        let (jobs, mut random) = (&jobs, StdRng::seed_from_u64(seed.wrapping_add(caller)));
        async move {
            let worker = WorkerId::generate();
            for _ in 0..25 {
                // Not even a transient refusal: on one server, with every lock taken in one order, there is none.
                if let Err(error) = any_call(seam, worker, jobs, &mut random).await {
                    panic!("transient: {}: {error:?}", error.is_transient());
                }
            }
        }
    });
    join_all(callers).await;
    let mut over = 0;
    for job in &jobs {
        over += usize::from(seam.job(*job).await.state.is_terminal());
    }
    assert!(over > 0, "the calls did something");
}
