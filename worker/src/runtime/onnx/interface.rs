//! Whether a loaded model is what its manifest says: names, types, ranks, fixed dimensions and symbols. It decides at load time, so
//! that an input that fits the manifest fits the model: the runtime itself lets unequal symbolic dimensions pass.

use ort::value::{Outlet, TensorElementType, ValueType};
use siding_core::{
    model::manifest::Manifest,
    tensor::{Datatype, Dim, TensorSpec},
};

/// Compares both sides of the model. The error names the tensor and says what both say.
pub(super) fn check(manifest: &Manifest, inputs: &[Outlet], outputs: &[Outlet]) -> Result<(), String> {
    let mut symbols = Vec::new();
    side("inputs", &manifest.inputs, inputs, &mut symbols)?;
    // A symbol of an output may stand for another size than the same one of an input; only names, types and sizes count.
    side("outputs", &manifest.outputs, outputs, &mut Vec::new())
}

/// What the manifest has where the model has a symbol.
type Symbols = Vec<(String, Dim)>;

fn side(key: &str, specs: &[TensorSpec], outlets: &[Outlet], symbols: &mut Symbols) -> Result<(), String> {
    let names = |names: Vec<&str>| names.join(", ");
    if let Some(unknown) = specs.iter().find(|spec| outlets.iter().all(|outlet| outlet.name() != spec.name)) {
        let has = names(outlets.iter().map(Outlet::name).collect());
        return Err(format!("{key}: the model has no {}; it has {has}", unknown.name));
    }
    for outlet in outlets {
        let Some(spec) = specs.iter().find(|spec| spec.name == outlet.name()) else {
            return Err(format!("{key}: the manifest does not declare {} of the model", outlet.name()));
        };
        tensor(spec, outlet.dtype(), symbols).map_err(|why| format!("{key}: {}: {why}", spec.name))?;
    }
    Ok(())
}

fn tensor(spec: &TensorSpec, dtype: &ValueType, symbols: &mut Symbols) -> Result<(), String> {
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
        let symbol = dimension_symbols.get(axis).map_or("", String::as_str);
        match usize::try_from(size) {
            Ok(size) if *declared != Dim::Fixed(size) => {
                return Err(format!("shape[{axis}]: the manifest says {declared}, the model {size}"));
            }
            // A dimension of any size and without a name: whatever the manifest says holds.
            Ok(_) => {}
            Err(_) if symbol.is_empty() => {}
            Err(_) => match symbols.iter().find(|(known, _)| known == symbol) {
                Some((_, first)) if first != declared => {
                    return Err(format!(
                        "shape[{axis}]: is {symbol:?} in the model, for which the manifest says {first} elsewhere"
                    ));
                }
                Some(_) => {}
                None => symbols.push((symbol.to_owned(), declared.clone())),
            },
        }
    }
    Ok(())
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
