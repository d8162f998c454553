//! Messages from publisher to consumer.

use futures::future::{join_all, select};
use siding_core::{
    broker::{Error, Published},
    id::{JobId, LaneName},
};
use siding_tests::harness::{
    eventually,
    seams::{BrokerSeam, QUEUE_MESSAGES_MAX},
};

use super::given::{PATIENCE, instant, job, long, message, next, nothing_comes, publish, soon, subscribe};

pub async fn a_published_message_is_delivered_as_it_was(seam: &BrokerSeam) {
    let message = message(instant());
    assert_eq!(seam.broker.publish(vec![message.clone()]).await, [Published::Confirmed]);
    let delivery = next(&mut subscribe(seam, 1).await).await;
    assert_eq!((delivery.envelope(), delivery.redelivered()), (&message, false));
    delivery.ack().await.expect("it is ours");
}

pub async fn a_lane_delivers_first_in_first_out(seam: &BrokerSeam) {
    seam.broker.publish(vec![message(long())]).await;
    let jobs = publish(seam, 5).await;
    let mut subscription = subscribe(seam, 10).await;
    let mut deliveries = Vec::new();
    for expected in jobs {
        let delivery = next(&mut subscription).await;
        assert_eq!(job(&*delivery), expected);
        deliveries.push(delivery);
    }
    nothing_comes(seam, &mut subscription).await;
}

pub async fn a_full_queue_refuses_until_there_is_room(seam: &BrokerSeam) {
    let publish_one = async || seam.broker.publish(vec![message(instant())]).await;
    let mut taken = 0;
    while publish_one().await == [Published::Confirmed] {
        taken += 1;
        assert!(taken <= QUEUE_MESSAGES_MAX + seam.over_bound_max, "a queue is bounded");
    }
    assert!(taken >= QUEUE_MESSAGES_MAX, "{taken}");
    assert_eq!(publish_one().await, [Published::Refused]);
    assert_eq!(seam.broker.ready_count(&instant()).await.expect("count"), taken as u64, "what was refused is not there");
    let mut subscription = subscribe(seam, 1).await;
    for _ in seam.accepts_again_at..taken {
        next(&mut subscription).await.ack().await.expect("it is ours");
    }
    drop(subscription);
    eventually("a queue with room takes messages", PATIENCE, async || match publish_one().await[..] {
        [Published::Confirmed] => Ok(()),
        ref other => Err(format!("{other:?}")),
    })
    .await;
}

pub async fn an_unknown_lane_is_refused_and_holds_up_no_other(seam: &BrokerSeam) {
    let unknown: LaneName = "nowhere".parse().expect("a valid name");
    let outcomes = seam.broker.publish(vec![message(instant()), message(unknown.clone()), message(long())]).await;
    assert_eq!(outcomes, [Published::Confirmed, Published::Refused, Published::Confirmed], "one outcome for each, in order");
    assert!(matches!(seam.broker.subscribe(&unknown, 1).await.err(), Some(Error::UnknownLane(lane)) if lane == unknown));
    assert!(matches!(seam.broker.ready_count(&unknown).await, Err(Error::UnknownLane(lane)) if lane == unknown));
}

pub async fn an_acknowledged_message_never_comes_again(seam: &BrokerSeam) {
    publish(seam, 1).await;
    let mut first = subscribe(seam, 1).await;
    next(&mut first).await.ack().await.expect("it is ours");
    nothing_comes(seam, &mut first).await;
    drop(first);
    nothing_comes(seam, &mut subscribe(seam, 1).await).await;
}

pub async fn a_subscription_holds_at_most_its_prefetch(seam: &BrokerSeam) {
    let jobs = publish(seam, 4).await;
    let mut subscription = subscribe(seam, 2).await;
    let (first, second) = (next(&mut subscription).await, next(&mut subscription).await);
    nothing_comes(seam, &mut subscription).await;
    let (third, ()) =
        soon(async { tokio::join!(next(&mut subscription), async { first.ack().await.expect("it is ours") }) }).await;
    assert_eq!(job(&*third), jobs[2], "a settled delivery makes room for a wait that has begun");
    nothing_comes(seam, &mut subscription).await;
    drop((second, third));
}

pub async fn a_message_that_comes_back_is_the_next_one_and_redelivered(seam: &BrokerSeam) {
    let jobs = publish(seam, 3).await;
    let mut subscription = subscribe(seam, 1).await;
    next(&mut subscription).await.give_back().await.expect("it is ours");
    let again = next(&mut subscription).await;
    assert_eq!((job(&*again), again.redelivered()), (jobs[0], true), "given back");
    drop(again);
    let again = next(&mut subscription).await;
    assert_eq!((job(&*again), again.redelivered()), (jobs[0], true), "dropped unsettled");
    again.ack().await.expect("it is ours");
    let second = next(&mut subscription).await;
    assert_eq!((job(&*second), second.redelivered()), (jobs[1], false), "the others are as they were");
}

pub async fn a_subscription_that_goes_away_leaves_its_messages_to_others(seam: &BrokerSeam) {
    let mut jobs = publish(seam, 3).await;
    let mut first = subscribe(seam, 3).await;
    let taken = next(&mut first).await;
    drop(first);
    taken.ack().await.expect("a yielded delivery stays settleable");
    let mut second = subscribe(seam, 3).await;
    let mut got = [job(&*next(&mut second).await), job(&*next(&mut second).await)];
    got.sort_unstable();
    jobs.remove(0);
    jobs.sort_unstable();
    assert_eq!(got[..], jobs);
}

pub async fn a_delivery_outlives_its_subscription(seam: &BrokerSeam) {
    let jobs = publish(seam, 2).await;
    let mut first = subscribe(seam, 2).await;
    let (acked, given_back) = (next(&mut first).await, next(&mut first).await);
    drop(first);
    nothing_comes(seam, &mut subscribe(seam, 2).await).await;
    acked.ack().await.expect("it is ours");
    given_back.give_back().await.expect("it is ours");
    let again = next(&mut subscribe(seam, 2).await).await;
    assert_eq!((job(&*again), again.redelivered()), (jobs[1], true));
}

pub async fn every_message_goes_to_one_of_the_competing_subscriptions(seam: &BrokerSeam) {
    let mut jobs = publish(seam, 6).await;
    let mut subscriptions = [subscribe(seam, 2).await, subscribe(seam, 2).await, subscribe(seam, 2).await];
    let mut deliveries = Vec::new();
    for _ in 0..2 {
        deliveries.extend(join_all(subscriptions.iter_mut().map(next)).await);
    }
    let mut got: Vec<JobId> = deliveries.iter().map(|delivery| job(&**delivery)).collect();
    got.sort_unstable();
    jobs.sort_unstable();
    assert_eq!(got, jobs);
}

pub async fn every_waiting_subscription_is_woken(seam: &BrokerSeam) {
    let mut subscriptions = [subscribe(seam, 1).await, subscribe(seam, 1).await, subscribe(seam, 1).await];
    let waits = join_all(subscriptions.iter_mut().map(next));
    let (deliveries, jobs) = soon(async { tokio::join!(waits, publish(seam, 3)) }).await;
    assert_eq!((deliveries.len(), jobs.len()), (3, 3));
}

pub async fn a_wait_that_is_given_up_takes_nothing(seam: &BrokerSeam) {
    let mut subscription = subscribe(seam, 1).await;
    nothing_comes(seam, &mut subscription).await;
    let jobs = publish(seam, 2).await;
    for expected in jobs {
        let delivery = next(&mut subscription).await;
        assert_eq!((job(&*delivery), delivery.redelivered()), (expected, false));
        delivery.ack().await.expect("it is ours");
    }
}

pub async fn a_message_for_a_wait_that_was_given_up_is_not_lost(seam: &BrokerSeam) {
    let (mut first, mut second) = (subscribe(seam, 1).await, subscribe(seam, 1).await);
    {
        // Both wait; the first one, which was here first, is dropped when the message may be on its way to it.
        let mut given_up = Box::pin(first.next());
        assert!(futures::poll!(&mut given_up).is_pending());
        let mut other = Box::pin(second.next());
        assert!(futures::poll!(&mut other).is_pending());
        publish(seam, 1).await;
        drop(given_up);
        drop(other);
    }
    // Whoever holds it, one of them gets it: a broker that pushes may have given it to either.
    let (delivery, _) = soon(select(first.next(), second.next())).await.factor_first();
    delivery.expect("the subscription goes on").ack().await.expect("it is ours");
}

pub async fn a_broker_that_goes_away_ends_everything(seam: &BrokerSeam) {
    publish(seam, 3).await;
    let mut subscription = subscribe(seam, 3).await;
    let (a, b, c) = (next(&mut subscription).await, next(&mut subscription).await, next(&mut subscription).await);
    (seam.close)();
    assert!(soon(subscription.next()).await.is_none());
    assert!(matches!(a.ack().await, Err(Error::Stale)));
    assert!(matches!(b.give_back().await, Err(Error::Stale)));
    drop(c);
    let outcomes = seam.broker.publish(vec![message(instant())]).await;
    assert!(matches!(outcomes[..], [Published::Unknown | Published::Refused]), "{outcomes:?}");
    assert!(matches!(seam.broker.subscribe(&instant(), 1).await.err(), Some(Error::Unavailable(_))));
}

pub async fn a_wait_ends_with_the_broker(seam: &BrokerSeam) {
    publish(seam, 1).await;
    let (mut idle, mut full) = (seam.broker.subscribe(&long(), 1).await.expect("the lane has a queue"), subscribe(seam, 1).await);
    let held = next(&mut full).await;
    let ended = soon(async { tokio::join!(idle.next(), full.next(), async { (seam.close)() }) }).await;
    assert!(ended.0.is_none() && ended.1.is_none(), "without messages and without room");
    drop(held);
}
