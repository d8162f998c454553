//! `siding config`: what holds and where it comes from, and everything that is wrong. It decides how settings are shown; it never shows
//! a secret, because it is given none (`core/src/config/load.rs` hides them).

use serde_json::json;
use siding_core::config::Shown;

use super::{args::ConfigCommand, effective, exit::Failed};
use crate::output::{Format, Output, Table};

/// Runs the command.
pub fn run(output: &Output, command: ConfigCommand) -> Result<(), Failed> {
    match command {
        ConfigCommand::Show { origin, settings } => show(output, effective(&settings)?.shown, origin),
        ConfigCommand::Check { settings } => {
            let count = effective(&settings)?.shown.len();
            match output.format {
                Format::Table => Ok(output.line(&format!("the settings are valid ({count} keys)"))?),
                Format::Json | Format::Jsonl => Ok(output.json(&json!({ "valid": true, "keys": count }))?),
            }
        }
    }
}

fn show(output: &Output, shown: Vec<Shown>, with_origin: bool) -> Result<(), Failed> {
    let row = |shown: &Shown| match with_origin {
        true => json!(shown),
        false => json!({ "key": shown.key, "value": shown.value }),
    };
    match output.format {
        Format::Json => return Ok(output.json(&json!({ "settings": shown.iter().map(row).collect::<Vec<_>>() }))?),
        Format::Jsonl => return Ok(shown.iter().try_for_each(|shown| output.json(&row(shown)))?),
        Format::Table => {}
    }
    let mut table = Table::new(if with_origin { &["KEY", "VALUE", "FROM"] } else { &["KEY", "VALUE"] });
    for Shown { key, value, origin } in shown {
        match with_origin {
            true => table.row([key, value.to_string(), origin]),
            false => table.row([key, value.to_string()]),
        }
    }
    Ok(output.table(&table)?)
}
