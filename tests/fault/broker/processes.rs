//! Several processes in one region: hints between them, and messages that one of them cannot read.

use siding_core::{
    broker::{DeadLetters, EventBus, Heard, Hint, HintStream, Standing, rabbitmq::RabbitBroker},
    drain::Drain,
    id::{EventSeq, JobId},
    limits,
};
use siding_tests::harness::{
    eventually,
    proxy::{Cut, Way},
};

use super::given::{BACK_WITHIN, Fixture, connect, exactly, lane, publish_all, subscribe};

async fn hear(listener: &mut HintStream) -> Heard {
    tokio::time::timeout(BACK_WITHIN, listener.next()).await.expect("something is heard")
}

fn events(count: u32) -> Vec<Hint> {
    let job = JobId::generate();
    (1..=count).map(|seq| Hint::Event { job, seq: EventSeq(seq), terminal: false }).collect()
}

#[tokio::test]
async fn hints_reach_every_process_in_order_and_each_once() {
    let fixture = Fixture::new().await;
    let drain = Drain::new();
    let other = connect(&fixture.region.settings(), &drain).await;
    let mut here = fixture.broker.listen();
    let mut there = [other.listen(), other.listen()];
    let hints = events(2 * limits::HINTS_GROUP_MAX as u32);
    fixture.broker.send(&hints);
    for hint in &hints {
        assert_eq!(hear(&mut here).await, Heard::Hint(hint.clone()));
        for listener in &mut there {
            assert_eq!(hear(listener).await, Heard::Hint(hint.clone()));
        }
    }
    // The answer comes after everything that the broker could have sent back to us.
    let cancel = Hint::Cancel { job: JobId::generate() };
    other.send(&[cancel.clone(), Hint::Due]);
    assert_eq!(
        [hear(&mut here).await, hear(&mut here).await],
        [Heard::Hint(cancel), Heard::Hint(Hint::Due)],
        "and not its own again"
    );
    drain.stopped(BACK_WITHIN).await.expect("every task ends");
    fixture.end().await;
}

#[tokio::test]
async fn hints_that_could_not_go_out_are_told_as_missed() {
    let fixture = Fixture::new().await;
    let drain = Drain::new();
    let other = connect(&fixture.region.settings(), &drain).await;
    let (mut here, mut there) = (fixture.broker.listen(), other.listen());
    fixture.proxy.go(Way { refusing: true, ..Way::default() });
    fixture.proxy.cut(Cut::Reset);
    fixture.stands(Standing::Away).await;
    fixture.broker.send(&[Hint::Due]);
    assert_eq!(hear(&mut here).await, Heard::Hint(Hint::Due), "here it is heard all the same");
    fixture.proxy.go(Way::default());
    fixture.stands(Standing::Connected).await;
    assert_eq!(hear(&mut here).await, Heard::Missed, "nothing was heard of the others meanwhile");
    assert_eq!(hear(&mut there).await, Heard::Missed, "what could not go out is not passed over");
    fixture.broker.send(&[Hint::Due]);
    assert_eq!(hear(&mut there).await, Heard::Hint(Hint::Due));
    drain.stopped(BACK_WITHIN).await.expect("every task ends");
    fixture.end().await;
}

#[tokio::test]
async fn a_message_that_nobody_can_read_is_kept_and_holds_up_no_other() {
    let fixture = Fixture::new().await;
    let outside = fixture.region.outside().await;
    let mut subscription = subscribe(&fixture.broker, 1).await;
    for body in [&b"not json"[..], br#"{"v":"2","job":"unknown"}"#] {
        outside.put(&fixture.region.queue(&lane()), body).await;
    }
    publish_all(&fixture.broker, 1).await;
    let held = exactly(&mut subscription, 1).await;
    // A quorum queue tells how many messages it holds only with its next tick, every 5 s.
    eventually("both are kept", 3 * BACK_WITHIN, async || {
        let found = fixture.broker.take(8).await.map_err(|error| error.to_string())?;
        assert!(found.letters.is_empty(), "{found:?}");
        for loss in found.losses {
            // A new region tells one.
            loss.ack().await.map_err(|error| error.to_string())?;
        }
        if found.unreadable == 2 { Ok(()) } else { Err(format!("{} are", found.unreadable)) }
    })
    .await;
    assert_eq!(outside.count(&fixture.region.name("unreadable")).await.0, 2);
    assert_eq!(outside.count(&fixture.region.name("dead")).await.0, 0);
    drop((held, subscription));
    fixture.end().await;
}

#[tokio::test]
async fn queues_that_exist_with_other_bounds_are_used_as_they_are() {
    let fixture = Fixture::new().await;
    let drain = Drain::new();
    let other = RabbitBroker::connect(&fixture.region.settings(), &[lane()], 7, &drain).await.expect("it connects");
    let jobs = publish_all(&fixture.broker, 9).await;
    assert_eq!(exactly(&mut subscribe(&other, 20).await, 9).await.len(), jobs.len());
    drain.stopped(BACK_WITHIN).await.expect("every task ends");
    fixture.end().await;
}

#[tokio::test]
async fn a_proxy_that_swallows_everything_costs_no_connection_for_each_attempt() {
    let fixture = Fixture::new().await;
    fixture.proxy.go(Way { swallowing: true, ..Way::default() });
    fixture.proxy.cut(Cut::Reset);
    fixture.stands(Standing::Away).await;
    let before = fixture.proxy.accepted();
    // Each attempt is given up after `limits::BROKER_OPEN_SECS_MAX`.
    eventually("a second attempt has begun", 4 * BACK_WITHIN, async || {
        assert!(fixture.proxy.open() <= 1, "{} connections are left behind", fixture.proxy.open());
        let attempts = fixture.proxy.accepted() - before;
        if attempts >= 2 { Ok(()) } else { Err(format!("{attempts} attempts")) }
    })
    .await;
    fixture.proxy.go(Way::default());
    fixture.end().await;
}
