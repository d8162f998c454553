//! The cache that has always forgotten. For tests (nothing may depend on a cache) and for running without one.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::Cache;

/// Remembers nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoCache;

#[async_trait]
impl Cache for NoCache {
    async fn get(&self, _key: &str) -> Option<Bytes> {
        None
    }

    async fn put(&self, _key: &str, _value: Bytes, _ttl: Duration) {}

    async fn forget(&self, _key: &str) {}
}
