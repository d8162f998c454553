//! Rules about facts that documents repeat from the code: endpoints, metrics, states, event kinds, failure codes. The code is right; a
//! document that differs is the violation.

use std::collections::BTreeSet;

use siding_core::job::{EventKind, FailureCode, State};

use crate::{
    Violation,
    tree::{Tree, has_word, is_word},
};

/// Endpoints that the binary adds beside the services' own.
const OWN_ENDPOINTS: [&str; 2] = ["GET /openapi.json", "GET /metrics"];
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "PATCH"];
/// What the exposition format appends to a metric's name.
const METRIC_ENDINGS: [&str; 5] = ["", "_total", "_count", "_sum", "_bucket"];
/// Where metrics get their names.
const METRICS: &str = "core/src/telemetry/metrics";
/// Where endpoints are told.
const API: &str = "docs/api.md";

/// Every endpoint of the services stands in the API's document, and every endpoint that a document names exists.
pub fn endpoints(tree: &Tree) -> Vec<Violation> {
    let in_code: BTreeSet<String> = tree.rust().flat_map(|file| file.text.lines().filter_map(declared_endpoint)).collect();
    let in_document = |endpoint: &str| {
        tree.0
            .get(API)
            .is_some_and(|file| file.lines().any(|(_, line)| named_endpoints(line).iter().any(|named| named == endpoint)))
    };
    let unnamed = in_code.iter().filter(|endpoint| !in_document(endpoint));
    let mut violations: Vec<Violation> =
        unnamed.map(|endpoint| Violation { path: API.into(), line: 1, what: format!("does not name `{endpoint}`") }).collect();
    for file in tree.files("", ".md") {
        for (number, line) in file.lines() {
            let unknown = named_endpoints(line)
                .into_iter()
                .filter(|named| !in_code.contains(named) && !OWN_ENDPOINTS.contains(&named.as_str()));
            violations.extend(unknown.map(|named| file.violation(number, format!("there is no `{named}`"))));
        }
    }
    violations
}

/// `get, path = "/v1/jobs"` in an attribute of a handler.
fn declared_endpoint(line: &str) -> Option<String> {
    let (before, after) = line.split_once(", path = \"")?;
    let method = before.rsplit(|c: char| !is_word(c)).next()?.to_uppercase();
    METHODS.contains(&method.as_str()).then(|| format!("{method} {}", after.split('"').next().unwrap_or_default()))
}

/// What stands in backticks and is a method and a path, without its query.
fn named_endpoints(line: &str) -> Vec<String> {
    let quoted = line.split('`').skip(1).step_by(2);
    let endpoint = |text: &str| {
        let (method, path) = text.split_once(' ')?;
        let path = path.split(['?', ' ']).next()?;
        (METHODS.contains(&method) && path.starts_with('/')).then(|| format!("{method} {path}"))
    };
    quoted.filter_map(endpoint).collect()
}

/// Every metric that a document names exists.
pub fn metrics(tree: &Tree) -> Vec<Violation> {
    let code = tree.files(METRICS, ".rs").flat_map(|file| file.text.split('"'));
    let known: BTreeSet<&str> = code.filter(|text| text.starts_with("siding_") && text.chars().all(is_word)).collect();
    // Users of a database are named so, too.
    let users = tree.0.get("compose/postgres/roles.sql").map_or("", |file| file.text.as_str());
    let exists = |name: &str| {
        METRIC_ENDINGS.iter().any(|ending| name.strip_suffix(ending).is_some_and(|base| known.contains(base)))
            || users.contains(&format!("CREATE ROLE {name} "))
    };
    let mut violations = Vec::new();
    for file in tree.files("", ".md") {
        for (number, line) in file.lines() {
            let words = line.split(|c: char| !is_word(c)).filter(|word| word.starts_with("siding_"));
            // Crates and fields are written with an underscore too: `siding_core::…`.
            let names = words.filter(|word| !line.contains(&format!("{word}::")) && !line.contains(&format!("{word}=")));
            violations.extend(
                names.filter(|name| !exists(name)).map(|name| file.violation(number, format!("there is no metric {name}"))),
            );
        }
    }
    violations
}

/// The documents of jobs name every state, event kind and failure code.
pub fn words_of_jobs(tree: &Tree) -> Vec<Violation> {
    let states = State::ALL.map(State::as_str);
    let kinds = EventKind::ALL.map(EventKind::as_str);
    let failures = FailureCode::ALL.map(FailureCode::as_str);
    let documents: [(&str, &[&str]); 4] = [("docs/job-lifecycle.md", &states), (API, &states), (API, &kinds), (API, &failures)];
    let mut violations = Vec::new();
    for (path, words) in documents {
        let Some(file) = tree.0.get(path) else {
            violations.push(Violation { path: path.into(), line: 1, what: "missing".into() });
            continue;
        };
        let absent = words.iter().filter(|word| !file.text.lines().any(|line| has_word(line, word)));
        violations.extend(absent.map(|word| file.violation(1, format!("does not name `{word}`"))));
    }
    violations
}
