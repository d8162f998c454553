//! Real files for the demo: this repository's own sources where there are any, else text files that every system has. It only reads.

use std::path::{Path, PathBuf};

use super::failed;
use crate::cli::exit::Failed;

/// Most files that the demo classifies; they are taken again from the start when time is left.
const FILES_MAX: usize = 200;
/// Fewest files that make a demo.
const FILES_MIN: usize = 5;
/// Most folders that are looked into.
const FOLDERS_MAX: usize = 2_000;
/// Smallest file that tells its type, in bytes.
const BYTES_MIN: u64 = 64;
/// The kinds of files that are taken from a source tree.
const ENDINGS: [&str; 6] = ["rs", "toml", "md", "py", "sql", "json"];
/// Folders of a source tree that hold what was built or fetched.
const SKIPPED: [&str; 3] = ["target", "node_modules", "__pycache__"];

/// Finds files, a mixture of kinds.
pub fn find() -> Result<Vec<PathBuf>, Failed> {
    let here = std::env::current_dir().map_err(|error| failed(format!("the working folder cannot be read: {error}")))?;
    let mut files = here.ancestors().find(|folder| is_source_tree(folder)).map(sources).unwrap_or_default();
    if files.len() < FILES_MIN {
        files = ["/etc", "/usr/share/doc"].iter().flat_map(|folder| walk(Path::new(folder), |_| true)).collect();
    }
    if files.len() < FILES_MIN {
        return Err(failed("fewer than five readable text files were found here and under /etc and /usr/share/doc"));
    }
    Ok(mix(files))
}

fn is_source_tree(folder: &Path) -> bool {
    folder.join("Cargo.toml").is_file() && folder.join("Makefile").is_file()
}

fn sources(root: &Path) -> Vec<PathBuf> {
    walk(root, |path| {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        ENDINGS.contains(&ending) || path.file_name().is_some_and(|name| name == "Makefile")
    })
}

/// The plain files under `root` that `wanted` takes and that are text, in order of their names. Links are not followed.
fn walk(root: &Path, wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let (mut folders, mut files, mut looked) = (vec![root.to_path_buf()], Vec::new(), 0);
    while let Some(folder) = folders.pop().filter(|_| looked < FOLDERS_MAX) {
        looked += 1;
        // A folder that we may not read is none of ours.
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), entry.file_name());
            let hidden = name.to_string_lossy().starts_with('.');
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !hidden && !SKIPPED.iter().any(|skipped| name == *skipped) => folders.push(path),
                Ok(kind) if kind.is_file() && !hidden && wanted(&path) && is_text(&path) => files.push(path),
                _ => {}
            }
        }
    }
    files
}

fn is_text(path: &Path) -> bool {
    let long_enough = path.metadata().is_ok_and(|metadata| metadata.len() >= BYTES_MIN && metadata.len() < 1 << 20);
    long_enough && std::fs::read(path).is_ok_and(|bytes| !bytes.contains(&0) && std::str::from_utf8(&bytes).is_ok())
}

/// Takes one file of each kind in turn, so that the first ones shown differ.
fn mix(files: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut kinds: Vec<(String, std::collections::VecDeque<PathBuf>)> = Vec::new();
    for file in files {
        let kind = file.extension().map_or(String::new(), |ending| ending.to_string_lossy().into_owned());
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, files)) => files.push_back(file),
            None => kinds.push((kind, [file].into())),
        }
    }
    let mut mixed = Vec::new();
    while mixed.len() < FILES_MAX && kinds.iter().any(|(_, files)| !files.is_empty()) {
        mixed.extend(kinds.iter_mut().filter_map(|(_, files)| files.pop_front()));
    }
    mixed.truncate(FILES_MAX);
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_take_turns() {
        let files = ["a.rs", "b.rs", "c.rs", "d.md", "Makefile"].map(PathBuf::from);
        let mixed = mix(files.to_vec());
        assert_eq!(mixed, ["a.rs", "d.md", "Makefile", "b.rs", "c.rs"].map(PathBuf::from));
    }

    #[test]
    fn this_repository_is_enough_for_a_demo() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = root.ancestors().find(|folder| is_source_tree(folder)).expect("the workspace");
        let files = sources(root);
        assert!(files.len() > 20, "{}", files.len());
        assert!(files.iter().all(|file| !file.starts_with(root.join("target"))));
    }
}
