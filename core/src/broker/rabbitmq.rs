//! The broker over RabbitMQ: what the seams ask for, over a pair of connections that comes and goes. It decides who is answered at once
//! because there is no pair; it must never wait for one, and it must never know a job.
//!
//! States, kept by `supervisor`: away (no pair: publishing is `Unknown`, subscribing `Unavailable`), connected, and blocked (the broker is
//! short of memory or disk and reads nothing from who publishes: publishing is `Unknown`, deliveries and settling go on). Whatever error
//! a pair shows, both of its connections are dropped, subscriptions end, deliveries in hand are `Stale`, and a new pair is opened after a
//! pause; whoever subscribed subscribes anew, with the same prefetch and a fresh tag. Why not lapin's own recovery: docs/adr/0015.

mod consume;
mod dead;
mod errors;
mod greeting;
mod hints;
mod link;
mod publish;
pub mod raw;
mod report;
mod supervisor;
mod topology;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use lapin::uri::AMQPUri;
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
};
use tokio_util::sync::CancellationToken;

use self::{
    consume::{Origin, RabbitSubscription},
    hints::Bus,
    link::{Link, Opened},
    publish::{Outcomes, Publication},
    report::Report,
    topology::Topology,
};
use super::{
    Consumer, DeadLetters, DeadLettersFound, Error, EventBus, Hint, HintStream, Published, Publisher, Standing, Subscription,
};
use crate::{config, drain::Drain, envelope::Envelope, id::LaneName, telemetry::Metrics};

/// The broker over RabbitMQ.
pub struct RabbitBroker {
    uri: AMQPUri,
    settings: config::Broker,
    topology: Arc<Topology>,
    /// The pair of connections, if there is one. Written by the supervisor.
    link: watch::Sender<Option<Arc<Link>>>,
    bus: Arc<Bus>,
    report: Report,
    tasks: Tasks,
    closed: CancellationToken,
}

impl fmt::Debug for RabbitBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitBroker").field("region", &self.settings.region).finish_non_exhaustive()
    }
}

/// Where tasks are started, also from a drop on a thread outside of the executor.
#[derive(Clone)]
struct Tasks {
    drain: Drain,
    executor: Handle,
}

impl Tasks {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let entered = self.executor.enter();
        self.drain.spawn(task);
        drop(entered);
    }
}

impl RabbitBroker {
    /// Connects and declares the queues of `lanes`, each taking `queue_messages_max` messages, within `limits::BROKER_OPEN_SECS_MAX`.
    /// For a service that can do nothing without its broker.
    ///
    /// `drain` holds the broker's tasks; they end, and with them the connections, when it is told to stop. It is not the drain of a
    /// service that uses the broker, because that one still settles and publishes while it stops.
    ///
    /// # Errors
    /// `Misconfigured`, `Unavailable`.
    pub async fn connect(
        settings: &config::Broker,
        lanes: &[LaneName],
        queue_messages_max: usize,
        drain: &Drain,
    ) -> Result<Arc<Self>, Error> {
        let (broker, outgoing) = Self::new(settings, lanes, queue_messages_max, drain)?;
        let first = Link::open(&broker.uri, &broker.settings, &broker.topology).await?;
        broker.run(outgoing, Some(first));
        Ok(broker)
    }

    /// As `connect`, without waiting: the connections are opened behind it, as soon as the broker is there. For a service that is of
    /// use without its broker: a producer accepts into the store.
    ///
    /// # Errors
    /// `Misconfigured` when address or region cannot be read.
    pub fn start(
        settings: &config::Broker,
        lanes: &[LaneName],
        queue_messages_max: usize,
        drain: &Drain,
    ) -> Result<Arc<Self>, Error> {
        let (broker, outgoing) = Self::new(settings, lanes, queue_messages_max, drain)?;
        broker.run(outgoing, None);
        Ok(broker)
    }

    /// How the broker stands, now and at every change.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.report.standing()
    }

    /// Counts into `metrics` from now on.
    pub fn count_into(&self, metrics: Arc<Metrics>) {
        self.report.count_into(metrics);
    }

    /// Cuts this process off for good: subscriptions and hint streams end, publishing is `Unknown`, settling is `Stale`. The messages
    /// stay with the broker.
    pub fn close(&self) {
        self.closed.cancel();
        self.bus.close();
        if let Some(link) = self.link.borrow().as_ref() {
            link.ended.cancel();
        }
    }

    fn new(
        settings: &config::Broker,
        lanes: &[LaneName],
        queue_messages_max: usize,
        drain: &Drain,
    ) -> Result<(Arc<Self>, hints::Outgoing), Error> {
        let uri = settings
            .url
            .expose()
            .parse()
            .map_err(|problem: String| Error::Misconfigured(format!("broker.url: {problem}").into()))?;
        let topology = Topology::new(&settings.region, lanes, queue_messages_max, settings.deliveries_max)?;
        let report = Report::new();
        let (bus, outgoing) = Bus::new(report.clone());
        let broker = Self {
            uri,
            settings: settings.clone(),
            topology: Arc::new(topology),
            link: watch::Sender::new(None),
            bus,
            report,
            tasks: Tasks { drain: drain.clone(), executor: Handle::current() },
            closed: CancellationToken::new(),
        };
        Ok((Arc::new(broker), outgoing))
    }

    fn run(self: &Arc<Self>, outgoing: hints::Outgoing, first: Option<Opened>) {
        let sending =
            hints::send_out(self.bus.clone(), outgoing, self.link.subscribe(), self.topology.clone(), self.closed.clone());
        self.tasks.spawn(sending);
        // The first pair serves from here on: whoever has the broker finds it connected.
        let first = first.map(|opened| supervisor::begin(self, opened));
        self.tasks.spawn(supervisor::supervise(self.clone(), first));
    }

    /// The pair of connections, if there is one.
    fn link(&self) -> Option<Arc<Link>> {
        self.link.borrow().clone().filter(|link| !link.ended.is_cancelled())
    }

    /// The pair and a lane's queue.
    fn link_and_queue(&self, lane: &LaneName) -> Result<(Arc<Link>, lapin::types::ShortString), Error> {
        let queue = self.topology.queue(lane).ok_or_else(|| Error::UnknownLane(lane.clone()))?;
        Ok((self.link().ok_or(Error::Unavailable(None))?, queue.clone()))
    }

    /// A channel of its own for one look at queues.
    async fn origin(&self, link: Arc<Link>) -> Result<Arc<Origin>, Error> {
        let channel = link.call(link.consuming.create_channel()).await?;
        Ok(Arc::new(Origin { link, channel, tasks: self.tasks.clone(), report: self.report.clone() }))
    }
}

#[async_trait]
impl Publisher for RabbitBroker {
    async fn publish(&self, messages: Vec<Envelope>) -> Vec<Published> {
        let outcomes = Outcomes::unknown(messages.len());
        let Some(link) = self.link().filter(|link| link.takes_messages()) else { return outcomes.so_far() };
        let address = |message: Envelope| (self.topology.queue(&message.due().lane).cloned(), message);
        let given_up = CancellationToken::new();
        let until_answered = given_up.clone().drop_guard();
        let (all_known, known) = oneshot::channel();
        let publication = Publication {
            link: link.clone(),
            messages: messages.into_iter().map(address).collect(),
            outcomes: outcomes.clone(),
            given_up,
        };
        self.tasks.spawn(publication.run(all_known));
        tokio::select! {
            biased;
            _ = known => {}
            () = link.closed_to_messages() => {}
            () = tokio::time::sleep(Duration::from_millis(self.settings.confirm_timeout_ms)) => {}
        }
        drop(until_answered);
        outcomes.so_far()
    }
}

#[async_trait]
impl Consumer for RabbitBroker {
    async fn subscribe(&self, lane: &LaneName, prefetch: u16) -> Result<Box<dyn Subscription>, Error> {
        let (link, queue) = self.link_and_queue(lane)?;
        let subscription = RabbitSubscription::open(link, queue, prefetch, self.tasks.clone(), self.report.clone()).await?;
        Ok(Box::new(subscription))
    }

    async fn ready_count(&self, lane: &LaneName) -> Result<u64, Error> {
        let (link, queue) = self.link_and_queue(lane)?;
        let origin = self.origin(link).await?;
        dead::count(&origin, &origin.channel, &queue).await
    }
}

#[async_trait]
impl DeadLetters for RabbitBroker {
    async fn take(&self, letters_max: usize) -> Result<DeadLettersFound, Error> {
        let link = self.link().ok_or(Error::Unavailable(None))?;
        dead::take(&self.origin(link).await?, &self.topology, letters_max).await
    }
}

impl EventBus for RabbitBroker {
    fn send(&self, hints: &[Hint]) {
        self.bus.send(hints);
    }

    fn listen(&self) -> HintStream {
        self.bus.listen()
    }
}
