//! Health: living and ready are told apart, readiness ends before the port closes, and every problem code has its page.

use std::time::Duration;

use siding_core::problem::Code;
use siding_tests::harness::{Options, Profile, TestSystem, eventually};

async fn status(system: &TestSystem, path: &str) -> u16 {
    reqwest::get(format!("{}{path}", system.url)).await.expect("an answer").status().as_u16()
}

async fn a_process_that_is_told_to_stop_says_that_it_is_not_ready_while_it_still_serves(profile: Profile) {
    let mut options = Options::on(profile);
    options.settings.server.unready_ms = 60_000;
    let mut system = TestSystem::start_with(options).await;
    assert_eq!((status(&system, "/health/live").await, status(&system, "/health/ready").await), (200, 200));
    let services = system.take_services();
    let front = services.front().clone();
    let stopping = tokio::spawn(services.stop());
    eventually("readiness says no", TestSystem::patience(), || async {
        match status(&system, "/health/ready").await {
            503 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    assert_eq!(status(&system, "/health/live").await, 200);
    assert_eq!(status(&system, "/v1/lanes").await, 200, "callers who come all the same are served");
    assert!(!front.is_stopping());
    // The wait is over when the front is told to stop by anybody.
    front.stop();
    let stopped = tokio::time::timeout(Duration::from_secs(30), stopping).await.expect("it ends in time");
    stopped.expect("no panic").expect("everything ends");
    system.finish_stopped().await;
}

async fn every_problem_code_has_a_page(profile: Profile) {
    let system = TestSystem::on(profile).await;
    for code in Code::ALL {
        let page = reqwest::get(format!("{}/problems/{code}", system.url)).await.expect("an answer");
        assert_eq!(page.status().as_u16(), 200);
        assert!(page.text().await.expect("a text").starts_with(code.as_str()));
    }
    assert_eq!(status(&system, "/problems/nothing").await, 404);
    system.finish().await;
}

siding_tests::on_every_profile!(
    a_process_that_is_told_to_stop_says_that_it_is_not_ready_while_it_still_serves,
    every_problem_code_has_a_page,
);
