//! Subscriptions and their deliveries. Each subscription has a channel of its own, which lives until the last of its deliveries is
//! settled, and a fresh consumer tag: RabbitMQ 4.3 closes the connection of whoever takes a timed-out tag again. It decides how a
//! message comes back: by `basic.reject`, never `basic.nack`, which 4.3 does not count as a delivery. It must never yield what can no
//! longer be settled, and never block in a drop.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::StreamExt;
use lapin::{
    Acker, Channel, Consumer,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions},
    types::{FieldTable, ShortString},
};
use uuid::Uuid;

use super::{Tasks, link::Link, report::Report};
use crate::{
    broker::{Delivery, Error, Subscription},
    envelope::Envelope,
    limits,
};

/// What every delivery of a subscription needs until it is settled.
pub(super) struct Origin {
    pub(super) link: Arc<Link>,
    /// Closed when the last holder drops it, which gives back what is not settled.
    pub(super) channel: Channel,
    pub(super) tasks: Tasks,
    pub(super) report: Report,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("channel", &self.channel.id()).finish_non_exhaustive()
    }
}

/// One consumer of one queue.
pub(super) struct RabbitSubscription {
    /// `None` once it has ended.
    consumer: Option<Consumer>,
    origin: Arc<Origin>,
}

impl RabbitSubscription {
    /// Starts consuming.
    pub(super) async fn open(
        link: Arc<Link>,
        queue: ShortString,
        prefetch: u16,
        tasks: Tasks,
        report: Report,
    ) -> Result<Self, Error> {
        let opening = async {
            let channel = link.consuming.create_channel().await?;
            // Before the consumer: a prefetch does not touch consumers that run. And never 0, which means without limit.
            channel.basic_qos(prefetch.max(1), BasicQosOptions { global: false }).await?;
            let options = BasicConsumeOptions { no_local: false, no_ack: false, exclusive: false, nowait: false };
            let tag = ShortString::from(Uuid::now_v7().simple().to_string());
            let consumer = channel.basic_consume(queue, tag, options, FieldTable::default()).await?;
            Ok((channel, consumer))
        };
        let (channel, consumer) = link.call(opening).await?;
        Ok(Self { consumer: Some(consumer), origin: Arc::new(Origin { link, channel, tasks, report }) })
    }

    /// The consumer is done; the supervisor looks why, and declares its queue again if that is what is missing.
    fn end(&mut self) {
        self.consumer = None;
        if !self.origin.link.ended.is_cancelled() {
            self.origin.link.miss_a_queue();
        }
    }
}

#[async_trait]
impl Subscription for RabbitSubscription {
    async fn next(&mut self) -> Option<Box<dyn Delivery>> {
        loop {
            let consumer = self.consumer.as_mut()?;
            let came = tokio::select! {
                biased;
                () = self.origin.link.ended.cancelled() => None,
                came = consumer.next() => came,
            };
            // What lapin still holds of a channel that is gone comes as if it were fresh: it is somebody else's by now.
            let Some(Ok(came)) = came.filter(|came| came.as_ref().is_ok_and(|came| came.acker.usable())) else {
                self.end();
                return None;
            };
            if let Some(delivery) = RabbitDelivery::read(came, &self.origin) {
                return Some(Box::new(delivery));
            }
        }
    }
}

impl Drop for RabbitSubscription {
    fn drop(&mut self) {
        let Some(consumer) = self.consumer.take().filter(|_| !self.origin.link.ended.is_cancelled()) else { return };
        let origin = self.origin.clone();
        self.origin.tasks.spawn(async move { give_back_rest(consumer, &origin).await });
    }
}

/// Ends the consumer and gives back what it holds. In this order and awaited: lapin would do both by itself, in any order, and take an
/// error of it for one of the connection.
async fn give_back_rest(mut consumer: Consumer, origin: &Origin) {
    let giving_back = async {
        origin.channel.basic_cancel(consumer.tag(), BasicCancelOptions { nowait: false }).await?;
        // After a cancel lapin yields what had come before it, then the end.
        while let Some(came) = consumer.next().await {
            came?.acker.reject(BasicRejectOptions { requeue: true }).await?;
        }
        Ok(())
    };
    if let Err(error) = origin.link.call(giving_back).await {
        tracing::debug!(error = crate::error::chain(&error), "a subscription ended without giving back; its channel does it");
    }
}

/// What is in hand and must be settled once; dropped, it goes back.
#[derive(Debug)]
pub(super) struct Unsettled {
    /// `None` once settled.
    acker: Option<Acker>,
    origin: Arc<Origin>,
}

impl Unsettled {
    pub(super) fn new(acker: Acker, origin: &Arc<Origin>) -> Self {
        Self { acker: Some(acker), origin: origin.clone() }
    }

    /// Whether the broker has taken it back: its channel or its pair is gone.
    fn is_stale(&self) -> bool {
        self.origin.link.ended.is_cancelled() || self.acker.as_ref().is_none_or(|acker| !acker.usable())
    }

    pub(super) async fn ack(mut self) -> Result<(), Error> {
        let acker = self.acker.take().ok_or(Error::Stale)?;
        settled(&self.origin.link, acker.ack(BasicAckOptions { multiple: false })).await
    }

    async fn give_back(mut self) -> Result<(), Error> {
        let acker = self.acker.take().ok_or(Error::Stale)?;
        settled(&self.origin.link, acker.reject(BasicRejectOptions { requeue: true })).await
    }

    /// To the dead letters, or out of the way.
    fn set_aside(mut self) {
        self.reject_later(BasicRejectOptions { requeue: false });
    }

    fn reject_later(&mut self, options: BasicRejectOptions) {
        let Some(acker) = self.acker.take().filter(|_| !self.origin.link.ended.is_cancelled()) else { return };
        let origin = self.origin.clone();
        self.origin.tasks.spawn(async move {
            // Stale: the broker has taken it back already.
            drop(settled(&origin.link, acker.reject(options)).await);
        });
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        self.reject_later(BasicRejectOptions { requeue: true });
    }
}

/// One message in hand.
pub(super) struct RabbitDelivery {
    envelope: Envelope,
    redelivered: bool,
    unsettled: Unsettled,
}

impl RabbitDelivery {
    /// Reads the message; one that cannot be read is set aside, for whoever can.
    pub(super) fn read(came: lapin::message::Delivery, origin: &Arc<Origin>) -> Option<Self> {
        let unsettled = Unsettled::new(came.acker, origin);
        match serde_json::from_slice(&came.data) {
            Ok(envelope) => Some(Self { envelope, redelivered: came.redelivered, unsettled }),
            Err(error) => {
                tracing::error!(queue.name = %came.routing_key, error = %error, "a message cannot be read; it is set aside");
                origin.report.unreadable();
                unsettled.set_aside();
                None
            }
        }
    }
}

impl fmt::Debug for RabbitDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitDelivery").field("job", &self.envelope.due().job).finish_non_exhaustive()
    }
}

#[async_trait]
impl Delivery for RabbitDelivery {
    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn redelivered(&self) -> bool {
        // A stale one proves nothing: the broker may have handed the message to somebody else since, who holds the job in good health.
        self.redelivered && !self.unsettled.is_stale()
    }

    async fn ack(self: Box<Self>) -> Result<(), Error> {
        self.unsettled.ack().await
    }

    async fn give_back(self: Box<Self>) -> Result<(), Error> {
        self.unsettled.give_back().await
    }
}

/// What became of settling: `Stale` whenever it did not reach the broker, which then hands the message out again. lapin says `Ok(false)`
/// for a delivery whose channel is gone.
async fn settled(link: &Link, settling: impl Future<Output = lapin::Result<bool>>) -> Result<(), Error> {
    let written = tokio::select! {
        biased;
        () = link.ended.cancelled() => return Err(Error::Stale),
        written = tokio::time::timeout(Duration::from_secs(limits::BROKER_CALL_SECS_MAX), settling) => written,
    };
    match written {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(Error::Stale),
        Ok(Err(_)) | Err(_) => {
            link.doubt();
            Err(Error::Stale)
        }
    }
}
