//! Rules about words that may stand in no file: work left for later, excuses, and the names of one person's machine.

use crate::{
    Violation,
    tree::{Tree, has_word},
};

/// Each forbidden text in two halves, so that this file does not contain it, and what to do instead.
const FORBIDDEN: [(&str, &str, &str); 9] = [
    ("TO", "DO", "do it, or write an issue"),
    ("FIX", "ME", "do it, or write an issue"),
    ("X", "XX", "do it, or write an issue"),
    ("for ", "now", "say what holds; what does not hold is no feature"),
    ("in a production ", "system", "handle it, or do not claim it"),
    ("in ", "production, you", "handle it, or do not claim it"),
    ("/wor", "k/", "a path of one machine"),
    ("/roo", "t/", "a path of one machine"),
    ("/hom", "e/", "a path of one machine"),
];

/// Nothing is left for later, excused, or tied to one machine.
pub fn leftovers(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in tree.0.values() {
        for (number, line) in file.lines() {
            for (head, tail, instead) in FORBIDDEN {
                let text = format!("{head}{tail}");
                // A path of a machine begins at a word's end; `network/x` and `~/work/` are other things.
                let path = text.starts_with('/');
                let found = if path {
                    line.match_indices(&text)
                        .any(|(at, _)| !line[..at].ends_with(|c: char| crate::tree::is_word(c) || ".-~}".contains(c)))
                } else {
                    has_word(line, &text)
                };
                if found {
                    violations.push(file.violation(number, format!("`{text}`: {instead}")));
                }
            }
        }
    }
    violations
}
