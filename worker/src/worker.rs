//! The worker as a whole: wires its stations together and stops them in an order that loses nothing. Stopping is: take nothing more and
//! give back what is in hand; let running jobs end for a while; stop those that have not; record everything; then let the loops go.

use std::{sync::Arc, thread::JoinHandle, time::Duration};

use siding_core::{
    blob::Blobs,
    broker::{Consumer, EventBus, Heard, Hint, VersionHint},
    clock::Clock,
    drain::{Drain, Unfinished},
    id::WorkerId,
    lane::Lanes,
    model::catalog::Catalog,
    store::Attempts,
    telemetry::Metrics,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    checkpoint::keeping::Keeping,
    execute::Executor,
    keeper,
    loaded::{Bounds, LoadedModels},
    pump,
    recorder::{self, Recorder},
    running::{Running, RunningJobs, StopReason},
    runtime::ModelRuntime,
    slots::Slots,
    taking::{self, Taking},
    warming::{self, Warming},
};

/// Deliveries on their way from the pumps to the taking loop; the prefetch of the lanes is the real bound.
const HANDS_MAX: usize = 1024;
/// How long a run with steps may take to come to the end of one, save its state and leave, at shutdown.
const STEP_PATIENCE: Duration = Duration::from_secs(2);
/// How long a run may take to end once it was told to stop, at shutdown. By then the keeper has ended by force, or given up, what does not.
pub(crate) const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// How long the loops may take to end once nothing runs, at shutdown.
const LOOPS_PATIENCE: Duration = Duration::from_secs(5);

/// Pause before a bus that is gone is listened to again.
const LISTEN_AGAIN: Duration = Duration::from_millis(100);

/// What a worker works with.
pub struct Parts {
    /// Its name in leases and events.
    pub worker: WorkerId,
    /// The lanes, shortest first.
    pub lanes: Lanes,
    /// How many jobs run at once.
    pub slots: usize,
    /// The time between two checkpoints of one run, at least.
    pub checkpoint_every: Duration,
    /// How long a run may take to heed its stop before it is ended by force.
    pub stop_patience: Duration,
    /// How long a shutdown waits for running jobs before it interrupts them.
    pub drain: Duration,
    /// Where deliveries come from.
    pub consumer: Arc<dyn Consumer>,
    /// Where hints go and cancels are heard.
    pub bus: Arc<dyn EventBus>,
    /// Where jobs are claimed and recorded.
    pub store: Arc<dyn Attempts>,
    /// Where large inputs and outputs lie.
    pub blobs: Blobs,
    /// The models.
    pub catalog: Catalog,
    /// Most bytes that loaded models may count for; 0 for no bound but their number.
    pub models_bytes_max: u64,
    /// Which of them are loaded before the worker takes work: `worker.preload`.
    pub preload: String,
    /// Where it tells that it is not ready yet.
    pub warming: Warming,
    /// What runs them.
    pub runtime: Arc<dyn ModelRuntime>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// A running worker.
pub struct Worker {
    /// Stops pumps and taking.
    intake: Drain,
    /// Stops keeper and observer.
    rest: Drain,
    /// The recorder ends when its last handle is gone.
    recording: Drain,
    running: Arc<RunningJobs>,
    slots: Slots,
    threads: Vec<JoinHandle<()>>,
    patience: Duration,
}

impl Worker {
    /// Starts a worker. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(parts: Parts) -> std::io::Result<Self> {
        let (intake, rest, recording) = (Drain::new(), Drain::new(), Drain::new());
        let running = Arc::new(RunningJobs::default());
        let recorder = Recorder::start(
            &recording,
            recorder::Parts {
                store: parts.store.clone(),
                blobs: parts.blobs.clone(),
                bus: parts.bus.clone(),
                running: running.clone(),
                clock: parts.clock.clone(),
                metrics: parts.metrics.clone(),
            },
        );
        let bounds = Bounds::of(parts.slots, parts.models_bytes_max);
        let models = LoadedModels::new(parts.runtime.clone(), parts.catalog.clone(), bounds, parts.metrics.clone());
        let (slots, threads) = start_slots(&parts, &models, &recorder)?;
        keeper::start(
            &rest,
            keeper::Parts {
                worker: parts.worker,
                store: parts.store.clone(),
                bus: parts.bus.clone(),
                running: running.clone(),
                recorder: recorder.clone(),
                stop_patience: parts.stop_patience,
                metrics: parts.metrics.clone(),
            },
        );
        observe(&rest, &slots, &parts.metrics);
        heed_wishes(&rest, &parts, models.clone());
        let report = parts.runtime.report();
        tracing::info!(worker.id = %parts.worker, slots = parts.slots, runtime.name = report.name, runtime.version = report.version,
            runtime.library = report.library, providers.active = report.providers_active.join(","), "worker started");
        for (provider, why) in &report.providers_refused {
            tracing::warn!(provider, why, "execution provider asked for and not active");
        }
        let patience = parts.drain;
        if parts.preload.is_empty() {
            start_taking(&intake, &parts, &slots, &running, recorder);
        } else {
            take_when_warm(&intake, parts, models, slots.clone(), running.clone(), recorder);
        }
        Ok(Self { intake, rest, recording, running, slots, threads, patience })
    }

    /// Whether it still takes work.
    #[must_use]
    pub fn is_taking(&self) -> bool {
        !self.intake.is_stopping()
    }

    /// Waits until one of its loops panics. Cancel-safe.
    pub async fn failed(&self) {
        tokio::select! {
            () = self.intake.failed() => {}
            () = self.rest.failed() => {}
            () = self.recording.failed() => {}
        }
    }

    /// How many slots are lost to runs that do not heed their stop.
    #[must_use]
    pub fn slots_hung(&self) -> usize {
        self.slots.hung()
    }

    /// Stops: takes nothing more, waits for running jobs as long as configured, interrupts the rest, records everything. Every step is
    /// taken, also after one that did not end in time; the first such step is the error.
    ///
    /// # Errors
    /// `Unfinished` when a run does not end although it was stopped (it hangs in native code), or the store does not take the last
    /// records: those jobs run again when their leases are over.
    pub async fn stop(self) -> Result<(), Unfinished> {
        let intake = self.intake.stopped(LOOPS_PATIENCE).await;
        if tokio::time::timeout(self.patience, self.running.none_left()).await.is_err() {
            self.leave_between_steps().await;
            for running in self.running.all() {
                running.stop(StopReason::Drain);
            }
        }
        let stopped = tokio::time::timeout(STOP_PATIENCE, self.running.none_left()).await;
        self.slots.end();
        let left = if stopped.is_ok() { self.slots.hung() } else { self.running.all().len() };
        let runs = if left == 0 { Ok(()) } else { Err(Unfinished { left, waited_ms: STOP_PATIENCE.as_millis() }) };
        let rest = self.rest.stopped(LOOPS_PATIENCE).await;
        // A thread that hangs cannot be joined; it ends with the process. The others have ended or are about to.
        let joined = if runs.is_ok() { join(self.threads).await } else { Ok(()) };
        drop(self.slots);
        // With a hanging thread the recorder has a handle left and cannot end; it has taken what it could get.
        let recorded = if runs.is_ok() { self.recording.stopped(LOOPS_PATIENCE).await } else { Ok(()) };
        intake.and(runs).and(rest).and(joined).and(recorded)
    }

    /// Lets runs that have steps save their state and leave at the end of one. The others are not waited for.
    async fn leave_between_steps(&self) {
        self.running.all().into_iter().filter(|running| running.has_steps()).for_each(|running| running.leave());
        if tokio::time::timeout(STEP_PATIENCE, self.running.none_left_of(Running::has_steps)).await.is_err() {
            tracing::warn!("runs did not come to the end of a step; what they did since their last checkpoints is lost");
        }
    }

    /// Ends everything at once and records nothing, as a crash would. For fault tests: leases stay, deliveries are dropped.
    pub fn abandon(self) {
        self.intake.stop();
        for running in self.running.all() {
            drop(running.take_delivery());
            running.stop(StopReason::LeaseLost);
        }
        self.slots.end();
        self.rest.stop();
    }
}

async fn join(threads: Vec<JoinHandle<()>>) -> Result<(), Unfinished> {
    let joining = Drain::new();
    joining.spawn_blocking(move || {
        if threads.into_iter().any(|thread| thread.join().is_err()) {
            tracing::error!("a slot's thread panicked outside a run: a defect");
        }
    });
    joining.stopped(LOOPS_PATIENCE).await
}

fn start_slots(parts: &Parts, models: &LoadedModels, recorder: &Recorder) -> std::io::Result<(Slots, Vec<JoinHandle<()>>)> {
    let (recorder, handle) = (recorder.clone(), tokio::runtime::Handle::current());
    let keeping = Keeping {
        blobs: parts.blobs.clone(),
        recorder: recorder.clone(),
        metrics: parts.metrics.clone(),
        executor: handle.clone(),
        interval: parts.checkpoint_every,
    };
    let executor = || Executor::new(models.clone(), keeping.clone());
    let report = Arc::new(move |running, end| recorder.finished_blocking(running, end, &handle));
    Slots::start(parts.slots, parts.lanes.as_slice().len(), executor, report)
}

fn start_taking(intake: &Drain, parts: &Parts, slots: &Slots, running: &Arc<RunningJobs>, recorder: Recorder) {
    let (hands, deliveries) = mpsc::channel(HANDS_MAX);
    let pumps = pump::Parts { consumer: parts.consumer.clone(), hands, clock: parts.clock.clone() };
    let mut tickets = Vec::new();
    for (index, lane) in parts.lanes.as_slice().iter().enumerate() {
        let (ticket, asked) = watch::channel(None);
        pump::start(intake, pumps.clone(), index, lane, asked);
        tickets.push(ticket);
    }
    let taking = Taking::new(
        taking::Parts {
            worker: parts.worker,
            lanes: parts.lanes.clone(),
            store: parts.store.clone(),
            blobs: parts.blobs.clone(),
            clock: parts.clock.clone(),
            metrics: parts.metrics.clone(),
            slots: slots.clone(),
            running: running.clone(),
            recorder,
        },
        tickets,
        intake.clone(),
    );
    intake.spawn(taking.run(deliveries));
}

/// Takes work once the models of `worker.preload` are loaded, as far as they can be.
fn take_when_warm(
    intake: &Drain,
    parts: Parts,
    models: LoadedModels,
    slots: Slots,
    running: Arc<RunningJobs>,
    recorder: Recorder,
) {
    parts.warming.set(true);
    let drain = intake.clone();
    intake.spawn(async move {
        warming::warm(&drain, models, &parts.preload, parts.slots).await;
        parts.warming.set(false);
        if !drain.is_stopping() {
            start_taking(&drain, &parts, &slots, &running, recorder);
        }
    });
}

/// Tells the gauges of the slots once a second.
fn observe(drain: &Drain, slots: &Slots, metrics: &Arc<Metrics>) {
    let (stop, slots, metrics) = (drain.clone(), slots.clone(), metrics.clone());
    drain.spawn(async move {
        loop {
            metrics.slots(slots.view().busy, slots.count());
            tokio::select! {
                () = stop.stopping() => return,
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    });
}

/// Drops what the repository no longer holds as soon as that is read, so that its memory is free before the next load, and loads and unloads what an
/// operator wants. A lost hint is a wish that was not heard: its operator sees that and repeats it.
fn heed_wishes(drain: &Drain, parts: &Parts, models: LoadedModels) {
    // Before this returns: whoever has started a worker may ask it at once.
    let (mut readings, mut hints) = (parts.catalog.listen(), parts.bus.listen());
    let (bus, slots) = (parts.bus.clone(), parts.slots);
    let drain = drain.clone();
    drain.clone().spawn(async move {
        loop {
            let wish = tokio::select! {
                () = drain.stopping() => return,
                () = readings.next() => Wish::DropReplaced,
                heard = hints.next() => match heard {
                    Heard::Hint(Hint::Load(wanted)) => Wish::Load(wanted),
                    Heard::Hint(Hint::Unload(unwanted)) => Wish::Unload(unwanted),
                    Heard::Hint(_) | Heard::Missed => continue,
                    Heard::Closed => {
                        tokio::time::sleep(LISTEN_AGAIN).await;
                        hints = bus.listen();
                        continue;
                    }
                },
            };
            // One after the other: sessions take long to make and to end, and two loads at once would make neither faster.
            let (done, ended) = oneshot::channel::<()>();
            let (models, stop) = (models.clone(), drain.clone());
            drain.spawn_blocking(move || {
                wish.carry_out(&stop, &models, slots);
                drop(done);
            });
            drop(ended.await);
        }
    });
}

/// What is to become of loaded copies.
enum Wish {
    DropReplaced,
    Load(VersionHint),
    Unload(VersionHint),
}

impl Wish {
    fn carry_out(&self, drain: &Drain, models: &LoadedModels, slots: usize) {
        match self {
            Self::DropReplaced => models.drop_replaced(),
            Self::Unload(VersionHint { model, version }) => models.unload(model, version),
            Self::Load(VersionHint { model, version }) => {
                let repository = models.repository();
                let warmed = repository.find(model, version).ok_or_else(|| repository.missing(model, Some(version)).to_string());
                if let Err(why) = warmed.and_then(|found| models.warm(drain, found, slots)) {
                    tracing::error!(model.name = %model, model.version = %version, why, "model cannot be loaded as an operator wants");
                }
            }
        }
    }
}
