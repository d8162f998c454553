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

    pub async fn a_removed_blob_is_gone_and_the_others_are_not(seam: &BlobSeam) {
        let kept = blobs(seam).put(Bytes::from_static(b"kept")).await.expect("put");
        let useless = blobs(seam).put(Bytes::from_static(b"useless")).await.expect("put");
        for _ in 0..2 {
            blobs(seam).remove(&useless).await.expect("what is gone already is removed");
            assert!(matches!(blobs(seam).get(&useless).await, Err(Error::Missing(_))));
        }
        assert_eq!(blobs(seam).get(&kept).await.expect("get"), Bytes::from_static(b"kept"));
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

    /// The bytes that are given out piece by piece, and the error that ends them.
    async fn in_pieces(seam: &BlobSeam, blob: &BlobRef) -> (Vec<u8>, Option<Error>) {
        let mut bytes = Vec::new();
        let mut read = async || -> Result<(), Error> {
            let mut pieces = blobs(seam).pieces(blob).await?;
            while pieces.next_len() > 0 {
                let piece = pieces.read().await?;
                assert!(piece.len() <= limits::RESULT_PIECE_BYTES);
                assert_eq!(pieces.read().await?, piece, "a piece that was not taken is read again");
                pieces.take(&piece)?;
                bytes.extend_from_slice(&piece);
            }
            Ok(())
        };
        let error = read().await.err();
        (bytes, error)
    }

    pub async fn pieces_are_the_whole_blob(seam: &BlobSeam) {
        let piece = limits::RESULT_PIECE_BYTES;
        for length in [1, piece - 1, piece, piece + 1, 3 * piece] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let blob = blobs(seam).put(Bytes::from(bytes.clone())).await.expect("put");
            let (read, error) = in_pieces(seam, &blob).await;
            assert!(error.is_none() && read == bytes, "{length} bytes: {error:?}");
        }
    }

    pub async fn of_a_damaged_blob_the_last_piece_is_never_given_out(seam: &BlobSeam) {
        let piece = limits::RESULT_PIECE_BYTES;
        let intact = vec![7_u8; 2 * piece + 5];
        let blob = blobs(seam).put(Bytes::from(intact.clone())).await.expect("put");
        let object = only_object(&*seam.objects).await;
        let first_byte = [&[8], &intact[1..]].concat();
        let last_byte = [&intact[1..], &[8]].concat();
        for (damaged, given) in
            [(first_byte, 2 * piece), (last_byte, 2 * piece), (intact[1..].to_vec(), 0), ([&intact[..], b"x"].concat(), 0)]
        {
            seam.objects.put(&object, PutPayload::from(damaged)).await.expect("overwrite");
            let (read, error) = in_pieces(seam, &blob).await;
            assert!(matches!(&error, Some(Error::Damaged(named)) if *named == blob), "{error:?}");
            assert_eq!(read.len(), given);
        }
        seam.objects.delete(&object).await.expect("delete");
        assert!(matches!(in_pieces(seam, &blob).await.1, Some(Error::Missing(_))));
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
                a_removed_blob_is_gone_and_the_others_are_not,
            a_missing_blob_is_missing,
                a_damaged_blob_is_found_on_reading,
                pieces_are_the_whole_blob,
                of_a_damaged_blob_the_last_piece_is_never_given_out,
                a_small_text_stays_inline_and_a_large_one_does_not,
                a_blob_that_is_no_text_is_damaged_as_a_text,
            ]
        }
    };
}

blob_contract!(memory, seams::memory_blobs);
blob_contract!(folder, seams::folder_blobs);
