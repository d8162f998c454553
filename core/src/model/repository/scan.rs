//! Reading a repository's folder: two levels, no further. It decides what counts as a version; it follows no link out of the folder.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{Broken, Model, Repository, natural_order};
use crate::{
    id::{ModelName, ModelVersion},
    limits,
    model::{
        manifest::{FILE_NAME, Manifest, Runner},
        versions::VersionPolicy,
    },
};

/// A manifest that changed less than this before it was read is read again the next time: within one tick of the file system's clock it may
/// have changed once more without looking different.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// How a manifest looked from outside when it was read, and what was read.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    stamp: Stamp,
    /// Whether an equal stamp means equal content.
    settled: bool,
    model: Arc<Model>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(manifest: &Path) -> Option<(Self, bool)> {
        let found = manifest.metadata().ok()?;
        let settled =
            found.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok()).is_some_and(|age| age > SETTLED_AFTER);
        let stamp = Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        };
        Some((stamp, settled))
    }
}

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
    /// Reads the folder, and serves every version. A version that cannot be served is listed in `broken`; entries that are no version are
    /// passed over.
    ///
    /// # Errors
    /// `Error` when the folder itself cannot be read.
    pub fn open(folder: &Path, allow_scripted: bool) -> Result<Self, Error> {
        Self::read(folder, allow_scripted, &VersionPolicy::default(), &Self::default())
    }

    /// Reads the folder, and serves what `policy` says. What looks from outside as it did in `before` is taken over from there, as the very
    /// same `Arc`; so is what was read again and is the same.
    ///
    /// # Errors
    /// `Error` when the folder itself cannot be read.
    pub(in crate::model) fn read(
        folder: &Path,
        allow_scripted: bool,
        policy: &VersionPolicy,
        before: &Self,
    ) -> Result<Self, Error> {
        let unreadable = |source| Error::Unreadable { folder: folder.into(), source };
        let root = folder.canonicalize().map_err(unreadable)?;
        let mut repository = Self::default();
        let mut count = 0;
        for name in folders(&root).map_err(unreadable)? {
            // A model's folder that cannot be listed hides its own versions only.
            let versions = match folders(&root.join(&name)) {
                Ok(versions) => versions,
                Err(error) => {
                    repository.broken.push(Broken { folder: name, why: format!("cannot be listed: {}", error.kind()) });
                    continue;
                }
            };
            count += versions.len();
            if count > limits::MODEL_FOLDERS_MAX {
                return Err(Error::TooLarge { folder: folder.into() });
            }
            for version in versions.iter().filter(|version| has_manifest(&root.join(&name).join(version))) {
                match known_or_read(&root, &name, version, allow_scripted, &before.seen) {
                    Ok(seen) => {
                        repository.all.push(seen.model.clone());
                        repository.seen.insert(root.join(&name).join(version), seen);
                    }
                    Err(why) => repository.broken.push(Broken { folder: format!("{name}/{version}"), why }),
                }
            }
        }
        repository.all.sort_by(|a, b| {
            let version = |model: &Model| model.manifest.version.clone();
            a.manifest.name.cmp(&b.manifest.name).then_with(|| natural_order(version(b).as_str(), version(a).as_str()))
        });
        repository.served = served(&repository.all, policy);
        repository.broken.sort_by(|a, b| a.folder.cmp(&b.folder));
        Ok(repository)
    }
}

fn served(all: &[Arc<Model>], policy: &VersionPolicy) -> Vec<Arc<Model>> {
    let of_one_model = all.chunk_by(|a, b| a.manifest.name == b.manifest.name);
    let served = |model: &&Arc<Model>, newest: &Model| {
        policy.serves(&model.manifest.name, &model.manifest.version, &newest.manifest.version)
    };
    of_one_model.flat_map(|versions| versions.iter().filter(move |model| served(model, &versions[0]))).cloned().collect()
}

fn known_or_read(
    root: &Path,
    name: &str,
    version: &str,
    allow_scripted: bool,
    before: &HashMap<PathBuf, Seen>,
) -> Result<Seen, String> {
    let place = root.join(name).join(version);
    let folder = inside(root, &place).map_err(|why| format!("{name}/{version}: {why}"))?;
    // Before it is read: what changes afterwards then looks different the next time.
    let stamp = Stamp::of(&folder.join(FILE_NAME));
    let before = before.get(&place).filter(|before| before.model.folder == folder);
    if let Some(before) = before.filter(|before| before.settled && Some(before.stamp) == stamp.map(|(stamp, _)| stamp)) {
        return Ok(before.clone());
    }
    let read = model(folder, name, version, allow_scripted)?;
    let model = before.map(|before| &before.model).filter(|before| ***before == read).cloned().unwrap_or_else(|| Arc::new(read));
    let (stamp, settled) = stamp.ok_or_else(|| format!("{name}/{version}/{FILE_NAME}: is gone"))?;
    Ok(Seen { stamp, settled, model })
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

fn model(folder: PathBuf, name: &str, version: &str, allow_scripted: bool) -> Result<Model, String> {
    let parsed_name: ModelName = name.parse().map_err(|error| format!("the folder's name: {error}"))?;
    let parsed_version: ModelVersion = version.parse().map_err(|error| format!("the folder's name: {error}"))?;
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
