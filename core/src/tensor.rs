//! Tensors: named, typed, row-major, as a job's input and output hold them. It decides their JSON form and whether an input fits a
//! model's declaration; it must never know a runtime, and never builds a JSON tree: numbers go from text straight into typed vectors.
//!
//! The form of an input, and of an output (which always names its datatype):
//! `{"x": {"shape": [1, 2], "datatype": "FP32", "data": [0.5, 1]}}`. `data` is row-major, flat or nested like the shape.

mod axis;
mod binary;
pub(crate) mod fields;
mod input;
mod output;
pub(crate) mod scan;

use std::{fmt, str::FromStr};

use half::f16;
use serde::Deserialize;

use crate::limits;

pub use binary::Malformed;
pub(crate) use input::parse_fields;
pub use input::parse_input;
pub use output::{OutputTooLarge, write_json, write_output};

/// One thing that is wrong with an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputProblem {
    /// JSON pointer (RFC 6901) to the wrong value.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// The type of a tensor's elements, under its name in the Open Inference Protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Datatype {
    /// `true` or `false`.
    Bool,
    /// Unsigned, 8 bits.
    Uint8,
    /// Unsigned, 16 bits.
    Uint16,
    /// Unsigned, 32 bits.
    Uint32,
    /// Unsigned, 64 bits.
    Uint64,
    /// Signed, 8 bits.
    Int8,
    /// Signed, 16 bits.
    Int16,
    /// Signed, 32 bits.
    Int32,
    /// Signed, 64 bits.
    Int64,
    /// IEEE 754, 16 bits.
    Fp16,
    /// IEEE 754, 32 bits.
    Fp32,
    /// IEEE 754, 64 bits.
    Fp64,
    /// A string. Only valid Unicode: ONNX strings are UTF-8.
    Bytes,
}

impl Datatype {
    /// Every datatype.
    pub const ALL: [Self; 13] = [
        Self::Bool,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Fp16,
        Self::Fp32,
        Self::Fp64,
        Self::Bytes,
    ];

    /// The protocol's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Fp16 => "FP16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Bytes => "BYTES",
        }
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Datatype {
    type Err = crate::id::Invalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|datatype| datatype.as_str() == text).ok_or_else(|| crate::id::Invalid {
            kind: "datatype",
            problem: format!("must be one of {}", Self::ALL.map(Self::as_str).join(", ")),
        })
    }
}

impl<'de> Deserialize<'de> for Datatype {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A tensor's elements, row-major.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each variant is the datatype of the same name")]
pub enum TensorData {
    Bool(Vec<bool>),
    Uint8(Vec<u8>),
    Uint16(Vec<u16>),
    Uint32(Vec<u32>),
    Uint64(Vec<u64>),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Fp16(Vec<f16>),
    Fp32(Vec<f32>),
    Fp64(Vec<f64>),
    Bytes(Vec<String>),
}

/// Does the same with the vector of whichever variant it is.
macro_rules! each {
    ($data:expr, $elements:ident => $body:expr) => {
        match $data {
            TensorData::Bool($elements) => $body,
            TensorData::Uint8($elements) => $body,
            TensorData::Uint16($elements) => $body,
            TensorData::Uint32($elements) => $body,
            TensorData::Uint64($elements) => $body,
            TensorData::Int8($elements) => $body,
            TensorData::Int16($elements) => $body,
            TensorData::Int32($elements) => $body,
            TensorData::Int64($elements) => $body,
            TensorData::Fp16($elements) => $body,
            TensorData::Fp32($elements) => $body,
            TensorData::Fp64($elements) => $body,
            TensorData::Bytes($elements) => $body,
        }
    };
}
use each;

impl TensorData {
    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        each!(self, elements => elements.len())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their type.
    #[must_use]
    pub fn datatype(&self) -> Datatype {
        match self {
            Self::Bool(_) => Datatype::Bool,
            Self::Uint8(_) => Datatype::Uint8,
            Self::Uint16(_) => Datatype::Uint16,
            Self::Uint32(_) => Datatype::Uint32,
            Self::Uint64(_) => Datatype::Uint64,
            Self::Int8(_) => Datatype::Int8,
            Self::Int16(_) => Datatype::Int16,
            Self::Int32(_) => Datatype::Int32,
            Self::Int64(_) => Datatype::Int64,
            Self::Fp16(_) => Datatype::Fp16,
            Self::Fp32(_) => Datatype::Fp32,
            Self::Fp64(_) => Datatype::Fp64,
            Self::Bytes(_) => Datatype::Bytes,
        }
    }

    /// The first element as a number; `None` for strings, booleans and no elements.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "the number is a size that a cost is computed from, not data")]
    pub fn first_number(&self) -> Option<f64> {
        match self {
            Self::Bool(_) | Self::Bytes(_) => None,
            Self::Uint8(elements) => elements.first().map(|&n| n.into()),
            Self::Uint16(elements) => elements.first().map(|&n| n.into()),
            Self::Uint32(elements) => elements.first().map(|&n| n.into()),
            Self::Uint64(elements) => elements.first().map(|&n| n as f64),
            Self::Int8(elements) => elements.first().map(|&n| n.into()),
            Self::Int16(elements) => elements.first().map(|&n| n.into()),
            Self::Int32(elements) => elements.first().map(|&n| n.into()),
            Self::Int64(elements) => elements.first().map(|&n| n as f64),
            Self::Fp16(elements) => elements.first().map(|&n| n.into()),
            Self::Fp32(elements) => elements.first().map(|&n| n.into()),
            Self::Fp64(elements) => elements.first().copied(),
        }
    }
}

/// Why a tensor or a set of tensors cannot be built. The text is safe to show to a caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

/// A shape and as many elements as its product.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: TensorData,
}

impl Tensor {
    /// Checks that the product of `shape` is the number of elements. A dimension may be 0: a model may find nothing.
    ///
    /// # Errors
    /// `Invalid` says how many elements the shape wants.
    pub fn new(shape: Vec<usize>, data: TensorData) -> Result<Self, Invalid> {
        if shape.len() > limits::TENSOR_RANK_MAX {
            return Err(Invalid(format!("{} dimensions are more than {}", shape.len(), limits::TENSOR_RANK_MAX)));
        }
        if shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size)) != Some(data.len()) {
            return Err(Invalid(format!("the shape {shape:?} does not have the {} elements of the data", data.len())));
        }
        Ok(Self { shape, data })
    }

    /// The size of each dimension; empty for a scalar.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    #[must_use]
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// The parts.
    #[must_use]
    pub fn into_parts(self) -> (Vec<usize>, TensorData) {
        (self.shape, self.data)
    }
}

/// Named tensors in the order in which the model declares them; at most `limits::TENSORS_MAX`, names unique.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tensors(Vec<(String, Tensor)>);

impl Tensors {
    /// No tensors.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one at the end.
    ///
    /// # Errors
    /// `Invalid` when the name is there already or there are too many.
    pub fn push(&mut self, name: impl Into<String>, tensor: Tensor) -> Result<(), Invalid> {
        let name = name.into();
        if self.0.len() >= limits::TENSORS_MAX {
            return Err(Invalid(format!("more than {} tensors", limits::TENSORS_MAX)));
        }
        if self.get(&name).is_some() {
            return Err(Invalid(format!("two tensors have the name {name}")));
        }
        self.0.push((name, tensor));
        Ok(())
    }

    /// The tensor of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and tensors in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }
}

impl IntoIterator for Tensors {
    type Item = (String, Tensor);
    type IntoIter = std::vec::IntoIter<(String, Tensor)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// One dimension as a manifest declares it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dim {
    /// Always this size.
    Fixed(usize),
    /// Any size, the same wherever the symbol stands in one input. The runtime does not check that; we do.
    Symbol(String),
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Symbol(symbol) => f.write_str(symbol),
        }
    }
}

/// One tensor as a manifest declares it (`[[inputs]]`, `[[outputs]]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name in the model's file.
    pub name: String,
    /// The type of its elements.
    pub datatype: Datatype,
    /// Its dimensions; empty for a scalar.
    pub shape: Vec<Dim>,
}

impl TensorSpec {
    /// The shape as a manifest would show it, for example `[batch, 64]`.
    #[must_use]
    pub fn shape_text(&self) -> String {
        format!("[{}]", self.shape.iter().map(Dim::to_string).collect::<Vec<_>>().join(", "))
    }
}
