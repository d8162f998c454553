//! What only a server can do to a store: be empty, newer, away, silent, busy, read-only, or cut its connections. What every store does
//! stands beside it.

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use futures::future::join_all;
use siding_core::{
    config::{self, Settings},
    id::{JobId, WorkerId},
    store::{
        Attempts, Claimed, Dispatch, Error, Jobs, Submissions, Submitted,
        postgres::{self, PostgresStore},
    },
};
use siding_tests::harness::{
    database::{Open, Schema, Shell},
    eventually,
};

use super::given::{claim, new_job};

/// Longest wait of these stores, in milliseconds.
const PATIENCE_MS: u64 = 300;
/// Claims that a test tries to stop in the middle.
const STOPS_MAX: usize = 50;
/// Far above any wait of these stores: a bound that tells a hang from a slow machine.
const NO_HANG: Duration = Duration::from_secs(20);

fn settings(url: &str) -> config::Store {
    let store = Settings::default().store;
    config::Store { url: url.into(), busy_timeout_ms: PATIENCE_MS, statement_timeout_ms: PATIENCE_MS, connections: 2, ..store }
}

async fn connect(url: &str) -> Result<Arc<PostgresStore>, Error> {
    PostgresStore::connect(&settings(url)).await
}

fn shell(schema: &Schema) -> Shell {
    Shell::Postgres(schema.url().to_owned())
}

async fn one_job(store: &PostgresStore) -> JobId {
    match store.submit(vec![new_job()]).await.expect("submit").pop() {
        Some(Submitted::Created(job)) => job.id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_database_without_our_schema_is_refused_with_what_to_do() {
    let schema = Schema::empty().await;
    let error = connect(schema.url()).await.expect_err("refused");
    assert!(matches!(error, Error::SchemaOld { found: 0, needed: 1.. }), "{error:?}");
    assert!(error.to_string().contains("siding migrate"), "{error}");
    let migrated = postgres::migrate(schema.url()).await.expect("migrate");
    assert!(migrated.from == 0 && migrated.to > 0, "{migrated:?}");
    one_job(&connect(schema.url()).await.expect("connect")).await;
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    let schema = Schema::new().await;
    let newer =
        "INSERT INTO _sqlx_migrations SELECT 9999, 'newer', installed_on, true, checksum, 0 FROM _sqlx_migrations LIMIT 1";
    shell(&schema).run(newer).await.expect("an operator may");
    let refused = [connect(schema.url()).await.map(drop), postgres::migrate(schema.url()).await.map(drop)];
    for refused in refused {
        assert!(matches!(refused, Err(Error::SchemaUnknown { found: 9999, .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn of_many_migrations_at_once_one_works_and_the_others_find_nothing_to_do() {
    let schema = Schema::empty().await;
    let migrated = join_all((0..6).map(|_| postgres::migrate(schema.url()))).await;
    let migrated: Vec<_> = migrated.into_iter().map(|migrated| migrated.expect("migrate")).collect();
    assert_eq!(migrated.iter().filter(|migrated| migrated.from == 0).count(), 1, "{migrated:?}");
    assert!(migrated.iter().all(|it| it.to == migrated[0].to && (it.from == 0 || it.from == it.to)), "{migrated:?}");
}

#[tokio::test]
async fn the_servers_clock_is_the_stores_time() {
    let schema = Schema::new().await;
    let store = connect(schema.url()).await.expect("connect");
    let before = siding_core::clock::Timestamp(0);
    let (first, second) = (one_job(&store).await, one_job(&store).await);
    let times = [store.get(first).await.expect("read"), store.get(second).await.expect("read")];
    let times: Vec<_> = times.into_iter().map(|job| job.expect("there").created_at).collect();
    assert!(before < times[0] && times[0] <= times[1], "{times:?}");
    let started = store.claim(WorkerId::generate(), &[claim(first)]).await.expect("claim");
    assert!(matches!(&started[0], Claimed::Run(_)), "{started:?}");
    let job = store.get(first).await.expect("read").expect("there");
    assert!(job.started_at >= Some(times[0]), "{job:?}");
    assert!(store.sweep(10).await.expect("sweep").is_empty(), "the lease holds on the server's clock");
}

#[tokio::test]
async fn a_server_that_refuses_or_is_silent_is_unavailable_and_nobody_hangs() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let refused = format!("postgres://u:secret@{}/db", closed.local_addr().expect("bound"));
    drop(closed);
    // It accepts and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent_url = format!("postgres://u:secret@{}/db", silent.local_addr().expect("bound"));
    for url in [refused, silent_url] {
        let started = Instant::now();
        let error = connect(&url).await.expect_err("nobody is there");
        assert!(matches!(error, Error::Unavailable(_)), "{url}: {error:?}");
        assert!(started.elapsed() < NO_HANG, "{url}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
    let error = connect("postgres://host:not-a-port/db").await.expect_err("no url");
    assert!(matches!(error, Error::Broken { .. }), "{error:?}");
}

#[tokio::test]
async fn a_job_that_somebody_else_holds_is_unavailable_until_it_is_let_go() {
    let schema = Schema::new().await;
    let store = connect(schema.url()).await.expect("connect");
    let job = one_job(&store).await;
    let held = Open::begin(schema.url(), "SELECT * FROM job FOR UPDATE").await;
    let started = Instant::now();
    let refused = store.cancel(vec![job]).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert!(started.elapsed() < NO_HANG);
    assert!(store.get(job).await.expect("reading waits for nobody").is_some());
    assert!(store.sweep(10).await.expect("nor does the sweep").is_empty());
    held.end().await;
    assert!(store.cancel(vec![job]).await.expect("it is free")[0].is_some());
}

#[tokio::test]
async fn more_callers_than_connections_wait_their_turn_and_are_refused_in_time() {
    let schema = Schema::new().await;
    let store = connect(schema.url()).await.expect("connect");
    let job = one_job(&store).await;
    // Patience for a machine that is busy with everything else: that they take turns is asked here, not how fast.
    let patient = config::Store { busy_timeout_ms: 15_000, statement_timeout_ms: 15_000, ..settings(schema.url()) };
    let patient = PostgresStore::connect(&patient).await.expect("connect");
    let answers = join_all((0..64).map(|_| patient.get(job))).await;
    assert!(answers.iter().all(Result::is_ok), "short calls take turns: {answers:?}");
    let held = Open::begin(schema.url(), "LOCK TABLE job").await;
    let started = Instant::now();
    let answers = join_all((0..16).map(|_| store.get(job))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(Error::Unavailable(_)))), "{answers:?}");
    assert!(started.elapsed() < NO_HANG);
    held.end().await;
    assert!(store.get(job).await.expect("it is free").is_some());
}

#[tokio::test]
async fn a_transaction_of_a_process_that_stands_still_is_ended_and_holds_up_nobody() {
    let schema = Schema::new().await;
    let patient = config::Store { busy_timeout_ms: 15_000, statement_timeout_ms: 15_000, ..settings(schema.url()) };
    let store = PostgresStore::connect(&patient).await.expect("connect");
    for _ in 0..STOPS_MAX {
        let jobs: Vec<_> = (0..2).map(|_| new_job()).collect();
        let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
        store.submit(jobs).await.expect("submit");
        let claims: Vec<_> = ids.iter().map(|id| claim(*id)).collect();
        // Polled until its rows are locked, and then no more: as a process that was stopped with SIGSTOP.
        let mut stopped = std::pin::pin!(store.claim(WorkerId::generate(), &claims));
        let ended = eventually("the claim holds its locks or has ended", NO_HANG, || {
            let polled = stopped.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let seen = shell(&schema);
            async move {
                match seen.run("SELECT * FROM job FOR UPDATE NOWAIT").await {
                    _ if polled.is_ready() => Ok(true),
                    Ok(()) => Err("nothing is locked".to_owned()),
                    Err(_) => Ok(false),
                }
            }
        });
        // On a busy machine a claim may go through between two looks: the next one is to be stopped.
        if !ended.await {
            assert!(store.cancel(ids).await.expect("the server has ended it").iter().all(Option::is_some));
            return;
        }
    }
    panic!("of {STOPS_MAX} claims none was stopped in the middle");
}

#[tokio::test]
async fn a_store_whose_connections_were_cut_goes_on_with_new_ones() {
    let schema = Schema::new().await;
    let name = format!("cut{}", std::process::id());
    let url = format!("{}&application_name={name}", schema.url());
    let store = connect(&url).await.expect("connect");
    let job = one_job(&store).await;
    join_all((0..2).map(|_| store.get(job))).await;
    let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'");
    shell(&schema).run(&cut).await.expect("an operator may");
    // The first call may be the one that finds out; the second opens anew.
    let first = store.get(job).await;
    assert!(matches!(first, Ok(Some(_)) | Err(Error::Unavailable(_))), "{first:?}");
    assert!(store.get(job).await.expect("a new connection").is_some());
}

#[tokio::test]
async fn a_server_that_only_reads_is_unavailable_until_its_successor_writes() {
    let schema = Schema::new().await;
    let url = format!("{}&options[default_transaction_read_only]=on", schema.url());
    let store = connect(&url).await.expect("looking is allowed");
    let refused = [store.submit(vec![new_job()]).await.map(drop), store.end_all_leases().await.map(drop)];
    for refused in refused {
        // A server that was demoted, and whose successor takes over soon: what is to be recorded is kept meanwhile.
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    }
    assert_eq!(store.backlog(10).await.expect("reading goes on"), 0);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_a_whole_group_or_nothing() {
    let schema = Schema::new().await;
    let store = connect(schema.url()).await.expect("connect");
    for polls in 0..24 {
        let jobs: Vec<_> = (0..3).map(|_| new_job()).collect();
        let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
        {
            let mut submit = std::pin::pin!(store.submit(jobs));
            for _ in 0..polls {
                let polled = futures::poll!(submit.as_mut());
                if polled.is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        // Its connection is closed; the server may still be at it. What it holds is found out by writing the same ids.
        let mut again: Vec<_> = ids.iter().map(|id| siding_core::store::NewJob { id: *id, ..new_job() }).collect();
        again.truncate(1);
        let answer = store.submit(again).await.expect("the store goes on").pop();
        let mut there = 0;
        for id in &ids {
            there += usize::from(store.get(*id).await.expect("get").is_some());
        }
        let expected = if matches!(answer, Some(Submitted::Created(_))) { 1 } else { 3 };
        assert_eq!(there, expected, "after {polls} polls: {answer:?}");
    }
}
