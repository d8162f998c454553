//! The cache inside this process, bounded by bytes.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use moka::{Expiry, future::Cache as Moka};

use super::Cache;

/// Remembers in this process's memory.
#[derive(Debug, Clone)]
pub struct InProcessCache(Moka<String, Entry>);

#[derive(Debug, Clone)]
struct Entry {
    value: Bytes,
    ttl: Duration,
}

struct OwnTtl;

impl Expiry<String, Entry> for OwnTtl {
    fn expire_after_create(&self, _key: &String, entry: &Entry, _created_at: Instant) -> Option<Duration> {
        Some(entry.ttl)
    }

    fn expire_after_update(
        &self,
        _key: &String,
        entry: &Entry,
        _updated_at: Instant,
        _left: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.ttl)
    }
}

impl InProcessCache {
    /// A cache of at most `bytes_max` bytes of keys and values.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        let weigh = |key: &String, entry: &Entry| u32::try_from(key.len() + entry.value.len()).unwrap_or(u32::MAX);
        Self(Moka::builder().max_capacity(bytes_max).weigher(weigh).expire_after(OwnTtl).build())
    }
}

#[async_trait]
impl Cache for InProcessCache {
    async fn get(&self, key: &str) -> Option<Bytes> {
        self.0.get(key).await.map(|entry| entry.value)
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Duration) {
        self.0.insert(key.to_owned(), Entry { value, ttl }).await;
    }

    async fn forget(&self, key: &str) {
        self.0.invalidate(key).await;
    }
}
