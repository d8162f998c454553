//! The clock's contract: time goes forward, and a sleep ends when its time has come and not before.

mod telling {
    use std::time::Duration;

    use siding_tests::harness::seams::ClockSeam;

    const NAP: Duration = Duration::from_millis(30);
    const PATIENCE: Duration = Duration::from_secs(10);

    pub async fn time_goes_forward(seam: &ClockSeam) {
        let mut last = seam.clock.now();
        for _ in 0..100 {
            (seam.pass)(Duration::from_millis(1));
            let now = seam.clock.now();
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
    }

    pub async fn a_sleep_ends_once_its_time_has_come_and_not_before(seam: &ClockSeam) {
        let before = seam.clock.now();
        let mut sleep = seam.clock.sleep(NAP);
        assert!(futures::poll!(&mut sleep).is_pending(), "not before");
        (seam.pass)(NAP);
        tokio::time::timeout(PATIENCE, sleep).await.expect("it ends");
        assert!(seam.clock.now().since(before) >= NAP);
    }

    pub async fn a_sleep_of_nothing_ends_at_once(seam: &ClockSeam) {
        tokio::time::timeout(PATIENCE, seam.clock.sleep(Duration::ZERO)).await.expect("it ends");
    }

    pub async fn sleepers_do_not_wake_each_other(seam: &ClockSeam) {
        let mut far = seam.clock.sleep(Duration::from_secs(3600));
        let near = seam.clock.sleep(NAP);
        assert!(futures::poll!(&mut far).is_pending());
        let wake = async { (seam.pass)(NAP) };
        tokio::time::timeout(PATIENCE, async { tokio::join!(near, wake) }).await.expect("the near one ends");
        assert!(futures::poll!(&mut far).is_pending(), "the far one goes on");
    }

    pub async fn nothing_more(_seam: &ClockSeam) {}
}

use super::contract;

/// Every check of the clock, for one implementation.
macro_rules! clock_contract {
    ($implementation:ident, $open:path) => {
        contract! { $implementation, $open, super::telling::nothing_more;
            telling: [
                time_goes_forward,
                a_sleep_ends_once_its_time_has_come_and_not_before,
                a_sleep_of_nothing_ends_at_once,
                sleepers_do_not_wake_each_other,
            ]
        }
    };
}

clock_contract!(system, seams::system_clock);
clock_contract!(manual, seams::manual_clock);
