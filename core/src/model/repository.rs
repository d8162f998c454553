//! The model repository: a folder of `<name>/<version>/model.toml`. It decides which versions can be served and what a caller is told
//! about the others. One bad model never hides the good ones, nothing outside the folder is ever read, and nothing is hashed here:
//! bytes are checked when they are loaded.

mod scan;

use std::{cmp::Ordering, collections::HashMap, path::PathBuf, sync::Arc};

use sha2::{Digest, Sha256};

use super::manifest::{CheckedFile, Manifest};
use crate::{
    blob::hex,
    id::{ModelName, ModelVersion},
};

pub use scan::Error;
use scan::Seen;

/// One version that can be served.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Model {
    /// What `model.toml` says.
    pub manifest: Manifest,
    /// Its folder, without symbolic links. Not for callers.
    pub folder: PathBuf,
}

impl Model {
    /// A model whose manifest was checked elsewhere, in the folder where it was found.
    #[must_use]
    pub fn in_folder(manifest: Manifest, folder: PathBuf) -> Self {
        Self { manifest, folder }
    }

    /// The model's file; `None` for a scripted model.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        self.manifest.file.as_ref().map(|file| self.folder.join(&file.model.path))
    }

    /// `<name>/<version>`: its place in the repository.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}/{}", self.manifest.name, self.manifest.version)
    }

    /// The size of its files, in bytes; of one that cannot be looked at, 0.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        let size = |file: &CheckedFile| self.folder.join(&file.path).metadata().map_or(0, |found| found.len());
        self.manifest.file.iter().flat_map(|file| std::iter::once(&file.model).chain(&file.external)).map(size).sum()
    }

    /// Reads one of its files whole. The bytes that are returned are the ones that were checked: nobody can exchange them in between.
    ///
    /// # Errors
    /// `Unreadable` when the file is missing, leads out of the folder, or has another SHA-256 than the manifest says.
    pub fn read(&self, file: &CheckedFile) -> Result<Vec<u8>, Unreadable> {
        let unreadable = |why: String| Unreadable { file: file.path.clone(), why };
        let path = scan::inside(&self.folder, &self.folder.join(&file.path)).map_err(unreadable)?;
        // Whoever opens a pipe waits for who writes to it.
        if !path.is_file() {
            return Err(unreadable("is no file".into()));
        }
        let bytes = std::fs::read(path).map_err(|error| unreadable(format!("cannot be read: {}", error.kind())))?;
        let found: [u8; 32] = Sha256::digest(&bytes).into();
        if found != file.sha256 {
            return Err(unreadable(format!("has the SHA-256 {}, the manifest says {}", hex(&found), hex(&file.sha256))));
        }
        Ok(bytes)
    }
}

/// Why a model's file cannot be had. Safe to show to a caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file} {why}")]
pub struct Unreadable {
    /// Its name in the model's folder.
    pub file: String,
    /// What is wrong.
    pub why: String,
}

/// One version that cannot be served. Safe to show to a caller: only names below the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// `<name>/<version>`.
    pub folder: String,
    /// What is wrong: file, place and key.
    pub why: String,
}

/// Why there is no model to run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// No model has this name.
    #[error("there is no such model; known models: {known}")]
    UnknownModel {
        /// All names, comma-separated.
        known: String,
    },
    /// The model does not have this version.
    #[error("the model has no such version; it has {known}")]
    UnknownVersion {
        /// Its versions, comma-separated, newest first.
        known: String,
    },
    /// It is there and cannot be served.
    #[error("the model cannot be served: {why}")]
    Broken {
        /// What is wrong with it.
        why: String,
    },
}

/// What was found in one folder at one time.
#[derive(Debug, Clone, Default)]
pub struct Repository {
    /// All that can be served: by name, newest version first.
    all: Vec<Arc<Model>>,
    /// Those of them that new jobs get, in the same order.
    served: Vec<Arc<Model>>,
    broken: Vec<Broken>,
    /// How the manifests looked from outside when they were read, by folder, for the next reading.
    seen: HashMap<PathBuf, Seen>,
}

impl Repository {
    /// Every version that new jobs get: by name, newest first.
    #[must_use]
    pub fn models(&self) -> &[Arc<Model>] {
        &self.served
    }

    /// Every version that can run, also those that new jobs do not get: by name, newest first.
    #[must_use]
    pub fn all(&self) -> &[Arc<Model>] {
        &self.all
    }

    /// Every version that cannot, by folder.
    #[must_use]
    pub fn broken(&self) -> &[Broken] {
        &self.broken
    }

    /// The version that a new job gets: the one asked for, else the newest that is served.
    ///
    /// # Errors
    /// `Unresolved` says what there is instead.
    pub fn resolve(&self, name: &ModelName, version: Option<&ModelVersion>) -> Result<Arc<Model>, Unresolved> {
        let mut of_name = of_name(&self.served, name).iter();
        let found = match version {
            Some(version) => of_name.find(|model| model.manifest.version == *version),
            None => of_name.next(),
        };
        found.cloned().ok_or_else(|| self.missing(name, version))
    }

    /// The version that an accepted job was accepted for, whether new jobs get it or not.
    #[must_use]
    pub fn find(&self, name: &ModelName, version: &ModelVersion) -> Option<&Arc<Model>> {
        of_name(&self.all, name).iter().find(|model| model.manifest.version == *version)
    }

    /// Why there is nothing of that name.
    #[must_use]
    pub fn missing(&self, name: &ModelName, version: Option<&ModelVersion>) -> Unresolved {
        let is_asked_for = |broken: &&Broken| match (broken.folder.split_once('/'), version) {
            (Some((folder, number)), Some(version)) => folder == name.as_str() && number == version.as_str(),
            (Some((folder, _)), None) => folder == name.as_str(),
            (None, _) => false,
        };
        if let Some(broken) = self.broken.iter().find(is_asked_for) {
            return Unresolved::Broken { why: broken.why.clone() };
        }
        match of_name(&self.served, name) {
            [] => Unresolved::UnknownModel { known: listed(self.served.iter().map(|model| model.manifest.name.as_str())) },
            versions => {
                Unresolved::UnknownVersion { known: listed(versions.iter().map(|model| model.manifest.version.as_str())) }
            }
        }
    }
}

/// The versions of one model, in a list that is sorted by name.
fn of_name<'a>(models: &'a [Arc<Model>], name: &ModelName) -> &'a [Arc<Model>] {
    let start = models.partition_point(|model| model.manifest.name < *name);
    let count = models[start..].partition_point(|model| model.manifest.name == *name);
    &models[start..start + count]
}

/// Names, each once, at most so many that the text stays readable.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const LISTED_MAX: usize = 50;
    let mut listed: Vec<&str> = names.collect();
    listed.dedup();
    let more = listed.len().saturating_sub(LISTED_MAX);
    listed.truncate(LISTED_MAX);
    match (listed.is_empty(), more) {
        (true, _) => "none".into(),
        (false, 0) => listed.join(", "),
        (false, more) => format!("{} and {more} more", listed.join(", ")),
    }
}

/// Versions in the order in which a person counts: runs of digits by value, all else by character.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (left, right) = (a.bytes().next(), b.bytes().next());
        let (Some(left), Some(right)) = (left, right) else { return left.is_some().cmp(&right.is_some()) };
        if left.is_ascii_digit() && right.is_ascii_digit() {
            let (number_a, rest_a) = split_digits(a);
            let (number_b, rest_b) = split_digits(b);
            // Without leading zeros, the longer run of digits is the larger number; no number is too large for this.
            let (value_a, value_b) = (number_a.trim_start_matches('0'), number_b.trim_start_matches('0'));
            let order = value_a.len().cmp(&value_b.len()).then_with(|| value_a.cmp(value_b)).then_with(|| number_a.cmp(number_b));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (rest_a, rest_b);
        } else if left != right {
            return left.cmp(&right);
        } else {
            (a, b) = (&a[1..], &b[1..]);
        }
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests;
