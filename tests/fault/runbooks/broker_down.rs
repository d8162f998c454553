//! Rehearses docs/runbooks/broker-down.md over servers of its own: what the page says is seen must be seen, and nothing accepted is lost. It must never touch a shared server's state.

use std::time::Instant;

use serde_json::json;
use siding_tests::harness::{
    child::Urls,
    servers::{Kind, Private},
};

use super::given::{PATIENCE, System};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_down_submissions_go_on_into_the_store_and_run_when_it_is_back() {
    let mut broker = Private::start(Kind::RabbitMq).await;
    let system = System::over(Urls { amqp: Some(broker.url().to_owned()), ..Urls::default() }, "").await;
    let script = json!({"op": "delay", "ms": 5});
    // A quorum queue of RabbitMQ 3.10 that is killed in the first seconds of its life never gets a leader again.
    let before = system.accepted("scripted", &json!({"op": "delay", "ms": 3_000})).await;
    system.succeeds(before).await;
    let long = system.accepted("scripted-long", &json!({"op": "delay", "ms": 3_000, "steps": 30})).await;
    system.runs(long).await;

    broker.kill().await;
    system.metric_is("siding_broker_connected", |connected| connected < 0.5).await;
    assert_eq!(system.ready().await, 200, "a producer without its broker still accepts");
    let mut jobs = vec![long];
    for _ in 0..50 {
        jobs.push(system.accepted("scripted", &script).await);
    }
    system.metric_is("siding_unpublished_jobs", |unpublished| unpublished >= 50.0).await;
    // What was claimed needs no broker.
    assert_eq!(system.succeeds(long).await.attempt, 1);

    broker.restart().await;
    let back = Instant::now();
    for job in jobs {
        system.succeeds(job).await;
    }
    println!("broker down: everything over {:.2?} after its return", back.elapsed());
    assert!(back.elapsed() < PATIENCE);
    system.metric_is("siding_broker_connected", |connected| connected > 0.5).await;
    system.metric_is("siding_unpublished_jobs", |unpublished| unpublished < 0.5).await;
    system.finish().await;
}
