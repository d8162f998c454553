//! Redis, paused and killed under a cache: every call is answered in time, and never with what was replaced.

use std::time::{Duration, Instant};

use bytes::Bytes;
use siding_core::{
    cache::Cache,
    cache::redis::{Options, RedisCache},
};
use siding_tests::harness::{
    eventually,
    servers::{Kind, Private},
};

const HOUR: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(60);
/// What one call may take at most, on a busy machine: far above the cache's own bound, far below a wait for a dead server.
const CALL: Duration = Duration::from_secs(5);

async fn timed<T>(call: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let answer = call.await;
    assert!(begun.elapsed() < CALL, "a call took {:?}", begun.elapsed());
    answer
}

fn value(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// Waits until the cache remembers again what is put now.
async fn remembers_again(cache: &RedisCache, key: &str) {
    eventually("the cache remembers again", PATIENCE, || async {
        cache.put(key, value("again"), HOUR).await;
        match cache.get(key).await {
            Some(found) if found == value("again") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_cache_that_is_away_has_forgotten_and_never_answers_with_what_was_replaced() {
    let mut redis = Private::start(Kind::Redis).await;
    // The patience of a busy test machine, not of a service; the pause is long enough for the second write to be dropped unsent.
    let options = Options { patience: Duration::from_secs(1), pause: Duration::from_secs(1), ..Options::default() };
    let cache = RedisCache::connect_with(&redis.url().into(), options).expect("a URL of Redis");
    remembers_again(&cache, "first").await;
    for key in ["kept", "replaced", "forgotten"] {
        eventually("it is remembered", PATIENCE, || async {
            cache.put(key, value("old"), HOUR).await;
            cache.get(key).await.map(|_| ()).ok_or("not yet".into())
        })
        .await;
    }

    redis.pause();
    timed(cache.put("replaced", value("new"), HOUR)).await;
    timed(cache.forget("forgotten")).await;
    assert_eq!(timed(cache.get("kept")).await, None, "nothing answers");
    redis.resume();
    eventually("what was only read is there again", PATIENCE, || async {
        cache.get("kept").await.map(|_| ()).ok_or("not yet".into())
    })
    .await;
    assert_ne!(cache.get("replaced").await, Some(value("old")), "the new value may have come late or not at all");
    assert_eq!(cache.get("forgotten").await, None, "Redis still has the old value, and nobody may see it");
    remembers_again(&cache, "replaced").await;

    redis.kill().await;
    assert_eq!(timed(cache.get("kept")).await, None, "nothing listens");
    assert!(!timed(cache.answers()).await);
    redis.restart().await;
    remembers_again(&cache, "kept").await;
    assert!(cache.answers().await);
}

#[tokio::test]
async fn a_cache_that_is_refused_its_login_costs_nobody_anything() {
    let redis = Private::start(Kind::Redis).await;
    let url = format!("redis://default:wrong@{}", redis.place());
    let cache = RedisCache::connect(&url.as_str().into()).expect("a URL of Redis");
    timed(cache.put("a", value("1"), HOUR)).await;
    assert_eq!(timed(cache.get("a")).await, None);
    assert!(!timed(cache.answers()).await);
}
