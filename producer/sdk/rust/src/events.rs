//! A job's events as one stream over many connections. It reconnects with the number of the last event it has given out, gives out
//! none twice, notices a gap, and ends after the terminal event. It holds at most one network chunk and what that chunk says.

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use futures::{Stream, stream};
use reqwest::{Response, StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::{
    client::Client,
    error::Error,
    job::{Failure, JobId},
    send::{self, Ended, Repeat},
    sse::{Parser, Said},
};

/// A connection that has been silent for so long is dead: the server sends a comment about every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// How long the stream tries to reconnect before it gives up.
const OUTAGE_MAX: Duration = Duration::from_secs(60);
/// How long the answer to a connection attempt may take.
const CONNECT_ANSWER_MAX: Duration = Duration::from_secs(10);
/// Longest wait before a reconnect, whatever the server asks for.
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(10);

/// What an event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// Accepted.
    Queued,
    /// An attempt started.
    Started,
    /// How far the attempt is.
    Progress,
    /// A piece of output before the end. Void when `retrying` or `interrupted` follows without a `checkpoint` in between, or `restarted` follows.
    Output,
    /// The state of the computation was saved: pieces of output before it stand.
    Checkpoint,
    /// The attempt began from nothing although there was a checkpoint: all pieces of output before it are void.
    Restarted,
    /// The attempt failed or was lost and another one will follow.
    Retrying,
    /// The attempt was handed back without having failed.
    Interrupted,
    /// The computation is being stopped because the caller cancelled.
    Cancelling,
    /// Ended with a result.
    Succeeded,
    /// Ended with an error.
    Failed,
    /// Ended by the caller.
    Canceled,
    /// Not started in time.
    Expired,
    /// A word that this client does not know.
    #[serde(other)]
    Unknown,
}

impl EventKind {
    /// Whether no event of the job follows.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled | Self::Expired)
    }

    /// The word that the interface uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Started => "started",
            Self::Progress => "progress",
            Self::Output => "output",
            Self::Checkpoint => "checkpoint",
            Self::Restarted => "restarted",
            Self::Retrying => "retrying",
            Self::Interrupted => "interrupted",
            Self::Cancelling => "cancelling",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One event of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// Its number within the job: 1 for the first, without gaps.
    pub seq: u64,
    /// What it tells.
    pub kind: EventKind,
    /// When, in milliseconds since the Unix epoch by the server's clock.
    pub at_ms: i64,
    /// The attempt it belongs to; 0 before the first.
    #[serde(default)]
    pub attempt: u32,
    /// Details; which keys, says the kind.
    #[serde(default)]
    pub data: serde_json::Value,
}

/// What a `progress` event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all, when known.
    #[serde(default)]
    pub total: Option<u64>,
}

/// What a `started` event tells.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Started {
    /// Who runs it.
    #[serde(default)]
    pub worker: String,
    /// The lane it waited in.
    #[serde(default)]
    pub lane: String,
    /// How long the job was due before this attempt started, in milliseconds.
    pub waited_ms: u64,
    /// Whether it was taken over from a worker that was lost.
    #[serde(default)]
    pub takeover: bool,
    /// The checkpoint that it goes on from.
    #[serde(default)]
    pub resumes: Option<Resumes>,
}

/// What a `checkpoint` event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Units done.
    pub done: u64,
    /// Units in all, when known.
    #[serde(default)]
    pub total: Option<u64>,
    /// How large the saved state is.
    pub bytes: u64,
}

/// What an attempt goes on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Resumes {
    /// Units done before.
    pub done: u64,
    /// Units in all, when known.
    #[serde(default)]
    pub total: Option<u64>,
    /// The `checkpoint` event: pieces of output up to it stand.
    pub after_seq: u64,
}

impl Event {
    /// The details of a `progress` event.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        self.details(&[EventKind::Progress])
    }

    /// The details of a `started` event.
    #[must_use]
    pub fn started(&self) -> Option<Started> {
        self.details(&[EventKind::Started])
    }

    /// The details of a `checkpoint` event.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.details(&[EventKind::Checkpoint])
    }

    /// Why an attempt failed: the details of a `retrying` or `failed` event.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.details(&[EventKind::Retrying, EventKind::Failed])
    }

    fn details<T: serde::de::DeserializeOwned>(&self, kinds: &[EventKind]) -> Option<T> {
        if !kinds.contains(&self.kind) {
            return None;
        }
        T::deserialize(&self.data).ok()
    }
}

/// A job's events, in order. See [`Client::events`].
#[derive(Debug)]
pub struct Events {
    client: Client,
    job: JobId,
    /// The last event that was given out.
    after: u64,
    /// What the last chunk said and was not given out yet.
    ready: VecDeque<Said>,
    connection: Option<Connection>,
    /// What the server asks for between connections.
    retry: Duration,
    /// Since when connections have failed; `None` while one speaks.
    outage_since: Option<Instant>,
    /// Connections that have failed in this outage.
    failures: u32,
    over: bool,
}

#[derive(Debug)]
struct Connection {
    response: Response,
    parser: Parser,
}

/// What a step of reading did.
enum Step {
    /// There is more to look at.
    Go,
    /// Wait, then connect again; the error counts when that fails for too long.
    Reconnect(Error),
    /// There are no more events.
    End,
}

impl Events {
    pub(crate) fn new(client: Client, job: JobId, after: u64) -> Self {
        Self {
            client,
            job,
            after,
            ready: VecDeque::new(),
            connection: None,
            retry: Duration::from_secs(1),
            outage_since: None,
            failures: 0,
            over: false,
        }
    }

    /// The number of the last event that was given out: a cursor for a later stream.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.after
    }

    /// The next event; waits for it. `None` after the terminal event, when nothing can follow, and after an error. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        while !self.over {
            if let Some(said) = self.ready.pop_front() {
                match self.take(said) {
                    Ok(Some(event)) => return Some(Ok(event)),
                    Ok(None) => continue,
                    Err(error) => return self.fail(error),
                }
            }
            match self.step().await {
                Ok(Step::Go) => {}
                Ok(Step::End) => self.over = true,
                Ok(Step::Reconnect(error)) => {
                    self.connection = None;
                    if self.outage_since.get_or_insert_with(Instant::now).elapsed() > OUTAGE_MAX {
                        return self.fail(error);
                    }
                    self.failures += 1;
                    tokio::time::sleep(self.reconnect_delay(rand::random())).await;
                }
                Err(error) => return self.fail(error),
            }
        }
        None
    }

    /// The same as a [`Stream`].
    pub fn into_stream(self) -> impl Stream<Item = Result<Event, Error>> + Send {
        stream::unfold(self, |mut events| async move { events.next().await.map(|event| (event, events)) })
    }

    fn fail(&mut self, error: Error) -> Option<Result<Event, Error>> {
        self.over = true;
        self.connection = None;
        Some(Err(error))
    }

    /// The first reconnect waits as long as the server asks for, jittered down to half; failed ones wait at least as a request does.
    fn reconnect_delay(&self, draw: f64) -> Duration {
        let own = send::next_try(Ended::NotSent, Repeat::Safe, self.failures.min(5), draw).unwrap_or(RECONNECT_DELAY_MAX);
        self.retry.min(RECONNECT_DELAY_MAX).mul_f64(0.5 + 0.5 * draw).max(own)
    }

    /// Turns what was said into the next event, checking that it is the next.
    fn take(&mut self, said: Said) -> Result<Option<Event>, Error> {
        let message = match said {
            Said::Retry(retry) => {
                self.retry = retry;
                return Ok(None);
            }
            Said::Message(message) => message,
        };
        let event: Event = serde_json::from_str(&message.data).map_err(|source| Error::Protocol {
            what: format!("event {:?} of kind {:?}", message.id, message.event),
            source: Some(source),
        })?;
        if event.seq <= self.after {
            return Ok(None);
        }
        if event.seq != self.after + 1 {
            return Err(Error::protocol(format!("event {} came after event {}", event.seq, self.after)));
        }
        self.after = event.seq;
        self.over = event.kind.is_terminal();
        Ok(Some(event))
    }

    async fn step(&mut self) -> Result<Step, Error> {
        let Some(connection) = &mut self.connection else { return self.connect().await };
        let started = Instant::now();
        let server = &self.client.results.server;
        let silent = || Error::Timeout { server: server.0.clone(), waited_ms: SILENCE_MAX.as_millis() };
        let chunk = match tokio::time::timeout(SILENCE_MAX, connection.response.chunk()).await {
            Err(_) => return Ok(Step::Reconnect(silent())),
            Ok(Err(error)) => return Ok(Step::Reconnect(server.lost(error, started))),
            // The server ended the stream before the job ended: it is shutting down.
            Ok(Ok(None)) => return Ok(Step::Reconnect(Error::Unreachable { server: server.0.clone(), source: None })),
            Ok(Ok(Some(chunk))) => chunk,
        };
        self.outage_since = None;
        self.failures = 0;
        let mut said = Vec::new();
        connection.parser.read(&chunk, &mut said).map_err(|error| Error::protocol(error.to_string()))?;
        self.ready.extend(said);
        Ok(Step::Go)
    }

    async fn connect(&mut self) -> Result<Step, Error> {
        let server = &self.client.results.server;
        let url = self.client.results.url(&format!("v1/jobs/{}/events", self.job));
        let mut request = self.client.http.get(url).header(header::ACCEPT, "text/event-stream");
        if self.after > 0 {
            request = request.header("Last-Event-ID", self.after);
        }
        let started = Instant::now();
        let response = match tokio::time::timeout(CONNECT_ANSWER_MAX, request.send()).await {
            Err(_) => {
                let waited_ms = CONNECT_ANSWER_MAX.as_millis();
                return Ok(Step::Reconnect(Error::Timeout { server: server.0.clone(), waited_ms }));
            }
            Ok(Err(error)) => return Ok(Step::Reconnect(server.lost(error, started))),
            Ok(Ok(response)) => response,
        };
        match response.status() {
            StatusCode::NO_CONTENT => return Ok(Step::End),
            StatusCode::OK => {}
            status => {
                let problem = send::read_problem(response).await;
                let retry_after = problem.retry_after;
                let error = Error::Problem(Box::new(problem));
                if !matches!(status.as_u16(), 429 | 502..=504) {
                    return Err(error);
                }
                self.retry = retry_after.unwrap_or(self.retry);
                return Ok(Step::Reconnect(error));
            }
        }
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            return Err(Error::protocol(format!("expected an event stream, got {kind:?}")));
        }
        self.connection = Some(Connection { response, parser: Parser::default() });
        Ok(Step::Go)
    }
}

#[cfg(test)]
mod tests;
