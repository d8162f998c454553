//! Rehearses docs/runbooks/backlog.md over servers of its own: what the page says is seen must be seen, and nothing accepted is lost. It must never touch a shared server's state.

use serde_json::json;
use siding::services::Role;
use siding_client::Submission;
use siding_tests::harness::{
    child::{Cluster, Urls},
    eventually,
    servers::{Kind, Private},
};

use super::given::{Answer, PATIENCE, PROGRAM, System};

/// The bound of this test.
const UNPUBLISHED_MAX: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backlog_that_somebody_has_purged_is_published_again() {
    let cluster = Cluster::new(PROGRAM).await;
    let results = cluster.start(Role::Results).await;
    let producer = cluster.start_with(Role::Producer, &[("SIDING_DISPATCH__LOST_AFTER_MS", "8000")]).await;
    let client = Cluster::client(&producer, &results);
    let noop = Submission::new("scripted", &json!({"op": "noop"})).expect("JSON");
    let mut jobs = Vec::new();
    for _ in 0..10 {
        jobs.push(client.submit(&noop).await.expect("accepted").id);
    }
    let lane = "instant".parse().expect("a name");
    let outside = cluster.region().outside().await;
    let queue = cluster.region().queue(&lane);
    // Asked of the store: a quorum queue's own count is some seconds old.
    let seams = cluster.seams().await;
    eventually("every message is in the queue, and marked", PATIENCE, || async {
        let left = seams.dispatch.backlog(100).await.expect("the store is there");
        if left == 0 { Ok(()) } else { Err(format!("{left} are not")) }
    })
    .await;
    seams.close().await;
    outside.purge(&queue).await;
    let worker = cluster.start(Role::Worker).await;
    for job in jobs {
        assert_eq!(client.wait(job).await.expect("it ends").attempt, 1);
    }
    cluster.at_rest().await;
    for process in [producer, worker, results] {
        assert!(process.terminate().await, "it stops well");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backlog_at_its_bound_refuses_with_a_time_to_come_back_and_accepts_again_below_it() {
    let mut broker = Private::start(Kind::RabbitMq).await;
    let more = format!("[submit]\nunpublished_max = {UNPUBLISHED_MAX}\n");
    let system = System::over(Urls { amqp: Some(broker.url().to_owned()), ..Urls::default() }, &more).await;
    let script = json!({"op": "delay", "ms": 5});
    // A quorum queue of RabbitMQ 3.10 that is killed in the first seconds of its life never gets a leader again.
    let first = system.accepted("scripted", &json!({"op": "delay", "ms": 3_000})).await;
    system.succeeds(first).await;
    broker.kill().await;
    system.metric_is("siding_broker_connected", |connected| connected < 0.5).await;
    let mut jobs = Vec::new();
    let refused = loop {
        match system.submit("scripted", &script).await {
            Answer::Accepted(job) => jobs.push(job),
            Answer::Later(seconds) => break seconds,
        }
        // The backlog is counted at each of the relay's turns, 50 ms apart here: what comes in between is above the bound.
        assert!(jobs.len() < 5_000, "the bound is {UNPUBLISHED_MAX}");
    };
    assert!((1..=60).contains(&refused), "Retry-After: {refused}");
    assert!(jobs.len() >= UNPUBLISHED_MAX, "refused at {} of {UNPUBLISHED_MAX}", jobs.len());

    broker.restart().await;
    let (last, waited) = system.accepted_in_the_end("scripted", &script).await;
    println!(
        "backlog: {} jobs accepted before the first refusal; accepted again {waited:.2?} after the broker's return",
        jobs.len()
    );
    jobs.push(last);
    for job in jobs {
        system.succeeds(job).await;
    }
    system.finish().await;
}
