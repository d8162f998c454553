//! What this broker tells about itself: its standing and what it has dropped, into the metrics if somebody has given some. It decides
//! nothing and must never hold anything up.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use crate::{broker::Standing, telemetry::Metrics};

/// A handle; all clones are the same.
#[derive(Clone)]
pub(super) struct Report(Arc<Inner>);

struct Inner {
    standing: watch::Sender<Standing>,
    /// Given once, by who wires the service.
    metrics: OnceLock<Arc<Metrics>>,
}

impl Report {
    /// Away, and no metrics.
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner { standing: watch::Sender::new(Standing::Away), metrics: OnceLock::new() }))
    }

    /// From now on into these.
    pub(super) fn count_into(&self, metrics: Arc<Metrics>) {
        metrics.broker(*self.0.standing.borrow());
        // A second one is ignored: one service has one set of metrics.
        self.0.metrics.set(metrics).unwrap_or_default();
    }

    /// How the broker stands, now and at every change.
    pub(super) fn standing(&self) -> watch::Receiver<Standing> {
        self.0.standing.subscribe()
    }

    /// The broker stands so.
    pub(super) fn stands(&self, standing: Standing) {
        self.0.standing.send_replace(standing);
        self.with(|metrics| metrics.broker(standing));
    }

    /// A message could not be read.
    pub(super) fn unreadable(&self) {
        self.with(Metrics::unreadable);
    }

    /// So many hints did not go out to other processes.
    pub(super) fn hints_dropped(&self, hints: usize) {
        self.with(|metrics| metrics.hints_dropped(hints));
    }

    fn with(&self, tell: impl FnOnce(&Metrics)) {
        if let Some(metrics) = self.0.metrics.get() {
            tell(metrics);
        }
    }
}
