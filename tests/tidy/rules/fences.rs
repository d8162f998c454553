//! Rules about who may know whom: outside libraries behind their seams, crates downwards, implementations only where things are
//! wired together.

use toml::Table;

use crate::{
    Violation,
    tree::{Tree, has_word, is_word},
};

/// An outside library and the only places that may name it.
const FENCES: [(&str, &[&str]); 6] = [
    // The harness looks at servers from outside, and disturbs them.
    ("lapin", &["core/src/broker/rabbitmq", "tests/src/harness/rabbitmq"]),
    ("sqlx", &["core/src/store", "tests/src/harness/database.rs"]),
    ("redis", &["core/src/cache/redis"]),
    ("ort", &["worker/src/runtime/onnx"]),
    ("tokenizers", &["worker/src/runtime/onnx/text"]),
    ("backoff", &["core/src/retry.rs"]),
];

/// Implementations of seams, and the module that each lives in.
const IMPLEMENTATIONS: [(&str, &str); 6] = [
    ("PostgresStore", "core/src/store/postgres"),
    ("SqliteStore", "core/src/store/sqlite"),
    ("MemoryBroker", "core/src/broker/memory"),
    ("RabbitBroker", "core/src/broker/rabbitmq"),
    ("InProcessCache", "core/src/cache/in_process"),
    ("RedisCache", "core/src/cache/redis"),
];

/// Who may depend on which of our crates: the folder, its crate, and what it may know.
const CRATES: [(&str, &str, &[&str]); 7] = [
    ("core", "siding-core", &[]),
    ("producer/sdk/rust", "siding-client", &[]),
    ("producer", "siding-producer", &["siding-core"]),
    ("worker", "siding-worker", &["siding-core"]),
    ("results", "siding-results", &["siding-core"]),
    ("compose/siding", "siding", &["siding-core", "siding-client", "siding-producer", "siding-worker", "siding-results"]),
    ("tests", "siding-tests", &["siding-core", "siding-client", "siding-producer", "siding-worker", "siding-results", "siding"]),
];

/// DESIGN 3: each of these libraries is named behind one seam only.
pub fn libraries(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in tree.rust() {
        for (library, places) in FENCES {
            if places.iter().any(|place| file.path.starts_with(place)) {
                continue;
            }
            let named = file.code().filter(|(_, line)| names_crate(line, library));
            violations.extend(
                named.map(|(number, _)| file.violation(number, format!("`{library}` is named only under {}", places.join(", ")))),
            );
        }
    }
    violations
}

/// `library::…` or `use library;`, but not `other::library::…`.
fn names_crate(line: &str, library: &str) -> bool {
    let path = format!("{library}::");
    let in_path = line.match_indices(&path).any(|(at, _)| {
        let before = &line[..at];
        !before.ends_with(is_word) && (!before.ends_with("::") || before.ends_with(" ::"))
    });
    in_path
        || ["use ", "extern crate "]
            .iter()
            .any(|start| line.trim_start().trim_start_matches("pub ").starts_with(&format!("{start}{library};")))
}

/// DESIGN 3: dependencies go down only.
pub fn crates(tree: &Tree) -> Vec<Violation> {
    let ours: Vec<&str> = CRATES.iter().map(|(_, name, _)| *name).collect();
    let mut violations = Vec::new();
    for file in tree.files("", "/Cargo.toml") {
        let Some((_, name, may)) = CRATES.iter().find(|(folder, ..)| file.path == format!("{folder}/Cargo.toml")) else {
            violations.push(file.violation(1, "a crate that tests/tidy does not know: say there what it may depend on"));
            continue;
        };
        for dependency in dependencies(&file.text) {
            if ours.contains(&dependency.as_str()) && !may.contains(&dependency.as_str()) {
                violations
                    .push(file.violation(line_with(&file.text, &dependency), format!("{name} must not depend on {dependency}")));
            }
        }
    }
    violations
}

/// Versions are written once, in the workspace, and every crate takes its lints.
pub fn manifests(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in tree.files("", "/Cargo.toml") {
        let Ok(manifest) = file.text.parse::<Table>() else {
            violations.push(file.violation(1, "not TOML"));
            continue;
        };
        let inherits =
            |value: Option<&toml::Value>| value.and_then(|v| v.get("workspace")).and_then(toml::Value::as_bool) == Some(true);
        if !inherits(manifest.get("lints")) {
            violations.push(file.violation(1, "`[lints] workspace = true` is missing"));
        }
        for (name, value) in sections(&manifest).flat_map(|section| section.iter()) {
            if !inherits(Some(value)) {
                violations
                    .push(file.violation(line_with(&file.text, name), format!("{name}: write its version in the workspace")));
            }
        }
    }
    violations
}

/// DESIGN 3: only `compose/siding` and the tests name an implementation.
pub fn implementations(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in tree.rust().filter(|file| !file.path.starts_with("compose/siding/")) {
        for (name, home) in IMPLEMENTATIONS {
            let named = file.code().filter(|(number, line)| has_word(line, name) && !file.is_test(*number));
            if !file.path.starts_with(home) {
                violations
                    .extend(named.map(|(number, _)| file.violation(number, format!("take the seam's trait instead of {name}"))));
            }
        }
    }
    violations
}

fn sections(manifest: &Table) -> impl Iterator<Item = &Table> {
    ["dependencies", "dev-dependencies", "build-dependencies"].into_iter().filter_map(|name| manifest.get(name)?.as_table())
}

fn dependencies(text: &str) -> Vec<String> {
    let manifest = text.parse::<Table>().unwrap_or_default();
    sections(&manifest).flat_map(|section| section.keys().cloned()).collect()
}

fn line_with(text: &str, start: &str) -> usize {
    text.lines().position(|line| line.starts_with(start)).map_or(1, |at| at + 1)
}
