//! One level of a JSON object as text: names and the untouched text of their values. It bounds how many fields are held and finds
//! repeated names; it never looks inside a value and never recurses, so no depth of nesting can hurt it.

use std::fmt::Write;

use serde::de::{Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::InputProblem;

/// Longest piece of a caller's text that is repeated in a problem, in characters.
const QUOTED_CHARS_MAX: usize = 40;
/// Longest text of the JSON parser in a problem, in characters: it may repeat a caller's string.
const ERROR_CHARS_MAX: usize = 200;

/// An object's fields in the caller's order, names unique.
#[derive(Debug)]
pub(crate) struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Reads `text` as an object of at most `fields_max` fields. `pointer` is where it stands.
    pub(crate) fn parse(text: &'a str, pointer: &str, fields_max: usize) -> Result<Self, InputProblem> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let fields = serde::Deserializer::deserialize_map(&mut deserializer, Object { fields_max })
            .and_then(|fields| deserializer.end().map(|()| fields))
            .map_err(|error| InputProblem {
                pointer: pointer.into(),
                detail: format!("must be a JSON object: {}", cut(&error.to_string(), ERROR_CHARS_MAX)),
            })?;
        for (index, (name, _)) in fields.iter().enumerate() {
            if fields[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(InputProblem { pointer: join(pointer, name), detail: "is given twice".into() });
            }
        }
        Ok(Self(fields))
    }

    /// The text of the value of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.get())
    }

    /// All names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

/// Appends one step to a JSON pointer. A name longer than any known one is cut: it is there to be recognised.
pub(crate) fn join(pointer: &str, name: &str) -> String {
    let name: String = name.chars().take(crate::limits::NAME_BYTES_MAX).collect();
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Appends array positions to a JSON pointer.
pub(crate) fn join_indices(pointer: &str, indices: &[usize]) -> String {
    let mut pointer = pointer.to_owned();
    for index in indices {
        write!(pointer, "/{index}").expect("writing to a String cannot fail");
    }
    pointer
}

/// A piece of the caller's text for a problem, cut when it is long.
pub(crate) fn quoted(text: &str) -> String {
    cut(text, QUOTED_CHARS_MAX)
}

fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

struct Object {
    fields_max: usize,
}

impl<'de> Visitor<'de> for Object {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if fields.len() == self.fields_max {
                return Err(A::Error::custom(format!("it has more than {} fields", self.fields_max)));
            }
            fields.push((name, map.next_value::<&RawValue>()?));
        }
        Ok(fields)
    }
}
