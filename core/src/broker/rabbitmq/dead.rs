//! Dead letters: the queue behind every lane's queue, read one by one. It decides where what cannot be read goes: into a queue of its
//! own, so that it does not stand before the readable ones for ever. It must never settle a readable one by itself.

use std::sync::Arc;

use lapin::{
    BasicProperties, Channel,
    options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions, BasicRejectOptions, QueueDeclareOptions},
    types::{FieldTable, ShortString},
};

use super::{
    consume::{Origin, RabbitDelivery},
    publish::outcome,
    topology::Topology,
};
use crate::{
    broker::{DeadLettersFound, Delivery, Error, Published},
    envelope::Envelope,
};

/// Takes at most `letters_max` readable dead letters and moves the unreadable ones before them out of the way.
pub(super) async fn take(origin: &Arc<Origin>, topology: &Topology, letters_max: usize) -> Result<DeadLettersFound, Error> {
    let mut letters: Vec<Box<dyn Delivery>> = Vec::new();
    while letters.len() < letters_max {
        let get = origin.channel.basic_get(topology.dead().clone(), BasicGetOptions { no_ack: false });
        let Some(got) = origin.link.call(get).await? else { break };
        if serde_json::from_slice::<Envelope>(&got.delivery.data).is_ok() {
            letters.extend(RabbitDelivery::read(got.delivery, origin).map(|letter| Box::new(letter) as Box<dyn Delivery>));
        } else if !move_unreadable(origin, topology.unreadable(), got.delivery).await? {
            // It stays where it is, and so does what is behind it, until there is room.
            break;
        }
    }
    let unreadable = count(origin, &origin.channel, topology.unreadable()).await?;
    Ok(DeadLettersFound { letters, unreadable })
}

/// Messages in a queue that nobody holds.
pub(super) async fn count(origin: &Origin, channel: &Channel, queue: &ShortString) -> Result<u64, Error> {
    let passive = QueueDeclareOptions { passive: true, durable: true, exclusive: false, auto_delete: false, nowait: false };
    let found = origin.link.call(channel.queue_declare(queue.clone(), passive, FieldTable::default())).await?;
    Ok(u64::from(found.message_count()))
}

/// Publishes it there as it is and acknowledges it here, in this order: a crash in between doubles it. `false` when there is no room.
async fn move_unreadable(origin: &Origin, queue: &ShortString, letter: lapin::message::Delivery) -> Result<bool, Error> {
    if !origin.link.takes_messages() {
        return Ok(false);
    }
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let properties: BasicProperties = letter.properties.clone();
    let moving = async {
        let written =
            origin.link.messages.basic_publish(ShortString::default(), queue.clone(), options, &letter.data, properties);
        written.await?.await
    };
    let moved = outcome(&Ok(origin.link.call(moving).await?)) == Published::Confirmed;
    let settling = async {
        match moved {
            true => letter.acker.ack(BasicAckOptions { multiple: false }).await,
            false => letter.acker.reject(BasicRejectOptions { requeue: true }).await,
        }
    };
    origin.link.call(settling).await?;
    Ok(moved)
}
