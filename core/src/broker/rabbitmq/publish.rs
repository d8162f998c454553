//! Publishing with confirms: decides which of the three outcomes a publication has. Success is one answer only, a confirm without a
//! returned message: lapin reports an unroutable message as acknowledged. It must never wait for a broker that does not answer, and
//! never write to one that is blocked: what is written cannot be taken back and would arrive hours later, in any number.
//!
//! A call's publications are a task of their own, because a confirm must be awaited even if nobody wants it any more: it holds a place
//! in the window of `broker.unconfirmed_max` until the broker has answered or the connection is gone. So however often callers give
//! up on a slow broker, no more than a window of messages is on its way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{StreamExt, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Confirmation, PublisherConfirm,
    options::BasicPublishOptions,
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_util::sync::CancellationToken;

use super::link::Link;
use crate::{broker::Published, envelope::Envelope};

/// AMQP's word for a message that is written to disk.
pub(super) const PERSISTENT: u8 = 2;

/// One call's messages with their queues; `None` for a lane without one.
pub(super) type Addressed = Vec<(Option<ShortString>, Envelope)>;

/// What is known about a call's publications so far; `Unknown` until the broker has answered. Written by the call's task, read by the
/// caller when all are known or its time is over.
#[derive(Clone)]
pub(super) struct Outcomes(Arc<Mutex<Vec<Published>>>);

impl Outcomes {
    /// Nothing is known about any of `count`.
    pub(super) fn unknown(count: usize) -> Self {
        Self(Arc::new(Mutex::new(vec![Published::Unknown; count])))
    }

    /// What is known now.
    pub(super) fn so_far(&self) -> Vec<Published> {
        self.lock().clone()
    }

    fn set(&self, index: usize, outcome: Published) {
        self.lock()[index] = outcome;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Published>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call's publications.
pub(super) struct Publication {
    /// Where they are written.
    pub(super) link: Arc<Link>,
    /// What is written.
    pub(super) messages: Addressed,
    /// Where the outcomes go.
    pub(super) outcomes: Outcomes,
    /// The caller waits no longer: nothing more is written.
    pub(super) given_up: CancellationToken,
}

impl Publication {
    /// Publishes all, as far as the caller waits for it; ends when the broker has answered for all that was written, or the pair is gone:
    /// lapin does not fail every call of a connection that was cut in silence.
    pub(super) async fn run(self, all_known: oneshot::Sender<()>) {
        tokio::select! {
            biased;
            () = self.link.ended.cancelled() => {}
            () = self.publish() => {}
        }
        // It fails when the caller has given up: it has read what was known then.
        all_known.send(()).unwrap_or_default();
    }

    async fn publish(&self) {
        let mut unanswered = FuturesUnordered::new();
        let mut messages = self.messages.iter().enumerate();
        let mut next = messages.next();
        loop {
            tokio::select! {
                biased;
                Some((index, outcome)) = unanswered.next() => self.outcomes.set(index, outcome),
                () = self.given_up.cancelled(), if next.is_some() => next = None,
                Ok(place) = self.link.window.clone().acquire_owned(), if next.is_some() => {
                    if let Some((index, (queue, envelope))) = next.take() {
                        match queue {
                            Some(queue) => unanswered.extend(self.write(queue, envelope, place).await.map(|confirm| self.answer(index, confirm))),
                            None => self.outcomes.set(index, Published::Refused),
                        }
                    }
                    next = messages.next();
                }
                else => break,
            }
        }
    }

    /// Writes one message; `None` when the connection did not take it, which leaves its outcome unknown.
    async fn write(&self, queue: &ShortString, envelope: &Envelope, place: OwnedSemaphorePermit) -> Option<Unanswered> {
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let body = serde_json::to_vec(envelope).ok()?;
        let written =
            self.link.messages.basic_publish(ShortString::default(), queue.clone(), options, &body, properties(envelope)).await;
        match written {
            Ok(confirm) => Some(Unanswered { confirm, place }),
            Err(_) => {
                self.link.doubt();
                None
            }
        }
    }

    fn answer(&self, index: usize, unanswered: Unanswered) -> impl Future<Output = (usize, Published)> + use<> {
        let link = self.link.clone();
        async move {
            let answer = unanswered.confirm.await;
            drop(unanswered.place);
            match &answer {
                // Returned: its queue is gone.
                Ok(Confirmation::Ack(Some(_))) => link.miss_a_queue(),
                Ok(_) => {}
                Err(_) => link.doubt(),
            }
            (index, outcome(&answer))
        }
    }
}

/// A message that was written, and its place in the window.
struct Unanswered {
    confirm: PublisherConfirm,
    place: OwnedSemaphorePermit,
}

/// What the broker's answer means.
pub(super) fn outcome(answer: &lapin::Result<Confirmation>) -> Published {
    match answer {
        Ok(Confirmation::Ack(None)) => Published::Confirmed,
        Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(_)) => Published::Refused,
        Ok(Confirmation::NotRequested) | Err(_) => Published::Unknown,
    }
}

fn properties(envelope: &Envelope) -> BasicProperties {
    let due = envelope.due();
    let mut headers = FieldTable::default();
    if let Some(traceparent) = &due.traceparent {
        headers.insert("traceparent".into(), AMQPValue::LongString(traceparent.as_str().into()));
    }
    BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type("application/json".into())
        .with_message_id(due.message.map_or_else(|| due.job.to_string(), |message| message.to_string()).into())
        .with_app_id("siding".into())
        .with_headers(headers)
}
