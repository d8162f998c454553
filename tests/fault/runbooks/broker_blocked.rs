//! Rehearses docs/runbooks/broker-blocked.md over servers of its own: what the page says is seen must be seen, and nothing accepted is lost. It must never touch a shared server's state.

use serde_json::json;
use siding_tests::harness::{
    child::Urls,
    servers::{Kind, Private},
};

use super::given::System;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_blocked_is_seen_and_costs_no_answer_and_no_job() {
    let broker = Private::start(Kind::RabbitMq).await;
    let system = System::over(Urls { amqp: Some(broker.url().to_owned()), ..Urls::default() }, "").await;
    let script = json!({"op": "delay", "ms": 5});
    let first = system.accepted("scripted", &script).await;
    system.succeeds(first).await;

    broker.ctl(&["set_vm_memory_high_watermark", "0.00001"]).await;
    let mut jobs = Vec::new();
    for _ in 0..30 {
        jobs.push(system.accepted("scripted", &script).await);
    }
    system.metric_is("siding_broker_blocked", |blocked| blocked > 0.5).await;
    system.metric_is("siding_unpublished_jobs", |unpublished| unpublished > 0.5).await;

    broker.ctl(&["set_vm_memory_high_watermark", "0.6"]).await;
    for job in jobs {
        system.succeeds(job).await;
    }
    system.metric_is("siding_broker_blocked", |blocked| blocked < 0.5).await;
    system.finish().await;
}
