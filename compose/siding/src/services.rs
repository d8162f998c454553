//! The services of one process, started over a filled set of seams, one role after the other, and stopped in order: readiness says no, then
//! nothing is accepted and nobody is waited for any more, then nothing is taken any more, then what was done is recorded and published. It decides
//! which role needs what; no service learns which others run beside it.

mod producer;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use siding_core::{
    api::answer::Answers,
    config::Settings,
    drain::{Drain, Unfinished},
    follow::Follower,
    id::WorkerId,
    lane::InvalidLanes,
    model::catalog::{self, Catalog},
    telemetry::Metrics,
};
use siding_producer::intake::Intake;
use siding_worker::{Worker, runtime::ModelRuntime};

pub use self::producer::Producer;
use crate::seams::Seams;

/// How long the loops of the producing side may take to end.
const LOOPS_PATIENCE: Duration = Duration::from_secs(5);
/// How long open connections may take to end after the stop signal; streams and preferred waits end at once by themselves.
const CONNECTIONS_PATIENCE: Duration = Duration::from_secs(5);

/// Why the services cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The lanes are not a valid set.
    #[error(transparent)]
    Lanes(#[from] InvalidLanes),
    /// The system refuses a thread.
    #[error("a worker's thread cannot be started")]
    Thread(#[source] std::io::Error),
}

/// What a process can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Accepts, publishes, rescues.
    Producer,
    /// Takes, runs, records.
    Worker,
    /// Shows and streams.
    Results,
}

impl Role {
    /// All of them, as in laptop mode.
    pub const ALL: &[Self] = &[Self::Producer, Self::Worker, Self::Results];

    /// Its name, as on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Worker => "worker",
            Self::Results => "results",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether this process wants no further callers: written once by `Services::stop`, read by readiness.
#[derive(Debug, Clone, Default)]
pub struct Leaving(Arc<AtomicBool>);

impl Leaving {
    /// Whether it does.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Running services.
pub struct Services {
    /// Counts.
    pub metrics: Arc<Metrics>,
    seams: Seams,
    settings: Settings,
    producer: Option<Producer>,
    /// `None` where there is no such role, and once it was taken away.
    worker: Option<Worker>,
    is_results: bool,
    /// Whether the repository is read again already.
    is_reading: bool,
    /// Who waits for jobs here; started with the first role that lets callers wait.
    follower: Option<Follower>,
    leaving: Leaving,
    /// Room for outputs on their way to callers.
    answers: Answers,
    /// What serves callers: HTTP, streams, and calls that wait for a job's end. Stopped before everything else, because
    /// nobody's answer may hold up the rest.
    front: Drain,
}

impl Services {
    /// No role yet: what every process has. Must be called within a Tokio runtime, as everything here.
    #[must_use]
    pub fn of(seams: &Seams, settings: &Settings) -> Self {
        let metrics = Arc::new(Metrics::new());
        seams.count_into(&metrics);
        Self {
            metrics,
            seams: seams.clone(),
            settings: settings.clone(),
            producer: None,
            worker: None,
            is_results: false,
            is_reading: false,
            follower: None,
            leaving: Leaving::default(),
            answers: Answers::default(),
            front: Drain::new(),
        }
    }

    /// Every role in one process.
    ///
    /// # Errors
    /// `Error`.
    pub fn start(seams: &Seams, settings: &Settings, catalog: &Catalog, runtime: Arc<dyn ModelRuntime>) -> Result<Self, Error> {
        let mut services = Self::of(seams, settings);
        services.start_producer(catalog)?;
        services.start_results();
        services.start_worker(catalog, runtime)?;
        Ok(services)
    }

    /// Adds the role that accepts, publishes and rescues.
    ///
    /// # Errors
    /// `Lanes`.
    pub fn start_producer(&mut self, catalog: &Catalog) -> Result<(), Error> {
        self.follow();
        self.keep_reading(catalog);
        self.producer = Some(Producer::start(&self.seams, &self.settings, catalog, &self.metrics)?);
        Ok(())
    }

    /// Adds the role that shows and streams.
    pub fn start_results(&mut self) {
        self.follow();
        self.is_results = true;
    }

    /// Adds the role that runs jobs, or starts it again in place of one that was taken away.
    ///
    /// # Errors
    /// `Error`.
    pub fn start_worker(&mut self, catalog: &Catalog, runtime: Arc<dyn ModelRuntime>) -> Result<(), Error> {
        self.keep_reading(catalog);
        let worker = Worker::start(siding_worker::Parts {
            worker: WorkerId::generate(),
            lanes: self.settings.lanes()?,
            slots: self.settings.slots(),
            drain: Duration::from_millis(self.settings.worker.drain_ms),
            checkpoint_every: Duration::from_millis(self.settings.worker.checkpoint_ms),
            stop_patience: Duration::from_millis(self.settings.worker.stop_patience_ms),
            consumer: self.seams.consumer.clone(),
            bus: self.seams.bus.clone(),
            store: self.seams.attempts.clone(),
            blobs: self.seams.blobs.clone(),
            catalog: catalog.clone(),
            models_bytes_max: self.settings.worker.models_bytes_max,
            runtime,
            clock: self.seams.clock.clone(),
            metrics: self.metrics.clone(),
        });
        self.worker = Some(worker.map_err(Error::Thread)?);
        Ok(())
    }

    /// One reader of the repository for all roles of this process.
    fn keep_reading(&mut self, catalog: &Catalog) {
        let every = Duration::from_millis(self.settings.models.reload_ms);
        if !std::mem::replace(&mut self.is_reading, true) && !every.is_zero() {
            catalog::keep_reading(&self.front, catalog, every, self.metrics.clone());
        }
    }

    /// One follower for all who wait in this process.
    fn follow(&mut self) {
        let (seams, poll) = (&self.seams, Duration::from_millis(self.settings.stream.poll_ms));
        let start = || Follower::start(&self.front, seams.feed.clone(), &seams.bus, seams.clock.clone(), poll);
        self.follower.get_or_insert_with(start);
    }

    /// Accepts jobs, where there is a producer.
    #[must_use]
    pub fn intake(&self) -> Option<&Arc<dyn Intake>> {
        self.producer.as_ref().map(|producer| &producer.intake)
    }

    /// The producer, where there is one.
    #[must_use]
    pub fn producer(&self) -> Option<&Producer> {
        self.producer.as_ref()
    }

    /// Whether this process shows jobs.
    #[must_use]
    pub fn is_results(&self) -> bool {
        self.is_results
    }

    /// Follows jobs, where callers may wait for them.
    #[must_use]
    pub fn follower(&self) -> Option<&Follower> {
        self.follower.as_ref()
    }

    /// The seams that they work over.
    #[must_use]
    pub fn seams(&self) -> &Seams {
        &self.seams
    }

    /// The settings that they were started with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Room for outputs on their way to callers, one for the whole process.
    #[must_use]
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// Whether readiness is to say no.
    #[must_use]
    pub fn leaving(&self) -> &Leaving {
        &self.leaving
    }

    /// What serves callers: its stop signal ends connections, streams and preferred waits.
    #[must_use]
    pub fn front(&self) -> &Drain {
        &self.front
    }

    /// Waits until a task of any service panics: what is left cannot keep its promises and is to be stopped. Cancel-safe.
    pub async fn failed(&self) {
        let worker = async {
            match &self.worker {
                Some(worker) => worker.failed().await,
                None => std::future::pending().await,
            }
        };
        let producer = async {
            match &self.producer {
                Some(producer) => producer.failed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.front.failed() => {}
            () = producer => {}
            () = worker => {}
        }
    }

    /// Says by readiness that nobody is to come any more and goes on serving for `server.unready_ms`; then stops what serves callers, then the
    /// worker, then the producing side. Takes at most that, `CONNECTIONS_PATIENCE`, what `Worker::stop` takes, and `LOOPS_PATIENCE`;
    /// docs/architecture.md adds them up.
    ///
    /// # Errors
    /// `Unfinished` when something did not end in time; what it held goes on after the next start.
    pub async fn stop(self) -> Result<(), Unfinished> {
        self.leaving.0.store(true, Ordering::Relaxed);
        // Whoever has failed serves nobody well: no further caller is to come meanwhile.
        tokio::select! {
            () = self.seams.clock.sleep(self.settings.unready()) => {}
            () = self.failed() => {}
            () = self.front.stopping() => {}
        }
        // A client that does not end its connection must not hold the shutdown: its connection ends with the process.
        if let Err(unfinished) = self.front.stopped(CONNECTIONS_PATIENCE).await {
            tracing::warn!(%unfinished, "connections were cut");
        }
        let worker = match self.worker {
            Some(worker) => worker.stop().await,
            None => Ok(()),
        };
        let producer = match self.producer {
            Some(producer) => producer.stop(LOOPS_PATIENCE).await,
            None => Ok(()),
        };
        worker.and(producer)
    }

    /// Takes the worker away, to stop or to abandon it alone.
    pub fn take_worker(&mut self) -> Option<Worker> {
        self.worker.take()
    }
}
