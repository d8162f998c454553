//! From the text of `model.toml` to a valid manifest. It decides every rule that the file must keep; what TOML itself can say wrong is
//! told with line and column, a rule between keys with the keys.

use std::fmt;

use serde::Deserialize;
use sha2::Sha256;

use super::{CheckedFile, Cost, Manifest, ModelFile, Runner, SizeBy};
use crate::{
    id::{ModelName, ModelVersion},
    limits,
    tensor::{Datatype, Dim, TensorSpec},
};

/// Where in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// 1 for the first line.
    pub line: usize,
    /// 1 for the first character.
    pub column: usize,
}

/// What is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    /// Where, when it is one place.
    pub place: Option<Place>,
    /// The key, the value and the rule.
    pub detail: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some(Place { line, column }) => write!(f, "line {line}, column {column}: {}", self.detail),
            None => f.write_str(&self.detail),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: ModelName,
    version: ModelVersion,
    description: String,
    license: String,
    source: String,
    runner: Runner,
    file: Option<RawFile>,
    #[serde(default)]
    inputs: Vec<RawSpec>,
    #[serde(default)]
    outputs: Vec<RawSpec>,
    text: Option<super::text::Text>,
    stepped: Option<super::stepped::Stepped>,
    cost: Cost,
    example: Option<RawExample>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    path: FileName,
    sha256: Digest,
    #[serde(default)]
    external: Vec<RawChecked>,
}

/// A file and what its bytes must be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawChecked {
    path: FileName,
    sha256: Digest,
}

impl From<RawChecked> for CheckedFile {
    fn from(raw: RawChecked) -> Self {
        Self { path: raw.path.0, sha256: raw.sha256.0 }
    }
}

impl<'de> Deserialize<'de> for CheckedFile {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawChecked::deserialize(deserializer).map(Self::from)
    }
}

impl<'de> Deserialize<'de> for TensorSpec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawSpec::deserialize(deserializer).map(spec)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSpec {
    name: TensorName,
    datatype: Datatype,
    shape: Vec<RawDim>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExample {
    input: String,
}

/// A newtype whose rule is checked while TOML still knows the place.
macro_rules! checked {
    ($name:ident($inner:ty) from $raw:ty, $check:expr) => {
        pub(super) struct $name(pub(super) $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let check: fn($raw) -> Result<$inner, String> = $check;
                check(<$raw>::deserialize(deserializer)?).map(Self).map_err(serde::de::Error::custom)
            }
        }
    };
}

checked!(FileName(String) from String, |text| {
    // The same alphabet as a model's name: such a name is one component of a path and nothing else.
    match text.parse::<ModelName>() {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(error) => Err(format!("a file name of the model's folder {}", error.problem)),
    }
});

checked!(Digest([u8; 32]) from String, |text| {
    let digits = text.as_bytes();
    let wrong = || "must be the 64 lower-case hexadecimal digits of a SHA-256".to_owned();
    if digits.len() != 64 || !digits.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b)) {
        return Err(wrong());
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(digits.chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
    }
    Ok(digest)
});

checked!(TensorName(String) from String, |text| {
    if text.is_empty() || text.len() > limits::NAME_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(format!("a tensor's name must have 1 to {} bytes and no control characters", limits::NAME_BYTES_MAX));
    }
    Ok(text)
});

checked!(RawDim(Dim) from RawSize, |size| match size {
    RawSize::Fixed(size) => usize::try_from(size)
        .ok()
        .filter(|size| (1..=limits::TENSOR_ELEMENTS_MAX).contains(size))
        .map(Dim::Fixed)
        .ok_or_else(|| format!("a dimension must be from 1 to {}, not {size}", limits::TENSOR_ELEMENTS_MAX)),
    RawSize::Symbol(symbol) => {
        let ok = (1..=limits::NAME_BYTES_MAX).contains(&symbol.len())
            && symbol.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !symbol.starts_with(|c: char| c.is_ascii_digit());
        if ok { Ok(Dim::Symbol(symbol)) } else { Err(format!("a symbol must be letters, digits and '_', not starting with a digit: {symbol:?}")) }
    }
});

/// What a dimension may be written as.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a dimension must be a whole number or a symbol such as \"batch\"")]
enum RawSize {
    Fixed(i64),
    Symbol(String),
}

pub(super) fn parse(text: &str) -> Result<Manifest, Error> {
    let raw: Raw = toml::from_str(text).map_err(|error| told(text, error))?;
    let manifest = Manifest {
        name: raw.name,
        version: raw.version,
        description: raw.description,
        license: raw.license,
        source: raw.source,
        runner: raw.runner,
        file: raw.file.map(|file| ModelFile {
            model: CheckedFile { path: file.path.0, sha256: file.sha256.0 },
            external: file.external.into_iter().map(CheckedFile::from).collect(),
        }),
        inputs: raw.inputs.into_iter().map(spec).collect(),
        outputs: raw.outputs.into_iter().map(spec).collect(),
        text: raw.text,
        stepped: raw.stepped,
        cost: raw.cost,
        example: raw.example.map(|example| example.input),
        sha256: <Sha256 as sha2::Digest>::digest(text).into(),
    };
    check(&manifest).map_err(|detail| Error { place: None, detail })?;
    Ok(manifest)
}

fn spec(raw: RawSpec) -> TensorSpec {
    TensorSpec { name: raw.name.0, datatype: raw.datatype, shape: raw.shape.into_iter().map(|dim| dim.0).collect() }
}

/// A TOML error on one line: its place, the line itself (it shows the key), and what is wrong.
fn told(text: &str, error: toml::de::Error) -> Error {
    let message = error.message().trim().replace('\n', "; ");
    let Some(start) = error.span().map(|span| text.floor_char_boundary(span.start)) else {
        return Error { place: None, detail: message };
    };
    let before = &text[..start];
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let place = Place { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 };
    let line: String = text[line_start..].lines().next().unwrap_or_default().trim().chars().take(80).collect();
    Error { place: Some(place), detail: if line.is_empty() { message } else { format!("`{line}`: {message}") } }
}

/// The rules between keys.
fn check(manifest: &Manifest) -> Result<(), String> {
    for (section, runner, given) in
        [("text", Runner::Text, manifest.text.is_some()), ("stepped", Runner::Stepped, manifest.stepped.is_some())]
    {
        match (given, manifest.runner == runner) {
            (true, false) => return Err(format!("{section}: only runner \"{section}\" has it")),
            (false, true) => return Err(format!("{section}: is missing; runner \"{section}\" needs it")),
            _ => {}
        }
    }
    match manifest.runner {
        Runner::Tensor => {
            check_files_and_tensors(manifest)?;
            check_size(manifest)?;
        }
        Runner::Text => {
            check_files_and_tensors(manifest)?;
            super::text::check(manifest)?;
        }
        Runner::Stepped => {
            check_files_and_tensors(manifest)?;
            super::stepped::check(manifest)?;
        }
        Runner::Scripted => {
            if manifest.file.is_some() || !manifest.inputs.is_empty() || !manifest.outputs.is_empty() {
                return Err("runner: a scripted model has no [file], [[inputs]] or [[outputs]]".into());
            }
            if manifest.cost.size.is_some() {
                return Err("cost.size: the size of a scripted model's input is always the milliseconds of its delay".into());
            }
        }
    }
    for (key, number) in [("base_ms", manifest.cost.base_ms), ("per_unit_ms", manifest.cost.per_unit_ms)] {
        if !number.is_finite() || number < 0.0 {
            return Err(format!("cost.{key}: must be a number of at least 0, not {number}"));
        }
    }
    if let Some(example) = &manifest.example {
        manifest.check_input(example).map_err(|problems| {
            let told: Vec<_> = problems.iter().map(|problem| format!("{} {}", problem.pointer, problem.detail)).collect();
            format!("example.input: does not fit: {}", told.join("; "))
        })?;
    }
    Ok(())
}

/// What every model with an ONNX file must say.
fn check_files_and_tensors(manifest: &Manifest) -> Result<(), String> {
    let Some(file) = &manifest.file else {
        return Err(format!("file: is missing; runner \"{}\" needs [file] path and sha256", manifest.runner));
    };
    let mut files = vec![super::FILE_NAME, &file.model.path];
    for external in &file.external {
        if files.contains(&external.path.as_str()) {
            return Err(format!("file.external: {} is named twice", external.path));
        }
        files.push(&external.path);
    }
    if file.model.path == super::FILE_NAME {
        return Err("file.path: must be the model's file, not the manifest".into());
    }
    check_tensors("inputs", &manifest.inputs)?;
    check_tensors("outputs", &manifest.outputs)
}

/// What holds of one side of an ONNX file.
pub(super) fn check_tensors(key: &str, specs: &[TensorSpec]) -> Result<(), String> {
    if specs.is_empty() || specs.len() > limits::TENSORS_MAX {
        return Err(format!("{key}: must be 1 to {} tensors, not {}", limits::TENSORS_MAX, specs.len()));
    }
    for (index, spec) in specs.iter().enumerate() {
        if specs[..index].iter().any(|earlier| earlier.name == spec.name) {
            return Err(format!("{key}: {} is declared twice", spec.name));
        }
        if spec.shape.len() > limits::TENSOR_RANK_MAX {
            return Err(format!("{key}: {} has more than {} dimensions", spec.name, limits::TENSOR_RANK_MAX));
        }
    }
    Ok(())
}

/// `cost.size` of a model that takes tensors.
fn check_size(manifest: &Manifest) -> Result<(), String> {
    let Some(size) = &manifest.cost.size else {
        return if manifest.cost.per_unit_ms == 0.0 { Ok(()) } else { Err("cost.per_unit_ms: needs cost.size".into()) };
    };
    let Some(input) = manifest.inputs.iter().find(|spec| spec.name == size.input) else {
        return Err(format!("cost.size.input: {} is not one of the inputs", size.input));
    };
    let one = input.shape.iter().all(|dim| *dim == Dim::Fixed(1));
    let number = !matches!(input.datatype, Datatype::Bool | Datatype::Bytes);
    if size.by == SizeBy::Value && !(one && number) {
        return Err(format!(
            "cost.size.by: \"value\" needs a number of shape [], {} is {} {}",
            input.name,
            input.datatype,
            input.shape_text()
        ));
    }
    Ok(())
}
