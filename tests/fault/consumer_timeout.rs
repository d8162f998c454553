//! The broker's patience with an unacknowledged delivery is shorter than the work: on a stock broker 30 min, here seconds. Long lanes hold no delivery; short
//! ones get theirs back while they run.

use serde_json::json;
use siding::services::Role;
use siding_client::{State, Submission};
use siding_tests::harness::{
    child::{Cluster, Urls},
    servers::{Kind, Private},
};

use super::given::PROGRAM;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_timeout_shorter_than_the_work_neither_loses_nor_repeats_a_job() {
    let broker = Private::start(Kind::RabbitMq).await;
    // Looked at once a second instead of once a minute; channels that are opened from now on take both.
    for setting in ["consumer_timeout, 2000", "channel_tick_interval, 1000", "quorum_tick_interval, 1000"] {
        broker.ctl(&["eval", &format!("application:set_env(rabbit, {setting}).")]).await;
    }
    let cluster = Cluster::over(PROGRAM, Urls { amqp: Some(broker.url().to_owned()), ..Urls::default() }, "").await;
    let (producer, results) = (cluster.start(Role::Producer).await, cluster.start(Role::Results).await);
    // What it logs of a message that comes back is no warning.
    let worker = cluster.start_with(Role::Worker, &[("RUST_LOG", "info")]).await;
    let client = Cluster::client(&producer, &results);
    let mut jobs = Vec::new();
    for model in ["scripted", "scripted-long"] {
        let script = json!({"op": "delay", "ms": 7_000, "steps": 70});
        jobs.push(client.submit(&Submission::new(model, &script).expect("JSON")).await.expect("accepted").id);
    }
    // More of the short lane, held in hand behind it.
    for _ in 0..5 {
        jobs.push(client.submit(&Submission::new("scripted", &json!({"op": "noop"})).expect("JSON")).await.expect("accepted").id);
    }
    for job in jobs {
        let ended = client.wait(job).await.expect("it ends");
        assert_eq!((ended.state, ended.attempt, ended.failures), (State::Succeeded, 1, 0), "{ended:?}");
    }
    let log = worker.log();
    assert!(log.contains("the message of a running job has come back"), "the broker lost its patience: {log}");
    cluster.at_rest().await;
    for process in [producer, results, worker] {
        assert!(process.terminate().await, "it stops well");
    }
}
