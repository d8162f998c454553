//! One life of the two connections: one publishes and sends hints, one consumes and declares. Two, because RabbitMQ stops reading
//! from a connection that publishes while it is short of memory, and acknowledgements on it would hang with the publications. It says
//! when they have ended; it must never mend them: what has ended is dropped whole, and the supervisor opens the next pair.

use std::{future::Future, sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use lapin::{
    Channel, Connection, ConnectionProperties, Consumer, Event,
    options::ConfirmSelectOptions,
    types::ShortString,
    uri::{AMQPQueryString, AMQPUri},
};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::{errors, greeting, topology::Topology};
use crate::{
    broker::{Error, Standing},
    config, limits,
};

/// How often the connections are looked at when nothing is heard of them: a second net under lapin's events.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a close may take: the other side may be gone.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// Both connections and what is shared on them.
pub(super) struct Link {
    publishing: Connection,
    /// Also declares.
    pub(super) consuming: Connection,
    /// Messages, in confirm mode.
    pub(super) messages: Channel,
    /// Hints, without confirms.
    pub(super) hints: Channel,
    /// A place for each publication that waits for its confirm.
    pub(super) window: Arc<Semaphore>,
    /// Whether the broker takes nothing from the publishing connection. Written by `live`.
    pub(super) blocked: watch::Sender<bool>,
    /// Given once, when the pair is dropped: everything on it is void.
    pub(super) ended: CancellationToken,
    /// Somebody has seen an error and asks whether the pair still lives.
    doubted: Notify,
    /// Somebody has found a queue missing.
    undeclared: Notify,
    /// Hints can no longer be heard.
    deafened: Notify,
}

/// A new pair, and what it hears.
pub(super) struct Opened {
    pub(super) link: Link,
    /// The consumer of this process's hints, with its channel.
    pub(super) hints: (Channel, Consumer),
    pub(super) events: Events,
}

/// lapin's events of both connections. Each event is given to one listener only, so they are taken once.
pub(super) struct Events {
    publishing: BoxStream<'static, Event>,
    consuming: BoxStream<'static, Event>,
}

/// Why a pair has ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// A connection or a shared channel is gone.
    #[error("a connection was lost")]
    Lost(#[source] Option<lapin::Error>),
    /// The queue of this process's hints is gone.
    #[error("the queue of hints is gone")]
    Deaf,
    /// A queue seemed to be missing and could not be declared anew.
    #[error("a missing queue could not be declared")]
    Undeclared(#[source] lapin::Error),
    /// The broker did not answer a declaration in time.
    #[error("the broker does not answer")]
    Silent,
}

impl Link {
    /// Opens both connections, declares the topology and listens for hints, within `limits::BROKER_OPEN_SECS_MAX`.
    pub(super) async fn open(uri: &AMQPUri, settings: &config::Broker, topology: &Topology) -> Result<Opened, Error> {
        let opening = async {
            let greeting = greeting::hear(uri).await.map_err(|error| Error::Unavailable(Some(error.into())))?;
            let opened = Self::open_greeted(uri, settings, topology).await.map_err(errors::of_opening)?;
            tracing::info!(
                broker.product = greeting.product,
                broker.version = greeting.version,
                broker.capabilities = greeting.capabilities,
                "connected to the broker"
            );
            Ok(opened)
        };
        match tokio::time::timeout(Duration::from_secs(limits::BROKER_OPEN_SECS_MAX), opening).await {
            Ok(opened) => opened,
            Err(late) => Err(Error::Unavailable(Some(late.into()))),
        }
    }

    async fn open_greeted(uri: &AMQPUri, settings: &config::Broker, topology: &Topology) -> lapin::Result<Opened> {
        let publishing = connect(uri, settings, "publish").await?;
        let consuming = connect(uri, settings, "consume").await?;
        let events = Events { publishing: publishing.events_listener().boxed(), consuming: consuming.events_listener().boxed() };
        topology.declare(&publishing, &consuming).await?;
        let hints = topology.listen(&consuming).await?;
        let messages = publishing.create_channel().await?;
        messages.confirm_select(ConfirmSelectOptions { nowait: false }).await?;
        let link = Self {
            hints: publishing.create_channel().await?,
            messages,
            publishing,
            consuming,
            window: Arc::new(Semaphore::new(settings.unconfirmed_max)),
            blocked: watch::Sender::new(false),
            ended: CancellationToken::new(),
            doubted: Notify::new(),
            undeclared: Notify::new(),
            deafened: Notify::new(),
        };
        Ok(Opened { link, hints, events })
    }

    /// Somebody has seen an error: the supervisor looks whether the pair still lives.
    pub(super) fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Somebody has found a queue missing: the supervisor declares all again.
    pub(super) fn miss_a_queue(&self) {
        self.undeclared.notify_one();
    }

    /// Hints can no longer be heard: the pair ends.
    pub(super) fn deaf(&self) {
        self.deafened.notify_one();
    }

    /// Whether publications may be written.
    pub(super) fn takes_messages(&self) -> bool {
        !*self.blocked.borrow() && !self.ended.is_cancelled()
    }

    /// Waits until the broker takes nothing any more: blocked, or the pair has ended.
    pub(super) async fn closed_to_messages(&self) {
        let mut blocked = self.blocked.subscribe();
        tokio::select! {
            () = self.ended.cancelled() => {}
            // An error would mean that the sender is gone, and it is ours.
            _ = blocked.wait_for(|blocked| *blocked) => {}
        }
    }

    /// A call on the pair, bounded in time and by the pair's end. An error makes the supervisor look.
    pub(super) async fn call<T>(&self, call: impl Future<Output = lapin::Result<T>>) -> Result<T, Error> {
        let outcome = tokio::select! {
            biased;
            () = self.ended.cancelled() => return Err(Error::Unavailable(None)),
            outcome = tokio::time::timeout(Duration::from_secs(limits::BROKER_CALL_SECS_MAX), call) => outcome,
        };
        let error = match outcome {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => {
                if errors::is_reply(&error, &[errors::NOT_FOUND]) {
                    self.miss_a_queue();
                }
                errors::unavailable(error)
            }
            Err(late) => Error::Unavailable(Some(late.into())),
        };
        self.doubt();
        Err(error)
    }

    /// Watches over the pair until it ends: notes when it is blocked, declares what is missing. `tell` hears of each change.
    pub(super) async fn live(&self, topology: &Topology, mut events: Events, tell: impl Fn(Standing)) -> End {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let event = tokio::select! {
                () = self.deafened.notified() => return End::Deaf,
                event = events.publishing.next() => event,
                event = events.consuming.next() => event,
                _ = look.tick() => Some(Event::Connected),
                () = self.doubted.notified() => Some(Event::Connected),
                () = self.undeclared.notified() => {
                    if let Err(end) = self.declare_again(topology).await {
                        return end;
                    }
                    Some(Event::Connected)
                }
            };
            match event {
                Some(Event::ConnectionBlocked(why)) => {
                    tracing::warn!(why, "the broker takes no messages");
                    self.blocked.send_replace(true);
                    tell(Standing::Blocked);
                }
                Some(Event::ConnectionUnblocked) => {
                    tracing::info!("the broker takes messages again");
                    self.blocked.send_replace(false);
                    tell(Standing::Connected);
                }
                // lapin tells errors of any channel here; a soft one leaves the connection alone.
                Some(Event::Error(error)) if !error.is_amqp_soft_error() => return End::Lost(Some(error)),
                None => return End::Lost(None),
                Some(_) if !self.is_whole() => return End::Lost(None),
                Some(_) => {}
            }
        }
    }

    async fn declare_again(&self, topology: &Topology) -> Result<(), End> {
        let patience = Duration::from_secs(limits::BROKER_OPEN_SECS_MAX);
        match tokio::time::timeout(patience, topology.declare(&self.publishing, &self.consuming)).await {
            Ok(Ok(missing)) => {
                for lane in missing {
                    tracing::error!(lane.name = %lane, "a lane's queue was missing and is declared anew; what was in it will be published again");
                }
                Ok(())
            }
            Ok(Err(error)) => Err(End::Undeclared(error)),
            Err(_) => Err(End::Silent),
        }
    }

    fn is_whole(&self) -> bool {
        let connections = [&self.publishing, &self.consuming];
        let channels = [&self.messages, &self.hints];
        connections.iter().all(|connection| connection.status().connected())
            && channels.iter().all(|channel| channel.status().connected())
    }

    /// Makes everything on the pair void and closes it. Closing is needed: a channel in the hands of a delivery keeps its connection open.
    pub(super) async fn close(&self) {
        self.ended.cancel();
        for connection in [&self.publishing, &self.consuming] {
            if let Ok(Err(error)) = tokio::time::timeout(CLOSE_PATIENCE, connection.close(200, "closed".into())).await {
                tracing::debug!(error = %error, "a connection was closed already");
            }
        }
    }
}

/// Opens one connection. lapin's own recovery stays off: it hangs publishers and forgets the prefetch (docs/adr/0015).
async fn connect(uri: &AMQPUri, settings: &config::Broker, purpose: &str) -> lapin::Result<Connection> {
    let query = AMQPQueryString {
        heartbeat: Some(settings.heartbeat_secs),
        connection_timeout: Some(limits::BROKER_OPEN_SECS_MAX * 1000),
        ..uri.query.clone()
    };
    let uri = AMQPUri { query, ..uri.clone() };
    let name = format!("siding {} {purpose}", settings.region);
    let properties = ConnectionProperties::default()
        .with_connection_name(name.into())
        .with_client_property(ShortString::from("product"), "siding".into())
        .with_client_property(ShortString::from("version"), env!("CARGO_PKG_VERSION").into());
    Connection::connect_uri(uri, properties).await
}
