//! Rows for what goes when there is no room, and what becomes of copies when the repository or an operator moves on. The models are scripted
//! and hold nothing but their place.

use std::{fs, path::Path};

use siding_core::{drain::Drain, model::manifest::Manifest};

use super::*;
use crate::runtime::{self, Computation, RunError, RuntimeReport, scripted::Scripted};

#[test]
fn what_was_not_used_for_longest_goes_and_no_more_than_must() {
    let bounds = |copies_max, bytes_max| Bounds { copies_max, bytes_max };
    type Row = (&'static str, &'static [u64], (usize, u64), u64, Bounds, Option<usize>);
    let rows: &[Row] = &[
        ("there is room", &[5, 5], (2, 10), 5, bounds(8, 100), Some(0)),
        ("exactly", &[5, 5], (2, 10), 90, bounds(8, 100), Some(0)),
        ("the oldest is enough", &[50, 5], (2, 55), 60, bounds(8, 100), Some(1)),
        ("both must go", &[5, 50], (2, 55), 60, bounds(8, 100), Some(2)),
        ("too many copies", &[1, 1], (2, 2), 1, bounds(2, 0), Some(1)),
        ("no bound on bytes", &[], (1, u64::MAX), u64::MAX, bounds(2, 0), Some(0)),
        ("what runs holds the rest", &[5], (3, 100), 20, bounds(8, 100), None),
        ("larger than everything", &[], (0, 0), 101, bounds(8, 100), None),
    ];
    for (why, idle, held, needed, bounds, expected) in rows {
        assert_eq!(evict(idle, *held, *needed, *bounds), *expected, "{why}");
    }
}

fn write(root: &Path, version: &str, description: &str) {
    write_with(root, version, description, "");
}

fn write_with(root: &Path, version: &str, description: &str, more: &str) {
    let folder = root.join("m").join(version);
    fs::create_dir_all(&folder).expect("a folder");
    let manifest = format!(
        "name = \"m\"\nversion = \"{version}\"\ndescription = \"{description}\"\nlicense = \"\"\nsource = \"\"\nrunner = \"scripted\"\n\
         {more}\ncost = {{ base_ms = 1 }}\n"
    );
    fs::write(folder.join("model.toml"), manifest).expect("a file");
}

struct Given {
    folder: tempfile::TempDir,
    catalog: Catalog,
    models: LoadedModels,
}

impl Given {
    fn versions(versions: &[&str], copies_max: usize) -> Self {
        Self::on(Arc::new(Scripted::new()), versions, copies_max)
    }

    fn on(runtime: Arc<dyn ModelRuntime>, versions: &[&str], copies_max: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        versions.iter().for_each(|version| write(folder.path(), version, "first"));
        let catalog = Catalog::open(folder.path(), true, "latest".parse().expect("a policy")).expect("readable");
        let bounds = Bounds { copies_max, bytes_max: 0 };
        let models = LoadedModels::new(runtime, catalog.clone(), bounds, Arc::new(Metrics::new()));
        Self { folder, catalog, models }
    }

    fn take(&self, version: &str) -> Result<Loaded, String> {
        let taken = self.models.take(&"m".parse().expect("a name"), &version.parse().expect("a version"), || true);
        taken.map_err(|not_loaded| match not_loaded {
            NotLoaded::Refused(why) => why,
            other => format!("{other:?}"),
        })
    }

    /// Copies in all, and those that no slot runs.
    fn counts(&self) -> (usize, usize) {
        let state = self.models.0.lock();
        (state.held.len(), state.idle.len())
    }
}

#[test]
fn a_copy_is_taken_again_and_goes_when_another_needs_its_place() {
    let given = Given::versions(&["1", "2"], 1);
    let first = given.take("1").expect("loads, though new jobs get version 2 alone");
    let refused = given.take("2").map(drop).expect_err("the only place is taken by what runs");
    assert_eq!(refused, "Stopped");
    given.models.keep(first);
    assert_eq!(given.counts(), (1, 1));
    let again = given.take("1").expect("is there");
    assert_eq!(given.counts(), (1, 0), "the same copy, not another");
    given.models.keep(again);
    drop(given.take("2").expect("version 1 goes for it"));
    assert_eq!(given.counts(), (0, 0), "a copy that is lost with its run leaves its place");
}

#[test]
fn a_copy_of_what_was_replaced_goes_when_its_run_has_ended() {
    let given = Given::versions(&["1"], 4);
    let (running, idle) = (given.take("1").expect("loads"), given.take("1").expect("loads"));
    given.models.keep(idle);
    write(given.folder.path(), "1", "second");
    let changes = given.catalog.reload().expect("readable");
    assert_eq!(changes.len(), 1, "{changes:?}");
    given.models.drop_replaced();
    assert_eq!(given.counts(), (1, 0), "the idle one is gone, the running one is not touched");
    let fresh = given.take("1").expect("loads what is there now");
    given.models.keep(fresh);
    given.models.keep(running);
    assert_eq!(given.counts(), (1, 1), "only the fresh one is kept");
    fs::remove_dir_all(given.folder.path().join("m/1")).expect("removes");
    given.catalog.reload().expect("readable");
    let gone = given.take("1").map(drop).expect_err("gone");
    assert!(gone.starts_with("model m version 1 is not in this worker's repository: there is no such model"), "{gone}");
}

#[tokio::test]
async fn what_an_operator_unloads_goes_and_what_is_warmed_stays() {
    let given = Given::versions(&["1"], 4);
    let version = given.catalog.current().models()[0].clone();
    given.models.warm(&Drain::new(), &version, 3).expect("loads");
    assert_eq!(given.counts(), (3, 3));
    given.models.warm(&Drain::new(), &version, 3).expect("is there already");
    assert_eq!(given.counts(), (3, 3));
    let running = given.take("1").expect("is there");
    let (name, number) = (&version.manifest.name, &version.manifest.version);
    given.models.unload(name, number);
    assert_eq!(given.counts(), (1, 0));
    given.models.warm(&Drain::new(), &version, 1).expect("loads");
    assert_eq!(given.counts(), (2, 1), "a copy that is to go does not count as warm");
    given.models.keep(running);
    assert_eq!(given.counts(), (1, 1), "it goes as soon as it has run");
    let full = given.models.warm(&Drain::new(), &version, 5).expect_err("only four have room");
    assert!(full.contains("leaves no room"), "{full}");
    assert_eq!(given.counts(), (4, 4), "those that have room are warm");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_example_that_panics_or_hangs_costs_its_copy_and_ends_with_the_worker() {
    let given = Given::versions(&["1"], 4);
    let warm = |op: &str, drain: Drain| {
        write_with(given.folder.path(), "1", op, &format!("example = {{ input = '{{\"op\": \"{op}\"}}' }}"));
        given.catalog.reload().expect("readable");
        let (models, version) = (given.models.clone(), given.catalog.current().models()[0].clone());
        tokio::task::spawn_blocking(move || models.warm(&drain, &version, 2))
    };
    assert_eq!(warm("panic", Drain::new()).await.expect("no panic comes through"), Err("it panicked".into()));
    assert_eq!(given.counts(), (0, 0));
    let drain = Drain::new();
    let warming = warm("hang", drain.clone());
    let begun = async {
        while given.counts().0 == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), begun).await.expect("it begins");
    drain.stop();
    assert_eq!(warming.await.expect("no panic"), Err("its example fails: the run was stopped".into()));
    assert_eq!(given.counts(), (0, 0));
}

#[test]
fn a_load_that_waits_for_room_takes_a_copy_of_its_own_version_that_became_idle() {
    let given = Given::versions(&["1"], 1);
    let running = given.take("1").expect("loads");
    let room = running.room.id;
    let (waits, waiting) = std::sync::mpsc::channel();
    std::thread::scope(|threads| {
        let taken = threads.spawn(|| {
            let (name, version) = ("m".parse().expect("a name"), "1".parse().expect("a version"));
            given.models.take(&name, &version, || waits.send(()).is_err()).expect("the copy that was put back")
        });
        waiting.recv().expect("it waits");
        given.models.keep(running);
        let taken = taken.join().expect("no panic");
        assert_eq!((taken.room.id, given.models.0.lock().room_last), (room, room), "nothing was evicted and loaded again");
        drop(waiting);
    });
}

/// Loads what the folder's manifest still says, as a runtime that checks files does; each copy runs once.
struct Strict;

impl ModelRuntime for Strict {
    fn report(&self) -> RuntimeReport {
        Scripted::new().report()
    }

    fn load(&self, model: &Model) -> Result<Box<dyn LoadedModel>, LoadError> {
        let text =
            fs::read_to_string(model.folder.join("model.toml")).map_err(|error| LoadError::new(model, error.to_string()))?;
        match Manifest::parse(&text) {
            Ok(manifest) if manifest == model.manifest => Ok(Box::new(Self)),
            _ => Err(LoadError::new(model, "its files are of another version")),
        }
    }
}

impl LoadedModel for Strict {
    fn is_stale(&self) -> bool {
        true
    }

    fn begin(&mut self, _: &str, _: Option<runtime::State>) -> Result<Box<dyn Computation>, RunError> {
        Err(RunError::Failed("it is never run".into()))
    }
}

#[test]
fn a_copy_that_cannot_run_again_is_not_kept() {
    let given = Given::on(Arc::new(Strict), &["1"], 4);
    given.models.keep(given.take("1").expect("loads"));
    assert_eq!(given.counts(), (0, 0), "its place is free for one that can");
}

#[test]
fn a_version_that_was_replaced_before_it_was_read_again_is_loaded_as_it_is_now() {
    let given = Given::on(Arc::new(Strict), &["1"], 4);
    write(given.folder.path(), "1", "second");
    let taken = given.take("1").expect("what stands there now");
    assert_eq!(taken.version().manifest.description, "second");
    assert!(given.models.0.lock().failed.is_empty(), "the failure was of what is gone");
    drop(taken);
    fs::write(given.folder.path().join("m/1/model.toml"), "nothing that is read").expect("a file");
    let broken = given.take("1").map(drop).expect_err("it is broken now");
    assert!(broken.contains("is not in this worker's repository"), "{broken}");
    assert_eq!(given.counts(), (0, 0));
}
