//! The broker message: small (below 1 KiB), versioned, and a promise to other implementations. It says which job is due; it never
//! carries inputs, and nothing in it is believed over the store.

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    id::{Attempt, JobId, LaneName, MessageId, ModelName, ModelVersion},
};

/// A message that announces one due job. The tag is the version: a reader that meets an unknown one parks the message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "v")]
pub enum Envelope {
    /// The first version.
    #[serde(rename = "1")]
    V1(Due),
}

/// A due job, as version 1 tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Due {
    /// The job.
    pub job: JobId,
    /// The job's newest attempt when this was published; 0 before the first. Lets the store mark just this publication.
    pub attempt: Attempt,
    /// The lane, and so the queue.
    pub lane: LaneName,
    /// The model, for workers that keep some models warm.
    pub model: ModelName,
    /// Its version.
    pub version: ModelVersion,
    /// Since when the job is due: its age in the queue.
    pub due_at_ms: Timestamp,
    /// Median expected duration in milliseconds, for claiming in groups.
    pub expected_ms: f64,
    /// W3C trace context of the submission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Which publication this is. Only with it is a takeover certain; publishers before it sent none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageId>,
}

impl Envelope {
    /// The due job, whatever the version.
    #[must_use]
    pub fn due(&self) -> &Due {
        match self {
            Self::V1(due) => due,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_looks_like_this_for_ever() {
        let due = Due {
            job: "0190b7c0-0000-7000-8000-000000000001".parse().expect("uuid"),
            attempt: Attempt(0),
            lane: "instant".parse().expect("name"),
            model: "spin".parse().expect("name"),
            version: "1".parse().expect("name"),
            due_at_ms: Timestamp(1_700_000_000_000),
            expected_ms: 200.0,
            traceparent: None,
            message: None,
        };
        let golden = r#"{"v":"1","job":"0190b7c0-0000-7000-8000-000000000001","attempt":0,"lane":"instant","model":"spin","version":"1","due_at_ms":1700000000000,"expected_ms":200.0}"#;
        let message = Some("0190b7c0-0000-7000-8000-000000000002".parse().expect("uuid"));
        let with_message = golden.replace('}', r#","message":"0190b7c0-0000-7000-8000-000000000002"}"#);
        for (envelope, golden) in [(Envelope::V1(due.clone()), golden), (Envelope::V1(Due { message, ..due }), &with_message)] {
            assert_eq!(serde_json::to_string(&envelope).expect("json"), golden);
            assert_eq!(serde_json::from_str::<Envelope>(golden).expect("json"), envelope);
            // What a later version 1 adds is ignored.
            let later = golden.replace('}', r#","later":1}"#);
            assert_eq!(serde_json::from_str::<Envelope>(&later).expect("json"), envelope);
        }
        assert!(serde_json::from_str::<Envelope>(&golden.replace("\"v\":\"1\"", "\"v\":\"2\"")).is_err());
    }
}
