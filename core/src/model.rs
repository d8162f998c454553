//! Models as the whole system sees them: manifests and the repository of versions. It decides what a valid model folder is; it
//! never loads or runs one (that is the worker's runtime).

pub mod catalog;
pub mod locate;
pub mod manifest;
pub mod repository;
pub mod script;
pub mod versions;
