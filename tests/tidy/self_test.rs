//! Every rule shown to fail on what it forbids, and to pass over what only looks like it. A rule without a row here is a defect.

use crate::{RULES, tree::Tree};

/// Rows: rule, file, text, and the lines that must be reported.
const ROWS: &[(&str, &str, &str, &[usize])] = &[
    ("a_file_begins_with_what_it_decides", "core/src/a.rs", "// no doc\n", &[1]),
    ("a_file_begins_with_what_it_decides", "core/src/a.rs", "//! core\n", &[1]),
    ("a_file_begins_with_what_it_decides", "core/src/a.rs", "//! It decides this and never that.\n", &[]),
    ("no_module_is_named_for_nothing", "core/src/mod.rs", "", &[1]),
    ("no_module_is_named_for_nothing", "core/src/util.rs", "", &[1]),
    ("no_module_is_named_for_nothing", "core/src/a.rs", "mod a;\npub mod helpers;\n// mod misc;\nmod common_sense;\n", &[2]),
    ("outside_libraries_stay_behind_their_fences", "core/src/a.rs", "use sqlx::Row;\nuse crate::sqlx::x;\n// sqlx::y\n", &[1]),
    ("outside_libraries_stay_behind_their_fences", "core/src/store/a.rs", "use sqlx::Row;\nlet e = lapin::Error;\n", &[2]),
    ("outside_libraries_stay_behind_their_fences", "worker/src/a.rs", "support::x(); ort::init();\nlet backoff = 1;\n", &[1]),
    ("crates_depend_downwards_only", "core/Cargo.toml", "[dependencies]\nsiding-worker.workspace = true\n", &[2]),
    ("crates_depend_downwards_only", "worker/Cargo.toml", "[dev-dependencies]\nsiding-producer = { path = \"x\" }\n", &[2]),
    ("crates_depend_downwards_only", "producer/Cargo.toml", "[dependencies]\nsiding-core.workspace = true\nserde = \"1\"\n", &[]),
    ("crates_depend_downwards_only", "new/Cargo.toml", "[dependencies]\n", &[1]),
    ("versions_and_lints_come_from_the_workspace", "core/Cargo.toml", "[dependencies]\nserde = \"1\"\n", &[1, 2]),
    ("versions_and_lints_come_from_the_workspace", "core/Cargo.toml", "[lints]\nworkspace = true\n", &[]),
    ("only_the_wiring_names_an_implementation", "worker/src/a.rs", "fn f(s: SqliteStore) {}\n// MemoryBroker\n", &[1]),
    ("only_the_wiring_names_an_implementation", "core/src/a.rs", "#[cfg(test)]\nmod tests {\n    use MemoryBroker;\n}\n", &[]),
    ("only_the_wiring_names_an_implementation", "compose/siding/src/up.rs", "SqliteStore::open();\n", &[]),
    ("nothing_panics_on_purpose", "core/src/a.rs", "x.unwrap();\nx.unwrap_or(1);\n\"x.unwrap()\";\nstd::panic!();\n", &[1, 4]),
    ("nothing_panics_on_purpose", "core/src/a.rs", "fn f() { todo!() }\n#[cfg(test)]\nmod t {\n    x.unwrap();\n}\n", &[1]),
    ("no_result_is_dropped_unseen", "core/src/a.rs", "let _ = f();\nlet _ = x;\nlet _x = f();\nlet _ = a\n    .b();\n", &[1, 4]),
    (
        "no_task_or_thread_escapes_the_drain",
        "core/src/a.rs",
        "tokio::spawn(f);\ndrain.spawn(f);\ndrain.spawn_blocking(f);\n",
        &[1],
    ),
    (
        "no_task_or_thread_escapes_the_drain",
        "worker/src/a.rs",
        "std::thread::spawn(f);\ntokio::task::spawn_blocking(f);\n",
        &[1, 2],
    ),
    ("a_suppressed_lint_says_why", "core/src/a.rs", "#[allow(dead_code)]\nfn f() {}\n", &[1]),
    ("a_suppressed_lint_says_why", "core/src/a.rs", "#[expect(\n    a,\n    reason = \"b\"\n)]\nfn f() {}\n", &[]),
    ("no_test_sleeps", "tests/e2e/a.rs", "tokio::time::sleep(d).await;\nclock.sleep(d);\nsleep(d);\n", &[1, 3]),
    ("no_test_sleeps", "core/src/a.rs", "time::sleep(d).await;\n#[cfg(test)]\nmod tests {\n    thread::sleep(d);\n}\n", &[4]),
    ("a_test_is_named_as_a_claim", "core/src/a.rs", "fn test_it() {}\nfn tests_pass() {}\nfn it_works() {\n}\n", &[1, 3]),
    (
        "an_ignored_test_says_what_it_needs",
        "tests/a.rs",
        "#[ignore]\n#[ignore = \"slow\"]\n#[ignore = \"needs a GPU\"]\n",
        &[1, 2],
    ),
    ("no_example_is_ignored", "core/src/a.rs", "/// ```ignore\n//! ```rust,ignore\n/// ```no_run\n// ignore\n", &[1, 2]),
    ("nothing_is_left_for_later", "a.md", concat!("// TO", "DO: x\nTODOS\nfor no", "w\nbefore noway\n"), &[1, 3]),
    ("nothing_is_left_for_later", "a.py", concat!("open('/roo", "t/x')\nnetwork/work\n~/wor", "k/x\n"), &[1]),
    ("a_path_or_link_in_a_document_exists", "docs/a.md", "[x](b.md) [y](https://a/b) [z](../Cargo.toml) [w](#part)\n", &[1]),
    (
        "a_path_or_link_in_a_document_exists",
        "core/src/a.rs",
        "// `core/nothing.rs`\n// `core/src/<name>` `core/src/lib.rs`\n",
        &[1],
    ),
    ("decisions_are_short_and_numbered", "docs/adr/0002-second.md", "x\n", &[1]),
    ("decisions_are_short_and_numbered", "docs/adr/0001-first.md", "x\n", &[]),
    ("the_page_for_agents_is_one_page", "README.md", "x\n", &[1]),
    ("the_page_for_agents_is_one_page", "AGENTS.md", "x\n", &[]),
    ("endpoints_are_documented_and_documented_ones_exist", "docs/api.md", "`GET /v1/x?a=b`\n`GET /metrics` `GET x`\n", &[1]),
    ("endpoints_are_documented_and_documented_ones_exist", "results/src/a.rs", "#[utoipa::path(get, path = \"/v1/x\")]\n", &[1]),
    ("a_metric_that_a_document_names_exists", "README.md", "siding_slots_lazy\nsiding_core::x\n", &[1]),
    (
        "a_variable_that_the_deployment_names_is_read",
        "compose/a.yaml",
        "SIDING_STORE__URL_FILE: a\nSIDING_STORE__ADDRESS: a\nSIDING_PORT: 1\n${SIDING_CACHE} SIDING_TEST_*_URL\n",
        &[2, 3],
    ),
    (
        "a_command_that_the_deployment_runs_exists",
        "compose/a.yaml",
        "command: [\"worker\", \"--config\", \"siding.toml\"]\ncommand: [\"work\", \"--configuration\", \"siding.toml\"]\ncommand: [\"x\"]\n",
        &[2, 2],
    ),
    ("a_file_that_the_deployment_takes_exists", "compose/a.yaml", "- ./siding.toml:/a:ro\n- ./sidings.toml:/a:ro\n", &[2]),
    ("a_file_that_the_deployment_takes_exists", "compose/Dockerfile", "COPY core /a\nCOPY cores /a\nCOPY --from=b c d\n", &[2]),
    (
        "a_secret_of_the_deployment_is_made_and_not_written_down",
        "compose/compose.yaml",
        "a: /run/secrets/store_url\nPG_PASSWORD: x\nsecrets:\n  store_url: { file: x }\nPASSWORD_FILE: /run/secrets/other\n",
        &[2, 5],
    ),
    ("migrations_are_numbered_alike", "migrations/sqlite/1_job.sql", "x\n", &[1]),
    ("migrations_are_numbered_alike", "migrations/sqlite/0001_job.sql", "x\n", &[]),
];

/// Rules whose rows are made below, or that test themselves beside their code.
const ROWS_ELSEWHERE: [&str; 4] = [
    "a_file_has_at_most_400_lines",
    "a_function_has_at_most_70_lines",
    "an_exception_is_used_and_not_larger_than_needed",
    "documents_name_every_state_event_and_failure",
];

fn check(rule: &str, files: &[(&str, &str)], expected: &[usize]) {
    let rule = RULES.iter().find(|known| known.name == rule).unwrap_or_else(|| panic!("there is no rule {rule}"));
    let tree = Tree::of(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect());
    let mut lines: Vec<usize> = (rule.find)(&tree).iter().map(|violation| violation.line).collect();
    lines.sort_unstable();
    assert_eq!(lines, expected, "{} on {files:?}", rule.name);
}

#[test]
fn every_rule_can_fail_and_does_not_cry_wolf() {
    for (rule, path, text, expected) in ROWS {
        check(rule, &[(path, text)], expected);
    }
    for rule in RULES {
        let shown = ROWS.iter().any(|(name, .., lines)| *name == rule.name && !lines.is_empty());
        assert!(shown || ROWS_ELSEWHERE.contains(&rule.name), "no row shows that {} can fail", rule.name);
    }
}

#[test]
fn length_is_counted_to_the_line() {
    let file = |lines: usize| "// x\n".repeat(lines);
    check("a_file_has_at_most_400_lines", &[("core/src/a.rs", &file(400))], &[]);
    check("a_file_has_at_most_400_lines", &[("core/src/a.rs", &file(401))], &[1]);
    let function = |lines: usize| format!("\nfn f(x: [u8; 2]) {{\n{}}}\nfn g() {{}}\n", "    { x }\n".repeat(lines - 2));
    check("a_function_has_at_most_70_lines", &[("core/src/a.rs", &function(70))], &[]);
    check("a_function_has_at_most_70_lines", &[("core/src/a.rs", &function(71))], &[2]);
}

#[test]
fn a_word_that_a_document_lacks_is_found() {
    let words = "queued running cancelling succeeded failed canceled expired started progress output checkpoint restarted retrying interrupted \
        bad_input model_unavailable runtime_error panicked model_crashed run_timeout stalled output_too_large worker_lost";
    let rule = "documents_name_every_state_event_and_failure";
    check(rule, &[("docs/job-lifecycle.md", words), ("docs/api.md", words)], &[]);
    check(rule, &[("docs/job-lifecycle.md", words), ("docs/api.md", &words.replace("bad_input", ""))], &[1]);
    check(rule, &[("docs/job-lifecycle.md", words)], &[1, 1, 1]);
}

#[test]
fn what_a_document_says_of_the_code_is_compared_both_ways() {
    let code = ("results/src/a.rs", "#[utoipa::path(\n    get, path = \"/v1/x/{id}\", tag = \"x\",\n)]\n");
    let rule = "endpoints_are_documented_and_documented_ones_exist";
    check(rule, &[code, ("docs/api.md", "`GET /v1/x/{id}` shows it")], &[]);
    check(rule, &[code, ("docs/api.md", "`POST /v1/x/{id}` shows it")], &[1, 1]);
    let metrics = ("core/src/telemetry/metrics.rs", "count(\"siding_jobs\", \"Jobs.\")");
    let document = |text| ("docs/telemetry.md", text);
    check("a_metric_that_a_document_names_exists", &[metrics, document("siding_jobs_total siding_jobs")], &[]);
    check("a_metric_that_a_document_names_exists", &[metrics, document("siding_jobs_lost")], &[1]);
}

#[test]
fn migrations_of_two_dialects_must_match() {
    let (one, two) = (("migrations/sqlite/0001_a.sql", ""), ("migrations/postgres/0001_a.sql", ""));
    check("migrations_are_numbered_alike", &[one, two], &[]);
    check("migrations_are_numbered_alike", &[one, ("migrations/postgres/0001_b.sql", "")], &[1, 1]);
}

#[test]
fn a_module_that_exists_in_tests_only_is_a_test_in_its_own_file_too() {
    let parent = ("core/src/a.rs", "#[cfg(test)]\nmod tests;\nmod b;\n");
    let text = "x.unwrap();\n";
    check("nothing_panics_on_purpose", &[parent, ("core/src/a/tests.rs", text), ("core/src/a/tests/deep.rs", text)], &[]);
    check("nothing_panics_on_purpose", &[parent, ("core/src/a/b.rs", text)], &[1]);
}
