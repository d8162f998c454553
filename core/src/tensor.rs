//! Tensors.

/// One thing that is wrong with an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputProblem {
    /// JSON pointer (RFC 6901) to the wrong value.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub detail: String,
}
