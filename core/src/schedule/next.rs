//! Which lane a free slot serves next: shortest first with aging, so that nothing starves. The rule is highest response ratio next
//! (Brinch Hansen, 1971): the lane whose oldest job has the largest (waited + service) / service. A short job overtakes
//! quickly; a long one gains with every second it waits. Room limits (`Lane::slots_max`) come first and are absolute.

/// What the policy knows of one lane. Lanes are given in their order, shortest first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LaneView {
    /// How long its oldest job in hand has waited since it was due, in milliseconds; `None` when nothing is in hand.
    pub head_waited_ms: Option<f64>,
    /// How long that job is expected to run, in milliseconds.
    pub head_service_ms: f64,
    /// Jobs of this lane that hold a slot now.
    pub running: usize,
    /// How many slots this lane and all longer ones may hold together.
    pub slots_max: usize,
}

/// Shortest service used in the ratio, in milliseconds: below it every job counts as equally short.
const SERVICE_MS_FLOOR: f64 = 1.0;

/// How many more jobs lane `index` may start: for it and for every shorter lane, the running jobs of that lane and all longer ones
/// must not pass that lane's `slots_max`.
#[must_use]
pub fn room(lanes: &[LaneView], index: usize) -> usize {
    let left = |i: usize| lanes[i].slots_max.saturating_sub(lanes[i..].iter().map(|lane| lane.running).sum());
    (0..=index).map(left).min().unwrap_or(0)
}

/// Whether lane `index` may start one more job.
#[must_use]
pub fn has_room(lanes: &[LaneView], index: usize) -> bool {
    room(lanes, index) > 0
}

/// The index of the lane to serve, or `None` when no lane has both work in hand and room. Ties go to the shorter lane.
#[must_use]
pub fn next(lanes: &[LaneView]) -> Option<usize> {
    let ratio = |index: usize| {
        let waited = lanes[index].head_waited_ms?.max(0.0);
        let service = lanes[index].head_service_ms.max(SERVICE_MS_FLOOR);
        has_room(lanes, index).then_some((waited + service) / service)
    };
    let mut best: Option<(usize, f64)> = None;
    for index in 0..lanes.len() {
        if let Some(ratio) = ratio(index)
            && best.is_none_or(|(_, highest)| ratio > highest)
        {
            best = Some((index, ratio));
        }
    }
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(waited: Option<f64>, service: f64, running: usize, slots_max: usize) -> LaneView {
        LaneView { head_waited_ms: waited, head_service_ms: service, running, slots_max }
    }

    #[test]
    fn the_highest_response_ratio_with_room_is_served() {
        let short = |waited| lane(Some(waited), 100.0, 0, 2);
        let long = |waited| lane(Some(waited), 60_000.0, 0, 1);
        let empty = lane(None, 1.0, 0, 2);
        let rows = [
            ("nothing in hand", vec![empty, empty], None),
            ("the only work", vec![empty, long(0.0)], Some(1)),
            ("a tie goes to the shorter lane", vec![short(0.0), long(0.0)], Some(0)),
            ("a little waiting favours the short one", vec![short(10.0), long(1000.0)], Some(0)),
            ("aging: a long one is not starved", vec![short(10.0), long(60_000.0)], Some(1)),
            ("no room for the long one", vec![short(0.0), lane(Some(1e9), 60_000.0, 1, 1)], Some(0)),
            ("no room at all", vec![lane(Some(5.0), 1.0, 2, 2), long(1e9)], None),
        ];
        for (why, lanes, expected) in rows {
            assert_eq!(next(&lanes), expected, "{why}");
        }
    }

    #[test]
    fn long_lanes_together_leave_the_reserved_slots_alone() {
        // Four slots; medium and longer may hold 3, long may hold 2.
        let view = |medium: usize, long: usize| {
            [lane(None, 1.0, 0, 4), lane(Some(1.0), 1000.0, medium, 3), lane(Some(1.0), 1e6, long, 2)]
        };
        for (medium, long, room_medium, room_long) in
            [(0, 0, 3, 2), (1, 2, 0, 0), (0, 2, 1, 0), (2, 0, 1, 1), (2, 1, 0, 0), (0, 1, 2, 1)]
        {
            let lanes = view(medium, long);
            assert_eq!((room(&lanes, 1), room(&lanes, 2)), (room_medium, room_long), "{medium} {long}");
            assert!(has_room(&lanes, 0) == (medium + long < 4));
        }
    }
}
