//! One request, tried again where that is safe. The decision is pure (`next_try`); the loop around it does the I/O. It never
//! repeats a request that may already have had an effect, unless the effect is the same when repeated.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::{RequestBuilder, Response, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::error::{Error, Problem};

/// Tries of one request, the first included.
const TRIES_MAX: u32 = 6;
/// Delay before the second try, before jitter; doubled for each further one.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// Longest delay of our own choice.
const DELAY_MAX: Duration = Duration::from_secs(5);
/// Longest `Retry-After` that is waited out; a longer one is the caller's to decide.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// How long one answer may take, on top of what the request asks the server to wait.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer that is read, in bytes: the largest output of a job and room for the job around it.
const ANSWER_BYTES_MAX: usize = 72 * 1024 * 1024;
/// Largest refusal that is read, in bytes.
const PROBLEM_BYTES_MAX: usize = 256 * 1024;

/// Whether a request may be sent again when nobody knows what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It has the same effect when it is repeated: a read, or a write that carries its id or key.
    Safe,
    /// It would have its effect again: only when the server surely has not acted on it.
    OnlyIfRefused,
}

/// How one try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// No connection was made: the server has not seen the request.
    NotSent,
    /// The connection broke, or no answer came in time: nobody knows.
    Unknown,
    /// The server refused.
    Refused { status: u16, retryable: bool, retry_after: Option<Duration> },
}

/// How long to wait before the next try, or `None` when this was the last. `tries` counts those that have ended; `draw` is uniform
/// in [0, 1). Our own delays have equal jitter (half to all); a `Retry-After` is honoured in full with up to a tenth on top.
pub(crate) fn next_try(ended: Ended, repeat: Repeat, tries: u32, draw: f64) -> Option<Duration> {
    let own = (FIRST_DELAY * 2_u32.saturating_pow(tries.saturating_sub(1).min(16))).min(DELAY_MAX).mul_f64(0.5 + 0.5 * draw);
    let delay = match ended {
        Ended::NotSent => own,
        Ended::Unknown if repeat == Repeat::Safe => own,
        Ended::Unknown => return None,
        Ended::Refused { status: 429 | 503, retry_after, .. } => match retry_after {
            Some(wait) if wait > RETRY_AFTER_MAX => return None,
            Some(wait) => wait.max(own).mul_f64(1.0 + 0.1 * draw),
            None => own,
        },
        // A gateway does not say whether the server has acted.
        Ended::Refused { status: 502 | 504, .. } if repeat == Repeat::Safe => own,
        // The first request with this key is still being handled.
        Ended::Refused { status: 409, retryable: true, .. } => own,
        Ended::Refused { .. } => return None,
    };
    (tries < TRIES_MAX).then_some(delay)
}

/// Where requests go, in words for errors.
#[derive(Debug, Clone)]
pub(crate) struct Server(pub(crate) String);

impl Server {
    /// Sends what `request` builds until it is answered, surely refused, or has been tried often enough.
    ///
    /// # Errors
    /// `Problem`, `Unreachable`, `Timeout`, `Protocol`.
    pub(crate) async fn send(&self, repeat: Repeat, request: impl Fn() -> RequestBuilder) -> Result<Response, Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (error, ended) = match self.try_once(request()).await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            match next_try(ended, repeat, tries, rand::random()) {
                Some(delay) => tokio::time::sleep(delay).await,
                None => return Err(error),
            }
        }
    }

    async fn try_once(&self, request: RequestBuilder) -> Result<Response, (Error, Ended)> {
        let started = Instant::now();
        let response = request.send().await.map_err(|error| {
            let ended = if error.is_connect() { Ended::NotSent } else { Ended::Unknown };
            (self.lost(error, started), ended)
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let problem = read_problem(response).await;
        let Problem { status, retryable, retry_after, .. } = problem;
        Err((Error::Problem(Box::new(problem)), Ended::Refused { status, retryable, retry_after }))
    }

    /// What a failed request means. Its URL is left out: it says nothing that the server's address does not.
    pub(crate) fn lost(&self, error: reqwest::Error, started: Instant) -> Error {
        if error.is_timeout() && !error.is_connect() {
            return Error::Timeout { server: self.0.clone(), waited_ms: started.elapsed().as_millis() };
        }
        Error::Unreachable { server: self.0.clone(), source: Some(error.without_url()) }
    }

    /// Reads an answer's body as JSON.
    ///
    /// # Errors
    /// `Protocol` when it is not the JSON that was expected or is too large; `Unreachable`, `Timeout` when it does not arrive.
    pub(crate) async fn read_json<T: DeserializeOwned>(&self, response: Response) -> Result<T, Error> {
        let body = self.read_body(response).await?;
        serde_json::from_slice(&body).map_err(|source| Error::Protocol { what: "unexpected JSON".into(), source: Some(source) })
    }

    /// Reads an answer's body.
    ///
    /// # Errors
    /// `Protocol` when it is too large; `Unreachable`, `Timeout` when it does not arrive.
    pub(crate) async fn read_body(&self, response: Response) -> Result<Bytes, Error> {
        let started = Instant::now();
        match read_bounded(response, ANSWER_BYTES_MAX).await {
            Ok(Some(body)) => Ok(body),
            Ok(None) => Err(Error::protocol(format!("more than {ANSWER_BYTES_MAX} bytes"))),
            Err(error) => Err(self.lost(error, started)),
        }
    }
}

/// The whole body, or `None` when it is longer than `bytes_max`.
async fn read_bounded(mut response: Response, bytes_max: usize) -> Result<Option<Bytes>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > bytes_max {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.into()))
}

/// What a refusal says. Something that is no problem document (a proxy's page) becomes one with its status alone.
pub(crate) async fn read_problem(response: Response) -> Problem {
    let status = response.status();
    let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    // A refusal whose body breaks off is a refusal all the same.
    let body = read_bounded(response, PROBLEM_BYTES_MAX).await.ok().flatten().unwrap_or_default();
    let mut problem = serde_json::from_slice(&body).unwrap_or_else(|_| bare(status));
    problem.status = status.as_u16();
    problem.retry_after = retry_after.map(Duration::from_secs);
    problem
}

fn bare(status: StatusCode) -> Problem {
    Problem {
        status: status.as_u16(),
        code: String::new(),
        title: format!("the server answered {status}"),
        detail: String::new(),
        retryable: matches!(status.as_u16(), 429 | 502 | 503 | 504),
        errors: Vec::new(),
        retry_after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, retry_after_secs: Option<u64>) -> Ended {
        Ended::Refused { status, retryable: true, retry_after: retry_after_secs.map(Duration::from_secs) }
    }

    #[test]
    fn a_request_is_repeated_only_where_it_cannot_act_twice() {
        let permanent = Ended::Refused { status: 409, retryable: false, retry_after: None };
        let rows = [
            (Ended::NotSent, true, true),
            (Ended::Unknown, true, false),
            (refused(429, None), true, true),
            (refused(503, None), true, true),
            (refused(502, None), true, false),
            (refused(504, None), true, false),
            (refused(409, None), true, true),
            (permanent, false, false),
            (refused(400, None), false, false),
            (refused(404, None), false, false),
            (refused(500, None), false, false),
            (refused(503, Some(31)), false, false),
        ];
        for (ended, safe, refused_only) in rows {
            assert_eq!(next_try(ended, Repeat::Safe, 1, 0.5).is_some(), safe, "{ended:?}");
            assert_eq!(next_try(ended, Repeat::OnlyIfRefused, 1, 0.5).is_some(), refused_only, "{ended:?}");
        }
    }

    #[test]
    fn delays_grow_with_jitter_to_a_limit_and_never_undercut_retry_after() {
        let delay = |ended, tries, draw| next_try(ended, Repeat::Safe, tries, draw).map(|d| d.as_millis());
        let rows = [
            (Ended::NotSent, 1, 0.0, Some(50)),
            (Ended::NotSent, 1, 1.0, Some(100)),
            (Ended::NotSent, 2, 1.0, Some(200)),
            (Ended::NotSent, 5, 1.0, Some(1600)),
            (Ended::NotSent, TRIES_MAX, 1.0, None),
            (refused(503, Some(3)), 1, 0.0, Some(3000)),
            (refused(503, Some(3)), 1, 1.0, Some(3300)),
            (refused(503, Some(0)), 1, 0.0, Some(50)),
        ];
        for (ended, tries, draw, expected) in rows {
            assert_eq!(delay(ended, tries, draw), expected, "{ended:?} {tries} {draw}");
        }
    }
}
