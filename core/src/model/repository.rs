//! The model repository.

/// One valid version of a model.
#[derive(Debug)]
pub struct Model;
