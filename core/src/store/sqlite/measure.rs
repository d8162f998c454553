//! What the store costs on this machine. It decides nothing; its numbers stand in the store's module text.

use std::{sync::Arc, time::Duration, time::Instant};

use super::SqliteStore;
use crate::{
    clock::SystemClock,
    config,
    estimate::{Estimate, Source},
    id::{JobId, WorkerId},
    job::Finish,
    store::{
        Attempts, Claim, Claimed, Dispatch, NewJob, Payload, Publication, Record, RecordChange, Recorded, Submissions, Submitted,
    },
};

fn job() -> NewJob {
    NewJob {
        id: JobId::generate(),
        model: "echo".parse().expect("name"),
        version: "1".parse().expect("name"),
        input: Payload::Inline(r#"{"delay_ms":0,"text":"hello"}"#.into()),
        idempotency_key: None,
        fingerprint: [7; 32],
        lane: "instant".parse().expect("name"),
        estimate: Estimate { p50_ms: 1.0, p90_ms: 1.5, source: Source::Manifest },
        attempts_max: 3,
        due_in: Duration::ZERO,
        start_deadline: None,
        run_timeout: Duration::from_secs(30),
        retry_of: None,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    }
}

/// Takes `rounds` groups of `group` jobs through the store, with `pause` after each call; prints what each call took.
async fn measure(store: &SqliteStore, group: usize, rounds: usize, pause: Duration) {
    let mut idle = tokio::time::interval(pause);
    idle.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let worker = WorkerId::generate();
    let mut times: [Vec<Duration>; 4] = Default::default();
    let all = Instant::now();
    for _ in 0..rounds {
        let jobs: Vec<NewJob> = (0..group).map(|_| job()).collect();
        let started = Instant::now();
        let submitted = store.submit(jobs).await.expect("submit");
        times[0].push(started.elapsed());
        let ids: Vec<JobId> = submitted
            .iter()
            .map(|submitted| match submitted {
                Submitted::Created(job) => job.id,
                other => panic!("{other:?}"),
            })
            .collect();
        idle.tick().await;

        let published: Vec<_> = ids.iter().map(|&job| Publication { job, attempt: crate::id::Attempt(0) }).collect();
        let started = Instant::now();
        store.mark_published(&published).await.expect("mark");
        times[1].push(started.elapsed());
        idle.tick().await;

        let claims: Vec<_> =
            ids.iter().map(|&job| Claim { job, lease: Duration::from_secs(15), message: None, takeover: false }).collect();
        let started = Instant::now();
        let claimed = store.claim(worker, &claims).await.expect("claim");
        times[2].push(started.elapsed());
        idle.tick().await;

        let record = |claimed: &Claimed| match claimed {
            Claimed::Run(work) => Record {
                job: work.job,
                attempt: work.attempt,
                change: RecordChange::Finish {
                    finish: Finish::Succeeded { output: Payload::Inline(r#"{"text":"hello"}"#.into()) },
                    run: Duration::from_millis(1),
                },
            },
            other => panic!("{other:?}"),
        };
        let records: Vec<_> = claimed.iter().map(record).collect();
        let started = Instant::now();
        let recorded = store.record(&records).await.expect("record");
        times[3].push(started.elapsed());
        assert!(recorded.iter().all(|recorded| matches!(recorded, Recorded::Done { .. })));
        idle.tick().await;
    }
    #[expect(clippy::cast_precision_loss, reason = "printed")]
    let per_second = (group * rounds) as f64 / all.elapsed().as_secs_f64();
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        (times[times.len() / 2], times[times.len() * 99 / 100])
    };
    for (name, times) in ["submit", "mark", "claim", "record"].iter().zip(&mut times) {
        let (p50, p99) = median(times);
        println!("group {group}: {name} p50 {p50:?} p99 {p99:?}");
    }
    println!("group {group}: {per_second:.0} jobs/s through all four");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a quiet machine: it measures"]
async fn the_stores_calls_cost_this_much() {
    let folder = tempfile::tempdir().expect("folder"); // TMPDIR chooses the disk
    let settings = config::Settings::default().store;
    let store: Arc<SqliteStore> =
        SqliteStore::open(&folder.path().join("siding.sqlite"), &settings, Arc::new(SystemClock)).await.expect("open");
    let rounds: usize = std::env::var("SIDING_MEASURE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(10);
    let busy = Duration::from_nanos(1);
    measure(&store, 128, rounds, busy).await;
    measure(&store, 128, rounds, busy).await;
    measure(&store, 1, 10 * rounds, busy).await;
    measure(&store, 1, 10 * rounds, Duration::from_millis(2)).await;
}
