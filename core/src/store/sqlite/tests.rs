//! What only a file can do to a store: be no database, be newer, locked, read-only, full, or cut off in the middle of a write. What
//! every store does is checked in `tests/contract`; nothing of that is repeated here.

use std::{
    future::Future,
    path::Path,
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use sqlx::{AssertSqlSafe, ConnectOptions, SqliteConnection, query, sqlite::SqliteConnectOptions};

use super::{SqliteStore, connection::Durability};
use crate::{
    clock::{ManualClock, Timestamp},
    config,
    estimate::{Estimate, Source},
    id::{JobId, WorkerId},
    job::State,
    store::{Attempts, Claim, Error, JobFilter, Jobs, NewJob, Page, Payload, Start, Submissions, Submitted},
};

fn settings() -> config::Store {
    config::Store { busy_timeout_ms: 50, ..config::Settings::default().store }
}

async fn open(path: &Path) -> Result<Arc<SqliteStore>, Error> {
    SqliteStore::open(path, &settings(), ManualClock::starting_at(Timestamp(1_000))).await
}

/// A folder with a database that holds one job.
async fn with_one_job() -> (tempfile::TempDir, std::path::PathBuf, JobId) {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("siding.sqlite");
    let new = job(100);
    let id = new.id;
    let store = open(&path).await.expect("a new file can be opened");
    store.submit(vec![new]).await.expect("submit");
    store.close().await.expect("close");
    (folder, path, id)
}

fn job(input_bytes: usize) -> NewJob {
    NewJob {
        id: JobId::generate(),
        model: "echo".parse().expect("name"),
        version: "1".parse().expect("name"),
        input: Payload::Inline(format!("\"{}\"", "x".repeat(input_bytes)).into()),
        idempotency_key: None,
        fingerprint: [7; 32],
        lane: "instant".parse().expect("name"),
        estimate: Estimate { p50_ms: 1.0, p90_ms: 1.5, source: Source::Manifest },
        attempts_max: 3,
        start: Start::In(Duration::ZERO),
        start_deadline: None,
        run_timeout: Duration::from_secs(30),
        stall_timeout: None,
        retry_of: None,
        traceparent: None,
    }
}

/// Another program at the same file.
async fn outsider(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.expect("outsider")
}

async fn count(store: &SqliteStore) -> usize {
    let page = Page { before: None, limit: 10_000 };
    store.list(&JobFilter::default(), page).await.expect("list").len()
}

#[tokio::test]
async fn everything_is_there_after_opening_again() {
    let (_folder, path, id) = with_one_job().await;
    let store = open(&path).await.expect("open again");
    let claim = Claim { job: id, lease: Duration::from_secs(1), message: None, takeover: false };
    store.claim(WorkerId::generate(), &[claim]).await.expect("claim");
    store.close().await.expect("close");
    assert!(store.get(id).await.expect("a call opens it again").is_some());
    drop(store);
    let store = open(&path).await.expect("and again");
    let found = store.get(id).await.expect("get").expect("there");
    assert_eq!((found.state, found.event_seq.0), (State::Running, 2));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    for text in ["not a database, but a text that is long enough to have a header of a hundred bytes".repeat(2), "x".repeat(5000)]
    {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("siding.sqlite");
        std::fs::write(&path, &text).expect("write");
        let error = open(&path).await.expect_err("refused");
        assert!(matches!(error, Error::Corrupt(_)), "{error:?}");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), text);
    }
}

#[tokio::test]
async fn a_damaged_database_is_told_from_a_busy_one() {
    let (_folder, path, id) = with_one_job().await;
    let mut bytes = std::fs::read(&path).expect("read");
    for byte in &mut bytes[4096..] {
        *byte = 0xa5;
    }
    std::fs::write(&path, bytes).expect("write");
    let error = match open(&path).await {
        Ok(store) => store.get(id).await.expect_err("damaged"),
        Err(error) => error,
    };
    assert!(matches!(error, Error::Corrupt(_)), "{error:?}");
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let (_folder, path, _) = with_one_job().await;
    let newer =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'x', 1, x'00', 0)";
    query(newer).execute(&mut outsider(&path).await).await.expect("a newer version was here");
    let error = open(&path).await.expect_err("refused");
    let Error::SchemaUnknown { found: 9999, known } = error else { panic!("{error:?}") };
    assert_eq!(error.to_string(), format!("the store has schema version 9999, this program knows up to {known}"));
}

#[tokio::test]
async fn another_history_of_the_schema_is_refused() {
    let (_folder, path, _) = with_one_job().await;
    query("UPDATE _sqlx_migrations SET checksum = x'00'").execute(&mut outsider(&path).await).await.expect("changed");
    let error = open(&path).await.expect_err("refused");
    assert!(matches!(error, Error::Broken { .. }), "{error:?}");
}

#[tokio::test]
async fn a_locked_database_is_unavailable_until_the_lock_is_gone() {
    let (_folder, path, id) = with_one_job().await;
    let store = open(&path).await.expect("open");
    let mut other = outsider(&path).await;
    query("BEGIN IMMEDIATE").execute(&mut other).await.expect("lock");
    for _ in 0..2 {
        let error = store.submit(vec![job(1)]).await.expect_err("locked");
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    }
    let error = open(&path).await.expect_err("opening needs the lock too");
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert!(store.get(id).await.expect("reading goes on").is_some());
    query("ROLLBACK").execute(&mut other).await.expect("unlock");
    assert!(matches!(store.submit(vec![job(1)]).await.expect("submit")[..], [Submitted::Created(_)]));
}

#[tokio::test]
async fn a_file_or_folder_that_cannot_be_written_is_read_only() {
    let (_folder, path, _) = with_one_job().await;
    let mut bytes = std::fs::read(&path).expect("read");
    // The header's write version: SQLite opens a file of a version above 2 for reading only, whoever asks (even root).
    bytes[18] = 3;
    std::fs::write(&path, bytes).expect("write");
    let nowhere = path.with_file_name("missing").join("siding.sqlite");
    let not_a_folder = path.join("siding.sqlite");
    for path in [&path, &nowhere, &not_a_folder, &path.with_file_name("")] {
        let opened = open(path).await;
        assert!(matches!(opened, Err(Error::ReadOnly(_))), "{}: {opened:?}", path.display());
    }
}

#[tokio::test]
async fn a_full_disk_refuses_whole_groups_and_hurts_nothing() {
    let (_folder, path, id) = with_one_job().await;
    let store = open(&path).await.expect("open");
    let limit_to = async |pages: u32| {
        let pragma = query(AssertSqlSafe(format!("PRAGMA max_page_count = {pages}")));
        store.writer.turn(Durability::Disk).await.expect("turn").whole(pragma).await.expect("limit");
    };
    limit_to(60).await;
    let mut accepted = 1;
    let error = loop {
        match store.submit((0..4).map(|_| job(10_000)).collect()).await {
            Ok(_) => accepted += 4,
            Err(error) => break error,
        }
        assert!(accepted < 100, "the limit holds");
    };
    assert!(matches!(error, Error::Full(_)), "{error:?}");
    assert_eq!(count(&store).await, accepted, "nothing of the refused group");
    let again = store.submit((0..4).map(|_| job(10_000)).collect()).await.expect_err("still full");
    assert!(matches!(again, Error::Full(_)), "{again:?}");
    assert!(store.cancel(vec![id]).await.expect("what needs no room goes on")[0].is_some());
    limit_to(10_000).await;
    store.submit(vec![job(10_000)]).await.expect("somebody made room");
    assert_eq!(count(&store).await, accepted + 1);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_a_whole_group_or_nothing() {
    let (_folder, path, id) = with_one_job().await;
    let store = open(&path).await.expect("open");
    let mut whole = 1;
    for polls in 0..40 {
        // Half of the groups meet a job that stands, and so take the longer way.
        let ids: Vec<JobId> = {
            let mut jobs: Vec<NewJob> = (0..3).map(|_| job(10)).collect();
            let ids = jobs.iter().map(|job| job.id).collect();
            jobs.extend((polls % 2 == 0).then(|| NewJob { id, ..job(10) }));
            let mut submit = pin!(store.submit(jobs));
            for _ in 0..polls {
                if submit.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            ids
        };
        // The next write waits for what is left of the one before, and rolls back what nobody will finish.
        store.cancel(vec![id]).await.expect("the store goes on");
        let mut there = 0;
        for id in ids {
            there += usize::from(store.get(id).await.expect("get").is_some());
        }
        assert!(there == 0 || there == 3, "{there} of 3 after {polls} polls");
        whole += there;
    }
    assert_eq!(count(&store).await, whole);
}

#[tokio::test]
async fn a_process_that_dies_in_the_middle_of_a_write_leaves_nothing_of_it() {
    let (folder, path, id) = with_one_job().await;
    let store = open(&path).await.expect("open");
    let mut turn = store.writer.turn(Durability::Disk).await.expect("turn");
    // Larger than the connection's memory for pages, so that uncommitted pages stand in the log.
    let begun = "BEGIN IMMEDIATE; UPDATE job SET event_seq = 99, input = hex(zeroblob(40000000)) WHERE id = ?1";
    turn.part(query(begun).bind(id.to_string())).await.expect("begun");
    let copy = folder.path().join("copy.sqlite");
    std::fs::copy(&path, &copy).expect("copy");
    std::fs::copy(path.with_extension("sqlite-wal"), copy.with_extension("sqlite-wal")).expect("copy the log");
    let log_bytes = copy.with_extension("sqlite-wal").metadata().expect("it is there").len();
    assert!(log_bytes > 40_000_000, "the log holds pages that were not committed");
    let after_the_crash = open(&copy).await.expect("open what the dead process left");
    let found = after_the_crash.get(id).await.expect("get").expect("there");
    assert_eq!(found.event_seq.0, 1);
    assert_eq!(count(&after_the_crash).await, 1);
}

#[tokio::test]
async fn a_list_of_failed_or_dead_jobs_walks_neither_the_table_nor_a_sort() {
    let (folder, path, _) = with_one_job().await;
    let mut outsider = outsider(&path).await;
    let rows = [
        (super::read::LIST_UNSUCCESSFUL, "job_unsuccessful (state=? AND (created_at,id)<(?,?))"),
        (super::dead::LIST_DEAD, "SEARCH j USING INDEX job_dead (finished_at>? AND"),
    ];
    for (list, expected) in rows {
        let rows = query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {list}"))).fetch_all(&mut outsider).await.expect("a plan");
        let plan: Vec<String> = rows.iter().map(|row| sqlx::Row::get(row, "detail")).collect();
        let plan = plan.join("; ");
        assert!(plan.contains(expected) && !plan.contains("TEMP B-TREE"), "{plan}");
    }
    drop(folder);
}
