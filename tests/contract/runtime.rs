//! The runtime seam's contract: what every runtime must do, checked for each of them by `every_runtime_keeps_the_contract`. What only
//! ONNX Runtime can do wrong is in `runtime/*`. It needs what `make setup` fetches and says so; it never skips.

mod files;
mod hostile;
mod interface;
mod isolated;
mod magika;
mod ocr;
mod spin;
mod stepped;
mod text;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use siding_core::model::repository::{Model, Repository};
use siding_worker::runtime::{LoadedModel, ModelRuntime, RunControl, RunError, RunReport, Runtimes};

/// How long a stopped run may go on: the time of the longest single kernel, on a busy machine.
const STOP_MAX: Duration = Duration::from_millis(250);
/// How long a run goes on before it is stopped "in the middle". A run has no signal for "I am computing now".
const MIDDLE: Duration = Duration::from_millis(50);

/// Everything that this worker can have; the library must be there.
fn runtimes() -> Runtimes {
    let runtimes = Runtimes::open("", true);
    assert_eq!(runtimes.unavailable(), None, "run `make setup`");
    runtimes
}

/// The committed models.
fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker/models")
}

fn model(folder: &Path, name: &str) -> Arc<Model> {
    let repository = Repository::open(folder, true).expect("a model folder; run `make setup`");
    repository.resolve(&name.parse().expect("a name"), None).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A temporary repository with one model: `model.toml` and other files by name.
struct Variant {
    folder: tempfile::TempDir,
    name: &'static str,
}

impl Variant {
    fn new(name: &'static str, manifest: &str, files: &[(&str, &[u8])]) -> Self {
        let variant = Self { folder: tempfile::tempdir().expect("a temporary folder"), name };
        std::fs::create_dir_all(variant.path("")).expect("a folder");
        for (file, bytes) in files.iter().chain(&[("model.toml", manifest.as_bytes())]) {
            std::fs::write(variant.path(file), bytes).expect("a file");
        }
        variant
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(self.name).join("1").join(file)
    }

    fn model(&self) -> Arc<Model> {
        model(self.folder.path(), self.name)
    }
}

/// The lower-case digits that a manifest needs.
fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    siding_core::blob::hex(&sha2::Sha256::digest(bytes))
}

fn scripted() -> Variant {
    let manifest = "name = \"scripted\"\nversion = \"1\"\ndescription = \"\"\nlicense = \"\"\nsource = \"\"\nrunner = \"scripted\"\n\
                    cost = { base_ms = 0, per_unit_ms = 1 }\n";
    Variant::new("scripted", manifest, &[])
}

/// Runs without anyone listening or stopping.
fn run(model: &mut dyn LoadedModel, input: &str) -> Result<String, RunError> {
    model.run(input, &RunControl::new(drop))
}

/// Runs and stops after a while: how it ended, and how long after the stop.
fn stopped(model: &mut dyn LoadedModel, input: &str) -> (Result<String, RunError>, Duration) {
    let control = RunControl::new(drop);
    let (ended, waits) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let control = &control;
        let stopper = scope.spawn(move || {
            // Nothing is ever sent: a run that ends by itself drops the sender and so ends this wait, too.
            let waited = waits.recv_timeout(MIDDLE);
            let at = Instant::now();
            control.stop();
            (waited, at)
        });
        let result = model.run(input, control);
        let ended_at = Instant::now();
        drop(ended);
        let (waited, stopped_at) = stopper.join().expect("the stopper");
        assert_eq!(waited, Err(mpsc::RecvTimeoutError::Timeout), "the run ended before it was stopped: {result:?}");
        (result, ended_at.saturating_duration_since(stopped_at))
    })
}

/// What the contract needs to know of one runtime's model.
struct Case {
    what: &'static str,
    runtime: Arc<dyn ModelRuntime>,
    model: Arc<Model>,
    /// A model of another runner, for a runtime that does not have all of them.
    foreign: Option<Arc<Model>>,
    quick: String,
    endless: String,
    bad: &'static [&'static str],
}

#[test]
fn every_runtime_keeps_the_contract() {
    let script = scripted();
    let spin = model(&committed(), "spin");
    let wheel = stepped::wheel();
    let onnx = Arc::new(siding_worker::runtime::onnx::Onnx::open("", &["cpu"]).expect("run `make setup`"));
    let cases = [
        Case {
            what: "scripted",
            runtime: Arc::new(siding_worker::runtime::scripted::Scripted::new()),
            model: script.model(),
            foreign: Some(spin.clone()),
            quick: r#"{"op":"echo","value":{"a":[1,"b"]}}"#.into(),
            endless: r#"{"op":"hang"}"#.into(),
            bad: &["", "7", r#"{"op":"dance"}"#, r#"{"op":"noop","more":1}"#],
        },
        Case {
            what: "onnx, text",
            runtime: onnx.clone(),
            model: text::minilm(),
            foreign: Some(script.model()),
            quick: text::input(&["a", "b"]),
            // A minute and a half: no test waits for its end.
            endless: text::input(&vec!["siding ".repeat(250); siding_core::limits::TEXTS_MAX]),
            bad: &["", "7", "{}", r#"{"texts":[]}"#, r#"{"texts":["a",1]}"#],
        },
        Case {
            what: "onnx, tensor",
            runtime: onnx.clone(),
            model: spin.clone(),
            foreign: Some(script.model()),
            quick: spin::input(&[[1.0; 64]], 10),
            endless: spin::input(&[[1.0; 64]], i64::MAX),
            bad: &["", "7", "{}", r#"{"x":{"shape":[1,64],"data":[]},"iters":{"shape":[],"data":[1]}}"#],
        },
        Case {
            what: "onnx, stepped",
            runtime: onnx,
            model: wheel.model(),
            foreign: Some(script.model()),
            quick: stepped::turns(10, 10),
            endless: stepped::turns(1_000_000, 1000),
            bad: &["", "7", "{}", r#"{"iters":{"shape":[],"data":[1]},"steps":0}"#],
        },
    ];
    let isolated = |what, case: &Case| Case {
        what,
        runtime: Arc::new(isolated::runtime(0)),
        model: case.model.clone(),
        foreign: None,
        quick: case.quick.clone(),
        endless: case.endless.clone(),
        bad: case.bad,
    };
    let in_processes = [isolated("scripted, isolated", &cases[0]), isolated("onnx, isolated", &cases[1])];
    for case in cases.iter().chain(&in_processes) {
        check(case);
    }
}

fn check(case: &Case) {
    let what = case.what;
    let report = case.runtime.report();
    assert!(!report.name.is_empty() && !report.version.is_empty(), "{what}: {report:?}");
    if let Some(foreign) = &case.foreign {
        let refused = case.runtime.load(foreign).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains(foreign.manifest.name.as_str()) && refused.contains("no runner"), "{what}: {refused}");
    }

    let mut loaded = case.runtime.load(&case.model).unwrap_or_else(|error| panic!("{what}: {error}"));
    let first = run(&mut *loaded, &case.quick).unwrap_or_else(|error| panic!("{what}: {error}"));
    serde_json::from_str::<serde::de::IgnoredAny>(&first).unwrap_or_else(|error| panic!("{what}: {error}: {first}"));
    let usable = |loaded: &mut dyn LoadedModel, after: &str| {
        assert_eq!(run(loaded, &case.quick).as_ref(), Ok(&first), "{what}: after {after}");
    };
    usable(&mut *loaded, "a run");

    for bad in case.bad {
        assert!(matches!(run(&mut *loaded, bad), Err(RunError::BadInput(_))), "{what}: {bad}");
        usable(&mut *loaded, "a bad input");
    }

    let before = RunControl::new(drop);
    before.stop();
    assert_eq!(loaded.run(&case.endless, &before), Err(RunError::Stopped), "{what}: stopped before it began");
    usable(&mut *loaded, "a stop before the run");
    for _ in 0..3 {
        let (result, late) = stopped(&mut *loaded, &case.endless);
        assert_eq!(result, Err(RunError::Stopped), "{what}");
        assert!(late < STOP_MAX, "{what}: ended {late:?} after the stop");
        usable(&mut *loaded, "a stop");
    }

    // Two slots: one is stopped, the other one is not concerned.
    let mut other = case.runtime.load(&case.model).unwrap_or_else(|error| panic!("{what}: {error}"));
    thread::scope(|scope| {
        let endless = scope.spawn(|| stopped(&mut *loaded, &case.endless).0);
        usable(&mut *other, "the other slot's stop");
        assert_eq!(endless.join().expect("the run"), Err(RunError::Stopped), "{what}");
    });
}

#[test]
fn a_script_is_carried_out_to_the_letter() {
    let runtime = siding_worker::runtime::scripted::Scripted::new();
    let script = scripted();
    let mut slots = [0, 1].map(|_| runtime.load(&script.model()).expect("scripted"));
    let limit = siding_core::limits::OUTPUT_BYTES_MAX;
    let failed = |text: &str| Err(RunError::Failed(text.into()));
    let progress = |done| RunReport::Progress { done, total: Some(2) };
    let output = |text: &str| RunReport::Output(text.into());
    let rows = [
        (0, r#"{"op":"noop"}"#.to_owned(), Ok("null".to_owned()), vec![]),
        (0, r#"{"op":"echo","value":{"a": [1]}}"#.into(), Ok(r#"{"a": [1]}"#.into()), vec![]),
        (0, r#"{"op":"delay","ms":3}"#.into(), Ok("3".into()), vec![]),
        (0, r#"{"op":"delay","ms":4,"steps":2}"#.into(), Ok("4".into()), vec![progress(1)]),
        (0, r#"{"op":"stream","chunks":2}"#.into(), Ok("2".into()), vec![output("0"), output("1")]),
        (0, r#"{"op":"fail","times":2,"key":"k"}"#.into(), failed("failed on request"), vec![]),
        (1, r#"{"op":"fail","times":2,"key":"k","message":"no\n"}"#.into(), failed("no\n"), vec![]),
        (0, r#"{"op":"fail","times":2,"key":"k"}"#.into(), Ok("2".into()), vec![]),
        (1, r#"{"op":"fail","times":1,"key":"other"}"#.into(), failed("failed on request"), vec![]),
        (0, r#"{"op":"big","bytes":10}"#.into(), Ok("\"xxxxxxxx\"".into()), vec![]),
        (
            0,
            format!(r#"{{"op":"big","bytes":{}}}"#, limit + 1),
            Err(RunError::OutputTooLarge { bytes: limit + 1, max: limit }),
            vec![],
        ),
    ];
    for (slot, input, expected, reports) in rows {
        let reported = Arc::new(Mutex::new(Vec::new()));
        let sink = reported.clone();
        let control = RunControl::new(move |report| sink.lock().expect("not poisoned").push(report));
        assert_eq!(slots[slot].run(&input, &control), expected, "{input}");
        assert_eq!(*reported.lock().expect("not poisoned"), reports, "{input}");
    }
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&mut *slots[0], r#"{"op":"panic"}"#)));
    assert!(panic.is_err());
}

#[test]
fn without_the_library_only_models_that_need_it_cannot_be_loaded() {
    let runtimes = Runtimes::open("/nonexistent/libonnxruntime.so", true);
    assert!(runtimes.unavailable().is_some());
    let report = runtimes.report();
    assert!(report.providers_active.is_empty() && report.providers_refused[0].1.contains("make setup"), "{report:?}");
    let refused = runtimes.load(&model(&committed(), "spin")).err().expect("no library").to_string();
    assert!(refused.contains("make setup") && !refused.contains("nonexistent"), "{refused}");
    runtimes.load(&scripted().model()).map(drop).expect("needs no library");
    let refused = Runtimes::open("", false).load(&scripted().model()).err().expect("not allowed").to_string();
    assert!(refused.contains("worker.scripted"), "{refused}");
}
