//! The metrics of models: what changes in the repository and what workers keep loaded. It decides names and labels; it never counts by itself.

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Meter},
};

use super::{gauge, label};
use crate::{id::ModelName, model::catalog::ChangeKind};

/// Their instruments.
#[derive(Debug)]
pub struct Models {
    changes: Counter<u64>,
    loads: Counter<u64>,
    loaded: Gauge<u64>,
    loaded_bytes: Gauge<u64>,
}

impl Models {
    pub(super) fn new(meter: &Meter) -> Self {
        let count = |name: &'static str, about: &'static str| meter.u64_counter(name).with_description(about).build();
        Self {
            changes: count(
                "siding_model_changes",
                "Versions that came, went, were replaced or broke, as the repository was read again.",
            ),
            loads: count("siding_model_loads", "Copies of models that were loaded, or could not be, by model."),
            loaded: gauge(meter, "siding_models_loaded", "Copies of models that this worker holds."),
            loaded_bytes: gauge(meter, "siding_models_loaded_bytes", "What they count for against worker.models_bytes_max."),
        }
    }

    /// A version came, went, was replaced or broke.
    pub fn changed(&self, kind: ChangeKind) {
        self.changes.add(1, &[KeyValue::new("change", kind.as_str())]);
    }

    /// A copy was loaded, or could not be.
    pub fn loaded(&self, model: &ModelName, succeeded: bool) {
        let outcome = if succeeded { "loaded" } else { "failed" };
        self.loads.add(1, &[label("model", model.as_str()), KeyValue::new("outcome", outcome)]);
    }

    /// The worker holds so many copies, which count for so many bytes.
    pub fn held(&self, copies: usize, bytes: u64) {
        self.loaded.record(copies as u64, &[]);
        self.loaded_bytes.record(bytes, &[]);
    }

    /// Gives every instrument a value, whatever it is.
    #[cfg(test)]
    pub(super) fn touch(&self, model: &ModelName) {
        self.changed(ChangeKind::Added);
        self.loaded(model, true);
        self.held(1, 2);
    }
}
