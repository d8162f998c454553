//! The program as a person or a script uses it: the real binary, a real server in a child process, and what comes back on stdout, on
//! stderr and as the exit code. It lies here and not in `tests/` because Cargo tells only this package where its binary is.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_siding");
/// A job that nobody has.
const NOBODY: &str = "0190b7c0-0000-7000-8000-000000000000";

/// A running `siding up` with one scripted model; killed when dropped, unless it was stopped.
struct Server {
    child: Child,
    url: String,
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let model = folder.path().join("models/script/1");
        fs::create_dir_all(&model).expect("a folder");
        let manifest = "name = \"script\"\nversion = \"1\"\ndescription = \"For tests.\"\nlicense = \"Apache-2.0 OR MIT\"\n\
            source = \"tests\"\nrunner = \"scripted\"\n\n[cost]\nbase_ms = 0.0\nper_unit_ms = 1.0\n";
        fs::write(model.join("model.toml"), manifest).expect("a manifest");
        let mut child = Command::new(PROGRAM)
            .args(["up", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.path().join("data"))
            .arg("--models")
            .arg(folder.path().join("models"))
            .env("SIDING_WORKER__SCRIPTED", "true")
            .env("SIDING_CACHE", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let url =
            line.split_whitespace().find(|word| word.starts_with("http://")).unwrap_or_else(|| panic!("no address in {line:?}"));
        Self { url: url.to_owned(), child, folder }
    }

    fn call(&self, args: &[&str], input: &str) -> Output {
        let mut child = Command::new(PROGRAM)
            .args(args)
            .env("SIDING_SERVER", &self.url)
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("read");
        child.wait_with_output().expect("the program ends")
    }

    /// Calls the program and compares its exit code; returns what it printed on stdout.
    fn check(&self, args: &[&str], code: i32) -> String {
        let output = self.call(args, "");
        let (out, err) = (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "siding {args:?}\nstdout: {out}\nstderr: {err}");
        assert!(!err.contains("panicked"), "{err}");
        assert_eq!(code == 0, err.is_empty(), "siding {args:?} explains exactly its failures: {err:?}");
        out
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been stopped by the test.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_script_branches_on_the_exit_code() {
    let server = Server::start();
    let echo = r#"{"op":"echo","value":7}"#;
    let rows: [(&[&str], i32); 14] = [
        (&["submit", "script", "--input", echo, "--wait"], 0),
        (&["submit", "script", "--input", echo, "--watch"], 0),
        (&["submit", "script", "--input", r#"{"op":"hang"}"#, "--wait=1"], 4),
        (&["submit", "script", "--input", "{"], 2),
        (&["submit", "script", "--input", "{}"], 2),
        (&["submit", "script", "--input", "@nowhere.json"], 2),
        (&["submit", "nothing", "--input", "{}"], 2),
        (&["submit", "script"], 2),
        (&["jobs", "get", NOBODY], 2),
        (&["jobs", "watch", NOBODY], 2),
        (&["jobs", "get", "1"], 2),
        (&["--server", "http://127.0.0.1:1", "lanes"], 3),
        (&["--server", "ftp://127.0.0.1", "lanes"], 2),
        (&["no-such-command"], 2),
    ];
    for (args, code) in rows {
        server.check(args, code);
    }
    let hanging = server.check(&["jobs", "list", "--state", "running", "--quiet"], 0);
    let hanging = hanging.trim();
    server.check(&["jobs", "cancel", hanging], 0);
    server.check(&["jobs", "watch", hanging, "--output", "jsonl"], 1);
}

#[test]
fn what_is_printed_is_what_was_asked_for() {
    let server = Server::start();
    let input = r#"{"op":"echo","value":{"a":[1,2]}}"#;
    let id = server.check(&["submit", "script", "--input", input, "--quiet"], 0);
    let id = id.trim();
    assert_eq!(id.len(), 36, "{id:?}");
    server.check(&["submit", "script", "--input", input, "--wait", "--key", "k-1"], 0);
    let json = |args: &[&str]| -> serde_json::Value { serde_json::from_str(&server.check(args, 0)).expect("one JSON value") };

    let watched = server.check(&["jobs", "watch", id, "--output", "jsonl"], 0);
    let kinds: Vec<String> = (watched.lines())
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["kind"].as_str().expect("a kind").to_owned())
        .collect();
    assert_eq!(kinds, ["queued", "started", "succeeded"]);

    let job = json(&["jobs", "get", id, "--output", "json"]);
    assert_eq!((job["state"].as_str(), &job["output"]), (Some("succeeded"), &serde_json::json!({"a": [1, 2]})));
    assert_eq!(json(&["jobs", "list", "--output", "json"])["jobs"].as_array().map(Vec::len), Some(2));
    assert_eq!(server.check(&["jobs", "list", "--output", "jsonl", "--limit", "1"], 0).lines().count(), 1);
    assert_eq!(json(&["models", "--output", "json"])["models"][0]["name"], "script");
    assert_eq!(json(&["models", "list", "--output", "json"])["models"][0]["name"], "script");
    assert_eq!(json(&["models", "show", "script/1", "--output", "json"])["runner"], "scripted");
    assert_eq!(json(&["lanes", "--output", "json"])["lanes"].as_array().map(Vec::len), Some(4));

    assert_eq!(server.check(&["jobs", "result", id], 0), "{\"a\":[1,2]}\n");
    let large = server.check(&["submit", "script", "--input", r#"{"op":"big","bytes":300000}"#, "--wait"], 0);
    let large = large.lines().find_map(|line| line.split_once("siding jobs result ")).expect("it says how to get the output").1;
    assert_eq!(server.check(&["jobs", "result", large], 0).len(), 300_001);
    server.check(&["jobs", "result", NOBODY], 2);

    let table = server.check(&["jobs", "list"], 0);
    assert!(table.starts_with("JOB") && table.contains("succeeded") && !table.contains('\u{1b}'), "{table}");
    let again = json(&["jobs", "retry", id, "--wait", "--output", "json"]);
    assert_eq!((again["retry_of"].as_str(), again["state"].as_str()), (Some(id), Some("succeeded")));
}

#[test]
fn an_input_comes_from_an_argument_a_file_or_stdin_and_is_the_same_job_under_one_key() {
    let server = Server::start();
    let input = r#"{"op":"echo","value":"x"}"#;
    fs::write(server.folder.path().join("input.json"), input).expect("written");
    let with = |given: &[&str]| {
        let args = [&["submit", "script", "--key", "one", "--quiet"], given].concat();
        let output = server.call(&args, input);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("an id")
    };
    let first = with(&["--input", input]);
    for given in [&["--input", "@input.json"] as &[&str], &["--input", "-"], &["-"]] {
        assert_eq!(with(given), first, "{given:?}");
    }
    server.check(&["submit", "script", "--key", "one", "--input", r#"{"op":"noop"}"#], 2);
    let id = ["submit", "script", "--input", input, "--quiet", "--id", NOBODY];
    assert_eq!(server.check(&id, 0), server.check(&id, 0));
}

#[test]
fn many_jobs_come_from_lines_and_each_is_told() {
    let server = Server::start();
    let good = r#"{"model":"script","input":{"op":"echo","value":1}}"#;
    let bad = r#"{"model":"script","input":{"op":"dance"}}"#;
    let file = |name: &str, text: &str| fs::write(server.folder.path().join(name), text).expect("written");
    file("good.jsonl", &format!("{good}\n\n{good}\n"));
    file("mixed.jsonl", &format!("{good}\n{bad}\n{{\n{good}\n"));
    file("many.jsonl", &format!("{good}\n").repeat(1001));

    let first = server.check(&["submit", "--jsonl", "good.jsonl", "--key", "k", "--quiet"], 0);
    assert_eq!(first.lines().count(), 2);
    assert_eq!(
        server.check(&["submit", "--jsonl", "good.jsonl", "--key", "k", "--quiet"], 0),
        first,
        "a repeat makes no second job"
    );
    let table = server.check(&["submit", "--jsonl", "good.jsonl", "--key", "k"], 0);
    assert!(table.ends_with("0 accepted, 2 existing, 0 refused\n"), "{table}");

    let mixed = server.check(&["submit", "--jsonl", "mixed.jsonl", "--output", "jsonl"], 2);
    let told: Vec<serde_json::Value> = mixed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let words: Vec<_> =
        told.iter().map(|told| (told["line"].as_u64(), told["status"].as_str(), told["problem"]["code"].as_str())).collect();
    let expected = [
        (1, "accepted", None),
        (2, "refused", Some("invalid_input")),
        (3, "refused", Some("malformed_json")),
        (4, "accepted", None),
    ];
    assert_eq!(words, expected.map(|(line, status, code)| (Some(line), Some(status), code)));

    server.check(&["submit", "--jsonl", "mixed.jsonl", "--atomic"], 2);
    server.check(&["submit", "--jsonl", "many.jsonl", "--atomic"], 2);
    assert_eq!(server.check(&["submit", "--jsonl", "good.jsonl", "--atomic", "--quiet"], 0).lines().count(), 2);
    assert_eq!(server.check(&["submit", "--jsonl", "many.jsonl", "--quiet"], 0).lines().count(), 1001);
    assert_eq!(server.check(&["jobs", "list", "--quiet", "--limit", "2000"], 0).lines().count(), 2 + 2 + 2 + 1001);
    server.check(&["submit", "--jsonl", "nowhere.jsonl"], 2);
}

#[test]
fn lines_before_one_that_cannot_be_read_are_submitted() {
    let server = Server::start();
    let good = r#"{"model":"script","input":{"op":"echo","value":1}}"#.as_bytes();
    fs::write(server.folder.path().join("broken.jsonl"), [good, b"\n", good, b"\n\xff\n", good].concat()).expect("written");
    assert_eq!(server.check(&["submit", "--jsonl", "broken.jsonl", "--atomic", "--quiet"], 2), "");
    let said = server.call(&["submit", "--jsonl", "broken.jsonl", "--quiet"], "");
    assert_eq!((said.status.code(), String::from_utf8_lossy(&said.stdout).lines().count()), (Some(2), 2));
    assert!(String::from_utf8_lossy(&said.stderr).contains("nothing was submitted from line 3 on"), "{said:?}");
    assert_eq!(server.check(&["jobs", "list", "--quiet"], 0).lines().count(), 2);
}

#[test]
fn dead_jobs_are_listed_shown_run_again_and_dropped() {
    let server = Server::start();
    let fail = |key: &str| format!(r#"{{"op":"fail","times":1,"key":"{key}","message":"as asked"}}"#);
    let mut dead = Vec::new();
    for key in ["a", "b", "c"] {
        // Its first attempt fails, and so does the job: it may fail once.
        let job = format!(r#"{{"model":"script","input":{},"attempts_max":1}}"#, fail(key));
        fs::write(server.folder.path().join("job.jsonl"), job).expect("written");
        let id = server.check(&["submit", "--jsonl", "job.jsonl", "--quiet"], 0).trim().to_owned();
        server.check(&["jobs", "watch", &id, "--quiet"], 1);
        dead.insert(0, id);
    }
    let list = |args: &[&str]| server.check(&[&["dead", "list", "--quiet"], args].concat(), 0);
    assert_eq!(list(&[]).lines().collect::<Vec<_>>(), dead);
    assert_eq!(list(&["--code", "runtime_error", "--model", "script", "--limit", "2"]).lines().count(), 2);
    assert_eq!(list(&["--until", "2020-01-01T00:00:00Z"]), "");
    let table = server.check(&["dead", "list"], 0);
    assert!(table.starts_with("JOB") && table.contains("runtime_error") && table.contains("as asked"), "{table}");
    let shown = server.check(&["dead", "show", &dead[0]], 0);
    assert!(shown.contains("failed       runtime_error: "), "{shown}");

    let dry = server.check(&["dead", "replay", "--code", "runtime_error", "--dry-run"], 0);
    assert!(dry.ends_with("3 would be replayed\n"), "{dry}");
    let again = server.check(&["dead", "replay", &dead[0], "--quiet"], 0);
    server.check(&["jobs", "watch", again.trim(), "--quiet"], 0);
    server.check(&["dead", "replay", &dead[0]], 2);
    assert!(server.check(&["jobs", "get", &dead[0]], 0).contains(again.trim()), "the lineage is shown");
    let dropped = server.check(&["dead", "drop", "--all", "--limit", "1"], 0);
    assert!(dropped.contains(&dead[1]) && dropped.ends_with("1 dropped\n"), "{dropped}");
    let rest = server.check(&["dead", "replay", "--all", "--output", "json"], 0);
    let rest: serde_json::Value = serde_json::from_str(&rest).expect("JSON");
    assert_eq!(rest["jobs"][0]["id"], dead[2].as_str());
    assert_eq!(list(&[]), "");
    server.check(&["dead", "drop", NOBODY], 2);
    server.check(&["dead", "replay", "--since", "yesterday"], 2);
}

#[test]
fn a_replay_ends_and_reaches_the_oldest_although_what_it_runs_again_fails_at_once() {
    let server = Server::start();
    let job = r#"{"model":"script","input":{"op":"fail","times":1000000,"key":"always"},"attempts_max":1}"#;
    fs::write(server.folder.path().join("jobs.jsonl"), format!("{job}\n").repeat(1001)).expect("written");
    server.check(&["submit", "--jsonl", "jobs.jsonl", "--quiet"], 0);
    let dead = || -> Vec<String> {
        server.check(&["dead", "list", "--quiet", "--limit", "5000"], 0).lines().map(str::to_owned).collect()
    };
    let all_dead = || {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut found = dead();
        while found.len() < 1001 {
            assert!(Instant::now() < deadline, "{} are dead", found.len());
            found = dead();
        }
        found
    };
    let firsts = all_dead();
    let told = server.check(&["dead", "replay", "--all"], 0);
    assert!(told.ends_with("\n1001 replayed\n"), "what failed until then, each once: {}", told.lines().last().expect("a line"));
    assert!(firsts.iter().all(|job| told.contains(job)));
    assert_eq!(server.check(&["dead", "drop", "--code", "bad_input"], 0), "0 dropped\n");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let server = Server::start();
    server.check(&["submit", "script", "--input", r#"{"op":"stream","chunks":2000}"#, "--wait", "--quiet"], 0);
    let mut child = Command::new(PROGRAM)
        .args(["jobs", "list", "--quiet"])
        .env("SIDING_SERVER", &server.url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn the_server_stops_in_order_when_it_is_told_to_and_says_what_is_wrong_when_it_cannot_start() {
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };
    let mut server = Server::start();
    let data: PathBuf = server.folder.path().join("data");
    let data = data.to_str().expect("UTF-8");
    let models = server.folder.path().join("models");
    let port = server.url.trim_start_matches("http://").to_owned();
    let rows: [(&[&str], &str); 4] = [
        (&["up", "--data", data, "--listen", "127.0.0.1:0"], "in use by another siding process"),
        (&["up", "--data", "elsewhere", "--listen", &port], "cannot listen on"),
        (&["up", "--data", "elsewhere", "--listen", "0.0.0.0:0"], "is not a loopback address"),
        (&["up", "--data", "elsewhere", "--listen", "127.0.0.1:0", "--config", "nowhere.toml"], "nowhere.toml"),
    ];
    for (args, expected) in rows {
        let args = [args, &["--models", models.to_str().expect("UTF-8")]].concat();
        let output = server.call(&args, "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(expected), "{args:?}: {said}");
    }
    let pid = Pid::from_raw(i32::try_from(server.child.id()).expect("a pid"));
    kill(pid, Signal::SIGTERM).expect("signalled");
    assert!(server.child.wait().expect("it ends").success());
}

/// Calls the program with variables and no server; returns code, stdout and stderr.
fn call_with(variables: &[(&str, &str)], args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(PROGRAM).args(args).envs(variables.iter().copied()).output().expect("the program ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_settings_are_shown_with_their_origins_and_without_passwords() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("siding.toml");
    fs::write(&file, "[worker]\nslots = 3\n").expect("written");
    let file = file.to_str().expect("UTF-8");
    let variables = [("SIDING_STORE__URL", "postgres://siding:geheim@db/jobs")];
    let args = ["config", "show", "--origin", "--config", file, "--amqp", "amqp://u:geheim@mq", "--output", "json"];
    let (code, out, err) = call_with(&variables, &args);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(!out.contains("geheim"), "{out}");
    let shown: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let rows = [
        ("worker.slots", serde_json::json!(3), format!("{file}:2")),
        ("store.url", "postgres://siding:***@db/jobs".into(), "SIDING_STORE__URL".to_owned()),
        ("broker.url", "amqp://u:***@mq".into(), "--amqp".to_owned()),
        ("submit.attempts_max", serde_json::json!(3), "default".to_owned()),
    ];
    for (key, value, origin) in rows {
        let found = shown["settings"].as_array().and_then(|all| all.iter().find(|one| one["key"] == key)).expect("shown");
        assert_eq!((&found["value"], found["origin"].as_str()), (&value, Some(origin.as_str())), "{key}");
    }
    let (_, table, _) = call_with(&[], &["config", "show", "--config", file]);
    assert!(table.starts_with("KEY") && table.contains("worker.slots") && !table.contains("FROM"), "{table}");
}

#[test]
fn settings_that_are_wrong_are_named_all_at_once() {
    let variables = [("SIDING_WORKER__SLOTZ", "4"), ("SIDING_STORE__READERS", "0")];
    for command in [&["config", "check"] as &[&str], &["config", "show"], &["up", "--data", "elsewhere"]] {
        let (code, out, err) = call_with(&variables, command);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{command:?}: {err}");
        for part in ["did you mean worker.slots?", "store.readers (SIDING_STORE__READERS): must be above 0"] {
            assert!(err.contains(part), "{command:?}: {err}");
        }
    }
    assert_eq!(call_with(&[], &["config", "check"]).0, Some(0));
}

#[test]
fn the_doctor_names_what_is_wrong_and_the_command_that_mends_it() {
    let server = Server::start();
    // The cache of this test is empty: no library, no models.
    let output = Command::new(PROGRAM)
        .args(["doctor", "--output", "json", "--data", "new-data"])
        .env("SIDING_SERVER", &server.url)
        .env("SIDING_CACHE", server.folder.path().join("empty"))
        .env_remove("ORT_DYLIB_PATH")
        .current_dir(server.folder.path())
        .output()
        .expect("the program ends");
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let finding =
        |check: &str| report["findings"].as_array().and_then(|all| all.iter().find(|one| one["check"] == check)).cloned();
    for check in ["onnxruntime", "models"] {
        let finding = finding(check).expect("looked at");
        assert_eq!(finding["verdict"], "failed", "{finding}");
        assert!(finding["fix"].as_str().is_some_and(|fix| fix.contains("make setup")), "{finding}");
    }
    assert_eq!(finding("server").expect("looked at")["verdict"], "ok");
    assert!(!server.folder.path().join("new-data").exists(), "the doctor leaves nothing behind");
}
