//! One opener for each implementation of a seam, for the contract suites: a new implementation is one function here and one line
//! there. It decides how an implementation is set up for one test alone; it must never say what the implementation does.

use std::{any::Any, sync::Arc, time::Duration};

use object_store::{ObjectStore, local::LocalFileSystem, memory::InMemory};
use siding_core::{
    broker::{Consumer, DeadLetters, EventBus, Publisher, memory::MemoryBroker, rabbitmq::RabbitBroker},
    cache::redis::{Options, RedisCache},
    cache::{Cache, in_process::InProcessCache, none::NoCache},
    clock::{Clock, ManualClock, SystemClock, Timestamp},
    config::{self, Settings},
    drain::Drain,
    id::LaneName,
    store::{Attempts, Dead, Dispatch, Feed, Jobs, Submissions, postgres::PostgresStore, sqlite::SqliteStore},
};

use super::{
    database::{Schema, Shell},
    rabbitmq::Region,
    servers,
};

/// All roles of a store.
pub trait Store: Submissions + Jobs + Dispatch + Attempts + Feed + Dead {}

impl<S: Submissions + Jobs + Dispatch + Attempts + Feed + Dead> Store for S {}

/// A store of its own for one test, on the test's clock.
pub struct StoreSeam {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The store's time.
    pub clock: Arc<ManualClock>,
    /// The database as an operator's shell sees it.
    pub shell: Shell,
    /// What must live as long as the store: a folder, a schema.
    pub home: Box<dyn Any + Send + Sync>,
}

/// All roles of a broker.
pub trait Broker: Publisher + Consumer + EventBus + DeadLetters {}

impl<B: Publisher + Consumer + EventBus + DeadLetters> Broker for B {}

/// Messages that a queue takes in the broker's contract.
pub const QUEUE_MESSAGES_MAX: usize = 8;

/// A broker of its own for one test, with the queues `broker_lanes`, each of `QUEUE_MESSAGES_MAX`.
pub struct BrokerSeam {
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// Cuts everybody off.
    pub close: Box<dyn Fn() + Send + Sync>,
    /// How many messages beyond its bound a queue may take, when they come one after another.
    pub over_bound_max: usize,
    /// At how many messages at most a queue that was full accepts again.
    pub accepts_again_at: usize,
    /// After how many deliveries a message is set aside; `None` if it never is.
    pub deliveries_max: Option<u32>,
    /// How long nothing must come until nothing will.
    pub stillness: Duration,
    /// What must live as long as the broker: a region, a drain.
    pub home: Box<dyn Any + Send + Sync>,
}

/// A cache of its own for one test.
pub struct CacheSeam {
    /// The cache.
    pub cache: Arc<dyn Cache>,
    /// Whether it remembers anything at all.
    pub remembers: bool,
}

/// A blob store of its own for one test.
pub struct BlobSeam {
    /// What lies under `Blobs`.
    pub objects: Arc<dyn ObjectStore>,
    /// What must live as long as it.
    pub home: Box<dyn Any + Send + Sync>,
}

/// A clock, and how a test makes time pass on it.
pub struct ClockSeam {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Makes at least this much time pass; nothing to do for a clock that runs by itself.
    pub pass: Box<dyn Fn(Duration) + Send + Sync>,
}

/// How long the tests' Redis may take to answer.
const REDIS_PATIENCE: Duration = Duration::from_secs(20);
/// When the tests' time begins: 2026-01-01.
const START: Timestamp = Timestamp(1_767_225_600_000);

/// The store in a SQLite file.
///
/// # Panics
/// When it cannot be opened.
pub async fn sqlite_store() -> StoreSeam {
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let clock = ManualClock::starting_at(START);
    let path = home.path().join("siding.sqlite");
    let store = SqliteStore::open(&path, &Settings::default().store, clock.clone()).await.expect("a new file can be opened");
    StoreSeam { store, clock, shell: Shell::Sqlite(path), home: Box::new(home) }
}

/// The store in a schema of Postgres.
///
/// # Panics
/// When there is no server, or it refuses.
pub async fn postgres_store() -> StoreSeam {
    let home = Schema::new().await;
    let clock = ManualClock::starting_at(START);
    let settings = config::Store { url: home.url().into(), ..Settings::default().store };
    let store = PostgresStore::connect_with_clock(&settings, clock.clone()).await.expect("the schema was made for it");
    let shell = Shell::Postgres(home.url().to_owned());
    StoreSeam { store, clock, shell, home: Box::new(home) }
}

/// The lanes that the broker's contract uses.
#[must_use]
pub fn broker_lanes() -> [LaneName; 2] {
    ["instant", "long"].map(|name| name.parse().expect("a valid name"))
}

/// The in-process broker.
pub async fn memory_broker() -> BrokerSeam {
    let broker = MemoryBroker::new(&broker_lanes(), QUEUE_MESSAGES_MAX);
    BrokerSeam {
        broker: broker.clone(),
        close: Box::new(move || broker.close()),
        over_bound_max: 0,
        accepts_again_at: QUEUE_MESSAGES_MAX - 1,
        deliveries_max: None,
        stillness: Duration::from_millis(20),
        home: Box::new(()),
    }
}

/// The broker over RabbitMQ, in a region of its own.
///
/// # Panics
/// When it cannot be reached.
pub async fn rabbitmq_broker() -> BrokerSeam {
    let (region, drain) = (Region::new(&broker_lanes()), Drain::new());
    let settings = config::Broker { deliveries_max: 5, ..region.settings() };
    let broker = RabbitBroker::connect(&settings, &broker_lanes(), QUEUE_MESSAGES_MAX, &drain).await;
    let broker = broker.expect("the tests' RabbitMQ can be reached");
    BrokerSeam {
        broker: broker.clone(),
        close: Box::new(move || broker.close()),
        // Its quorum queues take one more before they refuse, and accept again at 80 % of their bound.
        over_bound_max: 1,
        accepts_again_at: QUEUE_MESSAGES_MAX * 8 / 10,
        // The limit counts returns, so the first delivery is one more.
        deliveries_max: Some(settings.deliveries_max + 1),
        stillness: Duration::from_millis(150),
        home: Box::new((region, drain)),
    }
}

/// The in-process cache.
pub async fn in_process_cache() -> CacheSeam {
    CacheSeam { cache: Arc::new(InProcessCache::new(1 << 20)), remembers: true }
}

/// No cache.
pub async fn no_cache() -> CacheSeam {
    CacheSeam { cache: Arc::new(NoCache), remembers: false }
}

/// A cache in the tests' Redis, under a prefix of its own. It is patient, because a busy machine is no outage.
///
/// # Panics
/// When there is no Redis.
pub async fn redis_cache() -> CacheSeam {
    let options =
        Options { prefix: format!("siding-test:{:x}:", rand::random::<u64>()), patience: REDIS_PATIENCE, ..Options::default() };
    let cache = RedisCache::connect_with(&servers::redis_url().as_str().into(), options).expect("a URL of Redis");
    CacheSeam { cache: Arc::new(cache), remembers: true }
}

/// Blobs in memory.
pub async fn memory_blobs() -> BlobSeam {
    BlobSeam { objects: Arc::new(InMemory::new()), home: Box::new(()) }
}

/// Blobs in a folder.
///
/// # Panics
/// When the folder cannot be made.
pub async fn folder_blobs() -> BlobSeam {
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let objects = LocalFileSystem::new_with_prefix(home.path()).expect("the folder exists");
    BlobSeam { objects: Arc::new(objects), home: Box::new(home) }
}

/// The machine's clock.
pub async fn system_clock() -> ClockSeam {
    ClockSeam { clock: Arc::new(SystemClock), pass: Box::new(|_| ()) }
}

/// The test's own clock.
pub async fn manual_clock() -> ClockSeam {
    let clock = ManualClock::starting_at(START);
    ClockSeam { clock: clock.clone(), pass: Box::new(move |by| clock.advance(by)) }
}
