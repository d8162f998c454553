//! Identifiers: every one is a newtype that can only hold a valid value. Parsing happens here, once, at the edge; inside the
//! system nothing is checked again. No identifier may ever become a path, a URL or SQL text without having passed here.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::limits;

/// Why a text is not the identifier it was given for. The message is safe to show to a caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {problem}")]
pub struct Invalid {
    /// The identifier's kind, a glossary noun such as `job id`.
    pub kind: &'static str,
    /// What is wrong and what would be right.
    pub problem: String,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new identifier, time-ordered (UUID version 7), so that rows written together lie together.
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// The UUID inside.
            #[must_use]
            pub fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            /// Accepts the hyphenated form only: one identifier has one spelling.
            fn from_str(text: &str) -> Result<Self, Invalid> {
                let invalid = || Invalid {
                    kind: $kind,
                    problem: "must be a UUID written as 8-4-4-4-12 hexadecimal digits".into(),
                };
                if text.len() != 36 {
                    return Err(invalid());
                }
                Uuid::try_parse(text).map(Self).map_err(|_| invalid())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0.hyphenated())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0.hyphenated())
            }
        }
    };
}

uuid_id!(
    /// Names one job for ever. Given by the caller (`PUT /v1/jobs/{id}`) or generated.
    JobId,
    "job id"
);
uuid_id!(
    /// Names one worker process for its lifetime. It is not a fence: a restarted worker has another one.
    WorkerId,
    "worker id"
);

uuid_id!(
    /// Names one publication of a job: a message, however often the broker hands it out. A job that is published again gets another one.
    MessageId,
    "message id"
);

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text; always matches `[A-Za-z0-9][A-Za-z0-9._-]*` and never contains `..`.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                check_name(text).map_err(|problem| Invalid { kind: $kind, problem })?;
                Ok(Self(text.into()))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_id!(
    /// A model's folder name in the repository. Safe as one path component by construction.
    ModelName,
    "model name"
);
name_id!(
    /// A model version's folder name, for example `1`. Safe as one path component by construction.
    ModelVersion,
    "model version"
);
name_id!(
    /// A lane's name; also the last word of its queue's name.
    LaneName,
    "lane name"
);

/// One rule for every name that may become a path component or a queue name.
fn check_name(text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > limits::NAME_BYTES_MAX {
        return Err(format!("must have 1 to {} characters", limits::NAME_BYTES_MAX));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !text.chars().all(allowed) {
        return Err("may contain only letters, digits, '.', '_' and '-'".into());
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || text.contains("..") {
        return Err("must start with a letter or digit and must not contain '..'".into());
    }
    Ok(())
}

/// The number of an attempt: 1 for the first. Numbered without end, interrupted ones included. It is the fence: every write
/// of a running attempt carries it, and the store refuses a number that is no longer the job's newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attempt(pub u32);

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The number of an event within its job: 1 for the first, without gaps. A caller's cursor is the last one it has seen; 0
/// means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventSeq(pub u32);

impl fmt::Display for EventSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A caller's key that makes repeated submissions one job. 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct IdempotencyKey(Arc<str>);

impl IdempotencyKey {
    /// The key without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key of one job of a batch that has this key: the space in it keeps it apart from every key that a caller can give.
    #[must_use]
    pub fn of_place(&self, index: usize) -> Self {
        Self(format!("{} {index}", self.0).into())
    }
}

impl<'de> Deserialize<'de> for IdempotencyKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for IdempotencyKey {
    type Err = Invalid;

    /// Accepts the Structured Field string of draft-ietf-httpapi-idempotency-key-header (`"key"`) and the bare form that
    /// Stripe-style clients send (`key`); both spellings are the same key.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bare = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
        let ok = !bare.is_empty()
            && bare.len() <= limits::IDEMPOTENCY_KEY_BYTES_MAX
            && bare.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
        if !ok {
            return Err(Invalid {
                kind: "Idempotency-Key",
                problem: format!(
                    "must be 1 to {} visible ASCII characters without quotes or backslashes inside",
                    limits::IDEMPOTENCY_KEY_BYTES_MAX
                ),
            });
        }
        Ok(Self(bare.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_a_folder_are_refused() {
        let long = "a".repeat(limits::NAME_BYTES_MAX + 1);
        let rows = [
            ("minilm", true),
            ("a", true),
            ("v1.2-x_y", true),
            ("", false),
            (".", false),
            ("..", false),
            ("a..b", false),
            (".hidden", false),
            ("-flag", false),
            ("a/b", false),
            ("../etc/passwd", false),
            ("a\\b", false),
            ("a%2fb", false),
            ("a\0b", false),
            ("ä", false),
            (long.as_str(), false),
        ];
        for (text, ok) in rows {
            assert_eq!(text.parse::<ModelName>().is_ok(), ok, "{text:?}");
        }
    }

    #[test]
    fn a_job_id_has_one_spelling() {
        let id = JobId::generate();
        assert_eq!(id.to_string().parse::<JobId>().expect("round trip"), id);
        for bad in [
            "",
            "1",
            "{0190b7c0-0000-7000-8000-000000000000}",
            "0190b7c000007000800000000000000a",
            "../../../../../../../../etc/passwd..",
        ] {
            assert!(bad.parse::<JobId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_quoted_and_a_bare_idempotency_key_are_the_same_key() {
        let key = |text: &str| text.parse::<IdempotencyKey>();
        assert_eq!(key("\"abc-1\"").expect("quoted"), key("abc-1").expect("bare"));
        for bad in ["", "\"\"", "a b", "a\"b", "\"abc", "ä"] {
            assert!(key(bad).is_err(), "{bad:?}");
        }
    }
}
