//! Other processes as the system shows them: which a test has started, whether one still is there, and an end by force. It judges nothing.

use nix::{
    sys::signal::{Signal, kill as send},
    unistd::Pid,
};

/// The children of this process, zombies included: a child that was not waited for is still there.
///
/// # Panics
/// When the system does not show its processes.
#[must_use]
pub fn children() -> Vec<u32> {
    children_of(std::process::id())
}

/// The children of that process, zombies included.
///
/// # Panics
/// When the system does not show its processes.
#[must_use]
pub fn children_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("the system shows its processes");
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| parent_of(*id) == Some(parent)).collect()
}

fn parent_of(id: u32) -> Option<u32> {
    field(id, 1)?.parse().ok()
}

/// `id (name) state parent …`: one of those behind the name, which may contain anything.
fn field(id: u32, index: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().nth(index)?.to_owned())
}

/// Whether it runs: a zombie does not, whoever is to reap it.
#[must_use]
pub fn runs(id: u32) -> bool {
    field(id, 0).is_some_and(|state| state != "Z" && state != "X")
}

/// Whether it is there, as a zombie at least.
#[must_use]
pub fn exists(id: u32) -> bool {
    std::path::Path::new(&format!("/proc/{id}")).exists()
}

/// Ends it with SIGKILL. Only for what the test has started.
///
/// # Panics
/// When there is no such process.
pub fn kill(id: u32) {
    let id = i32::try_from(id).expect("ids are small");
    send(Pid::from_raw(id), Signal::SIGKILL).expect("it is there");
}
