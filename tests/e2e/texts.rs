//! Texts through the whole system, with the small classifier: what is asked is answered text by text, and what does not fit is refused before
//! it is a job.

use std::{path::Path, sync::Arc, time::Duration};

use serde_json::{Value, json};
use siding_client::{State, Submission};
use siding_tests::harness::{Options, Profile, TestSystem};
use siding_worker::runtime::choose::Runtimes;

const TONE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../worker/models/tone/1");

fn write_tone(models: &Path) {
    let folder = models.join("tone/1");
    std::fs::create_dir_all(&folder).expect("the test's folder can be written");
    for file in ["model.toml", "model.onnx", "tokenizer.json"] {
        std::fs::copy(Path::new(TONE).join(file), folder.join(file)).expect("the model is committed");
    }
}

async fn system(profile: Profile) -> TestSystem {
    let runtimes = Runtimes::open("", true);
    assert!(runtimes.unavailable().is_none(), "ONNX Runtime is missing: run `make setup`");
    TestSystem::start_with(Options { runtime: Arc::new(runtimes), more_models: write_tone, ..Options::on(profile) }).await
}

fn tone(input: &Value) -> Submission {
    Submission::new("tone", input).expect("json")
}

async fn texts_get_their_labels(profile: Profile) {
    let system = system(profile).await;
    let input = json!({"texts": ["The job failed.", "All done, thanks!", "job ".repeat(100)], "top_k": 1});
    let job = system.client.submit_waiting(&tone(&input), Duration::from_secs(10)).await.expect("accepted");
    assert_eq!(job.state, State::Succeeded, "{job:?}");
    let output: Value = serde_json::from_str(system.client.result(job.id).await.expect("a result").get()).expect("json");
    let labels: Vec<_> = output["classifications"].as_array().expect("texts").iter().map(|text| &text[0]["label"]).collect();
    assert_eq!(labels, ["negative", "positive", "neutral"]);
    assert_eq!((&output["tokens"], &output["truncated"]), (&json!([4, 5, 64]), &json!([false, false, true])));
    system.finish().await;
}

async fn texts_that_do_not_fit_are_refused_before_they_are_a_job(profile: Profile) {
    let system = system(profile).await;
    let rows = [
        (json!({}), "/input/texts"),
        (json!({"texts": ["a", 1]}), "/input/texts/1"),
        (json!({"text": "a", "top_k": 4}), "/input/top_k"),
        (json!({"ids": {"shape": [1, 1], "data": [1]}}), "/input/ids"),
    ];
    for (input, pointer) in rows {
        let refused = system.client.submit(&tone(&input)).await.expect_err("it does not fit");
        let problem = refused.problem().expect("a problem");
        assert_eq!((problem.status, problem.code.as_str()), (422, "invalid_input"), "{input}");
        assert_eq!(problem.errors[0].pointer, pointer, "{input}: {problem:?}");
    }
    system.finish().await;
}

siding_tests::on_every_profile!(texts_get_their_labels, texts_that_do_not_fit_are_refused_before_they_are_a_job);
