//! Brokers with a proxy before RabbitMQ, and short ways to publish and consume.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use siding_core::{
    broker::{Consumer, Delivery, Published, Publisher, Standing, Subscription, rabbitmq::RabbitBroker},
    clock::Timestamp,
    config,
    drain::Drain,
    envelope::{Due, Envelope},
    id::{Attempt, JobId, LaneName},
};
use siding_tests::harness::{eventually, proxy::Proxy, rabbitmq::Region, servers};

/// Longest wait for what must happen: what the issue promises after the broker's return.
pub const BACK_WITHIN: Duration = Duration::from_secs(10);
/// How long nothing must come until nothing will.
pub const STILLNESS: Duration = Duration::from_millis(300);
/// Messages that a queue takes.
pub const QUEUE_MESSAGES_MAX: usize = 100_000;

/// A broker behind a proxy, in a region of its own.
pub struct Fixture {
    pub broker: Arc<RabbitBroker>,
    pub proxy: Proxy,
    pub region: Region,
    pub drain: Drain,
}

impl Fixture {
    /// In the tests' RabbitMQ.
    pub async fn new() -> Self {
        Self::at(&servers::amqp_url()).await
    }

    /// In the RabbitMQ at this URL.
    pub async fn at(url: &str) -> Self {
        let (region, drain) = (Region::at(url, &[lane()]), Drain::new());
        let (proxy, through) = Proxy::before(url).await;
        let broker = connect(&impatient(&region, &through), &drain).await;
        Self { broker, proxy, region, drain }
    }

    /// Waits until the broker stands so.
    pub async fn stands(&self, standing: Standing) {
        stands(&self.broker, standing).await;
    }

    /// Ends the broker and waits for its tasks: none hangs.
    pub async fn end(self) {
        self.drain.stopped(BACK_WITHIN).await.expect("every task of the broker ends");
    }
}

/// Settings that notice a silent cut after 2 s.
pub fn impatient(region: &Region, url: &str) -> config::Broker {
    config::Broker { url: url.into(), heartbeat_secs: 1, confirm_timeout_ms: 1_000, unconfirmed_max: 64, ..region.settings() }
}

pub async fn connect(settings: &config::Broker, drain: &Drain) -> Arc<RabbitBroker> {
    RabbitBroker::connect(settings, &[lane()], QUEUE_MESSAGES_MAX, drain).await.expect("RabbitMQ is there")
}

pub async fn stands(broker: &RabbitBroker, standing: Standing) {
    let mut told = broker.standing();
    let reached = tokio::time::timeout(BACK_WITHIN, told.wait_for(|now| *now == standing)).await;
    reached.unwrap_or_else(|_| panic!("not {standing:?} within {BACK_WITHIN:?}")).expect("the broker lives");
}

pub fn lane() -> LaneName {
    "instant".parse().expect("a valid name")
}

pub fn message() -> Envelope {
    Envelope::V1(Due {
        job: JobId::generate(),
        attempt: Attempt(0),
        lane: lane(),
        model: "echo".parse().expect("a valid name"),
        version: "1".parse().expect("a valid name"),
        due_at_ms: Timestamp(1),
        expected_ms: 1.0,
        traceparent: None,
        message: None,
    })
}

/// Publishes one message; how long the answer took is bounded whatever the broker does.
pub async fn publish(broker: &RabbitBroker, message: Envelope) -> Published {
    let asked = Instant::now();
    let outcomes = broker.publish(vec![message]).await;
    assert!(asked.elapsed() < Duration::from_secs(5), "a publication hung for {:?}", asked.elapsed());
    outcomes[0]
}

/// Publishes until each of `count` messages is confirmed.
pub async fn publish_all(broker: &RabbitBroker, count: usize) -> Vec<JobId> {
    let mut jobs = Vec::new();
    for _ in 0..count {
        let message = message();
        jobs.push(message.due().job);
        eventually("a message is confirmed", BACK_WITHIN, async || match publish(broker, message.clone()).await {
            Published::Confirmed => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }
    jobs
}

/// Subscribes, as soon as the broker lets us.
pub async fn subscribe(broker: &RabbitBroker, prefetch: u16) -> Box<dyn Subscription> {
    eventually("there is a subscription", BACK_WITHIN, async || {
        broker.subscribe(&lane(), prefetch).await.map_err(|error| format!("{error:?}"))
    })
    .await
}

/// The next `count` deliveries, which must come, and nothing after them.
pub async fn exactly(subscription: &mut Box<dyn Subscription>, count: usize) -> Vec<Box<dyn Delivery>> {
    let mut deliveries = Vec::new();
    for _ in 0..count {
        let next = tokio::time::timeout(BACK_WITHIN, subscription.next()).await.expect("a delivery comes");
        deliveries.push(next.expect("the subscription goes on"));
    }
    let more = tokio::time::timeout(STILLNESS, subscription.next()).await;
    assert!(more.is_err(), "more than {count}: {more:?}");
    deliveries
}
