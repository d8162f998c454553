//! Lanes on the wire: configuration and counts side by side.

use serde::{Deserialize, Serialize};

use crate::{
    id::LaneName,
    lane::{Ack, Lane},
    store::Counts,
};

/// The lanes, shortest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LaneList {
    /// The lanes.
    pub lanes: Vec<LaneView>,
}

/// One lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LaneView {
    /// Its name.
    #[schema(value_type = String)]
    pub name: LaneName,
    /// Longest expected duration that belongs here, in milliseconds; absent for the last lane, which takes the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_ms_max: Option<u64>,
    /// When workers settle its deliveries.
    pub ack: Ack,
    /// How long a claim holds without being extended, in seconds.
    pub lease_secs: u64,
    /// The share of a worker's slots that this lane and all longer ones may hold together.
    pub slot_share_max: f64,
    /// Run timeout of jobs that name none, in milliseconds.
    pub run_timeout_ms: u64,
    /// Longest step of runs whose job names no limit, in milliseconds; absent when steps have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_timeout_ms: Option<u64>,
    /// Start deadline of jobs that name none, in milliseconds after they are due; absent when they wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_deadline_ms: Option<u64>,
    /// Jobs that are queued and due.
    pub queued: u64,
    /// Jobs that are queued for later.
    pub scheduled: u64,
    /// Jobs that are running or being stopped.
    pub running: u64,
    /// How long its oldest queued and due job has been due, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_due_ms: Option<u64>,
}

impl LaneView {
    /// A configured lane with what the store counted in it; a lane that the store does not mention is empty.
    #[must_use]
    pub fn new(lane: &Lane, counts: &[Counts]) -> Self {
        let counted = counts.iter().find(|counts| counts.lane == lane.name);
        Self {
            name: lane.name.clone(),
            expected_ms_max: lane.expected_ms_max,
            ack: lane.ack,
            lease_secs: lane.lease_secs,
            slot_share_max: lane.slot_share_max,
            run_timeout_ms: lane.run_timeout_ms,
            stall_timeout_ms: lane.stall_timeout_ms,
            start_deadline_ms: lane.start_deadline_ms,
            queued: counted.map_or(0, |counts| counts.queued),
            scheduled: counted.map_or(0, |counts| counts.scheduled),
            running: counted.map_or(0, |counts| counts.running),
            oldest_due_ms: counted
                .and_then(|counts| counts.oldest_due_for)
                .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Settings;

    #[test]
    fn a_lane_looks_like_this_for_ever() {
        let lanes = Settings::default().lanes().expect("defaults are valid");
        let counts = Counts {
            lane: "instant".parse().expect("name"),
            queued: 3,
            scheduled: 2,
            running: 1,
            oldest_due_for: Some(Duration::from_millis(40)),
        };
        let text = |lane: &Lane| serde_json::to_string(&LaneView::new(lane, std::slice::from_ref(&counts))).expect("json");
        assert_eq!(
            text(&lanes.as_slice()[0]),
            concat!(
                r#"{"name":"instant","expected_ms_max":1000,"ack":"on_record","lease_secs":15,"slot_share_max":1.0,"#,
                r#""run_timeout_ms":30000,"queued":3,"scheduled":2,"running":1,"oldest_due_ms":40}"#
            )
        );
        assert_eq!(
            text(&lanes.as_slice()[3]),
            concat!(
                r#"{"name":"long","ack":"on_claim","lease_secs":60,"slot_share_max":0.5,"#,
                r#""run_timeout_ms":14400000,"queued":0,"scheduled":0,"running":0}"#
            )
        );
    }
}
