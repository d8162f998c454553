//! A real model's long job over the death of its worker: what it ends with is bit for bit what an undisturbed run ends with.

use std::{path::Path, sync::Arc};

use serde_json::json;
use siding_core::{
    id::{EventSeq, JobId},
    job::{EventKind, State},
    model::locate,
};
use siding_tests::harness::{Options, Profile, TestSystem, eventually};
use siding_worker::runtime::choose::Runtimes;

/// Runs of the model, some tenths of a second each.
const STEPS: u64 = 6;

fn write_terrain(models: &Path) {
    let cache = locate::cache_dir().expect("a cache folder; run `make setup`");
    let (from, to) = (locate::models_dir(&cache).join("terrain/1"), models.join("terrain/1"));
    std::fs::create_dir_all(&to).expect("the test's folder can be written");
    for file in ["model.toml", "model.onnx"] {
        std::fs::copy(from.join(file), to.join(file)).expect("run `make setup`");
    }
}

fn client_id(job: JobId) -> siding_client::JobId {
    job.to_string().parse().expect("an id is a UUID")
}

async fn told(system: &TestSystem, job: JobId, kind: EventKind) -> Vec<serde_json::Value> {
    let events = system.seams.feed.events(job, EventSeq(0), 10_000).await.expect("the store can be read");
    let of_kind = events.iter().filter(|event| event.kind == kind);
    of_kind.map(|event| serde_json::from_str(event.data.get()).expect("JSON")).collect()
}

async fn a_real_models_result_is_the_same_although_its_worker_died(profile: Profile) {
    let runtimes = Runtimes::open("", true);
    assert!(runtimes.unavailable().is_none(), "ONNX Runtime is missing: run `make setup`");
    let mut options = Options { runtime: Arc::new(runtimes), more_models: write_terrain, ..Options::on(profile) };
    options.settings.worker.checkpoint_ms = 1;
    let mut system = TestSystem::start_with(options).await;
    let input = json!({"difficulty": {"shape": [1], "data": [0.7]}, "seed": 7, "steps": STEPS});
    let undisturbed = system.submit("terrain", input.clone()).await;
    assert_eq!(system.ended(undisturbed).await.state, State::Succeeded);

    let job = system.submit("terrain", input).await;
    // How many there will be depends on what one costs here.
    eventually("a state is saved", TestSystem::patience(), || async {
        if told(&system, job, EventKind::Checkpoint).await.is_empty() { Err("none is".to_owned()) } else { Ok(()) }
    })
    .await;
    system.crash_worker();
    let ended = system.ended(job).await;
    assert_eq!((ended.state, ended.attempt.0, ended.failures), (State::Succeeded, 2, 0));
    let resumes = told(&system, job, EventKind::Started).await.pop().expect("a second start")["resumes"]["done"].as_u64();
    assert!(resumes.is_some_and(|done| (1..STEPS).contains(&done)), "it goes on in the middle: {resumes:?}");
    let (once, again) = (
        system.client.result(client_id(undisturbed)).await.expect("a result"),
        system.client.result(client_id(job)).await.expect("a result"),
    );
    assert_eq!(once.get(), again.get());
    system.finish().await;
}

siding_tests::on_every_profile!(a_real_models_result_is_the_same_although_its_worker_died);
