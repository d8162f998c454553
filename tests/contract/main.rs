//! The contract suites: what every implementation of a seam does, checked once for all of them. A check takes the seam and
//! never asks which implementation is behind it; where callers may see a difference, the seam says so as a capability.
//! A new implementation adds one line at the end of its seam's file and an opener in `harness/seams.rs`.

mod blob;
mod broker;
mod cache;
mod clock;
mod runtime;
mod store;

/// Makes each check an own test over a seam that `$open` opens for it alone; what a check must leave behind is checked after it.
macro_rules! contract {
    ($implementation:ident, $open:path, $after:path; $($group:ident: [$($check:ident),* $(,)?])*) => {
        mod $implementation {
            use siding_tests::harness::seams;

            $($(
                #[tokio::test]
                async fn $check() {
                    let seam = $open().await;
                    super::$group::$check(&seam).await;
                    $after(&seam).await;
                }
            )*)*
        }
    };
}
use contract;
