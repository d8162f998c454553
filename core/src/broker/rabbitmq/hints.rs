//! Hints between processes. A sender's own listeners hear a hint at once; for the others, hints travel in groups, as transient messages
//! without confirms. It decides what is dropped when the way is shut, and then says so to the listeners over there, as missed. It must
//! never make a sender wait, and never repeat to a process what it has sent itself.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use lapin::{
    BasicProperties, Channel, Consumer,
    options::{BasicAckOptions, BasicPublishOptions},
    types::ShortString,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{link::Link, report::Report, topology::Topology};
use crate::{
    broker::{Heard, Hint, HintStream, VersionHint},
    id::{EventSeq, JobId},
    limits,
};

/// How long writing one group may take. A hint that late is worth less than the next one.
const WRITE_PATIENCE: Duration = Duration::from_secs(1);
/// AMQP's word for a message that is kept in memory only.
const TRANSIENT: u8 = 1;

/// A message of hints. The tag is the version.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "v")]
enum Message {
    #[serde(rename = "1")]
    V1(Group),
}

/// Hints of one process, in the order of their sending.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Group {
    /// Which process; it leaves out its own.
    from: Uuid,
    /// Whether hints before these were dropped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    missed: bool,
    hints: Vec<Told>,
}

/// A hint, as version 1 tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Event {
        job: JobId,
        seq: EventSeq,
        terminal: bool,
    },
    Cancel {
        job: JobId,
    },
    Due,
    /// Since this was added, an older process hears that it has missed something, which is true.
    Load(VersionHint),
    Unload(VersionHint),
}

impl From<Hint> for Told {
    fn from(hint: Hint) -> Self {
        match hint {
            Hint::Event { job, seq, terminal } => Self::Event { job, seq, terminal },
            Hint::Cancel { job } => Self::Cancel { job },
            Hint::Due => Self::Due,
            Hint::Load(version) => Self::Load(version),
            Hint::Unload(version) => Self::Unload(version),
        }
    }
}

impl From<Told> for Hint {
    fn from(told: Told) -> Self {
        match told {
            Told::Event { job, seq, terminal } => Self::Event { job, seq, terminal },
            Told::Cancel { job } => Self::Cancel { job },
            Told::Due => Self::Due,
            Told::Load(version) => Self::Load(version),
            Told::Unload(version) => Self::Unload(version),
        }
    }
}

/// Hints on their way to other processes.
pub(super) type Outgoing = mpsc::Receiver<Hint>;

/// This process's end of the bus.
pub(super) struct Bus {
    me: Uuid,
    /// This process's listeners; `None` once closed, so that they hear it.
    listeners: Mutex<Option<broadcast::Sender<Heard>>>,
    outgoing: mpsc::Sender<Hint>,
    /// Whether hints were dropped since other processes were last told so. Set by senders and the outgoing loop, cleared by the latter.
    dropped: AtomicBool,
    report: Report,
}

impl Bus {
    /// A bus and what its outgoing loop reads.
    pub(super) fn new(report: Report) -> (Arc<Self>, Outgoing) {
        let (outgoing, sent) = mpsc::channel(limits::HINTS_SENDING_MAX);
        let listeners = Mutex::new(Some(broadcast::Sender::new(limits::HINTS_BUFFERED_MAX)));
        (Arc::new(Self { me: Uuid::now_v7(), listeners, outgoing, dropped: AtomicBool::new(false), report }), sent)
    }

    /// To this process's listeners now, to the others soon.
    pub(super) fn send(&self, hints: &[Hint]) {
        for hint in hints {
            self.tell(Heard::Hint(hint.clone()));
        }
        let fitting = hints.iter().take_while(|hint| self.outgoing.try_send((*hint).clone()).is_ok()).count();
        self.drop_hints(hints.len() - fitting);
    }

    /// A new listener of this process.
    pub(super) fn listen(&self) -> HintStream {
        let listeners = self.listeners();
        // A closed bus gives a stream whose sender is gone: its first word is `Closed`.
        HintStream::new(listeners.as_ref().map_or_else(|| broadcast::channel(1).1, broadcast::Sender::subscribe))
    }

    /// Tells every listener of this process.
    pub(super) fn tell(&self, heard: Heard) {
        if let Some(listeners) = self.listeners().as_ref() {
            // It fails when nobody listens: nobody to tell.
            drop(listeners.send(heard));
        }
    }

    /// The bus will not speak again.
    pub(super) fn close(&self) {
        self.listeners().take();
    }

    fn listeners(&self) -> MutexGuard<'_, Option<broadcast::Sender<Heard>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drop_hints(&self, hints: usize) {
        if hints > 0 {
            self.dropped.store(true, Ordering::Release);
            self.report.hints_dropped(hints);
        }
    }
}

/// Writes what is sent, in groups, until `stop`. While there is no way out, it drops what is sent; when there is one again, it says so.
pub(super) async fn send_out(
    bus: Arc<Bus>,
    mut sent: Outgoing,
    mut link: watch::Receiver<Option<Arc<Link>>>,
    topology: Arc<Topology>,
    stop: CancellationToken,
) {
    let mut group = Vec::with_capacity(limits::HINTS_GROUP_MAX);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            // Also an empty group, which says that some before it were dropped.
            changed = link.changed() => if changed.is_err() { return },
            taken = sent.recv_many(&mut group, limits::HINTS_GROUP_MAX) => if taken == 0 { return },
        }
        let open = link.borrow().clone().filter(|link| link.takes_messages());
        let Some(link) = open else {
            bus.drop_hints(group.len());
            group.clear();
            continue;
        };
        let missed = bus.dropped.swap(false, Ordering::AcqRel);
        let (events, control): (Vec<Hint>, Vec<Hint>) = group.drain(..).partition(|hint| matches!(hint, Hint::Event { .. }));
        for (exchange, hints, missed) in [(topology.control(), control, missed), (topology.events(), events, false)] {
            if (missed || !hints.is_empty()) && !write(&bus, &link, exchange, &hints, missed).await {
                // Whether `missed` got out is not known either: it is said again.
                bus.drop_hints(hints.len().max(1));
            }
        }
    }
}

async fn write(bus: &Bus, link: &Link, exchange: &ShortString, hints: &[Hint], missed: bool) -> bool {
    let group = Group { from: bus.me, missed, hints: hints.iter().map(|hint| Told::from(hint.clone())).collect() };
    let Ok(body) = serde_json::to_vec(&Message::V1(group)) else { return false };
    // Not mandatory: it is fine when nobody listens.
    let options = BasicPublishOptions { mandatory: false, immediate: false };
    let properties = BasicProperties::default()
        .with_delivery_mode(TRANSIENT)
        .with_content_type("application/json".into())
        .with_app_id("siding".into());
    let writing = async {
        let written = link.hints.basic_publish(exchange.clone(), ShortString::default(), options, &body, properties).await?;
        // At once: this channel asks for no confirms.
        written.await
    };
    let written = matches!(tokio::time::timeout(WRITE_PATIENCE, writing).await, Ok(Ok(_)));
    if !written {
        link.doubt();
    }
    written
}

/// Hands on what other processes send, until the pair of connections ends.
pub(super) async fn take_in(bus: Arc<Bus>, link: Arc<Link>, (channel, mut consumer): (Channel, Consumer)) {
    let taking = async {
        while let Some(Ok(came)) = consumer.next().await {
            match serde_json::from_slice(&came.data) {
                Ok(Message::V1(group)) => heard(&bus, &group),
                // Of a newer version, or nobody's: something may have changed.
                Err(_) => bus.tell(Heard::Missed),
            }
            if !matches!(came.acker.ack(BasicAckOptions { multiple: false }).await, Ok(true)) {
                break;
            }
        }
    };
    tokio::select! {
        biased;
        () = link.ended.cancelled() => {}
        // Without its queue this process is deaf: the pair is closed, and the next one has a new queue.
        () = taking => link.deaf(),
    }
    drop(channel);
}

fn heard(bus: &Bus, group: &Group) {
    if group.from == bus.me {
        return;
    }
    if group.missed {
        bus.tell(Heard::Missed);
    }
    for hint in &group.hints {
        bus.tell(Heard::Hint(Hint::from(hint.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_looks_like_this_for_ever() {
        let job: JobId = "0190b7c0-0000-7000-8000-000000000001".parse().expect("uuid");
        let from = "0190b7c0-0000-7000-8000-000000000002".parse().expect("uuid");
        let hints = vec![Told::Event { job, seq: EventSeq(3), terminal: true }, Told::Cancel { job }, Told::Due];
        let version = VersionHint { model: "m".parse().expect("a name"), version: "2".parse().expect("a name") };
        let rows = [
            (
                Group { from, missed: false, hints },
                r#"{"v":"1","from":"0190b7c0-0000-7000-8000-000000000002","hints":[{"event":{"job":"0190b7c0-0000-7000-8000-000000000001","seq":3,"terminal":true}},{"cancel":{"job":"0190b7c0-0000-7000-8000-000000000001"}},"due"]}"#,
            ),
            (
                Group { from, missed: false, hints: vec![Told::Load(version.clone()), Told::Unload(version)] },
                r#"{"v":"1","from":"0190b7c0-0000-7000-8000-000000000002","hints":[{"load":{"model":"m","version":"2"}},{"unload":{"model":"m","version":"2"}}]}"#,
            ),
            (
                Group { from, missed: true, hints: Vec::new() },
                r#"{"v":"1","from":"0190b7c0-0000-7000-8000-000000000002","missed":true,"hints":[]}"#,
            ),
        ];
        for (group, golden) in rows {
            let message = Message::V1(group);
            assert_eq!(serde_json::to_string(&message).expect("json"), golden);
            assert_eq!(serde_json::from_str::<Message>(golden).expect("json"), message);
        }
    }
}
