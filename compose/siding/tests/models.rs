//! `siding models check` as a person or a script uses it: no server, the real binary, what it prints and how it exits.

use std::{fs, path::Path, process::Command};

/// Calls the program; returns code, stdout and stderr.
fn call(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_siding")).args(args).output().expect("the program ends");
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
    let rows: [(&[&str], i32, &str); 7] = [
        (&["spin/1"], 0, "size = { input = \"iters\", by = \"value\" }"),
        (&[first.to_str().expect("UTF-8")], 0, "per_unit_ms = "),
        (&["spin/2"], 1, "model.onnx has the SHA-256"),
        (&["spin/3"], 1, "spin/3/model.toml: line"),
        (&[], 1, "spin/2: model spin version 2 cannot be loaded"),
        (&["spun"], 2, "the repository has no model spun"),
        (&["/nowhere"], 2, "cannot be read"),
    ];
    for (args, expected, part) in rows {
        let args = [&["models", "check", "--models", repository], args].concat();
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
