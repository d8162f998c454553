//! A model's bytes, checked before the runtime sees them: each file against its SHA-256, every reference to external data against
//! the files that the manifest lists, and what its functions come to. The runtime is given memory, never a path: it opens no file for us.

use std::sync::Arc;

use siding_core::{
    limits,
    model::{manifest::CheckedFile, repository::Model},
};

use super::{
    external::{self, Reference},
    functions,
};

/// Everything that one session is made from.
#[derive(Debug)]
pub(super) struct Files {
    /// The ONNX file.
    pub(super) model: Vec<u8>,
    /// External data by the name that the model uses.
    pub(super) external: Vec<(String, Arc<[u8]>)>,
}

/// Reads and checks all files of a model. The error is for the operator and safe to show to a caller.
pub(super) fn read(model: &Model) -> Result<Files, String> {
    let file = model.manifest.file.as_ref().ok_or("its manifest has no [file]")?;
    let bytes = read_one(model, &file.model)?;
    let references = references(&bytes).map_err(|why| format!("{} is not a valid ONNX file: {why}", file.model.path))?;
    let mut external = Vec::new();
    for listed in &file.external {
        external.push((listed.path.clone(), Arc::from(read_one(model, listed)?)));
    }
    for reference in &references {
        check(reference, &external).map_err(|why| format!("{}: {why}", file.model.path))?;
    }
    Ok(Files { model: bytes, external })
}

/// Reads and checks another ONNX file of a model, which must hold all of its data.
pub(super) fn read_alone(model: &Model, file: &CheckedFile) -> Result<Files, String> {
    let bytes = read_one(model, file)?;
    let references = references(&bytes).map_err(|why| format!("{} is not a valid ONNX file: {why}", file.path))?;
    if !references.is_empty() {
        return Err(format!("{} refers to external data; only the model's own file may", file.path));
    }
    Ok(Files { model: bytes, external: Vec::new() })
}

/// What the file refers to, when it is one that the runtime may see.
fn references(bytes: &[u8]) -> Result<Vec<Reference>, &'static str> {
    // First, because it bounds how deep messages are in each other.
    let references = external::references(bytes)?;
    functions::check(bytes)?;
    Ok(references)
}

/// Reads a file and checks its SHA-256.
pub(super) fn read_one(model: &Model, file: &CheckedFile) -> Result<Vec<u8>, String> {
    model.read(file).map_err(|error| error.to_string())
}

fn check(reference: &Reference, external: &[(String, Arc<[u8]>)]) -> Result<(), String> {
    let shown: String = reference.location.chars().take(limits::NAME_BYTES_MAX).collect();
    let Some((_, bytes)) = external.iter().find(|(name, _)| *name == reference.location) else {
        return Err(format!("refers to external data {shown:?}, which is not a [[file.external]] of the manifest"));
    };
    // The runtime takes data from memory for these only; for any other it would open a path by itself.
    if !reference.is_initializer {
        return Err(format!("uses external data {shown:?} elsewhere than in an initializer of its main graph"));
    }
    let end = reference.offset.checked_add(reference.length.unwrap_or(0));
    if end.is_none_or(|end| end > bytes.len() as u64) {
        return Err(format!("refers to bytes beyond the end of {shown:?}"));
    }
    Ok(())
}
