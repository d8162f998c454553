//! What every seam's error can say about itself: whether trying again may help. It decides nothing about how often or when;
//! that is `retry` for calls and `schedule::retry` for jobs.

/// Whether the same call may succeed later without anybody changing anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transience {
    /// The cause may pass by itself: try again, with a policy from `retry`.
    Transient,
    /// The call will fail in the same way for ever: report it.
    Permanent,
}

/// Implemented by every seam's error.
pub trait Classified {
    /// Whether trying again may help.
    fn transience(&self) -> Transience;

    /// Shorthand for `transience() == Transient`.
    fn is_transient(&self) -> bool {
        self.transience() == Transience::Transient
    }
}

/// The error and all its causes on one line, for the one place that reports it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
