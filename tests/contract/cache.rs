//! The cache's contract: it may forget at any time, and it never lies. Only a cache that `remembers` is asked to remember.

mod remembering {
    use std::time::Duration;

    use bytes::Bytes;
    use siding_tests::harness::{eventually, seams::CacheSeam};

    const HOUR: Duration = Duration::from_secs(3600);
    const PATIENCE: Duration = Duration::from_secs(10);

    /// Checks that the answer is the value, or nothing from a cache that may have forgotten it.
    async fn check(seam: &CacheSeam, key: &str, expected: Option<&'static str>) {
        let answer = seam.cache.get(key).await;
        let expected = expected.map(|text| Bytes::from_static(text.as_bytes())).filter(|_| seam.remembers);
        assert_eq!(answer, expected, "{key:?}");
    }

    pub async fn what_is_remembered_is_what_was_put_last(seam: &CacheSeam) {
        check(seam, "a", None).await;
        seam.cache.put("a", Bytes::from_static(b"1"), HOUR).await;
        seam.cache.put("b", Bytes::from_static(b"2"), HOUR).await;
        check(seam, "a", Some("1")).await;
        seam.cache.put("a", Bytes::from_static(b"3"), HOUR).await;
        check(seam, "a", Some("3")).await;
        check(seam, "b", Some("2")).await;
        check(seam, "A", None).await;
        seam.cache.put("", Bytes::new(), HOUR).await;
        check(seam, "", Some("")).await;
    }

    pub async fn what_was_forgotten_is_gone_at_once(seam: &CacheSeam) {
        seam.cache.put("a", Bytes::from_static(b"1"), HOUR).await;
        seam.cache.forget("a").await;
        check(seam, "a", None).await;
        seam.cache.forget("never put").await;
        seam.cache.put("a", Bytes::from_static(b"2"), HOUR).await;
        check(seam, "a", Some("2")).await;
    }

    pub async fn nothing_outlives_its_time(seam: &CacheSeam) {
        seam.cache.put("short", Bytes::from_static(b"1"), Duration::from_millis(30)).await;
        seam.cache.put("long", Bytes::from_static(b"2"), HOUR).await;
        eventually("the entry expires", PATIENCE, || async {
            seam.cache.get("short").await.map_or(Ok(()), |value| Err(format!("still {value:?}")))
        })
        .await;
        check(seam, "long", Some("2")).await;
        seam.cache.put("long", Bytes::from_static(b"3"), Duration::from_millis(30)).await;
        eventually("an update brings its own time", PATIENCE, || async {
            seam.cache.get("long").await.map_or(Ok(()), |value| Err(format!("still {value:?}")))
        })
        .await;
    }

    pub async fn more_than_it_can_hold_makes_it_forget_and_not_lie(seam: &CacheSeam) {
        let value = |key: u32| Bytes::from(vec![u8::try_from(key % 251).expect("small"); 16 * 1024]);
        for key in 0..512 {
            seam.cache.put(&key.to_string(), value(key), HOUR).await;
        }
        for key in 0..512 {
            let answer = seam.cache.get(&key.to_string()).await;
            assert!(answer.is_none_or(|answer| answer == value(key)), "key {key}");
        }
    }

    pub async fn nothing_more(_seam: &CacheSeam) {}
}

use super::contract;

/// Every check of the cache, for one implementation.
macro_rules! cache_contract {
    ($implementation:ident, $open:path) => {
        contract! { $implementation, $open, super::remembering::nothing_more;
            remembering: [
                what_is_remembered_is_what_was_put_last,
                what_was_forgotten_is_gone_at_once,
                nothing_outlives_its_time,
                more_than_it_can_hold_makes_it_forget_and_not_lie,
            ]
        }
    };
}

cache_contract!(in_process, seams::in_process_cache);
cache_contract!(none, seams::no_cache);
cache_contract!(redis, seams::redis_cache);
