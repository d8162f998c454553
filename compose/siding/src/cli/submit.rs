//! `siding submit`: reads an input, submits one job, and follows it as far as the caller wants; or submits many from lines. A job is durable
//! once its id is printed; whatever happens to this process afterwards does not touch it.

mod batch;

use std::{
    io::{self, Read},
    time::Duration,
};

use serde_json::value::RawValue;
use siding_client::{Client, Job, Submission};
use siding_core::limits;

use self::batch::Whole;
use super::{
    args::{Follow, SubmitArgs},
    exit::Failed,
    jobs, watch,
};
use crate::output::{Format, Output};

/// Submits the job and follows it.
pub async fn run(client: &Client, output: &Output, args: SubmitArgs) -> Result<(), Failed> {
    if let Some(source) = args.jsonl {
        let whole = if args.atomic { Whole::Atomic } else { Whole::InParts };
        return batch::run(client, output, &source, args.key.as_deref(), whole).await;
    }
    let input = read_input(args.input.as_deref().unwrap_or("-"))?;
    let mut submission = Submission::new(args.model.unwrap_or_default(), &*input)?;
    if let Some(version) = args.model_version {
        submission = submission.with_version(version);
    }
    if let Some(ms) = args.expected_ms {
        submission = submission.expecting(Duration::from_millis(ms));
    }
    if let Some(ms) = args.delay_ms {
        submission = submission.delayed(Duration::from_millis(ms));
    }
    if let Some(time) = args.start_at {
        submission = submission.starting_at(time);
    }
    if let Some(id) = args.id {
        submission = submission.with_id(id);
    }
    if let Some(key) = args.key {
        submission = submission.with_key(key);
    }
    let job = client.submit(&submission).await?;
    follow(client, output, job, &args.follow).await
}

/// Prints an accepted job, or follows it to its end and prints that.
pub async fn follow(client: &Client, output: &Output, job: Job, follow: &Follow) -> Result<(), Failed> {
    if !follow.watch && follow.wait.is_none() {
        return jobs::print(output, &job);
    }
    let limit = follow.wait.flatten().map(Duration::from_secs);
    let id = job.id;
    let ended = if follow.watch {
        if output.format == Format::Table && !output.quiet {
            output.line(&format!("job {id} accepted: lane {}", job.lane))?;
        }
        watch::follow(client, output, id, 0, limit).await?
    } else {
        watch::within(limit, id, async { Ok(client.wait(id).await?) }).await?
    };
    jobs::print(output, &ended)?;
    Failed::unless_succeeded(&ended)
}

/// The input as JSON text: given as it is, in a file after `@`, or on stdin for `-`.
fn read_input(given: &str) -> Result<Box<RawValue>, Failed> {
    let text = match given.strip_prefix('@') {
        _ if given == "-" => read_bounded(io::stdin().lock(), "stdin")?,
        Some(path) => {
            let file = std::fs::File::open(path).map_err(|error| Failed::Usage(format!("{path}: {error}")))?;
            read_bounded(file, path)?
        }
        None => given.to_owned(),
    };
    serde_json::from_str(&text).map_err(|error| Failed::Usage(format!("the input is not JSON: {error}")))
}

/// Reads no more than a request may hold.
fn read_bounded(source: impl Read, name: &str) -> Result<String, Failed> {
    let mut text = String::new();
    let read = source.take(limits::BODY_BYTES_MAX as u64 + 1).read_to_string(&mut text);
    let bytes = read.map_err(|error| Failed::Usage(format!("{name}: {error}")))?;
    if bytes > limits::BODY_BYTES_MAX {
        return Err(Failed::Usage(format!("{name} is larger than the {} bytes that a request may have", limits::BODY_BYTES_MAX)));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_json_of_a_bounded_size() {
        let rows =
            [("{\"a\": 1}", true), ("[", false), ("@", false), ("@/nowhere/input.json", false), ("", false), ("file", false)];
        for (given, ok) in rows {
            assert_eq!(read_input(given).is_ok(), ok, "{given:?}");
        }
        let read = |bytes: usize| read_bounded(io::repeat(b' ').take(bytes as u64), "x").is_ok();
        assert!(read(limits::BODY_BYTES_MAX));
        assert!(!read(limits::BODY_BYTES_MAX + 1));
    }
}
