//! A job's input: JSON text into typed tensors that fit what a model declares. It reports every tensor that is wrong, each at the
//! first thing wrong with it; nothing larger than what the declaration and the limits allow is ever held.

use half::f16;

use super::{
    Datatype, Dim, InputProblem, Tensor, TensorData, TensorSpec, Tensors,
    fields::{Fields, join, join_indices, quoted},
    scan::{Bounds, Fault, scan},
};
use crate::limits;

/// The fields of one tensor.
const TENSOR_FIELDS: [&str; 3] = ["shape", "datatype", "data"];

/// Parses `json` as the tensors that `specs` declare, in their order. Pointers are relative to the input.
///
/// # Errors
/// Everything that is wrong: at most one problem for each tensor, and one for each tensor that is not declared.
pub fn parse_input(json: &str, specs: &[TensorSpec]) -> Result<Tensors, Vec<InputProblem>> {
    let fields = Fields::parse(json, "", limits::TENSORS_MAX).map_err(|problem| vec![problem])?;
    parse_fields(&fields, specs, &[])
}

/// The same for an object that is already taken apart and also has fields that are no tensors: `others`.
pub(crate) fn parse_fields(fields: &Fields<'_>, specs: &[TensorSpec], others: &[&str]) -> Result<Tensors, Vec<InputProblem>> {
    let mut problems = Vec::new();
    let known = || specs.iter().map(|spec| spec.name.as_str()).chain(others.iter().copied()).collect::<Vec<_>>().join(", ");
    for name in fields.names() {
        if !specs.iter().any(|spec| spec.name == name) && !others.contains(&name) {
            problems.push(InputProblem {
                pointer: join("", name),
                detail: format!("is not an input of the model; it takes {}", known()),
            });
        }
    }
    let mut tensors = Vec::new();
    for spec in specs {
        let pointer = join("", &spec.name);
        let parsed = match fields.get(&spec.name) {
            Some(text) => tensor(text, spec, &pointer),
            None => {
                Err(InputProblem { pointer, detail: format!("is missing: {} of shape {}", spec.datatype, spec.shape_text()) })
            }
        };
        match parsed {
            Ok(tensor) => tensors.push((spec.name.clone(), tensor)),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        problems.extend(unequal_symbol(specs, &tensors));
    }
    if problems.is_empty() { Ok(Tensors(tensors)) } else { Err(problems) }
}

/// The first symbol that stands for two sizes in one input.
fn unequal_symbol(specs: &[TensorSpec], tensors: &[(String, Tensor)]) -> Option<InputProblem> {
    let mut bound: Vec<(&str, usize, &str)> = Vec::new();
    for (spec, (_, tensor)) in specs.iter().zip(tensors) {
        for (axis, (dim, &size)) in spec.shape.iter().zip(tensor.shape()).enumerate() {
            let Dim::Symbol(symbol) = dim else { continue };
            match bound.iter().find(|(known, ..)| known == symbol) {
                None => bound.push((symbol, size, &spec.name)),
                Some((_, first, _)) if *first == size => {}
                Some((_, first, at)) => {
                    return Some(InputProblem {
                        pointer: join_indices(&join(&join("", &spec.name), "shape"), &[axis]),
                        detail: format!("\"{symbol}\" is {size} here and {first} in {at}; it must be the same everywhere"),
                    });
                }
            }
        }
    }
    None
}

fn tensor(text: &str, spec: &TensorSpec, pointer: &str) -> Result<Tensor, InputProblem> {
    let fields = Fields::parse(text, pointer, TENSOR_FIELDS.len() + 1)?;
    let problem = |field: &str, detail: String| InputProblem { pointer: join(pointer, field), detail };
    if let Some(unknown) = fields.names().find(|name| !TENSOR_FIELDS.contains(name)) {
        return Err(problem(unknown, format!("is not a field of a tensor; it has {}", TENSOR_FIELDS.join(", "))));
    }
    let declared = format!("\"{}\"", spec.datatype);
    if let Some(text) = fields.get("datatype").filter(|text| *text != declared) {
        return Err(problem("datatype", format!("must be {declared}, not {}", quoted(text))));
    }
    let required = |field: &str| fields.get(field).ok_or_else(|| problem(field, "is missing".into()));
    let fault = |field: &str, fault: Fault| InputProblem {
        pointer: join_indices(&join(pointer, field), &fault.indices),
        detail: fault.detail,
    };
    let shape = shape(required("shape")?, spec).map_err(|found| fault("shape", found))?;
    let data = data(required("data")?, spec.datatype, &shape).map_err(|found| fault("data", found))?;
    Tensor::new(shape, data).map_err(|error| problem("shape", error.to_string()))
}

fn shape(text: &str, spec: &TensorSpec) -> Result<Vec<usize>, Fault> {
    let here = |detail: String| Fault { indices: Vec::new(), detail };
    let mut shape = Vec::new();
    let bounds = Bounds { rank_max: 1, elements_max: limits::TENSOR_RANK_MAX };
    let nesting = scan(text, bounds, |element| {
        let size = element.parse::<usize>().ok().filter(|&size| size > 0);
        shape.push(size.ok_or_else(|| format!("must be a whole number of at least 1, not {}", quoted(element)))?);
        Ok(())
    })?;
    if nesting.is_empty() || shape.len() != spec.shape.len() {
        return Err(here(format!("must be an array of {} dimensions: {}", spec.shape.len(), spec.shape_text())));
    }
    for (axis, (declared, &size)) in spec.shape.iter().zip(&shape).enumerate() {
        if let Dim::Fixed(fixed) = declared
            && *fixed != size
        {
            return Err(Fault { indices: vec![axis], detail: format!("must be {fixed}, not {size}") });
        }
    }
    match shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size)) {
        Some(1..=limits::TENSOR_ELEMENTS_MAX) => Ok(shape),
        _ => Err(here(format!("{shape:?} has more than the {} elements that are allowed", limits::TENSOR_ELEMENTS_MAX))),
    }
}

/// Reads the elements of a tensor whose shape was checked.
fn data(text: &str, datatype: Datatype, shape: &[usize]) -> Result<TensorData, Fault> {
    Ok(match datatype {
        Datatype::Bool => TensorData::Bool(read(text, shape)?),
        Datatype::Uint8 => TensorData::Uint8(read(text, shape)?),
        Datatype::Uint16 => TensorData::Uint16(read(text, shape)?),
        Datatype::Uint32 => TensorData::Uint32(read(text, shape)?),
        Datatype::Uint64 => TensorData::Uint64(read(text, shape)?),
        Datatype::Int8 => TensorData::Int8(read(text, shape)?),
        Datatype::Int16 => TensorData::Int16(read(text, shape)?),
        Datatype::Int32 => TensorData::Int32(read(text, shape)?),
        Datatype::Int64 => TensorData::Int64(read(text, shape)?),
        Datatype::Fp16 => TensorData::Fp16(read(text, shape)?),
        Datatype::Fp32 => TensorData::Fp32(read(text, shape)?),
        Datatype::Fp64 => TensorData::Fp64(read(text, shape)?),
        Datatype::Bytes => TensorData::Bytes(read(text, shape)?),
    })
}

fn read<T: Element>(text: &str, shape: &[usize]) -> Result<Vec<T>, Fault> {
    let wanted: usize = shape.iter().product();
    // An element takes at least two bytes of text (itself and a comma): a large shape over little data reserves little.
    let mut read = Vec::with_capacity(wanted.min(text.len() / 2 + 1));
    let bounds = Bounds { rank_max: shape.len().max(1), elements_max: wanted };
    let nesting = scan(text, bounds, |element| {
        read.push(T::read(element).ok_or_else(|| format!("must be {}, not {}", T::EXPECTED, quoted(element)))?);
        Ok(())
    })?;
    let flat = nesting.len() == 1;
    if !flat && nesting != shape {
        let detail = format!("is nested as {nesting:?}; it must be flat or nested as the shape {shape:?}");
        return Err(Fault { indices: Vec::new(), detail });
    }
    if read.len() != wanted {
        let detail = format!("has {} elements; the shape {shape:?} has {wanted}", read.len());
        return Err(Fault { indices: Vec::new(), detail });
    }
    Ok(read)
}

/// An element type, read from the text of one valid JSON value.
trait Element: Sized {
    const EXPECTED: &'static str;
    fn read(text: &str) -> Option<Self>;
}

macro_rules! whole {
    ($($type:ty = $expected:literal),*) => {$(
        impl Element for $type {
            const EXPECTED: &'static str = $expected;
            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}
whole!(
    bool = "true or false",
    u8 = "a whole number from 0 to 255",
    u16 = "a whole number from 0 to 65535",
    u32 = "a whole number from 0 to 4294967295",
    u64 = "a whole number from 0 to 18446744073709551615",
    i8 = "a whole number from -128 to 127",
    i16 = "a whole number from -32768 to 32767",
    i32 = "a whole number from -2147483648 to 2147483647",
    i64 = "a whole number from -9223372036854775808 to 9223372036854775807"
);

macro_rules! float {
    ($type:ty, $expected:literal) => {
        impl Element for $type {
            const EXPECTED: &'static str = $expected;
            fn read(text: &str) -> Option<Self> {
                // The text is valid JSON, so what parses is a number: never `nan` or `inf` by name, but perhaps too large.
                text.parse().ok().filter(|number: &Self| number.is_finite())
            }
        }
    };
}
float!(f16, "a number within the range of FP16");
float!(f32, "a number within the range of FP32");
float!(f64, "a number within the range of FP64");

impl Element for String {
    // ONNX Runtime takes strings that end at the first NUL.
    const EXPECTED: &'static str = "a string of valid Unicode without U+0000";
    fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|text: &Self| !text.contains('\0'))
    }
}

#[cfg(test)]
mod tests;
