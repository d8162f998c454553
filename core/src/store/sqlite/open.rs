//! Opening a database file: how its connections are set, and that its schema is ours. It never changes a database that a newer
//! version has written.

use std::{path::Path, time::Duration};

use sqlx::{
    ConnectOptions, Connection,
    migrate::Migrator,
    query,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{
    connection::{Durability, Readers, Writer},
    errors,
};
use crate::{config, limits, store::Error};

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");

/// Pages of 4 KiB in the write-ahead log at which a commit copies them into the database file. Higher than SQLite's 1000: the copy
/// delays one commit, so it should be rare; 16 MiB are still read back in a moment after a crash.
const CHECKPOINT_PAGES: &str = "4000";
/// Bytes that the write-ahead log keeps on disk after it was once larger.
const LOG_BYTES_KEPT: &str = "67108864";
/// Memory for pages of the writing connection, in KiB (negative: SQLite's way of saying KiB instead of pages).
const WRITER_CACHE: &str = "-32768";
/// Rows that wait between a connection's thread and its caller: a whole group, so that the two do not hand over row by row.
const ROWS_BUFFERED: usize = 2 * limits::GROUP_ROWS_MAX;

/// Opens the file for writing, brings its schema up to date, and opens it for reading.
pub(super) async fn open(path: &Path, settings: &config::Store) -> Result<(Writer, Readers, Readers), Error> {
    let busy_timeout = Duration::from_millis(settings.busy_timeout_ms);
    let common = SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .busy_timeout(busy_timeout)
        .row_buffer_size(ROWS_BUFFERED)
        .pragma("temp_store", "MEMORY")
        .thread_name(|number| format!("sqlite-{number}"))
        .disable_statement_logging();
    let writing = common
        .clone()
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .pragma("journal_size_limit", LOG_BYTES_KEPT)
        .pragma("cache_size", WRITER_CACHE);
    let disk = writing.clone().synchronous(SqliteSynchronous::Full);
    migrate(&disk).await?;
    let writer = Writer::open(disk, writing.synchronous(SqliteSynchronous::Normal), strongest(settings)).await?;
    let reading = common.read_only(true);
    let readers = Readers::open(&reading, settings.readers, busy_timeout).await?;
    let lists = Readers::open(&reading, 1, busy_timeout).await?;
    Ok((writer, readers, lists))
}

fn strongest(settings: &config::Store) -> Durability {
    match settings.durability {
        config::Durability::Process => Durability::Process,
        config::Durability::Power => Durability::Disk,
    }
}

async fn migrate(options: &SqliteConnectOptions) -> Result<(), Error> {
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    let mut connection = options.connect().await.map_err(errors::of_open)?;
    // In one transaction that has the lock from the start: two processes that open a new file at once do not both fill it.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(errors::of_open)?;
    MIGRATIONS.run_direct(None, &mut *transaction, false).await.map_err(|error| errors::of_migration(error, known))?;
    // A file that cannot be written is found here: `BEGIN IMMEDIATE` begins to read from such a file and says nothing.
    query("UPDATE job SET state = state WHERE false").execute(&mut *transaction).await.map_err(errors::of_open)?;
    transaction.commit().await.map_err(errors::of_open)?;
    connection.close().await.map_err(errors::of_open)
}
