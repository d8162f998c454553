//! Messages that are handed out again and again, and what is set aside.

use siding_core::{
    broker::{DeadLettersFound, Delivery},
    id::JobId,
};
use siding_tests::harness::{eventually, seams::BrokerSeam};

use super::given::{PATIENCE, instant, job, next, nothing_comes, publish, subscribe};

/// More deliveries than any job needs.
const MANY: u32 = 30;
const LETTERS_MAX: usize = 8;

pub async fn a_message_that_is_handed_out_too_often_is_a_dead_letter(seam: &BrokerSeam) {
    let jobs = publish(seam, 1).await;
    let mut subscription = subscribe(seam, 1).await;
    for _ in 0..seam.deliveries_max.unwrap_or(MANY) {
        next(&mut subscription).await.give_back().await.expect("it is ours");
    }
    let Some(_) = seam.deliveries_max else {
        assert_eq!(job(&*next(&mut subscription).await), jobs[0], "a broker that sets nothing aside hands it out for ever");
        assert!(take(seam).await.letters.is_empty());
        return;
    };
    nothing_comes(seam, &mut subscription).await;
    let letter = letter(seam).await;
    assert_eq!((job(&*letter), &letter.envelope().due().lane), (jobs[0], &instant()), "as it was");
    letter.ack().await.expect("it is ours");
}

pub async fn a_dead_letter_is_found_until_it_is_acknowledged(seam: &BrokerSeam) {
    let Some(deliveries_max) = seam.deliveries_max else { return };
    let jobs = publish(seam, 2).await;
    let mut subscription = subscribe(seam, 1).await;
    for _ in 0..2 * deliveries_max {
        next(&mut subscription).await.give_back().await.expect("it is ours");
    }
    let first = letter(seam).await;
    let second = letter(seam).await;
    assert_eq!([job(&*first), job(&*second)], jobs[..], "oldest first");
    drop(first);
    second.give_back().await.expect("it is ours");
    let mut found: Vec<JobId> = Vec::new();
    for letter in [letter(seam).await, letter(seam).await] {
        found.push(job(&*letter));
        letter.ack().await.expect("it is ours");
    }
    found.sort_unstable();
    let mut expected = jobs;
    expected.sort_unstable();
    assert_eq!(found, expected, "dropped or given back, a letter is found again");
    assert!(take(seam).await.letters.is_empty(), "acknowledged, it is gone");
}

pub async fn there_are_no_dead_letters_without_a_reason(seam: &BrokerSeam) {
    publish(seam, 2).await;
    let mut subscription = subscribe(seam, 2).await;
    next(&mut subscription).await.ack().await.expect("it is ours");
    drop(next(&mut subscription).await);
    let found = take(seam).await;
    assert!(found.letters.is_empty() && found.unreadable == 0, "{found:?}");
}

async fn take(seam: &BrokerSeam) -> DeadLettersFound {
    seam.broker.take(LETTERS_MAX).await.expect("the broker is there")
}

/// The oldest dead letter, which must come.
async fn letter(seam: &BrokerSeam) -> Box<dyn Delivery> {
    eventually("a dead letter is found", PATIENCE, async || {
        let found = seam.broker.take(1).await.expect("the broker is there");
        found.letters.into_iter().next().ok_or_else(|| format!("{} unreadable", found.unreadable))
    })
    .await
}
