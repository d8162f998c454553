//! The model repository as it is now: a handle that every service of a process shares, and the loop that reads the folder again. It decides what
//! has changed between two readings; a reading that fails changes nothing. It never touches what is loaded or running: who holds something of
//! an older reading learns here that there is a newer one.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{oneshot, watch};

use super::{
    repository::{Error, Model, Repository},
    versions::VersionPolicy,
};
use crate::{drain::Drain, error::chain, telemetry::Metrics};

/// The repository as it was last read. Cheap to clone; all clones show the same.
#[derive(Debug, Clone)]
pub struct Catalog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Written by `reload` alone.
    current: watch::Sender<Arc<Repository>>,
    source: Option<Source>,
    /// Held while the folder is read: two readings at once would tell changes twice.
    reading: Mutex<()>,
}

#[derive(Debug)]
struct Source {
    folder: PathBuf,
    allow_scripted: bool,
    policy: VersionPolicy,
}

/// What became of one version between two readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It can be served now.
    Added,
    /// It is gone.
    Removed,
    /// Under the same name there is something else: another manifest, and so other files.
    Replaced,
    /// It cannot be served, and this is news.
    Broken,
}

impl ChangeKind {
    /// Its word in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Replaced => "replaced",
            Self::Broken => "broken",
        }
    }
}

/// One difference between two readings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// `<name>/<version>`.
    pub folder: String,
    /// Why it cannot be served; empty when it can.
    pub why: String,
}

impl Catalog {
    /// Reads `folder` for the first time.
    ///
    /// # Errors
    /// `Error` when the folder itself cannot be read.
    pub fn open(folder: &Path, allow_scripted: bool, policy: VersionPolicy) -> Result<Self, Error> {
        let repository = Repository::read(folder, allow_scripted, &policy, &Repository::default())?;
        Ok(Self::over(repository, Some(Source { folder: folder.into(), allow_scripted, policy })))
    }

    /// A catalog that never changes.
    #[must_use]
    pub fn of(repository: Repository) -> Self {
        Self::over(repository, None)
    }

    fn over(repository: Repository, source: Option<Source>) -> Self {
        Self(Arc::new(Shared { current: watch::Sender::new(Arc::new(repository)), source, reading: Mutex::default() }))
    }

    /// What was read last. Cheap.
    #[must_use]
    pub fn current(&self) -> Arc<Repository> {
        self.0.current.borrow().clone()
    }

    /// Whether this is still what stands in the repository under its name.
    #[must_use]
    pub fn is_current(&self, model: &Arc<Model>) -> bool {
        let manifest = &model.manifest;
        self.0.current.borrow().find(&manifest.name, &manifest.version).is_some_and(|found| Arc::ptr_eq(found, model))
    }

    /// Tells when something else was read.
    #[must_use]
    pub fn listen(&self) -> Readings {
        Readings(self.0.current.subscribe())
    }

    /// Reads the folder again and shows what it holds now. Blocks. What has not changed is not read but looked at.
    ///
    /// # Errors
    /// `Error` when the folder itself cannot be read; then everything stays as it was.
    pub fn reload(&self) -> Result<Vec<Change>, Error> {
        let Some(source) = &self.0.source else { return Ok(Vec::new()) };
        let _reading = self.0.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current();
        let after = Repository::read(&source.folder, source.allow_scripted, &source.policy, &before)?;
        let changes = changes(&before, &after);
        // Also without a change: what was looked at is remembered, so that the next reading has less to read.
        let is_news = !changes.is_empty() || before.broken() != after.broken();
        self.0.current.send_if_modified(|current| {
            *current = Arc::new(after);
            is_news
        });
        Ok(changes)
    }
}

/// One listener for new readings.
#[derive(Debug)]
pub struct Readings(watch::Receiver<Arc<Repository>>);

impl Readings {
    /// Waits for a reading with changes that was not seen yet; for ever, when there will be none. Cancel-safe.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// What differs, by folder.
fn changes(before: &Repository, after: &Repository) -> Vec<Change> {
    let change = |kind, model: &Model| Change { kind, folder: model.place(), why: String::new() };
    let mut changes = Vec::new();
    for model in after.all() {
        match before.find(&model.manifest.name, &model.manifest.version) {
            None => changes.push(change(ChangeKind::Added, model)),
            Some(old) if !Arc::ptr_eq(old, model) => changes.push(change(ChangeKind::Replaced, model)),
            Some(_) => {}
        }
    }
    let gone = |model: &&Arc<Model>| after.find(&model.manifest.name, &model.manifest.version).is_none();
    changes.extend(before.all().iter().filter(gone).map(|model| change(ChangeKind::Removed, model)));
    for broken in after.broken().iter().filter(|broken| !before.broken().contains(broken)) {
        changes.push(Change { kind: ChangeKind::Broken, folder: broken.folder.clone(), why: broken.why.clone() });
    }
    changes.sort_by(|a, b| a.folder.cmp(&b.folder));
    changes
}

/// Reads the folder again every so often, until the stop signal of `drain`.
pub fn keep_reading(drain: &Drain, catalog: &Catalog, every: Duration, metrics: Arc<Metrics>) {
    let (drain, catalog) = (drain.clone(), catalog.clone());
    drain.clone().spawn(async move {
        let mut failing = false;
        loop {
            tokio::select! {
                () = drain.stopping() => return,
                () = tokio::time::sleep(every) => {}
            }
            let (told, read) = oneshot::channel();
            let reading = catalog.clone();
            // A slow disk or a share must not hold up the executor.
            drain.spawn_blocking(move || drop(told.send(reading.reload())));
            match read.await {
                Ok(Ok(changes)) => {
                    failing = false;
                    changes.iter().for_each(|change| tell(change, &metrics));
                }
                Ok(Err(error)) if !failing => {
                    failing = true;
                    tracing::error!(
                        error = chain(&error),
                        "the model repository cannot be read again; what was read before stays"
                    );
                }
                Ok(Err(_)) => {}
                // It panicked, and the drain has failed.
                Err(_) => return,
            }
        }
    });
}

/// Logs and counts one difference: for whoever has made a reading.
pub fn tell(change: &Change, metrics: &Metrics) {
    metrics.models.changed(change.kind);
    match change.kind {
        ChangeKind::Broken => tracing::warn!(model.folder = change.folder, why = change.why, "model cannot be served"),
        kind => tracing::info!(model.folder = change.folder, change = kind.as_str(), "model repository changed"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(root: &Path, folder: &str, more: &str) {
        let (name, version) = folder.split_once('/').expect("two parts");
        let manifest = format!(
            "name = \"{name}\"\nversion = \"{version}\"\ndescription = \"{more}\"\nlicense = \"\"\nsource = \"\"\nrunner = \"scripted\"\n\
             cost = {{ base_ms = 1 }}\n"
        );
        fs::create_dir_all(root.join(folder)).expect("a folder");
        fs::write(root.join(folder).join("model.toml"), manifest).expect("a file");
    }

    fn told(catalog: &Catalog) -> Vec<(ChangeKind, String)> {
        catalog.reload().expect("readable").into_iter().map(|change| (change.kind, change.folder)).collect()
    }

    #[test]
    fn each_reading_tells_what_came_went_was_replaced_or_broke() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        write(root, "m/1", "");
        let catalog = Catalog::open(root, true, "latest".parse().expect("a policy")).expect("readable");
        let newest = || catalog.current().resolve(&"m".parse().expect("a name"), None).map(|model| model.place());
        let first = catalog.current().models()[0].clone();
        assert_eq!(told(&catalog), []);
        assert!(catalog.is_current(&first), "what did not change is the same, though it was read again");

        write(root, "m/2", "");
        assert_eq!(told(&catalog), [(ChangeKind::Added, "m/2".to_owned())]);
        assert_eq!(newest(), Ok("m/2".to_owned()));
        assert_eq!(catalog.current().models().len(), 1, "new jobs get the newest alone");
        assert!(catalog.is_current(&first), "jobs that were accepted for the older one still find it");

        write(root, "m/1", "other");
        fs::write(root.join("m/2/model.toml"), "name =").expect("a file");
        let changes = [
            (ChangeKind::Replaced, "m/1".to_owned()),
            (ChangeKind::Removed, "m/2".to_owned()),
            (ChangeKind::Broken, "m/2".to_owned()),
        ];
        assert_eq!(told(&catalog), changes);
        assert!(!catalog.is_current(&first));
        assert_eq!(newest(), Ok("m/1".to_owned()), "a newest version that is broken hides no older one");
        assert_eq!(told(&catalog), [], "what is broken still is no news");

        fs::remove_dir_all(root.join("m")).expect("removes");
        assert_eq!(told(&catalog), [(ChangeKind::Removed, "m/1".to_owned())]);
        assert_eq!((catalog.current().models().len(), catalog.current().broken().len()), (0, 0));
    }

    #[test]
    fn a_reading_that_fails_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("models");
        write(&root, "m/1", "");
        let catalog = Catalog::open(&root, true, VersionPolicy::default()).expect("readable");
        fs::rename(&root, folder.path().join("away")).expect("renames");
        catalog.reload().expect_err("it is away");
        assert_eq!(catalog.current().models().len(), 1);
        fs::rename(folder.path().join("away"), &root).expect("renames");
        assert_eq!(told(&catalog), [], "it is back, and as it was");
    }

    #[test]
    fn a_manifest_that_has_settled_is_looked_at_and_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        write(root, "m/1", "");
        let manifest = root.join("m/1/model.toml");
        let touch = |age| {
            let file = fs::File::options().append(true).open(&manifest).expect("opens");
            file.set_modified(std::time::SystemTime::now() - age).expect("a time");
        };
        touch(Duration::from_secs(3600));
        let catalog = Catalog::open(root, true, VersionPolicy::default()).expect("readable");
        let before = catalog.current().models()[0].clone();
        assert_eq!(told(&catalog), []);
        write(root, "m/1", "other");
        touch(Duration::from_secs(3600));
        assert_eq!(told(&catalog), [(ChangeKind::Replaced, "m/1".to_owned())], "the time of the change tells, whatever is set");
        assert!(!catalog.is_current(&before));
    }
}
