//! `siding submit --jsonl`: many jobs, one JSON object a line, in requests of as many as one may have. It prints what became of each line
//! as soon as it is known, and holds no more than one request's lines. It looks into no job beyond its name: what is wrong with one
//! is the server's to say, except that a line must be JSON to be sent at all. A line that
//! cannot be read ends the submission there; those before it are submitted.

use std::io::{BufRead, BufReader, Read};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use siding_client::{Batch, Client, Job, OutcomeStatus, Problem};
use siding_core::limits;

use crate::{
    cli::exit::Failed,
    output::{Format, Output},
};

/// Bytes of lines in one request: below what a body may have, so that only a line that is too large by itself is refused.
const REQUEST_BYTES: usize = limits::BODY_BYTES_MAX / 2;

/// Whether the lines hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// One request, all or none.
    Atomic,
    /// As many requests as it takes.
    InParts,
}

/// A line by its number: a job to be sent, or what is wrong with it.
struct Line {
    number: usize,
    job: Result<Box<RawValue>, String>,
}

/// What became of a line.
#[derive(Debug, Serialize)]
struct Told {
    line: usize,
    status: OutcomeStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<Job>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

/// How many lines ended how.
#[derive(Default)]
struct Counts {
    accepted: usize,
    existing: usize,
    refused: usize,
}

/// Submits the lines of `source`, a file or `-`. With a key, each line that names no id or key has this key and its number.
pub async fn run(client: &Client, output: &Output, source: &str, key: Option<&str>, whole: Whole) -> Result<(), Failed> {
    let reading: Box<dyn Read + Send> = match source {
        "-" => Box::new(std::io::stdin()),
        path => Box::new(std::fs::File::open(path).map_err(|error| Failed::Usage(format!("{path}: {error}")))?),
    };
    let mut lines = Lines { reading: BufReader::new(reading), key, number: 0, next: None };
    let mut counts = Counts::default();
    loop {
        let part = lines.part()?;
        let Some(first) = part.first().map(|line| line.number) else { break };
        if whole == Whole::Atomic {
            check_whole(&part, lines.next.take())?;
        }
        for told in send(client, part, whole).await.map_err(|failed| failed_from(first, failed))? {
            counts.count(told.status);
            print(output, &told)?;
        }
    }
    if output.format == Format::Table && !output.quiet {
        output.line(&format!("{} accepted, {} existing, {} refused", counts.accepted, counts.existing, counts.refused))?;
    }
    match counts.refused {
        0 => Ok(()),
        refused => Err(Failed::Usage(format!("{refused} of {} jobs were refused", counts.accepted + counts.existing + refused))),
    }
}

fn check_whole(part: &[Line], next: Option<Result<Line, String>>) -> Result<(), Failed> {
    match next {
        None => {}
        Some(Err(why)) => return Err(Failed::Usage(format!("{why}; nothing was submitted"))),
        Some(Ok(_)) => {
            let most = limits::BATCH_JOBS_MAX;
            return Err(Failed::Usage(format!(
                "--atomic takes at most {most} lines and {REQUEST_BYTES} bytes; nothing was submitted"
            )));
        }
    }
    let wrong = part.iter().find_map(|line| Some((line.number, line.job.as_ref().err()?)));
    wrong.map_or(Ok(()), |(number, why)| Err(Failed::Usage(format!("line {number} is not JSON: {why}; nothing was submitted"))))
}

/// Sends one request with all lines that are JSON; what became of each line, in order.
async fn send(client: &Client, part: Vec<Line>, whole: Whole) -> Result<Vec<Told>, Failed> {
    let (mut told, mut numbers, mut jobs) = (Vec::with_capacity(part.len()), Vec::new(), Vec::new());
    for Line { number, job } in part {
        match job {
            Ok(job) => {
                numbers.push(number);
                jobs.push(job);
            }
            Err(why) => {
                let mut problem = Problem::default();
                (problem.code, problem.detail) = ("malformed_json".to_owned(), format!("The line is not JSON: {why}"));
                told.push(Told { line: number, status: OutcomeStatus::Refused, job: None, problem: Some(problem) });
            }
        }
    }
    if !jobs.is_empty() {
        let batch = Batch::of_json(jobs);
        let outcomes = client.submit_all(&if whole == Whole::Atomic { batch.atomic() } else { batch }).await?;
        let sent = numbers.into_iter().zip(outcomes);
        told.extend(sent.map(|(line, outcome)| Told {
            line,
            status: outcome.status,
            job: outcome.job,
            problem: outcome.problem,
        }));
        told.sort_by_key(|told| told.line);
    }
    Ok(told)
}

/// A failure of this line, or of the request that begins with it: what stands before it is submitted.
fn failed_from(line: usize, failed: Failed) -> Failed {
    let whole = |text: String| if line == 1 { text } else { format!("nothing was submitted from line {line} on: {text}") };
    match failed {
        Failed::Usage(text) => Failed::Usage(whole(text)),
        Failed::Unreachable(text) => Failed::Unreachable(whole(text)),
        Failed::Timeout(text) => Failed::Timeout(whole(text)),
        Failed::Ended(text) => Failed::Ended(whole(text)),
        Failed::NobodyReads => Failed::NobodyReads,
    }
}

fn print(output: &Output, told: &Told) -> Result<(), Failed> {
    if output.format != Format::Table {
        return Ok(output.json(told)?);
    }
    let line = match (&told.job, &told.problem) {
        (Some(job), _) if output.quiet => job.id.to_string(),
        (None, _) if output.quiet => return Ok(()),
        (Some(job), _) => format!("{:>6}  {:<8}  {}  {}", told.line, word(told.status), job.id, job.lane),
        (None, problem) => {
            let why = problem.as_ref().map_or(String::new(), |problem| format!("{}: {problem}", problem.code));
            format!("{:>6}  {:<8}  {why}", told.line, word(told.status))
        }
    };
    Ok(output.line(&line)?)
}

fn word(status: OutcomeStatus) -> &'static str {
    match status {
        OutcomeStatus::Accepted => "accepted",
        OutcomeStatus::Existing => "existing",
        OutcomeStatus::Refused => "refused",
        _ => "unknown",
    }
}

impl Counts {
    fn count(&mut self, status: OutcomeStatus) {
        match status {
            OutcomeStatus::Accepted => self.accepted += 1,
            OutcomeStatus::Existing => self.existing += 1,
            _ => self.refused += 1,
        }
    }
}

/// Lines that are read a request at a time.
struct Lines<'a, R> {
    reading: R,
    key: Option<&'a str>,
    number: usize,
    /// The line behind the part that was read last, or why it cannot be read.
    next: Option<Result<Line, String>>,
}

impl<R: BufRead> Lines<'_, R> {
    /// The lines of one request; empty at the end. Afterwards `next` says whether there are more. A line that cannot be read ends the part
    /// before it, and fails the next one.
    fn part(&mut self) -> Result<Vec<Line>, Failed> {
        let (mut part, mut bytes) = (Vec::new(), 0);
        while let Some(line) = self.next.take().or_else(|| self.read().transpose()) {
            let line = match line {
                Ok(line) => line,
                Err(why) if part.is_empty() => return Err(failed_from(self.number, Failed::Usage(why))),
                Err(why) => {
                    self.next = Some(Err(why));
                    break;
                }
            };
            bytes += line.job.as_ref().map_or(0, |job| job.get().len());
            if part.len() == limits::BATCH_JOBS_MAX || (bytes > REQUEST_BYTES && !part.is_empty()) {
                self.next = Some(Ok(line));
                break;
            }
            part.push(line);
        }
        Ok(part)
    }

    /// The next line that is not blank; `None` at the end.
    fn read(&mut self) -> Result<Option<Line>, String> {
        loop {
            self.number += 1;
            let number = self.number;
            let mut text = String::new();
            let read = self.reading.by_ref().take(limits::BODY_BYTES_MAX as u64 + 1).read_line(&mut text);
            match read.map_err(|error| format!("line {number}: {error}"))? {
                0 => return Ok(None),
                bytes if bytes > limits::BODY_BYTES_MAX => {
                    let most = limits::BODY_BYTES_MAX;
                    return Err(format!("line {number} is larger than the {most} bytes that a request may have"));
                }
                _ if text.trim().is_empty() => {}
                _ => {
                    let key = self.key.map(|key| format!("{key}-{number}"));
                    let job = named(text.trim(), key.as_deref()).map_err(|error| error.to_string());
                    return Ok(Some(Line { number, job }));
                }
            }
        }
    }
}

/// The job of a line, with the key if it names no id or key itself. What is no object is sent as it is, to be refused.
fn named(text: &str, key: Option<&str>) -> serde_json::Result<Box<RawValue>> {
    #[derive(Deserialize)]
    struct Name {
        id: Option<serde::de::IgnoredAny>,
        idempotency_key: Option<serde::de::IgnoredAny>,
    }
    let job: Box<RawValue> = serde_json::from_str(text)?;
    let named = serde_json::from_str::<Name>(text).map_or(true, |name| name.id.is_some() || name.idempotency_key.is_some());
    let fields = job.get().strip_prefix('{').map(str::trim_start).filter(|fields| !named && !fields.starts_with('}'));
    match (fields, key) {
        (Some(fields), Some(key)) => {
            RawValue::from_string(format!("{{\"idempotency_key\":{},{fields}", serde_json::to_string(key)?))
        }
        _ => Ok(job),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_key_and_its_number_unless_it_names_itself() {
        let rows = [
            (r#"{"model":"m","input":{}}"#, Some("k-1"), Some(r#"{"idempotency_key":"k-1","model":"m","input":{}}"#)),
            (r#"{ "model":"m"}"#, Some("k\"1"), Some(r#"{"idempotency_key":"k\"1","model":"m"}"#)),
            (r#"{"model":"m"}"#, None, Some(r#"{"model":"m"}"#)),
            (r#"{"model":"m","id":"x"}"#, Some("k-1"), Some(r#"{"model":"m","id":"x"}"#)),
            (r#"{"idempotency_key":"x"}"#, Some("k-1"), Some(r#"{"idempotency_key":"x"}"#)),
            ("{}", Some("k-1"), Some("{}")),
            ("[1]", Some("k-1"), Some("[1]")),
            ("{", Some("k-1"), None),
            ("{} {}", None, None),
        ];
        for (text, key, expected) in rows {
            assert_eq!(named(text, key).ok().as_ref().map(|job| job.get()), expected, "{text}");
        }
    }

    #[test]
    fn lines_are_read_a_request_at_a_time_with_their_numbers() {
        let large = format!("\"{}\"\n", "x".repeat(REQUEST_BYTES - 10));
        let rows: [(String, &[&[usize]]); 5] = [
            (String::new(), &[]),
            ("\n  \n1\n\nx\n2".into(), &[&[3, 5, 6]]),
            (large.repeat(2), &[&[1], &[2]]),
            (format!("{large}1\n2\n"), &[&[1, 2, 3]]),
            (format!("1\n{large}{large}"), &[&[1, 2], &[3]]),
        ];
        for (text, expected) in rows {
            let mut lines = Lines { reading: text.as_bytes(), key: None, number: 0, next: None };
            let mut parts = Vec::new();
            loop {
                let part = lines.part().expect("read");
                if part.is_empty() {
                    break;
                }
                parts.push(part.iter().map(|line| line.number).collect::<Vec<_>>());
            }
            assert_eq!(parts, expected, "{:.40}", text);
        }
        let text = "1\n".repeat(limits::BATCH_JOBS_MAX);
        for (text, more) in [(text.clone(), false), (format!("{text}x"), true)] {
            let mut lines = Lines { reading: text.as_bytes(), key: None, number: 0, next: None };
            assert_eq!(lines.part().expect("read").len(), limits::BATCH_JOBS_MAX);
            assert_eq!(lines.next.is_some(), more);
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_takes_no_other_with_it() {
        let too_large = format!("1\n2\n{}\n", "x".repeat(limits::BODY_BYTES_MAX + 1));
        for text in [b"1\n2\n\xff\n4\n".as_slice(), too_large.as_bytes()] {
            let mut lines = Lines { reading: text, key: None, number: 0, next: None };
            assert_eq!(lines.part().expect("those before it").len(), 2);
            let Err(Failed::Usage(why)) = lines.part() else { panic!("it is told") };
            assert!(why.starts_with("nothing was submitted from line 3 on: line 3"), "{why}");
        }
    }
}
