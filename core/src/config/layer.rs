//! One layer of settings: the keys that it gives, each with its value and where it stands. It decides which keys there are (those of `defaults.toml`)
//! and what kind of value each takes; it never decides whether a value makes sense, and it never repeats a value in an error.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::File,
    io::Read,
    path::Path,
    sync::LazyLock,
};

use config::{ConfigError, Map, Source, Value, ValueKind};
use toml::{Spanned, de::DeTable};

use super::{DEFAULTS, Flag, Wrong, nearest::nearest};
use crate::limits;

/// What a layer gives for one key.
#[derive(Clone)]
pub struct Given {
    /// The value, of the key's kind.
    pub value: ValueKind,
    /// Where it stands, for people.
    pub origin: String,
    /// Whether it was read from a file of its own, as secrets are.
    pub from_own_file: bool,
}

/// The keys that one layer gives, and what is wrong with it.
#[derive(Clone, Default)]
pub struct Layer {
    /// By key, for example `store.url`; `lanes` as a whole.
    pub given: BTreeMap<String, Given>,
    /// What cannot be used.
    pub wrong: Vec<Wrong>,
}

/// The key under which all lanes stand.
pub const LANES: &str = "lanes";

/// The kind of a key's value: that of its default.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Whole,
    Truth,
}

struct Known {
    /// In the order of `defaults.toml`.
    keys: Vec<(String, Kind)>,
    /// Keys of one lane.
    of_lanes: BTreeSet<String>,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let table: toml::Table = toml::from_str(DEFAULTS).expect("defaults.toml is compiled in and tested");
    let mut keys: Vec<(usize, String, Kind)> = Vec::new();
    let lines = Lines::of(DEFAULTS);
    for (section, values) in table.iter().filter_map(|(name, value)| Some((name, value.as_table()?))) {
        for (name, value) in values {
            let kind = match value {
                toml::Value::Integer(_) => Kind::Whole,
                toml::Value::Boolean(_) => Kind::Truth,
                _ => Kind::Text,
            };
            let key = format!("{section}.{name}");
            keys.push((lines.line(&key), key, kind));
        }
    }
    keys.sort_by_key(|(line, ..)| *line);
    let lanes = table.get(LANES).and_then(toml::Value::as_array).into_iter().flatten().filter_map(toml::Value::as_table);
    Known {
        keys: keys.into_iter().map(|(_, key, kind)| (key, kind)).collect(),
        of_lanes: lanes.flat_map(|lane| lane.keys().cloned()).collect(),
    }
});

/// Every key but the lanes', in the order of `defaults.toml`.
pub fn keys() -> impl Iterator<Item = &'static str> {
    KNOWN.keys.iter().map(|(key, _)| key.as_str())
}

impl Layer {
    /// What is compiled in.
    pub fn defaults() -> Self {
        Self::of_text(DEFAULTS, |_| "default".to_owned())
    }

    /// A file's.
    pub fn of_file(path: &Path) -> Self {
        let shown = path.display();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::of_text(&text, |line| format!("{shown}:{line}")),
            Err(error) => {
                let wrong = Wrong { key: String::new(), origin: shown.to_string(), what: format!("cannot be read: {error}") };
                Self { wrong: vec![wrong], ..Self::default() }
            }
        }
    }

    fn of_text(text: &str, origin: impl Fn(usize) -> String) -> Self {
        let mut layer = Self::default();
        let table = match toml::from_str::<toml::Table>(text) {
            Ok(table) => table,
            Err(error) => {
                let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
                layer.refuse(String::new(), origin(line), error.message().to_owned());
                return layer;
            }
        };
        let lines = Lines::of(text);
        for (name, value) in &table {
            let at = |key: &str| origin(lines.line(key));
            match value {
                toml::Value::Array(lanes) if name == LANES => layer.lanes(lanes, at(LANES)),
                toml::Value::Table(values) => {
                    for (inner, value) in values {
                        let key = format!("{name}.{inner}");
                        layer.put(&key, at(&key), Raw::Toml(value));
                    }
                }
                _ => layer.unknown(name, at(name)),
            }
        }
        layer
    }

    /// The variables whose name is `SIDING_<SECTION>__<KEY>`. Those without a section are no settings: `SIDING_SERVER` and `SIDING_CACHE` speak
    /// to the command line and to `make`.
    pub fn of_variables(variables: &[(String, std::ffi::OsString)]) -> Self {
        let mut layer = Self::default();
        for (name, value) in variables {
            let Some((section, key)) = name.strip_prefix("SIDING_").and_then(|name| name.split_once("__")) else { continue };
            let key = format!("{}.{}", section.to_lowercase(), key.to_lowercase());
            match value.to_str() {
                Some(value) => layer.put(&key, name.clone(), Raw::Text(value)),
                None => layer.refuse(key, name.clone(), "is not UTF-8".to_owned()),
            }
        }
        layer
    }

    /// The command line's.
    pub fn of_flags(flags: &[Flag]) -> Self {
        let mut layer = Self::default();
        for flag in flags {
            layer.put(flag.key, flag.name.to_owned(), Raw::Text(&flag.value));
        }
        layer
    }

    fn put(&mut self, key: &str, origin: String, raw: Raw) {
        let find = |key: &str| KNOWN.keys.iter().find(|(known, _)| known == key);
        let (key, kind, from_own_file) = match (find(key), key.strip_suffix("_file").and_then(find)) {
            (Some((key, kind)), _) => (key.clone(), *kind, false),
            (None, Some((key, kind))) => (key.clone(), *kind, true),
            (None, None) => return self.unknown(key, origin),
        };
        if let Some(other) = self.given.get(&key) {
            let what = format!("is also given by {}: remove one of them", other.origin);
            return self.refuse(key, origin, what);
        }
        let value = if from_own_file {
            raw.value(Kind::Text).and_then(|path| match path {
                ValueKind::String(path) => read_own_file(Path::new(&path)),
                _ => Err("must be the path of a file".to_owned()),
            })
        } else {
            Ok(None)
        };
        let value = value.and_then(|own| own.as_deref().map_or(raw, Raw::Text).value(kind));
        match value {
            Ok(value) => {
                self.given.insert(key, Given { value, origin, from_own_file });
            }
            Err(what) => self.refuse(key, origin, what),
        }
    }

    fn lanes(&mut self, lanes: &[toml::Value], origin: String) {
        for (index, lane) in lanes.iter().enumerate() {
            for key in lane.as_table().into_iter().flatten().map(|(key, _)| key) {
                if !KNOWN.of_lanes.contains(key) {
                    let what = meant(nearest(key, KNOWN.of_lanes.iter().map(String::as_str)));
                    self.refuse(format!("lanes[{index}].{key}"), origin.clone(), what);
                }
            }
        }
        let value = kind_of(&toml::Value::Array(lanes.to_vec()));
        self.given.insert(LANES.to_owned(), Given { value, origin, from_own_file: false });
    }

    fn unknown(&mut self, key: &str, origin: String) {
        let what = if key == LANES || key.starts_with("lanes.") {
            "lanes are tables of a file: [[lanes]]".to_owned()
        } else {
            meant(nearest(key, keys()))
        };
        self.refuse(key.to_owned(), origin, what);
    }

    fn refuse(&mut self, key: String, origin: String, what: String) {
        self.wrong.push(Wrong { key, origin, what });
    }
}

fn meant(near: Option<&str>) -> String {
    match near {
        Some(near) => format!("there is no such key; did you mean {near}?"),
        None => "there is no such key; `siding config show` lists them all".to_owned(),
    }
}

/// A value as it was given.
#[derive(Clone, Copy)]
enum Raw<'a> {
    Text(&'a str),
    Toml(&'a toml::Value),
}

impl Raw<'_> {
    fn value(self, kind: Kind) -> Result<ValueKind, String> {
        let value = match (self, kind) {
            (Raw::Text(text), Kind::Text) => Some(ValueKind::String(text.to_owned())),
            (Raw::Text(text), Kind::Whole) => text.trim().parse().ok().map(ValueKind::I64),
            (Raw::Text(text), Kind::Truth) => text.trim().parse().ok().map(ValueKind::Boolean),
            (Raw::Toml(value @ toml::Value::String(_)), Kind::Text)
            | (Raw::Toml(value @ toml::Value::Integer(_)), Kind::Whole)
            | (Raw::Toml(value @ toml::Value::Boolean(_)), Kind::Truth) => Some(kind_of(value)),
            (Raw::Toml(_), _) => None,
        };
        value.ok_or_else(|| {
            match kind {
                Kind::Text => "must be a text",
                Kind::Whole => "must be a whole number",
                Kind::Truth => "must be true or false",
            }
            .to_owned()
        })
    }
}

fn kind_of(value: &toml::Value) -> ValueKind {
    let inner = |value: &toml::Value| Value::new(None, kind_of(value));
    match value {
        toml::Value::String(text) => ValueKind::String(text.clone()),
        toml::Value::Integer(whole) => ValueKind::I64(*whole),
        toml::Value::Float(number) => ValueKind::Float(*number),
        toml::Value::Boolean(truth) => ValueKind::Boolean(*truth),
        toml::Value::Datetime(time) => ValueKind::String(time.to_string()),
        toml::Value::Array(values) => ValueKind::Array(values.iter().map(inner).collect()),
        toml::Value::Table(table) => ValueKind::Table(table.iter().map(|(key, value)| (key.clone(), inner(value))).collect()),
    }
}

/// A value's own file, as secrets are handed to containers, without the line's end that editors add.
fn read_own_file(path: &Path) -> Result<Option<String>, String> {
    let cannot = |error: &dyn fmt::Display| format!("cannot read {}: {error}", path.display());
    let mut text = String::new();
    let file = File::open(path).map_err(|error| cannot(&error))?;
    file.take(limits::SETTING_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| cannot(&error))?;
    if text.len() as u64 > limits::SETTING_FILE_BYTES_MAX {
        return Err(cannot(&"it is too large to be a setting"));
    }
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// The line that each key of a text stands on.
struct Lines(BTreeMap<String, usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let line_of = |key: &Spanned<_>| text[..key.span().start].matches('\n').count() + 1;
        let mut lines = BTreeMap::new();
        for (name, value) in DeTable::parse(text).map(Spanned::into_inner).unwrap_or_default() {
            for (inner, _) in value.get_ref().as_table().into_iter().flatten() {
                lines.insert(format!("{}.{}", name.get_ref(), inner.get_ref()), line_of(inner));
            }
            lines.insert(name.get_ref().to_string(), line_of(&name));
        }
        Self(lines)
    }

    fn line(&self, key: &str) -> usize {
        self.0.get(key).copied().unwrap_or(1)
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let value = |given: &Given| Value::new(Some(&given.origin), given.value.clone());
        Ok(self.given.iter().map(|(key, given)| (key.clone(), value(given))).collect())
    }
}

/// Values may be secret, so only their number is told.
impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a layer of {} settings", self.given.len())
    }
}
