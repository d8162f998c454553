//! Warming up: the models that a worker loads, and runs once on their examples, before it takes work. It decides which versions a setting means;
//! what cannot be warmed is told and holds up nobody. A model that hangs in native code of this very process does (readiness says no until the process
//! is started anew without it): versions that are not trusted hang in processes of their own, which are killed.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use siding_core::{
    drain::Drain,
    model::repository::{Model, Repository},
};
use tokio::sync::oneshot;

use crate::loaded::LoadedModels;

/// Whether the worker of this process is still warming up: written by the worker, read by readiness.
#[derive(Debug, Clone, Default)]
pub struct Warming(Arc<AtomicBool>);

impl Warming {
    /// Whether it is.
    #[must_use]
    pub fn is_warming(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// A worker begins, or has ended, to warm up.
    pub(crate) fn set(&self, is_warming: bool) {
        self.0.store(is_warming, Ordering::Relaxed);
    }
}

/// The versions that `worker.preload` means, each once, and the words of it that mean none. A name alone is the version that new jobs get; `*` is that
/// of every model.
pub(crate) fn meant(preload: &str, repository: &Repository) -> (Vec<Arc<Model>>, Vec<String>) {
    let (mut versions, mut unknown): (Vec<Arc<Model>>, Vec<String>) = (Vec::new(), Vec::new());
    let mut add = |model: &Arc<Model>| {
        if !versions.iter().any(|known| Arc::ptr_eq(known, model)) {
            versions.push(model.clone());
        }
    };
    for word in preload.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        if word == "*" {
            repository.models().chunk_by(|a, b| a.manifest.name == b.manifest.name).for_each(|of_one| add(&of_one[0]));
            continue;
        }
        let is_meant = |model: &&Arc<Model>| word == model.manifest.name.as_str() || word == model.place();
        match repository.models().iter().chain(repository.all()).find(is_meant) {
            Some(model) => add(model),
            None => unknown.push(word.to_owned()),
        }
    }
    (versions, unknown)
}

/// Loads a copy for each of `copies` slots. Ends early at the stop signal of `drain`.
pub(crate) async fn warm(drain: &Drain, models: LoadedModels, preload: &str, copies: usize) {
    let (versions, unknown) = meant(preload, &models.repository());
    for word in unknown {
        tracing::error!(model.name = word, "worker.preload names a model that is not in the repository");
    }
    let (done, all_done) = oneshot::channel::<()>();
    let stop = drain.clone();
    drain.spawn_blocking(move || {
        for version in versions.iter().take_while(|_| !stop.is_stopping()) {
            if let Err(why) = models.warm(&stop, version, copies) {
                tracing::error!(model.name = %version.manifest.name, model.version = %version.manifest.version, why, "model cannot be warmed up");
            }
        }
        drop(done);
    });
    // It ends when the other end is dropped, by a panic too; the drain tells of that.
    drop(all_done.await);
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_setting_names_what_new_jobs_get_or_a_version() {
        let folder = tempfile::tempdir().expect("a folder");
        for place in ["a/1", "a/2", "b/1"] {
            let (name, version) = place.split_once('/').expect("two parts");
            fs::create_dir_all(folder.path().join(place)).expect("a folder");
            let manifest = format!(
                "name = \"{name}\"\nversion = \"{version}\"\ndescription = \"\"\nlicense = \"\"\nsource = \"\"\nrunner = \"scripted\"\n\
                 cost = {{ base_ms = 1 }}\n"
            );
            fs::write(folder.path().join(place).join("model.toml"), manifest).expect("a file");
        }
        let repository = Repository::open(folder.path(), true).expect("readable");
        let rows: [(&str, &[&str], &[&str]); 7] = [
            ("", &[], &[]),
            ("a", &["a/2"], &[]),
            ("a/1", &["a/1"], &[]),
            ("*", &["a/2", "b/1"], &[]),
            ("*, a/1", &["a/2", "b/1", "a/1"], &[]),
            ("b, b/1,b", &["b/1"], &[]),
            ("c, a/3, b", &["b/1"], &["c", "a/3"]),
        ];
        for (preload, expected, unknown) in rows {
            let (versions, words) = meant(preload, &repository);
            let places: Vec<String> = versions.iter().map(|version| version.place()).collect();
            assert_eq!(places, expected, "{preload}");
            assert_eq!(words, unknown, "{preload}");
        }
    }
}
