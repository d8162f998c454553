//! The broker inside this process: one bounded first-in-first-out queue per lane, and hints by broadcast. It decides who gets
//! the next message and refuses what does not fit. It must never be asked to remember: what it holds dies with the process, and
//! the store's `forget_published` brings it back.
//!
//! Subscriptions pull: a message leaves its queue when `next` returns it, so a subscription that is not asked holds nothing,
//! and a `next` that is dropped while it waits has taken nothing. A message that comes back goes to the front and is not
//! counted against the bound, so a queue holds at most its bound plus what the subscriptions of its lane may hold.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

use super::{
    Consumer, DeadLetters, DeadLettersFound, Delivery, Error, EventBus, Heard, Hint, HintStream, Published, Publisher,
    Subscription,
};
use crate::{envelope::Envelope, id::LaneName, limits};

/// The in-process broker.
pub struct MemoryBroker {
    /// Fixed at construction: a lane has a queue or it has none.
    queues: HashMap<LaneName, Arc<Queue>>,
    /// Most messages that one queue takes.
    queue_messages_max: usize,
    /// `None` once closed, so that listeners hear it.
    hints: Mutex<Option<broadcast::Sender<Heard>>>,
    closed: CancellationToken,
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBroker").field("lanes", &self.queues.keys()).finish_non_exhaustive()
    }
}

/// One lane's queue.
struct Queue {
    /// Pushed to by publishers and by deliveries that come back, popped by subscriptions. Never held over an await.
    ready: Mutex<VecDeque<Message>>,
    /// Wakes one waiting subscription per message, the longest waiting first.
    arrived: Notify,
    /// The broker's: set once, by `close`.
    closed: CancellationToken,
}

struct Message {
    envelope: Envelope,
    redelivered: bool,
}

/// How many unsettled deliveries one subscription holds.
struct Held {
    /// Raised by the subscription (alone), lowered by settled deliveries.
    count: AtomicUsize,
    /// Wakes the subscription when there is room again.
    freed: Notify,
}

impl MemoryBroker {
    /// A broker with an empty queue for each of `lanes`, each taking at most `queue_messages_max` messages.
    #[must_use]
    pub fn new(lanes: &[LaneName], queue_messages_max: usize) -> Arc<Self> {
        let closed = CancellationToken::new();
        let queue = |lane: &LaneName| {
            let queue = Queue { ready: Mutex::default(), arrived: Notify::new(), closed: closed.clone() };
            (lane.clone(), Arc::new(queue))
        };
        Arc::new(Self {
            queues: lanes.iter().map(queue).collect(),
            queue_messages_max,
            hints: Mutex::new(Some(broadcast::Sender::new(limits::HINTS_BUFFERED_MAX))),
            closed: closed.clone(),
        })
    }

    /// Cuts everybody off for good, as a broker that dies: subscriptions and hint streams end, publishing is `Unknown`,
    /// settling is `Stale`, the messages are gone.
    pub fn close(&self) {
        self.closed.cancel();
        self.hints.lock().unwrap_or_else(PoisonError::into_inner).take();
        for queue in self.queues.values() {
            queue.ready().clear();
        }
    }

    fn queue(&self, lane: &LaneName) -> Result<&Arc<Queue>, Error> {
        if self.closed.is_cancelled() {
            return Err(Error::Unavailable(None));
        }
        self.queues.get(lane).ok_or_else(|| Error::UnknownLane(lane.clone()))
    }
}

#[async_trait]
impl Publisher for MemoryBroker {
    async fn publish(&self, messages: Vec<Envelope>) -> Vec<Published> {
        let publish_one = |envelope: Envelope| match self.queues.get(&envelope.due().lane) {
            Some(queue) => queue.push_back(envelope, self.queue_messages_max),
            None => Published::Refused,
        };
        messages.into_iter().map(publish_one).collect()
    }
}

#[async_trait]
impl Consumer for MemoryBroker {
    async fn subscribe(&self, lane: &LaneName, prefetch: u16) -> Result<Box<dyn Subscription>, Error> {
        let held = Held { count: AtomicUsize::new(0), freed: Notify::new() };
        Ok(Box::new(MemorySubscription {
            queue: self.queue(lane)?.clone(),
            held: Arc::new(held),
            held_max: usize::from(prefetch).max(1),
        }))
    }

    async fn ready_count(&self, lane: &LaneName) -> Result<u64, Error> {
        Ok(self.queue(lane)?.ready().len() as u64)
    }
}

#[async_trait]
impl DeadLetters for MemoryBroker {
    /// None, ever: it counts no deliveries, no message is unreadable to the process that made it, and queues are lost with the process.
    async fn take(&self, _letters_max: usize) -> Result<DeadLettersFound, Error> {
        match self.closed.is_cancelled() {
            true => Err(Error::Unavailable(None)),
            false => Ok(DeadLettersFound { letters: Vec::new(), unreadable: 0, losses: Vec::new() }),
        }
    }
}

impl EventBus for MemoryBroker {
    fn send(&self, hints: &[Hint]) {
        let bus = self.hints.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bus) = bus.as_ref().filter(|bus| bus.receiver_count() > 0) else {
            return;
        };
        for hint in hints {
            // It fails only when the last listener has just left: nobody to tell.
            drop(bus.send(Heard::Hint(hint.clone())));
        }
    }

    fn listen(&self) -> HintStream {
        let bus = self.hints.lock().unwrap_or_else(PoisonError::into_inner);
        // A closed broker gives a stream whose sender is gone: its first word is `Closed`.
        HintStream::new(bus.as_ref().map_or_else(|| broadcast::channel(1).1, broadcast::Sender::subscribe))
    }
}

struct MemorySubscription {
    queue: Arc<Queue>,
    held: Arc<Held>,
    held_max: usize,
}

impl MemorySubscription {
    /// The first message, if there is one and room for it.
    fn take(&self) -> Option<Box<dyn Delivery>> {
        if !self.has_room() {
            return None;
        }
        let message = self.queue.ready().pop_front()?;
        self.held.count.fetch_add(1, Ordering::AcqRel);
        Some(Box::new(MemoryDelivery { message: Some(message), queue: self.queue.clone(), held: self.held.clone() }))
    }

    fn has_room(&self) -> bool {
        self.held.count.load(Ordering::Acquire) < self.held_max
    }
}

#[async_trait]
impl Subscription for MemorySubscription {
    async fn next(&mut self) -> Option<Box<dyn Delivery>> {
        loop {
            if self.queue.closed.is_cancelled() {
                return None;
            }
            if let Some(delivery) = self.take() {
                return Some(delivery);
            }
            // Register first, look again, then wait: what arrives in between is not missed. A registration that is dropped
            // after it was woken wakes the next subscription instead.
            let wake = if self.has_room() { &self.queue.arrived } else { &self.held.freed };
            let mut woken = pin!(wake.notified());
            woken.as_mut().enable();
            if let Some(delivery) = self.take() {
                return Some(delivery);
            }
            if std::ptr::eq(wake, &self.held.freed) && self.has_room() {
                continue;
            }
            until_closed(&self.queue.closed, woken).await;
        }
    }
}

/// Waits for `woken` or for the broker's end, whichever comes first.
async fn until_closed(closed: &CancellationToken, woken: impl Future<Output = ()>) {
    tokio::select! {
        () = woken => (),
        () = closed.cancelled() => (),
    }
}

struct MemoryDelivery {
    /// `None` once settled.
    message: Option<Message>,
    queue: Arc<Queue>,
    held: Arc<Held>,
}

impl fmt::Debug for MemoryDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDelivery").field("job", &self.envelope().due().job).finish_non_exhaustive()
    }
}

impl MemoryDelivery {
    fn message(&self) -> &Message {
        self.message.as_ref().expect("only settling takes the message, and it consumes the delivery")
    }

    /// Gives up the place in the subscription and returns the message; `None` when the broker is closed.
    fn release(&mut self) -> Option<Message> {
        let message = self.message.take()?;
        self.held.count.fetch_sub(1, Ordering::AcqRel);
        self.held.freed.notify_one();
        (!self.queue.closed.is_cancelled()).then_some(message)
    }
}

#[async_trait]
impl Delivery for MemoryDelivery {
    fn envelope(&self) -> &Envelope {
        &self.message().envelope
    }

    fn redelivered(&self) -> bool {
        self.message().redelivered
    }

    async fn ack(mut self: Box<Self>) -> Result<(), Error> {
        self.release().map(drop).ok_or(Error::Stale)
    }

    async fn give_back(mut self: Box<Self>) -> Result<(), Error> {
        let message = self.release().ok_or(Error::Stale)?;
        self.queue.push_front(message);
        Ok(())
    }
}

impl Drop for MemoryDelivery {
    fn drop(&mut self) {
        if let Some(message) = self.release() {
            self.queue.push_front(message);
        }
    }
}

impl Queue {
    fn ready(&self) -> MutexGuard<'_, VecDeque<Message>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push_back(&self, envelope: Envelope, messages_max: usize) -> Published {
        let mut ready = self.ready();
        // Under the lock: after `close` has emptied the queue nothing gets in.
        if self.closed.is_cancelled() {
            return Published::Unknown;
        }
        if ready.len() >= messages_max {
            return Published::Refused;
        }
        ready.push_back(Message { envelope, redelivered: false });
        drop(ready);
        self.arrived.notify_one();
        Published::Confirmed
    }

    fn push_front(&self, message: Message) {
        let mut ready = self.ready();
        if self.closed.is_cancelled() {
            return;
        }
        ready.push_front(Message { redelivered: true, ..message });
        drop(ready);
        self.arrived.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        envelope::Due,
        id::{Attempt, JobId},
    };

    fn broker() -> (LaneName, Arc<MemoryBroker>) {
        let lane: LaneName = "instant".parse().expect("name");
        (lane.clone(), MemoryBroker::new(&[lane], 1000))
    }

    fn due(lane: LaneName) -> Due {
        Due {
            job: JobId::generate(),
            attempt: Attempt(0),
            lane,
            model: "spin".parse().expect("name"),
            version: "1".parse().expect("name"),
            due_at_ms: Timestamp(0),
            expected_ms: 1.0,
            traceparent: None,
            message: None,
        }
    }

    #[tokio::test]
    async fn a_wake_up_for_a_wait_that_was_given_up_reaches_another() {
        let (lane, broker) = broker();
        let mut first = broker.subscribe(&lane, 1).await.expect("lane");
        let mut second = broker.subscribe(&lane, 1).await.expect("lane");
        // Both wait; the first one, which is woken first, is dropped between the wake-up and its next poll.
        let mut given_up = Box::pin(first.next());
        assert!(futures::poll!(&mut given_up).is_pending());
        let mut other = Box::pin(second.next());
        assert!(futures::poll!(&mut other).is_pending());
        assert_eq!(broker.publish(vec![Envelope::V1(due(lane))]).await, [Published::Confirmed]);
        drop(given_up);
        let woken = tokio::time::timeout(std::time::Duration::from_secs(10), other).await;
        woken.expect("the other one is woken").expect("open").ack().await.expect("ours");
    }

    #[tokio::test]
    #[ignore = "needs a quiet machine: it measures"]
    async fn the_broker_is_never_the_limit() {
        let (lane, broker) = broker();
        let mut subscription = broker.subscribe(&lane, 256).await.expect("lane");
        let due = due(lane);
        let started = std::time::Instant::now();
        let rounds = 5000;
        for _ in 0..rounds {
            let messages = (0..100).map(|_| Envelope::V1(due.clone())).collect();
            broker.publish(messages).await;
            for _ in 0..100 {
                subscription.next().await.expect("open").ack().await.expect("ours");
            }
        }
        let per_second = f64::from(rounds) * 100.0 / started.elapsed().as_secs_f64();
        println!("{per_second:.0} messages/s");
        assert!(per_second > 100_000.0, "{per_second:.0} messages/s");
    }
}
