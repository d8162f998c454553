//! What the demo says at its end: the measured waits, the proof that the long job ran meanwhile, and where to go on.

use std::io::{self, IsTerminal};

use siding_client::State;

use super::load::{Outcome, WAIT_P99_MS_MAX, quantile};
use crate::output::{Output, Paint, Table, human};

/// The port that commands look at when they are told nothing.
const DEFAULT_SERVER: &str = "http://127.0.0.1:7433";

/// Prints the report.
pub fn print(output: &Output, url: &str, outcome: &Outcome) -> io::Result<()> {
    output.line("")?;
    output.table(&waits(outcome))?;
    output.line("")?;
    for line in long_job(outcome) {
        output.line(&line)?;
    }
    match outcome.check() {
        Ok(()) => {
            let text = format!(
                "All is well: 99 of 100 short jobs waited less than {} while the long one ran, and the long one survived its worker.",
                human::millis(WAIT_P99_MS_MAX)
            );
            output.line(&output.paint(Paint::Good, &text))?;
        }
        Err(why) => output.line(&output.paint(Paint::Bad, &format!("Something is wrong: {why}.")))?,
    }
    output.line("")?;
    let stays = io::stdout().is_terminal();
    let lines = if stays { next_with_server(url, outcome) } else { next_without_server() };
    lines.iter().try_for_each(|line| output.line(line))
}

fn waits(outcome: &Outcome) -> Table {
    let mut table = Table::new(&["SHORT JOBS", ">COUNT", ">P50", ">P90", ">P99", ">MAX"]);
    let mut row = |name: &str, values: &dyn Fn() -> Vec<u64>| {
        let at = |q: f64| format!("{} ms", quantile(values().into_iter(), q));
        table.row([name.to_owned(), outcome.shorts.done.len().to_string(), at(0.5), at(0.9), at(0.99), at(1.0)]);
    };
    row("waited for a slot", &|| outcome.shorts.done.iter().map(|short| short.waited_ms).collect());
    row("submit to result", &|| outcome.shorts.done.iter().map(|short| short.end_to_end_ms).collect());
    table
}

fn long_job(outcome: &Outcome) -> Vec<String> {
    let long = &outcome.long;
    let ran = long.finished_at_ms.zip(long.started_at_ms).and_then(|(finished, started)| u64::try_from(finished - started).ok());
    let ran = ran.map_or("-".to_owned(), human::millis);
    let mut lines = vec![format!("Long job: {}, ran {ran}, attempt {}, lane {}.", long.state, long.attempt, long.lane)];
    if outcome.outlasted && long.state == State::Succeeded {
        lines.push(
            "It was running before the first short job was submitted and still running after the last one had ended.".to_owned(),
        );
    }
    if let Some(resumed) = &outcome.resumed {
        lines.push(format!(
            "Its worker was killed at step {}; it went on from step {}, its last checkpoint.",
            outcome.killed_at, resumed.done
        ));
    }
    lines
}

/// How this program is called from here.
fn program() -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let program = std::env::current_exe().ok();
    let on_path = std::env::args().next().is_some_and(|name| !name.contains('/'));
    let shown = program.filter(|_| !on_path).map(|path| path.strip_prefix(&here).unwrap_or(&path).display().to_string());
    shown.unwrap_or_else(|| "siding".to_owned())
}

fn next_with_server(url: &str, outcome: &Outcome) -> Vec<String> {
    let (siding, id) = (program(), outcome.long.id);
    let server = if url == DEFAULT_SERVER { String::new() } else { format!(" --server {url}") };
    vec![
        "Look at:".to_owned(),
        format!("  {url}/v1/jobs"),
        format!("  {url}/v1/jobs/{id}/events"),
        format!("  {url}/v1/lanes"),
        format!("  {url}/metrics"),
        format!("  {url}/openapi.json"),
        "Try, in another terminal:".to_owned(),
        format!("  {siding}{server} jobs list --limit 10"),
        format!("  {siding}{server} jobs retry {id} --watch"),
        format!("  {siding}{server} lanes"),
    ]
}

fn next_without_server() -> Vec<String> {
    let siding = program();
    vec![
        format!("The server stops now. After `{siding} up`, look at:"),
        format!("  {DEFAULT_SERVER}/v1/jobs"),
        format!("  {DEFAULT_SERVER}/v1/models"),
        format!("  {DEFAULT_SERVER}/v1/lanes"),
        format!("  {DEFAULT_SERVER}/metrics"),
        format!("  {DEFAULT_SERVER}/openapi.json"),
        "Try:".to_owned(),
        format!("  {siding} up"),
        format!("  {siding} doctor"),
        format!("  {siding} models"),
    ]
}
