//! Model files that mean harm, loaded and run in a process of their own: it outlives them all, and nothing outside of the repository is
//! opened. A pipe lies there: whoever opens it wakes its other end, and whoever reads it waits for ever.

mod cases;

use std::{
    env, fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Output},
    thread,
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use siding_core::model::repository::Repository;
use siding_worker::runtime::ModelRuntime;

use self::cases::Case;
use super::{interface::onnx, run, runtimes, sha256};

/// Set for the process that loads: the repository.
const REPOSITORY: &str = "SIDING_TEST_HOSTILE";
/// The name of the test that is also the process that loads.
const LOADS: &str = "runtime::hostile::no_file_ends_the_process_or_has_it_open_what_is_outside";
/// Memory that the process may ask for, in KiB, and the seconds that it may take: a bomb takes it down and not the machine.
const KIBIBYTES_MAX: u32 = 8 << 20;
const SECONDS_MAX: u32 = 120;

/// Writes each as a model of the repository `models`.
fn write(folder: &Path, cases: &[Case]) {
    let weights = [0; 16];
    let listed = format!("[[file.external]]\npath = \"w.bin\"\nsha256 = \"{}\"\n", sha256(&weights));
    for case in cases {
        let version = folder.join("models").join(&case.name).join("1");
        fs::create_dir_all(&version).expect("a folder");
        fs::write(version.join("model.onnx"), &case.model).expect("a file");
        fs::write(version.join("w.bin"), weights).expect("a file");
        let manifest = onnx::manifest(&case.model, if case.listed { &listed } else { "" }, &[("x", "\"n\"")], "\"m\"");
        fs::write(version.join("model.toml"), manifest.replace("\"add\"", &format!("\"{}\"", case.name))).expect("a file");
    }
}

/// Loads and runs all of them in another process.
fn load_apart(folder: &Path) -> Output {
    let limited = format!("ulimit -v {KIBIBYTES_MAX}; exec timeout {SECONDS_MAX} \"$0\" \"$@\"");
    Command::new("sh")
        .args(["-c", &limited])
        .arg(env::current_exe().expect("this test"))
        .args(["--exact", LOADS, "--nocapture"])
        .env(REPOSITORY, folder.join("models"))
        .current_dir(folder)
        .output()
        .expect("starts")
}

/// What that process does: one line before each model, and one after it.
fn load_all(folder: &Path) {
    let repository = Repository::open(folder, false).expect("readable");
    assert!(repository.broken().is_empty(), "{:?}", repository.broken());
    let runtimes = runtimes();
    for model in repository.models() {
        let name = &model.manifest.name;
        println!("\nloads {name}");
        let said = match runtimes.load(model) {
            Ok(mut loaded) => format!("ran: {:?}", run(&mut *loaded, r#"{"x":{"shape":[2],"data":[1,2]}}"#)),
            Err(error) => error.to_string(),
        };
        println!("\nended {name}: {}", said.replace('\n', " "));
    }
}

#[test]
fn no_file_ends_the_process_or_has_it_open_what_is_outside() {
    if let Some(folder) = env::var_os(REPOSITORY) {
        return load_all(Path::new(&folder));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let outside = folder.path().join("outside");
    mkfifo(&outside, Mode::S_IRUSR | Mode::S_IWUSR).expect("a pipe");
    let cases = cases::cases(outside.to_str().expect("UTF-8"));
    write(folder.path(), &cases);
    let (output, opened) = thread::scope(|scope| {
        // Returns when somebody opens the other end, and keeps this one open, so that a reader waits.
        let opened = scope.spawn(|| fs::OpenOptions::new().write(true).open(&outside));
        let output = load_apart(folder.path());
        let was_opened = opened.is_finished();
        // The other end at last: without it the thread would wait for ever. That it now returns shows that it would have.
        drop(fs::File::open(&outside).expect("the pipe"));
        opened.join().expect("the thread").expect("the pipe");
        (output, was_opened)
    });
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().rfind(|line| line.starts_with("loads ")).unwrap_or_default();
    assert!(output.status.success(), "{:?} at \"{last}\": {}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(!opened, "the pipe outside of the repository was opened");
    for case in &cases {
        let start = format!("ended {}: ", case.name);
        let ended =
            said.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("{} is not told", case.name));
        assert!(ended.contains(case.says), "{}: {ended}", case.name);
    }
}

/// What no look at a file can prevent, because the numbers may come from a job as well: only a process of its own contains it.
#[test]
fn a_division_that_the_processor_refuses_ends_the_process_that_loads() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), &[cases::division_that_traps()]);
    let status = load_apart(folder.path()).status;
    // `timeout` ends by the signal of what it has started.
    assert_eq!(status.signal().or(status.code().map(|code| code - 128)), Some(nix::libc::SIGFPE), "{status:?}");
}
