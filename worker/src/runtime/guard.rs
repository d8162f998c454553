//! Which models run in processes of their own, and which are not loaded for a while. It decides by what each version has done on this worker
//! (`trust`, `breaker`) and hands on to the runtime in this process or to the one of processes; it never decides about a job.

mod breaker;
mod trust;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use siding_core::{
    config::Isolation,
    id::{ModelName, ModelVersion},
    model::{manifest::Runner, repository::Model},
    telemetry::Metrics,
};

use self::{
    breaker::Breaker,
    trust::{Place, Trust},
};
use super::{
    Cause, Computation, Isolated, LoadError, LoadedModel, ModelRuntime, RunControl, RunError, RuntimeReport, State, Step,
};

/// What a guard goes by.
pub struct Rules {
    /// The setting `worker.isolation`.
    pub isolation: Isolation,
    /// The setting `worker.trusted`.
    pub trusted: Vec<String>,
    /// The setting `worker.model_rest_ms`.
    pub first_rest: Duration,
}

/// Hands each load to one of two runtimes. Shared by all slots.
pub struct Guard {
    here: Arc<dyn ModelRuntime>,
    apart: Isolated,
    rules: Rules,
    shared: Arc<Shared>,
}

/// What every slot knows of each version.
struct Shared {
    records: Mutex<HashMap<Version, Record>>,
    first_rest: Duration,
    metrics: Arc<Metrics>,
}

/// One version as it lies in the repository: another file under the same words is another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Version {
    name: ModelName,
    version: ModelVersion,
    /// Over all of its files.
    files: [u8; 32],
}

impl Version {
    fn of(model: &Model) -> Self {
        let manifest = &model.manifest;
        let files = manifest.files().fold(Sha256::new(), |files, file| files.chain_update(file.sha256));
        Self { name: manifest.name.clone(), version: manifest.version.clone(), files: files.finalize().into() }
    }
}

/// One version's doings on this worker.
#[derive(Default)]
struct Record {
    trust: Trust,
    breaker: Breaker,
}

impl Guard {
    /// Over the runtime in this process and the one of processes.
    #[must_use]
    pub fn new(here: Arc<dyn ModelRuntime>, apart: Isolated, rules: Rules, metrics: Arc<Metrics>) -> Self {
        let shared = Shared { records: Mutex::default(), first_rest: rules.first_rest, metrics };
        Self { here, apart, rules, shared: Arc::new(shared) }
    }

    fn rule(&self, model: &Model) -> trust::Rule {
        let manifest = &model.manifest;
        let (name, full) = (manifest.name.to_string(), format!("{}/{}", manifest.name, manifest.version));
        trust::rule(
            self.rules.isolation,
            manifest.runner == Runner::Scripted,
            self.rules.trusted.iter().any(|trusted| *trusted == name || *trusted == full),
        )
    }
}

impl ModelRuntime for Guard {
    fn report(&self) -> RuntimeReport {
        self.here.report()
    }

    fn load(&self, model: &Model) -> Result<Box<dyn LoadedModel>, LoadError> {
        let (version, rule) = (Version::of(model), self.rule(model));
        let place = self.shared.ask(&version, rule).map_err(|left| {
            let why =
                format!("it has crashed {} times without a run that ended; it is tried again in {left:.0?}", breaker::CRASHES);
            LoadError { rests_for: Some(left), ..LoadError::new(model, why) }
        })?;
        let loaded = match place {
            Place::Here => self.here.load(model),
            Place::Apart => self.apart.load(model),
        };
        let inner = loaded.inspect_err(|error| {
            if let Some(cause) = error.crashed {
                self.shared.crashed(&version, cause);
            }
        })?;
        tracing::debug!(model.name = %version.name, model.version = %version.version, ?place, "a model is loaded here or apart");
        Ok(Box::new(Guarded { inner, watch: Watch { shared: self.shared.clone(), version }, rule, place }))
    }
}

impl Shared {
    /// Where to load, or for how long not to.
    fn ask(&self, version: &Version, rule: trust::Rule) -> Result<Place, Duration> {
        let mut records = self.records();
        let record = records.entry(version.clone()).or_default();
        record.breaker.ask(Instant::now()).inspect_err(|left| {
            self.metrics.model_load_refused(&version.name);
            tracing::warn!(model.name = %version.name, model.version = %version.version, left_ms = left.as_millis(),
                "a model is not loaded because it has crashed too often; its job is handed back");
        })?;
        Ok(record.trust.place(rule))
    }

    fn crashed(&self, version: &Version, cause: Cause) {
        self.metrics.model_crashed(&version.name);
        let mut records = self.records();
        let record = records.entry(version.clone()).or_default();
        record.trust.crashed();
        let tripped = record.breaker.crashed(Instant::now(), self.first_rest);
        tracing::error!(model.name = %version.name, model.version = %version.version, %cause, "the process of a model has ended");
        if let Some(rest) = tripped {
            tracing::error!(model.name = %version.name, model.version = %version.version, rest_ms = rest.as_millis(),
                "a model has crashed too often and is not loaded for a while");
        }
    }

    /// Its process was killed for a reason that is not its own: the version is new again, and no step nearer to a rest.
    fn killed(&self, version: &Version) {
        self.metrics.model_crashed(&version.name);
        self.records().entry(version.clone()).or_default().trust.crashed();
        tracing::warn!(model.name = %version.name, model.version = %version.version, "the process of a model did not heed a stop and was killed");
    }

    fn ended(&self, version: &Version) {
        let mut records = self.records();
        let record = records.entry(version.clone()).or_default();
        record.trust.ended();
        if record.breaker.ended() {
            tracing::info!(model.name = %version.name, model.version = %version.version, "a model that had crashed too often works again");
        }
    }

    fn records(&self) -> MutexGuard<'_, HashMap<Version, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the guard how the runs of one loaded model end.
#[derive(Clone)]
struct Watch {
    shared: Arc<Shared>,
    version: Version,
}

impl Watch {
    fn failed(&self, error: &RunError, was_excused: bool) {
        match error {
            // A caller who cancels must not take the model from the others: a long kernel is no defect.
            RunError::Crashed(Cause::NotStopping) if was_excused => self.shared.killed(&self.version),
            RunError::Crashed(cause) => self.shared.crashed(&self.version, *cause),
            // The model has answered, and its process with it.
            RunError::BadInput(_) | RunError::Failed(_) | RunError::OutputTooLarge { .. } | RunError::BadCheckpoint(_) => {
                self.shared.ended(&self.version);
            }
            // Says nothing of the model.
            RunError::Stopped => {}
        }
    }
}

struct Guarded {
    inner: Box<dyn LoadedModel>,
    watch: Watch,
    rule: trust::Rule,
    place: Place,
}

impl LoadedModel for Guarded {
    fn is_stale(&self) -> bool {
        let place = self.watch.shared.records().get(&self.watch.version).map(|record| record.trust.place(self.rule));
        self.inner.is_stale() || place.is_some_and(|place| place != self.place)
    }

    fn begin(&mut self, input: &str, from: Option<State>) -> Result<Box<dyn Computation>, RunError> {
        let inner = self.inner.begin(input, from).inspect_err(|error| {
            // An input that is refused before anything is computed speaks neither for the model nor against it.
            if let RunError::Crashed(_) = error {
                self.watch.failed(error, false);
            }
        })?;
        Ok(Box::new(Watched { inner, watch: self.watch.clone() }))
    }
}

struct Watched {
    inner: Box<dyn Computation>,
    watch: Watch,
}

impl Computation for Watched {
    fn step(&mut self, control: &RunControl) -> Result<Step, RunError> {
        let step = self.inner.step(control);
        match &step {
            Ok(Step::More(_)) => {}
            Ok(Step::Done(_)) => self.watch.shared.ended(&self.watch.version),
            Err(error) => self.watch.failed(error, control.is_excused()),
        }
        step
    }

    fn save(&self) -> Option<State> {
        self.inner.save()
    }
}
