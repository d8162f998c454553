//! Dead letters: the queue behind every lane's queue, read one by one. It decides where what cannot be read goes: into a queue of its
//! own, so that it does not stand before the readable ones for ever. It must never settle a readable one by itself.
//!
//! The word that a queue was lost lies among the dead letters, too. Whoever finds a lane's queue missing puts it there before the queue is declared
//! anew; in this order, so that a crash in between leaves the queue missing, to be found by the next one. A word that the broker does not
//! take (it is blocked, or the dead letters are full) holds nobody up: the producers' own look at empty queues finds those jobs, only later.

use std::sync::Arc;

use async_trait::async_trait;
use lapin::{
    BasicProperties, Channel, Connection,
    options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions, BasicRejectOptions, ConfirmSelectOptions},
    types::{FieldTable, ShortString},
};
use serde::{Deserialize, Serialize};

use super::{
    consume::{Origin, RabbitDelivery, Unsettled},
    publish::{PERSISTENT, outcome},
    topology::{PASSIVE, Topology},
};
use crate::{
    broker::{DeadLettersFound, Delivery, Error, Loss, Published},
    envelope::Envelope,
    id::LaneName,
};

/// Messages besides readable letters that one look takes: a heap of foreign ones must not keep it busy past the stop signal.
const OTHERS_MAX: usize = 64;

/// What kind of message tells a loss.
const LOSS: &str = "siding.loss";

/// Takes at most `letters_max` readable dead letters and moves the unreadable ones before them out of the way.
pub(super) async fn take(origin: &Arc<Origin>, topology: &Topology, letters_max: usize) -> Result<DeadLettersFound, Error> {
    let mut letters: Vec<Box<dyn Delivery>> = Vec::new();
    let mut losses: Vec<Box<dyn Loss>> = Vec::new();
    let mut others = 0;
    while letters.len() < letters_max && others < OTHERS_MAX {
        let get = origin.channel.basic_get(topology.dead().clone(), BasicGetOptions { no_ack: false });
        let Some(got) = origin.link.call(get).await? else { break };
        if let Some(Lost::V1 { lanes }) = lost(&got.delivery) {
            others += 1;
            losses.push(Box::new(RabbitLoss { lanes, unsettled: Unsettled::new(got.delivery.acker, origin) }));
        } else if serde_json::from_slice::<Envelope>(&got.delivery.data).is_ok() {
            letters.extend(RabbitDelivery::read(got.delivery, origin).map(|letter| Box::new(letter) as Box<dyn Delivery>));
        } else if move_unreadable(origin, topology.unreadable(), got.delivery).await? {
            others += 1;
        } else {
            // It stays where it is, and so does what is behind it, until there is room.
            break;
        }
    }
    let unreadable = count(origin, &origin.channel, topology.unreadable()).await?;
    Ok(DeadLettersFound { letters, unreadable, losses })
}

/// The message that tells a loss. The tag is the version: a promise to other processes, as the envelope is.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "v")]
enum Lost {
    #[serde(rename = "1")]
    V1 { lanes: Vec<LaneName> },
}

fn lost(letter: &lapin::message::Delivery) -> Option<Lost> {
    let told = letter.properties.kind().as_ref().is_some_and(|kind| kind.as_str() == LOSS);
    told.then(|| serde_json::from_slice(&letter.data).ok()).flatten()
}

/// The word that queues were lost.
#[derive(Debug)]
struct RabbitLoss {
    lanes: Vec<LaneName>,
    unsettled: Unsettled,
}

#[async_trait]
impl Loss for RabbitLoss {
    fn lanes(&self) -> &[LaneName] {
        &self.lanes
    }

    async fn ack(self: Box<Self>) -> Result<(), Error> {
        self.unsettled.ack().await
    }
}

/// Puts the word that queues were lost among the dead letters. `false` when the broker did not confirm it.
pub(super) async fn tell_loss(publishing: &Connection, dead: &ShortString, lanes: Vec<LaneName>) -> lapin::Result<bool> {
    let Ok(body) = serde_json::to_vec(&Lost::V1 { lanes }) else { return Ok(false) };
    let channel = publishing.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions { nowait: false }).await?;
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let properties =
        BasicProperties::default().with_delivery_mode(PERSISTENT).with_type(LOSS.into()).with_app_id("siding".into());
    let written = channel.basic_publish(ShortString::default(), dead.clone(), options, &body, properties).await?;
    let told = outcome(&written.await) == Published::Confirmed;
    channel.close(200, "told".into()).await?;
    Ok(told)
}

/// Messages in a queue that nobody holds.
pub(super) async fn count(origin: &Origin, channel: &Channel, queue: &ShortString) -> Result<u64, Error> {
    let found = origin.link.call(channel.queue_declare(queue.clone(), PASSIVE, FieldTable::default())).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_of_version_1_looks_like_this_for_ever() {
        let lost = Lost::V1 { lanes: vec!["instant".parse().expect("name"), "long".parse().expect("name")] };
        let golden = r#"{"v":"1","lanes":["instant","long"]}"#;
        assert_eq!(serde_json::to_string(&lost).expect("json"), golden);
        assert_eq!(serde_json::from_str::<Lost>(golden).expect("json"), lost);
    }
}
