//! Reading a repository's folder: two levels, no further. It decides what counts as a version; it follows no link out of the folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Broken, Model, Repository, natural_order};
use crate::{
    id::{ModelName, ModelVersion},
    limits,
    model::manifest::{FILE_NAME, Manifest, Runner},
};

/// Why the repository itself cannot be read. The text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder is not there or not readable.
    #[error("the model folder {} cannot be read", .folder.display())]
    Unreadable {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There are more folders than a repository may have.
    #[error("the model folder {} has more than {} entries", .folder.display(), limits::MODEL_FOLDERS_MAX)]
    TooLarge {
        /// The folder.
        folder: PathBuf,
    },
}

impl Repository {
    /// Reads the folder. A version that cannot be served is listed in `broken`; entries that are no version are passed over.
    ///
    /// # Errors
    /// `Error` when the folder itself cannot be read.
    pub fn open(folder: &Path, allow_scripted: bool) -> Result<Self, Error> {
        let unreadable = |source| Error::Unreadable { folder: folder.into(), source };
        let root = folder.canonicalize().map_err(unreadable)?;
        let mut repository = Self::default();
        let mut seen = 0;
        for name in folders(&root).map_err(unreadable)? {
            // A model's folder that cannot be listed hides its own versions only.
            let versions = match folders(&root.join(&name)) {
                Ok(versions) => versions,
                Err(error) => {
                    repository.broken.push(Broken { folder: name, why: format!("cannot be listed: {}", error.kind()) });
                    continue;
                }
            };
            seen += versions.len();
            if seen > limits::MODEL_FOLDERS_MAX {
                return Err(Error::TooLarge { folder: folder.into() });
            }
            for version in versions.iter().filter(|version| has_manifest(&root.join(&name).join(version))) {
                match model(&root, &name, version, allow_scripted) {
                    Ok(model) => repository.models.push(Arc::new(model)),
                    Err(why) => repository.broken.push(Broken { folder: format!("{name}/{version}"), why }),
                }
            }
        }
        repository.models.sort_by(|a, b| {
            let version = |model: &Model| model.manifest.version.clone();
            a.manifest.name.cmp(&b.manifest.name).then_with(|| natural_order(version(b).as_str(), version(a).as_str()))
        });
        repository.broken.sort_by(|a, b| a.folder.cmp(&b.folder));
        Ok(repository)
    }
}

/// The names of the folders in `folder`, links to folders included, hidden ones not.
fn folders(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)?.take(limits::MODEL_FOLDERS_MAX + 1) {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && entry.path().is_dir() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Whether there is something by the manifest's name: only then a folder is meant to be a version.
fn has_manifest(folder: &Path) -> bool {
    folder.join(FILE_NAME).symlink_metadata().is_ok()
}

fn model(root: &Path, name: &str, version: &str, allow_scripted: bool) -> Result<Model, String> {
    let parsed_name: ModelName = name.parse().map_err(|error| format!("the folder's name: {error}"))?;
    let parsed_version: ModelVersion = version.parse().map_err(|error| format!("the folder's name: {error}"))?;
    let folder = inside(root, &root.join(name).join(version)).map_err(|why| format!("{name}/{version}: {why}"))?;
    let file = format!("{name}/{version}/{FILE_NAME}");
    let text = read(&folder).map_err(|why| format!("{file}: {why}"))?;
    let manifest = Manifest::parse(&text).map_err(|error| format!("{file}: {error}"))?;
    if manifest.name != parsed_name {
        return Err(format!("{file}: name: must be the folder's name {name}, not {}", manifest.name));
    }
    if manifest.version != parsed_version {
        return Err(format!("{file}: version: must be the folder's name {version}, not {}", manifest.version));
    }
    if manifest.runner == Runner::Scripted && !allow_scripted {
        return Err(format!("{file}: runner: \"scripted\" is for tests and benches; the setting worker.scripted allows it"));
    }
    for checked in manifest.files() {
        inside(&folder, &folder.join(&checked.path)).map_err(|why| format!("{file}: file: {}: {why}", checked.path))?;
    }
    Ok(Model { manifest, folder })
}

/// The manifest's text, bounded.
fn read(folder: &Path) -> Result<String, String> {
    let path = inside(folder, &folder.join(FILE_NAME))?;
    let size = path.metadata().map_err(|error| format!("cannot be read: {}", error.kind()))?.len();
    if size > limits::MANIFEST_BYTES_MAX {
        return Err(format!("has {size} bytes; at most {} are allowed", limits::MANIFEST_BYTES_MAX));
    }
    fs::read_to_string(path).map_err(|error| format!("cannot be read: {}", error.kind()))
}

/// The path without links, when it exists and lies below `folder` (which has no links).
pub(super) fn inside(folder: &Path, path: &Path) -> Result<PathBuf, String> {
    match path.canonicalize() {
        Ok(real) if real.starts_with(folder) => Ok(real),
        Ok(_) => Err("leads out of its folder".into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err("is missing; `make setup` fetches the files of known models".into())
        }
        Err(error) => Err(format!("cannot be read: {}", error.kind())),
    }
}
