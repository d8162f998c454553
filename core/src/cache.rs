//! The cache seam: may forget anything at any time, so correctness must never lean on it. Values are bytes; who puts them in
//! decides their form and gives keys a prefix of its own.

pub mod in_process;
pub mod none;
pub mod redis;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// Remembers bytes for a while. No call fails: a cache that is away has forgotten.
#[async_trait]
pub trait Cache: Send + Sync {
    /// What was put under `key`, if it is still remembered.
    async fn get(&self, key: &str) -> Option<Bytes>;

    /// Remembers `value` for at most `ttl`.
    async fn put(&self, key: &str, value: Bytes, ttl: Duration);

    /// Forgets `key` at once, in this process; others forget within their own `ttl`.
    async fn forget(&self, key: &str);
}
