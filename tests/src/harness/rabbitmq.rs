//! RabbitMQ for tests: a region of its own for each test, and a look at it from outside, past our own code. It decides what a test
//! may do to a broker that others use at the same time: anything within its own region, nothing beyond.

use std::time::Duration;

use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{
        BasicGetOptions, BasicPublishOptions, BasicRejectOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions,
        QueuePurgeOptions,
    },
    types::FieldTable,
};
use siding_core::{
    config::{self, Settings},
    id::LaneName,
};
use uuid::Uuid;

use super::{eventually, servers};

/// How long a message that must come may take.
const WITHIN: Duration = Duration::from_secs(10);
/// How long a queue must stay empty to count as empty for good.
const STILLNESS: Duration = Duration::from_millis(500);

/// A region for one test alone; its queues and exchanges are deleted when it is dropped.
#[derive(Debug)]
pub struct Region {
    name: String,
    url: String,
    lanes: Vec<LaneName>,
}

impl Region {
    /// A region in the tests' RabbitMQ.
    #[must_use]
    pub fn new(lanes: &[LaneName]) -> Self {
        Self::at(&servers::amqp_url(), lanes)
    }

    /// A region in the RabbitMQ at `url`.
    #[must_use]
    pub fn at(url: &str, lanes: &[LaneName]) -> Self {
        Self { name: format!("t{}", Uuid::now_v7().simple()), url: url.to_owned(), lanes: lanes.to_vec() }
    }

    /// The settings of a broker in this region.
    #[must_use]
    pub fn settings(&self) -> config::Broker {
        config::Broker { url: self.url.as_str().into(), region: self.name.clone(), ..Settings::default().broker }
    }

    /// The name of one of the region's queues or exchanges, for example `dead`.
    #[must_use]
    pub fn name(&self, what: &str) -> String {
        format!("siding.{}.{what}.v1", self.name)
    }

    /// The name of a lane's queue.
    #[must_use]
    pub fn queue(&self, lane: &LaneName) -> String {
        self.name(&format!("lane.{lane}"))
    }

    /// A way to the broker past our own code.
    pub async fn outside(&self) -> Outside {
        Outside::at(&self.url).await
    }
}

impl Drop for Region {
    /// Waits until all is deleted: on a thread of its own, because a test may be ending by a panic in the middle of its executor.
    fn drop(&mut self) {
        let queues = self.lanes.iter().map(|lane| self.queue(lane)).chain(["dead", "unreadable"].map(|what| self.name(what)));
        let queues: Vec<String> = queues.collect();
        let exchanges = ["events", "control", "dead"].map(|what| self.name(what));
        let url = self.url.clone();
        let deleting = std::thread::spawn(move || {
            let executor = tokio::runtime::Builder::new_current_thread().enable_all().build();
            executor.is_ok_and(|executor| executor.block_on(delete(&url, &queues, &exchanges)).is_ok())
        });
        if !deleting.join().is_ok_and(|deleted| deleted) && !std::thread::panicking() {
            eprintln!("the queues of region {} could not be deleted", self.name);
        }
    }
}

async fn delete(url: &str, queues: &[String], exchanges: &[String]) -> lapin::Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    for queue in queues {
        let options = QueueDeleteOptions { if_unused: false, if_empty: false, nowait: false };
        channel.queue_delete(queue.as_str().into(), options).await?;
    }
    for exchange in exchanges {
        channel.exchange_delete(exchange.as_str().into(), ExchangeDeleteOptions { if_unused: false, nowait: false }).await?;
    }
    connection.close(200, "deleted".into()).await
}

/// A connection past our own code.
#[derive(Debug)]
pub struct Outside {
    connection: Connection,
}

impl Outside {
    /// Connects to the RabbitMQ at `url`.
    ///
    /// # Panics
    /// When it cannot be reached.
    pub async fn at(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await;
        Self { connection: connection.expect("the tests' RabbitMQ can be reached") }
    }

    /// Puts any bytes into a queue, without asking for a confirm.
    ///
    /// # Panics
    /// When they cannot be written.
    pub async fn put(&self, queue: &str, body: &[u8]) {
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let written =
            self.channel().await.basic_publish("".into(), queue.into(), options, body, BasicProperties::default()).await;
        drop(written.expect("the connection is open"));
    }

    /// Messages in a queue that nobody holds, and its consumers.
    ///
    /// # Panics
    /// When there is no such queue.
    pub async fn count(&self, queue: &str) -> (u32, u32) {
        let passive = QueueDeclareOptions { passive: true, durable: true, exclusive: false, auto_delete: false, nowait: false };
        let found = self.channel().await.queue_declare(queue.into(), passive, FieldTable::default()).await;
        let found = found.expect("there is such a queue");
        (found.message_count(), found.consumer_count())
    }

    /// Empties a queue.
    ///
    /// # Panics
    /// When it cannot be emptied.
    pub async fn purge(&self, queue: &str) {
        self.channel().await.queue_purge(queue.into(), QueuePurgeOptions { nowait: false }).await.expect("it can be emptied");
    }

    /// Deletes a queue with all that is in it.
    ///
    /// # Panics
    /// When it cannot be deleted.
    pub async fn delete(&self, queue: &str) {
        let options = QueueDeleteOptions { if_unused: false, if_empty: false, nowait: false };
        self.channel().await.queue_delete(queue.into(), options).await.expect("it can be deleted");
    }

    /// Takes the next message of a queue and puts it back, until the broker hands it out no more; returns how often.
    ///
    /// # Panics
    /// When nothing comes at first, or it never ends.
    pub async fn reject_until_gone(&self, queue: &str) -> usize {
        let channel = self.channel().await;
        let get = || channel.basic_get(queue.into(), BasicGetOptions { no_ack: false });
        let mut message =
            eventually("a message is there", WITHIN, || async { get().await.ok().flatten().ok_or_else(|| "none".to_owned()) })
                .await;
        for rejected in 1..1_000 {
            message.acker.reject(BasicRejectOptions { requeue: true }).await.expect("it is ours");
            // A queue that puts a message back takes a moment; one that has set it aside stays empty.
            let again = tokio::time::timeout(STILLNESS, async {
                loop {
                    if let Some(message) = get().await.expect("the queue is there") {
                        break message;
                    }
                }
            });
            match again.await {
                Ok(again) => message = again,
                Err(_) => return rejected,
            }
        }
        panic!("it is handed out for ever");
    }

    /// Whether this user may declare a queue of this name, which is deleted again.
    pub async fn may_declare(&self, queue: &str) -> bool {
        let options = QueueDeclareOptions { passive: false, durable: false, exclusive: true, auto_delete: true, nowait: false };
        self.channel().await.queue_declare(queue.into(), options, FieldTable::default()).await.is_ok()
    }

    /// Whether the RabbitMQ at `url` lets its user in.
    pub async fn admits(url: &str) -> bool {
        Connection::connect(url, ConnectionProperties::default()).await.is_ok()
    }

    async fn channel(&self) -> Channel {
        self.connection.create_channel().await.expect("the connection is open")
    }
}
