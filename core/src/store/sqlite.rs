//! The store in one SQLite file: for one machine, with no server. It decides how the store's promises become statements; what a
//! job may do is decided in `decide`, in Rust, for every implementation alike. It must never hold two writing transactions or
//! write outside of one.
//!
//! One connection writes, in transactions that take the lock at once (`BEGIN IMMEDIATE`); a few read beside it (write-ahead log).
//! A write is two texts: one that begins and reads the jobs it is about, one that updates them, inserts their events and commits;
//! each is a constant number of statements over `json_each`, however many jobs there are.
//!
//! What a caller may have seen survives a power cut (`connection::Durability::Disk`): accepted jobs, cancels, ends. What only this
//! process has seen survives its death and costs no wait for the disk (`Durability::Process`): claims, leases, publications,
//! progress. The log is one file, so a commit for the disk takes every earlier one along.

mod claim;
mod connection;
mod dispatch;
mod errors;
#[cfg(test)]
mod measure;
mod open;
mod read;
mod record;
mod rows;
mod submit;
mod sweep;
#[cfg(test)]
mod tests;
mod write;

use std::{fmt, path::Path, sync::Arc};

use crate::{clock::Clock, config, store::Error};
use connection::{Link, Readers};

/// The store in one SQLite file.
pub struct SqliteStore {
    writer: Link,
    readers: Readers,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the database at `path`, creating it if there is none, and brings its schema up to date. `clock` is the store's
    /// time. The caller sees to it that the folder exists and that no other Siding uses the file.
    ///
    /// # Errors
    /// `ReadOnly` when the file or its folder cannot be written, `Corrupt` when it is not a database, `SchemaUnknown` when a newer
    /// version has written it, `Unavailable` when it is locked for longer than `busy_timeout_ms`, `Full`.
    pub async fn open(path: &Path, settings: &config::Store, clock: Arc<dyn Clock>) -> Result<Arc<Self>, Error> {
        let (writer, readers) = open::open(path, settings).await?;
        Ok(Arc::new(Self { writer, readers, clock }))
    }
}
