//! The loop that owns the pair of connections: opens one, serves with it until it ends, pauses, opens the next. It decides when to try
//! again and tells how the broker stands; it must never try to mend a pair.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    RabbitBroker, hints,
    link::{End, Events, Link, Opened},
};
use crate::{
    broker::{Heard, Standing},
    error::chain,
    retry::Pauses,
};

/// A pair that cannot declare what is missing and ends earlier than this has not served.
const SERVED_MIN: Duration = Duration::from_secs(5);

/// A pair that serves, and what it hears.
pub(super) type Serving = (Arc<Link>, Events);

/// From here on, everybody uses this pair.
pub(super) fn begin(broker: &RabbitBroker, opened: Opened) -> Serving {
    let link = Arc::new(opened.link);
    // Nothing was heard of other processes until now.
    broker.bus.tell(Heard::Missed);
    broker.tasks.spawn(hints::take_in(broker.bus.clone(), link.clone(), opened.hints));
    broker.link.send_replace(Some(link.clone()));
    broker.report.stands(Standing::Connected);
    (link, opened.events)
}

/// Keeps a pair open until the broker is closed or its drain is told to stop.
pub(super) async fn supervise(broker: Arc<RabbitBroker>, first: Option<Serving>) {
    let stop = broker.closed.clone();
    tokio::select! {
        () = broker.tasks.drain.stopping() => broker.close(),
        () = stop.cancelled() => {}
        () = serve_for_ever(&broker, first) => {}
    }
    let last = broker.link.send_replace(None);
    if let Some(link) = last {
        link.close().await;
    }
    broker.report.stands(Standing::Away);
}

async fn serve_for_ever(broker: &RabbitBroker, mut first: Option<Serving>) {
    let mut pauses = Pauses::new();
    loop {
        let opened = match first.take() {
            Some(serving) => Ok(serving),
            None => Link::open(&broker.uri, &broker.settings, &broker.topology).await.map(|opened| begin(broker, opened)),
        };
        let pause = match opened {
            Ok((link, events)) => {
                let from = Instant::now();
                let end = link.live(&broker.topology, events, |standing| broker.report.stands(standing)).await;
                drop_pair(broker, link, &end);
                // A pair that could not even declare what is missing, and ended at once for it, is no success: without a longer pause it would
                // be opened many times a second. A cut is another matter: the next pair may serve for years.
                if from.elapsed() >= SERVED_MIN || !matches!(end, End::Undeclared(_)) {
                    pauses.reset();
                }
                pauses.longer()
            }
            Err(error) => {
                let pause = pauses.longer();
                tracing::warn!(
                    error = chain(&error),
                    pause_ms = pause.as_millis(),
                    "cannot connect to the broker; will try again"
                );
                pause
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Whatever has happened to one connection, both are dropped: one state to understand, and a delivery of the old pair can never be
/// settled on the new one.
fn drop_pair(broker: &RabbitBroker, link: Arc<Link>, end: &End) {
    broker.link.send_replace(None);
    broker.report.stands(Standing::Away);
    tracing::warn!(error = chain(end), "the broker is gone; connecting again");
    link.ended.cancel();
    // Beside the next attempt: the other side may be gone, and closing takes its patience.
    broker.tasks.spawn(async move { link.close().await });
}
