//! Loading copies ahead of any job, and running each once on its manifest's example. It decides when that ends early: a worker that stops waits for
//! no example, and one that panics or hangs costs its copy and nothing else, with one exception: what hangs in native code of this very process cannot
//! be ended, and holds whoever waits for the warm-up. It never evicts anything.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use siding_core::{drain::Drain, model::repository::Model};
use tokio::sync::oneshot;

use super::{Held, Loaded, LoadedModels, Room, bytes_of, evict};
use crate::runtime::RunControl;

/// How long an example may run before it is stopped.
const EXAMPLE_MAX: Duration = Duration::from_secs(60);
/// How long it may take to heed that before it is killed, where it runs in something that can be.
const EXAMPLE_STOP_PATIENCE: Duration = Duration::from_secs(2);

impl LoadedModels {
    /// Loads copies of this version until there are `copies`, runs each new one once on the manifest's example, and keeps them. Nothing else is
    /// evicted for it. Ends early at the stop signal of `drain`. Blocks, on a thread of a Tokio runtime.
    ///
    /// # Errors
    /// Why there are fewer, for the log.
    pub fn warm(&self, drain: &Drain, version: &Arc<Model>, copies: usize) -> Result<(), String> {
        let mut warmed = Vec::new();
        let result = self.warm_into(drain, version, copies, &mut warmed);
        warmed.into_iter().for_each(|loaded| self.keep(loaded));
        result
    }

    fn warm_into(&self, drain: &Drain, version: &Arc<Model>, copies: usize, warmed: &mut Vec<Loaded>) -> Result<(), String> {
        while !drain.is_stopping() {
            let mut state = self.0.lock();
            // One that is to go as soon as it has run is none.
            let stays = |held: &&Held| !held.unwanted && Arc::ptr_eq(&held.version, version);
            if state.held.values().filter(stays).count() >= copies {
                return Ok(());
            }
            let needed = bytes_of(version);
            if evict(&[], (state.held.len(), state.bytes()), needed, self.0.bounds).is_none() {
                return Err("worker.models_bytes_max leaves no room for more copies".into());
            }
            let room = self.reserve(&mut state, version, needed);
            drop(state);
            // A panic loses the copy and its room, as in a slot.
            let warm = catch_unwind(AssertUnwindSafe(|| self.warm_one(drain, version, room)));
            warmed.push(warm.unwrap_or_else(|_| Err("it panicked".into()))?);
        }
        Ok(())
    }

    fn warm_one(&self, drain: &Drain, version: &Arc<Model>, room: Room) -> Result<Loaded, String> {
        let mut loaded = self.load(version, room).map_err(|not_loaded| not_loaded.to_string())?;
        if let Some(example) = &version.manifest.example {
            let control = Arc::new(RunControl::new(drop));
            let _over = stop_in_time(drain, control.clone());
            loaded.model.run(example, &control).map_err(|error| format!("its example fails: {error}"))?;
        }
        Ok(loaded)
    }
}

/// Stops the run of `control` after a while, or when the worker stops, unless what is returned is dropped before.
fn stop_in_time(drain: &Drain, control: Arc<RunControl>) -> oneshot::Sender<()> {
    let (over, mut is_over) = oneshot::channel();
    let stop = drain.clone();
    drain.spawn(async move {
        tokio::select! {
            _ = &mut is_over => return,
            () = stop.stopping() => {}
            () = tokio::time::sleep(EXAMPLE_MAX) => {}
        }
        control.stop();
        if tokio::time::timeout(EXAMPLE_STOP_PATIENCE, is_over).await.is_err() {
            tracing::warn!(is_killed = control.kill(), "an example does not heed its stop; killing it");
        }
    });
    over
}
