//! Opening a database: how its connections are set, that its schema is ours, and what its commits survive. It changes nothing in the
//! database.

use std::{str::FromStr, time::Duration};

use sqlx::{
    ConnectOptions, Connection, PgConnection, Row,
    postgres::{PgConnectOptions, PgRow},
    query,
};

use super::{
    schema,
    sessions::{Patience, Sessions, within},
};
use crate::{config, store::Error};

/// Longest time that a transaction of ours may stand still between two statements, in milliseconds, before the server ends it. In
/// between lies some computing; a process that is stopped there (SIGSTOP, a frozen machine) must not hold its jobs' locks for longer than
/// others wait for them, or than the shortest lease lasts.
const IDLE_IN_TRANSACTION_MS: u64 = 3_000;
/// What an answer may take beyond the server's own limit on its statement: the way there and back.
const ANSWER_MARGIN: Duration = Duration::from_secs(1);

/// How a connection is made, from a url.
pub(super) fn options(url: &str) -> Result<PgConnectOptions, Error> {
    let options = PgConnectOptions::from_str(url).map_err(|error| Error::broken("store.url is not a url of Postgres", error))?;
    let named = options.get_application_name().is_some();
    let options = if named { options } else { options.application_name("siding") };
    Ok(options.disable_statement_logging())
}

/// Connects once, to look, and returns the sessions of this process.
pub(super) async fn sessions(settings: &config::Store) -> Result<Sessions, Error> {
    let patience = Patience {
        session: Duration::from_millis(settings.busy_timeout_ms),
        answer: Duration::from_millis(settings.statement_timeout_ms) + ANSWER_MARGIN,
    };
    let mut options = options(settings.url.expose())?.options([
        ("statement_timeout", settings.statement_timeout_ms),
        ("lock_timeout", settings.busy_timeout_ms),
        ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_MS),
    ]);
    // Statements here are short and many: compiling one costs more than it can save. And a plan that was made while a table was empty would be
    // kept long after it is not (measured on a fresh database: 480 jobs/s until the first ANALYZE, instead of 2,900).
    options = options.options([("jit", "off"), ("plan_cache_mode", "force_custom_plan")]);
    let mut connection = within(patience.session, options.connect()).await?;
    within(patience.answer, schema::check(&mut connection)).await??;
    let commits = within(patience.answer, commits(&mut connection)).await?;
    within(patience.answer, connection.close()).await?;
    if settings.durability == config::Durability::Power && !commits.wait {
        options = options.options([("synchronous_commit", "on")]);
    } else if !commits.wait {
        tracing::warn!("the database does not wait for its disk (synchronous_commit): a crash of it may take the newest answers");
    }
    if !commits.synced {
        tracing::warn!("the database does not write to its disk in order (fsync = off): a crash of its machine may ruin it");
    }
    tracing::info!(db.version = commits.version, "connected to the database");
    Ok(Sessions::new(options, settings.connections, patience))
}

/// What the server does at a commit.
struct Commits {
    /// Whether the answer waits for the server's disk.
    wait: bool,
    /// Whether what was written is there after a power cut.
    synced: bool,
    version: String,
}

async fn commits(connection: &mut PgConnection) -> Result<Commits, sqlx::Error> {
    let text = "SELECT current_setting('synchronous_commit') <> 'off', current_setting('fsync') = 'on', \
        current_setting('server_version')";
    let row: PgRow = query(text).fetch_one(connection).await?;
    Ok(Commits { wait: row.try_get(0)?, synced: row.try_get(1)?, version: row.try_get(2)? })
}
