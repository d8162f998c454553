//! Warm-up: a worker that is told to load models first takes nothing before, and says so.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
    mpsc,
};

use serde_json::json;
use siding_core::{job::State, model::repository::Model};
use siding_tests::harness::{Options, TestSystem, eventually};
use siding_worker::runtime::{LoadError, LoadedModel, ModelRuntime, RuntimeReport, scripted::Scripted};

/// Scripts whose loads wait for a word.
struct Gate {
    scripted: Scripted,
    open: Mutex<mpsc::Receiver<()>>,
    loads: AtomicUsize,
}

impl ModelRuntime for Gate {
    fn report(&self) -> RuntimeReport {
        self.scripted.report()
    }

    fn load(&self, model: &Model) -> Result<Box<dyn LoadedModel>, LoadError> {
        // Closed for good is open, too.
        self.open.lock().expect("no panic").recv().unwrap_or_default();
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.scripted.load(model)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_loads_and_unloads_a_version_while_the_worker_works() {
    let system = TestSystem::start().await;
    let loaded = |copies: &'static str| {
        let url = format!("{}/metrics", system.url);
        move || {
            let url = url.clone();
            async move {
                let metrics = reqwest::get(url).await.expect("an answer").text().await.expect("a text");
                let line = metrics.lines().find(|line| line.starts_with("siding_models_loaded ")).unwrap_or_default().to_owned();
                if line.ends_with(copies) { Ok(()) } else { Err(line) }
            }
        }
    };
    system.client.load_model("scripted", "1").await.expect("accepted");
    eventually("each slot has its copy", TestSystem::patience(), loaded(" 2")).await;
    system.client.unload_model("scripted", "1").await.expect("accepted");
    eventually("no copy is left", TestSystem::patience(), loaded(" 0")).await;
    let job = system.submit("scripted", json!({"op": "noop"})).await;
    assert_eq!(system.ended(job).await.state, State::Succeeded, "it is loaded again on demand");
    for (name, version, code) in [("nobody", "1", "unknown_model"), ("scripted", "9", "unknown_version")] {
        let refused = system.client.load_model(name, version).await.expect_err("there is none");
        assert!(format!("{refused:?}").contains(code), "{refused:?}");
    }
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_takes_nothing_and_is_not_ready_before_its_models_are_loaded() {
    let (opener, open) = mpsc::channel();
    let gate = Arc::new(Gate { scripted: Scripted::new(), open: Mutex::new(open), loads: AtomicUsize::new(0) });
    let mut options = Options { runtime: gate.clone(), ..Options::default() };
    options.settings.worker.preload = "scripted, nobody".into();
    let system = TestSystem::start_with(options).await;
    let job = system.submit("scripted", json!({"op": "noop"})).await;
    let url = format!("{}/health/ready", system.url);
    let ready = || async { reqwest::get(&url).await.expect("an answer").status().as_u16() };
    assert_eq!(ready().await, 503);
    opener.send(()).expect("it waits");
    assert_eq!((ready().await, system.job(job).await.state), (503, State::Queued), "each slot has its copy");
    drop(opener);
    let ended = system.ended(job).await;
    assert_eq!(ended.state, State::Succeeded);
    eventually("it is ready", TestSystem::patience(), || async {
        match ready().await {
            200 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    assert_eq!(gate.loads.load(Ordering::SeqCst), 2, "one for each slot, and none for the job");
    system.finish().await;
}
