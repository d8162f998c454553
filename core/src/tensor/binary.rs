//! Tensors as bytes, bit for bit, for checkpoints and for the way to a model process. It decides the layout; whoever keeps the bytes adds a version
//! and a checksum. Reading trusts nothing: a length is checked against the bytes that are there before anything is allocated.
//!
//! Layout, all numbers little-endian: count u32, then for each tensor: name (length u32, UTF-8), datatype (length u32, its name), rank
//! u32, each dimension u64, elements. An element is its own bytes (a boolean is one byte, 0 or 1); a string is a length u32 and UTF-8.

use half::f16;

use super::{Datatype, Tensor, TensorData, Tensors};
use crate::limits;

/// The bytes are no tensors. The text says where they stop making sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(&'static str);

impl Tensors {
    /// The bytes.
    ///
    /// # Panics
    /// Never: names, ranks and strings are far shorter than 4 GiB.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_length(&mut out, self.len());
        for (name, tensor) in self.iter() {
            put_text(&mut out, name);
            put_text(&mut out, tensor.data().datatype().as_str());
            put_length(&mut out, tensor.shape().len());
            for &size in tensor.shape() {
                out.extend((size as u64).to_le_bytes());
            }
            put_elements(&mut out, tensor.data());
        }
        out
    }

    /// The tensors that `to_bytes` was called on.
    ///
    /// # Errors
    /// `Malformed` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = bytes;
        let mut tensors = Self::new();
        for _ in 0..length(&mut rest)? {
            let name = text(&mut rest)?.to_owned();
            let datatype: Datatype = text(&mut rest)?.parse().map_err(|_| Malformed("an unknown datatype"))?;
            let rank = length(&mut rest)?;
            if rank > limits::TENSOR_RANK_MAX {
                return Err(Malformed("a tensor has too many dimensions"));
            }
            let mut shape = Vec::with_capacity(rank);
            for _ in 0..rank {
                let size = u64::from_le_bytes(fixed(&mut rest)?);
                shape.push(usize::try_from(size).map_err(|_| Malformed("a dimension is too large"))?);
            }
            let count = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
            let data = elements(&mut rest, datatype, count.ok_or(Malformed("a shape is too large"))?)?;
            let tensor = Tensor::new(shape, data).map_err(|_| Malformed("a tensor contradicts itself"))?;
            tensors.push(name, tensor).map_err(|_| Malformed("two tensors of one name, or too many"))?;
        }
        if rest.is_empty() { Ok(tensors) } else { Err(Malformed("there are bytes behind the last tensor")) }
    }
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend(u32::try_from(length).expect("nothing of a tensor but its elements is longer than 4 GiB").to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_length(out, text.len());
    out.extend(text.as_bytes());
}

/// Numbers of one type, both ways.
macro_rules! numbers {
    ($($variant:ident: $number:ty),*) => {
        fn put_elements(out: &mut Vec<u8>, data: &TensorData) {
            match data {
                $(TensorData::$variant(elements) => {
                    out.reserve(size_of::<$number>() * elements.len());
                    out.extend(elements.iter().flat_map(|element| element.to_le_bytes()));
                })*
                TensorData::Bool(elements) => out.extend(elements.iter().map(|&element| u8::from(element))),
                TensorData::Bytes(elements) => elements.iter().for_each(|element| put_text(out, element)),
            }
        }

        fn elements(rest: &mut &[u8], datatype: Datatype, count: usize) -> Result<TensorData, Malformed> {
            Ok(match datatype {
                $(Datatype::$variant => TensorData::$variant(
                    all(rest, count, size_of::<$number>())?
                        .chunks_exact(size_of::<$number>())
                        .map(|bytes| <$number>::from_le_bytes(bytes.try_into().expect("chunks of this very size")))
                        .collect(),
                ),)*
                Datatype::Bool => TensorData::Bool(
                    all(rest, count, 1)?.iter().map(|&byte| match byte {
                        0 => Ok(false),
                        1 => Ok(true),
                        _ => Err(Malformed("a boolean is neither 0 nor 1")),
                    }).collect::<Result<_, _>>()?,
                ),
                Datatype::Bytes => {
                    // Each is at least its length: a count beyond the bytes that are there ends early, without an allocation.
                    let mut strings = Vec::new();
                    for _ in 0..count {
                        strings.push(text(rest)?.to_owned());
                    }
                    TensorData::Bytes(strings)
                }
            })
        }
    };
}
numbers!(Uint8: u8, Uint16: u16, Uint32: u32, Uint64: u64, Int8: i8, Int16: i16, Int32: i32, Int64: i64, Fp16: f16, Fp32: f32, Fp64: f64);

fn all<'a>(rest: &mut &'a [u8], count: usize, size: usize) -> Result<&'a [u8], Malformed> {
    take(rest, count.checked_mul(size).ok_or(Malformed("a shape is too large"))?)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    let (taken, left) = rest.split_at_checked(length).ok_or(Malformed("it ends in the middle"))?;
    *rest = left;
    Ok(taken)
}

fn fixed<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    take(rest, N).map(|bytes| bytes.try_into().expect("just as many were taken"))
}

fn length(rest: &mut &[u8]) -> Result<usize, Malformed> {
    usize::try_from(u32::from_le_bytes(fixed(rest)?)).map_err(|_| Malformed("a length is too large"))
}

fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, Malformed> {
    let length = length(rest)?;
    std::str::from_utf8(take(rest, length)?).map_err(|_| Malformed("a text is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_type() -> Tensors {
        let one = |data: TensorData| Tensor::new(vec![data.len()], data).expect("fits");
        let mut tensors = Tensors::new();
        let all = [
            TensorData::Bool(vec![true, false]),
            TensorData::Uint8(vec![1]),
            TensorData::Uint16(vec![2]),
            TensorData::Uint32(vec![3]),
            TensorData::Uint64(vec![u64::MAX]),
            TensorData::Int8(vec![-1]),
            TensorData::Int16(vec![-2]),
            TensorData::Int32(vec![-3]),
            TensorData::Int64(vec![i64::MIN]),
            TensorData::Fp16(vec![f16::from_f32(0.5)]),
            TensorData::Fp32(vec![f32::MIN_POSITIVE, -0.0, f32::INFINITY]),
            TensorData::Fp64(vec![1e-300]),
            TensorData::Bytes(vec!["é".into(), String::new()]),
        ];
        for data in all {
            tensors.push(data.datatype().as_str(), one(data)).expect("unique");
        }
        let scalar = Tensor::new(vec![], TensorData::Int64(vec![7])).expect("fits");
        tensors.push("scalar", scalar).expect("unique");
        tensors.push("empty", Tensor::new(vec![0, 3], TensorData::Fp32(vec![])).expect("fits")).expect("unique");
        tensors
    }

    #[test]
    fn tensors_come_back_bit_for_bit() {
        for tensors in [Tensors::new(), every_type()] {
            assert_eq!(Tensors::from_bytes(&tensors.to_bytes()), Ok(tensors));
        }
        let nan = Tensor::new(vec![1], TensorData::Fp32(vec![f32::from_bits(0x7fc0_1234)])).expect("fits");
        let mut tensors = Tensors::new();
        tensors.push("nan", nan).expect("unique");
        let bytes = tensors.to_bytes();
        assert_eq!(Tensors::from_bytes(&bytes).expect("ours").to_bytes(), bytes);
    }

    #[test]
    fn what_is_cut_or_longer_is_refused_and_what_is_changed_never_panics() {
        let bytes = every_type().to_bytes();
        for end in 0..bytes.len() {
            assert!(Tensors::from_bytes(&bytes[..end]).is_err(), "cut at {end}");
        }
        assert!(Tensors::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                drop(Tensors::from_bytes(&changed));
            }
        }
    }
}
