//! The store in a Postgres database: for several processes on several machines. It decides how the store's promises become
//! statements; what a job may do is decided in `decide`, in Rust, for every implementation alike. It must never decide a transition in SQL,
//! wait without a bound, or change the schema of a database that it was only asked to use.
//!
//! # Many writers
//!
//! Every process writes when it likes. A call that changes jobs is one transaction: it locks the jobs' rows in the order of their ids, reads them
//! as they are once the locks are held, decides, writes all of them and their events in one statement, and commits. Because everybody
//! takes locks in one order, groups that share jobs wait for each other and never in a circle; the sweep waits for nobody. What
//! still meets (a lock that is not to be had in time, a deadlock with a person's shell) is `Unavailable`, and nothing has happened.
//!
//! # Time
//!
//! The server's clock, read in the same statement, after the locks where there are any: processes need no common clock of their own.
//! Postgres has no clock that never goes back; a server whose clock is set back makes leases and due times wait until it has caught up.
//!
//! # What survives what
//!
//! Every commit survives the death of this process. What a caller or a worker was answered survives a crash of the server too, because the commit
//! waits for the server's disk: accepted jobs, cancels, claims, records, and what the sweep moves. Unlike with a file, the worker lives
//! on when the server dies: a claim that vanished from under it would leave a job that waits for a message which is already settled.
//! Two things do not wait: marks of publication (a lost one doubles a message) and extended leases (a lost one shortens a lease by a
//! quarter). `durability = "power"` says what a server is asked for that does not wait by itself (`open.rs`).

mod claim;
mod dead;
mod dispatch;
mod errors;
mod open;
pub mod raw;
mod read;
mod record;
mod rows;
mod schema;
mod sessions;
mod submit;
mod sweep;
mod time;
mod write;

use std::{fmt, sync::Arc};

pub use schema::{Migrated, migrate, schema_version};

use crate::{clock::Clock, config, store::Error};
use sessions::Sessions;
use time::Time;

/// Makes the transaction that the statement is not wait for the disk: `relaxed.level` must be asked for, or nobody evaluates it.
macro_rules! relaxed {
    () => {
        "relaxed AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true) AS level)"
    };
}
use relaxed;

/// The store in a Postgres database.
pub struct PostgresStore {
    sessions: Sessions,
    time: Time,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("time", &self.time).finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Connects to the database at `settings.url` (`postgres://…`), whose schema `migrate` has brought up to date. The server's clock is
    /// the store's time.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be reached or refuses the login, `SchemaOld` when `siding migrate` has to run first, `SchemaUnknown` when a
    /// newer version has written it, `Broken` when the url is none.
    pub async fn connect(settings: &config::Store) -> Result<Arc<Self>, Error> {
        Self::connect_in(settings, Time::Server).await
    }

    /// As `connect`, with `clock` as the store's time: for tests that own time.
    ///
    /// # Errors
    /// As `connect`.
    pub async fn connect_with_clock(settings: &config::Store, clock: Arc<dyn Clock>) -> Result<Arc<Self>, Error> {
        Self::connect_in(settings, Time::Given(clock)).await
    }

    async fn connect_in(settings: &config::Store, time: Time) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self { sessions: open::sessions(settings).await?, time }))
    }

    /// Closes the connections that nobody uses. A later call opens new ones.
    ///
    /// # Errors
    /// As any call; everything that was answered is safe whatever this says.
    pub async fn close(&self) -> Result<(), Error> {
        self.sessions.close().await
    }
}
