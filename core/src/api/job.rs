//! Jobs and events on the wire.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    clock::Timestamp,
    estimate::Estimate,
    id::{Attempt, EventSeq, JobId, LaneName, ModelName, ModelVersion},
    job::{CancelMet, Event, EventKind, Failure, State},
    store::JobRecord,
};

/// A job as callers see it. Times are milliseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JobView {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub id: JobId,
    /// Where it stands.
    pub state: State,
    /// Present, and true, while it is queued for a time that has not come: a delayed or scheduled start, or another attempt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scheduled: bool,
    /// What runs.
    #[schema(value_type = String)]
    pub model: ModelName,
    /// Which version.
    #[schema(value_type = String)]
    pub version: ModelVersion,
    /// The lane that it waits or has waited in.
    #[schema(value_type = String)]
    pub lane: LaneName,
    /// How long one run is expected to take, and where that belief comes from: why this lane.
    pub estimate: Estimate,
    /// Its newest attempt; 0 before the first.
    #[schema(value_type = u32)]
    pub attempt: Attempt,
    /// How many attempts have failed.
    pub failures: u32,
    /// How many may.
    pub attempts_max: u32,
    /// When it was accepted.
    #[schema(value_type = i64)]
    pub created_at_ms: Timestamp,
    /// Since when, or from when, it may run.
    #[schema(value_type = i64)]
    pub due_at_ms: Timestamp,
    /// When its newest attempt started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub started_at_ms: Option<Timestamp>,
    /// When it ended; present exactly when `state` is terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub finished_at_ms: Option<Timestamp>,
    /// Until when it must have started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub start_deadline_at_ms: Option<Timestamp>,
    /// How long one attempt may run, in milliseconds.
    pub run_timeout_ms: u64,
    /// How long one step of it may take, in milliseconds; absent when steps have no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_timeout_ms: Option<u64>,
    /// Queued jobs of the same lane that are due before it. Only for one queued job, not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// Why it failed; present exactly when `state` is `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What its cancel met; present when `state` is `canceled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<CancelView>,
    /// The model's answer, when `state` is `succeeded`; not in lists, and not when it is larger than 256 KiB: see `output_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub output: Option<Box<RawValue>>,
    /// How large the output is, in bytes of JSON text, when it is too large to stand here: `urls.result` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// The job that this one runs again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    pub retry_of: Option<JobId>,
    /// The newest job that runs this one again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    pub retried_by: Option<JobId>,
    /// When somebody who looked at its failure let it rest: it is not dead any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub dropped_at_ms: Option<Timestamp>,
    /// Its newest event: the cursor from which `urls.events` tells only what is new.
    #[schema(value_type = u32)]
    pub event_seq: EventSeq,
    /// Where to go on.
    pub urls: Urls,
}

/// What a cancel met, as callers see it. The computation had stopped at the job's `finished_at_ms` at the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CancelView {
    /// Where it met the job.
    pub met: CancelMet,
    /// How much was computed after it was asked for, at most, in milliseconds.
    pub spent_ms: u64,
}

/// A job's resources, relative to the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Urls {
    /// The job (GET).
    #[serde(rename = "self")]
    pub own: String,
    /// Its event stream (GET).
    pub events: String,
    /// Its output alone (GET).
    pub result: String,
    /// Ask for its end (POST).
    pub cancel: String,
}

/// One page of a list of jobs, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JobList {
    /// The jobs, without positions and outputs.
    pub jobs: Vec<JobView>,
    /// The `cursor` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// One event as callers see it; also the `data:` of a stream's event.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EventView {
    /// Its number within the job, from 1, without gaps; also the stream's `id:`.
    #[schema(value_type = u32)]
    pub seq: EventSeq,
    /// What it tells; also the stream's `event:`.
    pub kind: EventKind,
    /// When it was committed, in milliseconds since the Unix epoch.
    #[schema(value_type = i64)]
    pub at_ms: Timestamp,
    /// The attempt it belongs to; 0 before the first.
    #[schema(value_type = u32)]
    pub attempt: Attempt,
    /// Details; which keys, says the kind.
    #[schema(value_type = Object)]
    pub data: Box<RawValue>,
}

/// Events of one job, in order.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EventList {
    /// The events after the cursor; empty when there are none yet. At most one page: ask again from the last `seq`.
    pub events: Vec<EventView>,
}

impl JobView {
    /// The view of a stored job as it stands at `now`, without its position and output.
    #[must_use]
    pub fn new(job: JobRecord, now: Timestamp) -> Self {
        Self {
            id: job.id,
            state: job.state,
            scheduled: job.state == State::Queued && job.due_at > now,
            model: job.model,
            version: job.version,
            lane: job.lane,
            estimate: job.estimate,
            attempt: job.attempt,
            failures: job.failures,
            attempts_max: job.attempts_max,
            created_at_ms: job.created_at,
            due_at_ms: job.due_at,
            started_at_ms: job.started_at,
            finished_at_ms: job.finished_at,
            start_deadline_at_ms: job.start_deadline_at,
            run_timeout_ms: ms(job.run_timeout),
            stall_timeout_ms: job.stall_timeout.map(ms),
            position: None,
            failure: job.failure,
            cancel: job.canceled.map(|canceled| CancelView { met: canceled.met, spent_ms: ms(canceled.spent) }),
            output: None,
            output_bytes: None,
            retry_of: job.retry_of,
            retried_by: job.retried_by,
            dropped_at_ms: job.dropped_at,
            event_seq: job.event_seq,
            urls: Urls::of(job.id),
        }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Urls {
    /// The resources of a job.
    #[must_use]
    pub fn of(job: JobId) -> Self {
        let own = format!("/v1/jobs/{job}");
        let below = |name| format!("{own}/{name}");
        Self { events: below("events"), result: below("result"), cancel: below("cancel"), own }
    }
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        Self { seq: event.seq, kind: event.kind, at_ms: event.at, attempt: event.attempt, data: event.data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        estimate::Source,
        job::{Canceled, FailureCode},
    };

    fn record() -> JobRecord {
        JobRecord {
            id: "0190b7c0-0000-7000-8000-000000000001".parse().expect("uuid"),
            model: "spin".parse().expect("name"),
            version: "1".parse().expect("name"),
            lane: "instant".parse().expect("name"),
            estimate: Estimate { p50_ms: 200.0, p90_ms: 300.0, source: Source::Hint },
            state: State::Queued,
            attempt: Attempt(0),
            failures: 0,
            attempts_max: 3,
            created_at: Timestamp(1000),
            due_at: Timestamp(1000),
            start_deadline_at: None,
            run_timeout: Duration::from_secs(30),
            stall_timeout: None,
            started_at: None,
            finished_at: None,
            worker: None,
            failure: None,
            canceled: None,
            has_output: false,
            event_seq: EventSeq(1),
            retry_of: None,
            retried_by: None,
            dropped_at: None,
            traceparent: None,
        }
    }

    fn check(view: &JobView, expected: &str) {
        let text = serde_json::to_string(view).expect("json");
        assert_eq!(text, expected);
        let back: JobView = serde_json::from_str(&text).expect("clients read what we write");
        assert_eq!(serde_json::to_string(&back).expect("json"), expected);
    }

    const URLS: &str = concat!(
        r#""urls":{"self":"/v1/jobs/0190b7c0-0000-7000-8000-000000000001","#,
        r#""events":"/v1/jobs/0190b7c0-0000-7000-8000-000000000001/events","#,
        r#""result":"/v1/jobs/0190b7c0-0000-7000-8000-000000000001/result","#,
        r#""cancel":"/v1/jobs/0190b7c0-0000-7000-8000-000000000001/cancel"}}"#
    );

    #[test]
    fn a_queued_job_looks_like_this_for_ever() {
        let head = concat!(
            r#"{"id":"0190b7c0-0000-7000-8000-000000000001","state":"queued","model":"spin","version":"1","lane":"instant","#,
            r#""estimate":{"p50_ms":200.0,"p90_ms":300.0,"source":"hint"},"attempt":0,"failures":0,"attempts_max":3,"#,
            r#""created_at_ms":1000,"due_at_ms":1000,"run_timeout_ms":30000,"position":7,"event_seq":1,"#
        );
        let mut view = JobView::new(record(), Timestamp(1000));
        view.position = Some(7);
        check(&view, &format!("{head}{URLS}"));
    }

    #[test]
    fn a_job_is_scheduled_exactly_while_it_waits_for_its_time() {
        let rows = [
            (State::Queued, 999, true),
            (State::Queued, 1000, false),
            (State::Canceled, 999, false),
            (State::Running, 999, false),
        ];
        for (state, now, expected) in rows {
            let view = JobView::new(JobRecord { state, ..record() }, Timestamp(now));
            assert_eq!(view.scheduled, expected, "{state} at {now}");
            let text = serde_json::to_string(&view).expect("json");
            assert_eq!(text.contains(r#""state":"queued","scheduled":true,"model""#), expected, "{text}");
        }
    }

    #[test]
    fn a_finished_job_looks_like_this_for_ever() {
        let mut job = record();
        job.state = State::Failed;
        (job.attempt, job.failures, job.event_seq) = (Attempt(3), 3, EventSeq(7));
        (job.started_at, job.finished_at, job.start_deadline_at) =
            (Some(Timestamp(2000)), Some(Timestamp(3000)), Some(Timestamp(9000)));
        job.failure = Some(Failure::new(FailureCode::RuntimeError, "it broke"));
        job.retry_of = Some("0190b7c0-0000-7000-8000-000000000000".parse().expect("uuid"));
        let output = RawValue::from_string(r#"{"y":1}"#.into()).expect("json");
        let head = concat!(
            r#"{"id":"0190b7c0-0000-7000-8000-000000000001","state":"failed","model":"spin","version":"1","lane":"instant","#,
            r#""estimate":{"p50_ms":200.0,"p90_ms":300.0,"source":"hint"},"attempt":3,"failures":3,"attempts_max":3,"#,
            r#""created_at_ms":1000,"due_at_ms":1000,"started_at_ms":2000,"finished_at_ms":3000,"start_deadline_at_ms":9000,"#,
            r#""run_timeout_ms":30000,"failure":{"code":"runtime_error","message":"it broke"},"output":{"y":1},"#,
            r#""retry_of":"0190b7c0-0000-7000-8000-000000000000","event_seq":7,"#
        );
        let mut view = JobView::new(job, Timestamp(3000));
        view.output = Some(output);
        check(&view, &format!("{head}{URLS}"));
    }

    #[test]
    fn a_canceled_job_tells_what_its_cancel_met() {
        let canceled = Some(Canceled { met: CancelMet::BetweenSteps, spent: Duration::from_millis(7) });
        let stall_timeout = Some(Duration::from_secs(2));
        let job = JobRecord { state: State::Canceled, canceled, stall_timeout, finished_at: Some(Timestamp(3000)), ..record() };
        let head = concat!(
            r#"{"id":"0190b7c0-0000-7000-8000-000000000001","state":"canceled","model":"spin","version":"1","lane":"instant","#,
            r#""estimate":{"p50_ms":200.0,"p90_ms":300.0,"source":"hint"},"attempt":0,"failures":0,"attempts_max":3,"#,
            r#""created_at_ms":1000,"due_at_ms":1000,"finished_at_ms":3000,"run_timeout_ms":30000,"stall_timeout_ms":2000,"#,
            r#""cancel":{"met":"between_steps","spent_ms":7},"event_seq":1,"#
        );
        check(&JobView::new(job, Timestamp(3000)), &format!("{head}{URLS}"));
    }

    #[test]
    fn an_event_looks_like_this_for_ever() {
        let event = Event {
            job: record().id,
            seq: EventSeq(2),
            kind: EventKind::Started,
            at: Timestamp(2000),
            attempt: Attempt(1),
            data: RawValue::from_string(r#"{"waited_ms":3}"#.into()).expect("json"),
        };
        assert_eq!(
            serde_json::to_string(&EventView::from(event)).expect("json"),
            r#"{"seq":2,"kind":"started","at_ms":2000,"attempt":1,"data":{"waited_ms":3}}"#
        );
    }
}
