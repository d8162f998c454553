//! Real inference through the whole system: the small ONNX model on ONNX Runtime, good input and bad, cancelled, and beside a broken file.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use siding_client::{State, Submission};
use siding_core::job::FailureCode;
use siding_tests::harness::{Options, Profile, TestSystem, system::stored_id};
use siding_worker::runtime::choose::Runtimes;

const SPIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../worker/models/spin/1");

/// The committed model as version 1, and as version 0 a truncated copy whose manifest is right about its bytes.
fn write_spin(models: &Path) {
    use sha2::{Digest, Sha256};
    let manifest = std::fs::read_to_string(Path::new(SPIN).join("model.toml")).expect("the manifest is committed");
    let model = std::fs::read(Path::new(SPIN).join("model.onnx")).expect("the model is committed");
    let truncated = &model[..model.len() / 2];
    let hex = |bytes: &[u8]| siding_core::blob::hex(&Sha256::digest(bytes));
    let as_version_0 = manifest.replace("version = \"1\"", "version = \"0\"").replace(&hex(&model), &hex(truncated));
    for (version, manifest, model) in [("1", manifest.as_str(), model.as_slice()), ("0", as_version_0.as_str(), truncated)] {
        let folder = models.join("spin").join(version);
        std::fs::create_dir_all(&folder).expect("the test's folder can be written");
        std::fs::write(folder.join("model.toml"), manifest).expect("the test's folder can be written");
        std::fs::write(folder.join("model.onnx"), model).expect("the test's folder can be written");
    }
}

async fn system(profile: Profile) -> TestSystem {
    let runtimes = Runtimes::open("", true);
    assert!(runtimes.unavailable().is_none(), "ONNX Runtime is missing: run `make setup`");
    TestSystem::start_with(Options { runtime: Arc::new(runtimes), more_models: write_spin, ..Options::on(profile) }).await
}

fn spin(iters: i64) -> Submission {
    let mut x = vec![0.0; 64];
    x[3] = 1.0;
    Submission::new("spin", &json!({"x": {"shape": [1, 64], "data": x}, "iters": {"shape": [], "data": [iters]}})).expect("json")
}

async fn a_real_model_computes_what_it_says(profile: Profile) {
    let system = system(profile).await;
    let job = system.client.submit_waiting(&spin(100), Duration::from_secs(10)).await.expect("accepted");
    assert_eq!((job.state, job.version.as_str()), (State::Succeeded, "1"), "{job:?}");
    let output: Value = serde_json::from_str(system.client.result(job.id).await.expect("a result").get()).expect("json");
    assert_eq!((&output["y"]["datatype"], &output["y"]["shape"]), (&json!("FP32"), &json!([1, 64])));
    let norm: f64 = output["y"]["data"].as_array().expect("flat").iter().map(|y| y.as_f64().expect("a number").powi(2)).sum();
    assert!((norm - 1.0).abs() < 1e-3, "|y| = |x|: {norm}");
    system.finish().await;
}

async fn a_cancel_reaches_into_a_native_run(profile: Profile) {
    let system = system(profile).await;
    let job = stored_id(system.client.submit(&spin(i64::MAX / 4)).await.expect("accepted").id);
    assert_eq!(system.job(job).await.lane.as_str(), "long");
    system.in_state(job, siding_core::job::State::Running).await;
    let asked = Instant::now();
    system.client.cancel(job.to_string().parse().expect("an id")).await.expect("accepted");
    let ended = system.ended(job).await;
    assert_eq!(ended.state, siding_core::job::State::Canceled);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    system.finish().await;
}

async fn input_that_does_not_fit_is_refused_before_it_is_a_job(profile: Profile) {
    let system = system(profile).await;
    let rows = [
        (json!({}), "/input"),
        (json!({"x": {"shape": [1, 64], "data": [1, 2]}, "iters": {"shape": [], "data": [1]}}), "/input/x"),
        (json!({"x": {"shape": [1, 63], "data": vec![0; 63]}, "iters": {"shape": [], "data": [1]}}), "/input/x"),
        (json!({"x": {"shape": [1, 64], "data": vec!["a"; 64]}, "iters": {"shape": [], "data": [1]}}), "/input/x"),
        (json!({"x": {"shape": [1, 64], "data": vec![0; 64]}, "iters": {"shape": [], "data": [1.5]}}), "/input/iters"),
        (
            json!({"x": {"shape": [4_294_967_296_i64, 4_294_967_296_i64], "data": []}, "iters": {"shape": [], "data": [1]}}),
            "/input/x",
        ),
        (
            json!({"x": {"shape": [1, 64], "data": vec![0; 64]}, "iters": {"shape": [], "data": [1]}, "z": {"shape": [], "data": [1]}}),
            "/input/z",
        ),
    ];
    for (input, pointer) in rows {
        let refused = system.client.submit(&Submission::new("spin", &input).expect("json")).await.expect_err("it does not fit");
        let problem = refused.problem().expect("a problem");
        assert_eq!((problem.status, problem.code.as_str()), (422, "invalid_input"), "{input}");
        assert!(problem.errors.iter().all(|error| error.pointer.starts_with(pointer)), "{input}: {problem:?}");
    }
    system.finish().await;
}

async fn a_corrupt_model_fails_its_own_jobs_and_no_others(profile: Profile) {
    let system = system(profile).await;
    let broken = spin(10).with_version("0").with_attempts_max(1);
    let broken = stored_id(system.client.submit(&broken).await.expect("accepted").id);
    let ended = system.ended(broken).await;
    let failure = ended.failure.expect("it failed");
    assert_eq!(failure.code, FailureCode::ModelUnavailable);
    assert!(failure.message.contains("spin") && failure.message.contains('0') && !failure.message.contains('/'), "{failure:?}");
    let healthy = system.client.submit_waiting(&spin(10), Duration::from_secs(10)).await.expect("accepted");
    assert_eq!(healthy.state, State::Succeeded);
    system.finish().await;
}

siding_tests::on_every_profile!(
    a_real_model_computes_what_it_says,
    a_cancel_reaches_into_a_native_run,
    input_that_does_not_fit_is_refused_before_it_is_a_job,
    a_corrupt_model_fails_its_own_jobs_and_no_others,
);
