//! The producing side of a process: intake, dispatcher and relay, sweep, dead letters. It decides how they are wired to the seams; what they do is
//! `siding_producer`'s.

use std::{sync::Arc, time::Duration};

use siding_core::{
    config::Settings,
    drain::{Drain, Unfinished},
    lane::Lanes,
    model::catalog::Catalog,
    offload::Offload,
    telemetry::Metrics,
};
use siding_producer::{
    dead_letters, dispatch,
    intake::Intake,
    lost,
    submitter::{self, Submitter},
    sweep,
};

use super::Error;
use crate::seams::Seams;

/// A running producer.
pub struct Producer {
    /// Accepts jobs.
    pub intake: Arc<dyn Intake>,
    /// What it accepts jobs for.
    pub catalog: Catalog,
    /// Parses what is long.
    pub offload: Offload,
    /// The lanes that it publishes to.
    pub lanes: Lanes,
    drain: Drain,
}

impl Producer {
    /// Starts one.
    ///
    /// # Errors
    /// `Lanes`.
    pub(super) fn start(seams: &Seams, settings: &Settings, catalog: &Catalog, metrics: &Arc<Metrics>) -> Result<Self, Error> {
        let (drain, lanes) = (Drain::new(), settings.lanes()?);
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
        start_rescue(&drain, seams, settings, &lanes, metrics);
        let offload = Offload::new(&drain);
        let intake = Submitter::start(
            &drain,
            submitter::Parts {
                catalog: catalog.clone(),
                blobs: seams.blobs.clone(),
                offload: offload.clone(),
                submissions: seams.submissions.clone(),
                jobs: seams.jobs.clone(),
                dead: seams.dead.clone(),
                outbox,
                bus: seams.bus.clone(),
                clock: seams.clock.clone(),
                metrics: metrics.clone(),
                lanes: lanes.clone(),
                settings: settings.submit.clone(),
            },
        );
        Ok(Self { intake, catalog: catalog.clone(), offload, lanes, drain })
    }

    /// Waits until a task of it panics. Cancel-safe.
    pub(super) async fn failed(&self) {
        self.drain.failed().await;
    }

    /// Publishes and marks what it has, and ends.
    ///
    /// # Errors
    /// `Unfinished`.
    pub(super) async fn stop(self, patience: Duration) -> Result<(), Unfinished> {
        // The group commit ends with its last handle.
        drop(self.intake);
        self.drain.stopped(patience).await
    }
}

/// The loops that find what was lost: leases that are over, dead letters, messages that are in no queue.
fn start_rescue(drain: &Drain, seams: &Seams, settings: &Settings, lanes: &Lanes, metrics: &Arc<Metrics>) {
    sweep::start(
        drain,
        sweep::Parts {
            store: seams.attempts.clone(),
            blobs: seams.blobs.clone(),
            bus: seams.bus.clone(),
            clock: seams.clock.clone(),
            metrics: metrics.clone(),
            every: settings.sweep_poll(),
        },
    );
    dead_letters::start(
        drain,
        dead_letters::Parts {
            letters: seams.dead_letters.clone(),
            publisher: seams.publisher.clone(),
            jobs: seams.jobs.clone(),
            outbox: seams.dispatch.clone(),
            lanes: lanes.clone(),
            clock: seams.clock.clone(),
            metrics: metrics.clone(),
        },
    );
    lost::start(
        drain,
        lost::Parts {
            consumer: seams.consumer.clone(),
            jobs: seams.jobs.clone(),
            outbox: seams.dispatch.clone(),
            bus: seams.bus.clone(),
            lanes: lanes.clone(),
            clock: seams.clock.clone(),
            metrics: metrics.clone(),
            lost_after: Duration::from_millis(settings.dispatch.lost_after_ms),
        },
    );
}
