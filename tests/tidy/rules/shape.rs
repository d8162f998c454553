//! Rules about files and functions: how they begin, how long they are, what they are called.

use crate::{Violation, tree::Tree};

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;
/// Fewest words of a module's first line: "//! siding" says nothing.
const DOC_WORDS_MIN: usize = 5;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = ["util", "utils", "common", "helper", "helpers", "manager", "misc", "mod"];

/// A file or function (`path` or `path:function`) that may be longer than the rule allows, until when it was excused, and how long it
/// may be. This list only shrinks: an entry that is no longer needed, or larger than needed, is a violation itself.
const EXCEPTIONS: [(&str, &str, usize); 0] = [];

fn allowed(name: &str, rule_max: usize) -> usize {
    EXCEPTIONS.iter().find(|(exception, ..)| *exception == name).map_or(rule_max, |(.., max)| *max)
}

/// STYLE 7: line one is `//!` and says something.
pub fn module_doc(tree: &Tree) -> Vec<Violation> {
    let wrong = tree.rust().filter(|file| {
        let first = file.text.lines().next().unwrap_or_default();
        first.strip_prefix("//! ").is_none_or(|doc| doc.split_whitespace().count() < DOC_WORDS_MIN)
    });
    wrong.map(|file| file.violation(1, "line one must be `//!` and say what this module decides and must never do")).collect()
}

/// STYLE 6: at most 400 lines a file.
pub fn file_length(tree: &Tree) -> Vec<Violation> {
    let files = tree.0.values().filter(|file| file.path.ends_with(".rs") || file.path.ends_with(".py"));
    let long =
        files.map(|file| (file, file.text.lines().count())).filter(|(file, lines)| *lines > allowed(&file.path, FILE_LINES_MAX));
    long.map(|(file, lines)| file.violation(1, format!("{lines} lines; at most {FILE_LINES_MAX} are allowed"))).collect()
}

/// STYLE 6: at most 70 lines a function.
pub fn function_length(tree: &Tree) -> Vec<Violation> {
    let functions = tree.rust().flat_map(|file| file.functions().into_iter().map(move |function| (file, function)));
    let long = functions.filter(|(file, function)| {
        let name = format!("{}:{}", file.path, function.name);
        function.last - function.first + 1 > allowed(&name, FUNCTION_LINES_MAX)
    });
    long.map(|(file, function)| {
        let lines = function.last - function.first + 1;
        file.violation(
            function.first,
            format!("fn {} has {lines} lines; at most {FUNCTION_LINES_MAX} are allowed", function.name),
        )
    })
    .collect()
}

/// STYLE 4 and 5: no `mod.rs`, and no name that says nothing.
pub fn module_names(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in tree.rust() {
        let stem = file.path.trim_end_matches(".rs").rsplit('/').next().unwrap_or_default();
        if EMPTY_NAMES.contains(&stem) {
            violations.push(file.violation(1, format!("a file named {stem}.rs; name what is in it")));
        }
        for (number, line) in file.code() {
            let name = line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ").strip_prefix("mod ");
            let name = name.and_then(|name| name.split([';', ' ']).next());
            if let Some(name) = name.filter(|name| EMPTY_NAMES.contains(name)) {
                violations.push(file.violation(number, format!("a module named {name}; name what is in it")));
            }
        }
    }
    violations
}

/// STYLE 6: the list of exceptions only shrinks.
pub fn exceptions_shrink(tree: &Tree) -> Vec<Violation> {
    check_exceptions(tree, &EXCEPTIONS)
}

fn check_exceptions(tree: &Tree, exceptions: &[(&str, &str, usize)]) -> Vec<Violation> {
    let longest = |name: &str| match name.split_once(':') {
        None => tree.0.get(name).map_or(0, |file| file.text.lines().count()),
        Some((path, function)) => {
            let functions = tree.0.get(path).map(|file| file.functions()).unwrap_or_default();
            functions.iter().filter(|f| f.name == function).map(|f| f.last - f.first + 1).max().unwrap_or(0)
        }
    };
    let loose = exceptions.iter().filter(|(name, _, max)| longest(name) != *max);
    loose
        .map(|(name, since, max)| Violation {
            path: (*name).to_owned(),
            line: 1,
            what: format!("excused in {since} with {max} lines, has {}: set the exception to that, or remove it", longest(name)),
        })
        .collect()
}

#[test]
fn an_exception_that_is_too_large_or_of_nothing_is_found() {
    let tree = Tree::of(vec![("a.rs".into(), "//! x\nfn f() {\n}\n".into())]);
    let rows = [("a.rs", 3, 0), ("a.rs", 9, 1), ("a.rs:f", 2, 0), ("a.rs:f", 3, 1), ("b.rs", 5, 1)];
    for (name, max, expected) in rows {
        assert_eq!(check_exceptions(&tree, &[(name, "2026-11", max)]).len(), expected, "{name} {max}");
    }
}
