//! The names and declarations of everything that a region has in RabbitMQ. One declaration is valid on 3.10 and on 4.x; it decides what
//! exists and with which bounds. It must never change an argument of a queue under the same name: the broker refuses that, so
//! a changed declaration is a new version in the name.
//!
//! What a region has: a quorum queue for each lane, reached by its name through the default exchange; a dead-letter exchange with
//! the queue of dead letters behind it, to which lane queues hand over at least once; a queue for what nobody could read; an exchange
//! for events and one for control hints, to which each process binds an exclusive queue of its own.

use std::{collections::HashMap, time::Duration};

use lapin::{
    Channel, Connection, Consumer, ErrorKind, ExchangeKind,
    options::{BasicConsumeOptions, BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use uuid::Uuid;

use super::{
    dead,
    errors::{NOT_FOUND, is_reply},
};
use crate::{
    broker::Error,
    id::{Invalid, LaneName},
    limits,
};

/// AMQP's reply codes for a declaration that is not ours to make: without permission, and other than what exists.
const NOT_OURS: [u16; 2] = [403, 406];
/// Milliseconds that a hint waits in the queue of a process that does not read. Whoever is slower polls the store long before.
const HINT_AGE_MS_MAX: i64 = 60_000;
/// Hint messages that wait in the queue of one process; older ones are dropped.
const HINT_MESSAGES_MAX: i64 = 10_000;
/// Hint messages on their way to one process.
const HINT_PREFETCH: u16 = 64;
/// How long the word that a queue was lost may take to be confirmed.
const TELLING_MAX: Duration = Duration::from_secs(2);
/// A dead letter must not be set aside a second time, into nothing. There is no word for "for ever" that 3.10 and 4.x both know.
const DELIVERIES_WITHOUT_END: i64 = 1_000_000_000;

/// Looks whether a queue is there. What else it says is not compared.
pub(super) const PASSIVE: QueueDeclareOptions =
    QueueDeclareOptions { passive: true, durable: true, exclusive: false, auto_delete: false, nowait: false };

/// What a region's queues and exchanges are called, and how many messages they take.
#[derive(Debug)]
pub(super) struct Topology {
    lanes: HashMap<LaneName, ShortString>,
    dead: ShortString,
    unreadable: ShortString,
    events: ShortString,
    control: ShortString,
    hints: String,
    queue_messages_max: i64,
    deliveries_max: i64,
}

/// How a queue of messages is bounded.
struct QueueBounds {
    deliveries_max: i64,
    dead_letters_to: Option<ShortString>,
}

impl Topology {
    /// The names of `region`, which is checked here: they are short strings, and lapin panics at a longer one.
    pub(super) fn new(region: &str, lanes: &[LaneName], queue_messages_max: usize, deliveries_max: u32) -> Result<Self, Error> {
        let known: LaneName = region.parse().map_err(|error: Invalid| misconfigured(error.problem))?;
        if region.len() > limits::REGION_BYTES_MAX {
            return Err(misconfigured(format!("must be at most {} bytes long", limits::REGION_BYTES_MAX)));
        }
        let name = |what: &str| ShortString::from(format!("siding.{known}.{what}.v1"));
        Ok(Self {
            lanes: lanes.iter().map(|lane| (lane.clone(), name(&format!("lane.{lane}")))).collect(),
            dead: name("dead"),
            unreadable: name("unreadable"),
            events: name("events"),
            control: name("control"),
            hints: format!("siding.{known}.hints"),
            queue_messages_max: i64::try_from(queue_messages_max).unwrap_or(i64::MAX),
            deliveries_max: i64::from(deliveries_max),
        })
    }

    /// The queue of a lane.
    pub(super) fn queue(&self, lane: &LaneName) -> Option<&ShortString> {
        self.lanes.get(lane)
    }

    /// The queue of dead letters.
    pub(super) fn dead(&self) -> &ShortString {
        &self.dead
    }

    /// The queue of messages that nobody could read.
    pub(super) fn unreadable(&self) -> &ShortString {
        &self.unreadable
    }

    /// Where hints about events go.
    pub(super) fn events(&self) -> &ShortString {
        &self.events
    }

    /// Where all other hints go.
    pub(super) fn control(&self) -> &ShortString {
        &self.control
    }

    /// Declares all that is durable. Harmless when it is there already. When a lane has no queue (anymore), that is told among the dead
    /// letters first, where the broker takes it, and returned: on the publishing connection, because the other one must never publish.
    pub(super) async fn declare(&self, publishing: &Connection, consuming: &Connection) -> lapin::Result<Vec<LaneName>> {
        let mut channel = consuming.create_channel().await?;
        for exchange in [&self.events, &self.control, &self.dead] {
            self.declare_exchange(consuming, &mut channel, exchange).await?;
        }
        for queue in [&self.dead, &self.unreadable] {
            let bounds = QueueBounds { deliveries_max: DELIVERIES_WITHOUT_END, dead_letters_to: None };
            self.declare_queue(consuming, &mut channel, queue, bounds).await?;
        }
        let bind = QueueBindOptions { nowait: false };
        channel.queue_bind(self.dead.clone(), self.dead.clone(), ShortString::default(), bind, FieldTable::default()).await?;
        let missing = self.missing(consuming, &mut channel).await?;
        if !missing.is_empty() && !self.tell_loss(publishing, &missing).await {
            // A broker that is blocked, or whose dead letters are full, must not cost the other lanes their consumers. The producers' own
            // look at queues that are empty finds these jobs, only later.
            tracing::warn!("the loss of a queue could not be told; its jobs are published again when their publications are old");
        }
        for queue in self.lanes.values() {
            let bounds = QueueBounds { deliveries_max: self.deliveries_max, dead_letters_to: Some(self.dead.clone()) };
            self.declare_queue(consuming, &mut channel, queue, bounds).await?;
        }
        channel.close(200, "declared".into()).await?;
        Ok(missing)
    }

    async fn tell_loss(&self, publishing: &Connection, missing: &[LaneName]) -> bool {
        let telling = dead::tell_loss(publishing, &self.dead, missing.to_vec());
        tokio::time::timeout(TELLING_MAX, telling).await.is_ok_and(|told| told.unwrap_or(false))
    }

    /// The lanes without a queue.
    async fn missing(&self, connection: &Connection, channel: &mut Channel) -> lapin::Result<Vec<LaneName>> {
        let mut missing = Vec::new();
        for (lane, queue) in &self.lanes {
            match channel.queue_declare(queue.clone(), PASSIVE, FieldTable::default()).await {
                Ok(_) => {}
                Err(error) if is_reply(&error, &[NOT_FOUND]) => {
                    *channel = connection.create_channel().await?;
                    missing.push(lane.clone());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(missing)
    }

    /// A fanout exchange: who binds a queue to it gets everything.
    async fn declare_exchange(&self, connection: &Connection, channel: &mut Channel, name: &ShortString) -> lapin::Result<()> {
        let options =
            ExchangeDeclareOptions { passive: false, durable: true, auto_delete: false, internal: false, nowait: false };
        let declared = channel.exchange_declare(name.clone(), ExchangeKind::Fanout, options, FieldTable::default()).await;
        match declared {
            Err(error) if is_reply(&error, &NOT_OURS) => {
                *channel = connection.create_channel().await?;
                let passive = ExchangeDeclareOptions { passive: true, ..options };
                channel.exchange_declare(name.clone(), ExchangeKind::Fanout, passive, FieldTable::default()).await
            }
            declared => declared,
        }
    }

    /// A quorum queue. One that exists with other bounds (a setting has changed since) or may not be declared by this user is used as it is.
    async fn declare_queue(
        &self,
        connection: &Connection,
        channel: &mut Channel,
        name: &ShortString,
        bounds: QueueBounds,
    ) -> lapin::Result<()> {
        let options = QueueDeclareOptions { passive: false, durable: true, exclusive: false, auto_delete: false, nowait: false };
        match channel.queue_declare(name.clone(), options, self.queue_arguments(bounds)).await {
            Ok(_) => Ok(()),
            Err(error) if is_reply(&error, &NOT_OURS) => {
                // The refusal has closed the channel.
                *channel = connection.create_channel().await?;
                channel.queue_declare(name.clone(), PASSIVE, FieldTable::default()).await?;
                if let ErrorKind::ProtocolError(why) = error.kind() {
                    tracing::warn!(queue.name = %name, why = %why.get_message(), "queue used as it is: it cannot be declared as configured");
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn queue_arguments(&self, bounds: QueueBounds) -> FieldTable {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), text("quorum"));
        // Without it, 4.x drops a message after 20 deliveries.
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(bounds.deliveries_max));
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(self.queue_messages_max));
        // A full queue says no to the publisher, instead of dropping its oldest message; at-least-once demands it, too.
        arguments.insert("x-overflow".into(), text("reject-publish"));
        if let Some(exchange) = bounds.dead_letters_to {
            arguments.insert("x-dead-letter-exchange".into(), text(exchange.as_str()));
            arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        }
        arguments
    }

    /// This process's own queue of hints, bound to both exchanges, and its consumer. The name is new each time: after a silent cut, the
    /// broker keeps the exclusive queue of the old connection for three heartbeats and refuses its name to others.
    pub(super) async fn listen(&self, connection: &Connection) -> lapin::Result<(Channel, Consumer)> {
        let channel = connection.create_channel().await?;
        let queue = ShortString::from(format!("{}.{}", self.hints, Uuid::now_v7().simple()));
        let mut arguments = FieldTable::default();
        // Classic: exclusive quorum queues are refused everywhere. What is too much or too old is dropped, oldest first.
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(HINT_MESSAGES_MAX));
        arguments.insert("x-overflow".into(), text("drop-head"));
        arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(HINT_AGE_MS_MAX));
        let options = QueueDeclareOptions { passive: false, durable: false, exclusive: true, auto_delete: true, nowait: false };
        channel.queue_declare(queue.clone(), options, arguments).await?;
        for exchange in [&self.events, &self.control] {
            let bind = QueueBindOptions { nowait: false };
            channel.queue_bind(queue.clone(), exchange.clone(), ShortString::default(), bind, FieldTable::default()).await?;
        }
        channel.basic_qos(HINT_PREFETCH, BasicQosOptions { global: false }).await?;
        // Acknowledged, so that what waits is bounded by the queue and not by the memory of a process that is stopped.
        let options = BasicConsumeOptions { no_local: false, no_ack: false, exclusive: true, nowait: false };
        let consumer = channel.basic_consume(queue.clone(), queue, options, FieldTable::default()).await?;
        Ok((channel, consumer))
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn misconfigured(problem: String) -> Error {
    Error::Misconfigured(format!("broker.region {problem}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_names_fit_and_a_wrong_region_is_told() {
        let lane: LaneName = "l".repeat(limits::NAME_BYTES_MAX).parse().expect("the longest name");
        let topology = |region: &str| Topology::new(region, std::slice::from_ref(&lane), 1, 1);
        let longest = topology(&"r".repeat(limits::REGION_BYTES_MAX)).expect("the longest region");
        assert!(longest.queue(&lane).expect("the lane has a queue").as_str().len() <= 255);
        for wrong in ["", "a b", "a/b", &"r".repeat(limits::REGION_BYTES_MAX + 1)] {
            assert!(matches!(topology(wrong), Err(Error::Misconfigured(_))), "{wrong}");
        }
    }
}
