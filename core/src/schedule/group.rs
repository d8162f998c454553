//! How many jobs a worker claims at once. Claiming in groups is what makes tiny jobs cheap; claiming too many would hold work
//! that another worker could start. So a group is limited by the time it is expected to keep the slots busy.

/// How long ahead of its slots a worker may claim, in milliseconds: so much expected work for each slot that turns over in that time.
/// What is ready is refilled when less than half of it is left: a claim is a transaction, and it costs the same for one job as for many.
pub const AHEAD_MS_MAX: f64 = 20.0;
/// A slot that is expected to be free within so many milliseconds is claimed for as if it were, however long the next job takes: a claim
/// is a transaction, and a slot that asks for it only once it is free waits for it after every run (1 to 2 ms, which is 5 % of a
/// run of 40 ms).
pub const LEAD_MS: f64 = 5.0;
/// Most jobs in one claim; beyond it a larger statement gains nothing.
const GROUP_MAX: usize = 128;

/// What the policy knows of the worker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlotsView {
    /// Slots that run nothing now.
    pub idle: usize,
    /// Slots that run something which is expected to end within `LEAD_MS`.
    pub ending: usize,
    /// How long until the first slot is expected to be free, in milliseconds: 0 when one is idle, infinite when every run has
    /// outlived its estimate and nobody can say.
    pub free_in_ms: f64,
    /// Slots that are idle or expected to be within `AHEAD_MS_MAX`: those that share what is claimed ahead.
    pub soon: usize,
    /// Jobs claimed and not started.
    pub ready: usize,
    /// How long those are expected to keep one slot busy, in milliseconds.
    pub ready_ms: f64,
}

/// How many of the jobs in hand to claim now. `services_ms` are their expected durations in milliseconds, in the order in which
/// they would run; `room` is what their lane's share leaves. One job for each slot that is free or about to be is always allowed; beyond that, only as many as are
/// expected to be over within `AHEAD_MS_MAX` from now, so that a slot never waits for a claim between tiny jobs, and nothing is
/// claimed behind a run whose end nobody can foresee.
#[must_use]
pub fn claim_count(slots: SlotsView, room: usize, services_ms: impl Iterator<Item = f64>) -> usize {
    let free = (slots.idle + slots.ending).saturating_sub(slots.ready);
    #[expect(clippy::cast_precision_loss, reason = "slots are few")]
    let ahead_ms_max = AHEAD_MS_MAX * slots.soon.max(1) as f64;
    if free == 0 && slots.ready_ms * 2.0 >= ahead_ms_max {
        return 0;
    }
    let mut ahead_ms = slots.free_in_ms + slots.ready_ms;
    let mut count = 0;
    for service_ms in services_ms.take(GROUP_MAX.min(room)) {
        // The small constant is the floor of a job's own overhead; it keeps jobs of "0 ms" from being claimed without end.
        ahead_ms += service_ms.max(0.05);
        if count >= free && (ahead_ms > ahead_ms_max || service_ms.is_nan()) {
            break;
        }
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_covers_the_free_slots_and_a_bounded_time_ahead() {
        let view = |idle, ready, ready_ms| SlotsView { idle, ending: 0, free_in_ms: 0.0, soon: 1, ready, ready_ms };
        let in_ms = |free_in_ms| SlotsView { idle: 0, ending: 0, free_in_ms, soon: 1, ready: 0, ready_ms: 0.0 };
        let two = |ready, ready_ms| SlotsView { idle: 0, ending: 0, free_in_ms: 5.0, soon: 2, ready, ready_ms };
        let ending = |ready| SlotsView { idle: 0, ending: 1, free_in_ms: 4.0, soon: 1, ready, ready_ms: 40.0 * ready as f64 };
        let rows = [
            ("one job for a slot that is about to be free, however long", ending(0), vec![40.0; 5], 1),
            ("and no second one", ending(1), vec![40.0; 5], 0),
            ("one long job a free slot", view(2, 0, 0.0), vec![1000.0; 5], 2),
            ("nothing free, long work: nothing", view(0, 0, 0.0), vec![1000.0; 5], 0),
            ("a ready job already uses the free slot", view(1, 1, 1000.0), vec![1000.0; 5], 0),
            ("tiny jobs go ahead by time", view(0, 0, 0.0), vec![1.0; 50], 20),
            ("and no further than the time", view(0, 9, 9.0), vec![1.0; 50], 11),
            ("what is half full is not refilled", view(0, 10, 10.0), vec![1.0; 50], 0),
            ("a free slot is served however full", view(11, 10, 10.0), vec![1.0; 50], 10),
            ("two slots share twice the time", two(0, 0.0), vec![11.0; 50], 3),
            ("and are refilled below half of it", two(1, 11.0), vec![11.0; 50], 2),
            ("not one by one", two(2, 22.0), vec![11.0; 50], 0),
            ("jobs of no duration are bounded too", view(0, 0, 0.0), vec![0.0; 1000], 128),
            ("a duration that is no number only takes a free slot", view(1, 0, 0.0), vec![f64::NAN; 3], 1),
            ("a slot that is free soon counts from then", in_ms(15.0), vec![1.0; 50], 5),
            ("nothing is claimed behind a run without a foreseeable end", in_ms(f64::INFINITY), vec![0.0; 5], 0),
            ("nothing in hand", view(2, 0, 0.0), vec![], 0),
        ];
        for (why, slots, services, expected) in rows {
            assert_eq!(claim_count(slots, usize::MAX, services.into_iter()), expected, "{why}");
        }
    }

    #[test]
    fn a_group_is_no_larger_than_its_lanes_room() {
        let idle = SlotsView { idle: 4, ending: 0, free_in_ms: 0.0, soon: 4, ready: 0, ready_ms: 0.0 };
        for (room, expected) in [(0, 0), (1, 1), (3, 3), (9, 4)] {
            assert_eq!(claim_count(idle, room, std::iter::repeat_n(60_000.0, 9)), expected, "{room}");
        }
    }
}
