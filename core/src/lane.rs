//! Lanes: queues for ranges of expected duration, as data. This module decides what a valid set of lanes is. It never decides
//! which lane a job takes (`schedule::route`) or which lane a slot serves next (`schedule::next`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::LaneName;

/// When the worker settles a lane's deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ack {
    /// When the result is committed: a dead worker's jobs come back from the broker at once. For short work.
    OnRecord,
    /// When the claim is committed: the lease replaces the delivery, so no broker timeout governs the job. For long work.
    OnClaim,
}

/// One lane as it is configured (`[[lanes]]`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lane {
    /// Its name, and the last word of its queue's name.
    pub name: LaneName,
    /// Longest expected duration that belongs here, in milliseconds. Only the last lane has none: it takes the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_ms_max: Option<u64>,
    /// When deliveries are settled.
    pub ack: Ack,
    /// How long a claim holds without being extended, in seconds.
    pub lease_secs: u64,
    /// Deliveries that one worker may hold. Ignored on an `on_claim` lane, where one is taken when a slot is free.
    pub prefetch: u16,
    /// The share of a worker's slots that this lane and all longer ones may hold together, above 0 and at most 1. At least
    /// one slot is always allowed.
    pub slot_share_max: f64,
    /// Run timeout for jobs that name none, in milliseconds.
    pub run_timeout_ms: u64,
    /// How long one step of a run may take, for jobs that name no limit, in milliseconds; without it, steps have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_timeout_ms: Option<u64>,
    /// How long after they are due jobs that name no deadline may still be started, in milliseconds; without it, they wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_deadline_ms: Option<u64>,
}

impl Lane {
    /// The lease as a duration.
    #[must_use]
    pub fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_secs)
    }

    /// How many of `slots` this lane and all longer ones may hold together: the share, rounded down, at least 1.
    #[must_use]
    pub fn slots_max(&self, slots: usize) -> usize {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "slots are few and the share is in (0, 1]"
        )]
        let share = (slots as f64 * self.slot_share_max).floor() as usize;
        share.clamp(1, slots.max(1))
    }
}

/// A valid, ordered set of lanes: shortest first, the last one unbounded, names unique.
#[derive(Debug, Clone, PartialEq)]
pub struct Lanes(Vec<Lane>);

/// Why a list of lanes is not a valid set. The text names the lane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("lanes: {0}")]
pub struct InvalidLanes(String);

impl Lanes {
    /// Checks the list.
    ///
    /// # Errors
    /// `InvalidLanes` names the first lane that is wrong and why.
    pub fn new(lanes: Vec<Lane>) -> Result<Self, InvalidLanes> {
        let bad = |text: String| Err(InvalidLanes(text));
        let Some((last, bounded)) = lanes.split_last() else {
            return bad("at least one lane is needed".into());
        };
        if last.expected_ms_max.is_some() {
            return bad(format!("the last lane, {}, must have no expected_ms_max: it takes the rest", last.name));
        }
        let mut floor = 0;
        for lane in bounded {
            match lane.expected_ms_max {
                Some(max) if max > floor => floor = max,
                _ => return bad(format!("{}: expected_ms_max must be set and grow from lane to lane", lane.name)),
            }
        }
        for (i, lane) in lanes.iter().enumerate() {
            if lanes[..i].iter().any(|other| other.name == lane.name) {
                return bad(format!("{}: the name is used twice", lane.name));
            }
            if !(lane.slot_share_max > 0.0 && lane.slot_share_max <= 1.0) {
                return bad(format!("{}: slot_share_max must be above 0 and at most 1", lane.name));
            }
            if lane.lease_secs == 0 || lane.prefetch == 0 || lane.run_timeout_ms == 0 {
                return bad(format!("{}: lease_secs, prefetch and run_timeout_ms must be above 0", lane.name));
            }
            if lane.stall_timeout_ms == Some(0) || lane.start_deadline_ms == Some(0) {
                return bad(format!("{}: stall_timeout_ms and start_deadline_ms must be above 0 where they are set", lane.name));
            }
        }
        Ok(Self(lanes))
    }

    /// The lanes, shortest first.
    #[must_use]
    pub fn as_slice(&self) -> &[Lane] {
        &self.0
    }

    /// The lane of that name.
    #[must_use]
    pub fn get(&self, name: &LaneName) -> Option<&Lane> {
        self.0.iter().find(|lane| &lane.name == name)
    }

    /// The lane of that name, or the longest one: a job whose lane was removed from the configuration still has a home.
    #[must_use]
    pub fn get_or_longest(&self, name: &LaneName) -> &Lane {
        self.get(name).unwrap_or_else(|| self.0.last().expect("a valid set has at least one lane"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(name: &str, max: Option<u64>) -> Lane {
        Lane {
            name: name.parse().expect("valid name"),
            expected_ms_max: max,
            ack: Ack::OnRecord,
            lease_secs: 15,
            prefetch: 8,
            slot_share_max: 1.0,
            run_timeout_ms: 1000,
            stall_timeout_ms: None,
            start_deadline_ms: None,
        }
    }

    #[test]
    fn a_set_of_lanes_is_ordered_bounded_and_complete() {
        let share = |s: f64| Lane { slot_share_max: s, ..lane("a", None) };
        let rows = [
            (vec![], false),
            (vec![lane("a", None)], true),
            (vec![lane("a", Some(10)), lane("b", None)], true),
            (vec![lane("a", Some(10))], false),
            (vec![lane("a", None), lane("b", None)], false),
            (vec![lane("a", Some(10)), lane("b", Some(10)), lane("c", None)], false),
            (vec![lane("a", Some(10)), lane("a", None)], false),
            (vec![share(0.0)], false),
            (vec![share(1.1)], false),
            (vec![share(f64::NAN)], false),
            (vec![Lane { lease_secs: 0, ..lane("a", None) }], false),
            (vec![Lane { stall_timeout_ms: Some(0), ..lane("a", None) }], false),
            (vec![Lane { start_deadline_ms: Some(1), ..lane("a", None) }], true),
        ];
        for (lanes, ok) in rows {
            assert_eq!(Lanes::new(lanes.clone()).is_ok(), ok, "{lanes:?}");
        }
    }

    #[test]
    fn a_share_leaves_at_least_one_slot_and_never_more_than_there_are() {
        let half = Lane { slot_share_max: 0.5, ..lane("a", None) };
        for (slots, expected) in [(1, 1), (2, 1), (3, 1), (4, 2), (8, 4)] {
            assert_eq!(half.slots_max(slots), expected);
        }
        assert_eq!(lane("a", None).slots_max(2), 2);
    }
}
