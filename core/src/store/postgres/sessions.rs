//! Sessions: a bounded number of connections to the server, each used by one call at a time. It decides how long anything may
//! wait, and that a connection which did not finish what it was asked is closed, never used again. It knows no table.
//!
//! sqlx's own pool is not used: it tries a refused connection again, silently, until its whole patience is over, pings after every call, and
//! waits without a bound for the ping of a connection that was cut without a word. Here a call that ends early (its caller has gone, its time is
//! over) takes its connection with it, and the server rolls back.

use std::{
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{
    ConnectOptions, Connection, PgConnection, Postgres,
    postgres::{PgArguments, PgConnectOptions, PgRow},
    query::Query,
    raw_sql,
};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::errors;
use crate::store::Error;

pub(super) type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// How long a connection may lie unused and still be used without asking whether it is alive. A server that restarts is away for
/// longer than that.
const TRUSTED: Duration = Duration::from_secs(1);

/// Longest waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For a free session, and for a new connection.
    pub session: Duration,
    /// For one answer of the server. Longer than the server's own limit on a statement, whose error says more.
    pub answer: Duration,
}

/// The connections of one process.
pub(super) struct Sessions {
    options: PgConnectOptions,
    patience: Patience,
    /// One permit for each connection that may be in use: callers wait in order.
    room: Semaphore,
    /// One permit for each list that may run: a filter that matches little walks far, and must not hold every connection.
    lists: Semaphore,
    /// Connections at rest, the one used last on top. Taken from and given back to by whoever holds a permit of `room`.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: PgConnection,
    since: Instant,
}

impl Sessions {
    /// At most `connections`, each opened when it is needed.
    pub(super) fn new(options: PgConnectOptions, connections: u32, patience: Patience) -> Self {
        let connections = usize::try_from(connections).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            options,
            patience,
            room: Semaphore::new(connections),
            lists: Semaphore::new((connections / 4).max(1)),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// A session for one call, once one is free.
    pub(super) async fn take(&self) -> Result<Session<'_>, Error> {
        let permit = self.permit(&self.room).await?;
        let connection = match self.at_rest().await {
            Some(connection) => connection,
            None => within(self.patience.session, self.options.connect()).await?,
        };
        Ok(Session { sessions: self, connection: Some(connection), in_transaction: false, _permit: permit })
    }

    /// Runs one reading statement.
    pub(super) async fn rows(&self, statement: Statement<'_>) -> Result<Vec<PgRow>, Error> {
        self.take().await?.rows(statement).await
    }

    /// Runs one reading statement that gives at most one row.
    pub(super) async fn row(&self, statement: Statement<'_>) -> Result<Option<PgRow>, Error> {
        Ok(self.rows(statement).await?.pop())
    }

    /// Runs one reading statement that may walk far.
    pub(super) async fn list(&self, statement: Statement<'_>) -> Result<Vec<PgRow>, Error> {
        let _permit = self.permit(&self.lists).await?;
        self.rows(statement).await
    }

    /// Closes what is at rest. A later call opens new ones.
    pub(super) async fn close(&self) -> Result<(), Error> {
        let idle = std::mem::take(&mut *self.idle());
        for idle in idle {
            within(self.patience.answer, idle.connection.close()).await?;
        }
        Ok(())
    }

    /// A connection that is open and alive. One that has died in its sleep has not died alone: then all are forgotten.
    async fn at_rest(&self) -> Option<PgConnection> {
        let mut idle = self.idle().pop()?;
        if idle.since.elapsed() < TRUSTED || within(self.patience.session, idle.connection.ping()).await.is_ok() {
            return Some(idle.connection);
        }
        self.idle().clear();
        None
    }

    /// The answer to a statement, if it comes in time. After a lost connection nobody trusts the others unasked.
    async fn answer<T>(&self, answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
        let answered = tokio::time::timeout(self.patience.answer, answer).await;
        if !matches!(&answered, Ok(Ok(_))) && !matches!(&answered, Ok(Err(error)) if errors::leaves_others_alone(error)) {
            self.idle().clear();
        }
        match answered {
            Ok(answer) => answer.map_err(errors::of),
            Err(elapsed) => Err(Error::Unavailable(elapsed.into())),
        }
    }

    async fn permit<'a>(&'a self, of: &'a Semaphore) -> Result<SemaphorePermit<'a>, Error> {
        let waited = tokio::time::timeout(self.patience.session, of.acquire());
        Ok(waited.await.map_err(|elapsed| Error::Unavailable(elapsed.into()))?.expect("it is never closed"))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in the hands of one call.
pub(super) struct Session<'a> {
    sessions: &'a Sessions,
    /// `None` while a statement has it, and so after one that failed or was not waited for.
    connection: Option<PgConnection>,
    in_transaction: bool,
    _permit: SemaphorePermit<'a>,
}

impl Session<'_> {
    /// Begins a transaction that `commit` ends. Without it, everything is rolled back.
    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        // Spelled out, because a role may have another default: rows that were waited for must be read as they are now.
        self.text("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
        self.in_transaction = true;
        Ok(())
    }

    /// Runs a statement: a transaction of its own, or a part of the one that was begun.
    pub(super) async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<PgRow>, Error> {
        let mut connection = self.taken()?;
        let rows = self.sessions.answer(statement.fetch_all(&mut connection)).await?;
        self.connection = Some(connection);
        Ok(rows)
    }

    /// Ends the transaction. An error in the middle leaves open whether it has happened.
    pub(super) async fn commit(mut self) -> Result<(), Error> {
        self.text("COMMIT").await?;
        self.in_transaction = false;
        Ok(())
    }

    async fn text(&mut self, text: &'static str) -> Result<(), Error> {
        let mut connection = self.taken()?;
        self.sessions.answer(raw_sql(text).execute(&mut connection)).await?;
        self.connection = Some(connection);
        Ok(())
    }

    fn taken(&mut self) -> Result<PgConnection, Error> {
        self.connection.take().ok_or_else(|| errors::of(sqlx::Error::WorkerCrashed))
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take().filter(|_| !self.in_transaction) {
            self.sessions.idle().push(Idle { connection, since: Instant::now() });
        }
    }
}

/// The answer, if it comes in time.
pub(super) async fn within<T>(patience: Duration, answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
    match tokio::time::timeout(patience, answer).await {
        Ok(answer) => answer.map_err(errors::of),
        Err(elapsed) => Err(Error::Unavailable(elapsed.into())),
    }
}
