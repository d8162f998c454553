//! Rehearses docs/runbooks/dead-letters.md in a region of its own: what cannot be read is kept, what a job waits for is published again. It must never touch another region.

use serde_json::json;
use siding::services::Role;
use siding_client::{State, Submission};
use siding_tests::harness::child::Urls;

use super::given::System;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_that_nobody_can_read_are_kept_and_hold_up_no_other() {
    let system = System::over(Urls::default(), "").await;
    let lane = "instant".parse().expect("a name");
    let outside = system.cluster.region().outside().await;
    outside.put(&system.cluster.region().queue(&lane), b"not an envelope").await;
    let job =
        system.client.submit(&Submission::new("scripted", &json!({"op": "noop"})).expect("JSON")).await.expect("accepted").id;
    system.succeeds(job).await;
    system.metric_is("siding_dead_letters_kept", |kept| kept > 0.5).await;
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_of_jobs_that_wait_are_published_again() {
    let system = System::over(Urls::default(), "").await;
    // Nobody takes the message but a program that cannot make anything of it and puts it back for ever.
    let System { cluster, producer, worker, results, client, .. } = system;
    assert!(worker.terminate().await, "it stops well");
    let job = client.submit(&Submission::new("scripted", &json!({"op": "noop"})).expect("JSON")).await.expect("accepted").id;
    let lane = "instant".parse().expect("a name");
    let outside = cluster.region().outside().await;
    let rejected = outside.reject_until_gone(&cluster.region().queue(&lane)).await;
    assert!(
        rejected as u32 > cluster.settings().broker.deliveries_max,
        "the broker has set it aside after {rejected} deliveries"
    );

    let worker = cluster.start(Role::Worker).await;
    let ended = client.wait(job).await.expect("it ends");
    assert_eq!((ended.state, ended.attempt), (State::Succeeded, 1), "no attempt was spent on it: {ended:?}");
    cluster.at_rest().await;
    for process in [producer, worker, results] {
        assert!(process.terminate().await, "it stops well");
    }
}
