//! What only a runtime of processes can do wrong: every way in which a process can end, hang or talk nonsense is an error of one run, the
//! process is gone afterwards, and the next load has a new one.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use siding_core::model::repository::Model;
use siding_tests::harness::processes;
use siding_worker::runtime::{Cause, Isolated, LoadedModel, ModelRuntime, Progress, RunControl, RunError, Step, isolated::Setup};

use super::{run, scripted};

const PROGRAM: &str = env!("CARGO_BIN_EXE_siding-under-test");
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Model processes of this program, with so much memory each; 0 for no bound.
pub(super) fn runtime(memory_bytes_max: u64) -> Isolated {
    of(PROGRAM.into(), memory_bytes_max)
}

fn of(program: PathBuf, memory_bytes_max: u64) -> Isolated {
    Isolated::new(Setup { program, library: String::new(), memory_bytes_max, variables: Vec::new() })
}

/// A scripted model in a process of its own, which has this id.
fn loaded(runtime: &Isolated, model: &Model) -> (Box<dyn LoadedModel>, u32) {
    let before = processes::children();
    let loaded = runtime.load(model).expect("it loads");
    let mut new = processes::children();
    new.retain(|id| !before.contains(id));
    assert_eq!(new.len(), 1, "one process for one model");
    (loaded, new[0])
}

/// `input` ends the process by `cause`; nothing is left of it, and a new one does what it should.
fn check(runtime: &Isolated, input: &str, cause: Cause) {
    let variant = scripted();
    let model = variant.model();
    let (mut first, process) = loaded(runtime, &model);
    assert_eq!(run(&mut *first, r#"{"op":"noop"}"#), Ok("null".into()));
    assert!(!first.is_stale());
    assert_eq!(run(&mut *first, input), Err(RunError::Crashed(cause)), "{input}");
    assert!(first.is_stale(), "{input}");
    assert!(!processes::exists(process), "{input}: it is reaped");
    assert_eq!(run(&mut *first, r#"{"op":"noop"}"#), Err(RunError::Crashed(cause)), "it stays dead");
    let (mut second, _) = loaded(runtime, &model);
    assert_eq!(run(&mut *second, r#"{"op":"noop"}"#), Ok("null".into()), "after {input}");
}

#[test]
fn a_crash_a_panic_and_a_lack_of_memory_cost_one_run_and_leave_no_process() {
    check(&runtime(0), r#"{"op":"crash"}"#, Cause::Signal(nix::sys::signal::Signal::SIGABRT));
    check(&runtime(0), r#"{"op":"panic"}"#, Cause::Panicked);
    check(&runtime(256 << 20), r#"{"op":"eat","bytes":1000000000}"#, Cause::OutOfMemory);
    let variant = scripted();
    let (mut enough, _) = loaded(&runtime(256 << 20), &variant.model());
    assert_eq!(run(&mut *enough, r#"{"op":"eat","bytes":100000000}"#), Ok("100000000".into()), "within the bound");
}

#[test]
fn outside_of_a_process_nothing_ends_it() {
    let variant = scripted();
    let mut here = siding_worker::runtime::scripted::Scripted::new().load(&variant.model()).expect("loads");
    for input in [r#"{"op":"crash"}"#, r#"{"op":"eat","bytes":1}"#] {
        assert!(matches!(run(&mut *here, input), Err(RunError::Failed(_))), "{input}");
    }
}

#[test]
fn a_run_that_does_not_stop_is_killed_and_its_slot_is_free_at_once() {
    let variant = scripted();
    let (mut model, process) = loaded(&runtime(0), &variant.model());
    let control = Arc::new(RunControl::new(drop));
    let (ends, ended) = mpsc::channel();
    std::thread::scope(|scope| {
        let run = {
            let control = control.clone();
            scope.spawn(move || {
                let result = model.run(r#"{"op":"hang","deaf":true}"#, &control);
                ends.send(()).expect("somebody waits");
                result
            })
        };
        control.stop();
        assert!(ended.recv_timeout(Duration::from_millis(500)).is_err(), "it does not heed its stop");
        let killed = Instant::now();
        assert!(control.kill(), "there is something to kill");
        ended.recv_timeout(PATIENCE).expect("it ends");
        println!("killed to returned: {:?}", killed.elapsed());
        assert_eq!(run.join().expect("no panic"), Err(RunError::Crashed(Cause::NotStopping)));
    });
    assert!(!processes::exists(process));
    assert!(!control.kill(), "nothing is left to kill");
}

#[test]
fn a_process_that_is_killed_from_outside_is_noticed_by_the_run_and_by_the_next() {
    let variant = scripted();
    let model = variant.model();
    let (mut idle, process) = loaded(&runtime(0), &model);
    processes::kill(process);
    assert_eq!(run(&mut *idle, r#"{"op":"noop"}"#), Err(RunError::Crashed(Cause::KilledFromOutside)));
    assert!(idle.is_stale() && !processes::exists(process));
}

#[test]
fn an_unloaded_model_leaves_no_process() {
    let variant = scripted();
    let (model, process) = loaded(&runtime(0), &variant.model());
    assert!(processes::exists(process));
    drop(model);
    assert!(!processes::exists(process));
}

#[test]
fn computations_of_one_process_do_not_meet_and_go_on_from_their_states() {
    let variant = scripted();
    let (mut model, _) = loaded(&runtime(0), &variant.model());
    let control = RunControl::new(drop);
    let more = |done| Ok(Step::More(Progress { done, total: Some(4) }));
    let script = r#"{"op":"delay","ms":4,"steps":4}"#;
    let mut one = model.begin(script, None).expect("begins");
    let mut two = model.begin(script, None).expect("begins");
    assert_eq!((one.step(&control), one.step(&control), two.step(&control)), (more(1), more(2), more(1)));
    let state = one.save().expect("it has one");
    drop(one);
    let mut three = model.begin(script, Some(state.clone())).expect("goes on");
    assert_eq!((three.step(&control), three.step(&control)), (more(3), Ok(Step::Done("4".into()))));
    let refused = model.begin(r#"{"op":"noop"}"#, Some(state)).err();
    assert!(matches!(refused, Some(RunError::BadCheckpoint(_))), "{refused:?}");
    assert_eq!(two.step(&control), more(2));
}

/// A program that says or does something else than a model process; what it is told is its standard input, and so is its way back.
fn impostor(folder: &Path, what: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join("impostor");
    std::fs::write(&path, format!("#!/bin/sh\n{what}\n")).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a program");
    path
}

#[test]
fn whatever_a_process_says_instead_of_an_answer_ends_it_and_nothing_else() {
    let variant = scripted();
    let model = variant.model();
    let rows = [
        // Always the same: of noise that is drawn, one in sixteen begins with a length that a frame may have, and is waited for.
        (
            "noise",
            r"i=0; while [ $i -lt 500 ]; do printf '\253\301\007\336\244\372\001\231' >&0; i=$((i + 1)); done; exec sleep 60",
            Some(Cause::Nonsense),
        ),
        ("an endless promise", r"printf '\377\377\377\377x' >&0; exec sleep 60", Some(Cause::Nonsense)),
        ("an empty frame", r"printf '\0\0\0\0' >&0; exec sleep 60", Some(Cause::Nonsense)),
        ("an answer to something else", r"printf '\001\0\0\0b' >&0; exec sleep 60", Some(Cause::Nonsense)),
        ("nothing, with an end", "exit 3", Some(Cause::Exited(3))),
        ("half a frame, with an end", r"printf '\011\0\0\0d' >&0; exit 0", Some(Cause::Exited(0))),
        ("an end of the connection alone", "exec <&-; exec sleep 60", Some(Cause::Silent)),
    ];
    for (what, says, cause) in rows {
        let folder = tempfile::tempdir().expect("a folder");
        let before = processes::children();
        let refused = of(impostor(folder.path(), says), 0).load(&model).err().expect("it is no model process");
        assert_eq!(refused.crashed, cause, "{what}: {refused}");
        assert!(processes::children().iter().all(|id| before.contains(id)), "{what}: it is gone");
    }
    let missing = of("/nonexistent/program".into(), 0).load(&model).err().expect("there is none");
    assert!(missing.why.contains("cannot be started") && missing.crashed.is_none(), "{missing}");
}
