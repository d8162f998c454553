//! Checkpoints: kept under the fence, handed to the next attempt, released when nothing goes on from them, and what they say about a lost worker.

use siding_core::{
    blob::BlobRef,
    id::{Attempt, EventSeq, WorkerId},
    job::{CancelMet, EventKind, FailureCode, RestartReason, State},
    store::{Checkpoint, Claimed, NewJob, Record, RecordChange, Recorded, Skip, Work},
};
use siding_tests::harness::seams::StoreSeam;

use super::given::{Given, LEASE, drained, failed, finish, new_job, record, stopped, succeeded, takeover};

/// The blob of the checkpoint of that number.
fn blob(number: u8) -> BlobRef {
    format!("sha256:{}:{}", format!("{number:02x}").repeat(32), 1_000 + u64::from(number)).parse().expect("a valid reference")
}

fn checkpoint(work: &Work, number: u8) -> Record {
    let change = RecordChange::Checkpoint { blob: blob(number), done: u64::from(number), total: Some(10) };
    record(work, change)
}

fn done(state: State, seq: u32, released: Option<u8>) -> Recorded {
    Recorded::Done { state, seq: EventSeq(seq), released: released.map(blob) }
}

pub async fn the_next_attempt_goes_on_from_the_newest_checkpoint(seam: &StoreSeam) {
    let work = seam.running().await;
    assert_eq!(work.checkpoint, None);
    assert_eq!(seam.record_one(checkpoint(&work, 1)).await, done(State::Running, 3, None));
    assert_eq!(seam.last_data(work.job).await, serde_json::json!({"done": 1, "total": 10, "bytes": 1001}));
    assert_eq!(
        seam.record_one(checkpoint(&work, 2)).await,
        done(State::Running, 4, Some(1)),
        "the older one is of no use any more"
    );
    assert_eq!(seam.record_one(checkpoint(&work, 2)).await, done(State::Running, 5, None), "told twice, it stays");
    seam.record_one(finish(&work, drained())).await;
    let again = seam.start(work.job).await;
    let expected = Checkpoint { blob: blob(2), done: 2, total: Some(10), attempt: Attempt(1), after_seq: EventSeq(5) };
    assert_eq!(again.checkpoint, Some(expected));
    let told = seam.last_data(work.job).await;
    assert_eq!(told["resumes"], serde_json::json!({"done": 2, "total": 10, "after_seq": 5}));
}

pub async fn a_group_that_is_told_twice_releases_nothing_that_is_gone_on_from(seam: &StoreSeam) {
    let work = seam.running().await;
    let group = [checkpoint(&work, 1), checkpoint(&work, 2)];
    for (told, expected) in [
        ("once", [done(State::Running, 3, None), done(State::Running, 4, Some(1))]),
        ("twice", [done(State::Running, 5, None), done(State::Running, 6, Some(1))]),
    ] {
        assert_eq!(seam.store.record(&group).await.expect("recorded"), expected, "{told}");
    }
    let restarted = [record(&work, RecordChange::Restarted { reason: RestartReason::Damaged }), checkpoint(&work, 2)];
    assert_eq!(
        seam.store.record(&restarted).await.expect("recorded"),
        [done(State::Running, 7, None), done(State::Running, 8, None)],
        "it begins anew and saves the same bytes"
    );
}

pub async fn only_the_newest_attempt_may_save_a_state(seam: &StoreSeam) {
    let old = seam.running().await;
    seam.record_one(checkpoint(&old, 1)).await;
    seam.record_one(finish(&old, drained())).await;
    let new = seam.start(old.job).await;
    assert_eq!(seam.record_one(checkpoint(&old, 2)).await, Recorded::Fenced);
    assert_eq!(seam.record_one(record(&old, RecordChange::Restarted { reason: RestartReason::Missing })).await, Recorded::Fenced);
    seam.record_one(finish(&new, drained())).await;
    assert_eq!(seam.start(old.job).await.checkpoint.map(|checkpoint| checkpoint.blob), Some(blob(1)));
}

pub async fn a_restart_takes_the_checkpoint_away_and_says_so(seam: &StoreSeam) {
    let work = seam.running().await;
    seam.record_one(checkpoint(&work, 1)).await;
    seam.record_one(finish(&work, drained())).await;
    let again = seam.start(work.job).await;
    let restarted = record(&again, RecordChange::Restarted { reason: RestartReason::Damaged });
    assert_eq!(seam.record_one(restarted).await, done(State::Running, 6, Some(1)));
    assert_eq!(seam.last_data(work.job).await, serde_json::json!({"reason": "damaged"}));
    seam.record_one(finish(&again, drained())).await;
    assert_eq!(seam.start(work.job).await.checkpoint, None);
}

pub async fn the_end_of_a_job_releases_its_checkpoint(seam: &StoreSeam) {
    let rows = [
        (succeeded(), false, State::Succeeded, Some(1)),
        (failed(None), false, State::Failed, Some(1)),
        (failed(Some(seam.now())), false, State::Queued, None),
        (drained(), false, State::Queued, None),
        (stopped(), true, State::Canceled, Some(1)),
        (drained(), true, State::Canceled, Some(1)),
    ];
    for (how, cancelled, expected, released) in rows {
        let work = seam.running().await;
        seam.record_one(checkpoint(&work, 1)).await;
        if cancelled {
            assert_eq!(seam.cancel_one(work.job).await.released, None, "the run may still go on from it");
        }
        let recorded = seam.record_one(finish(&work, how.clone())).await;
        assert_eq!(recorded, done(expected, if cancelled { 5 } else { 4 }, released), "{how:?}");
    }
    let waiting = seam.running().await;
    seam.record_one(checkpoint(&waiting, 1)).await;
    seam.record_one(finish(&waiting, drained())).await;
    assert_eq!(seam.cancel_one(waiting.job).await.released, Some(blob(1)));
}

pub async fn a_lost_attempt_that_saved_a_state_does_not_count_as_failed(seam: &StoreSeam) {
    let job = seam.accept(NewJob { attempts_max: 2, ..new_job() }).await.id;
    for attempt in 1..=4 {
        let work = seam.start(job).await;
        seam.record_one(checkpoint(&work, attempt)).await;
        seam.pass(LEASE);
        let swept = seam.store.sweep(10).await.expect("sweep");
        assert_eq!((swept[0].state, swept[0].code, &swept[0].released), (State::Queued, Some(FailureCode::WorkerLost), &None));
        assert_eq!(seam.job(job).await.failures, 0, "attempt {attempt} has made progress");
        assert_eq!(seam.last_data(job).await["code"], "worker_lost");
    }
    // From the same checkpoint, twice: nothing new was saved.
    for expected in [State::Queued, State::Failed] {
        let work = seam.start(job).await;
        assert_eq!(work.checkpoint.map(|checkpoint| checkpoint.done), Some(4));
        seam.pass(LEASE);
        let swept = seam.store.sweep(10).await.expect("sweep");
        let released = (expected == State::Failed).then(|| blob(4));
        assert_eq!((swept[0].state, &swept[0].released), (expected, &released));
    }
    assert_eq!(seam.job(job).await.failures, 2);
}

pub async fn a_lost_attempt_that_was_to_stop_is_canceled_whatever_it_saved(seam: &StoreSeam) {
    let work = seam.running().await;
    seam.record_one(checkpoint(&work, 1)).await;
    seam.cancel_one(work.job).await;
    seam.pass(LEASE);
    let swept = seam.store.sweep(10).await.expect("sweep");
    assert_eq!((swept[0].state, &swept[0].released), (State::Canceled, &Some(blob(1))));
    let job = seam.job(work.job).await;
    assert_eq!(job.canceled.map(|canceled| canceled.met), Some(CancelMet::OtherEnd));
    assert_eq!(seam.kinds(work.job).await.last(), Some(&EventKind::Canceled));
}

pub async fn a_claim_that_ends_a_job_releases_its_checkpoint(seam: &StoreSeam) {
    let work = seam.running().await;
    seam.record_one(checkpoint(&work, 1)).await;
    seam.cancel_one(work.job).await;
    let claimed = seam.claim_one(WorkerId::generate(), takeover(work.job)).await;
    let expected = Skip::Ended { state: State::Canceled, seq: EventSeq(5), released: Some(blob(1)) };
    assert_eq!(claimed, Claimed::Skip(expected));
}
