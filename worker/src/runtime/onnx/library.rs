//! ONNX Runtime's shared library: where it is looked for, and the one environment that a process may have. It never fetches anything
//! and never falls back silently to another place than the first one named.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use ort::{environment::Environment, logging::LogLevel};
use siding_core::model::locate;

/// Where `make setup` puts the library, below the cache.
const IN_CACHE: &str = "onnxruntime-1.28.0/libonnxruntime.so.1.28.0";

/// Why ONNX Runtime cannot be used. The text is safe to show to a caller; where it was looked for is in `path`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// There is no such file.
    #[error(
        "ONNX Runtime's library is missing; `make setup` fetches it (the setting worker.onnxruntime or ORT_DYLIB_PATH may name another)"
    )]
    Missing {
        /// Where it should be; `None` when no place is known.
        path: Option<PathBuf>,
    },
    /// The file is not a library that can be used here.
    #[error("ONNX Runtime's library cannot be used: it is damaged, for another machine, or older than 1.{}", ort::MINOR_VERSION)]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the loader says; for the log.
        said: String,
    },
    /// This process has loaded another file already, and can have only one.
    #[error("this process uses another copy of ONNX Runtime already")]
    AnotherLoaded {
        /// The file that is loaded.
        path: PathBuf,
    },
}

/// The loaded library. All of a process are the same one.
#[derive(Clone)]
pub struct Library {
    path: PathBuf,
    version: String,
    environment: Environment,
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Library").field("path", &self.path).field("version", &self.version).finish_non_exhaustive()
    }
}

/// Written once, when the library is first loaded; a failed attempt leaves it empty and may be repeated.
static LOADED: Mutex<Option<Library>> = Mutex::new(None);

impl Library {
    /// Loads the library from `setting`, else from `ORT_DYLIB_PATH`, else from the cache.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn open(setting: &str) -> Result<Self, Unavailable> {
        let found = find(setting, |name| env::var_os(name), locate::cache_dir());
        let path = found.as_deref().and_then(|path| path.canonicalize().ok()).filter(|path| path.is_file());
        let Some(path) = path else { return Err(Unavailable::Missing { path: found }) };
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        match &*loaded {
            Some(library) if library.path == path => Ok(library.clone()),
            Some(library) => Err(Unavailable::AnotherLoaded { path: library.path.clone() }),
            None => Ok(loaded.insert(load(path)?).clone()),
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The version in the file's name, with the build that the library reports.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The process's environment.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }
}

/// The first place that is named, whether or not the file is there.
fn find(setting: &str, variable: impl Fn(&str) -> Option<OsString>, cache: Option<PathBuf>) -> Option<PathBuf> {
    if !setting.is_empty() {
        return Some(setting.into());
    }
    match variable("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        Some(path) => Some(path.into()),
        None => cache.map(|cache| cache.join(IN_CACHE)),
    }
}

fn load(path: PathBuf) -> Result<Library, Unavailable> {
    let unusable = |said: String| Unavailable::Unusable { path: path.clone(), said };
    let environment = ort::init_from(&path)
        .map_err(|error| unusable(error.to_string()))?
        .with_name("siding")
        // The version that we fetch has no telemetry code at all; for a newer one, the process also sets ORT_DISABLE_TELEMETRY.
        .with_telemetry(false)
        .build()
        .map_err(|error| unusable(error.to_string()))?;
    environment.set_log_level(LogLevel::Error);
    let version = version(&path, ort::info());
    Ok(Library { path, version, environment })
}

/// `libonnxruntime.so.1.28.0` says `1.28.0`; a file without a number in its name, only what was built.
fn version(path: &Path, build: &str) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number =
        name.split_once(".so.").map(|(_, number)| number).filter(|number| number.starts_with(|c: char| c.is_ascii_digit()));
    let commit = build.split("git-commit-id=").nth(1).and_then(|rest| rest.split([',', ' ']).next()).filter(|id| !id.is_empty());
    match (number, commit) {
        (Some(number), Some(commit)) => format!("{number} ({commit})"),
        (Some(number), None) => number.to_owned(),
        (None, commit) => format!("1.{} or newer ({})", ort::MINOR_VERSION, commit.unwrap_or("build unknown")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_where_the_setting_then_the_variable_then_the_cache_says() {
        let rows = [
            ("/set.so", Some("/env.so"), Some("/cache"), Some("/set.so")),
            ("", Some("/env.so"), Some("/cache"), Some("/env.so")),
            ("", Some(""), Some("/cache"), Some("/cache/onnxruntime-1.28.0/libonnxruntime.so.1.28.0")),
            ("", None, None, None),
        ];
        for (setting, variable, cache, expected) in rows {
            let found = find(setting, |_| variable.map(OsString::from), cache.map(PathBuf::from));
            assert_eq!(found.as_deref(), expected.map(Path::new), "{setting} {variable:?} {cache:?}");
        }
    }

    #[test]
    fn a_missing_or_foreign_library_is_an_error_that_names_the_remedy() {
        let missing = Library::open("/nonexistent/libonnxruntime.so").expect_err("missing");
        assert!(matches!(&missing, Unavailable::Missing { path: Some(_) }) && missing.to_string().contains("make setup"));
        let this = env::current_exe().expect("this test");
        let foreign = Library::open(this.to_str().expect("plain path")).expect_err("not a library");
        assert!(matches!(&foreign, Unavailable::Unusable { .. }), "{foreign:?}");
        assert!(!foreign.to_string().contains(this.to_str().expect("plain path")), "{foreign}");
    }
}
