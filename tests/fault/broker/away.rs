//! A broker that is not there, blocked, dying, or without its queues.

use std::time::{Duration, Instant};

use siding_core::{
    broker::{Consumer, DeadLetters, Delivery, Error, Published, Publisher, Standing, Subscription, rabbitmq::RabbitBroker},
    config,
    drain::Drain,
};
use siding_tests::harness::{
    eventually,
    proxy::{Proxy, Way},
    rabbitmq::Region,
    servers::{self, Kind, Private},
};

use super::given::{
    BACK_WITHIN, Fixture, QUEUE_MESSAGES_MAX, STILLNESS, exactly, impatient, lane, message, publish, publish_all, stands,
    subscribe,
};

/// At once, on a machine that is busy.
const AT_ONCE: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_service_starts_without_its_broker_and_is_connected_when_it_comes() {
    let url = servers::amqp_url();
    let (region, drain) = (Region::at(&url, &[lane()]), Drain::new());
    let (proxy, through) = Proxy::before(&url).await;
    proxy.go(Way { refusing: true, ..Way::default() });
    let settings = impatient(&region, &through);
    let broker = RabbitBroker::start(&settings, &[lane()], QUEUE_MESSAGES_MAX, &drain).expect("the settings can be read");
    let asked = Instant::now();
    assert_eq!(broker.publish(vec![message(), message()]).await, [Published::Unknown; 2]);
    assert!(matches!(broker.subscribe(&lane(), 1).await.err(), Some(Error::Unavailable(_))));
    assert!(matches!(broker.ready_count(&lane()).await, Err(Error::Unavailable(_))));
    assert!(matches!(broker.take(1).await, Err(Error::Unavailable(_))));
    assert!(asked.elapsed() < AT_ONCE, "nobody waits for a broker that is away: {:?}", asked.elapsed());
    let refused = RabbitBroker::connect(&settings, &[lane()], QUEUE_MESSAGES_MAX, &drain).await.err();
    assert!(matches!(refused, Some(Error::Unavailable(Some(_)))), "{refused:?}");

    proxy.go(Way::default());
    stands(&broker, Standing::Connected).await;
    publish_all(&broker, 3).await;
    exactly(&mut subscribe(&broker, 10).await, 3).await;
    drain.stopped(BACK_WITHIN).await.expect("every task ends");
}

#[tokio::test]
async fn a_broker_that_does_not_want_us_is_told_from_one_that_is_away() {
    let url = servers::amqp_url();
    let (region, drain) = (Region::at(&url, &[lane()]), Drain::new());
    let settings = region.settings();
    let (start, end) = (url.find("://").expect("a URL") + 3, url.find('@').expect("a user"));
    let rows = [
        config::Broker { url: format!("{}nobody:wrong{}", &url[..start], &url[end..]).as_str().into(), ..settings.clone() },
        config::Broker { url: "http://127.0.0.1/".into(), ..settings.clone() },
        config::Broker { region: "not a name".into(), ..settings },
    ];
    for settings in rows {
        let refused = RabbitBroker::connect(&settings, &[lane()], QUEUE_MESSAGES_MAX, &drain).await.err();
        assert!(matches!(refused, Some(Error::Misconfigured(_))), "{settings:?}: {refused:?}");
    }
}

#[tokio::test]
async fn a_deleted_queue_is_declared_anew_and_its_consumers_come_back() {
    let fixture = Fixture::new().await;
    let outside = fixture.region.outside().await;
    loss_is_told(&fixture, "a new region has had no queues").await;
    let mut subscription = subscribe(&fixture.broker, 2).await;
    outside.delete(&fixture.region.queue(&lane())).await;
    assert!(tokio::time::timeout(BACK_WITHIN, subscription.next()).await.expect("it ends").is_none());
    let mut subscription = subscribe(&fixture.broker, 2).await;
    loss_is_told(&fixture, "found by the consumer").await;
    publish_all(&fixture.broker, 4).await;
    let held = exactly(&mut subscription, 2).await;
    drop((held, subscription));

    // Deleted while nobody consumes: the publisher finds it missing.
    outside.delete(&fixture.region.queue(&lane())).await;
    publish_all(&fixture.broker, 1).await;
    loss_is_told(&fixture, "found by the publisher").await;
    exactly(&mut subscribe(&fixture.broker, 2).await, 1).await;
    assert_eq!(*fixture.broker.standing().borrow(), Standing::Connected, "the connections were not at fault");
    fixture.end().await;
}

/// The loss of a queue is found until it is acknowledged, and then no more.
async fn loss_is_told(fixture: &Fixture, why: &str) {
    let take = async || fixture.broker.take(8).await.expect("the broker is there");
    drop(take().await);
    let told = eventually(why, BACK_WITHIN, async || match take().await.losses {
        losses if losses.is_empty() => Err("no loss is told".into()),
        losses => Ok(losses),
    });
    for loss in told.await {
        assert_eq!(loss.lanes(), [lane()], "{why}");
        loss.ack().await.expect("it is ours");
    }
    assert!(take().await.losses.is_empty(), "{why}: acknowledged, it is gone");
}

#[tokio::test]
async fn a_broker_that_answers_slowly_costs_time_and_no_message() {
    let fixture = Fixture::new().await;
    fixture.proxy.go(Way { delay: Duration::from_millis(50), bytes_per_sec: Some(64 * 1024), ..Way::default() });
    let jobs = publish_all(&fixture.broker, 5).await;
    let mut subscription = subscribe(&fixture.broker, 10).await;
    let got = exactly(&mut subscription, 5).await;
    assert_eq!(got.iter().map(|delivery| delivery.envelope().due().job).collect::<Vec<_>>(), jobs);
    fixture.proxy.go(Way::default());
    drop((got, subscription));
    fixture.end().await;
}

/// In this order, because a quorum queue of 3.10 that is killed within the first second or two of its life has no leader ever after.
#[tokio::test]
async fn a_broker_that_dies_and_comes_back_finds_everybody_again() {
    let mut server = Private::start(Kind::RabbitMq).await;
    let fixture = Fixture::at(server.url()).await;
    let jobs = publish_all(&fixture.broker, 10).await;
    let mut subscription = subscribe(&fixture.broker, 3).await;
    let held = exactly(&mut subscription, 3).await;

    // An operator closes every connection, in order.
    server.ctl(&["close_all_connections", "closed by a test"]).await;
    ends(subscription, held).await;
    fixture.stands(Standing::Connected).await;

    // Somebody stops it where it is: nothing answers, and the silence is noticed.
    let mut subscription = subscribe(&fixture.broker, 3).await;
    let held = exactly(&mut subscription, 3).await;
    server.pause();
    let paused = Instant::now();
    ends(subscription, held).await;
    println!("stopped where it is: noticed after {:.2?}", paused.elapsed());
    server.resume();
    fixture.stands(Standing::Connected).await;

    // It is killed.
    let mut subscription = subscribe(&fixture.broker, 3).await;
    let held = exactly(&mut subscription, 3).await;
    server.kill().await;
    ends(subscription, held).await;
    assert_eq!(publish(&fixture.broker, message()).await, Published::Unknown);
    server.restart().await;
    let back = Instant::now();
    fixture.stands(Standing::Connected).await;
    let mut subscription = subscribe(&fixture.broker, 20).await;
    let got = exactly(&mut subscription, jobs.len()).await;
    println!("killed and started again: all in hand {:.2?} after its return", back.elapsed());
    assert!(got.iter().all(|delivery| jobs.contains(&delivery.envelope().due().job)), "none is lost");
    drop((got, subscription));
    fixture.end().await;
}

/// The pair is given up: the subscription has ended and what it handed out is stale.
async fn ends(mut subscription: Box<dyn Subscription>, held: Vec<Box<dyn Delivery>>) {
    assert!(tokio::time::timeout(BACK_WITHIN, subscription.next()).await.expect("it ends").is_none());
    for delivery in held {
        assert!(matches!(delivery.ack().await, Err(Error::Stale)));
    }
}

#[tokio::test]
async fn a_blocked_broker_is_answered_for_at_once_and_settling_goes_on() {
    let server = Private::start(Kind::RabbitMq).await;
    let fixture = Fixture::at(server.url()).await;
    publish_all(&fixture.broker, 6).await;
    let mut subscription = subscribe(&fixture.broker, 2).await;

    server.ctl(&["set_vm_memory_high_watermark", "0.00001"]).await;
    // Only who publishes is told, so one publication is written in vain.
    let written =
        eventually("the broker is found blocked", BACK_WITHIN, async || match publish(&fixture.broker, message()).await {
            Published::Unknown => Ok(()),
            taken => Err(format!("{taken:?}")),
        });
    written.await;
    fixture.stands(Standing::Blocked).await;
    let asked = Instant::now();
    for _ in 0..100 {
        assert_eq!(fixture.broker.publish(vec![message(), message()]).await, [Published::Unknown; 2]);
    }
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    for _ in 0..6 {
        let delivery = tokio::time::timeout(BACK_WITHIN, subscription.next()).await.expect("deliveries go on");
        delivery.expect("the subscription goes on").ack().await.expect("acknowledging goes on");
    }

    server.ctl(&["set_vm_memory_high_watermark", "0.6"]).await;
    fixture.stands(Standing::Connected).await;
    publish_all(&fixture.broker, 1).await;
    // What was answered for without writing does not come: two hundred did not.
    let mut came = 0;
    while let Ok(delivery) = tokio::time::timeout(STILLNESS, subscription.next()).await {
        delivery.expect("the subscription goes on").ack().await.expect("it is ours");
        came += 1;
    }
    assert!((1..20).contains(&came), "{came}");
    drop(subscription);
    fixture.end().await;
}
