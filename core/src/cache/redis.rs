//! The cache in Redis, which all processes of a system share. It decides when Redis counts as away, and whom it then believes; it must
//! never make a caller wait longer than `patience`, fail a call, or give back a value that this process has replaced or forgotten.
//!
//! Three things follow from that:
//!
//! - A call that fails or takes too long ends the connection, and for a moment all calls are answered at once as if forgotten. Then the
//!   next call connects anew. (redis's own connection manager is not used: it keeps a refused login for ever.)
//! - A write that did not succeed leaves Redis with the value from before, and nobody can say when that ends. The key is in doubt: it reads
//!   as forgotten in this process until a write to it succeeds.
//! - When too many keys are in doubt to remember them all, this process takes a prefix of its own and begins with nothing.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, RedisError, aio::MultiplexedConnection};
use tokio::time::{Instant, timeout};

use super::Cache;
use crate::{
    config::SecretUrl,
    limits::{CACHE_AWAY_MS, CACHE_CALL_MS_MAX, CACHE_DOUBTS_MAX, CACHE_VALUE_BYTES_MAX},
};

/// The first part of every key. Its number changes when the form of the values does.
const PREFIX: &str = "siding:1:";

/// The URL is none of Redis: `redis://[user:password@]host[:port][/database]`.
#[derive(Debug, thiserror::Error)]
#[error("the cache's URL is not one of Redis (redis://host:port/database)")]
pub struct InvalidUrl(#[source] RedisError);

/// How a cache in Redis is used.
#[derive(Debug, Clone)]
pub struct Options {
    /// The first part of every key: what others put under another prefix is not seen.
    pub prefix: String,
    /// Longest time that one call may take, connecting included.
    pub patience: Duration,
    /// How long nothing is asked after a call has failed.
    pub pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prefix: PREFIX.to_owned(),
            patience: Duration::from_millis(CACHE_CALL_MS_MAX),
            pause: Duration::from_millis(CACHE_AWAY_MS),
        }
    }
}

/// Remembers in Redis.
#[derive(Debug)]
pub struct RedisCache {
    client: Client,
    options: Options,
    link: tokio::sync::Mutex<Link>,
    /// Every call reads and changes it; it is never held while a call waits.
    doubts: Mutex<Doubts>,
}

/// What is known of Redis itself.
#[derive(Debug, Default)]
struct Link {
    connection: Option<MultiplexedConnection>,
    /// Nothing is asked before this.
    away_until: Option<Instant>,
    /// Whether it was said in the log that Redis is away.
    told: bool,
}

/// The keys whose value in Redis may be older than what this process has last written.
#[derive(Debug, Default)]
struct Doubts {
    keys: HashSet<String>,
    /// How often everything was given up; a part of each key from the first time on.
    own_prefix: Option<u64>,
}

impl RedisCache {
    /// The cache at `url`. It does not connect: Redis may come later.
    ///
    /// # Errors
    /// `InvalidUrl`.
    pub fn connect(url: &SecretUrl) -> Result<Self, InvalidUrl> {
        Self::connect_with(url, Options::default())
    }

    /// The cache at `url`, used so.
    ///
    /// # Errors
    /// `InvalidUrl`.
    pub fn connect_with(url: &SecretUrl, options: Options) -> Result<Self, InvalidUrl> {
        let client = Client::open(url.expose()).map_err(InvalidUrl)?;
        Ok(Self { client, options, link: tokio::sync::Mutex::default(), doubts: Mutex::default() })
    }

    /// Whether Redis answers, and to this password: for a report to people. Nothing else depends on it.
    pub async fn answers(&self) -> bool {
        self.ask::<String>(redis::cmd("PING")).await.is_some()
    }

    /// What Redis answers; `None` when it does not, or refuses.
    async fn ask<T: FromRedisValue>(&self, question: Cmd) -> Option<T> {
        let asked = timeout(self.options.patience, async {
            match self.connection().await? {
                Some(mut connection) => question.query_async(&mut connection).await.map(Some),
                None => Ok(None),
            }
        });
        match asked.await {
            Ok(Ok(answer)) => answer,
            // It has no room, or the user may not do this: the connection is as good as before.
            Ok(Err(error)) if matches!(error.kind(), ErrorKind::Server(_)) && !error.is_unrecoverable_error() => {
                tracing::debug!(error = %error, "the cache has refused a command");
                None
            }
            Ok(Err(error)) => self.leave(&error.to_string()).await,
            Err(_) => self.leave("no answer in time").await,
        }
    }

    /// The connection, made if need be; `None` while Redis counts as away.
    async fn connection(&self) -> Result<Option<MultiplexedConnection>, RedisError> {
        let mut link = self.link.lock().await;
        if link.away_until.is_some_and(|until| Instant::now() < until) {
            return Ok(None);
        }
        if link.connection.is_none() {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(self.options.patience))
                .set_response_timeout(Some(self.options.patience));
            link.connection = Some(self.client.get_multiplexed_async_connection_with_config(&config).await?);
            link.away_until = None;
            if std::mem::take(&mut link.told) {
                tracing::info!("the cache answers again");
            }
        }
        Ok(link.connection.clone())
    }

    /// Ends the connection and asks nothing for a while.
    async fn leave<T>(&self, why: &str) -> Option<T> {
        let mut link = self.link.lock().await;
        link.connection = None;
        link.away_until = Some(Instant::now() + self.options.pause);
        if !std::mem::replace(&mut link.told, true) {
            tracing::warn!(error = why, "the cache does not answer: it counts as having forgotten everything until it does");
        }
        None
    }

    /// A write that must have happened before `key` is believed again.
    async fn write<T: FromRedisValue>(&self, key: &str, command: impl FnOnce(&str) -> Cmd) {
        // In doubt from the beginning, because this future may be dropped at any time.
        self.doubts().add(key);
        let name = self.name(key);
        if self.ask::<T>(command(&name)).await.is_some() {
            self.doubts().keys.remove(key);
        }
    }

    /// What the key is called in Redis.
    fn name(&self, key: &str) -> String {
        match self.doubts().own_prefix {
            None => format!("{}{key}", self.options.prefix),
            Some(own) => format!("{}{own:x}:{key}", self.options.prefix),
        }
    }

    fn doubts(&self) -> MutexGuard<'_, Doubts> {
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Doubts {
    fn add(&mut self, key: &str) {
        if self.keys.len() >= CACHE_DOUBTS_MAX && !self.keys.contains(key) {
            self.keys.clear();
            self.own_prefix = Some(rand::random());
        }
        self.keys.insert(key.to_owned());
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn get(&self, key: &str) -> Option<Bytes> {
        if self.doubts().keys.contains(key) {
            return None;
        }
        let name = self.name(key);
        self.ask::<Option<Vec<u8>>>(redis::cmd("GET").arg(name).to_owned()).await.flatten().map(Bytes::from)
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Duration) {
        let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).min(i64::MAX as u64);
        // Redis knows no time of 0, and a large value would hold up everybody on the one connection.
        if millis == 0 || value.len() > CACHE_VALUE_BYTES_MAX {
            return self.forget(key).await;
        }
        self.write::<()>(key, |name| redis::cmd("SET").arg(name).arg(&value[..]).arg("PX").arg(millis).to_owned()).await;
    }

    async fn forget(&self, key: &str) {
        self.write::<()>(key, |name| redis::cmd("DEL").arg(name).to_owned()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_doubts_than_can_be_remembered_end_in_a_prefix_of_its_own() {
        let mut doubts = Doubts::default();
        for key in 0..CACHE_DOUBTS_MAX {
            doubts.add(&key.to_string());
        }
        doubts.add("0");
        assert_eq!((doubts.keys.len(), doubts.own_prefix), (CACHE_DOUBTS_MAX, None), "a known one needs no room");
        doubts.add("one more");
        assert_eq!(doubts.keys.len(), 1);
        assert!(doubts.own_prefix.is_some());
    }

    #[test]
    fn a_url_of_something_else_is_refused_without_repeating_it() {
        for url in ["", "http://u:secret@h/", "redis:secret", "rediss://:secret@h"] {
            let refused = RedisCache::connect(&SecretUrl::from(url)).err();
            let text = refused.map(|error| format!("{error} {error:?}")).expect(url);
            assert!(!text.contains("secret"), "{text}");
        }
    }
}
