//! Where downloaded things lie on this machine: the one place that knows the rule. It never creates, reads or fetches anything.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The cache that `make setup` fills: `$SIDING_CACHE`, else `$XDG_CACHE_HOME/siding`, else `$HOME/.cache/siding`. `None` when none of
/// the three variables is set. (`worker/models/fetch.py` follows the same rule.)
#[must_use]
pub fn cache_dir() -> Option<PathBuf> {
    cache_dir_of(|name| std::env::var_os(name))
}

/// The model repository that `make setup` puts together: the committed manifests with their files.
#[must_use]
pub fn models_dir(cache: &Path) -> PathBuf {
    cache.join("models")
}

fn cache_dir_of(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("SIDING_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("siding")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/siding")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_variable_decides() {
        type Variables = [(&'static str, &'static str)];
        let rows: &[(&Variables, Option<&str>)] = &[
            (&[("SIDING_CACHE", "/a"), ("XDG_CACHE_HOME", "/b"), ("HOME", "/c")], Some("/a")),
            (&[("SIDING_CACHE", ""), ("XDG_CACHE_HOME", "/b"), ("HOME", "/c")], Some("/b/siding")),
            (&[("HOME", "/c")], Some("/c/.cache/siding")),
            (&[], None),
        ];
        for (variables, expected) in rows {
            let found = cache_dir_of(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()));
            assert_eq!(found.as_deref(), expected.map(Path::new), "{variables:?}");
        }
    }
}
