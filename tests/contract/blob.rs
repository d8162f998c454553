//! The blobs' contract: what was put comes back as it was, or an error says why not.

mod keeping {
    use std::sync::Arc;

    use bytes::Bytes;
    use futures::TryStreamExt;
    use object_store::{ObjectStore, ObjectStoreExt, PutPayload, path::Path};
    use siding_core::{
        blob::{BlobRef, Blobs, Error},
        error::{Classified, Transience},
        limits,
        store::Payload,
    };
    use siding_tests::harness::seams::BlobSeam;

    fn blobs(seam: &BlobSeam) -> Blobs {
        Blobs::new(seam.objects.clone())
    }

    /// The only object in the store.
    async fn only_object(objects: &dyn ObjectStore) -> Path {
        let found: Vec<_> = objects.list(None).try_collect().await.expect("the store lists");
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].location.clone()
    }

    pub async fn what_was_put_comes_back(seam: &BlobSeam) {
        let large = vec![7_u8; 3 * 1024 * 1024];
        for bytes in [&b""[..], b"x", b"\0\xff\n", &large] {
            let bytes = Bytes::copy_from_slice(bytes);
            let blob = blobs(seam).put(bytes.clone()).await.expect("put");
            assert_eq!(blob.bytes(), bytes.len() as u64);
            let by_name: BlobRef = blob.to_string().parse().expect("its own text");
            assert_eq!(blobs(seam).get(&by_name).await.expect("get"), bytes);
        }
    }

    pub async fn the_same_bytes_are_one_blob(seam: &BlobSeam) {
        let first = blobs(seam).put(Bytes::from_static(b"same")).await.expect("put");
        let second = blobs(seam).put(Bytes::from_static(b"same")).await.expect("put again");
        assert_eq!(first, second);
        only_object(&*seam.objects).await;
    }

    pub async fn a_missing_blob_is_missing(seam: &BlobSeam) {
        let blob: BlobRef = format!("sha256:{}:3", "0".repeat(64)).parse().expect("a valid reference");
        let error = blobs(seam).get(&blob).await.expect_err("there is none");
        assert!(matches!(&error, Error::Missing(missing) if *missing == blob), "{error:?}");
        assert_eq!(error.transience(), Transience::Permanent);
    }

    pub async fn a_damaged_blob_is_found_on_reading(seam: &BlobSeam) {
        let blob = blobs(seam).put(Bytes::from_static(b"intact")).await.expect("put");
        let object = only_object(&*seam.objects).await;
        for damage in [&b"inTact"[..], b"intac", b"intact and more", b""] {
            seam.objects.put(&object, PutPayload::from(damage.to_vec())).await.expect("overwrite");
            let error = blobs(seam).get(&blob).await.expect_err("it is damaged");
            assert!(matches!(&error, Error::Damaged(damaged) if *damaged == blob), "{error:?}");
        }
        blobs(seam).put(Bytes::from_static(b"intact")).await.expect("put again");
        assert_eq!(blobs(seam).get(&blob).await.expect("mended"), "intact");
    }

    pub async fn a_small_text_stays_inline_and_a_large_one_does_not(seam: &BlobSeam) {
        for (length, inline) in [(0, true), (limits::INLINE_BYTES_MAX, true), (limits::INLINE_BYTES_MAX + 1, false)] {
            let text: Arc<str> = "ü".repeat(length / 2).into_boxed_str().into();
            let text: Arc<str> = if text.len() == length { text } else { format!("{text}x").into() };
            let payload = blobs(seam).store_text(text.clone()).await.expect("store");
            assert_eq!(matches!(payload, Payload::Inline(_)), inline, "{length} bytes");
            assert_eq!(blobs(seam).load_text(&payload).await.expect("load"), text);
        }
    }

    pub async fn a_blob_that_is_no_text_is_damaged_as_a_text(seam: &BlobSeam) {
        let blob = blobs(seam).put(Bytes::from_static(b"\xff\xfe")).await.expect("put");
        let error = blobs(seam).load_text(&Payload::Blob(blob)).await.expect_err("it is no text");
        assert!(matches!(error, Error::Damaged(_)), "{error:?}");
    }

    pub async fn nothing_more(_seam: &BlobSeam) {}
}

use super::contract;

/// Every check of the blobs, for one store under them.
macro_rules! blob_contract {
    ($implementation:ident, $open:path) => {
        contract! { $implementation, $open, super::keeping::nothing_more;
            keeping: [
                what_was_put_comes_back,
                the_same_bytes_are_one_blob,
                a_missing_blob_is_missing,
                a_damaged_blob_is_found_on_reading,
                a_small_text_stays_inline_and_a_large_one_does_not,
                a_blob_that_is_no_text_is_damaged_as_a_text,
            ]
        }
    };
}

blob_contract!(memory, seams::memory_blobs);
blob_contract!(folder, seams::folder_blobs);
