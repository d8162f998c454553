//! The store in one SQLite file: for one machine, with no server. It decides how the store's promises become statements; what a
//! job may do is decided in `decide`, in Rust, for every implementation alike. It must never have two writing transactions at once
//! or write outside of one.
//!
//! Writing goes in turns, in transactions that take the file's lock at once (`BEGIN IMMEDIATE`); a few connections read beside it
//! (write-ahead log). A write is two texts: one that begins and reads the jobs it is about, one that updates them, inserts their
//! events and commits; each is a constant number of statements over `json_each`, however many jobs there are. Each text is one hop to the
//! connection's thread, which is most of what a single job costs.
//!
//! # What survives what
//!
//! Every commit survives the death of the process (`kill -9`). With the setting `durability = "power"`, what a caller may have seen
//! survives a power cut too (`connection::Durability::Disk`): accepted jobs, cancels, and all that an attempt records. Claims, leases, publications and what the
//! sweep moves cost no wait for the disk (`Durability::Process`): the log is one file, so the next commit for the disk takes them along, and
//! a power cut before it takes the worker along with its claim; what follows is decided again from the same rows and told
//! again under the same numbers. A sync takes 0.15 to 0.25 ms on a quiet virtual disk and several on a busy one; a job alone waits for two.

mod claim;
mod connection;
mod dead;
mod dispatch;
mod errors;
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
use connection::{Readers, Writer};

/// The store in one SQLite file.
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
    /// One connection for lists alone: a filter that matches little walks far, and nobody else may wait behind it.
    lists: Readers,
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
        let (writer, readers, lists) = open::open(path, settings).await?;
        Ok(Arc::new(Self { writer, readers, lists, clock }))
    }

    /// Closes the file once running calls are done, and copies its log into it. Dropping the store closes it too, a little later
    /// and on threads of its own; whoever opens the file again at once waits for this instead. A later call opens it again.
    ///
    /// # Errors
    /// As any call; everything that was answered is safe whatever this says.
    pub async fn close(&self) -> Result<(), Error> {
        self.lists.close().await?;
        self.readers.close().await?;
        self.writer.close().await
    }
}
