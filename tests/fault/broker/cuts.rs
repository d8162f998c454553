//! Connections that are cut, in every way and again and again, under publishers and consumers who go on.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use siding_core::{
    broker::{Error, Published, Standing, rabbitmq::RabbitBroker},
    drain::Drain,
    id::JobId,
};
use siding_tests::harness::{eventually, proxy::Cut};

use super::given::{BACK_WITHIN, Fixture, exactly, message, publish, publish_all, subscribe};

const PUBLISHERS: usize = 8;
/// Cuts of each noisy kind. A noisy cut costs a tenth of a second, a silent one two heartbeats.
const NOISY_CUTS: usize = 20;
/// Silent cuts in a usual run; `SIDING_FAULT_SILENT_CUTS` says how many in another.
const SILENT_CUTS: usize = 3;

/// What publishers know of and consumers have got.
#[derive(Default)]
struct Ledger {
    confirmed: Mutex<HashSet<JobId>>,
    delivered: Mutex<HashSet<JobId>>,
    deliveries: Mutex<usize>,
}

impl Ledger {
    fn confirmed(&self) -> usize {
        self.confirmed.lock().expect("no panic").len()
    }

    fn lost(&self) -> usize {
        let delivered = self.delivered.lock().expect("no panic");
        self.confirmed.lock().expect("no panic").iter().filter(|job| !delivered.contains(job)).count()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_and_consumers_survive_every_kind_of_cut() {
    let fixture = Fixture::new().await;
    let (ledger, publishing, consuming) = (Arc::new(Ledger::default()), Drain::new(), Drain::new());
    for _ in 0..PUBLISHERS {
        publishing.spawn(keep_publishing(fixture.broker.clone(), ledger.clone(), publishing.clone()));
    }
    consuming.spawn(keep_consuming(fixture.broker.clone(), ledger.clone(), consuming.clone()));
    let silent = std::env::var("SIDING_FAULT_SILENT_CUTS").ok().and_then(|count| count.parse().ok()).unwrap_or(SILENT_CUTS);
    for (kind, cuts) in [(Cut::Reset, NOISY_CUTS), (Cut::End, NOISY_CUTS), (Cut::Silent, silent)] {
        let mut slowest = Duration::ZERO;
        for _ in 0..cuts {
            let before = ledger.confirmed();
            assert!(fixture.proxy.cut(kind) >= 2, "both connections pass through the proxy");
            let cut_at = Instant::now();
            fixture.stands(Standing::Away).await;
            fixture.stands(Standing::Connected).await;
            slowest = slowest.max(cut_at.elapsed());
            eventually("publishing goes on after a cut", BACK_WITHIN, async || {
                let now = ledger.confirmed();
                if now > before + PUBLISHERS { Ok(()) } else { Err(format!("{now} confirmed, {before} before the cut")) }
            })
            .await;
        }
        println!("{cuts} cuts, {kind:?}: {} confirmed so far, slowest return {slowest:.2?}", ledger.confirmed());
    }
    publishing.stopped(BACK_WITHIN).await.expect("no publisher hangs");
    eventually("everything that was confirmed is delivered", 3 * BACK_WITHIN, async || match ledger.lost() {
        0 => Ok(()),
        lost => Err(format!("{lost} of {} are missing", ledger.confirmed())),
    })
    .await;
    consuming.stopped(BACK_WITHIN).await.expect("no consumer hangs");
    let (confirmed, deliveries) = (ledger.confirmed(), *ledger.deliveries.lock().expect("no panic"));
    println!("{confirmed} confirmed, 0 lost, {} deliveries more than that", deliveries.saturating_sub(confirmed));
    fixture.end().await;
}

/// Publishes one message after the other, each until it is confirmed.
async fn keep_publishing(broker: Arc<RabbitBroker>, ledger: Arc<Ledger>, stop: Drain) {
    while !stop.is_stopping() {
        let message = message();
        while publish(&broker, message.clone()).await != Published::Confirmed {
            if stop.is_stopping() {
                return;
            }
            // Away answers at once: without a pause this would be a loop that starves the others.
            tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_millis(5)).await;
        }
        ledger.confirmed.lock().expect("no panic").insert(message.due().job);
    }
}

/// Takes and acknowledges, and subscribes again whenever the subscription ends.
async fn keep_consuming(broker: Arc<RabbitBroker>, ledger: Arc<Ledger>, stop: Drain) {
    while !stop.is_stopping() {
        let mut subscription = subscribe(&broker, 32).await;
        loop {
            let next = tokio::select! {
                () = stop.stopping() => return,
                next = subscription.next() => next,
            };
            let Some(delivery) = next else { break };
            *ledger.deliveries.lock().expect("no panic") += 1;
            ledger.delivered.lock().expect("no panic").insert(delivery.envelope().due().job);
            match delivery.ack().await {
                Ok(()) | Err(Error::Stale) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test]
async fn after_a_cut_deliveries_are_stale_and_subscriptions_come_back_with_their_prefetch() {
    for kind in [Cut::Reset, Cut::End, Cut::Silent] {
        let fixture = Fixture::new().await;
        let mut jobs = publish_all(&fixture.broker, 10).await;
        let mut subscription = subscribe(&fixture.broker, 3).await;
        let mut held = exactly(&mut subscription, 3).await;
        fixture.proxy.cut(kind);
        let cut_at = Instant::now();
        assert!(tokio::time::timeout(BACK_WITHIN, subscription.next()).await.expect("it ends").is_none(), "{kind:?}");
        assert!(subscription.next().await.is_none(), "{kind:?}: and stays ended");
        let late = held.pop().expect("three");
        assert!(matches!(late.ack().await, Err(Error::Stale)), "{kind:?}");
        assert!(matches!(held.pop().expect("two").give_back().await, Err(Error::Stale)), "{kind:?}");
        drop(held);
        let mut subscription = subscribe(&fixture.broker, 3).await;
        let mut got: Vec<JobId> = Vec::new();
        let mut again = exactly(&mut subscription, 3).await;
        println!("{kind:?}: three deliveries in hand {:.2?} after the cut", cut_at.elapsed());
        while let Some(delivery) = again.pop() {
            got.push(delivery.envelope().due().job);
            delivery.ack().await.expect("it is ours");
            if got.len() + again.len() < jobs.len() {
                let next = tokio::time::timeout(3 * BACK_WITHIN, subscription.next()).await.expect("the next one comes");
                again.push(next.expect("the subscription goes on"));
            }
        }
        got.sort_unstable();
        jobs.sort_unstable();
        assert_eq!(got, jobs, "{kind:?}: every message once, as none was settled before the cut");
        fixture.end().await;
    }
}
