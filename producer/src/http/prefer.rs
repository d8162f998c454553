//! The `Prefer` header (RFC 7240): what of it we honour. It never refuses: a preference that is unknown or malformed is ignored,
//! as the RFC asks.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use siding_core::limits;

/// How a caller would like to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preference {
    /// Nothing is preferred: at once.
    None,
    /// `respond-async`: at once, explicitly.
    Async,
    /// `wait=n`: when the job has ended, or after so many seconds, at most `limits::PREFER_WAIT_SECS_MAX`.
    Wait {
        /// The seconds.
        secs: u64,
    },
}

impl Preference {
    /// Reads the header. `wait` wins over `respond-async`: both together mean "asynchronously, if it takes longer than that".
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Self {
        let lines = headers.get_all("prefer").into_iter().filter_map(|value| value.to_str().ok());
        let words = lines.flat_map(|line| line.split(',')).filter_map(|part| part.split(';').next());
        let mut preference = Self::None;
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("wait") {
                let secs = if value.is_empty() { Ok(limits::PREFER_WAIT_SECS_MAX) } else { value.parse() };
                // The first one counts, says the RFC.
                if let (Ok(secs), false) = (secs, matches!(preference, Self::Wait { .. })) {
                    preference = Self::Wait { secs: u64::min(secs, limits::PREFER_WAIT_SECS_MAX) };
                }
            } else if name.eq_ignore_ascii_case("respond-async") && preference == Self::None {
                preference = Self::Async;
            }
        }
        preference
    }

    /// How long to wait for the job's end.
    #[must_use]
    pub fn wait(self) -> Option<Duration> {
        match self {
            Self::Wait { secs } if secs > 0 => Some(Duration::from_secs(secs)),
            Self::None | Self::Async | Self::Wait { .. } => None,
        }
    }

    /// The `Preference-Applied` header of the answer.
    #[must_use]
    pub fn applied(self) -> Option<HeaderValue> {
        match self {
            Self::None => None,
            Self::Async => Some(HeaderValue::from_static("respond-async")),
            Self::Wait { secs } => Some(HeaderValue::from_str(&format!("wait={secs}")).expect("digits")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_is_honoured_up_to_the_limit_and_ignored_when_malformed() {
        use Preference::{Async, None, Wait};
        let rows: [(&[&str], Preference); 13] = [
            (&[], None),
            (&["wait=5"], Wait { secs: 5 }),
            (&["Wait = \"5\""], Wait { secs: 5 }),
            (&["wait"], Wait { secs: 60 }),
            (&["wait=999999"], Wait { secs: 60 }),
            (&["wait=0"], Wait { secs: 0 }),
            (&["wait=-1"], None),
            (&["wait=soon"], None),
            (&["wait=99999999999999999999999"], None),
            (&["respond-async"], Async),
            (&["respond-async, wait=10"], Wait { secs: 10 }),
            (&["return=minimal; x=1, wait=3; y", "wait=4"], Wait { secs: 3 }),
            (&["handling=lenient"], None),
        ];
        for (lines, expected) in rows {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("prefer", HeaderValue::from_static(line));
            }
            assert_eq!(Preference::read(&headers), expected, "{lines:?}");
        }
    }
}
