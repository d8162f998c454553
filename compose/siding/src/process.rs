//! A process that serves: `siding up` with everything in it, or one role of several processes. It decides the order of starting and stopping
//! and who hears of it; what is started is `seams` and `services`.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use siding_core::{
    clock::SystemClock,
    config::{self, Settings},
    lane::InvalidLanes,
    model::{catalog::Catalog, repository, versions::InvalidPolicy},
    store,
    telemetry::Metrics,
};
use siding_worker::runtime::{
    Isolated, ModelRuntime,
    choose::Runtimes,
    guard::{Guard, Rules},
    isolated::Setup,
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    http,
    seams::{self, Held, Place, Seams},
    services::{self, Role, Services},
};

/// The very program that runs, also when its file was replaced since: a model process must be of one version with its worker.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// How a process is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// What it is.
    pub shape: Shape,
    /// Everything else.
    pub settings: Settings,
    /// Wraps the seams before anything is started over them; nothing but a test wraps anything.
    pub wrap: fn(Seams) -> Seams,
}

/// What a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// Everything in one process, with its data in a folder that it holds alone.
    Up {
        /// The folder.
        data: PathBuf,
    },
    /// One of several.
    One(Role),
}

impl Shape {
    /// Its roles.
    #[must_use]
    pub fn roles(&self) -> &[Role] {
        match self {
            Self::Up { .. } => Role::ALL,
            Self::One(role) => std::slice::from_ref(role),
        }
    }
}

/// Why a process cannot start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address that others could reach.
    #[error("{0}")]
    NotLoopback(String),
    /// The port is taken, or the address is not ours.
    #[error("cannot listen on {0}: stop what uses the port, or choose another with --listen (port 0 takes any free one)")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// No model repository was named and there is no cache folder to look in.
    #[error("no model repository: name one with --models, or run `make setup`")]
    NoModels,
    /// The model repository cannot be read.
    #[error("the model repository {} cannot be read: run `make setup`, or name another with --models", .0.display())]
    Models(PathBuf, #[source] repository::Error),
    /// The data folder cannot be used.
    #[error(transparent)]
    Seams(#[from] seams::Error),
    /// What the last run left cannot be taken up.
    #[error("cannot go on with the jobs of the last run")]
    Recover(#[source] store::Error),
    /// The settings are not usable.
    #[error(transparent)]
    Settings(#[from] config::Error),
    /// The setting `models.versions` says nothing that can be done.
    #[error("models.versions {0}")]
    Versions(#[from] InvalidPolicy),
    /// The lanes are not a valid set.
    #[error(transparent)]
    Lanes(#[from] InvalidLanes),
    /// A service cannot start.
    #[error(transparent)]
    Services(#[from] services::Error),
}

/// A running process.
pub struct Process {
    /// Where it listens.
    pub address: SocketAddr,
    services: Services,
    /// The data folder, where it has one.
    _held: Option<Held>,
}

impl Process {
    /// Starts everything; accepts requests when it returns.
    ///
    /// # Errors
    /// `Error`; nothing is left running.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let Options { shape, settings, wrap } = &options;
        let (listener, address) = listen(&settings.server).await?;
        let (seams, held) = fill(shape, settings).await?;
        let seams = wrap(seams);
        let choice = seams.choice();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            roles = shape.roles().iter().map(|role| role.as_str()).collect::<Vec<_>>().join(","),
            store = choice.store.as_str(),
            schema.version = store::postgres::schema_version(),
            broker = choice.broker.as_str(),
            cache = choice.cache.as_str(),
            "process starts"
        );
        let mut services = Services::of(&seams, settings);
        start_roles(&mut services, shape.roles(), settings)?;
        let (router, stopping) = (http::router(&services), services.front().clone());
        services.front().spawn(async move {
            if let Err(error) = http::serve(listener, router, stopping, http::Patience::default()).await {
                tracing::error!(error = siding_core::error::chain(&error), "the listener has ended");
            }
        });
        Ok(Self { address, services, _held: held })
    }

    /// Where a browser or client finds it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until a task of any service panics. Cancel-safe.
    pub async fn failed(&self) {
        self.services.failed().await;
    }

    /// Stops: readiness says no, then no new requests, streams end with their cursor and waits with what is known, running jobs end or are interrupted, everything is recorded.
    ///
    /// # Errors
    /// `Unfinished` when something did not end in time; what it held goes on after the next start.
    pub async fn stop(self) -> Result<(), siding_core::drain::Unfinished> {
        let seams = self.services.seams().clone();
        let stopped = self.services.stop().await;
        // Last: until here, deliveries were given back and messages published.
        seams.close().await;
        stopped
    }
}

async fn fill(shape: &Shape, settings: &Settings) -> Result<(Seams, Option<Held>), Error> {
    let (place, held) = match shape {
        Shape::Up { data } => (Place::Alone(data.clone()), Some(seams::hold(data)?)),
        Shape::One(_) => (Place::Shared, None),
    };
    let seams = Seams::open(&place, settings, Arc::new(SystemClock)).await?;
    seams.recover().await.map_err(Error::Recover)?;
    Ok((seams, held))
}

/// The roles in an order in which none has to wait for another: work is accepted last.
fn start_roles(services: &mut Services, roles: &[Role], settings: &Settings) -> Result<(), Error> {
    let with_models = roles.iter().any(|role| matches!(role, Role::Producer | Role::Worker));
    let catalog = if with_models { Some(open_catalog(settings)?) } else { None };
    if roles.contains(&Role::Results) {
        services.start_results();
    }
    let Some(catalog) = catalog else { return Ok(()) };
    if roles.contains(&Role::Worker) {
        services.start_worker(&catalog, choose_runtime(settings, &services.metrics))?;
    }
    if roles.contains(&Role::Producer) {
        services.start_producer(&catalog)?;
    }
    Ok(())
}

async fn listen(server: &config::Server) -> Result<(TcpListener, SocketAddr), Error> {
    // Settings that were loaded are checked already; those of a test, or of another program around this library, are not.
    if let Some(refusal) = server.refusal() {
        return Err(Error::NotLoopback(refusal));
    }
    let taken = |error| Error::Listen(server.listen, error);
    let listener = TcpListener::bind(server.listen).await.map_err(taken)?;
    let bound = listener.local_addr().map_err(taken)?;
    Ok((listener, bound))
}

fn open_catalog(settings: &Settings) -> Result<Catalog, Error> {
    let folder = settings.models_folder().ok_or(Error::NoModels)?;
    let catalog = Catalog::open(&folder, settings.worker.scripted, settings.models.versions.parse()?);
    let catalog = catalog.map_err(|error| Error::Models(folder, error))?;
    for broken in catalog.current().broken() {
        tracing::warn!(model.folder = broken.folder, why = broken.why, "model cannot be served");
    }
    Ok(catalog)
}

/// The runtimes of this process behind the guard that decides which models they get.
pub(crate) fn choose_runtime(settings: &Settings, metrics: &Arc<Metrics>) -> Arc<dyn ModelRuntime> {
    let runtimes = Runtimes::of_settings(settings);
    if let Some(unavailable) = runtimes.unavailable() {
        tracing::error!(error = siding_core::error::chain(unavailable), "models of runner `tensor` cannot run on this worker");
    }
    guarded(Arc::new(runtimes), settings, metrics)
}

/// The guard, over what runs models in this process.
pub(crate) fn guarded(here: Arc<dyn ModelRuntime>, settings: &Settings, metrics: &Arc<Metrics>) -> Arc<dyn ModelRuntime> {
    let worker = &settings.worker;
    let rules = Rules {
        isolation: worker.isolation,
        trusted: worker.trusted.0.clone(),
        first_rest: Duration::from_millis(worker.model_rest_ms),
    };
    Arc::new(Guard::new(here, isolated(settings), rules, metrics.clone()))
}

/// What runs models in processes of this very program.
pub(crate) fn isolated(settings: &Settings) -> Isolated {
    Isolated::new(Setup {
        program: PathBuf::from(THIS_PROGRAM),
        library: settings.worker.onnxruntime.clone(),
        memory_bytes_max: settings.worker.model_memory_bytes_max,
        variables: settings.of_providers(),
    })
}

/// Starts the process, prints where it is, and runs it until SIGTERM, Ctrl-C or a panic in one of its tasks; a second signal ends it at
/// once.
///
/// # Errors
/// When it cannot start or does not stop in time, and when a task has panicked.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let shape = options.shape.clone();
    // First of all: whoever reads that the process is up may tell it to stop at once.
    let mut told = Told::new()?;
    let process = tokio::select! {
        started = Process::start(options) => started?,
        () = told.stop_wanted() => anyhow::bail!("told to stop before it had started"),
    };
    match &shape {
        Shape::Up { data } => println!("siding is up at {}  (data in {})", process.url(), data.display()),
        Shape::One(role) => println!("siding {role} is up at {}", process.url()),
    }
    let failed = tokio::select! {
        () = told.stop_wanted() => false,
        () = process.failed() => true,
    };
    tracing::info!("stopping: running jobs may finish; a second signal ends at once");
    tokio::select! {
        stopped = process.stop() => stopped?,
        () = told.stop_wanted() => anyhow::bail!("ended by a second signal; what was running goes on after the next start"),
    }
    anyhow::ensure!(
        !failed,
        "a task has panicked, which is a defect; its place stands in the log, and every accepted job goes on after the next start"
    );
    Ok(())
}

/// What tells this process to stop: SIGTERM from a supervisor, SIGINT from a terminal.
struct Told {
    terminate: Signal,
    interrupt: Signal,
}

impl Told {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one of them. Cancel-safe.
    async fn stop_wanted(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
