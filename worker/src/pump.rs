//! One lane's pump: turns a subscription into deliveries in the worker's hands, and comes back after every loss. It decides when to
//! subscribe again; how much may be held is the subscription's prefetch, and what is done with a delivery is `taking`'s matter.

use std::{sync::Arc, time::Duration};

use siding_core::{
    broker::{Consumer, Delivery},
    clock::Clock,
    drain::Drain,
    error::chain,
    id::LaneName,
    lane::{Ack, Lane},
};
use tokio::sync::{mpsc, watch};

/// Pause before subscribing again after a loss or an error.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// A delivery and the index of its lane.
pub type InHand = (usize, Box<dyn Delivery>);

/// What a pump of an `on_claim` lane is asked for: nothing, or one delivery under this ticket. A ticket is served once.
pub type Ticket = Option<u64>;

/// What every pump works with.
#[derive(Clone)]
pub struct Parts {
    /// Where deliveries come from.
    pub consumer: Arc<dyn Consumer>,
    /// Where they go; its capacity bounds nothing by itself, the prefetch does.
    pub hands: mpsc::Sender<InHand>,
    /// Times the pauses.
    pub clock: Arc<dyn Clock>,
}

/// Starts the pump of `lane`. It ends at the stop signal or when nobody takes deliveries any more.
pub fn start(drain: &Drain, parts: Parts, index: usize, lane: &Lane, tickets: watch::Receiver<Ticket>) {
    let pump = Pump { parts, index, lane: lane.name.clone(), prefetch: lane.prefetch };
    let stop = drain.clone();
    let ack = lane.ack;
    drain.spawn(async move {
        tokio::select! {
            () = stop.stopping() => {}
            () = async {
                match ack {
                    Ack::OnRecord => pump.keep_taking().await,
                    Ack::OnClaim => pump.take_on_ticket(tickets).await,
                }
            } => {}
        }
    });
}

struct Pump {
    parts: Parts,
    index: usize,
    lane: LaneName,
    prefetch: u16,
}

impl Pump {
    /// A subscription all the time: its prefetch bounds what is held.
    async fn keep_taking(&self) {
        loop {
            match self.parts.consumer.subscribe(&self.lane, self.prefetch).await {
                Ok(mut subscription) => {
                    while let Some(delivery) = subscription.next().await {
                        if self.parts.hands.send((self.index, delivery)).await.is_err() {
                            return;
                        }
                    }
                    tracing::warn!(lane.name = %self.lane, "the broker ended the subscription; will subscribe again");
                }
                Err(error) => tracing::warn!(lane.name = %self.lane, error = chain(&error), "cannot subscribe; will try again"),
            }
            self.parts.clock.sleep(AGAIN_AFTER).await;
        }
    }

    /// A subscription of prefetch 1 for one ticket, ended before the delivery is handed over: nothing is hoarded behind a long job.
    async fn take_on_ticket(&self, mut tickets: watch::Receiver<Ticket>) {
        let mut served = 0;
        loop {
            let wanted = match tickets.wait_for(|ticket| ticket.is_some_and(|number| number > served)).await {
                Ok(ticket) => ticket.unwrap_or_default(),
                Err(_) => return,
            };
            let taken = tokio::select! {
                taken = self.take_one() => taken,
                changed = tickets.wait_for(|ticket| *ticket != Some(wanted)) => match changed {
                    Ok(_) => continue,
                    Err(_) => return,
                },
            };
            match taken {
                Some(delivery) => {
                    served = wanted;
                    if self.parts.hands.send((self.index, delivery)).await.is_err() {
                        return;
                    }
                }
                None => self.parts.clock.sleep(AGAIN_AFTER).await,
            }
        }
    }

    async fn take_one(&self) -> Option<Box<dyn Delivery>> {
        match self.parts.consumer.subscribe(&self.lane, 1).await {
            Ok(mut subscription) => subscription.next().await,
            Err(error) => {
                tracing::warn!(lane.name = %self.lane, error = chain(&error), "cannot subscribe; will try again");
                None
            }
        }
    }
}
