//! The broker's contract: what every broker does with messages, subscriptions, deliveries and hints.

mod delivering;
mod given;
mod hinting;
mod setting_aside;

use super::contract;

/// Every check of the broker, for one implementation.
macro_rules! broker_contract {
    ($implementation:ident, $open:path) => {
        contract! { $implementation, $open, super::given::close;
            delivering: [
                a_published_message_is_delivered_as_it_was,
                a_lane_delivers_first_in_first_out,
                a_full_queue_refuses_until_there_is_room,
                an_unknown_lane_is_refused_and_holds_up_no_other,
                an_acknowledged_message_never_comes_again,
                a_subscription_holds_at_most_its_prefetch,
                a_message_that_comes_back_is_the_next_one_and_redelivered,
                a_subscription_that_goes_away_leaves_its_messages_to_others,
                a_delivery_outlives_its_subscription,
                every_message_goes_to_one_of_the_competing_subscriptions,
                every_waiting_subscription_is_woken,
                a_wait_that_is_given_up_takes_nothing,
                a_message_for_a_wait_that_was_given_up_is_not_lost,
                a_broker_that_goes_away_ends_everything,
                a_wait_ends_with_the_broker,
            ]
            hinting: [
                every_listener_hears_every_hint_in_order,
                a_listener_hears_nothing_from_before_it_listened,
                a_slow_listener_is_told_that_it_has_missed_some,
                a_hint_without_listeners_is_no_error,
                a_listener_hears_the_end,
            ]
            setting_aside: [
                a_message_that_is_handed_out_too_often_is_a_dead_letter,
                a_dead_letter_is_found_until_it_is_acknowledged,
                there_are_no_dead_letters_without_a_reason,
            ]
        }
    };
}

broker_contract!(memory, seams::memory_broker);
broker_contract!(rabbitmq, seams::rabbitmq_broker);
