//! Connections: two that write in turns and a few that read. It decides who may use which connection and that a failed or
//! abandoned transaction is rolled back before the next one begins. It knows no table.
//!
//! Transactions are plain statements here, not sqlx's: SQLite rolls some failed transactions back by itself (a full disk), which
//! sqlx's own bookkeeping does not notice, and a whole transaction in one text is one hop to the connection's thread instead of one for each
//! statement.

use std::{
    sync::{Mutex as Lock, PoisonError},
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, SqliteConnection, query::Query, sqlite::SqliteArguments, sqlite::SqliteConnectOptions,
    sqlite::SqliteRow,
};
use tokio::sync::{Mutex, MutexGuard, Semaphore};

use super::errors;
use crate::store::Error;

/// One connection that is opened again when it was lost.
pub(super) struct Link {
    options: SqliteConnectOptions,
    /// Used by one call at a time, in the order of asking. Held over awaits: that is the order of writing.
    slot: Mutex<Slot>,
}

struct Slot {
    /// `None` after a failure that the connection may not have survived.
    connection: Option<SqliteConnection>,
    /// Whether a transaction may be open that nobody will finish. Set before one begins, cleared once it is over; still set
    /// when its caller has gone away in the middle.
    abandoned: bool,
}

impl Link {
    pub(super) async fn open(options: SqliteConnectOptions) -> Result<Self, Error> {
        let connection = options.connect().await.map_err(errors::of_open)?;
        Ok(Self { options, slot: Mutex::new(Slot { connection: Some(connection), abandoned: false }) })
    }

    /// The connection, once everybody who asked before has finished with it, with no transaction open.
    async fn turn(&self) -> Result<Turn<'_>, Error> {
        self.prepare(self.slot.lock().await).await
    }

    /// Closes the connection once nobody uses it. A call after that opens it again.
    async fn close(&self) -> Result<(), Error> {
        match self.slot.lock().await.connection.take() {
            Some(connection) => connection.close().await.map_err(errors::of),
            None => Ok(()),
        }
    }

    async fn prepare<'a>(&'a self, mut slot: MutexGuard<'a, Slot>) -> Result<Turn<'a>, Error> {
        if slot.abandoned {
            slot.roll_back().await;
        }
        if slot.connection.is_none() {
            slot.connection = Some(self.options.connect().await.map_err(errors::of_open)?);
        }
        Ok(Turn { slot, _order: None })
    }
}

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Durability {
    /// The death of this process, not a power cut (`synchronous = NORMAL`): the next commit for `Disk` takes it along.
    Process,
    /// A power cut: the commit is on the disk when it is answered (`synchronous = FULL`).
    Disk,
}

/// The connections for writing: one for each durability, because changing a connection's is a statement of its own. They take turns.
pub(super) struct Writer {
    disk: Link,
    process: Link,
    /// Held by the one that writes. Without it, the two would meet at the file's lock, where waiting means sleeping.
    order: Mutex<()>,
    /// The strongest durability that the settings ask for.
    strongest: Durability,
}

impl Writer {
    pub(super) async fn open(
        disk: SqliteConnectOptions,
        process: SqliteConnectOptions,
        strongest: Durability,
    ) -> Result<Self, Error> {
        Ok(Self { disk: Link::open(disk).await?, process: Link::open(process).await?, order: Mutex::new(()), strongest })
    }

    /// The right to write, once everybody who asked before has finished; the commit survives what is asked for, or as much as the settings say.
    pub(super) async fn turn(&self, durability: Durability) -> Result<Turn<'_>, Error> {
        let order = self.order.lock().await;
        // Both, because either may hold the file's lock in a transaction that nobody will finish.
        let (disk, process) = (self.disk.turn().await?, self.process.turn().await?);
        let turn = match durability.min(self.strongest) {
            Durability::Disk => disk,
            Durability::Process => process,
        };
        Ok(Turn { _order: Some(order), ..turn })
    }

    pub(super) async fn close(&self) -> Result<(), Error> {
        self.process.close().await?;
        self.disk.close().await
    }
}

impl Slot {
    /// Ends whatever transaction is open; a connection that cannot even do that is given up.
    async fn roll_back(&mut self) {
        if let Some(connection) = &mut self.connection {
            match sqlx::query("ROLLBACK").execute(connection).await {
                Ok(_) => (),
                Err(error) if errors::is_no_transaction(&error) => (),
                Err(_) => self.connection = None,
            }
        }
        self.abandoned = false;
    }
}

/// A connection in use by one call.
pub(super) struct Turn<'a> {
    slot: MutexGuard<'a, Slot>,
    /// The turn among the writing connections.
    _order: Option<MutexGuard<'a, ()>>,
}

pub(super) type Statement<'q> = Query<'q, sqlx::Sqlite, SqliteArguments>;

impl Turn<'_> {
    /// Runs statements outside of a transaction of ours, or a text that holds a whole one. Returns all their rows.
    pub(super) async fn whole(&mut self, statement: Statement<'_>) -> Result<Vec<SqliteRow>, Error> {
        let rows = self.part(statement).await?;
        self.slot.abandoned = false;
        Ok(rows)
    }

    /// Runs a part of a transaction: a text that begins it and does not end it.
    pub(super) async fn part(&mut self, statement: Statement<'_>) -> Result<Vec<SqliteRow>, Error> {
        self.slot.abandoned = true;
        let Some(connection) = &mut self.slot.connection else {
            return Err(errors::of(sqlx::Error::WorkerCrashed));
        };
        match statement.fetch_all(connection).await {
            Ok(rows) => Ok(rows),
            Err(error) => {
                if matches!(error, sqlx::Error::WorkerCrashed) {
                    self.slot.connection = None;
                }
                self.slot.roll_back().await;
                Err(errors::of(error))
            }
        }
    }

    /// Ends a transaction in which nothing was written.
    pub(super) async fn nothing_written(mut self) -> Result<(), Error> {
        self.whole(sqlx::query("COMMIT")).await.map(drop)
    }
}

/// Connections for reading.
pub(super) struct Readers {
    links: Vec<Link>,
    /// One permit for each link that is free: callers wait in order, and for whichever is free first.
    room: Semaphore,
    /// Which are free. Taken from by whoever holds a permit, given back before the permit is.
    free: Lock<Vec<usize>>,
    /// Longest wait for a connection.
    patience: Duration,
}

impl Readers {
    pub(super) async fn open(options: &SqliteConnectOptions, count: u32, patience: Duration) -> Result<Self, Error> {
        let mut links = Vec::new();
        for _ in 0..count.max(1) {
            links.push(Link::open(options.clone()).await?);
        }
        let free = Lock::new((0..links.len()).collect());
        Ok(Self { room: Semaphore::new(links.len()), links, free, patience })
    }

    pub(super) async fn close(&self) -> Result<(), Error> {
        for link in &self.links {
            link.close().await?;
        }
        Ok(())
    }

    /// Runs one reading statement on a free connection, or on the first one that becomes free.
    pub(super) async fn rows(&self, statement: Statement<'_>) -> Result<Vec<SqliteRow>, Error> {
        let waited = tokio::time::timeout(self.patience, self.room.acquire());
        let _permit = waited.await.map_err(|elapsed| Error::Unavailable(elapsed.into()))?.expect("it is never closed");
        // Declared after the permit, so given back before it, however this call ends.
        let taken = Taken { readers: self, index: self.free_links().pop().expect("as many permits as free links") };
        self.links[taken.index].turn().await?.whole(statement).await
    }

    fn free_links(&self) -> std::sync::MutexGuard<'_, Vec<usize>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one reading statement that gives at most one row.
    pub(super) async fn row(&self, statement: Statement<'_>) -> Result<Option<SqliteRow>, Error> {
        Ok(self.rows(statement).await?.pop())
    }
}

/// A link in use by one call.
struct Taken<'a> {
    readers: &'a Readers,
    index: usize,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.readers.free_links().push(self.index);
    }
}
