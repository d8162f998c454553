//! The model repository is read again while jobs run: what came is served, what went is not, and nothing that runs notices.

use std::time::Duration;

use serde_json::json;
use siding_client::Submission;
use siding_core::job::State;
use siding_tests::harness::{Options, TestSystem, eventually, models::write_scripted, system::stored_id};

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_come_and_go_without_a_restart_and_without_losing_a_job() {
    let mut options = Options::default();
    options.settings.models.reload_ms = 20;
    options.settings.models.versions = "latest".into();
    let system = TestSystem::start_with(options).await;
    let models = system.models();
    let long = system.submit("scripted", json!({"op": "delay", "ms": 60_000, "steps": 6_000})).await;
    system.in_state(long, State::Running).await;

    write_scripted(&models, "scripted", "2", 0.0);
    let noop = Submission::new("scripted", &json!({"op": "noop"})).expect("json");
    eventually("the new version is served", PATIENCE, || async {
        let job = system.client.submit(&noop).await.expect("accepted");
        let version = job.version.clone();
        system.ended(stored_id(job.id)).await;
        if version == "2" { Ok(()) } else { Err(format!("new jobs get version {version}")) }
    })
    .await;
    let first = noop.clone().with_version("1");
    let refused = system.client.submit(&first).await.expect_err("new jobs get the newest alone");
    assert!(format!("{refused:?}").contains("unknown_version"), "{refused:?}");

    std::fs::remove_dir_all(models.join("scripted/2")).expect("removes");
    eventually("the old version is served again", PATIENCE, || async {
        let job = system.client.submit(&noop).await.expect("accepted");
        let version = job.version.clone();
        // A job that was accepted for version 2 a moment before it went has nothing to run it.
        system.ended(stored_id(job.id)).await;
        if version == "1" { Ok(()) } else { Err(format!("new jobs get version {version}")) }
    })
    .await;
    assert_eq!(system.job(long).await.state, State::Running, "what runs has noticed nothing");
    system.client.cancel(long.to_string().parse().expect("an id")).await.expect("accepted");
    system.finish().await;
}

/// Rehearses docs/runbooks/model-unavailable.md.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_version_is_taken_away_and_its_jobs_run_again() {
    let mut options = Options::default();
    options.settings.models.reload_ms = 20;
    let mut system = TestSystem::start_with(options).await;
    let models = system.models();
    write_scripted(&models, "scripted", "2", 0.0);
    let noop = Submission::new("scripted", &json!({"op": "noop"})).expect("json");
    let second = noop.clone().with_version("2");
    // Nobody runs jobs until the version is broken.
    system.services().take_worker().expect("there is a worker").stop().await.expect("stops");
    let catalog = system.catalog.clone();
    let served = |count: usize| {
        let catalog = catalog.clone();
        move || {
            let found = catalog.current().models().iter().filter(|model| model.manifest.name.as_str() == "scripted").count();
            async move { if found == count { Ok(()) } else { Err(format!("{found} versions are served")) } }
        }
    };
    eventually("it is served", PATIENCE, served(2)).await;
    let job = system.submit_as(&second).await;
    let manifest = models.join("scripted/2/model.toml");
    let text = std::fs::read_to_string(&manifest).expect("is there");
    std::fs::write(&manifest, "name =").expect("writes");
    eventually("it is broken", PATIENCE, served(1)).await;
    system.start_worker();
    let failed = system.ended(job).await;
    assert_eq!(failed.state, State::Failed);
    assert!(format!("{failed:?}").contains("the model cannot be served: scripted/2/model.toml"), "{failed:?}");

    // Stop the harm: new jobs get what is left.
    let aside = models.join("aside");
    std::fs::rename(models.join("scripted/2"), &aside).expect("moves");
    let next = system.submit_as(&noop).await;
    assert_eq!(system.ended(next).await.state, State::Succeeded);
    // Repair, and run again what had failed.
    std::fs::write(aside.join("model.toml"), text).expect("writes");
    std::fs::rename(&aside, models.join("scripted/2")).expect("moves");
    eventually("it is served again", PATIENCE, served(2)).await;
    let again = system.client.retry(job.to_string().parse().expect("an id")).await.expect("accepted");
    assert_eq!(system.ended(stored_id(again.id)).await.state, State::Succeeded);
    system.finish().await;
}
