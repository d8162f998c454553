//! The seams of one process, each filled with an implementation. What fills which is decided in `choice`, from the settings; here it is opened. This
//! module never uses a seam for a job.

mod choice;

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use object_store::local::LocalFileSystem;
use siding_core::{
    blob::Blobs,
    broker::{self, Consumer, DeadLetters, EventBus, Publisher, memory::MemoryBroker, rabbitmq::RabbitBroker},
    cache::redis::{InvalidUrl, RedisCache},
    cache::{Cache, in_process::InProcessCache},
    clock::Clock,
    config::{SecretUrl, Settings},
    drain::Drain,
    error::chain,
    id::LaneName,
    lane::InvalidLanes,
    store::{
        self, Attempts, Dead, Dispatch, Feed, Jobs, Lost, Submissions,
        postgres::{self, PostgresStore},
        sqlite::SqliteStore,
    },
    telemetry::Metrics,
};

pub use self::choice::{Choice, Impossible, Place, Recovery};

/// How long the broker's own tasks may take to end, once nobody uses it any more.
const BROKER_PATIENCE: Duration = Duration::from_secs(5);

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
    /// Reads and drops dead jobs.
    pub dead: Arc<dyn Dead>,
    /// Puts messages into queues.
    pub publisher: Arc<dyn Publisher>,
    /// Takes them out.
    pub consumer: Arc<dyn Consumer>,
    /// Gives back what the broker has set aside.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// Carries hints.
    pub bus: Arc<dyn EventBus>,
    /// Remembers answers.
    pub cache: Arc<dyn Cache>,
    /// Keeps large inputs and outputs.
    pub blobs: Blobs,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    choice: Choice,
    /// The connections to RabbitMQ, where that is the broker.
    rabbitmq: Option<(Arc<RabbitBroker>, Drain)>,
}

/// Why the seams of a process cannot be filled. Each names the folder or the key, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder cannot be made or written.
    #[error("the data folder {} cannot be used: choose another with --data, or make it writable", .0.display())]
    Folder(PathBuf, #[source] std::io::Error),
    /// Another process has it.
    #[error("the data folder {} is in use by another siding process: stop that one, or choose another folder with --data", .0.display())]
    InUse(PathBuf),
    /// What is asked for cannot work.
    #[error(transparent)]
    Impossible(#[from] Impossible),
    /// The lanes are not a valid set.
    #[error(transparent)]
    Lanes(#[from] InvalidLanes),
    /// The SQLite file cannot be opened.
    #[error("the database {} cannot be opened", .0.display())]
    Store(PathBuf, #[source] store::Error),
    /// Postgres cannot be used.
    #[error("the database at store.url ({0}) cannot be used")]
    Database(SecretUrl, #[source] store::Error),
    /// RabbitMQ cannot be used as it is configured.
    #[error("the broker at broker.url ({0}) cannot be used")]
    Broker(SecretUrl, #[source] broker::Error),
    /// The address of the cache is none.
    #[error("cache.url ({0}) cannot be used")]
    Cache(SecretUrl, #[source] InvalidUrl),
    /// The blob folder cannot be opened.
    #[error("the blob folder {} cannot be used: name another with blobs.folder, or make it writable", .0.display())]
    Blobs(PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
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
    /// Opens what `settings` ask for at `place`, whose folder the caller holds where it has one. A broker that is away is waited for behind it; one
    /// that refuses us is an error.
    ///
    /// # Errors
    /// `Error`.
    pub async fn open(place: &Place, settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let choice = Choice::of(settings, place)?;
        let blobs = open_blobs(&choice.blobs)?;
        let cache: Arc<dyn Cache> = match choice.cache {
            choice::Cache::InProcess => Arc::new(InProcessCache::new(settings.cache.bytes_max)),
            choice::Cache::Redis => {
                let url = &settings.cache.url;
                Arc::new(RedisCache::connect(url).map_err(|error| Error::Cache(url.clone(), error))?)
            }
        };
        let lanes: Vec<LaneName> = settings.lanes()?.as_slice().iter().map(|lane| lane.name.clone()).collect();
        let broker = match choice.broker {
            choice::Broker::InProcess => Transport::of(MemoryBroker::new(&lanes, settings.dispatch.queue_messages_max), None),
            choice::Broker::RabbitMq => {
                let drain = Drain::new();
                let broker = open_rabbitmq(settings, &lanes, &drain).await?;
                Transport::of(broker.clone(), Some((broker, drain)))
            }
        };
        Ok(match &choice.store {
            choice::Store::Sqlite(path) => {
                let opened = SqliteStore::open(path, &settings.store, clock.clone()).await;
                let store = opened.map_err(|error| Error::Store(path.clone(), error))?;
                Self::of(store, broker, cache, blobs, clock, choice)
            }
            choice::Store::Postgres => {
                let store = open_postgres(place, settings).await;
                let store = store.map_err(|error| Error::Database(settings.store.url.clone(), error))?;
                Self::of(store, broker, cache, blobs, clock, choice)
            }
        })
    }

    fn of<S>(store: Arc<S>, broker: Transport, cache: Arc<dyn Cache>, blobs: Blobs, clock: Arc<dyn Clock>, choice: Choice) -> Self
    where
        S: Submissions + Jobs + Dispatch + Attempts + Feed + Dead + 'static,
    {
        let Transport { publisher, consumer, dead_letters, bus, rabbitmq } = broker;
        Self {
            submissions: store.clone(),
            jobs: store.clone(),
            dispatch: store.clone(),
            attempts: store.clone(),
            feed: store.clone(),
            dead: store,
            publisher,
            consumer,
            dead_letters,
            bus,
            cache,
            blobs,
            clock,
            choice,
            rabbitmq,
        }
    }

    /// What fills them.
    #[must_use]
    pub fn choice(&self) -> &Choice {
        &self.choice
    }

    /// After a start: takes up the jobs that the last run of this system has left, as far as nobody else may be at them
    /// (`Choice::recovery`). What it leaves alone, leases and the sweep find.
    ///
    /// # Errors
    /// The store's.
    pub async fn recover(&self) -> Result<(), store::Error> {
        let Recovery { end_leases, forget_published } = self.choice.recovery();
        let ended = if end_leases { self.attempts.end_all_leases().await? } else { 0 };
        let queued = if forget_published { self.dispatch.forget_published(&Lost::All).await? } else { 0 };
        if ended + queued > 0 {
            tracing::info!(jobs.running = ended, jobs.queued = queued, "going on with the jobs of the last run");
        }
        Ok(())
    }

    /// Lets the broker count into these from here on.
    pub fn count_into(&self, metrics: &Arc<Metrics>) {
        if let Some((broker, _)) = &self.rabbitmq {
            broker.count_into(metrics.clone());
        }
    }

    /// Ends the connections to the broker, once the services that used them have stopped.
    pub async fn close(&self) {
        let Some((_, drain)) = &self.rabbitmq else { return };
        if let Err(unfinished) = drain.stopped(BROKER_PATIENCE).await {
            tracing::warn!(%unfinished, "the connections to the broker were cut");
        }
    }
}

/// The seams that a broker fills.
struct Transport {
    publisher: Arc<dyn Publisher>,
    consumer: Arc<dyn Consumer>,
    dead_letters: Arc<dyn DeadLetters>,
    bus: Arc<dyn EventBus>,
    rabbitmq: Option<(Arc<RabbitBroker>, Drain)>,
}

impl Transport {
    fn of<B>(broker: Arc<B>, rabbitmq: Option<(Arc<RabbitBroker>, Drain)>) -> Self
    where
        B: Publisher + Consumer + DeadLetters + EventBus + 'static,
    {
        Self { publisher: broker.clone(), consumer: broker.clone(), dead_letters: broker.clone(), bus: broker, rabbitmq }
    }
}

fn open_blobs(folder: &Path) -> Result<Blobs, Error> {
    std::fs::create_dir_all(folder).map_err(|error| Error::Blobs(folder.to_path_buf(), error.into()))?;
    let blobs = LocalFileSystem::new_with_prefix(folder).map_err(|error| Error::Blobs(folder.to_path_buf(), error.into()))?;
    Ok(Blobs::new(Arc::new(blobs.with_fsync(true))))
}

/// A wrong address or password is told at once, because waiting does not mend it; a broker that is away comes back, and until then jobs are
/// accepted into the store.
async fn open_rabbitmq(settings: &Settings, lanes: &[LaneName], drain: &Drain) -> Result<Arc<RabbitBroker>, Error> {
    let (broker, queue_max) = (&settings.broker, settings.dispatch.queue_messages_max);
    let refused = |error| Error::Broker(broker.url.clone(), error);
    match RabbitBroker::connect(broker, lanes, queue_max, drain).await {
        Ok(connected) => Ok(connected),
        Err(error @ broker::Error::Misconfigured(_)) => Err(refused(error)),
        Err(error) => {
            tracing::warn!(error = chain(&error), "the broker is away; jobs wait in the store until it is back");
            RabbitBroker::start(broker, lanes, queue_max, drain).map_err(refused)
        }
    }
}

/// A database without any schema belongs to nobody yet, so a process that is the whole system fills it. One whose schema is older may be in
/// use by others, and is left to `siding migrate` (docs/adr/0020).
async fn open_postgres(place: &Place, settings: &Settings) -> Result<Arc<PostgresStore>, store::Error> {
    match (PostgresStore::connect(&settings.store).await, place) {
        (Err(store::Error::SchemaOld { found: 0, .. }), Place::Alone(_)) => {
            let done = postgres::migrate(settings.store.url.expose()).await?;
            tracing::info!(schema.from = done.from, schema.to = done.to, "the empty database has its schema");
            PostgresStore::connect(&settings.store).await
        }
        (opened, _) => opened,
    }
}
