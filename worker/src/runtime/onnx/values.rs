//! Tensors to and from the runtime's values. Inputs are handed over without a copy; an output's shape is checked against the
//! manifest, and one too large to be written is refused before it is copied.

use ort::{
    session::{SessionInputValue, SessionOutputs},
    value::{DynValue, PrimitiveTensorElementType, Tensor as OrtTensor},
};
use siding_core::{
    limits,
    tensor::{Datatype, Dim, Tensor, TensorData, TensorSpec, Tensors},
};

use crate::runtime::RunError;

/// The runtime's inputs by name.
pub(super) fn inputs(tensors: Tensors) -> ort::Result<Vec<(String, SessionInputValue<'static>)>> {
    tensors.into_iter().map(|(name, tensor)| Ok((name, input(tensor)?.into()))).collect()
}

/// The same, to be run on more than once.
pub(super) fn owned(tensors: Tensors) -> ort::Result<Vec<(String, DynValue)>> {
    tensors.into_iter().map(|(name, tensor)| Ok((name, input(tensor)?))).collect()
}

/// One value.
pub(super) fn input(tensor: Tensor) -> ort::Result<DynValue> {
    let (shape, data) = tensor.into_parts();
    Ok(match data {
        TensorData::Bool(elements) => OrtTensor::from_array((shape, elements))?.into_dyn(),
        TensorData::Uint8(elements) => OrtTensor::from_array((shape, elements))?.into_dyn(),
        TensorData::Uint16(elements) => OrtTensor::from_array((shape, elements))?.into_dyn(),
        TensorData::Uint32(elements) => OrtTensor::from_array((shape, elements))?.into_dyn(),
        TensorData::Uint64(elements) => OrtTensor::from_array((shape, elements))?.into_dyn(),
        TensorData::Int8(elements) => OrtTensor::from_array((shape, elements))?.into_dyn(),
        TensorData::Int16(elements) => OrtTensor::from_array((shape, elements))?.into_dyn(),
        TensorData::Int32(elements) => OrtTensor::from_array((shape, elements))?.into_dyn(),
        TensorData::Int64(elements) => OrtTensor::from_array((shape, elements))?.into_dyn(),
        TensorData::Fp16(elements) => OrtTensor::from_array((shape, elements))?.into_dyn(),
        TensorData::Fp32(elements) => OrtTensor::from_array((shape, elements))?.into_dyn(),
        TensorData::Fp64(elements) => OrtTensor::from_array((shape, elements))?.into_dyn(),
        TensorData::Bytes(elements) => OrtTensor::from_string_array((shape, elements.as_slice()))?.into_dyn(),
    })
}

/// The declared outputs, in the manifest's order.
pub(super) fn outputs(values: &SessionOutputs<'_>, specs: &[TensorSpec]) -> Result<Tensors, RunError> {
    let mut tensors = Tensors::new();
    for spec in specs {
        let tensor = one(values.get(&spec.name), spec)?;
        tensors.push(&spec.name, tensor).map_err(|error| RunError::Failed(format!("output {}: {error}", spec.name)))?;
    }
    Ok(tensors)
}

/// One declared output, or a state that is to be kept.
pub(super) fn one(value: Option<&DynValue>, spec: &TensorSpec) -> Result<Tensor, RunError> {
    let failed = |why: String| RunError::Failed(format!("output {}: {why}", spec.name));
    let value = value.ok_or_else(|| failed("the model did not give it".into()))?;
    let shape = shape(value, spec).map_err(failed)?;
    // Each element is at least one digit and a comma of the text that it becomes.
    let bytes = shape.iter().try_fold(2_usize, |bytes, &size| bytes.checked_mul(size)).unwrap_or(usize::MAX);
    if bytes > limits::OUTPUT_BYTES_MAX {
        return Err(RunError::OutputTooLarge { bytes, max: limits::OUTPUT_BYTES_MAX });
    }
    let data = output(value, spec.datatype).map_err(|error| failed(super::said(&error)))?;
    Tensor::new(shape, data).map_err(|error| failed(error.to_string()))
}

/// The value's shape, when it is one that the manifest promises.
pub(super) fn shape(value: &DynValue, spec: &TensorSpec) -> Result<Vec<usize>, String> {
    let given = value.dtype().tensor_shape().ok_or("is no tensor")?;
    let shape: Option<Vec<usize>> = given.iter().map(|&size| usize::try_from(size).ok()).collect();
    let fits = |shape: &Vec<usize>| {
        let fixed = |(declared, size): (&Dim, &usize)| !matches!(declared, Dim::Fixed(fixed) if fixed != size);
        shape.len() == spec.shape.len() && spec.shape.iter().zip(shape).all(fixed)
    };
    shape.filter(fits).ok_or_else(|| format!("has the shape {given}, the manifest says {}", spec.shape_text()))
}

fn output(value: &DynValue, datatype: Datatype) -> ort::Result<TensorData> {
    fn elements<T: PrimitiveTensorElementType + Clone>(value: &DynValue) -> ort::Result<Vec<T>> {
        value.try_extract_tensor::<T>().map(|(_, elements)| elements.to_vec())
    }
    Ok(match datatype {
        Datatype::Bool => TensorData::Bool(elements(value)?),
        Datatype::Uint8 => TensorData::Uint8(elements(value)?),
        Datatype::Uint16 => TensorData::Uint16(elements(value)?),
        Datatype::Uint32 => TensorData::Uint32(elements(value)?),
        Datatype::Uint64 => TensorData::Uint64(elements(value)?),
        Datatype::Int8 => TensorData::Int8(elements(value)?),
        Datatype::Int16 => TensorData::Int16(elements(value)?),
        Datatype::Int32 => TensorData::Int32(elements(value)?),
        Datatype::Int64 => TensorData::Int64(elements(value)?),
        Datatype::Fp16 => TensorData::Fp16(elements(value)?),
        Datatype::Fp32 => TensorData::Fp32(elements(value)?),
        Datatype::Fp64 => TensorData::Fp64(elements(value)?),
        Datatype::Bytes => TensorData::Bytes(value.try_extract_strings()?.1),
    })
}
