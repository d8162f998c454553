//! Dead jobs: listed, run again once, dropped.

use futures::future::join_all;
use siding_core::{
    blob::BlobRef,
    id::JobId,
    job::{Failure, FailureCode, Finish, State},
    store::{Acceptance, DeadFilter, JobRecord, NewJob, Page, Payload, Submitted},
};
use siding_tests::harness::seams::StoreSeam;

use super::given::{Given, SECOND, finish, lane, new_job, text};

/// A job that failed for this reason, as it is stored.
async fn failed_for(seam: &StoreSeam, new: NewJob, code: FailureCode) -> JobRecord {
    let job = seam.accept(new).await.id;
    let work = seam.start(job).await;
    let how = Finish::Failed { failure: Failure::new(code, "it broke"), retry_at: None };
    seam.record_one(finish(&work, how)).await;
    seam.job(job).await
}

async fn dead(seam: &StoreSeam, filter: &DeadFilter) -> Vec<JobId> {
    let listed = seam.store.dead(filter, Page { before: None, limit: 100 }).await.expect("read");
    assert!(listed.iter().all(JobRecord::is_dead), "{listed:?}");
    listed.into_iter().map(|job| job.id).collect()
}

/// A job that runs `first` again.
fn again(first: JobId) -> NewJob {
    NewJob { retry_of: Some(first), ..new_job() }
}

async fn replay(seam: &StoreSeam, jobs: Vec<NewJob>) -> Vec<&'static str> {
    let word = |answer: &Submitted| match answer {
        Submitted::Created(_) => "created",
        Submitted::Existing(_) => "existing",
        Submitted::NotDead => "not dead",
        Submitted::Mismatch(_) | Submitted::Withheld => "something else",
    };
    seam.store.submit_as(jobs, Acceptance::Replays).await.expect("the store takes it").iter().map(word).collect()
}

pub async fn a_failed_job_is_dead_until_it_is_run_again_or_dropped(seam: &StoreSeam) {
    let mut failed = Vec::new();
    for state in State::ALL {
        let job = seam.in_state(state).await;
        failed.extend((state == State::Failed).then_some(job));
    }
    failed.extend([seam.in_state(State::Failed).await, seam.in_state(State::Failed).await]);
    let [stays, retried, dropped] = failed[..] else { panic!("three have failed") };
    let mut listed = dead(seam, &DeadFilter::default()).await;
    listed.sort_unstable();
    failed.sort_unstable();
    assert_eq!(listed, failed);
    seam.accept(again(retried)).await;
    seam.store.drop_dead(&[dropped]).await.expect("drop");
    assert_eq!(dead(seam, &DeadFilter::default()).await, [stays]);
}

pub async fn dead_jobs_are_listed_by_their_failure_and_their_pages_fit_together(seam: &StoreSeam) {
    let mut expected = Vec::new();
    for _ in 0..3 {
        // Three of one moment: pages must not split on the time alone.
        for _ in 0..3 {
            expected.push(failed_for(seam, new_job(), FailureCode::RuntimeError).await);
        }
        seam.pass(SECOND);
    }
    expected.sort_by_key(|job| std::cmp::Reverse((job.finished_at, job.id)));
    for limit in [1, 2, 4, 100] {
        let mut listed: Vec<JobRecord> = Vec::new();
        loop {
            let before = listed.last().map(|job| (job.finished_at.expect("it has ended"), job.id));
            let page = seam.store.dead(&DeadFilter::default(), Page { before, limit }).await.expect("read");
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= limit);
            listed.extend(page);
        }
        assert_eq!(listed, expected, "pages of {limit}");
    }
}

pub async fn dead_jobs_are_listed_as_their_filter_asks(seam: &StoreSeam) {
    let early = failed_for(seam, new_job(), FailureCode::RuntimeError).await.id;
    seam.pass(SECOND);
    let since = seam.now();
    let panicked = failed_for(seam, new_job(), FailureCode::Panicked).await.id;
    let spin = NewJob { model: "spin".parse().expect("a valid name"), lane: lane("long"), ..new_job() };
    let spin = failed_for(seam, spin, FailureCode::RuntimeError).await.id;
    seam.pass(SECOND);
    let until = seam.now();
    let late = failed_for(seam, new_job(), FailureCode::RuntimeError).await.id;
    let all = DeadFilter::default;
    let model = |name: &str| Some(name.parse().expect("a valid name"));
    let rows = [
        (all(), vec![early, panicked, spin, late]),
        (DeadFilter { model: model("spin"), ..all() }, vec![spin]),
        (DeadFilter { model: model("none"), ..all() }, vec![]),
        (DeadFilter { lane: Some(lane("instant")), ..all() }, vec![early, panicked, late]),
        (DeadFilter { code: Some(FailureCode::Panicked), ..all() }, vec![panicked]),
        (DeadFilter { code: Some(FailureCode::RuntimeError), model: model("echo"), ..all() }, vec![early, late]),
        (DeadFilter { failed_since: Some(since), ..all() }, vec![panicked, spin, late]),
        (DeadFilter { failed_until: Some(until), ..all() }, vec![early, panicked, spin]),
        (DeadFilter { failed_since: Some(since), failed_until: Some(until), ..all() }, vec![panicked, spin]),
        (DeadFilter { failed_since: Some(until), failed_until: Some(since), ..all() }, vec![]),
    ];
    for (filter, mut expected) in rows {
        let mut listed = dead(seam, &filter).await;
        listed.sort_unstable();
        expected.sort_unstable();
        assert_eq!(listed, expected, "{filter:?}");
    }
}

pub async fn a_replay_makes_one_job_however_often_it_is_asked_for(seam: &StoreSeam) {
    let (first, twice) = (seam.in_state(State::Failed).await, seam.in_state(State::Failed).await);
    let (running, done) = (seam.in_state(State::Running).await, seam.in_state(State::Succeeded).await);
    let jobs = vec![again(first), again(twice), again(twice), again(running), again(done), again(JobId::generate()), new_job()];
    let answers = replay(seam, jobs.clone()).await;
    assert_eq!(answers, ["created", "created", "not dead", "not dead", "not dead", "not dead", "not dead"]);
    assert_eq!(seam.job(first).await.retried_by, Some(jobs[0].id));
    assert_eq!(seam.job(jobs[0].id).await.retry_of, Some(first));
    assert_eq!(seam.store.get(jobs[2].id).await.expect("read"), None, "nothing is written of what is not replayed");
    assert_eq!(seam.job(done).await.retried_by, None);
    // The same call again, as after a lost answer; then another one.
    assert_eq!(replay(seam, jobs[..2].to_vec()).await, ["existing", "existing"]);
    assert_eq!(replay(seam, vec![again(first)]).await, ["not dead"]);
    // A replay that fails is dead itself.
    let work = seam.start(jobs[0].id).await;
    seam.record_one(finish(&work, super::given::failed(None))).await;
    assert_eq!(replay(seam, vec![again(first), again(jobs[0].id)]).await, ["not dead", "created"]);
}

pub async fn of_replays_at_once_one_makes_the_job(seam: &StoreSeam) {
    let first = seam.in_state(State::Failed).await;
    let replays = join_all((0..8).map(|_| replay(seam, vec![again(first)]))).await;
    assert_eq!(replays.iter().filter(|answers| answers[..] == ["created"]).count(), 1, "{replays:?}");
    assert_eq!(replays.iter().filter(|answers| answers[..] == ["not dead"]).count(), 7, "{replays:?}");
}

pub async fn a_job_that_is_run_again_is_marked_and_otherwise_untouched(seam: &StoreSeam) {
    for state in [State::Succeeded, State::Failed, State::Canceled, State::Expired] {
        let first = seam.in_state(state).await;
        let (before, events, output) = (seam.job(first).await, seam.events_of(first).await.len(), seam.store.output(first).await);
        let by = [again(first), again(first)];
        for new in &by {
            seam.accept(new.clone()).await;
            let expected = JobRecord { retried_by: Some(new.id), ..before.clone() };
            assert_eq!(seam.job(first).await, expected, "the newest one, {state}");
        }
        assert_eq!(seam.events_of(first).await.len(), events, "{state}");
        assert_eq!(seam.store.output(first).await.expect("read"), output.expect("read"), "{state}");
    }
    // What has not ended is not marked, and hinders nobody in the group.
    let running = seam.in_state(State::Running).await;
    assert!(matches!(seam.submit_one(again(running)).await, Submitted::Created(_)));
    assert_eq!(seam.job(running).await.retried_by, None);
}

pub async fn a_drop_lets_a_dead_job_rest_and_nothing_else(seam: &StoreSeam) {
    let (failed, running) = (seam.in_state(State::Failed).await, seam.in_state(State::Running).await);
    let (retried, unknown) = (seam.in_state(State::Failed).await, JobId::generate());
    seam.accept(again(retried)).await;
    seam.pass(SECOND);
    let before = seam.job(failed).await;
    let answers = seam.store.drop_dead(&[running, failed, unknown, failed, retried]).await.expect("drop");
    let found: Vec<_> = answers.iter().map(|answer| answer.as_ref().map(|it| (it.job.id, it.changed))).collect();
    let expected = [Some((running, false)), Some((failed, true)), None, Some((failed, false)), Some((retried, false))];
    assert_eq!(found, expected);
    assert_eq!(seam.job(failed).await, JobRecord { dropped_at: Some(seam.now()), ..before.clone() });
    assert_eq!(seam.events_of(failed).await.len(), before.event_seq.0 as usize, "no event after the terminal one");
    seam.pass(SECOND);
    assert_eq!(seam.store.drop_dead(&[failed]).await.expect("drop")[0].as_ref().map(|it| it.changed), Some(false));
    assert!(seam.store.drop_dead(&[]).await.expect("nothing to do").is_empty());
    assert_eq!(replay(seam, vec![again(failed)]).await, ["not dead"]);
    seam.accept(again(failed)).await;
}

pub async fn jobs_are_read_with_their_inputs_in_order(seam: &StoreSeam) {
    let blob: BlobRef = format!("sha256:{}:70000", "cd".repeat(32)).parse().expect("a valid reference");
    let inputs = [text("{\"a\":1}"), Payload::Blob(blob), text("2")];
    let mut jobs = Vec::new();
    for input in &inputs {
        jobs.push(seam.accept(NewJob { input: input.clone(), ..new_job() }).await);
    }
    let asked = [jobs[2].id, JobId::generate(), jobs[0].id, jobs[1].id, jobs[0].id];
    let found = seam.store.with_inputs(&asked).await.expect("read");
    let one = |index: usize| Some((jobs[index].clone(), inputs[index].clone()));
    assert_eq!(found, [one(2), None, one(0), one(1), one(0)]);
    assert!(seam.store.with_inputs(&[]).await.expect("nothing to do").is_empty());
}
