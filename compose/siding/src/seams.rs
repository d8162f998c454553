//! The seams of one process, each filled with an implementation. `local` fills them for one machine with no server: SQLite, the
//! in-process broker and cache, blobs in a folder. It decides which implementation; it never uses one.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
};

use object_store::local::LocalFileSystem;
use siding_core::{
    blob::Blobs,
    broker::{Consumer, EventBus, Publisher, memory::MemoryBroker},
    cache::{Cache, in_process::InProcessCache},
    clock::Clock,
    config::Settings,
    id::LaneName,
    store::{self, Attempts, Dispatch, Feed, Jobs, Lost, Submissions, sqlite::SqliteStore},
};

/// One filled set of seams.
#[derive(Clone)]
pub struct Seams {
    /// Accepts jobs.
    pub submissions: Arc<dyn Submissions>,
    /// Reads jobs.
    pub jobs: Arc<dyn Jobs>,
    /// Reads and marks what is due.
    pub dispatch: Arc<dyn Dispatch>,
    /// Claims and records.
    pub attempts: Arc<dyn Attempts>,
    /// Reads events.
    pub feed: Arc<dyn Feed>,
    /// Puts messages into queues.
    pub publisher: Arc<dyn Publisher>,
    /// Takes them out.
    pub consumer: Arc<dyn Consumer>,
    /// Carries hints.
    pub bus: Arc<dyn EventBus>,
    /// Remembers answers.
    pub cache: Arc<dyn Cache>,
    /// Keeps large inputs and outputs.
    pub blobs: Blobs,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// Why the seams of a data folder cannot be filled. Each names the folder and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder cannot be made or written.
    #[error("the data folder {} cannot be used: choose another with --data, or make it writable", .0.display())]
    Folder(PathBuf, #[source] std::io::Error),
    /// Another process has it.
    #[error("the data folder {} is in use by another siding process: stop that one, or choose another folder with --data", .0.display())]
    InUse(PathBuf),
    /// The database cannot be opened.
    #[error("the database {} cannot be opened", .0.display())]
    Store(PathBuf, #[source] store::Error),
    /// The blob folder cannot be opened.
    #[error("the blob folder {} cannot be opened", .0.display())]
    Blobs(PathBuf, #[source] object_store::Error),
}

/// A data folder held by this process alone: dropped, it is free again; a killed process frees it too.
#[derive(Debug)]
pub struct Held {
    _lock: File,
}

/// Takes the folder for this process, creating it if need be.
///
/// # Errors
/// `Folder`, `InUse`.
pub fn hold(data: &Path) -> Result<Held, Error> {
    let broken = |error| Error::Folder(data.to_path_buf(), error);
    std::fs::create_dir_all(data).map_err(broken)?;
    let lock = File::options().create(true).truncate(false).write(true).open(data.join("lock")).map_err(broken)?;
    match lock.try_lock() {
        Ok(()) => Ok(Held { _lock: lock }),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(data.to_path_buf())),
        Err(TryLockError::Error(error)) => Err(broken(error)),
    }
}

impl Seams {
    /// Everything in this process and in the folder `data`, which the caller holds.
    ///
    /// # Errors
    /// `Store`, `Blobs`, `Folder`.
    pub async fn local(data: &Path, settings: &Settings, lanes: &[LaneName], clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let database = data.join("siding.sqlite");
        let store = SqliteStore::open(&database, &settings.store, clock.clone())
            .await
            .map_err(|error| Error::Store(database.clone(), error))?;
        let folder = data.join("blobs");
        std::fs::create_dir_all(&folder).map_err(|error| Error::Folder(folder.clone(), error))?;
        let blobs = LocalFileSystem::new_with_prefix(&folder).map_err(|error| Error::Blobs(folder, error))?.with_fsync(true);
        let broker = MemoryBroker::new(lanes, settings.dispatch.queue_messages_max);
        Ok(Self {
            submissions: store.clone(),
            jobs: store.clone(),
            dispatch: store.clone(),
            attempts: store.clone(),
            feed: store,
            publisher: broker.clone(),
            consumer: broker.clone(),
            bus: broker,
            cache: Arc::new(InProcessCache::new(settings.cache.bytes_max)),
            blobs: Blobs::new(Arc::new(blobs)),
            clock,
        })
    }

    /// After a restart of the only process of this store: no worker is alive and the broker remembers nothing. Every running job
    /// goes on as its next attempt, every queued one is published again.
    ///
    /// # Errors
    /// The store's.
    pub async fn recover(&self) -> Result<(), store::Error> {
        let ended = self.attempts.end_all_leases().await?;
        let queued = self.dispatch.forget_published(&Lost::All).await?;
        if ended + queued > 0 {
            tracing::info!(jobs.running = ended, jobs.queued = queued, "going on with the jobs of the last run");
        }
        Ok(())
    }
}
