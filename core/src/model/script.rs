//! What a scripted model is asked to do: behaviour on request, for tests and for measuring everything but the model. It decides which
//! scripts are valid; it never carries one out (the worker's scripted runtime does).

use crate::{
    limits,
    tensor::{
        InputProblem,
        fields::{Fields, join, quoted},
    },
};

/// Most steps of one delay, and most chunks of one stream.
const STEPS_MAX: u64 = 100_000;
/// Most runs that one script may ask to fail.
const FAILURES_MAX: u64 = 1_000_000;
/// Deepest nesting of a value that is echoed: it is stored and shown, where others may recurse.
const ECHO_DEPTH_MAX: usize = 64;

/// One script: `{"op": "...", ...}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script<'a> {
    /// `{"op":"echo","value":v}`: the output is `v`.
    Echo {
        /// Any JSON value, as text.
        value: &'a str,
    },
    /// `{"op":"delay","ms":n,"steps":k?,"pad":"s"?}`: waits `n` ms, in `k` equal steps with progress after each when `k` is given;
    /// the output is `n`. `pad` only makes the input large.
    Delay {
        /// How long, in milliseconds.
        ms: u64,
        /// In how many steps.
        steps: Option<u64>,
    },
    /// `{"op":"fail","times":n,"key":"k","message":"m"?}`: the first `n` runs with this key in this process fail, later ones
    /// give how often it has failed.
    Fail {
        /// How many runs fail.
        times: u64,
        /// Which count is meant; as JSON text, with its quotes.
        key: &'a str,
        /// What the failure says, as JSON text with its quotes.
        message: Option<&'a str>,
    },
    /// `{"op":"panic"}`: panics.
    Panic,
    /// `{"op":"hang","deaf":b?}`: runs until it is stopped; a deaf one for ever, after a piece of output.
    Hang {
        /// Whether it does not heed its stop.
        deaf: bool,
    },
    /// `{"op":"crash"}`: ends its process by SIGABRT; fails outside of a model process.
    Crash,
    /// `{"op":"eat","bytes":n}`: takes so much memory and gives how much it has; fails outside of a model process.
    Eat {
        /// How many bytes.
        bytes: u64,
    },
    /// `{"op":"noop"}`: does nothing; the output is `null`.
    Noop,
    /// `{"op":"stream","chunks":n}`: reports the numbers 0 to `n` - 1 as pieces of output; the output is `n`.
    Stream {
        /// How many pieces.
        chunks: u64,
    },
    /// `{"op":"big","bytes":n}`: the output is a string whose JSON text has `n` bytes (at least 2, the quotes).
    Big {
        /// How many bytes.
        bytes: u64,
    },
}

impl<'a> Script<'a> {
    /// Parses a script. Pointers are relative to the input.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(json: &'a str) -> Result<Self, InputProblem> {
        let fields = Fields::parse(json, "", 8)?;
        let read = Reader { fields };
        let op = read.text("op")?.ok_or_else(|| problem("op", format!("is missing: one of {OPS}")))?;
        let (script, known): (Self, &[&str]) = match op.trim_matches('"') {
            "echo" => (Self::Echo { value: read.echoed()? }, &["value"]),
            "delay" => {
                let steps = read.fields.get("steps").map(|_| read.number("steps", 1, STEPS_MAX)).transpose()?;
                read.text("pad")?;
                (Self::Delay { ms: read.number("ms", 0, limits::HORIZON_MS_MAX)?, steps }, &["ms", "steps", "pad"])
            }
            "fail" => {
                let key = read.text("key")?.ok_or_else(|| problem("key", "is missing: a string".into()))?;
                let times = read.number("times", 0, FAILURES_MAX)?;
                (Self::Fail { times, key, message: read.text("message")? }, &["times", "key", "message"])
            }
            "panic" => (Self::Panic, &[]),
            "hang" => (Self::Hang { deaf: read.flag("deaf")? }, &["deaf"]),
            "crash" => (Self::Crash, &[]),
            "eat" => (Self::Eat { bytes: read.number("bytes", 1, u64::from(u32::MAX))? }, &["bytes"]),
            "noop" => (Self::Noop, &[]),
            "stream" => (Self::Stream { chunks: read.number("chunks", 0, STEPS_MAX)? }, &["chunks"]),
            "big" => (Self::Big { bytes: read.number("bytes", 2, u64::from(u32::MAX))? }, &["bytes"]),
            _ => return Err(problem("op", format!("must be one of {OPS}, not {}", quoted(op)))),
        };
        match read.fields.names().find(|name| *name != "op" && !known.contains(name)) {
            Some(unknown) => Err(InputProblem { pointer: join("", unknown), detail: format!("is not a field of {op}") }),
            None => Ok(script),
        }
    }

    /// The size that a cost profile is computed from: the milliseconds of a delay, 0 for everything else.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a delay is at most limits::HORIZON_MS_MAX")]
    pub fn size(&self) -> f64 {
        match self {
            Self::Delay { ms, .. } => *ms as f64,
            _ => 0.0,
        }
    }
}

const OPS: &str = "echo, delay, fail, panic, hang, crash, eat, noop, stream, big";

fn problem(field: &str, detail: String) -> InputProblem {
    InputProblem { pointer: join("", field), detail }
}

struct Reader<'a> {
    fields: Fields<'a>,
}

impl<'a> Reader<'a> {
    /// A string field, as JSON text with its quotes.
    fn text(&self, name: &str) -> Result<Option<&'a str>, InputProblem> {
        match self.fields.get(name) {
            Some(text) if !text.starts_with('"') => Err(problem(name, format!("must be a string, not {}", quoted(text)))),
            text => Ok(text),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, InputProblem> {
        match self.fields.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(text) => Err(problem(name, format!("must be true or false, not {}", quoted(text)))),
        }
    }

    fn number(&self, name: &str, min: u64, max: u64) -> Result<u64, InputProblem> {
        let expected = format!("a whole number from {min} to {max}");
        let text = self.fields.get(name).ok_or_else(|| problem(name, format!("is missing: {expected}")))?;
        let number = text.parse().ok().filter(|number| (min..=max).contains(number));
        number.ok_or_else(|| problem(name, format!("must be {expected}, not {}", quoted(text))))
    }

    fn echoed(&self) -> Result<&'a str, InputProblem> {
        let value = self.fields.get("value").ok_or_else(|| problem("value", "is missing: any JSON value".into()))?;
        if depth(value) > ECHO_DEPTH_MAX {
            return Err(problem("value", format!("is nested deeper than {ECHO_DEPTH_MAX} levels")));
        }
        Ok(value)
    }
}

/// How deep arrays and objects nest in valid JSON text.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_says_one_thing_and_nothing_unknown() {
        let deep = format!("{{\"op\":\"echo\",\"value\":{}1{}}}", "[".repeat(65), "]".repeat(65));
        let rows: &[(&str, Result<Script<'_>, &str>)] = &[
            (r#"{"op":"noop"}"#, Ok(Script::Noop)),
            (r#"{"value":{"a":[1]},"op":"echo"}"#, Ok(Script::Echo { value: r#"{"a":[1]}"# })),
            (r#"{"op":"echo","value":"[[[]"}"#, Ok(Script::Echo { value: r#""[[[]""# })),
            (r#"{"op":"delay","ms":5}"#, Ok(Script::Delay { ms: 5, steps: None })),
            (r#"{"op":"delay","ms":5,"steps":2}"#, Ok(Script::Delay { ms: 5, steps: Some(2) })),
            (r#"{"op":"delay","ms":5,"pad":"xx"}"#, Ok(Script::Delay { ms: 5, steps: None })),
            (r#"{"op":"delay","ms":5,"pad":7}"#, Err("/pad")),
            (r#"{"op":"fail","times":1,"key":"k"}"#, Ok(Script::Fail { times: 1, key: "\"k\"", message: None })),
            (r#"{"op":"big","bytes":100}"#, Ok(Script::Big { bytes: 100 })),
            (r#"{"op":"hang"}"#, Ok(Script::Hang { deaf: false })),
            (r#"{"op":"hang","deaf":true}"#, Ok(Script::Hang { deaf: true })),
            (r#"{"op":"hang","deaf":1}"#, Err("/deaf")),
            (r#"{"op":"crash"}"#, Ok(Script::Crash)),
            (r#"{"op":"eat","bytes":9}"#, Ok(Script::Eat { bytes: 9 })),
            (r#"{"op":"eat","bytes":0}"#, Err("/bytes")),
            (r#"{"op":"stream","chunks":3}"#, Ok(Script::Stream { chunks: 3 })),
            ("7", Err("")),
            ("{}", Err("/op")),
            (r#"{"op":7}"#, Err("/op")),
            (r#"{"op":"dance"}"#, Err("/op")),
            (r#"{"op":"noop","ms":1}"#, Err("/ms")),
            (r#"{"op":"noop","op":"noop"}"#, Err("/op")),
            (r#"{"op":"delay"}"#, Err("/ms")),
            (r#"{"op":"delay","ms":-1}"#, Err("/ms")),
            (r#"{"op":"delay","ms":1.5}"#, Err("/ms")),
            (r#"{"op":"delay","ms":99999999999}"#, Err("/ms")),
            (r#"{"op":"delay","ms":1,"steps":0}"#, Err("/steps")),
            (r#"{"op":"fail","times":1}"#, Err("/key")),
            (r#"{"op":"fail","times":1,"key":1}"#, Err("/key")),
            (r#"{"op":"echo"}"#, Err("/value")),
            (deep.as_str(), Err("/value")),
        ];
        for (json, expected) in rows {
            let found = Script::parse(json);
            assert_eq!(found.as_ref().map_err(|p| p.pointer.as_str()), expected.as_ref().map_err(|p| *p), "{json}: {found:?}");
        }
    }
}
