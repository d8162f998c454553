//! Facts that documents state in tables and that the code can confirm: a job's transitions and events, log lines, names of tests, reasons
//! for outside crates. It compares words between markers with the code; it must never judge a sentence.

use std::collections::BTreeSet;

use siding_core::job::{Change, EventKind, State};

use crate::tree::{Tree, is_word};

const LIFECYCLE: &str = "docs/job-lifecycle.md";
const TELEMETRY: &str = "docs/telemetry.md";
const CRATES: &str = "docs/adr/0011-what-each-outside-crate-is-for.md";

fn text(path: &str) -> String {
    let mut tree = Tree::of_repository();
    tree.0.remove(path).unwrap_or_else(|| panic!("{path} is missing")).text
}

/// The lines between every pair of these markers.
fn marked<'a>(text: &'a str, marker: &str) -> Vec<&'a str> {
    let (begin, end) = (format!("<!-- {marker}:begin -->"), format!("<!-- {marker}:end -->"));
    let parts = text.split(begin.as_str()).skip(1).filter_map(|rest| rest.split(end.as_str()).next());
    parts.flat_map(str::lines).collect()
}

/// The cells of a marked table, without its head.
fn rows<'a>(text: &'a str, marker: &str) -> Vec<Vec<&'a str>> {
    let lines = marked(text, marker);
    let is_rule = |line: &str| line.starts_with("| ---");
    let heads: BTreeSet<usize> =
        lines.iter().enumerate().filter(|(_, line)| is_rule(line)).flat_map(|(at, _)| [at.saturating_sub(1), at]).collect();
    let body = lines.iter().enumerate().filter(|(at, line)| line.starts_with('|') && !heads.contains(at));
    body.map(|(_, line)| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// What stands in backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn word(change: Change) -> String {
    format!("{change:?}").to_lowercase()
}

/// Every move of the code, as `from change to`.
fn moves() -> BTreeSet<String> {
    let all = State::ALL.into_iter().flat_map(|from| Change::ALL.into_iter().map(move |change| (from, change)));
    let legal = all.filter_map(|(from, change)| Some(format!("{from} {} {}", word(change), from.apply(change).ok()?)));
    legal.collect()
}

/// The moves of the page's table.
fn moves_of_table(page: &str) -> BTreeSet<String> {
    let bare = |cell: &str| cell.trim_matches('`').to_owned();
    rows(page, "transitions").iter().map(|row| format!("{} {} {}", bare(row[0]), bare(row[1]), bare(row[2]))).collect()
}

/// The moves of the page's diagram; `[*]` stands for a beginning or an end.
fn moves_of_diagram(page: &str) -> BTreeSet<String> {
    let edges = marked(page, "diagram").into_iter().filter_map(|line| {
        let (from, rest) = line.trim().split_once(" --> ")?;
        let (to, changes) = rest.split_once(": ")?;
        Some(changes.split(", ").map(move |change| format!("{from} {change} {to}")))
    });
    edges.flatten().collect()
}

/// The rows of the page's transitions whose event is not what the new state asks for.
fn wrong_events(page: &str) -> Vec<String> {
    let wrong = rows(page, "transitions").into_iter().filter(|row| {
        let (from, to) = (row[0].trim_matches('`'), row[2].trim_matches('`').parse::<State>().ok());
        let kinds: Option<Vec<EventKind>> = quoted(row[3]).map(|kind| kind.parse().ok()).collect();
        let fits = match (to, kinds.as_deref()) {
            (Some(to), Some([])) => row[3] == "none" && from == to.as_str(),
            (Some(to), Some(kinds)) => kinds.iter().all(|kind| match EventKind::of_terminal(to) {
                Some(terminal) => *kind == terminal,
                None => !kind.is_terminal(),
            }),
            _ => false,
        };
        !fits
    });
    wrong.map(|row| row.join(" | ")).collect()
}

/// The event kinds of the page with whether they are terminal.
fn events_of_table(page: &str) -> BTreeSet<String> {
    rows(page, "events").iter().map(|row| format!("{} {}", row[0].trim_matches('`'), row[1])).collect()
}

fn events() -> BTreeSet<String> {
    EventKind::ALL.iter().map(|kind| format!("{kind} {}", if kind.is_terminal() { "yes" } else { "no" })).collect()
}

#[test]
fn the_page_on_a_jobs_life_has_the_moves_and_events_of_the_code() {
    let page = text(LIFECYCLE);
    assert_eq!(moves_of_table(&page), moves(), "the table of {LIFECYCLE}");
    assert_eq!(moves_of_diagram(&page), moves(), "the diagram of {LIFECYCLE}");
    assert_eq!(events_of_table(&page), events(), "the events of {LIFECYCLE}");
    assert_eq!(wrong_events(&page), Vec::<String>::new(), "the events of the transitions of {LIFECYCLE}");
}

#[test]
fn a_changed_row_of_the_page_on_a_jobs_life_is_found() {
    let page = text(LIFECYCLE);
    let rows = [
        ("| `queued` | claim | `running` |", "| `queued` | claim | `cancelling` |"),
        ("| `queued` | expire | `expired` | `expired` |", "| `queued` | expire | `expired` | `started` |"),
        ("| `running` | cancel | `cancelling` | `cancelling` |", "| `running` | cancel | `cancelling` | none |"),
        ("    running --> failed: fail\n", ""),
        ("canceled: stopped, fail, requeue", "canceled: stopped, fail"),
        ("| `output` | no |", "| `output` | yes |"),
    ];
    for (right, wrong) in rows {
        let changed = page.replacen(right, wrong, 1);
        assert_ne!(changed, page, "{right} stands in the page");
        let is_right = moves_of_table(&changed) == moves()
            && moves_of_diagram(&changed) == moves()
            && events_of_table(&changed) == events()
            && wrong_events(&changed).is_empty();
        assert!(!is_right, "{wrong}");
    }
}

#[test]
fn a_log_line_in_the_page_on_telemetry_is_one_of_the_code() {
    let (tree, page) = (Tree::of_repository(), text(TELEMETRY));
    let messages = rows(&page, "logs");
    assert!(messages.len() > 10, "the table was found");
    let is_logged = |message: &str| tree.rust().any(|file| file.text.contains(&format!("\"{message}\"")));
    let unknown: Vec<&str> = messages.iter().map(|row| row[0].trim_matches('`')).filter(|message| !is_logged(message)).collect();
    assert_eq!(unknown, Vec::<&str>::new(), "messages of {TELEMETRY} that no code logs");
}

/// What in a document is written like the name of a test: a claim of at least five words.
fn claims(text: &str) -> impl Iterator<Item = &str> {
    let is_claim = |word: &&str| {
        word.matches('_').count() >= 4
            && word.chars().all(|c| is_word(c) && !c.is_uppercase())
            && !word.starts_with("siding_")
            && !word.contains("__")
    };
    text.lines().flat_map(quoted).filter(is_claim)
}

#[test]
fn a_test_named_in_a_document_exists() {
    let tree = Tree::of_repository();
    let mut unknown = Vec::new();
    for file in tree.0.values().filter(|file| file.path.ends_with(".md")) {
        let exists = |claim: &&str| tree.rust().any(|rust| rust.text.contains(&format!("fn {claim}(")) || is_rule(rust, claim));
        unknown.extend(claims(&file.text).filter(|claim| !exists(claim)).map(|claim| format!("{}: {claim}", file.path)));
    }
    assert!(unknown.is_empty(), "documents name tests that are not there:\n{}", unknown.join("\n"));
    let text = "`a_claim_of_five_words` `siding_job_wait_a_b_seconds` `too_short`";
    assert_eq!(claims(text).collect::<Vec<_>>(), ["a_claim_of_five_words"]);
}

/// Rules of tidy are tests that a macro makes of `name: function;`.
fn is_rule(file: &crate::tree::File, claim: &str) -> bool {
    file.path == "tests/tidy/main.rs" && file.text.contains(&format!("    {claim}: rules::"))
}

#[test]
fn every_outside_crate_has_a_row_that_says_what_it_is_for() {
    let page = text(CRATES);
    let told: BTreeSet<String> = rows(&page, "crates").iter().flat_map(|row| quoted(row[0])).map(str::to_owned).collect();
    let manifest: toml::Table = text("Cargo.toml").parse().expect("the workspace's manifest is TOML");
    let dependencies = manifest["workspace"]["dependencies"].as_table().expect("a table");
    let outside: BTreeSet<String> =
        dependencies.iter().filter(|(_, value)| value.get("path").is_none()).map(|(name, _)| name.clone()).collect();
    assert_eq!(told, outside, "the crates of {CRATES} and of Cargo.toml");
}
