//! Rehearses docs/runbooks/backlog.md over servers of its own: what the page says is seen must be seen, and nothing accepted is lost. It must never touch a shared server's state.

use serde_json::json;
use siding_tests::harness::{
    child::Urls,
    servers::{Kind, Private},
};

use super::given::{Answer, System};

/// The bound of this test.
const UNPUBLISHED_MAX: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backlog_at_its_bound_refuses_with_a_time_to_come_back_and_accepts_again_below_it() {
    let mut broker = Private::start(Kind::RabbitMq).await;
    let more = format!("[submit]\nunpublished_max = {UNPUBLISHED_MAX}\n");
    let system = System::over(Urls { amqp: Some(broker.url().to_owned()), ..Urls::default() }, &more).await;
    let script = json!({"op": "delay", "ms": 5});
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
