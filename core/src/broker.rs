//! The broker seam: transport of small messages from producers to workers, and of hints between processes. It decides nothing
//! about jobs, and nothing is true because the broker says so: a message may come twice, late, or for a job that is over.
//!
//! `tests/contract` states what every implementation does; a caller sees no difference between them.

pub mod memory;
pub mod rabbitmq;

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    envelope::Envelope,
    error::{Classified, Transience},
    id::{EventSeq, JobId, LaneName, ModelName, ModelVersion},
};

/// Why a broker call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker cannot be reached or has closed the channel. Try again with a new subscription.
    #[error("the broker is not available")]
    Unavailable(#[source] Option<Box<dyn std::error::Error + Send + Sync>>),
    /// The broker answers and does not want us as we are configured: address, user, permissions, region. Somebody must change that.
    #[error("the broker cannot be used as configured")]
    Misconfigured(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no queue for that lane.
    #[error("the broker has no queue for lane {0}")]
    UnknownLane(LaneName),
    /// The delivery was settled before, or its subscription is gone: the message is or will be delivered again.
    #[error("the delivery is no longer ours to settle")]
    Stale,
}

impl Classified for Error {
    fn transience(&self) -> Transience {
        match self {
            Self::Unavailable(_) => Transience::Transient,
            Self::Misconfigured(_) | Self::UnknownLane(_) | Self::Stale => Transience::Permanent,
        }
    }
}

/// How the broker stands, as this process sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It takes messages and hands them out.
    Connected,
    /// It hands messages out and takes none: it is short of memory or disk. Publications are `Unknown` at once.
    Blocked,
    /// There is no connection. Publications are `Unknown` at once, subscriptions have ended.
    Away,
}

/// What became of one published message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The broker has it, routed to a queue: only now may the job be marked as published.
    Confirmed,
    /// The broker does not have it: queue full or no route. Publish again later.
    Refused,
    /// Nobody knows: the connection ended before the answer. Publish again; the store absorbs the duplicate.
    Unknown,
}

/// Puts messages into queues.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// Publishes the messages, each to the queue of its lane, mandatory and with confirm. Returns one outcome for each, in
    /// order. Never hangs: a broker that does not answer in time is `Unknown`.
    async fn publish(&self, messages: Vec<Envelope>) -> Vec<Published>;
}

/// Takes messages from queues.
#[async_trait]
pub trait Consumer: Send + Sync {
    /// Starts taking from `lane`, holding at most `prefetch` unsettled deliveries.
    ///
    /// # Errors
    /// `UnknownLane`, `Unavailable`.
    async fn subscribe(&self, lane: &LaneName, prefetch: u16) -> Result<Box<dyn Subscription>, Error>;

    /// Messages of `lane` that no subscription holds. An observation for metrics and humans, never for a decision.
    ///
    /// # Errors
    /// `UnknownLane`, `Unavailable`.
    async fn ready_count(&self, lane: &LaneName) -> Result<u64, Error>;
}

/// What a look at the dead letters has found.
#[derive(Debug)]
pub struct DeadLettersFound {
    /// The readable ones, oldest first. Acknowledged, a dead letter is gone; given back or dropped, it is found again.
    pub letters: Vec<Box<dyn Delivery>>,
    /// How many are kept that nobody here can read: made by a newer version, or by somebody else. They wait for a human.
    pub unreadable: u64,
    /// Each one says that queues were found missing, and with them all that was in them.
    pub losses: Vec<Box<dyn Loss>>,
}

/// The word that queues were lost with their messages: jobs that were published to them wait for messages that will not come. Dropped
/// unsettled, it is found again.
#[async_trait]
pub trait Loss: Send + Sync + fmt::Debug {
    /// The lanes whose queues were lost.
    fn lanes(&self) -> &[LaneName];

    /// The jobs that were published to them count as unpublished again.
    ///
    /// # Errors
    /// `Stale` when it is no longer ours; it is found again.
    async fn ack(self: Box<Self>) -> Result<(), Error>;
}

/// Messages that the broker has set aside: handed out too often, or not readable by who got them.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Takes at most `letters_max` readable dead letters of all lanes; none when there are none. Does not wait for any.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn take(&self, letters_max: usize) -> Result<DeadLettersFound, Error>;
}

/// One running consumption of one lane. Dropping it gives back what it holds that was not yet yielded; deliveries that were
/// yielded stay settleable.
#[async_trait]
pub trait Subscription: Send {
    /// The next delivery; waits for one. `None` when the broker has ended the subscription: subscribe again.
    async fn next(&mut self) -> Option<Box<dyn Delivery>>;
}

/// A message in hand. It must be settled exactly once, by value. Dropped unsettled (a panic, a lost task), it goes back to
/// the queue as redelivered, as it would if the process had died.
#[async_trait]
pub trait Delivery: Send + Sync + fmt::Debug {
    /// The message.
    fn envelope(&self) -> &Envelope;

    /// Whether the broker has handed this message out before and lost its holder or got it back.
    fn redelivered(&self) -> bool;

    /// The message is done with: its effect is committed in the store.
    ///
    /// # Errors
    /// `Stale` when it is no longer ours; harmless, the store knows better.
    async fn ack(self: Box<Self>) -> Result<(), Error>;

    /// Back to the front of the queue, for anybody (AMQP `basic.reject` with requeue, never `nack`).
    ///
    /// # Errors
    /// `Stale` when it is no longer ours.
    async fn give_back(self: Box<Self>) -> Result<(), Error>;
}

/// A version that a hint is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionHint {
    /// The model.
    pub model: ModelName,
    /// Its version.
    pub version: ModelVersion,
}

/// A hint that something has changed in the store, or of what somebody wants. It may be lost, late or doubled; whoever needs the truth reads the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// The job has events up to this one.
    Event {
        /// The job.
        job: JobId,
        /// Its newest event.
        seq: EventSeq,
        /// Whether the job has ended with it: who waits for an end alone reads the store for no other.
        terminal: bool,
    },
    /// The caller wants the job to stop.
    Cancel {
        /// The job.
        job: JobId,
    },
    /// A job is due or will be due sooner than known.
    Due,
    /// An operator wants workers to have the version in memory. No worker depends on it: a job loads what it needs.
    Load(VersionHint),
    /// An operator wants workers to have the version out of memory once nothing runs it.
    Unload(VersionHint),
}

/// Carries hints to every process.
pub trait EventBus: Send + Sync {
    /// Sends hints to all listeners, without waiting for any.
    fn send(&self, hints: &[Hint]);

    /// Listens from now on.
    fn listen(&self) -> HintStream;
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A hint.
    Hint(Hint),
    /// Hints were lost on the way: treat everything as possibly changed.
    Missed,
    /// The bus is gone and will not speak again.
    Closed,
}

/// One listener's end of the bus: at most `limits::HINTS_BUFFERED_MAX` hints wait in it.
pub struct HintStream(tokio::sync::broadcast::Receiver<Heard>);

impl HintStream {
    /// Wraps the receiving end that an implementation feeds. A sender that is gone is heard as `Closed`.
    #[must_use]
    pub fn new(receiver: tokio::sync::broadcast::Receiver<Heard>) -> Self {
        Self(receiver)
    }

    /// The next hint; waits for one. Cancel-safe.
    pub async fn next(&mut self) -> Heard {
        use tokio::sync::broadcast::error::RecvError;
        match self.0.recv().await {
            Ok(heard) => heard,
            Err(RecvError::Lagged(_)) => Heard::Missed,
            Err(RecvError::Closed) => Heard::Closed,
        }
    }
}
