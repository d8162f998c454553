//! The worker dies, its lease is lost, its deliveries are doubled, its jobs kill it.

use std::time::{Duration, Instant};

use serde_json::json;
use siding_client::Submission;
use siding_core::{
    clock::Timestamp,
    envelope::{Due, Envelope},
    id::{Attempt, JobId, MessageId, WorkerId},
    job::{FailureCode, Finish, State},
    store::{Claim, Claimed, Payload, Record, RecordChange, Recorded},
};
use siding_tests::harness::{
    Profile, TestSystem, eventually,
    faults::{Call, Fault},
};

fn submission(script: &serde_json::Value) -> Submission {
    Submission::new("scripted", script).expect("a script is JSON")
}

/// Waits until a job of several steps computes: its claim is answered. A worker that is abandoned before hands the job back, which is no failure.
async fn computes(system: &TestSystem, job: JobId) {
    eventually("it computes", TestSystem::patience(), || async {
        let kinds = system.event_kinds(job).await;
        if kinds.contains(&"progress") { Ok(()) } else { Err(format!("{kinds:?}")) }
    })
    .await;
}

async fn a_short_job_of_a_dead_worker_runs_again_at_once(profile: Profile) {
    let mut system = TestSystem::on(profile).await;
    let job = system.submit("scripted", json!({"op": "delay", "ms": 600, "steps": 60})).await;
    computes(&system, job).await;
    let died = Instant::now();
    system.crash_worker();
    eventually("the job runs again", Duration::from_secs(1), || async {
        let record = system.job(job).await;
        if record.attempt == Attempt(2) { Ok(()) } else { Err(format!("{record:?}")) }
    })
    .await;
    assert!(died.elapsed() < Duration::from_secs(1), "its delivery came back; nobody waited for the lease");
    assert_eq!(system.ended(job).await.state, State::Succeeded);
    let mut kinds = system.event_kinds(job).await;
    kinds.retain(|kind| *kind != "progress");
    assert_eq!(kinds, ["queued", "started", "retrying", "started", "succeeded"]);
    system.finish().await;
}

async fn a_long_job_of_a_dead_worker_runs_again_when_its_lease_is_over(profile: Profile) {
    let mut system = TestSystem::on(profile).await;
    let job = system.submit("scripted-long", json!({"op": "delay", "ms": 500, "steps": 50})).await;
    computes(&system, job).await;
    let died = Instant::now();
    system.crash_worker();
    let lease = Duration::from_secs(system.settings.lanes[3].lease_secs);
    let ended = system.ended(job).await;
    assert_eq!((ended.state, ended.attempt.0, ended.failures), (State::Succeeded, 2, 1));
    assert!(died.elapsed() < lease + Duration::from_secs(3), "{:?}", died.elapsed());
    system.finish().await;
}

async fn a_job_that_kills_every_worker_fails_and_its_neighbours_do_not(profile: Profile) {
    let mut system = TestSystem::on(profile).await;
    let poison = system.submit("scripted", json!({"op": "hang"})).await;
    for attempt in 1..=3 {
        eventually("the poison job runs", TestSystem::patience(), || async {
            let record = system.job(poison).await;
            let running = record.state == State::Running && record.attempt == Attempt(attempt);
            if running { Ok(()) } else { Err(format!("{record:?}")) }
        })
        .await;
        let neighbour = system.submit("scripted", json!({"op": "noop"})).await;
        assert_eq!(system.ended(neighbour).await.state, State::Succeeded);
        system.crash_worker();
    }
    let ended = system.ended(poison).await;
    assert_eq!(ended.failure.expect("it failed").code, FailureCode::WorkerLost);
    assert_eq!(ended.failures, 3, "each death counts once");
    system.finish().await;
}

async fn a_panicking_run_costs_its_job_and_nobody_else(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let panicking = system.submit_as(&submission(&json!({"op": "panic"})).with_attempts_max(2)).await;
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(system.submit("scripted", json!({"op": "delay", "ms": 1})).await);
    }
    for other in others {
        assert_eq!(system.ended(other).await.state, State::Succeeded);
    }
    let ended = system.ended(panicking).await;
    let failure = ended.failure.expect("it failed");
    assert_eq!((failure.code, ended.attempt.0), (FailureCode::Panicked, 2));
    assert_eq!(failure.message, "the run panicked", "what a panic says is for the log");
    system.finish().await;
}

async fn a_doubled_message_runs_its_job_once(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let job = system.submit("scripted", json!({"op": "delay", "ms": 200})).await;
    let record = system.job(job).await;
    let due = Due {
        job,
        attempt: Attempt(0),
        lane: record.lane.clone(),
        model: record.model.clone(),
        version: record.version.clone(),
        due_at_ms: record.due_at,
        expected_ms: 0.0,
        traceparent: None,
        message: None,
    };
    let unknown = Due { job: JobId::generate(), due_at_ms: Timestamp(0), ..due.clone() };
    let copies = vec![Envelope::V1(due.clone()), Envelope::V1(due.clone()), Envelope::V1(due.clone()), Envelope::V1(unknown)];
    system.seams.publisher.publish(copies.clone()).await;
    let ended = system.ended(job).await;
    assert_eq!((ended.state, ended.attempt.0), (State::Succeeded, 1));
    // Once more, after the end: a message for a job that is over, and one for a job that never was.
    system.seams.publisher.publish(copies).await;
    assert_eq!(system.job(job).await.attempt, Attempt(1));
    system.finish().await;
}

async fn a_worker_whose_connection_was_cut_runs_on_and_takes_its_own_messages_back(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let mut jobs = Vec::new();
    for ms in [900, 1_200] {
        let job = system.submit("scripted", json!({"op": "delay", "ms": ms})).await;
        system.in_state(job, State::Running).await;
        jobs.push(job);
    }
    // It waits behind them: in hand, and not claimed.
    let waiting = system.submit("scripted", json!({"op": "noop"})).await;
    for _ in 0..2 {
        system.connections.cut().await;
        eventually("the worker has its messages back", TestSystem::patience(), || async {
            let ready = system.seams.consumer.ready_count(&system.settings.lanes[0].name).await.expect("a lane");
            if ready == 0 { Ok(()) } else { Err(format!("{ready} in the queue")) }
        })
        .await;
    }
    for job in jobs {
        let ended = system.ended(job).await;
        assert_eq!((ended.state, ended.attempt, ended.failures), (State::Succeeded, Attempt(1), 0));
        assert_eq!(system.event_kinds(job).await, ["queued", "started", "succeeded"], "nobody was fenced off");
    }
    assert_eq!(system.ended(waiting).await.attempt, Attempt(1));
    system.finish().await;
}

async fn a_worker_that_cannot_extend_its_lease_stops_the_work_before_the_lease_ends(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let job = system.submit_as(&submission(&json!({"op": "hang"})).with_attempts_max(2)).await;
    system.in_state(job, State::Running).await;
    system.faults.inject(Call::Extend, Fault::Refused, 1_000);
    // The self-fence stops the first attempt; the sweep gives the job its second, which the healed store lets live.
    eventually("the second attempt runs", TestSystem::patience(), || async {
        let record = system.job(job).await;
        if record.attempt == Attempt(2) { Ok(()) } else { Err(format!("{record:?}")) }
    })
    .await;
    system.faults.heal();
    system.client.cancel(job.to_string().parse().expect("an id")).await.expect("accepted");
    assert_eq!(system.ended(job).await.state, State::Canceled);
    system.finish().await;
}

async fn a_store_that_stalls_the_extension_of_leases_delays_no_timeout(profile: Profile) {
    let system = TestSystem::on(profile).await;
    system.faults.inject(Call::Extend, Fault::Stalled, 1_000);
    // The lease of 2 s is extended after 0.5 s, in vain; the timeout comes before the lease is fenced.
    let script = submission(&json!({"op": "hang"})).with_run_timeout(Duration::from_millis(900));
    let job = system.submit_as(&script).await;
    let ended = system.ended(job).await;
    assert_eq!((ended.failure.expect("it failed").code, ended.attempt), (FailureCode::RunTimeout, Attempt(1)));
    system.finish().await;
}

async fn a_late_writer_is_refused_and_its_result_thrown_away(profile: Profile) {
    let mut system = TestSystem::on(profile).await;
    // The system's own worker goes; this test is the worker, twice.
    system.services().take_worker().expect("there is a worker").stop().await.expect("it stops");
    let job = system.submit("scripted", json!({"op": "echo", "value": "queue"})).await;
    let message = Some(MessageId::generate());
    let claim = |takeover| [Claim { job, lease: Duration::from_secs(60), message, takeover }];
    let attempts = system.seams.attempts.clone();
    let run = |claimed: Vec<Claimed>| match claimed.into_iter().next() {
        Some(Claimed::Run(work)) => work,
        other => panic!("not granted: {other:?}"),
    };
    let first = run(attempts.claim(WorkerId::generate(), &claim(false)).await.expect("the store answers"));
    let second = run(attempts.claim(WorkerId::generate(), &claim(true)).await.expect("the store answers"));
    let finish = |attempt, output: &str| {
        let finish = Finish::Succeeded { output: Payload::Inline(output.into()) };
        [Record { job, attempt, change: RecordChange::Finish { finish, run: Duration::ZERO } }]
    };
    let late = attempts.record(&finish(first.attempt, "\"late\"")).await.expect("the store answers");
    assert_eq!(late, [Recorded::Fenced]);
    let done = attempts.record(&finish(second.attempt, "\"newest\"")).await.expect("the store answers");
    assert!(matches!(done[..], [Recorded::Done { state: State::Succeeded, .. }]), "{done:?}");
    let again = attempts.record(&finish(second.attempt, "\"again\"")).await.expect("the store answers");
    assert_eq!(again, [Recorded::Fenced]);
    assert_eq!(system.seams.jobs.output(job).await.expect("readable"), Some(Payload::Inline("\"newest\"".into())));
    system.start_worker();
    system.finish().await;
}

siding_tests::on_every_profile!(
    a_worker_whose_connection_was_cut_runs_on_and_takes_its_own_messages_back,
    a_short_job_of_a_dead_worker_runs_again_at_once,
    a_long_job_of_a_dead_worker_runs_again_when_its_lease_is_over,
    a_job_that_kills_every_worker_fails_and_its_neighbours_do_not,
    a_panicking_run_costs_its_job_and_nobody_else,
    a_doubled_message_runs_its_job_once,
    a_worker_that_cannot_extend_its_lease_stops_the_work_before_the_lease_ends,
    a_store_that_stalls_the_extension_of_leases_delays_no_timeout,
    a_late_writer_is_refused_and_its_result_thrown_away,
);
