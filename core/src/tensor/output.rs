//! A run's output as JSON text. Floats are written so that reading them gives the same value; what JSON has no number for is written
//! as the strings "NaN", "Infinity" and "-Infinity" (as in ProtoJSON), never as null: a caller can tell them apart.

use std::io::{self, Write};

use half::f16;
use serde::Serialize;

use super::{TensorData, Tensors, each};
use crate::limits;

/// An output that is larger than a job may return.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the output of {bytes} bytes is larger than the {max} that a job may return")]
pub struct OutputTooLarge {
    /// Its size in bytes of JSON text.
    pub bytes: usize,
    /// The limit.
    pub max: usize,
}

/// Writes `tensors` as one JSON object in their order, each with `datatype`, `shape` and flat `data`.
///
/// # Errors
/// `OutputTooLarge` above `limits::OUTPUT_BYTES_MAX`; no more than that is ever held.
pub fn write_output(tensors: &Tensors) -> Result<String, OutputTooLarge> {
    write_bounded(tensors, limits::OUTPUT_BYTES_MAX)
}

/// Writes an output of another form than tensors. Its maps must have text as keys.
///
/// # Errors
/// `OutputTooLarge` above `limits::OUTPUT_BYTES_MAX`; no more than that is ever held.
pub fn write_json(output: &impl Serialize) -> Result<String, OutputTooLarge> {
    bounded(limits::OUTPUT_BYTES_MAX, |out| Ok(serde_json::to_writer(out, output)?))
}

fn write_bounded(tensors: &Tensors, bytes_max: usize) -> Result<String, OutputTooLarge> {
    bounded(bytes_max, |out| write_all(out, tensors))
}

fn bounded(bytes_max: usize, write: impl FnOnce(&mut Bounded) -> io::Result<()>) -> Result<String, OutputTooLarge> {
    let mut out = Bounded { text: Vec::new(), bytes: 0, bytes_max };
    write(&mut out).expect("writing to memory cannot fail");
    if out.bytes > bytes_max {
        return Err(OutputTooLarge { bytes: out.bytes, max: bytes_max });
    }
    Ok(String::from_utf8(out.text).expect("JSON is written as UTF-8"))
}

fn write_all(out: &mut Bounded, tensors: &Tensors) -> io::Result<()> {
    out.write_all(b"{")?;
    for (index, (name, tensor)) in tensors.iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        serde_json::to_writer(&mut *out, name)?;
        write!(out, ":{{\"datatype\":\"{}\",\"shape\":", tensor.data().datatype())?;
        serde_json::to_writer(&mut *out, tensor.shape())?;
        out.write_all(b",\"data\":[")?;
        each!(tensor.data(), elements => {
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    out.write_all(b",")?;
                }
                element.write(out)?;
            }
        });
        out.write_all(b"]}")?;
    }
    out.write_all(b"}")
}

/// Keeps what is written up to the bound and counts the rest.
struct Bounded {
    text: Vec<u8>,
    bytes: usize,
    bytes_max: usize,
}

impl Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.bytes = self.bytes.saturating_add(piece.len());
        if self.bytes <= self.bytes_max {
            self.text.extend_from_slice(piece);
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

trait Element {
    fn write(&self, out: &mut Bounded) -> io::Result<()>;
}

macro_rules! plain {
    ($($type:ty),*) => {$(
        impl Element for $type {
            fn write(&self, out: &mut Bounded) -> io::Result<()> {
                Ok(serde_json::to_writer(out, self)?)
            }
        }
    )*};
}
plain!(bool, u8, u16, u32, u64, i8, i16, i32, i64, String);

macro_rules! float {
    ($($type:ty as $written:ty),*) => {$(
        impl Element for $type {
            fn write(&self, out: &mut Bounded) -> io::Result<()> {
                if self.is_finite() {
                    return Ok(serde_json::to_writer(out, &<$written>::from(*self))?);
                }
                let word = if self.is_nan() { "\"NaN\"" } else if self.is_sign_positive() { "\"Infinity\"" } else { "\"-Infinity\"" };
                out.write_all(word.as_bytes())
            }
        }
    )*};
}
float!(f16 as f32, f32 as f32, f64 as f64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;

    fn of(data: TensorData) -> Tensors {
        let mut tensors = Tensors::new();
        tensors.push("y", Tensor::new(vec![data.len()], data).expect("fits")).expect("one");
        tensors
    }

    #[test]
    fn an_output_is_written_with_its_type_shape_and_exact_values() {
        let rows = [
            (TensorData::Fp32(vec![0.1, -0.0, 1e30]), r#""FP32","shape":[3],"data":[0.1,-0.0,1e+30]"#),
            (TensorData::Fp32(vec![f32::NAN, f32::INFINITY]), r#""FP32","shape":[2],"data":["NaN","Infinity"]"#),
            (TensorData::Fp64(vec![f64::NEG_INFINITY, 0.1]), r#""FP64","shape":[2],"data":["-Infinity",0.1]"#),
            (TensorData::Fp16(vec![f16::from_f32(0.5)]), r#""FP16","shape":[1],"data":[0.5]"#),
            (
                TensorData::Int64(vec![i64::MIN, i64::MAX]),
                r#""INT64","shape":[2],"data":[-9223372036854775808,9223372036854775807]"#,
            ),
            (TensorData::Bool(vec![true]), r#""BOOL","shape":[1],"data":[true]"#),
            (TensorData::Bytes(vec!["a\"b\n".into()]), r#""BYTES","shape":[1],"data":["a\"b\n"]"#),
        ];
        for (data, expected) in rows {
            let text = write_output(&of(data)).expect("small");
            assert_eq!(text, format!("{{\"y\":{{\"datatype\":{expected}}}}}"));
        }
    }

    #[test]
    fn a_large_output_is_counted_and_not_held() {
        let tensors = of(TensorData::Uint8(vec![1; 1000]));
        let whole = write_output(&tensors).expect("small").len();
        assert_eq!(write_bounded(&tensors, whole).expect("exactly the limit").len(), whole);
        assert_eq!(write_bounded(&tensors, whole - 1), Err(OutputTooLarge { bytes: whole, max: whole - 1 }));
    }
}
