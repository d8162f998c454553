//! Whether a loaded model is what its manifest says: names, types, ranks, fixed dimensions and symbols. It decides at load time, so
//! that an input that fits the manifest fits the model: the runtime itself lets unequal symbolic dimensions pass.

use ort::value::{Outlet, TensorElementType, ValueType};
use siding_core::{
    model::manifest::{Manifest, stepped::Prelude},
    tensor::{Datatype, Dim, TensorSpec},
};

/// Compares both sides of the model. The error names the tensor and says what both say.
pub(super) fn check(manifest: &Manifest, inputs: &[Outlet], outputs: &[Outlet]) -> Result<(), String> {
    side(Side::Inputs, "inputs", &manifest.inputs, inputs)?;
    side(Side::Outputs, "outputs", &manifest.outputs, outputs)
}

/// The same of a prelude.
pub(super) fn check_prelude(prelude: &Prelude, inputs: &[Outlet], outputs: &[Outlet]) -> Result<(), String> {
    side(Side::Inputs, "stepped.prelude.inputs", &prelude.inputs, inputs)?;
    side(Side::Outputs, "stepped.prelude.outputs", &prelude.outputs, outputs)
}

/// Which of the two is compared: the manifest must demand of inputs all that the model does, and may promise less of outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Inputs,
    Outputs,
}

fn side(side: Side, key: &str, specs: &[TensorSpec], outlets: &[Outlet]) -> Result<(), String> {
    if let Some(unknown) = specs.iter().find(|spec| outlets.iter().all(|outlet| outlet.name() != spec.name)) {
        let has: Vec<_> = outlets.iter().map(Outlet::name).collect();
        return Err(format!("{key}: the model has no {}; it has {}", unknown.name, has.join(", ")));
    }
    let mut symbols = Vec::new();
    for outlet in outlets {
        let Some(spec) = specs.iter().find(|spec| spec.name == outlet.name()) else {
            return Err(format!("{key}: the manifest does not declare {} of the model", outlet.name()));
        };
        tensor(side, spec, outlet.dtype(), &mut symbols).map_err(|why| format!("{key}: {}: {why}", spec.name))?;
    }
    Ok(())
}

/// What the manifest has where the model has a symbol.
type Symbols = Vec<(String, Dim)>;

fn tensor(side: Side, spec: &TensorSpec, dtype: &ValueType, symbols: &mut Symbols) -> Result<(), String> {
    let ValueType::Tensor { ty, shape, dimension_symbols } = dtype else {
        return Err("is no tensor in the model; only tensors can be declared".into());
    };
    if datatype(*ty) != Some(spec.datatype) {
        let of_model = datatype(*ty).map_or_else(|| format!("{ty:?}, which is not supported"), |datatype| datatype.to_string());
        return Err(format!("datatype: the manifest says {}, the model {of_model}", spec.datatype));
    }
    if shape.len() != spec.shape.len() {
        let (says, has) = (spec.shape.len(), shape.len());
        return Err(format!("shape: the manifest says {says} dimensions ({}), the model has {has}", spec.shape_text()));
    }
    for (axis, (declared, &size)) in spec.shape.iter().zip(shape.iter()).enumerate() {
        match (usize::try_from(size), declared) {
            (Ok(size), Dim::Fixed(fixed)) if *fixed == size => {}
            (Ok(_), Dim::Symbol(_)) if side == Side::Outputs => {}
            (Ok(size), _) => return Err(format!("shape[{axis}]: the manifest says {declared}, the model {size}")),
            // Of outputs, sizes are compared after the run; what the model's symbols mean there is its own affair.
            (Err(_), _) if side == Side::Outputs => {}
            (Err(_), _) => symbol(dimension_symbols.get(axis).map_or("", String::as_str), declared, symbols)
                .map_err(|why| format!("shape[{axis}]: {why}"))?,
        }
    }
    Ok(())
}

/// One symbol of the model must be one thing in the manifest; the runtime would let two sizes of it pass.
fn symbol(symbol: &str, declared: &Dim, symbols: &mut Symbols) -> Result<(), String> {
    match symbols.iter().find(|(known, _)| known == symbol) {
        // A dimension without a name: whatever the manifest says holds.
        _ if symbol.is_empty() => Ok(()),
        Some((_, first)) if first != declared => {
            Err(format!("is {symbol:?} in the model, for which the manifest says {first} elsewhere"))
        }
        Some(_) => Ok(()),
        None => {
            symbols.push((symbol.to_owned(), declared.clone()));
            Ok(())
        }
    }
}

/// The datatype of an element type; `None` for one that a job's input cannot have.
fn datatype(element: TensorElementType) -> Option<Datatype> {
    Some(match element {
        TensorElementType::Bool => Datatype::Bool,
        TensorElementType::Uint8 => Datatype::Uint8,
        TensorElementType::Uint16 => Datatype::Uint16,
        TensorElementType::Uint32 => Datatype::Uint32,
        TensorElementType::Uint64 => Datatype::Uint64,
        TensorElementType::Int8 => Datatype::Int8,
        TensorElementType::Int16 => Datatype::Int16,
        TensorElementType::Int32 => Datatype::Int32,
        TensorElementType::Int64 => Datatype::Int64,
        TensorElementType::Float16 => Datatype::Fp16,
        TensorElementType::Float32 => Datatype::Fp32,
        TensorElementType::Float64 => Datatype::Fp64,
        TensorElementType::String => Datatype::Bytes,
        _ => return None,
    })
}
