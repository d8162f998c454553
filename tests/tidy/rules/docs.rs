//! Rules about documents: what they point to exists, and they are as short as they promise.

use std::path::Path;

use crate::{
    Violation,
    tree::{File, Tree},
};

const DECISION_LINES_MAX: usize = 80;
const AGENTS_LINES_MAX: usize = 60;
/// The folders whose paths are checked wherever a backtick names them.
const OUR_FOLDERS: [&str; 10] =
    ["core/", "producer/", "worker/", "results/", "migrations/", "docs/", "compose/", "tests/", ".ci/", ".config/"];

/// STYLE 30: relative links of documents, and repository paths in backticks anywhere, lead to something.
pub fn paths(tree: &Tree) -> Vec<Violation> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests have a parent folder");
    let exists = |path: &str| {
        let path = path.trim_end_matches('/');
        let listed = tree.0.contains_key(path) || tree.0.keys().any(|file| file.starts_with(&format!("{path}/")));
        listed || root.join(path).exists()
    };
    let mut violations = Vec::new();
    for file in tree.0.values().filter(|file| !file.path.starts_with("tests/tidy/")) {
        for (number, line) in file.lines() {
            let links = if file.path.ends_with(".md") { links(file, line) } else { Vec::new() };
            let missing = links.into_iter().chain(quoted_paths(line)).filter(|path| !exists(path));
            violations.extend(missing.map(|path| file.violation(number, format!("{path} does not exist"))));
        }
    }
    violations
}

/// The targets of a Markdown line's relative links, from the root.
fn links(file: &File, line: &str) -> Vec<String> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let relative =
        targets.filter(|target| !target.contains("://") && !target.starts_with(['#', '/']) && !target.starts_with("mailto:"));
    let paths = relative.map(|target| {
        let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
        for part in target.split('#').next().unwrap_or_default().split('/') {
            match part {
                "." | "" => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        parts.join("/")
    });
    paths.collect()
}

/// What stands in backticks and looks like a path of this repository.
fn quoted_paths(line: &str) -> Vec<String> {
    let quoted = line.split('`').skip(1).step_by(2);
    let plain = |text: &&str| {
        OUR_FOLDERS.iter().any(|folder| text.starts_with(folder))
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
    };
    quoted.filter(plain).map(str::to_owned).collect()
}

/// STYLE 41: a decision has at most 80 lines, and no number is missing.
pub fn decisions(tree: &Tree) -> Vec<Violation> {
    let mut violations = numbered(tree, "docs/adr/", ".md", '-');
    let long = tree
        .files("docs/adr/", ".md")
        .map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > DECISION_LINES_MAX);
    violations
        .extend(long.map(|(file, lines)| file.violation(1, format!("{lines} lines; at most {DECISION_LINES_MAX} are allowed"))));
    violations
}

/// The page for agents is one page.
pub fn agents(tree: &Tree) -> Vec<Violation> {
    let Some(file) = tree.0.get("AGENTS.md") else {
        return vec![Violation { path: "AGENTS.md".into(), line: 1, what: "missing".into() }];
    };
    let lines = file.text.lines().count();
    let long = lines > AGENTS_LINES_MAX;
    long.then(|| file.violation(1, format!("{lines} lines; at most {AGENTS_LINES_MAX} are allowed"))).into_iter().collect()
}

/// DESIGN 3: migrations of every dialect have the same numbers and names, without a gap.
pub fn migrations(tree: &Tree) -> Vec<Violation> {
    let folders: Vec<String> = ["sqlite", "postgres"].iter().map(|dialect| format!("migrations/{dialect}/")).collect();
    let mut violations: Vec<Violation> = folders.iter().flat_map(|folder| numbered(tree, folder, ".sql", '_')).collect();
    let present: Vec<&String> = folders.iter().filter(|folder| tree.files(folder, ".sql").next().is_some()).collect();
    for file in tree.files("migrations/", ".sql") {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let lacking = present.iter().filter(|folder| !tree.0.contains_key(&format!("{folder}{name}")));
        violations.extend(lacking.map(|folder| file.violation(1, format!("{folder} has no {name}"))));
    }
    violations
}

/// Files of `folder` are called `0001<separator>name` and so on, without a gap.
fn numbered(tree: &Tree, folder: &str, ending: &str, separator: char) -> Vec<Violation> {
    let names = tree.files(folder, ending).filter(|file| !file.path.ends_with("README.md"));
    let wrong = names.enumerate().filter(|(i, file)| !file.path[folder.len()..].starts_with(&format!("{:04}{separator}", i + 1)));
    wrong.map(|(i, file)| file.violation(1, format!("its number must be {:04}", i + 1))).collect()
}
