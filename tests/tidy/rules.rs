//! The rules, by what they look at. Each is a pure function from the tree to its violations.

pub mod code;
pub mod deployment;
pub mod docs;
pub mod facts;
pub mod fences;
pub mod shape;
pub mod tests;
pub mod words;
