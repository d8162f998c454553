//! Putting the layers of settings together: defaults, file, variables, command line. It decides which layer wins, finds everything that is
//! wrong before it gives up, and remembers where each value comes from. It must never print a secret.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use config::{Config, Value, ValueKind};
use serde::Serialize;

use super::{
    SecretUrl, Settings,
    layer::{self, LANES, Layer},
};
use crate::lane::Lane;

/// Where settings come from beside the defaults, in rising order.
#[derive(Default)]
pub struct Sources {
    /// The file given with `--config`.
    pub file: Option<PathBuf>,
    /// The process's variables; only those of settings are read.
    pub variables: Vec<(String, OsString)>,
    /// What the command line sets.
    pub flags: Vec<Flag>,
}

/// A setting given on the command line.
pub struct Flag {
    /// As it is written there.
    pub name: &'static str,
    /// The key that it sets.
    pub key: &'static str,
    /// Its value.
    pub value: String,
}

impl Sources {
    /// `file` and this process's variables.
    #[must_use]
    pub fn of_process(file: Option<&Path>) -> Self {
        let named = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        Self { file: file.map(Path::to_path_buf), variables: std::env::vars_os().filter_map(named).collect(), flags: Vec::new() }
    }

    /// And the flag `name`, when it was given.
    #[must_use]
    pub fn flag(mut self, name: &'static str, key: &'static str, value: Option<impl ToString>) -> Self {
        self.flags.extend(value.map(|value| Flag { name, key, value: value.to_string() }));
        self
    }
}

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wrong {
    /// The key, for example `store.url`; empty when a whole file cannot be read.
    pub key: String,
    /// Where its value comes from.
    pub origin: String,
    /// What is wrong with it; never the value itself.
    pub what: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.origin, self.what),
            key => write!(f, "{key} ({}): {}", self.origin, self.what),
        }
    }
}

/// Why the settings cannot be used: everything that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the settings cannot be used:{}", .0.iter().map(|wrong| format!("\n  {wrong}")).collect::<String>())]
pub struct Error(pub Vec<Wrong>);

/// The settings that hold, and where each comes from.
pub struct Effective {
    /// What the process works with.
    pub settings: Settings,
    /// Every key, in the order of `defaults.toml`.
    pub shown: Vec<Shown>,
}

/// One setting as people may see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// For example `store.url` or `lanes.short.prefetch`.
    pub key: String,
    /// Its value, without secrets.
    pub value: serde_json::Value,
    /// Where it comes from.
    pub origin: String,
}

impl Effective {
    /// Reads every layer and checks the outcome.
    ///
    /// # Errors
    /// `Error` with everything that is wrong, whichever layer it stands in.
    pub fn load(sources: &Sources) -> Result<Self, Error> {
        let file = sources.file.as_deref().map(Layer::of_file);
        let layers = [Layer::of_variables(&sources.variables), Layer::of_flags(&sources.flags)];
        let (mut wrong, mut own_files) = (Vec::new(), BTreeSet::new());
        let mut builder = Config::builder().add_source(Layer::defaults());
        for layer in file.into_iter().chain(layers) {
            wrong.extend(layer.wrong.iter().cloned());
            for (key, given) in &layer.given {
                if given.from_own_file {
                    own_files.insert(key.clone())
                } else {
                    own_files.remove(key)
                };
            }
            builder = builder.add_source(layer);
        }
        let config = builder.build().map_err(|error| Error(vec![unplaced(&error)]))?;
        let (settings, found) = parse(&config.cache);
        wrong.extend(found);
        wrong.extend(settings.wrong().into_iter().map(|(key, what)| Wrong {
            key: key.to_owned(),
            origin: origin(&config.cache, key),
            what,
        }));
        match wrong.is_empty() {
            true => Ok(Self { shown: show(&config.cache, &own_files), settings }),
            false => Err(Error(wrong)),
        }
    }
}

/// The settings that `values` say, with defaults in place of those that cannot be read; and what is wrong with these.
fn parse(values: &Value) -> (Settings, Vec<Wrong>) {
    let mut wrong = lanes(values);
    let mut values = values.clone();
    let defaults = Config::builder().add_source(Layer::defaults()).build().map(|config| config.cache).unwrap_or_default();
    let heal = |values: &mut Value, key: &str| match (at_mut(values, key), at(&defaults, key)) {
        (Some(value), Some(default)) if value != default => {
            *value = default.clone();
            true
        }
        _ => false,
    };
    if !wrong.is_empty() {
        heal(&mut values, LANES);
    }
    loop {
        let error = match serde_path_to_error::deserialize::<_, Settings>(values.clone()) {
            Ok(settings) => return (settings, wrong),
            Err(error) => error,
        };
        let key = error.path().to_string();
        wrong.push(Wrong { origin: origin(&values, &key), what: told(error.inner()), key: key.clone() });
        // Every turn puts one more default in its place, so there are no more turns than keys.
        if !heal(&mut values, &key) {
            return (Settings::default(), wrong);
        }
    }
}

/// What is wrong with single lanes.
fn lanes(values: &Value) -> Vec<Wrong> {
    let lanes = match at(values, LANES).map(|lanes| &lanes.kind) {
        Some(ValueKind::Array(lanes)) => lanes.as_slice(),
        _ => &[],
    };
    let parsed = lanes.iter().map(|lane| serde_path_to_error::deserialize::<_, Lane>(lane.clone()).err());
    let wrong = parsed.enumerate().filter_map(|(index, error)| Some((index, error?)));
    // What has an unknown key was told by its layer, with the nearest known one.
    let wrong = wrong.filter(|(_, error)| !error.inner().to_string().contains("unknown field"));
    wrong
        .map(|(index, error)| {
            let key = match error.path().to_string().as_str() {
                "." => format!("lanes[{index}]"),
                inner => format!("lanes[{index}].{inner}"),
            };
            Wrong { key, origin: origin(values, LANES), what: told(error.inner()) }
        })
        .collect()
}

/// What is wrong, without the key and the place, which stand beside it.
fn told(error: &config::ConfigError) -> String {
    let text = error.to_string();
    text.split_once(" for key `").map_or(text.as_str(), |(what, _)| what).to_owned()
}

fn unplaced(error: &config::ConfigError) -> Wrong {
    Wrong { key: String::new(), origin: "settings".to_owned(), what: error.to_string() }
}

fn at<'a>(values: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(values, |value, name| match &value.kind {
        ValueKind::Table(table) => table.get(name),
        _ => None,
    })
}

fn at_mut<'a>(values: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    key.split('.').try_fold(values, |value, name| match &mut value.kind {
        ValueKind::Table(table) => table.get_mut(name),
        _ => None,
    })
}

fn origin(values: &Value, key: &str) -> String {
    at(values, key).and_then(Value::origin).unwrap_or("default").to_owned()
}

fn show(values: &Value, own_files: &BTreeSet<String>) -> Vec<Shown> {
    let mut shown: Vec<Shown> = layer::keys()
        .map(|key| {
            let plain = at(values, key).map_or(serde_json::Value::Null, json);
            let value = match &plain {
                serde_json::Value::String(url) if key.ends_with(".url") => SecretUrl::from(url.as_str()).to_string().into(),
                _ if own_files.contains(key) => "***".into(),
                _ => plain,
            };
            Shown { key: key.to_owned(), value, origin: origin(values, key) }
        })
        .collect();
    let lanes = at(values, LANES).map_or(serde_json::Value::Null, json);
    for lane in lanes.as_array().into_iter().flatten().filter_map(serde_json::Value::as_object) {
        let name = lane.get("name").and_then(serde_json::Value::as_str).unwrap_or_default();
        shown.extend(lane.iter().filter(|(key, _)| *key != "name").map(|(key, value)| Shown {
            key: format!("lanes.{name}.{key}"),
            value: value.clone(),
            origin: origin(values, LANES),
        }));
    }
    shown
}

fn json(value: &Value) -> serde_json::Value {
    match &value.kind {
        ValueKind::Nil => serde_json::Value::Null,
        ValueKind::Boolean(truth) => (*truth).into(),
        ValueKind::I64(whole) => (*whole).into(),
        ValueKind::U64(whole) => (*whole).into(),
        ValueKind::Float(number) => (*number).into(),
        ValueKind::String(text) => text.as_str().into(),
        ValueKind::I128(whole) => whole.to_string().into(),
        ValueKind::U128(whole) => whole.to_string().into(),
        ValueKind::Table(table) => {
            table.iter().map(|(key, value)| (key.clone(), json(value))).collect::<serde_json::Map<_, _>>().into()
        }
        ValueKind::Array(values) => values.iter().map(json).collect::<Vec<_>>().into(),
    }
}

#[cfg(test)]
mod tests;
