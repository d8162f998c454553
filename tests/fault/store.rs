//! The store is away for a moment, or its answers are lost: nothing accepted is lost, nothing is recorded twice.

use serde_json::json;
use siding_client::{Batch, Submission};
use siding_core::job::State;
use siding_tests::harness::{
    Profile, TestSystem,
    faults::{Call, Fault},
    invariants,
    system::stored_id,
};

async fn a_hundred_jobs_survive(profile: Profile, call: Call, fault: Fault, times: u32) {
    let system = TestSystem::on(profile).await;
    let mut jobs = Vec::new();
    for round in 0..100 {
        if round == 20 {
            system.faults.inject(call, fault, times);
        }
        jobs.push(system.submit("scripted", json!({"op": "delay", "ms": 1})).await);
    }
    for job in jobs {
        assert_eq!(system.ended(job).await.state, State::Succeeded);
    }
    assert_eq!(system.faults.left(call), 0, "the fault was met");
    system.finish().await;
}

async fn a_refused_submission_is_tried_again_by_the_service(profile: Profile) {
    a_hundred_jobs_survive(profile, Call::Submit, Fault::Refused, 3).await;
}

async fn a_submission_whose_answer_is_lost_is_one_job(profile: Profile) {
    a_hundred_jobs_survive(profile, Call::Submit, Fault::AnswerLost, 2).await;
}

async fn a_batch_whose_answer_is_lost_is_its_jobs_once(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let jobs =
        (0..1000).map(|value| Submission::new("scripted", &json!({"op": "echo", "value": value})).expect("a script is JSON"));
    let batch = Batch::new(jobs).expect("JSON");
    system.faults.inject(Call::Submit, Fault::AnswerLost, 1);
    let outcomes = system.client.submit_all(&batch).await.expect("answered");
    assert_eq!(system.faults.left(Call::Submit), 0, "the fault was met");
    for outcome in outcomes {
        let job = outcome.into_result().expect("accepted");
        assert_eq!(system.ended(stored_id(job.id)).await.state, State::Succeeded);
    }
    assert_eq!(invariants::all_jobs(&*system.seams.jobs).await.len(), 1000);
    system.finish().await;
}

async fn a_thousand_jobs_that_died_are_replayed_once_although_answers_are_lost(profile: Profile) {
    let system = TestSystem::on(profile).await;
    let jobs = (0..1000).map(|key| {
        let script = json!({"op": "fail", "times": 1, "key": format!("dies {key}")});
        Submission::new("scripted", &script).expect("a script is JSON").with_attempts_max(1)
    });
    let outcomes = system.client.submit_all(&Batch::new(jobs).expect("JSON")).await.expect("answered");
    for outcome in outcomes {
        let job = outcome.into_result().expect("accepted");
        assert_eq!(system.ended(stored_id(job.id)).await.state, State::Failed);
    }
    // Each of two operators loses answers on the way; together they ask until none is left.
    system.faults.inject(Call::Submit, Fault::AnswerLost, 3);
    let all = siding_client::Deal::matching(siding_client::DeadFilter::default());
    let operator = async || {
        while system.client.replay_dead(&all).await.map_or(true, |dealt| dealt.more || !dealt.jobs.is_empty()) {}
    };
    tokio::join!(operator(), operator());
    assert_eq!(system.faults.left(Call::Submit), 0, "the faults were met");
    let jobs = invariants::all_jobs(&*system.seams.jobs).await;
    let firsts: std::collections::HashSet<_> = jobs.iter().filter_map(|job| job.retry_of).collect();
    assert_eq!((jobs.len(), firsts.len()), (2000, 1000), "each was run again once");
    for job in jobs.iter().filter(|job| job.retry_of.is_some()) {
        assert_eq!(system.ended(job.id).await.state, State::Succeeded);
    }
    system.finish().await;
}

async fn a_refused_claim_pauses_the_worker_and_loses_nothing(profile: Profile) {
    a_hundred_jobs_survive(profile, Call::Claim, Fault::Refused, 3).await;
}

async fn a_claim_whose_answer_is_lost_is_found_by_the_sweep(profile: Profile) {
    a_hundred_jobs_survive(profile, Call::Claim, Fault::AnswerLost, 1).await;
}

async fn a_refused_record_is_tried_again_until_the_store_takes_it(profile: Profile) {
    a_hundred_jobs_survive(profile, Call::Record, Fault::Refused, 5).await;
}

async fn a_record_whose_answer_is_lost_is_recorded_once(profile: Profile) {
    a_hundred_jobs_survive(profile, Call::Record, Fault::AnswerLost, 2).await;
}

async fn a_store_that_stays_away_refuses_submissions_with_a_time_to_come_back(profile: Profile) {
    let system = TestSystem::on(profile).await;
    system.faults.inject(Call::Submit, Fault::Refused, u32::MAX);
    let answer = reqwest::Client::new()
        .post(format!("{}/v1/jobs", system.url))
        .json(&json!({"model": "scripted", "input": {"op": "noop"}}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status().as_u16(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    let body = answer.text().await.expect("a body");
    assert!(!body.contains("injected"), "causes are for the log: {body}");
    system.finish().await;
}

siding_tests::on_every_profile!(
    a_refused_submission_is_tried_again_by_the_service,
    a_submission_whose_answer_is_lost_is_one_job,
    a_batch_whose_answer_is_lost_is_its_jobs_once,
    a_thousand_jobs_that_died_are_replayed_once_although_answers_are_lost,
    a_refused_claim_pauses_the_worker_and_loses_nothing,
    a_claim_whose_answer_is_lost_is_found_by_the_sweep,
    a_refused_record_is_tried_again_until_the_store_takes_it,
    a_record_whose_answer_is_lost_is_recorded_once,
    a_store_that_stays_away_refuses_submissions_with_a_time_to_come_back,
);
