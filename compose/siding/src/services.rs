//! The services of one process, started over a filled set of seams and stopped in order: nothing is accepted and nobody is waited for any more, then nothing is
//! taken any more, then what was done is recorded and published.

use std::{sync::Arc, time::Duration};

use siding_core::{
    api::answer::Answers,
    config::Settings,
    drain::{Drain, Unfinished},
    follow::Follower,
    id::WorkerId,
    lane::InvalidLanes,
    model::repository::Repository,
    offload::Offload,
    telemetry::Metrics,
};
use siding_producer::{
    dispatch,
    intake::Intake,
    submitter::{self, Submitter},
    sweep,
};
use siding_worker::{Worker, runtime::ModelRuntime};

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

/// Running services.
pub struct Services {
    /// Accepts jobs.
    pub intake: Arc<dyn Intake>,
    /// Follows them.
    pub follower: Follower,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Room for outputs on their way to callers.
    pub answers: Answers,
    /// Parses what is long.
    pub offload: Offload,
    /// What serves callers: HTTP, streams, and calls that wait for a job's end. Stopped before everything else, because
    /// nobody's answer may hold up the rest.
    front: Drain,
    drain: Drain,
    /// `None` once it was taken away.
    worker: Option<Worker>,
}

impl Services {
    /// Starts producer, worker and follower. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// `Error`.
    pub fn start(
        seams: &Seams,
        settings: &Settings,
        repository: &Arc<Repository>,
        runtime: Arc<dyn ModelRuntime>,
    ) -> Result<Self, Error> {
        let (front, drain, metrics) = (Drain::new(), Drain::new(), Arc::new(Metrics::new()));
        let lanes = settings.lanes()?;
        let outbox = dispatch::start(
            &drain,
            dispatch::Parts {
                publisher: seams.publisher.clone(),
                store: seams.dispatch.clone(),
                bus: seams.bus.clone(),
                lanes: lanes.clone(),
                clock: seams.clock.clone(),
                metrics: metrics.clone(),
                relay_poll: settings.relay_poll(),
                unpublished_max: settings.submit.unpublished_max,
            },
        );
        sweep::start(
            &drain,
            sweep::Parts {
                store: seams.attempts.clone(),
                bus: seams.bus.clone(),
                clock: seams.clock.clone(),
                metrics: metrics.clone(),
                every: settings.sweep_poll(),
            },
        );
        let poll = Duration::from_millis(settings.stream.poll_ms);
        let follower = Follower::start(&front, seams.feed.clone(), &seams.bus, seams.clock.clone(), poll);
        let offload = Offload::new(&drain);
        let intake = Submitter::start(
            &drain,
            submitter::Parts {
                repository: repository.clone(),
                blobs: seams.blobs.clone(),
                offload: offload.clone(),
                submissions: seams.submissions.clone(),
                dead: seams.dead.clone(),
                outbox,
                bus: seams.bus.clone(),
                clock: seams.clock.clone(),
                metrics: metrics.clone(),
                lanes: lanes.clone(),
                settings: settings.submit.clone(),
            },
        );
        let worker = Some(start_worker(seams, settings, repository, runtime, &metrics)?);
        Ok(Self { intake, follower, metrics, answers: Answers::default(), offload, front, drain, worker })
    }

    /// What serves callers: its stop signal ends connections, streams and preferred waits, and turns readiness false.
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
        tokio::select! {
            () = self.front.failed() => {}
            () = self.drain.failed() => {}
            () = worker => {}
        }
    }

    /// Stops what serves callers, then the worker, then the producing side. Takes at most `CONNECTIONS_PATIENCE`, what
    /// `Worker::stop` takes, and `LOOPS_PATIENCE`; docs/architecture.md adds them up.
    ///
    /// # Errors
    /// `Unfinished` when something did not end in time; what it held goes on after the next start.
    pub async fn stop(self) -> Result<(), Unfinished> {
        // A client that does not end its connection must not hold the shutdown: its connection ends with the process.
        if let Err(unfinished) = self.front.stopped(CONNECTIONS_PATIENCE).await {
            tracing::warn!(%unfinished, "connections were cut");
        }
        let worker = match self.worker {
            Some(worker) => worker.stop().await,
            None => Ok(()),
        };
        // The group commit ends with its last handle.
        drop(self.intake);
        let rest = self.drain.stopped(LOOPS_PATIENCE).await;
        worker.and(rest)
    }

    /// Takes the worker away, to stop or to abandon it alone.
    pub fn take_worker(&mut self) -> Option<Worker> {
        self.worker.take()
    }

    /// Gives the services a worker in place of one that was taken away.
    pub fn set_worker(&mut self, worker: Worker) {
        self.worker = Some(worker);
    }
}

/// Starts one worker over the seams. Must be called within a Tokio runtime.
///
/// # Errors
/// `Error`.
pub fn start_worker(
    seams: &Seams,
    settings: &Settings,
    repository: &Arc<Repository>,
    runtime: Arc<dyn ModelRuntime>,
    metrics: &Arc<Metrics>,
) -> Result<Worker, Error> {
    Worker::start(siding_worker::Parts {
        worker: WorkerId::generate(),
        lanes: settings.lanes()?,
        slots: settings.slots(),
        drain: Duration::from_millis(settings.worker.drain_ms),
        consumer: seams.consumer.clone(),
        bus: seams.bus.clone(),
        store: seams.attempts.clone(),
        blobs: seams.blobs.clone(),
        repository: repository.clone(),
        runtime,
        clock: seams.clock.clone(),
        metrics: metrics.clone(),
    })
    .map_err(Error::Thread)
}
