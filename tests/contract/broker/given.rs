//! Messages and short ways to handle them.

use std::{future::Future, time::Duration};

use siding_core::{
    broker::{Delivery, Published, Subscription},
    clock::Timestamp,
    envelope::{Due, Envelope},
    id::{Attempt, JobId, LaneName, MessageId},
};
use siding_tests::harness::seams::{BrokerSeam, broker_lanes};

/// Longest wait for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub fn instant() -> LaneName {
    broker_lanes()[0].clone()
}

pub fn long() -> LaneName {
    broker_lanes()[1].clone()
}

pub fn message(lane: LaneName) -> Envelope {
    Envelope::V1(Due {
        job: JobId::generate(),
        attempt: Attempt(0),
        lane,
        model: "echo".parse().expect("a valid name"),
        version: "1".parse().expect("a valid name"),
        due_at_ms: Timestamp(1),
        expected_ms: 2.5,
        message: Some(MessageId::generate()),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    })
}

/// Publishes `count` messages to the instant lane and returns their jobs.
pub async fn publish(seam: &BrokerSeam, count: usize) -> Vec<JobId> {
    let messages: Vec<Envelope> = (0..count).map(|_| message(instant())).collect();
    let jobs = messages.iter().map(|message| message.due().job).collect();
    assert_eq!(seam.broker.publish(messages).await, vec![Published::Confirmed; count]);
    jobs
}

pub async fn subscribe(seam: &BrokerSeam, prefetch: u16) -> Box<dyn Subscription> {
    seam.broker.subscribe(&instant(), prefetch).await.expect("the lane has a queue")
}

/// The next delivery, which must come.
pub async fn next(subscription: &mut Box<dyn Subscription>) -> Box<dyn Delivery> {
    soon(subscription.next()).await.expect("the subscription goes on")
}

pub fn job(delivery: &dyn Delivery) -> JobId {
    delivery.envelope().due().job
}

/// The outcome of what must end soon.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it ends soon")
}

/// Checks that no delivery comes. Nothing that could bring one happens meanwhile.
pub async fn nothing_comes(seam: &BrokerSeam, subscription: &mut Box<dyn Subscription>) {
    let came = tokio::time::timeout(seam.stillness, subscription.next()).await;
    assert!(came.is_err(), "{came:?}");
}

/// What holds after every check: a broker can be closed whatever was done with it.
pub async fn close(seam: &BrokerSeam) {
    (seam.close)();
}
