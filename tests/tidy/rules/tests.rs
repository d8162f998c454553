//! Rules about tests and examples: they wait for facts, are named as claims, and none is skipped in silence.

use crate::{Violation, tree::Tree};

/// Where a pause is the point, and why.
const SLEEPERS: [(&str, &str); 2] = [
    ("tests/src/harness/eventually.rs", "the harness's own bounded wait, between two looks"),
    ("core/src/store/sqlite/measure.rs", "a measurement of calls that come one by one, with nothing in between"),
];

/// STYLE 32: no sleep in tests. `clock.sleep(…)` is a seam's method, not a sleep.
pub fn sleeps(tree: &Tree) -> Vec<Violation> {
    let files = tree.rust().filter(|file| !SLEEPERS.iter().any(|(path, _)| file.path == *path));
    let lines = files.flat_map(|file| file.code().map(move |(number, line)| (file, number, line)));
    let found = lines.filter(|(file, number, line)| {
        let calls = line.match_indices("sleep(").any(|(at, _)| {
            let before = &line[..at];
            !before.ends_with('.') && !before.ends_with("fn ") && !before.ends_with(crate::tree::is_word)
        });
        calls && file.is_test(*number)
    });
    found.map(|(file, number, _)| file.violation(number, "wait for a signal or with `eventually`, or pause the time")).collect()
}

/// STYLE 31: a test's name is a claim.
pub fn names(tree: &Tree) -> Vec<Violation> {
    let functions = tree.rust().flat_map(|file| file.functions().into_iter().map(move |function| (file, function)));
    let wrong = functions.filter(|(_, function)| function.name.starts_with("test_") || function.name == "it_works");
    wrong.map(|(file, function)| file.violation(function.first, format!("fn {}: name the claim", function.name))).collect()
}

/// STYLE 34: an ignored test says what it needs.
pub fn ignores(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in tree.rust() {
        for (at, start) in file.masked.match_indices("#[ignore") {
            let says = file.text.lines().nth(file.line_of(at) - 1).is_some_and(|line| line.contains("#[ignore = \"needs "));
            if !says || !file.masked[at + start.len()..].starts_with(" = \"") {
                violations.push(file.violation(file.line_of(at), "`#[ignore = \"needs …\"]`"));
            }
        }
    }
    violations
}

/// STYLE 29: examples compile.
pub fn ignored_examples(tree: &Tree) -> Vec<Violation> {
    let lines = tree.rust().flat_map(|file| file.lines().map(move |(number, line)| (file, number, line)));
    let found = lines.filter(|(_, _, line)| {
        let fence = line.trim_start().trim_start_matches(['/', '!']).trim_start().strip_prefix("```");
        fence.is_some_and(|words| words.split(',').any(|word| word.trim() == "ignore"))
    });
    found.map(|(file, number, _)| file.violation(number, "examples compile; use `no_run` when it cannot run")).collect()
}
