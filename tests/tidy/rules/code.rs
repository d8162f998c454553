//! Rules about code outside of tests: how it may fail, what it may start, what it may silence.

use crate::{
    Violation,
    tree::{File, Tree, has_word},
};

/// Where a word is allowed although the rule forbids it, and why.
type Allowed<'a> = &'a [(&'a str, &'a str)];

/// Every line of code outside of tests that contains one of `words`, except in files whose path begins as `allowed` says.
fn lines_with(tree: &Tree, words: &[&str], allowed: Allowed, what: &str) -> Vec<Violation> {
    let files = tree.rust().filter(|file| !allowed.iter().any(|(start, _)| file.path.starts_with(start)));
    let lines = files.flat_map(|file| file.code().map(move |(number, line)| (file, number, line)));
    let found = lines.filter(|(file, number, line)| !file.is_test(*number) && words.iter().any(|word| has_word(line, word)));
    found.map(|(file, number, _)| file.violation(number, what)).collect()
}

/// STYLE 20: no unwrap and no deliberate panic outside of tests.
pub fn panics(tree: &Tree) -> Vec<Violation> {
    const ALLOWED: Allowed = &[("worker/src/runtime/scripted", "the scripted runtime panics when its script says so")];
    let words = [".unwrap()", "panic!", "todo!", "unimplemented!"];
    lines_with(tree, &words, ALLOWED, "return an error, or `expect(\"why it cannot fail\")`")
}

/// STYLE 20: no `let _ =` on a call: its Result would vanish.
pub fn dropped_results(tree: &Tree) -> Vec<Violation> {
    let lines = tree.rust().flat_map(|file| file.code().map(move |(number, line)| (file, number, line)));
    let found = lines.filter(|(file, number, line)| {
        let call = line.trim_start().strip_prefix("let _ =").is_some_and(|value| {
            // The value may go on in the next lines; a plain name followed by a semicolon is no call.
            value.contains('(') || !value.contains(';')
        });
        call && !file.is_test(*number)
    });
    found.map(|(file, number, _)| file.violation(number, "handle the Result, or `drop` what is none")).collect()
}

/// STYLE 21: tasks and threads are started in one place, where they are counted and stopped.
pub fn spawns(tree: &Tree) -> Vec<Violation> {
    const ALLOWED: Allowed = &[
        ("core/src/drain.rs", "the one place that spawns"),
        ("worker/src/worker.rs", "joining the slots' threads blocks; the task that does it is awaited on the spot"),
        ("worker/src/slot", "each slot runs its models on a thread of its own, joined by the worker"),
        ("worker/src/runtime/isolated/process", "reading what a model process prints blocks, and ends with the process"),
        (
            "worker/src/runtime/isolated/serve",
            "a model process has one thread that computes and one that hears of its worker's end",
        ),
    ];
    let words = [
        "tokio::spawn",
        "task::spawn",
        "spawn_blocking(",
        "spawn_local(",
        "thread::spawn",
        "thread::Builder",
        "thread::scope",
        "JoinSet",
    ];
    let found =
        lines_with(tree, &words, ALLOWED, "spawn through `Drain`: a task that nobody awaits cannot be stopped or counted");
    // `drain.spawn_blocking(…)` is the drain's own.
    found
        .into_iter()
        .filter(|violation| !tree.0[&violation.path].line(violation.line).contains("drain.spawn_blocking("))
        .collect()
}

/// A silenced lint needs its reason beside it.
pub fn suppressions(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in tree.rust() {
        for start in ["#[allow(", "#[expect(", "#![allow(", "#![expect("] {
            for (at, _) in file.masked.match_indices(start) {
                let attribute = &file.masked[at..];
                let end = attribute.find(")]").unwrap_or(attribute.len());
                if !attribute[..end].contains("reason = \"") {
                    violations.push(file.violation(file.line_of(at), "a silenced lint needs `reason = \"…\"`"));
                }
            }
        }
    }
    violations
}

impl File {
    fn line(&self, number: usize) -> &str {
        self.masked.lines().nth(number - 1).unwrap_or_default()
    }
}
