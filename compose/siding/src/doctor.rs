//! `siding doctor`: looks at everything that `siding up` and the roles need, on this machine and at the servers that the settings name, and says, for
//! each thing that is wrong, the command that mends it. It changes nothing; a folder that it had to make for a check is removed again.

mod checks;
mod servers;

use serde::Serialize;
use siding_client::Client;
use siding_core::config::{Effective, Settings};

use crate::{
    cli::{args::DoctorArgs, exit::Failed},
    output::{Format, Output, Paint},
};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and deserves a look.
    Warning,
    /// Siding, or a part of it, will not work.
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// The command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), fix: None }
    }

    fn warning(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warning, found: found.into(), fix: Some(fix.into()) }
    }

    fn failed(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Failed, found: found.into(), fix: Some(fix.into()) }
    }
}

/// Looks at everything; fails when a check has failed.
pub async fn run(client: &Client, output: &Output, args: DoctorArgs) -> Result<(), Failed> {
    let mut findings = Vec::new();
    let settings = match Effective::load(&args.settings.sources()) {
        Ok(Effective { settings, .. }) => {
            findings.push(Finding::ok("settings", "readable and valid"));
            settings
        }
        Err(error) => {
            let fix = "correct the file given with --config, or the variable SIDING_<SECTION>__<KEY>";
            findings.push(Finding::failed("settings", error.to_string(), fix));
            Settings::default()
        }
    };
    findings.push(checks::onnxruntime(&settings));
    findings.extend(checks::models(settings.models_folder().as_deref(), settings.worker.scripted));
    let (server, is_running) = checks::server(client).await;
    // The data folder of a running server is in use, as it should be.
    findings.push(checks::data(&args.data, is_running));
    findings.push(checks::disk_space(&args.data));
    findings.extend(servers::all(&settings).await);
    findings.push(server);
    findings.extend(checks::python().await);
    print(output, &findings)?;
    match findings.iter().filter(|finding| finding.verdict == Verdict::Failed).count() {
        0 => Ok(()),
        1 => Err(Failed::Ended("one check has failed".to_owned())),
        failed => Err(Failed::Ended(format!("{failed} checks have failed"))),
    }
}

fn print(output: &Output, findings: &[Finding]) -> Result<(), Failed> {
    match output.format {
        Format::Json => return Ok(output.json(&serde_json::json!({ "findings": findings }))?),
        Format::Jsonl => return Ok(findings.iter().try_for_each(|finding| output.json(finding))?),
        Format::Table => {}
    }
    for finding in findings {
        let (paint, word) = match finding.verdict {
            Verdict::Ok => (Paint::Good, "ok"),
            Verdict::Warning => (Paint::Busy, "warning"),
            Verdict::Failed => (Paint::Bad, "FAILED"),
        };
        output.line(&format!("{}  {:<13} {}", output.paint(paint, &format!("{word:<7}")), finding.check, finding.found))?;
        if let Some(fix) = &finding.fix {
            output.line(&format!("{:<23} mend it: {fix}", ""))?;
        }
    }
    Ok(())
}
