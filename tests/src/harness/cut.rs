//! A broker whose connections are cut on request: subscriptions end, what was in hand is stale, and the broker hands its messages out
//! again, as one does that cannot know whether their holders live. Wraps any implementation of `Consumer`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use siding_core::{
    broker::{Consumer, Delivery, Error, Subscription},
    envelope::Envelope,
    id::LaneName,
};
use tokio::sync::watch;

/// A delivery that the broker's side may take away.
type Hand = Mutex<Option<Box<dyn Delivery>>>;

/// The wrapped consumer.
pub struct Cuttable {
    inner: Arc<dyn Consumer>,
    /// What was handed out and may still be in hand.
    hands: Arc<Mutex<Vec<Weak<Hand>>>>,
    /// How often everybody was cut off.
    cuts: watch::Sender<u64>,
}

impl Cuttable {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Consumer>) -> Arc<Self> {
        Arc::new(Self { inner, hands: Arc::default(), cuts: watch::Sender::new(0) })
    }

    /// Cuts everybody off. Whoever subscribes again is handed the same messages, as redelivered.
    ///
    /// # Panics
    /// When the broker does not take a message back.
    pub async fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
        let hands = std::mem::take(&mut *lock(&self.hands));
        for delivery in hands.iter().filter_map(Weak::upgrade).filter_map(|hand| lock(&hand).take()) {
            delivery.give_back().await.expect("it was in hand");
        }
    }
}

#[async_trait]
impl Consumer for Cuttable {
    async fn subscribe(&self, lane: &LaneName, prefetch: u16) -> Result<Box<dyn Subscription>, Error> {
        let (cut, hands) = (self.cuts.subscribe(), self.hands.clone());
        Ok(Box::new(CuttableSubscription { inner: self.inner.subscribe(lane, prefetch).await?, cut, hands }))
    }

    async fn ready_count(&self, lane: &LaneName) -> Result<u64, Error> {
        self.inner.ready_count(lane).await
    }
}

struct CuttableSubscription {
    inner: Box<dyn Subscription>,
    cut: watch::Receiver<u64>,
    hands: Arc<Mutex<Vec<Weak<Hand>>>>,
}

#[async_trait]
impl Subscription for CuttableSubscription {
    async fn next(&mut self) -> Option<Box<dyn Delivery>> {
        let delivery = tokio::select! {
            biased;
            _ = self.cut.changed() => return None,
            delivery = self.inner.next() => delivery?,
        };
        let (envelope, redelivered) = (delivery.envelope().clone(), delivery.redelivered());
        let hand = Arc::new(Mutex::new(Some(delivery)));
        let mut hands = lock(&self.hands);
        hands.retain(|hand| hand.strong_count() > 0);
        hands.push(Arc::downgrade(&hand));
        Some(Box::new(CuttableDelivery { envelope, redelivered, hand }))
    }
}

#[derive(Debug)]
struct CuttableDelivery {
    envelope: Envelope,
    redelivered: bool,
    /// `None` once cut off. Dropped in hand, the delivery goes back by itself.
    hand: Arc<Hand>,
}

#[async_trait]
impl Delivery for CuttableDelivery {
    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn redelivered(&self) -> bool {
        self.redelivered
    }

    async fn ack(self: Box<Self>) -> Result<(), Error> {
        let delivery = lock(&self.hand).take();
        delivery.ok_or(Error::Stale)?.ack().await
    }

    async fn give_back(self: Box<Self>) -> Result<(), Error> {
        let delivery = lock(&self.hand).take();
        delivery.ok_or(Error::Stale)?.give_back().await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
