//! Rules about the files of the deployment: what they name of the program, of each other and of secrets exists. A container that does not
//! start is found here, and not by the one who starts it.

use std::path::Path;

use toml::Table;

use crate::{
    Violation,
    tree::{File, Tree, is_word},
};

const COMPOSE: &str = "compose/compose.yaml";
const DEFAULTS: &str = include_str!("../../../core/src/config/defaults.toml");
const COMMANDS: &str = include_str!("../../../compose/siding/src/cli/args.rs");
const FLAGS: &str = include_str!("../../../compose/siding/src/cli/args/settings.rs");
/// What a stop may take beyond `server.unready_ms` and `worker.drain_ms`: the sum of the steps' patience that docs/architecture.md lists.
const STOP_STEPS_SECS: u64 = 42;
const PASSWORDS: &str = include_str!("../../../compose/passwords.py");

/// Variables that are no settings, and the file that reads each.
const NO_SETTINGS: [(&str, &str); 10] = [
    ("SIDING_CACHE", "core/src/model/locate.rs"),
    ("SIDING_SERVER", "compose/siding/src/cli/args.rs"),
    ("SIDING_IMAGE", COMPOSE),
    ("SIDING_PUBLISH", COMPOSE),
    ("SIDING_SECRETS", COMPOSE),
    ("SIDING_DEBIAN_MIRROR", "compose/rabbitmq-4.sh"),
    ("SIDING_TEST_AMQP_URL", "tests/src/harness/servers.rs"),
    ("SIDING_TEST_DATABASE_URL", "tests/src/harness/servers.rs"),
    ("SIDING_TEST_REDIS_URL", "tests/src/harness/servers.rs"),
    ("SIDING_TEST_RABBITMQ_ROOT", "compose/services/packages.py"),
];

/// The files of the deployment and the page about it.
fn files(tree: &Tree) -> impl Iterator<Item = &File> {
    let ours = |file: &&File| file.path.starts_with("compose/") && !file.path.ends_with(".rs") || file.path == "docs/deploy.md";
    tree.0.values().filter(ours)
}

/// Every variable that a file of the deployment names is a setting, or read by somebody.
pub fn settings(tree: &Tree) -> Vec<Violation> {
    let defaults: Table = DEFAULTS.parse().expect("the defaults are TOML");
    let mut violations = Vec::new();
    for file in files(tree) {
        for (number, line) in file.lines() {
            for name in variables(line) {
                if !is_setting(&defaults, name) && !NO_SETTINGS.iter().any(|(known, _)| *known == name) {
                    violations.push(file.violation(number, format!("{name} is no setting, and nobody reads it")));
                }
            }
        }
    }
    for (name, reader) in NO_SETTINGS {
        let forgotten = tree.0.get(reader).filter(|file| !file.text.contains(name));
        violations.extend(forgotten.map(|file| file.violation(1, format!("{name} is not read here any more"))));
    }
    violations
}

/// The variables of ours in a line: whole names, not beginnings of one (`SIDING_TEST_*`).
fn variables(line: &str) -> impl Iterator<Item = &str> {
    let names = line.match_indices("SIDING_").filter(|(at, _)| !line[..*at].ends_with(is_word));
    names.map(|(at, _)| &line[at..]).map(|rest| &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())]).filter(|name| {
        // A name in an example ends with what the reader puts there.
        !name.ends_with('_') && !name.starts_with("SIDING_SECTION") && *name != "SIDING_TEST"
    })
}

/// `SIDING_STORE__URL`, and `SIDING_STORE__URL_FILE` for a value that stands in a file.
fn is_setting(defaults: &Table, name: &str) -> bool {
    let lower = name.trim_start_matches("SIDING_").to_lowercase();
    let Some((section, key)) = lower.split_once("__") else { return false };
    let section = defaults.get(section).and_then(toml::Value::as_table);
    section.is_some_and(|keys| keys.contains_key(key) || key.strip_suffix("_file").is_some_and(|key| keys.contains_key(key)))
}

/// Every command that a container runs is one of the program's, with flags that it has.
pub fn commands(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in tree.files("compose/", ".yaml") {
        let commands = file.lines().filter_map(|(number, line)| Some((number, line.trim().strip_prefix("command: [")?)));
        for (number, command) in commands.filter(|(_, command)| command.contains("siding.toml")) {
            let words: Vec<&str> = command.split('"').skip(1).step_by(2).collect();
            let mut variant = words[0].to_owned();
            variant[..1].make_ascii_uppercase();
            if !COMMANDS.contains(&format!("    {variant}(")) {
                violations.push(file.violation(number, format!("siding has no command {}", words[0])));
            }
            for flag in words.iter().filter_map(|word| word.strip_prefix("--")) {
                if !FLAGS.contains(&format!("pub {}: ", flag.replace('-', "_"))) {
                    violations.push(file.violation(number, format!("siding {} has no flag --{flag}", words[0])));
                }
            }
        }
    }
    violations
}

/// Every file that a container gets from here, or that the image is built from, exists.
pub fn paths(tree: &Tree) -> Vec<Violation> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests have a parent folder");
    let mut violations = Vec::new();
    for file in tree.files("compose/", "").filter(|file| file.path.ends_with(".yaml") || file.path.ends_with("Dockerfile")) {
        for (number, line) in file.lines() {
            let mounted = line.split(['"', ' ', '-']).filter_map(|word| word.strip_prefix("./")?.split_once(':'));
            let mounted = mounted.map(|(path, _)| format!("compose/{path}"));
            let copied = line.strip_prefix("COPY ").filter(|rest| !rest.starts_with("--from"));
            let copied = copied.and_then(|rest| rest.split(' ').next()).map(str::to_owned);
            let missing = mounted.chain(copied).filter(|path| !root.join(path).exists());
            violations.extend(missing.map(|path| file.violation(number, format!("{path} does not exist"))));
        }
    }
    violations
}

/// Every secret that is read is declared and made, and no password stands in a file.
pub fn secrets(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    let compose = tree.0.get(COMPOSE);
    for file in files(tree) {
        for (number, line) in file.lines() {
            let read = line.split("/run/secrets/").skip(1).map(|rest| &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())]);
            for name in read.filter(|name| !name.is_empty()) {
                let declared = compose.is_some_and(|compose| compose.text.contains(&format!("\n  {name}: {{ file:")));
                if !declared || !PASSWORDS.contains(&format!("file(\"{name}\"")) {
                    violations.push(
                        file.violation(number, format!("the secret {name} is not declared, or not made by compose/passwords.py")),
                    );
                }
            }
            let (name, value) = line.split_once(": ").unwrap_or_default();
            let is_password = ["PASSWORD", "PASS"].iter().any(|word| name.to_uppercase().ends_with(word));
            if is_password && file.path.ends_with(".yaml") && !value.is_empty() && !value.starts_with('{') {
                violations.push(file.violation(number, "a password in a file that is committed; give its `_FILE`"));
            }
        }
    }
    violations
}

fn settings_of_the_deployment() -> siding_core::config::Settings {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compose/siding.toml");
    siding_core::config::Settings::load(Some(&file)).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_settings_of_the_deployment_are_valid() {
    settings_of_the_deployment();
}

#[test]
fn a_container_is_given_the_time_that_its_stop_may_take() {
    let tree = Tree::of_repository();
    let text = |path: &str| tree.0.get(path).unwrap_or_else(|| panic!("{path} is missing")).text.as_str();
    // Both pages name what all steps but the two settings take together.
    let (architecture, deploy) = (text("docs/architecture.md"), text("docs/deploy.md"));
    assert!(architecture.contains(&format!("{STOP_STEPS_SECS} s,\n`server.unready_ms` and `worker.drain_ms` at worst")));
    assert!(deploy.contains(&format!("`server.unready_ms` + `worker.drain_ms` + {STOP_STEPS_SECS} s before SIGKILL")));
    let settings = settings_of_the_deployment();
    let needed_ms = settings.server.unready_ms + settings.worker.drain_ms + STOP_STEPS_SECS * 1_000;
    // The roles' own is the first; the servers have theirs.
    let granted = text(COMPOSE).split("stop_grace_period: ").nth(1).and_then(|rest| rest.split_once('s')?.0.parse::<u64>().ok());
    let granted_ms = granted.expect("the roles are given a number of seconds") * 1_000;
    assert!(granted_ms >= needed_ms, "{granted_ms} ms are given, {needed_ms} ms may be taken");
}
