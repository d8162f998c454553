//! Lanes: where a job goes and why, and that one long job never blocks a short one on the one worker.

use std::time::Duration;

use serde_json::json;
use siding_client::Submission;
use siding_core::job::State;
use siding_tests::harness::{Options, Profile, TestSystem, eventually, system::stored_id};

async fn a_hint_decides_the_lane_and_without_one_the_manifest_does(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let noop = |model: &str| Submission::new(model, &json!({"op": "noop"})).expect("json");
    let rows = [
        (noop("scripted"), "instant"),
        (noop("scripted-short"), "short"),
        (noop("scripted-long"), "long"),
        (noop("scripted").expecting(Duration::from_secs(60)), "medium"),
        (noop("scripted-long").expecting(Duration::from_millis(5)), "instant"),
        (Submission::new("scripted", &json!({"op": "delay", "ms": 1})).expect("json"), "instant"),
    ];
    for (submission, lane) in rows {
        let job = system.client.submit(&submission).await.expect("accepted");
        assert_eq!(job.lane, lane, "{submission:?}");
        system.ended(stored_id(job.id)).await;
    }
    system.finish().await;
}

async fn short_jobs_do_not_wait_for_long_ones(profile: Profile) {
    let system = TestSystem::on(profile).await;
    // More long jobs than slots: the share leaves one slot to the short lanes.
    let mut long = Vec::new();
    for _ in 0..3 {
        long.push(system.submit("scripted-long", json!({"op": "delay", "ms": 60_000, "steps": 6_000})).await);
    }
    system.in_state(long[0], State::Running).await;
    for _ in 0..50 {
        let short = system.submit("scripted", json!({"op": "delay", "ms": 2})).await;
        let ended = system.ended(short).await;
        let waited = ended.started_at.expect("it has started").since(ended.due_at);
        // Far below the minute that a long job takes, far above what a busy machine adds.
        assert!(waited < Duration::from_secs(3), "a short job waited {waited:?} behind long ones");
    }
    let running = system.seams.jobs.counts().await.expect("counts");
    let long_running: u64 = running.iter().filter(|counts| counts.lane.as_str() == "long").map(|counts| counts.running).sum();
    assert_eq!(long_running, 1, "the long lane holds no more than its share of two slots");
    for job in long {
        system.client.cancel(job.to_string().parse().expect("an id")).await.expect("accepted");
    }
    system.finish().await;
}

async fn long_jobs_with_large_inputs_hold_no_more_than_their_share(profile: Profile) {
    let system = TestSystem::on(profile).await;
    // Above what travels inline: each input is a blob, to be read after the claim.
    let pad = "x".repeat(1_000_000);
    let mut long = Vec::new();
    for _ in 0..4 {
        long.push(system.submit("scripted-long", json!({"op": "delay", "ms": 60_000, "steps": 6_000, "pad": pad})).await);
    }
    eventually("a long job makes progress", TestSystem::patience(), || async {
        for job in &long {
            if system.event_kinds(*job).await.contains(&"progress") {
                return Ok(());
            }
        }
        Err("none has begun".to_owned())
    })
    .await;
    let short = system.submit("scripted", json!({"op": "delay", "ms": 2})).await;
    system.ended(short).await;
    let mut started = 0;
    for job in &long {
        started += usize::from(system.event_kinds(*job).await.contains(&"started"));
    }
    assert_eq!(started, 1, "the long lane holds no more than its share of two slots");
    // Only now: a cancelled job makes room for the next one.
    for job in long {
        system.client.cancel(job.to_string().parse().expect("an id")).await.expect("accepted");
    }
    system.finish().await;
}

async fn long_work_starts_although_short_work_never_runs_out(profile: Profile) {
    let mut options = Options::on(profile);
    // So that a job of 200 ms is taken as long work is: one at a time, acknowledged on its claim.
    for (lane, ms) in options.settings.lanes.iter_mut().zip([50, 100, 300]) {
        lane.expected_ms_max = Some(ms);
    }
    let system = TestSystem::start_with(options).await;
    let expecting = |ms: u64| {
        let submission = Submission::new("scripted", &json!({"op": "delay", "ms": ms})).expect("json");
        submission.expecting(Duration::from_millis(ms))
    };
    let top_up = || async {
        let counts = system.seams.jobs.counts().await.expect("counts");
        let waiting: u64 = counts.iter().filter(|counts| counts.lane.as_str() == "instant").map(|counts| counts.queued).sum();
        for _ in waiting..12 {
            system.submit_as(&expecting(20)).await;
        }
    };
    top_up().await;
    let long = system.submit_as(&expecting(200)).await;
    assert_eq!(system.job(long).await.lane.as_str(), "medium");
    // The policy's bound: a short job waits some 150 ms for its 20, so a job of 200 is chosen after some 1.5 s; the rest is for a busy machine.
    eventually("the long job starts", Duration::from_secs(6), || async {
        top_up().await;
        let record = system.job(long).await;
        if record.started_at.is_some() { Ok(()) } else { Err(format!("{record:?}")) }
    })
    .await;
    system.finish().await;
}

async fn a_job_claimed_ahead_behind_work_that_takes_longer_than_expected_is_handed_back(profile: Profile) {
    let system = TestSystem::on(profile).await;
    // All say that they take no time; two of them hang and hold both slots.
    let lie = |script: serde_json::Value| Submission::new("scripted", &script).expect("json").expecting(Duration::ZERO);
    let mut hanging = Vec::new();
    let mut behind = Vec::new();
    for _ in 0..2 {
        hanging.push(system.submit_as(&lie(json!({"op": "hang"}))).await);
    }
    for _ in 0..4 {
        behind.push(system.submit_as(&lie(json!({"op": "noop"}))).await);
    }
    for job in &hanging {
        system.in_state(*job, State::Running).await;
        system.client.cancel(job.to_string().parse().expect("an id")).await.expect("accepted");
    }
    for job in behind {
        let ended = system.ended(job).await;
        assert_eq!((ended.state, ended.failures), (State::Succeeded, 0));
    }
    system.finish().await;
}

siding_tests::on_every_profile!(
    a_hint_decides_the_lane_and_without_one_the_manifest_does,
    short_jobs_do_not_wait_for_long_ones,
    long_jobs_with_large_inputs_hold_no_more_than_their_share,
    long_work_starts_although_short_work_never_runs_out,
    a_job_claimed_ahead_behind_work_that_takes_longer_than_expected_is_handed_back,
);
