//! Checks of scripted models, whose duration the script says, and of the committed model.

use std::{fs, path::Path, sync::Arc};

use siding_core::model::repository::Repository;
use siding_worker::runtime::scripted::Scripted;

use super::*;

fn scripted(example: &str, base_ms: f64) -> (tempfile::TempDir, Arc<Model>) {
    let folder = tempfile::tempdir().expect("a folder");
    let version = folder.path().join("m/1");
    fs::create_dir_all(&version).expect("a folder");
    let manifest = format!(
        "name = \"m\"\nversion = \"1\"\ndescription = \"\"\nlicense = \"\"\nsource = \"\"\nrunner = \"scripted\"\n\
         [cost]\nbase_ms = {base_ms}\nper_unit_ms = 1\n{example}"
    );
    fs::write(version.join("model.toml"), manifest).expect("written");
    let repository = Repository::open(folder.path(), true).expect("readable");
    assert!(repository.broken().is_empty(), "{:?}", repository.broken());
    (folder, repository.models()[0].clone())
}

fn checked(example: &str, base_ms: f64) -> Checked {
    let (_folder, model) = scripted(example, base_ms);
    check(&model, &Scripted::new(), &RunControl::new(drop))
}

#[test]
fn an_example_grows_until_it_takes_long_and_gives_the_cost() {
    let found = checked("[example]\ninput = '{\"op\": \"delay\", \"ms\": 200}'\n", 0.0);
    assert!(found.problems.is_empty() && found.notes.is_empty(), "{found:?}");
    assert_eq!(found.runs.iter().map(|run| run.size).collect::<Vec<_>>(), [200.0, 400.0]);
    assert!(found.runs.iter().all(|run| run.ms >= run.size && run.min_ms <= run.ms && run.expected_ms == run.size), "{found:?}");
    let cost = found.cost.as_ref().expect("measured");
    assert!(cost.per_unit_ms > 0.5 && cost.base_ms < 100.0 && cost.size.is_none(), "{cost:?}");
    assert!(found.load_ms.is_some() && found.memory.loaded_bytes.is_none(), "it has no process: {found:?}");
}

#[test]
fn what_is_wrong_is_a_problem_and_what_is_odd_a_note() {
    let rows = [
        ("", 0.0, Some("no [example]"), None),
        ("[example]\ninput = '{\"op\": \"fail\", \"times\": 100, \"key\": \"k\"}'\n", 0.0, Some("the example: failed"), None),
        ("[example]\ninput = '{\"op\": \"noop\"}'\n", 0.0, None, Some("one size is measured")),
        (
            "[example]\ninput = '{\"op\": \"delay\", \"ms\": 450}'\n",
            5000.0,
            None,
            Some("[cost] says 5450.000 ms for the size 450"),
        ),
    ];
    for (example, base_ms, problem, note) in rows {
        let found = checked(example, base_ms);
        let holds = |told: &[String], expected: Option<&str>| match expected {
            Some(part) => told.iter().any(|told| told.contains(part)),
            None => told.is_empty(),
        };
        assert!(holds(&found.problems, problem), "{example}: {:?}", found.problems);
        assert!(note.is_none() || holds(&found.notes, note), "{example}: {:?}", found.notes);
    }
}

#[test]
fn a_run_that_is_stopped_is_a_problem_and_no_wait() {
    let (_folder, model) = scripted("[example]\ninput = '{\"op\": \"hang\"}'\n", 0.0);
    let control = RunControl::new(drop);
    control.stop();
    let found = check(&model, &Scripted::new(), &control);
    assert_eq!(found.problems, ["the example: did not end in time"]);
}

#[test]
fn the_committed_model_is_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../worker/models");
    let repository = Repository::open(&folder, false).expect("committed");
    let spin = repository.resolve(&"spin".parse().expect("a name"), None).expect("committed");
    let runtime = siding_worker::runtime::Runtimes::open("", false);
    let found = check(&spin, &runtime, &RunControl::new(drop));
    assert!(found.problems.is_empty(), "{found:?}; is `make setup` done?");
    assert!(found.runs.len() > 1 && found.runs[0].size == 1000.0, "{found:?}");
    let cost = found.cost.expect("measured");
    assert!(cost.per_unit_ms > 0.0 && cost.size == spin.manifest.cost.size, "{cost:?}");
}
