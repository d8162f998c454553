//! The model repository.
