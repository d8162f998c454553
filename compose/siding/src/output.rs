//! What a command prints: results to stdout in the format that was asked for, everything else to stderr. It decides form and colour;
//! it must never decide what a command does. A reader that has gone away (`siding jobs list | head`) ends a command quietly.

pub mod human;
mod table;

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use clap::ValueEnum;
use serde::Serialize;
use siding_client::State;

pub use table::Table;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON value; a stream of events is one value a line.
    Json,
    /// One JSON value a line.
    Jsonl,
}

/// A colour by its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// It went well.
    Good,
    /// It went wrong.
    Bad,
    /// It is on its way, or deserves a look.
    Busy,
    /// It matters less.
    Dim,
}

/// Where a command prints to.
#[derive(Debug, Clone)]
pub struct Output {
    /// The format of results.
    pub format: Format,
    /// Whether everything but results and errors is left out.
    pub quiet: bool,
    colour: bool,
    /// Whether a live bar on stderr makes sense.
    pub live: bool,
}

impl Output {
    /// Decides colour and liveliness from the environment: `NO_COLOR`, `CLICOLOR_FORCE`, `TERM`, and whether these are terminals.
    pub fn new(format: Format, quiet: bool) -> Self {
        let variable = |name: &str| env::var(name).unwrap_or_default();
        let colour = wants_colour(variable, io::stdout().is_terminal());
        let live = io::stderr().is_terminal() && variable("TERM") != "dumb" && !quiet && format == Format::Table;
        Self { format, quiet, colour: colour && format == Format::Table, live }
    }

    /// No colour, nothing live: for tests.
    #[cfg(test)]
    pub fn plain() -> Self {
        Self { format: Format::Table, quiet: false, colour: false, live: false }
    }

    /// Prints one line of a result.
    pub fn line(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()
    }

    /// Prints one JSON value on one line.
    pub fn json<T: Serialize + ?Sized>(&self, value: &T) -> io::Result<()> {
        self.line(&serde_json::to_string(value)?)
    }

    /// Says something on the side, unless told to be quiet.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            complain(text);
        }
    }

    /// `text` in a colour, or as it is.
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Good => "32",
            Paint::Bad => "31",
            Paint::Busy => "33",
            Paint::Dim => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// Prints a table: aligned, with a dim heading.
    pub fn table(&self, table: &Table) -> io::Result<()> {
        table.lines(|paint, text| self.paint(paint, text)).iter().try_for_each(|line| self.line(line))
    }
}

/// Writes a line to stderr. When even that is gone, there is nobody left to tell.
pub fn complain(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// The colour of a job's state.
pub fn paint_of(state: State) -> Paint {
    match state {
        State::Succeeded => Paint::Good,
        State::Failed | State::Expired => Paint::Bad,
        State::Running | State::Cancelling => Paint::Busy,
        _ => Paint::Dim,
    }
}

/// <https://no-color.org> and <https://bixense.com/clicolors>: force wins over all, then no colour, then a terminal that can.
fn wants_colour(variable: impl Fn(&str) -> String, is_terminal: bool) -> bool {
    let forced = variable("CLICOLOR_FORCE");
    if !forced.is_empty() && forced != "0" {
        return true;
    }
    variable("NO_COLOR").is_empty() && variable("TERM") != "dumb" && is_terminal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_follows_the_conventions() {
        type Variables<'a> = &'a [(&'a str, &'a str)];
        let rows: [(Variables, bool, bool); 8] = [
            (&[], true, true),
            (&[], false, false),
            (&[("NO_COLOR", "1")], true, false),
            (&[("NO_COLOR", "")], true, true),
            (&[("TERM", "dumb")], true, false),
            (&[("CLICOLOR_FORCE", "1")], false, true),
            (&[("CLICOLOR_FORCE", "0")], false, false),
            (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1"), ("TERM", "dumb")], false, true),
        ];
        for (variables, terminal, expected) in rows {
            let variable =
                |name: &str| variables.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| *value).to_owned();
            assert_eq!(wants_colour(variable, terminal), expected, "{variables:?} {terminal}");
        }
    }
}
