//! A checkpoint: the state of a computation as bytes, with what it belongs to. It decides the layout, which bytes a computation may go on from, and
//! when one is due; it never reads or writes anything, and it never trusts what it decodes before its checksum.
//!
//! Layout, all numbers little-endian: the magic word, version u32, job (16 bytes), attempt u32, model and version (each length u32, UTF-8), SHA-256 of
//! the model's manifest, SHA-256 of the input, done u64, total (1 byte whether known, u64), note (length u32, UTF-8), tensors
//! (`siding_core::tensor::binary`), SHA-256 of all before. Job and attempt make two checkpoints of different writers different bytes: blobs are named
//! by their content, and removing one must not take another's away.

pub mod keeping;

use std::time::Duration;

use sha2::{Digest, Sha256};
use siding_core::{
    id::{Attempt, JobId, ModelName, ModelVersion},
    job::RestartReason,
    model::manifest::Manifest,
    tensor::Tensors,
};

use crate::runtime::{Progress, State};

const MAGIC: &[u8; 8] = b"SIDINGCP";
const VERSION: u32 = 2;
/// Bytes of the checksum at the end.
const SUM: usize = 32;
/// The time between two checkpoints is at least so many times what the last one took: all of them cost less than 1 % of the run.
const COST_SHARE: u32 = 100;
/// After one that could not be written, the next is due after so many intervals: a place that does not answer takes time from the run as well, and
/// what it took says nothing of what the next one takes.
const AFTER_FAILURE: u32 = 4;

/// What a state belongs to: only the same computation may go on from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The job.
    pub job: JobId,
    /// Its model.
    pub model: ModelName,
    /// Its model's version.
    pub version: ModelVersion,
    /// SHA-256 of the manifest's text. It states the SHA-256s of all files, and everything else that a result follows from.
    pub manifest: [u8; 32],
    /// SHA-256 of the input's JSON text.
    pub input: [u8; 32],
}

impl Identity {
    /// Of a job with this input on the model of this manifest.
    #[must_use]
    pub fn new(job: JobId, manifest: &Manifest, input: &str) -> Self {
        let (model, version) = (manifest.name.clone(), manifest.version.clone());
        Self { job, model, version, manifest: manifest.sha256, input: Sha256::digest(input).into() }
    }
}

/// What is known of the checkpoint before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// It took so long to save, encode and put; zero before the first.
    Took(Duration),
    /// It could not be written.
    Failed,
}

/// Whether a state is to be saved now, `since_last` after the last one (or after the begin).
#[must_use]
pub fn checkpoint_due(since_last: Duration, last: Last, interval: Duration) -> bool {
    since_last
        >= match last {
            Last::Took(cost) => interval.max(cost * COST_SHARE),
            Last::Failed => interval * AFTER_FAILURE,
        }
}

/// The bytes of a state that `attempt` has reached.
#[must_use]
pub fn encode(identity: &Identity, attempt: Attempt, progress: Progress, state: &State) -> Vec<u8> {
    let tensors = state.tensors.to_bytes();
    let mut bytes = Vec::with_capacity(tensors.len() + state.note.len() + 512);
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(identity.job.as_uuid().as_bytes());
    bytes.extend(attempt.0.to_le_bytes());
    put_text(&mut bytes, identity.model.as_str());
    put_text(&mut bytes, identity.version.as_str());
    bytes.extend(identity.manifest);
    bytes.extend(identity.input);
    bytes.extend(progress.done.to_le_bytes());
    bytes.push(u8::from(progress.total.is_some()));
    bytes.extend(progress.total.unwrap_or_default().to_le_bytes());
    put_text(&mut bytes, &state.note);
    bytes.extend(tensors);
    let sum = Sha256::digest(&bytes);
    bytes.extend(sum);
    bytes
}

/// The state in `bytes`, and how far it is, if the computation of `identity` may go on from it.
///
/// # Errors
/// `Version`, `Damaged` or `Foreign`.
pub fn decode(bytes: &[u8], identity: &Identity) -> Result<(Progress, State), RestartReason> {
    let mut rest = Rest(bytes);
    if rest.fixed()? != *MAGIC {
        return Err(RestartReason::Damaged);
    }
    if u32::from_le_bytes(rest.fixed()?) != VERSION {
        return Err(RestartReason::Version);
    }
    let (content, sum) = rest.0.split_last_chunk::<SUM>().ok_or(RestartReason::Damaged)?;
    let summed = bytes.len() - SUM;
    if <[u8; SUM]>::from(Sha256::digest(&bytes[..summed])) != *sum {
        return Err(RestartReason::Damaged);
    }
    rest.0 = content;
    let job = rest.fixed::<16>()?;
    let _attempt = rest.fixed::<4>()?;
    let (model, version) = (rest.text()?, rest.text()?);
    let ours = job == *identity.job.as_uuid().as_bytes()
        && model == identity.model.as_str()
        && version == identity.version.as_str()
        && rest.fixed()? == identity.manifest
        && rest.fixed()? == identity.input;
    if !ours {
        return Err(RestartReason::Foreign);
    }
    let done = u64::from_le_bytes(rest.fixed()?);
    let [known] = rest.fixed()?;
    let total = u64::from_le_bytes(rest.fixed()?);
    let note = rest.text()?.to_owned();
    let tensors = Tensors::from_bytes(rest.0).map_err(|_| RestartReason::Damaged)?;
    Ok((Progress { done, total: (known == 1).then_some(total) }, State { tensors, note }))
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(u32::try_from(text.len()).expect("names and notes are far shorter than 4 GiB").to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], RestartReason> {
        let (taken, left) = self.0.split_at_checked(count).ok_or(RestartReason::Damaged)?;
        self.0 = left;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], RestartReason> {
        self.take(N).map(|bytes| bytes.try_into().expect("just as many were taken"))
    }

    fn text(&mut self) -> Result<&'a str, RestartReason> {
        let count = usize::try_from(u32::from_le_bytes(self.fixed()?)).map_err(|_| RestartReason::Damaged)?;
        std::str::from_utf8(self.take(count)?).map_err(|_| RestartReason::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use siding_core::tensor::{Tensor, TensorData};

    use super::*;

    fn identity() -> Identity {
        Identity {
            job: JobId::generate(),
            model: "m".parse().expect("name"),
            version: "1".parse().expect("name"),
            manifest: [1; 32],
            input: [2; 32],
        }
    }

    fn state() -> State {
        let mut tensors = Tensors::new();
        let cache = Tensor::new(vec![1, 2], TensorData::Fp32(vec![-0.0, f32::MIN_POSITIVE])).expect("fits");
        tensors.push("cache", cache).expect("unique");
        State { tensors, note: r#"{"step":7}"#.into() }
    }

    #[test]
    fn a_state_comes_back_for_its_own_computation() {
        let identity = identity();
        for total in [None, Some(0), Some(10)] {
            let progress = Progress { done: 7, total };
            let bytes = encode(&identity, Attempt(3), progress, &state());
            assert_eq!(decode(&bytes, &identity), Ok((progress, state())), "{total:?}");
            assert_ne!(bytes, encode(&identity, Attempt(4), progress, &state()), "each writer has a blob of its own");
        }
    }

    #[test]
    fn a_state_of_anything_else_is_foreign() {
        let own = identity();
        let bytes = encode(&own, Attempt(1), Progress { done: 1, total: None }, &state());
        let others = [
            ("job", Identity { job: JobId::generate(), ..own.clone() }),
            ("model", Identity { model: "n".parse().expect("name"), ..own.clone() }),
            ("version", Identity { version: "2".parse().expect("name"), ..own.clone() }),
            ("manifest", Identity { manifest: [9; 32], ..own.clone() }),
            ("input", Identity { input: [9; 32], ..own.clone() }),
        ];
        for (what, other) in others {
            assert_eq!(decode(&bytes, &other), Err(RestartReason::Foreign), "another {what}");
        }
    }

    #[test]
    fn a_manifest_that_says_anything_else_is_another_one() {
        let text = "name = \"m\"\nversion = \"1\"\ndescription = \"\"\nlicense = \"\"\nsource = \"\"\nrunner = \"scripted\"\ncost = { base_ms = 1 }\n";
        let job = JobId::generate();
        let of = |text: &str| Identity::new(job, &Manifest::parse(text).expect("valid"), "{}");
        let bytes = encode(&of(text), Attempt(1), Progress { done: 1, total: None }, &state());
        decode(&bytes, &of(text)).expect("the same");
        assert_eq!(decode(&bytes, &of(&text.replace("base_ms = 1", "base_ms = 2"))), Err(RestartReason::Foreign));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_refused() {
        let identity = identity();
        let bytes = encode(&identity, Attempt(1), Progress { done: 1, total: Some(2) }, &state());
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end], &identity), Err(RestartReason::Damaged), "cut at {end}");
        }
        assert_eq!(decode(&[&bytes[..], &[0]].concat(), &identity), Err(RestartReason::Damaged), "longer");
        for at in 0..bytes.len() {
            let expected = if (8..12).contains(&at) { RestartReason::Version } else { RestartReason::Damaged };
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert_eq!(decode(&flipped, &identity), Err(expected), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_checkpoint_is_due_after_its_interval_and_costs_less_than_a_hundredth() {
        let ms = Duration::from_millis;
        let rows = [
            ("too early", 999, Last::Took(ms(0)), false),
            ("the interval is over", 1000, Last::Took(ms(0)), true),
            ("a cheap one", 1000, Last::Took(ms(10)), true),
            ("a dear one waits", 1099, Last::Took(ms(11)), false),
            ("until it costs a hundredth", 1100, Last::Took(ms(11)), true),
            ("one that failed waits for a while", 3999, Last::Failed, false),
            ("and no longer, whatever the failure took", 4000, Last::Failed, true),
        ];
        for (reason, since, last, expected) in rows {
            assert_eq!(checkpoint_due(ms(since), last, ms(1000)), expected, "{reason}");
        }
    }
}
