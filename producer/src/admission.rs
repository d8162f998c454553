//! Admission: the pure part of accepting a job. It decides which fields are in range, what makes two submissions the same, and how a
//! checked submission becomes a row. It does no I/O and reads no clock.

use std::time::Duration;

use sha2::{Digest, Sha256};
use siding_core::{
    clock::Timestamp,
    estimate::estimate,
    id::JobId,
    lane::Lanes,
    limits,
    model::manifest::Manifest,
    schedule::route::route,
    store::{JobRecord, NewJob, Payload, Start},
    tensor::InputProblem,
};

use crate::submit::Submission;

/// What is wrong with the numbers and times of a submission at `now`; empty when nothing is. Pointers are into the request body. A
/// start that has passed is none: the repeat of a submission whose answer was lost may come late.
#[must_use]
pub fn problems(submission: &Submission, now: Timestamp) -> Vec<InputProblem> {
    let horizon = |value: Option<u64>, pointer: &'static str, least: u64| {
        let ok = value.is_none_or(|ms| (least..=limits::HORIZON_MS_MAX).contains(&ms));
        (!ok).then(|| InputProblem {
            pointer: pointer.into(),
            detail: format!("must be from {least} to {} milliseconds (30 days)", limits::HORIZON_MS_MAX),
        })
    };
    let latest = now.plus(Duration::from_millis(limits::HORIZON_MS_MAX));
    let start = match submission.start_at {
        Some(_) if submission.delay_ms.is_some() => Some("cannot stand beside delay_ms: give one of both"),
        Some(at) if at > latest => Some("must lie at most 30 days ahead"),
        _ => None,
    };
    let attempts = submission.attempts_max.is_some_and(|max| max == 0 || max > limits::ATTEMPTS_MAX);
    [
        horizon(submission.expected_ms, "/expected_ms", 0),
        horizon(submission.delay_ms, "/delay_ms", 0),
        horizon(submission.start_deadline_ms, "/start_deadline_ms", 1),
        horizon(submission.run_timeout_ms, "/run_timeout_ms", 1),
        horizon(submission.stall_timeout_ms, "/stall_timeout_ms", 1),
        start.map(|detail| InputProblem { pointer: "/start_at".into(), detail: detail.into() }),
        attempts.then(|| InputProblem {
            pointer: "/attempts_max".into(),
            detail: format!("must be from 1 to {}", limits::ATTEMPTS_MAX),
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// SHA-256 over everything that the caller asked for, as it was asked. Two submissions under one key are the same request exactly
/// when this is equal; another spelling of the same JSON counts as another request.
#[must_use]
pub fn fingerprint(submission: &Submission) -> [u8; 32] {
    let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let parts = [
        submission.model.as_str(),
        submission.version.as_ref().map_or("-", |version| version.as_str()),
        &number(submission.expected_ms),
        &number(submission.delay_ms),
        &number(submission.start_deadline_ms),
        &number(submission.run_timeout_ms),
        &number(submission.attempts_max.map(u64::from)),
        &submission.input,
    ];
    // Only where it is given: the fingerprints of jobs that were stored before there was this field stay what they are.
    let start_at = submission.start_at.map(|at| at.to_string());
    let stall_timeout = submission.stall_timeout_ms.map(|ms| format!("stall_timeout_ms={ms}"));
    let mut hash = Sha256::new();
    for part in parts.into_iter().chain(start_at.as_deref()).chain(stall_timeout.as_deref()) {
        // The length before each part keeps two different splits of the same bytes apart.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

/// What `new_job` needs beyond the submission.
pub struct Checked<'a> {
    /// The resolved model's manifest.
    pub manifest: &'a Manifest,
    /// The input's size, as `check_input` returned it.
    pub size: f64,
    /// The submission's fingerprint.
    pub fingerprint: [u8; 32],
    /// The input where it is stored.
    pub input: Payload,
    /// The lanes to route to.
    pub lanes: &'a Lanes,
    /// Failed attempts allowed when the caller names no limit.
    pub attempts_max: u32,
}

/// The row of a checked submission: estimated and routed.
#[must_use]
pub fn new_job(submission: &Submission, checked: Checked<'_>) -> NewJob {
    let estimate = estimate(submission.expected_ms, &checked.manifest.cost, checked.size);
    let lane = route(&estimate, checked.lanes);
    NewJob {
        id: submission.id.unwrap_or_else(JobId::generate),
        model: checked.manifest.name.clone(),
        version: checked.manifest.version.clone(),
        input: checked.input,
        idempotency_key: submission.idempotency_key.clone(),
        fingerprint: checked.fingerprint,
        lane: lane.name.clone(),
        estimate,
        attempts_max: submission.attempts_max.unwrap_or(checked.attempts_max),
        start: match submission.start_at {
            Some(at) => Start::At(at),
            None => Start::In(Duration::from_millis(submission.delay_ms.unwrap_or(0))),
        },
        start_deadline: submission.start_deadline_ms.or(lane.start_deadline_ms).map(Duration::from_millis),
        run_timeout: Duration::from_millis(submission.run_timeout_ms.unwrap_or(lane.run_timeout_ms)),
        stall_timeout: submission.stall_timeout_ms.or(lane.stall_timeout_ms).map(Duration::from_millis),
        retry_of: None,
        traceparent: submission.traceparent.clone(),
    }
}

/// The row of a job that runs `first` again on the same input. Routed anew: the first job's lane may be gone.
#[must_use]
pub fn again(first: &JobRecord, input: Payload, lanes: &Lanes) -> NewJob {
    let lane = route(&first.estimate, lanes);
    NewJob {
        id: JobId::generate(),
        model: first.model.clone(),
        version: first.version.clone(),
        input,
        idempotency_key: None,
        fingerprint: [0; 32],
        lane: lane.name.clone(),
        estimate: first.estimate,
        attempts_max: first.attempts_max,
        start: Start::In(Duration::ZERO),
        // Not the first one's, which counted from its own due time; the lane's, as for a job that names none.
        start_deadline: lane.start_deadline_ms.map(Duration::from_millis),
        run_timeout: first.run_timeout,
        stall_timeout: first.stall_timeout,
        retry_of: Some(first.id),
        traceparent: first.traceparent.clone(),
    }
}

#[cfg(test)]
mod tests {
    use siding_core::blob::hex;

    use super::*;

    fn submission() -> Submission {
        Submission {
            id: None,
            idempotency_key: None,
            model: "m".parse().expect("name"),
            version: None,
            input: "{}".into(),
            expected_ms: None,
            delay_ms: None,
            start_at: None,
            start_deadline_ms: None,
            run_timeout_ms: None,
            stall_timeout_ms: None,
            attempts_max: None,
            traceparent: None,
        }
    }

    #[test]
    fn a_number_out_of_range_is_named_by_its_pointer() {
        let over = Some(limits::HORIZON_MS_MAX + 1);
        let now = Timestamp(1_000_000);
        let ahead = |ms: u64| Some(now.plus(Duration::from_millis(ms)));
        let rows = [
            (submission(), None),
            (Submission { expected_ms: Some(0), ..submission() }, None),
            (Submission { expected_ms: over, ..submission() }, Some("/expected_ms")),
            (Submission { delay_ms: over, ..submission() }, Some("/delay_ms")),
            (Submission { start_at: ahead(limits::HORIZON_MS_MAX), ..submission() }, None),
            (Submission { start_at: ahead(limits::HORIZON_MS_MAX + 1), ..submission() }, Some("/start_at")),
            (Submission { start_at: Some(Timestamp(0)), ..submission() }, None),
            (Submission { start_at: ahead(1), delay_ms: Some(0), ..submission() }, Some("/start_at")),
            (Submission { start_deadline_ms: Some(0), ..submission() }, Some("/start_deadline_ms")),
            (Submission { run_timeout_ms: Some(0), ..submission() }, Some("/run_timeout_ms")),
            (Submission { stall_timeout_ms: Some(0), ..submission() }, Some("/stall_timeout_ms")),
            (Submission { attempts_max: Some(0), ..submission() }, Some("/attempts_max")),
            (Submission { attempts_max: Some(101), ..submission() }, Some("/attempts_max")),
        ];
        for (submission, expected) in rows {
            let found = problems(&submission, now);
            assert_eq!(found.first().map(|problem| problem.pointer.as_str()), expected, "{submission:?}");
        }
    }

    #[test]
    fn times_that_are_not_named_are_the_lanes() {
        let mut lane = siding_core::config::Settings::default().lanes.remove(3);
        (lane.run_timeout_ms, lane.stall_timeout_ms, lane.start_deadline_ms) = (1_000, Some(200), Some(300));
        let lanes = Lanes::new(vec![lane]).expect("one lane takes everything");
        let text = "name = \"m\"\nversion = \"1\"\ndescription = \"d\"\nlicense = \"l\"\nsource = \"s\"\nrunner = \"scripted\"\n[cost]\nbase_ms = 0.0\n";
        let manifest = Manifest::parse(text).expect("a valid manifest");
        let own = Submission { run_timeout_ms: Some(1), stall_timeout_ms: Some(2), start_deadline_ms: Some(3), ..submission() };
        let ms = Duration::from_millis;
        for (submission, run, stall, start) in [(submission(), 1_000, 200, 300), (own, 1, 2, 3)] {
            let input = Payload::Inline("{}".into());
            let checked = Checked { manifest: &manifest, size: 0.0, fingerprint: [0; 32], input, lanes: &lanes, attempts_max: 3 };
            let job = new_job(&submission, checked);
            let found = (job.run_timeout, job.stall_timeout, job.start_deadline);
            assert_eq!(found, (ms(run), Some(ms(stall)), Some(ms(start))), "{submission:?}");
        }
    }

    #[test]
    fn a_fingerprint_tells_every_field_apart_and_ignores_the_way_of_submission() {
        let base = fingerprint(&submission());
        // It is stored with every job: what it is made of stays as it is.
        assert_eq!(hex(&base), "87c2cb403e918290abbb0bec3c51ec7cb17229048bfaea3c7a8b86e285ce15ed");
        let others = [
            Submission { version: Some("1".parse().expect("name")), ..submission() },
            Submission { input: "{ }".into(), ..submission() },
            Submission { expected_ms: Some(1), ..submission() },
            Submission { delay_ms: Some(1), ..submission() },
            Submission { start_at: Some(Timestamp(1)), ..submission() },
            Submission { start_deadline_ms: Some(1), ..submission() },
            Submission { run_timeout_ms: Some(1), ..submission() },
            Submission { stall_timeout_ms: Some(1), ..submission() },
            Submission { attempts_max: Some(1), ..submission() },
        ];
        for other in others {
            assert_ne!(fingerprint(&other), base, "{other:?}");
        }
        let same = Submission {
            id: Some(JobId::generate()),
            idempotency_key: "k".parse().ok(),
            traceparent: Some("t".into()),
            ..submission()
        };
        assert_eq!(fingerprint(&same), base);
    }
}
