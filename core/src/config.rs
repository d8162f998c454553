//! Settings: every number that an operator may turn. They come in layers, each over the one before: the compiled-in `defaults.toml` (which is the
//! reference), a file, `SIDING_*` variables, the command line. Checked once, here, before anything starts; inside, settings are only read.

mod check;
mod layer;
mod load;
mod nearest;
mod providers;
mod secret;

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use crate::{
    lane::{InvalidLanes, Lane, Lanes},
    model::locate,
};

pub use load::{Effective, Error, Flag, Shown, Sources, Wrong};
pub use providers::{Arena, ConvSearch, Cuda, Tensorrt};
pub use secret::SecretUrl;

/// The documented defaults, compiled in.
pub const DEFAULTS: &str = include_str!("config/defaults.toml");

/// Everything an operator may turn. Each field is explained in `defaults.toml`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `[server]`
    pub server: Server,
    /// `[submit]`
    pub submit: Submit,
    /// `[dispatch]`
    pub dispatch: Dispatch,
    /// `[worker]`
    pub worker: Worker,
    /// `[stream]`
    pub stream: Stream,
    /// `[store]`
    pub store: Store,
    /// `[broker]`
    pub broker: Broker,
    /// `[cache]`
    pub cache: Cache,
    /// `[blobs]`
    pub blobs: Blobs,
    /// `[models]`
    pub models: Models,
    /// `[cuda]`
    pub cuda: Cuda,
    /// `[tensorrt]`
    pub tensorrt: Tensorrt,
    /// `[[lanes]]`
    pub lanes: Vec<Lane>,
}

/// The HTTP port of this process.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// The address to listen on; port 0 for any free one.
    pub listen: SocketAddr,
    /// Whether `listen` may be an address that other machines reach.
    pub allow_network: bool,
    /// How long readiness says no before the port closes, in milliseconds.
    pub unready_ms: u64,
}

/// Accepting jobs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submit {
    /// Due and unpublished jobs at which submission is refused with 503.
    pub unpublished_max: usize,
    /// Failed attempts allowed for jobs that name no limit.
    pub attempts_max: u32,
}

/// Publishing and rescuing.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dispatch {
    /// How often the relay looks for due jobs when nobody wakes it, in milliseconds.
    pub relay_poll_ms: u64,
    /// How often the sweep looks for ended leases and passed deadlines, in milliseconds.
    pub sweep_poll_ms: u64,
    /// From which age on a publication whose queue is empty counts as lost, in milliseconds.
    pub lost_after_ms: u64,
    /// Messages that one lane's queue holds; further ones stay unpublished in the store.
    pub queue_messages_max: usize,
}

/// Running jobs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    /// Jobs that run at once; 0 for one per core, at least 2.
    pub slots: usize,
    /// How long a drain waits for running jobs before it interrupts them, in milliseconds.
    pub drain_ms: u64,
    /// The time between two checkpoints of one run, at least, in milliseconds.
    pub checkpoint_ms: u64,
    /// How long a run may take to heed its stop before it is ended by force, in milliseconds.
    pub stop_patience_ms: u64,
    /// Whether manifests may use the scripted runner (echo, delay, fail, panic, hang). For tests and benches.
    pub scripted: bool,
    /// The models that are loaded before the worker takes work, separated by commas (`siding_worker::warming`).
    pub preload: String,
    /// Most bytes that loaded models may count for; 0 for no bound but their number.
    pub models_bytes_max: u64,
    /// ONNX Runtime's shared library; empty for `ORT_DYLIB_PATH` or the one that `make setup` fetched.
    pub onnxruntime: String,
    /// Which models run in processes of their own.
    pub isolation: Isolation,
    /// Models, as `name` or `name/version`, that need no process of their own as far as `isolation` is `new`.
    pub trusted: Words,
    /// Most bytes of its own that one model process may have; 0 for no bound.
    pub model_memory_bytes_max: u64,
    /// How long a model is not loaded after it has crashed too often, at first, in milliseconds; each further time twice as long.
    pub model_rest_ms: u64,
    /// Execution providers in the order in which they are tried.
    pub providers: Words,
    /// Whether a provider that cannot be used keeps the models that run on it from loading, instead of being passed over.
    pub providers_required: bool,
    /// Threads that one run may use beside its own, for models on the CPU.
    pub intra_threads: usize,
}

/// Which models run in processes of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Isolation {
    /// None.
    Never,
    /// Those that have not proved themselves on this worker.
    New,
    /// All.
    Always,
}

impl TryFrom<String> for Isolation {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        match word.as_str() {
            "never" => Ok(Self::Never),
            "new" => Ok(Self::New),
            "always" => Ok(Self::Always),
            _ => Err("must be never, new or always"),
        }
    }
}

/// Words that one setting lists, separated by commas.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Words(pub Vec<String>);

impl From<String> for Words {
    fn from(text: String) -> Self {
        Self(text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect())
    }
}

/// Event streams.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// How often an idle stream sends a comment, in milliseconds.
    pub heartbeat_ms: u64,
    /// How often a stream reads the store when no hint comes, in milliseconds.
    pub poll_ms: u64,
    /// What a stream tells clients to wait before reconnecting, in milliseconds.
    pub retry_ms: u64,
}

/// The store.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// `postgres://…`; empty for SQLite in the data folder.
    pub url: SecretUrl,
    /// Connections of this process to Postgres.
    pub connections: u32,
    /// How long a call waits for a connection, and a statement for another's lock, in milliseconds.
    pub busy_timeout_ms: u64,
    /// How long a statement may take on Postgres, in milliseconds.
    pub statement_timeout_ms: u64,
    /// Connections for reading.
    pub readers: u32,
    /// What a commit survives.
    pub durability: Durability,
}

/// What an accepted job and a recorded end survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Durability {
    /// The death of the process at any moment; a power cut may take the last moments before it.
    Process,
    /// A power cut: the commit waits for the disk.
    Power,
}

impl TryFrom<String> for Durability {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        match word.as_str() {
            "process" => Ok(Self::Process),
            "power" => Ok(Self::Power),
            _ => Err("must be process or power"),
        }
    }
}

/// The broker.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// `amqp://…` or `amqps://…`; empty for the broker inside this process.
    pub url: SecretUrl,
    /// The region: the first word of every queue's name.
    pub region: String,
    /// The heartbeat that is asked for, in seconds. A silent cut is noticed after two of them.
    pub heartbeat_secs: u16,
    /// How long a publication may wait for its confirm, in milliseconds; after it, nobody knows whether the broker has the message.
    pub confirm_timeout_ms: u64,
    /// Publications that may wait for their confirms at once.
    pub unconfirmed_max: usize,
    /// How often the broker hands a message out before it is set aside as a dead letter.
    pub deliveries_max: u32,
}

/// The cache.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// `redis://…`; empty for the cache inside this process.
    pub url: SecretUrl,
    /// Most bytes it keeps.
    pub bytes_max: u64,
}

/// Large inputs and outputs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blobs {
    /// The folder, which every process of the system must see; empty for the data folder's.
    pub folder: String,
}

/// The model repository.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Models {
    /// The folder; empty for the one that `make setup` fetched.
    pub folder: String,
    /// Which versions new jobs get (`model::versions`).
    pub versions: String,
    /// How often the folder is read again, in milliseconds; 0 for never but after a load that failed.
    pub reload_ms: u64,
}

impl Settings {
    /// Defaults, then `file` if given, then variables `SIDING_<SECTION>__<KEY>`.
    ///
    /// # Errors
    /// `Error` with everything that is wrong.
    pub fn load(file: Option<&Path>) -> Result<Self, Error> {
        Effective::load(&Sources::of_process(file)).map(|effective| effective.settings)
    }

    /// The lanes as a valid set.
    ///
    /// # Errors
    /// `InvalidLanes` names the lane.
    pub fn lanes(&self) -> Result<Lanes, InvalidLanes> {
        Lanes::new(self.lanes.clone())
    }

    /// Slots of one worker: as configured, or one per core and at least 2, so that a long job leaves room for a short one.
    #[must_use]
    pub fn slots(&self) -> usize {
        match self.worker.slots {
            0 => std::thread::available_parallelism().map_or(2, NonZeroUsize::get).max(2),
            slots => slots,
        }
    }

    /// The model repository: as configured, or the one that `make setup` fetched; `None` when there is no cache folder to look in.
    #[must_use]
    pub fn models_folder(&self) -> Option<PathBuf> {
        match self.models.folder.as_str() {
            "" => locate::cache_dir().map(|cache| locate::models_dir(&cache)),
            folder => Some(PathBuf::from(folder)),
        }
    }

    /// `server.unready_ms` as a duration.
    #[must_use]
    pub fn unready(&self) -> Duration {
        Duration::from_millis(self.server.unready_ms)
    }

    /// `dispatch.sweep_poll_ms` as a duration.
    #[must_use]
    pub fn sweep_poll(&self) -> Duration {
        Duration::from_millis(self.dispatch.sweep_poll_ms)
    }

    /// `dispatch.relay_poll_ms` as a duration.
    #[must_use]
    pub fn relay_poll(&self) -> Duration {
        Duration::from_millis(self.dispatch.relay_poll_ms)
    }
}

impl Default for Settings {
    /// The compiled-in defaults alone.
    fn default() -> Self {
        toml::from_str(DEFAULTS).expect("defaults.toml is compiled in and tested")
    }
}
