//! The raw loop: messages of a job's size through a quorum queue, confirmed and acknowledged, with nothing of ours around it. It exists only as the
//! limit that `siding bench dispatch` measures beside the system; no job passes through here.

use std::collections::VecDeque;

use futures::StreamExt;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions, ExchangeDeleteOptions,
        QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
};
use uuid::Uuid;

use super::{errors, topology::Topology};
use crate::{broker::Error, config, id::LaneName};

/// Messages that wait for their confirms at once, and that are handed out ahead: where more gains nothing (measured: 16,783 messages/s at 256,
/// 15,997 at 1,024).
const WINDOW: u16 = 256;

/// One queue, with a channel that publishes and one that consumes on two connections, as a producer and a worker have them.
pub struct RawQueue {
    name: String,
    publishing: Channel,
    consuming: Channel,
    messages: Consumer,
    _connections: [Connection; 2],
}

impl RawQueue {
    /// Declares a queue of its own.
    ///
    /// # Errors
    /// `Unavailable`, `Misconfigured`.
    pub async fn open(settings: &config::Broker) -> Result<Self, Error> {
        Self::open_all(settings).await.map_err(errors::unavailable)
    }

    async fn open_all(settings: &config::Broker) -> lapin::Result<Self> {
        let name = format!("siding.raw.{}", Uuid::now_v7().simple());
        let connect = || Connection::connect(settings.url.expose(), ConnectionProperties::default());
        let connections = [connect().await?, connect().await?];
        let publishing = connections[0].create_channel().await?;
        publishing.confirm_select(ConfirmSelectOptions { nowait: false }).await?;
        let consuming = connections[1].create_channel().await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let durable = QueueDeclareOptions { passive: false, durable: true, exclusive: false, auto_delete: false, nowait: false };
        consuming.queue_declare(name.as_str().into(), durable, arguments).await?;
        consuming.basic_qos(WINDOW, BasicQosOptions { global: false }).await?;
        let options = BasicConsumeOptions { no_local: false, no_ack: false, exclusive: false, nowait: false };
        let messages = consuming.basic_consume(name.as_str().into(), "raw".into(), options, FieldTable::default()).await?;
        Ok(Self { name, publishing, consuming, messages, _connections: connections })
    }

    /// Publishes the bodies, persistent, mandatory and confirmed, and returns once the broker has all of them.
    ///
    /// # Errors
    /// `Unavailable`, also when one of them was refused.
    pub async fn publish(&self, bodies: &[Vec<u8>]) -> Result<(), Error> {
        let mut waiting = VecDeque::new();
        for body in bodies {
            if waiting.len() == usize::from(WINDOW) {
                confirmed(waiting.pop_front()).await?;
            }
            let options = BasicPublishOptions { mandatory: true, immediate: false };
            let properties = BasicProperties::default().with_delivery_mode(2);
            let sent = self.publishing.basic_publish("".into(), self.name.as_str().into(), options, body, properties).await;
            waiting.push_back(sent.map_err(errors::unavailable)?);
        }
        while !waiting.is_empty() {
            confirmed(waiting.pop_front()).await?;
        }
        Ok(())
    }

    /// Takes this many messages and acknowledges each. Waits for those that are not there yet.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn take(&mut self, count: usize) -> Result<(), Error> {
        for _ in 0..count {
            let delivery = self.messages.next().await.ok_or(Error::Unavailable(None))?.map_err(errors::unavailable)?;
            delivery.acker.ack(BasicAckOptions { multiple: false }).await.map_err(errors::unavailable)?;
        }
        Ok(())
    }

    /// Deletes the queue.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete(self) -> Result<(), Error> {
        delete(&self.consuming, &self.name).await.map_err(errors::unavailable)
    }
}

async fn confirmed(sent: Option<impl Future<Output = lapin::Result<Confirmation>>>) -> Result<(), Error> {
    let Some(sent) = sent else { return Ok(()) };
    match sent.await.map_err(errors::unavailable)? {
        Confirmation::Ack(None) => Ok(()),
        _ => Err(Error::Unavailable(None)),
    }
}

async fn delete(channel: &Channel, queue: &str) -> lapin::Result<()> {
    let options = QueueDeleteOptions { if_unused: false, if_empty: false, nowait: false };
    channel.queue_delete(queue.into(), options).await.map(drop)
}

/// Deletes the queues and exchanges of a region that a bench has made for itself.
///
/// # Errors
/// `Unavailable`, `Misconfigured`.
pub async fn delete_region(settings: &config::Broker, lanes: &[LaneName]) -> Result<(), Error> {
    let topology = Topology::new(&settings.region, lanes, 1, settings.deliveries_max)?;
    let queues = lanes.iter().filter_map(|lane| topology.queue(lane)).chain([topology.dead(), topology.unreadable()]);
    let connection =
        Connection::connect(settings.url.expose(), ConnectionProperties::default()).await.map_err(errors::unavailable)?;
    let channel = connection.create_channel().await.map_err(errors::unavailable)?;
    for queue in queues {
        delete(&channel, queue.as_str()).await.map_err(errors::unavailable)?;
    }
    for exchange in [topology.events(), topology.control(), topology.dead()] {
        let options = ExchangeDeleteOptions { if_unused: false, nowait: false };
        channel.exchange_delete(exchange.clone(), options).await.map_err(errors::unavailable)?;
    }
    connection.close(200, "deleted".into()).await.map_err(errors::unavailable)
}
