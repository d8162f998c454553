//! `siding migrate`: brings the schema of the Postgres database up to date and says from which version to which. It decides when there is nothing to
//! do here; the store takes the lock and does the work.

use serde_json::json;
use siding_core::{
    error::{Classified, chain},
    store::postgres,
};

use super::{args::SettingsArgs, effective, exit::Failed};
use crate::output::{Format, Output};

/// Runs the command.
pub async fn run(output: &Output, args: &SettingsArgs) -> Result<(), Failed> {
    let url = effective(args)?.settings.store.url;
    if url.is_empty() {
        let what = "store.url is empty: name the Postgres database with --database or SIDING_STORE__URL_FILE";
        return Err(Failed::Usage(format!("{what} (a SQLite file is brought up to date by `siding up` when it starts)")));
    }
    let done = postgres::migrate(url.expose()).await.map_err(|error| {
        let text = format!("the schema of {url} cannot be brought up to date: {}", chain(&error));
        if error.is_transient() { Failed::Unreachable(text) } else { Failed::Ended(text) }
    })?;
    match output.format {
        Format::Table if done.from == done.to => Ok(output.line(&format!("the schema is at version {} already", done.to))?),
        Format::Table => Ok(output.line(&format!("the schema was at version {}, is at version {}", done.from, done.to))?),
        Format::Json | Format::Jsonl => Ok(output.json(&json!({ "from": done.from, "to": done.to }))?),
    }
}
