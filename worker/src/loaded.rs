//! The models that this worker keeps loaded, for all of its slots: a copy that no slot runs lies here, and any slot may take it. It decides which
//! copies go when there is no room for another, and that a copy of what the repository no longer holds is never used again. It never takes a
//! copy from a slot that runs it.
//!
//! A copy counts as held from before it is loaded until it is dropped (`Room`), so that two slots cannot both use the last of the memory.

mod bounds;
mod warm;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use siding_core::{
    error::chain,
    id::{ModelName, ModelVersion},
    model::{
        catalog::{self, Catalog},
        repository::{Model, Repository},
    },
    telemetry::Metrics,
};

pub use self::bounds::Bounds;
use self::bounds::{bytes_of, evict};
use crate::runtime::{Cause, LoadError, LoadedModel, ModelRuntime};

/// How long a failed load stands: until then an attempt fails with the same words, instead of reading and checking the files again.
const FAILED_LOAD_STANDS: Duration = Duration::from_secs(10);
/// Most failed loads that are remembered; the oldest goes first.
const FAILED_LOADS_MAX: usize = 32;
/// How long a load waits for the end of runs that hold the memory it needs.
const ROOM_PATIENCE: Duration = Duration::from_secs(30);
/// How often such a wait looks whether its job was stopped.
const ROOM_LOOK: Duration = Duration::from_millis(100);

/// Why there is no copy for a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotLoaded {
    /// It cannot be loaded here, in words for the caller of the job.
    #[error("{0}")]
    Refused(String),
    /// It has crashed too often, and is not loaded for so long.
    #[error("it has crashed too often and is not loaded for {0:.0?}")]
    Resting(Duration),
    /// Its process crashed while it was loaded.
    #[error("its process {0}")]
    Crashed(Cause),
    /// Runs of other models hold all of the memory, and go on to.
    #[error("runs of other models hold all of the memory")]
    NoRoom,
    /// The run was stopped before its model was there.
    #[error("it was stopped before it was loaded")]
    Stopped,
}

/// The copies of one worker. Cheap to clone.
#[derive(Clone)]
pub struct LoadedModels(Arc<Shared>);

struct Shared {
    runtime: Arc<dyn ModelRuntime>,
    catalog: Catalog,
    metrics: Arc<Metrics>,
    bounds: Bounds,
    state: Mutex<State>,
    /// Tells loads that wait that a copy became idle or went.
    freed: Condvar,
}

#[derive(Default)]
struct State {
    /// Most recently used last.
    idle: Vec<Loaded>,
    /// Everything that holds memory, by its room.
    held: HashMap<u64, Held>,
    room_last: u64,
    /// Oldest first.
    failed: VecDeque<FailedLoad>,
}

struct Held {
    version: Arc<Model>,
    bytes: u64,
    /// Somebody wants it unloaded: it goes as soon as nobody runs it.
    unwanted: bool,
}

struct FailedLoad {
    version: Arc<Model>,
    at: Instant,
    message: String,
}

/// One loaded copy, in the hands of a slot.
pub struct Loaded {
    /// What runs.
    pub model: Box<dyn LoadedModel>,
    /// What was loaded.
    version: Arc<Model>,
    /// After `model`: the memory is free when the model is gone.
    room: Room,
}

impl Loaded {
    /// What was loaded.
    #[must_use]
    pub fn version(&self) -> &Arc<Model> {
        &self.version
    }
}

/// What a load that waited has got.
enum Place {
    /// A copy that another slot has put back.
    Idle(Loaded),
    /// Room for a copy.
    Room(Room),
}

/// The memory that one copy counts for.
struct Room {
    id: u64,
    /// Weak, because idle copies lie in there.
    shared: Weak<Shared>,
}

impl Drop for Room {
    fn drop(&mut self) {
        // Without it the worker is gone, and all of its copies go.
        let Some(shared) = self.shared.upgrade() else { return };
        let mut state = shared.lock();
        state.held.remove(&self.id);
        shared.tell_held(&state);
        shared.freed.notify_all();
    }
}

impl State {
    fn bytes(&self) -> u64 {
        self.held.values().map(|held| held.bytes).sum()
    }

    /// Takes the idle copies away that `goes` says. They are to be dropped when the state is no longer locked: that takes it again.
    fn take_idle(&mut self, goes: impl Fn(&Self, &Loaded) -> bool) -> Vec<Loaded> {
        let (gone, stay) = std::mem::take(&mut self.idle).into_iter().partition(|loaded| goes(self, loaded));
        self.idle = stay;
        gone
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_held(&self, state: &State) {
        self.metrics.models.held(state.held.len(), state.bytes());
    }
}

impl LoadedModels {
    /// Nothing loaded yet.
    #[must_use]
    pub fn new(runtime: Arc<dyn ModelRuntime>, catalog: Catalog, bounds: Bounds, metrics: Arc<Metrics>) -> Self {
        let (state, freed) = (Mutex::default(), Condvar::new());
        Self(Arc::new(Shared { runtime, catalog, metrics, bounds, state, freed }))
    }

    /// The repository as it is now.
    #[must_use]
    pub fn repository(&self) -> Arc<Repository> {
        self.0.catalog.current()
    }

    /// A copy of this version for one run: one that lies here, or a fresh one. Blocks while it is loaded, and while runs hold the memory for it;
    /// the latter ends when `stopped` says so.
    ///
    /// # Errors
    /// Why there is none, in words for the caller of the job.
    pub fn take(&self, name: &ModelName, version: &ModelVersion, stopped: impl Fn() -> bool) -> Result<Loaded, NotLoaded> {
        let found = self.find(name, version)?;
        match self.take_of(&found, &stopped) {
            // Its files were replaced before this worker has read that: what stands there now is what the job means.
            Err(NotLoaded::Refused(_)) if !self.0.catalog.is_current(&found) => {
                self.take_of(&self.find(name, version)?, &stopped)
            }
            taken => taken,
        }
    }

    fn find(&self, name: &ModelName, version: &ModelVersion) -> Result<Arc<Model>, NotLoaded> {
        let repository = self.0.catalog.current();
        repository.find(name, version).cloned().ok_or_else(|| {
            let why = repository.missing(name, Some(version));
            NotLoaded::Refused(format!("model {name} version {version} is not in this worker's repository: {why}"))
        })
    }

    fn take_of(&self, version: &Arc<Model>, stopped: &impl Fn() -> bool) -> Result<Loaded, NotLoaded> {
        let (mut state, idle) = self.idle_copy(self.0.lock(), version);
        if let Some(loaded) = idle {
            return Ok(loaded);
        }
        state.failed.retain(|failed| failed.at.elapsed() < FAILED_LOAD_STANDS);
        if let Some(failed) = state.failed.iter().find(|failed| Arc::ptr_eq(&failed.version, version)) {
            return Err(NotLoaded::Refused(failed.message.clone()));
        }
        drop(state);
        match self.room(version, stopped)? {
            Place::Idle(loaded) => Ok(loaded),
            Place::Room(room) => self.load(version, room),
        }
    }

    /// Puts a copy back that has run. One that is no longer wanted, or cannot run again, goes.
    pub fn keep(&self, loaded: Loaded) {
        let mut state = self.0.lock();
        let is_wanted = state.held.get(&loaded.room.id).is_some_and(|held| !held.unwanted);
        // Under the lock: a copy that was replaced after it was looked at would be dropped by nobody.
        if is_wanted && self.0.catalog.is_current(&loaded.version) && !loaded.model.is_stale() {
            state.idle.push(loaded);
            drop(state);
            self.0.freed.notify_all();
        } else {
            drop(state);
            tracing::info!(model.name = %loaded.version.manifest.name, model.version = %loaded.version.manifest.version, "model unloaded");
        }
    }

    /// Drops every idle copy of what the repository no longer holds. Blocks.
    pub fn drop_replaced(&self) {
        let gone = self.0.lock().take_idle(|_, loaded| !self.0.catalog.is_current(&loaded.version));
        told_and_dropped(gone);
    }

    /// Drops the copies of this version, those that run as soon as they have. Blocks.
    pub fn unload(&self, name: &ModelName, version: &ModelVersion) {
        let is_meant = |model: &Model| model.manifest.name == *name && model.manifest.version == *version;
        let mut state = self.0.lock();
        state.held.values_mut().filter(|held| is_meant(&held.version)).for_each(|held| held.unwanted = true);
        let gone = state.take_idle(|_, loaded| is_meant(&loaded.version));
        drop(state);
        told_and_dropped(gone);
    }

    /// Takes a copy of this version that lies here, if one can still be used.
    fn idle_copy<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        version: &Arc<Model>,
    ) -> (MutexGuard<'a, State>, Option<Loaded>) {
        // The newest first: its memory is the warmest.
        while let Some(at) = state.idle.iter().rposition(|loaded| Arc::ptr_eq(&loaded.version, version)) {
            let loaded = state.idle.remove(at);
            if !loaded.model.is_stale() {
                return (state, Some(loaded));
            }
            // Dropping it takes the lock again.
            drop(state);
            told_and_dropped(vec![loaded]);
            state = self.0.lock();
        }
        (state, None)
    }

    /// Room for one more copy, made by letting idle ones go, or a copy of this very version that became idle meanwhile.
    fn room(&self, version: &Arc<Model>, stopped: impl Fn() -> bool) -> Result<Place, NotLoaded> {
        let (needed, bounds, until) = (bytes_of(version), self.0.bounds, Instant::now() + ROOM_PATIENCE);
        if !bounds.fits(1, needed) {
            let (place, max) = (version.place(), bounds.bytes_max);
            let why = format!("it counts for {needed} bytes, and worker.models_bytes_max allows {max}");
            return Err(NotLoaded::Refused(format!("model {place} cannot be loaded on this worker: {why}")));
        }
        let mut state = self.0.lock();
        loop {
            let idle;
            (state, idle) = self.idle_copy(state, version);
            if let Some(loaded) = idle {
                return Ok(Place::Idle(loaded));
            }
            let idle: Vec<u64> =
                state.idle.iter().map(|loaded| state.held.get(&loaded.room.id).map_or(0, |held| held.bytes)).collect();
            if let Some(count) = evict(&idle, (state.held.len(), state.bytes()), needed, bounds) {
                let gone: Vec<Loaded> = state.idle.drain(..count).collect();
                if gone.is_empty() {
                    return Ok(Place::Room(self.reserve(&mut state, version, needed)));
                }
                // Their memory first, then ours; another slot may be faster, and then it is looked for again.
                drop(state);
                told_and_dropped(gone);
                state = self.0.lock();
                continue;
            }
            if stopped() {
                return Err(NotLoaded::Stopped);
            }
            if Instant::now() >= until {
                let manifest = &version.manifest;
                tracing::warn!(model.name = %manifest.name, model.version = %manifest.version, needed_bytes = needed,
                    "no room for a model: runs of others hold it; its job is handed back");
                return Err(NotLoaded::NoRoom);
            }
            state = self.0.freed.wait_timeout(state, ROOM_LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn reserve(&self, state: &mut State, version: &Arc<Model>, bytes: u64) -> Room {
        state.room_last += 1;
        let id = state.room_last;
        state.held.insert(id, Held { version: version.clone(), bytes, unwanted: false });
        self.0.tell_held(state);
        Room { id, shared: Arc::downgrade(&self.0) }
    }

    fn load(&self, version: &Arc<Model>, room: Room) -> Result<Loaded, NotLoaded> {
        let (name, number) = (&version.manifest.name, &version.manifest.version);
        let started = Instant::now();
        let loaded = self.0.runtime.load(version);
        self.0.metrics.models.loaded(name, loaded.is_ok());
        match loaded {
            Ok(model) => {
                let load_ms = started.elapsed().as_secs_f64() * 1e3;
                tracing::info!(model.name = %name, model.version = %number, load_ms, "model loaded");
                Ok(Loaded { model, version: version.clone(), room })
            }
            Err(LoadError { rests_for: Some(left), .. }) => Err(NotLoaded::Resting(left)),
            Err(error) => {
                // The chain is for the operator; the caller learns that the model is not available, and which.
                tracing::error!(model.name = %name, model.version = %number, error = chain(&error), "model cannot be loaded");
                // A crash is not remembered: it is counted, and another load may end otherwise.
                if let Some(cause) = error.crashed {
                    return Err(NotLoaded::Crashed(cause));
                }
                drop(room);
                self.read_again();
                let message = format!("model {name} version {number} cannot be loaded on this worker");
                self.remember_failed(version, &message);
                Err(NotLoaded::Refused(message))
            }
        }
    }

    /// Reads the repository before its time: the files of what could not be loaded may be of something newer.
    fn read_again(&self) {
        match self.0.catalog.reload() {
            Ok(changes) => changes.iter().for_each(|change| catalog::tell(change, &self.0.metrics)),
            Err(error) => tracing::warn!(error = chain(&error), "the model repository cannot be read after a load that failed"),
        }
    }

    /// A failure of what has been replaced says nothing of what stands there now.
    fn remember_failed(&self, version: &Arc<Model>, message: &str) {
        if !self.0.catalog.is_current(version) {
            return;
        }
        let mut state = self.0.lock();
        if state.failed.len() == FAILED_LOADS_MAX {
            state.failed.pop_front();
        }
        state.failed.push_back(FailedLoad { version: version.clone(), at: Instant::now(), message: message.to_owned() });
    }
}

fn told_and_dropped(gone: Vec<Loaded>) {
    for loaded in gone {
        tracing::info!(model.name = %loaded.version.manifest.name, model.version = %loaded.version.manifest.version, "model unloaded");
    }
}

#[cfg(test)]
mod tests;
