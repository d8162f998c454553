//! Waiting for something that will become true: a bounded poll whose "not yet" says how far it is, for the failure's message.

use std::{future::Future, time::Duration};

/// How often is asked.
const POLL: Duration = Duration::from_millis(10);

/// Asks until the answer is `Ok`, at most for `within`.
///
/// # Panics
/// With the last status when the time is over.
pub async fn eventually<T, F, Fut>(what: &str, within: Duration, mut ask: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let until = tokio::time::Instant::now() + within;
    loop {
        let status = match ask().await {
            Ok(value) => return value,
            Err(status) => status,
        };
        assert!(tokio::time::Instant::now() < until, "{what}: not within {within:?}; last status: {status}");
        tokio::time::sleep_until(tokio::time::Instant::now() + POLL).await;
    }
}
