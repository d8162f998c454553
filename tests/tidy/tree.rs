//! The repository as text: which files there are, which lines of Rust are tests, where functions begin and end. It decides what is
//! looked at; the rules decide what is wrong.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::Path,
};

use crate::{Violation, mask::mask};

/// Folders that are not ours: built, fetched, generated.
const SKIPPED_FOLDERS: [&str; 6] = ["target", ".git", ".siding", ".venv", "__pycache__", "node_modules"];
/// The files that are text and ours.
const TEXT_ENDINGS: [&str; 11] = ["rs", "toml", "md", "py", "sql", "yaml", "yml", "sh", "json", "conf", "cfg"];
/// Files without an ending that are text and ours, too.
const TEXT_NAMES: [&str; 2] = ["Makefile", "Dockerfile"];

/// One file of text.
pub struct File {
    /// Its path from the repository's root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
    /// For Rust: the text without comments and literals.
    pub masked: String,
    /// For Rust: for each line, whether it only exists in tests.
    is_test: Vec<bool>,
}

/// A function's place in a file: lines from 1.
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of its `fn`.
    pub first: usize,
    /// The line of its closing brace.
    pub last: usize,
}

/// Every text file, by path.
pub struct Tree(pub BTreeMap<String, File>);

impl Tree {
    /// The repository that this test belongs to.
    pub fn of_repository() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests have a parent folder");
        let mut files = Vec::new();
        read_folder(root, "", &mut files);
        assert!(files.len() > 50, "the repository was not found");
        Self::of(files)
    }

    /// A tree of these paths and texts.
    pub fn of(files: Vec<(String, String)>) -> Self {
        let mut tree: BTreeMap<String, File> =
            files.into_iter().map(|(path, text)| (path.clone(), File::new(path, text))).collect();
        let test_files: HashSet<String> = tree.values().flat_map(File::modules_of_tests).collect();
        for file in tree.values_mut() {
            let all = file.path.starts_with("tests/")
                || file.path.contains("/tests/")
                || test_files.iter().any(|test| is_at_or_under(&file.path, test));
            if all {
                file.is_test.fill(true);
            }
        }
        Self(tree)
    }

    /// The Rust files.
    pub fn rust(&self) -> impl Iterator<Item = &File> {
        self.0.values().filter(|file| file.path.ends_with(".rs"))
    }

    /// The files whose path begins and ends so.
    pub fn files<'a>(&'a self, start: &'a str, end: &'a str) -> impl Iterator<Item = &'a File> {
        self.0.values().filter(move |file| file.path.starts_with(start) && file.path.ends_with(end))
    }
}

/// `path` is the module file `module` (without ending) or lies in its folder.
fn is_at_or_under(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

fn read_folder(folder: &Path, prefix: &str, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let entry = entry.expect("a readable entry");
        let name = entry.file_name().into_string().expect("names are UTF-8");
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().expect("a known kind");
        if kind.is_dir() && !SKIPPED_FOLDERS.contains(&name.as_str()) {
            read_folder(&entry.path(), &format!("{path}/"), files);
        }
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        if kind.is_file() && (TEXT_ENDINGS.contains(&ending) || TEXT_NAMES.contains(&name.as_str()) || path.starts_with(".ci/")) {
            files.push((path, fs::read_to_string(entry.path()).expect("text is UTF-8")));
        }
    }
}

impl File {
    fn new(path: String, text: String) -> Self {
        let masked = if path.ends_with(".rs") { mask(&text) } else { String::new() };
        let mut file = Self { path, is_test: vec![false; text.lines().count() + 1], text, masked };
        for (start, _) in file.masked.match_indices("#[cfg(test)]") {
            let first = file.line_of(start);
            let last = file.end_of_item(start).map_or(first, |end| file.line_of(end));
            file.is_test[first - 1..last].fill(true);
        }
        file
    }

    /// The number of the line that holds this byte of the masked text.
    pub fn line_of(&self, at: usize) -> usize {
        self.masked[..at].matches('\n').count() + 1
    }

    /// Whether this line (from 1) only exists in tests.
    pub fn is_test(&self, line: usize) -> bool {
        self.is_test.get(line - 1).copied().unwrap_or(false)
    }

    /// The lines of code alone, numbered from 1.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.masked.lines().enumerate().map(|(i, line)| (i + 1, line))
    }

    /// The lines as they are, numbered from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(i, line)| (i + 1, line))
    }

    /// A violation in this file.
    pub fn violation(&self, line: usize, what: impl Into<String>) -> Violation {
        Violation { path: self.path.clone(), line, what: what.into() }
    }

    /// Modules that exist in tests only and have files of their own: their paths without ending.
    fn modules_of_tests(&self) -> Vec<String> {
        let folder = match self.path.rsplit_once('/') {
            Some((folder, "lib.rs" | "main.rs")) => folder,
            _ => self.path.trim_end_matches(".rs"),
        };
        let declared = self.masked.match_indices("#[cfg(test)]").filter_map(|(start, attribute)| {
            let item = self.masked[start + attribute.len()..].trim_start();
            let name = item.trim_start_matches("pub(crate) ").strip_prefix("mod ")?;
            Some(format!("{folder}/{}", name[..name.find([';', '{'])?].trim()))
        });
        declared.collect()
    }

    /// Where the item that begins at or after `start` ends: its closing brace, or its semicolon when it has no braces.
    fn end_of_item(&self, start: usize) -> Option<usize> {
        // A semicolon inside brackets (`[u8; 4]`) does not end an item.
        let (mut braces, mut brackets) = (0_usize, 0_usize);
        for (at, c) in self.masked[start..].char_indices() {
            match c {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets = brackets.saturating_sub(1),
                ';' if braces == 0 && brackets == 0 => return Some(start + at),
                '{' => braces += 1,
                '}' if braces <= 1 => return Some(start + at),
                '}' => braces -= 1,
                _ => {}
            }
        }
        None
    }

    /// Every function with a body.
    pub fn functions(&self) -> Vec<Function> {
        let starts = self.masked.match_indices("fn ").filter(|(at, _)| !self.masked[..*at].ends_with(is_word));
        let found = starts.filter_map(|(start, _)| {
            let name: String = self.masked[start + 3..].chars().take_while(|c| is_word(*c)).collect();
            let end = self.end_of_item(start)?;
            let has_body = !name.is_empty() && self.masked[end..].starts_with('}');
            has_body.then(|| Function { name, first: self.line_of(start), last: self.line_of(end) })
        });
        found.collect()
    }
}

/// Whether a character may be part of a name.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `line` contains `word` with no letter, digit or underscore directly before or after it.
pub fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let starts = !word.starts_with(is_word) || !line[..at].ends_with(is_word);
        let ends = !word.ends_with(is_word) || !line[at + word.len()..].starts_with(is_word);
        starts && ends
    })
}
