//! `siding models check` as a person or a script uses it: no server, the real binary, what it prints and how it exits.

use std::{fs, path::Path, process::Command};

/// Calls the program; returns code, stdout and stderr.
fn call(args: &[&str]) -> (Option<i32>, String, String) {
    let program = Command::new(env!("CARGO_BIN_EXE_siding")).env("SIDING_WORKER__SCRIPTED", "true").args(args).output();
    let output = program.expect("the program ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn models_are_checked_without_a_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../worker/models/spin/1");
    let version = |version: &str| folder.path().join("spin").join(version);
    let manifest = fs::read_to_string(committed.join("model.toml")).expect("committed");
    let model = fs::read(committed.join("model.onnx")).expect("committed");
    for (number, changed) in [("1", false), ("2", true), ("3", false)] {
        fs::create_dir_all(version(number)).expect("a folder");
        let manifest = manifest.replace("version = \"1\"", &format!("version = \"{number}\""));
        let manifest = if number == "3" { manifest.replace("[cost]", "[cots]") } else { manifest };
        fs::write(version(number).join("model.toml"), manifest).expect("written");
        let bytes = if changed { &model[1..] } else { &model };
        fs::write(version(number).join("model.onnx"), bytes).expect("written");
    }
    let (repository, first) = (folder.path().to_str().expect("UTF-8"), version("1"));
    let empty = tempfile::tempdir().expect("a folder");
    let empty = empty.path().to_str().expect("UTF-8");
    let rows: [(&[&str], i32, &str); 9] = [
        (&["spin/1"], 0, "size = { input = \"iters\", by = \"value\" }"),
        (&[first.to_str().expect("UTF-8")], 0, "per_unit_ms = "),
        (&["spin/2"], 1, "model.onnx has the SHA-256"),
        (&["spin/3"], 1, "spin/3/model.toml: line"),
        (&[], 1, "spin/2: model spin version 2 cannot be loaded"),
        (&["spun"], 2, "the repository has no model spun"),
        (&["/nowhere"], 2, "cannot be read"),
        (&[empty], 2, "there is no model in"),
        (&["--models", empty], 2, "the repository has no model"),
    ];
    for (args, expected, part) in rows {
        let own: &[&str] = if args.contains(&"--models") { &[] } else { &["--models", repository] };
        let args = [&["models", "check"], own, args].concat();
        let (code, out, err) = call(&args);
        assert!(code == Some(expected) && [out.as_str(), &err].concat().contains(part), "{args:?}: {code:?}\n{out}\n{err}");
    }
    let (_, out, _) = call(&["models", "check", "--models", repository, "--output", "json"]);
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(report["version"], 1);
    let found = |number: &str| report["models"].as_array().and_then(|all| all.iter().find(|model| model["version"] == number));
    let first = found("1").expect("checked");
    assert_eq!((&first["runs"][0]["size"], &first["problems"]), (&serde_json::json!(1000.0), &serde_json::json!([])));
    assert_eq!(found("2").expect("checked")["runs"], serde_json::json!([]));
    assert_eq!(report["broken"][0]["folder"], "spin/3");
}

#[test]
fn a_model_that_crashes_or_does_not_stop_is_a_problem_and_the_next_one_is_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = [
        ("a-crash", r#"{"op": "crash"}"#, "the example: the process of the model was ended by SIGABRT"),
        ("b-deaf", r#"{"op": "hang", "deaf": true}"#, "the example: the process of the model did not stop and was killed"),
        ("c-hang", r#"{"op": "hang"}"#, "the example: did not end in time"),
    ];
    let last = ("d-good", r#"{"op": "noop"}"#, "");
    for (name, example, _) in rows.iter().chain([&last]) {
        let version = folder.path().join(name).join("1");
        fs::create_dir_all(&version).expect("a folder");
        let manifest = format!(
            "name = \"{name}\"\nversion = \"1\"\ndescription = \"\"\nlicense = \"\"\nsource = \"\"\nrunner = \"scripted\"\n\
             [cost]\nbase_ms = 1\n[example]\ninput = '{example}'\n"
        );
        fs::write(version.join("model.toml"), manifest).expect("written");
    }
    let repository = folder.path().to_str().expect("UTF-8");
    let (code, out, err) = call(&["models", "check", "--models", repository, "--seconds", "1", "--output", "json"]);
    assert_eq!(code, Some(1), "{out}\n{err}");
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let found = |name: &str| report["models"].as_array().and_then(|all| all.iter().find(|model| model["name"] == name));
    for (name, _, problem) in rows {
        assert_eq!(found(name).expect("checked")["problems"], serde_json::json!([problem]), "{name}");
    }
    let good = found(last.0).expect("checked");
    assert!(good["problems"] == serde_json::json!([]) && good["memory"]["loaded_bytes"].as_u64() > Some(0), "{good}");
}
