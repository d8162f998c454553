//! The store's contract: what every store does, whatever database is behind it.

mod accepting;
mod checkpoints;
mod claiming;
mod competing;
mod dead;
mod given;
mod measure;
mod publishing;
mod reading;
mod recording;
mod rescuing;
mod schema;
mod server;

use super::contract;

/// Every check of the store, for one implementation.
macro_rules! store_contract {
    ($implementation:ident, $open:path) => {
        contract! { $implementation, $open, super::given::invariants;
            accepting: [
                an_accepted_job_reads_back_as_it_was_answered,
                a_start_at_a_time_is_due_then_and_at_once_when_it_has_passed,
                an_input_in_a_blob_stays_there,
                a_job_that_does_not_exist_has_nothing,
                a_group_of_cancels_is_answered_in_order_and_each_job_changes_once,
                a_repeat_is_the_first_job_and_a_different_request_is_a_mismatch,
                a_repeat_is_answered_with_the_job_as_it_stands,
                submissions_of_one_key_at_once_make_one_job,
                a_full_group_is_answered_in_order,
                a_batch_of_a_thousand_is_answered_in_order_and_read_back,
                a_mismatch_hinders_the_others_of_its_whole_and_nobody_else,
                an_absurd_estimate_or_duration_does_not_stop_a_group,
                a_cancel_ends_what_waits_and_asks_what_runs_to_stop,
                a_canceled_event_tells_where_the_cancel_met_the_job,
                an_input_of_any_text_reads_back_exactly,
            ]
            claiming: [
                a_claim_is_answered_by_where_the_job_stands,
                a_claim_hands_out_all_that_a_run_needs,
                a_group_of_claims_is_answered_in_order_whatever_each_becomes,
                a_job_named_twice_in_one_group_is_claimed_once,
                of_two_workers_at_once_one_gets_the_job,
                a_claim_after_the_start_deadline_expires_the_job,
                a_job_that_has_started_once_has_kept_its_deadline,
                a_job_that_was_claimed_ahead_and_handed_back_has_not_started,
                a_job_that_has_begun_once_keeps_its_deadline_whatever_is_handed_back_later,
                a_takeover_fences_the_lost_attempt_off,
                only_the_message_that_a_job_was_claimed_with_takes_it_over,
                a_takeover_of_a_job_that_waits_is_a_claim,
                a_lease_that_is_over_is_taken_without_waiting_for_the_sweep,
                a_takeover_that_finds_the_attempts_spent_fails_the_job,
                a_takeover_of_a_job_that_is_to_stop_ends_it,
                a_retried_job_waits_for_its_time_and_counts_its_wait_from_there,
            ]
            recording: [
                an_attempt_ends_as_the_state_machine_says,
                a_stop_counts_only_when_the_caller_asked_for_it,
                records_of_one_attempt_in_one_group_apply_in_order,
                progress_of_unknown_size_names_no_total,
                a_group_mixes_jobs_and_is_answered_in_order,
                only_the_newest_attempt_of_a_job_that_runs_may_record,
                a_group_is_written_whole_or_not_at_all,
                an_output_reads_back_exactly,
                text_that_no_database_keeps_costs_no_other_job_its_record,
                a_failed_attempt_waits_for_its_retry_unpublished,
                no_job_fails_more_often_than_it_may,
                an_interrupted_attempt_does_not_count_and_is_due_at_once,
                a_lease_is_extended_for_its_holder_alone,
                an_extended_lease_holds_from_the_extension_on,
            ]
            checkpoints: [
                the_next_attempt_goes_on_from_the_newest_checkpoint,
                a_group_that_is_told_twice_releases_nothing_that_is_gone_on_from,
                only_the_newest_attempt_may_save_a_state,
                a_restart_takes_the_checkpoint_away_and_says_so,
                the_end_of_a_job_releases_its_checkpoint,
                a_lost_attempt_that_saved_a_state_does_not_count_as_failed,
                a_lost_attempt_that_was_to_stop_is_canceled_whatever_it_saved,
                a_claim_that_ends_a_job_releases_its_checkpoint,
            ]
            rescuing: [
                a_lost_attempt_is_requeued_when_its_lease_is_over_and_not_before,
                a_lost_attempt_that_was_the_last_one_fails_the_job,
                a_lost_attempt_that_was_to_stop_is_canceled,
                a_job_that_was_not_started_in_time_expires,
                a_sweep_takes_at_most_its_limit_of_each,
                the_end_of_all_leases_hands_every_running_job_to_the_next_sweep,
            ]
            publishing: [
                what_is_due_is_listed_the_longest_due_first,
                lanes_that_are_left_out_hide_no_other_lane,
                a_due_job_comes_with_all_that_its_message_needs,
                a_published_job_is_not_due_again,
                a_mark_of_an_older_attempt_is_ignored,
                a_mark_of_a_job_that_does_not_wait_changes_nothing,
                a_mark_of_a_job_that_is_not_due_is_ignored,
                a_job_whose_message_came_too_early_is_published_again,
                a_published_job_that_comes_back_is_due_again,
                the_next_due_time_is_known,
                the_backlog_is_counted_up_to_a_limit,
                a_lost_broker_makes_every_waiting_job_unpublished,
                a_lost_queue_makes_its_old_publications_unpublished_and_no_others,
            ]
            competing: [
                many_claimers_of_one_group_get_each_job_once,
                many_sweepers_rescue_each_job_once,
                groups_of_shared_keys_submitted_at_once_make_each_job_once,
                groups_that_share_jobs_in_any_order_never_stop_each_other,
            ]
            schema: [
                a_job_that_contradicts_itself_is_refused,
                an_event_that_contradicts_its_job_is_refused,
            ]
            dead: [
                a_failed_job_is_dead_until_it_is_run_again_or_dropped,
                dead_jobs_are_listed_by_their_failure_and_their_pages_fit_together,
                dead_jobs_are_listed_as_their_filter_asks,
                a_replay_makes_one_job_however_often_it_is_asked_for,
                of_replays_at_once_one_makes_the_job,
                a_job_that_is_run_again_is_marked_and_otherwise_untouched,
                a_drop_lets_a_dead_job_rest_and_nothing_else,
                jobs_are_read_with_their_inputs_in_order,
            ]
            reading: [
                a_list_shows_the_newest_first_and_its_pages_fit_together,
                a_list_shows_what_its_filter_asks_for,
                a_position_counts_what_is_due_before_in_the_same_lane,
                jobs_of_one_moment_have_positions_of_their_own,
                the_counts_tell_what_waits_and_runs_in_each_lane,
                a_lane_of_scheduled_jobs_has_no_oldest_one,
                events_are_read_in_pages_after_a_cursor,
                the_terminal_event_of_each_job_is_found,
            ]
        }
    };
}

store_contract!(sqlite, seams::sqlite_store);
store_contract!(postgres, seams::postgres_store);
