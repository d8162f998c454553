//! Hints from everybody to everybody.

use siding_core::{
    broker::{Heard, Hint, VersionHint},
    id::{EventSeq, JobId},
    limits,
};
use siding_tests::harness::seams::BrokerSeam;

use super::given::soon;

fn hints() -> [Hint; 4] {
    let job = JobId::generate();
    let version = VersionHint { model: "m".parse().expect("a name"), version: "1".parse().expect("a name") };
    [Hint::Event { job, seq: EventSeq(7), terminal: true }, Hint::Cancel { job }, Hint::Due, Hint::Unload(version)]
}

pub async fn every_listener_hears_every_hint_in_order(seam: &BrokerSeam) {
    let mut listeners = [seam.broker.listen(), seam.broker.listen()];
    let hints = hints();
    seam.broker.send(&hints);
    for listener in &mut listeners {
        for hint in hints.clone() {
            assert_eq!(soon(listener.next()).await, Heard::Hint(hint));
        }
    }
}

pub async fn a_listener_hears_nothing_from_before_it_listened(seam: &BrokerSeam) {
    let first = seam.broker.listen();
    seam.broker.send(&hints());
    let mut second = seam.broker.listen();
    seam.broker.send(&[Hint::Due]);
    assert_eq!(soon(second.next()).await, Heard::Hint(Hint::Due));
    drop(first);
}

pub async fn a_slow_listener_is_told_that_it_has_missed_some(seam: &BrokerSeam) {
    let mut slow = seam.broker.listen();
    for _ in 0..=limits::HINTS_BUFFERED_MAX {
        seam.broker.send(&[Hint::Due]);
    }
    assert_eq!(soon(slow.next()).await, Heard::Missed);
    assert_eq!(soon(slow.next()).await, Heard::Hint(Hint::Due), "and then goes on with what is left");
}

pub async fn a_hint_without_listeners_is_no_error(seam: &BrokerSeam) {
    seam.broker.send(&hints());
    drop(seam.broker.listen());
    seam.broker.send(&hints());
    seam.broker.send(&[]);
    let mut listener = seam.broker.listen();
    seam.broker.send(&[Hint::Due]);
    assert_eq!(soon(listener.next()).await, Heard::Hint(Hint::Due));
}

pub async fn a_listener_hears_the_end(seam: &BrokerSeam) {
    let mut before = seam.broker.listen();
    (seam.close)();
    assert_eq!(soon(before.next()).await, Heard::Closed);
    assert_eq!(soon(seam.broker.listen().next()).await, Heard::Closed);
    seam.broker.send(&hints());
}
