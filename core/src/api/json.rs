//! Reading a request's JSON: strictly, with bounded memory and work, and with errors that say where. It decides what is acceptable
//! JSON for every route; it never builds a tree of values, and what a body means is its type's to say.

use std::{cell::Cell, collections::HashSet, fmt};

use serde::de::{Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use crate::{
    limits,
    problem::{Code, Problem, WrongValue},
};

/// The body as a `T`.
///
/// # Errors
/// `malformed_json` for text that is not strict JSON or a bomb, with line and column; `invalid_request` for a field that is
/// unknown, missing or of the wrong type, with its pointer.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    parse_as("body", body)
}

/// One job of a batch as a `T`: its text by itself, under the rules of a body.
///
/// # Errors
/// As `parse`; line, column and pointer begin with the job.
pub fn parse_job<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    parse_as("job", text.as_bytes())
}

fn parse_as<T: DeserializeOwned>(whole: &str, text: &[u8]) -> Result<T, Problem> {
    check(text).map_err(|error| malformed(whole, &error))?;
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(text)).map_err(|error| unfit(whole, &error))
}

/// The body as a `T` whose parts are raw texts that are parsed by themselves, each as a body of its own. Only the shell around them is
/// checked; of the parts, that they begin and end.
///
/// # Errors
/// As `parse`.
pub fn parse_shell<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let shell = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| match error.inner().classify() {
        Category::Data => unfit("body", &error),
        Category::Syntax | Category::Eof | Category::Io => malformed("body", error.inner()),
    })?;
    deserializer.end().map_err(|error| malformed("body", &error))?;
    Ok(shell)
}

fn malformed(whole: &str, error: &serde_json::Error) -> Problem {
    Problem::new(Code::MalformedJson, format!("The {whole} is not acceptable JSON: {error}."))
}

fn unfit(whole: &str, error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let wrong = WrongValue { pointer: cut(&pointer(error.path())), detail: cut(&error.inner().to_string()) };
    Problem::new(Code::InvalidRequest, format!("The {whole} does not fit: {}.", wrong.detail)).with_errors(vec![wrong])
}

/// A text that may quote the caller's own, short enough for an answer.
fn cut(text: &str) -> String {
    const SHOWN_CHARS: usize = 200;
    let mut shown: String = text.chars().take(SHOWN_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// Reads through the text once: syntax, UTF-8, numbers within range, no key twice in an object, no bomb.
fn check(body: &[u8]) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let keys = Cell::new(0);
    Strict { depth: 0, keys: &keys }.deserialize(&mut deserializer)?;
    deserializer.end()
}

/// The place of an error as a JSON pointer.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Map { key } => format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Enum { .. } | Segment::Unknown => pointer,
    })
}

/// Reads one value and keeps nothing of it but the keys of the objects around it.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    keys: &'a Cell<usize>,
}

impl Strict<'_> {
    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == limits::JSON_DEPTH_MAX {
            return Err(E::custom(format_args!("it is nested deeper than {} levels", limits::JSON_DEPTH_MAX)));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn count_key<E: serde::de::Error>(self) -> Result<(), E> {
        self.keys.set(self.keys.get() + 1);
        if self.keys.get() > limits::JSON_KEYS_MAX {
            return Err(E::custom(format_args!("it has more than {} keys", limits::JSON_KEYS_MAX)));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let below = self.below()?;
        while seq.next_element_seed(below)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let below = self.below()?;
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key_seed(Key)? {
            self.count_key()?;
            if seen.contains(&key) {
                return Err(A::Error::custom(format_args!("the key {:?} stands twice in one object", cut(&key))));
            }
            seen.insert(key);
            map.next_value_seed(below)?;
        }
        Ok(())
    }
}

/// An object's key.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        String::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SubmitRequest;

    fn refusal(body: impl AsRef<[u8]>) -> Option<Problem> {
        parse::<SubmitRequest>(body.as_ref()).err()
    }

    fn with_input(input: &str) -> String {
        format!(r#"{{"model":"spin","input":{input}}}"#)
    }

    #[test]
    fn what_is_not_strict_json_is_malformed_and_told_where() {
        let keys = |count: usize| (0..count).map(|i| format!("\"k{i}\":0")).collect::<Vec<_>>().join(",");
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let rows: Vec<(&str, Vec<u8>, &str)> = vec![
            ("nothing", b"".to_vec(), "line 1 column 0"),
            ("a word", b"hello".to_vec(), "line 1 column 1"),
            ("truncated", br#"{"model":"spin""#.to_vec(), "line 1 column 15"),
            ("second line", b"{\"model\":\"spin\",\n\"input\": oops}".to_vec(), "line 2"),
            ("trailing", format!("{} {{}}", with_input("{}")).into_bytes(), "trailing characters"),
            ("trailing comma", with_input("{\"a\":1,}").into_bytes(), "trailing comma"),
            ("not a number", with_input(r#"{"x":NaN}"#).into_bytes(), "line 1"),
            ("infinity", with_input(r#"{"x":Infinity}"#).into_bytes(), "line 1"),
            ("huge number", with_input(r#"{"x":1e400}"#).into_bytes(), "number out of range"),
            ("huge negative number", with_input(r#"{"x":-1e400}"#).into_bytes(), "number out of range"),
            ("leading zero", with_input(r#"{"x":01}"#).into_bytes(), "invalid number"),
            ("invalid UTF-8", b"{\"model\":\"\xff\"}".to_vec(), "line 1"),
            ("lone surrogate", with_input(r#"{"x":"\ud800"}"#).into_bytes(), "line 1"),
            ("byte order mark", b"\xef\xbb\xbf{}".to_vec(), "line 1 column 1"),
            ("duplicate key", br#"{"model":"a","model":"b","input":{}}"#.to_vec(), "\"model\" stands twice"),
            ("duplicate key inside", with_input(r#"{"x":1,"x":2}"#).into_bytes(), "\"x\" stands twice"),
            ("duplicate key in other words", with_input(r#"{"x":1,"\u0078":2}"#).into_bytes(), "\"x\" stands twice"),
            ("depth bomb", with_input(&deep(100_000)).into_bytes(), "deeper than 64"),
            ("open depth bomb", vec![b'['; 1_000_000], "deeper than 64"),
            ("object depth bomb", r#"{"a":"#.repeat(100_000).into_bytes(), "deeper than 64"),
            ("key bomb", with_input(&format!("{{{}}}", keys(1_000_000))).into_bytes(), "more than 10000 keys"),
        ];
        for (why, body, expected) in rows {
            let problem = refusal(&body).unwrap_or_else(|| panic!("{why} was accepted"));
            assert_eq!(problem.code, Code::MalformedJson, "{why}: {}", problem.detail);
            assert!(problem.detail.contains(expected) && problem.detail.len() < 300, "{why}: {}", problem.detail);
        }
    }

    #[test]
    fn a_field_that_does_not_fit_is_told_by_its_pointer() {
        let rows = [
            (r#"[]"#, "", "struct SubmitRequest"),
            (r#"{}"#, "", "missing field `model`"),
            (r#"{"model":"spin"}"#, "", "missing field `input`"),
            (r#"{"model":"spin","input":{},"priority":1}"#, "/priority", "unknown field `priority`"),
            (r#"{"model":7,"input":{}}"#, "/model", "invalid type"),
            (r#"{"model":"../etc","input":{}}"#, "/model", "model name"),
            (r#"{"model":"spin","version":"a/b","input":{}}"#, "/version", "model version"),
            (r#"{"model":"spin","input":{},"expected_ms":-1}"#, "/expected_ms", "invalid value"),
            (r#"{"model":"spin","input":{},"expected_ms":1.5}"#, "/expected_ms", "invalid type"),
            (r#"{"model":"spin","input":{},"delay_ms":99999999999999999999}"#, "/delay_ms", "invalid"),
            (r#"{"model":"spin","input":{},"attempts_max":4294967296}"#, "/attempts_max", "invalid value"),
        ];
        for (body, pointer, detail) in rows {
            let problem = refusal(body).unwrap_or_else(|| panic!("{body} was accepted"));
            assert_eq!(problem.code, Code::InvalidRequest, "{body}");
            assert_eq!(problem.errors[0].pointer, pointer, "{body}: {}", problem.detail);
            assert!(problem.errors[0].detail.contains(detail), "{body}: {}", problem.detail);
        }
    }

    #[test]
    fn an_answer_never_repeats_more_than_a_little_of_the_body() {
        let long = "x".repeat(1_000_000);
        let bodies = [
            format!(r#"{{"model":"spin","input":{{}},"expected_ms":"{long}"}}"#),
            format!(r#"{{"model":"spin","input":{{}},"{long}":1}}"#),
            with_input(&format!(r#"{{"{long}":1,"{long}":1}}"#)),
        ];
        for body in bodies {
            let problem = refusal(body).expect("refused");
            assert!(serde_json::to_string(&problem).expect("json").len() < 1500);
        }
    }

    #[test]
    fn a_good_body_keeps_its_input_to_the_byte() {
        let input = r#"{ "x": [1.0, 2e3, -0], "deep": [[[[[[[[1]]]]]]]] }"#;
        let request: SubmitRequest = parse(with_input(input).as_bytes()).expect("good");
        assert_eq!(request.input.get(), input);
    }
}
