//! The rules of style that a machine can hold, as tests: each prints every violation with its file, line and rule. A rule decides
//! from text alone; it must never need a build, a network or a judgement. What only a reader can judge is not here.

mod mask;
mod rules;
mod self_test;
mod tables;
mod tree;

use std::fmt;

use tree::Tree;

/// One place where a rule is broken.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// A rule: the sentence that it holds, and how to find what breaks it.
pub struct Rule {
    name: &'static str,
    find: fn(&Tree) -> Vec<Violation>,
}

macro_rules! rules {
    ($($name:ident: $find:path;)*) => {
        /// Every rule, for the self-test.
        const RULES: &[Rule] = &[$(Rule { name: stringify!($name), find: $find }),*];
        $(
            #[test]
            fn $name() {
                check(&Rule { name: stringify!($name), find: $find });
            }
        )*
    };
}

rules! {
    a_file_begins_with_what_it_decides: rules::shape::module_doc;
    a_file_has_at_most_400_lines: rules::shape::file_length;
    a_function_has_at_most_70_lines: rules::shape::function_length;
    no_module_is_named_for_nothing: rules::shape::module_names;
    an_exception_is_used_and_not_larger_than_needed: rules::shape::exceptions_shrink;
    outside_libraries_stay_behind_their_fences: rules::fences::libraries;
    crates_depend_downwards_only: rules::fences::crates;
    versions_and_lints_come_from_the_workspace: rules::fences::manifests;
    only_the_wiring_names_an_implementation: rules::fences::implementations;
    nothing_panics_on_purpose: rules::code::panics;
    no_result_is_dropped_unseen: rules::code::dropped_results;
    no_task_or_thread_escapes_the_drain: rules::code::spawns;
    a_suppressed_lint_says_why: rules::code::suppressions;
    no_test_sleeps: rules::tests::sleeps;
    a_test_is_named_as_a_claim: rules::tests::names;
    an_ignored_test_says_what_it_needs: rules::tests::ignores;
    no_example_is_ignored: rules::tests::ignored_examples;
    nothing_is_left_for_later: rules::words::leftovers;
    a_path_or_link_in_a_document_exists: rules::docs::paths;
    decisions_are_short_and_numbered: rules::docs::decisions;
    the_page_for_agents_is_one_page: rules::docs::agents;
    migrations_are_numbered_alike: rules::docs::migrations;
    documents_name_every_state_event_and_failure: rules::facts::words_of_jobs;
    endpoints_are_documented_and_documented_ones_exist: rules::facts::endpoints;
    a_metric_that_a_document_names_exists: rules::facts::metrics;
    a_variable_that_the_deployment_names_is_read: rules::deployment::settings;
    a_command_that_the_deployment_runs_exists: rules::deployment::commands;
    a_file_that_the_deployment_takes_exists: rules::deployment::paths;
    a_secret_of_the_deployment_is_made_and_not_written_down: rules::deployment::secrets;
}

fn check(rule: &Rule) {
    let mut violations = (rule.find)(&Tree::of_repository());
    violations.sort();
    let lines: Vec<_> = violations.iter().map(|violation| format!("  {violation}")).collect();
    assert!(lines.is_empty(), "{}: {} violations\n{}", rule.name, lines.len(), lines.join("\n"));
}
