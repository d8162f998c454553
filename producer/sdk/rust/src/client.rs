//! The client: one method for each thing that a caller can ask of a server.

use std::time::Duration;

use futures::{Stream, stream};
use reqwest::{Method, RequestBuilder, Response, Url, redirect};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    batch::{Batch, Outcome},
    catalog::{Lane, Models},
    error::Error,
    events::Events,
    job::{Job, JobId, Submission},
    list::{JobFilter, JobPage},
    send::{ANSWER_TIMEOUT, Repeat, Server},
};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Talks to one server, or to a producer and a results service apart. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) http: reqwest::Client,
    /// Who accepts jobs, and knows models and lanes.
    pub(crate) producer: Place,
    /// Who shows jobs.
    pub(crate) results: Place,
}

/// An address, for requests and for errors.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) server: Server,
    base: Url,
}

impl Place {
    fn parse(url: &str) -> Result<Self, Error> {
        let address = |why: &str| Error::Address { url: url.to_owned(), why: why.to_owned() };
        let mut base = Url::parse(url).map_err(|error| address(&error.to_string()))?;
        if base.scheme() != "http" || base.host_str().is_none() {
            return Err(address("it must begin with http:// (this client does not speak TLS)"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(address("it must have no query and no fragment"));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        Ok(Self { server: Server(url.trim_end_matches('/').to_owned()), base })
    }

    /// Paths are made of constants, ids and nothing else, so joining cannot leave the base.
    pub(crate) fn url(&self, path: &str) -> Url {
        self.base.join(path).expect("a relative path of plain characters joins any http base")
    }
}

impl Client {
    /// A client of the server at `url`, for example `http://127.0.0.1:7433`. Does not connect yet.
    ///
    /// # Errors
    /// [`Error::Address`] when `url` is not an `http` address.
    pub fn new(url: &str) -> Result<Self, Error> {
        let place = Place::parse(url)?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .tcp_nodelay(true)
            .user_agent(concat!("siding-client/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::Address { url: url.to_owned(), why: error.to_string() })?;
        Ok(Self { http, results: place.clone(), producer: place })
    }

    /// The same client, which reads jobs and their events from the results service at `url`: for set-ups in which no front sends each request to
    /// the service that it belongs to.
    ///
    /// ```
    /// # fn main() -> Result<(), siding_client::Error> {
    /// let client = siding_client::Client::new("http://127.0.0.1:7433")?.with_results("http://127.0.0.1:7434")?;
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Address`] when `url` is not an `http` address.
    pub fn with_results(self, url: &str) -> Result<Self, Error> {
        Ok(Self { results: Place::parse(url)?, ..self })
    }

    /// The server's address as it was given.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.producer.server.0
    }

    /// Submits a job. When it returns, the job is durable: it will reach exactly one terminal state. Safe to repeat: all tries of
    /// one call carry one idempotency key (or the submission's own key or id).
    ///
    /// # Errors
    /// [`Error::Problem`] when the server refuses; [`Error::Unreachable`], [`Error::Timeout`] when it stays away.
    pub async fn submit(&self, submission: &Submission) -> Result<Job, Error> {
        self.submit_waiting(submission, Duration::ZERO).await
    }

    /// As [`Client::submit`], but lets the server hold the answer until the job has ended, for at most `wait` (whole seconds; the
    /// server has a limit of its own). The job may be unfinished when it returns, and a large output is left out of it.
    ///
    /// # Errors
    /// As [`Client::submit`].
    pub async fn submit_waiting(&self, submission: &Submission, wait: Duration) -> Result<Job, Error> {
        let key = submission.key.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
        let body = serde_json::to_vec(submission).map_err(Error::Input)?;
        let server = &self.producer.server;
        let response = server
            .send(Repeat::Safe, || {
                let request = match submission.id {
                    Some(id) => self.request(&self.producer, Method::PUT, &format!("v1/jobs/{id}")),
                    None => self.request(&self.producer, Method::POST, "v1/jobs").header("Idempotency-Key", format!("\"{key}\"")),
                };
                let request = match wait.as_secs() {
                    0 => request,
                    secs => request.header("Prefer", format!("wait={secs}")),
                };
                request.timeout(ANSWER_TIMEOUT + wait).header("Content-Type", "application/json").body(body.clone())
            })
            .await?;
        server.read_json(response).await
    }

    /// Submits many jobs in one request, and tells what became of each, in order: one that is refused hinders no other, unless the
    /// batch is atomic. Those that were accepted are durable when it returns. Safe to repeat: all tries of one call carry one key.
    ///
    /// # Errors
    /// [`Error::Problem`] when the server refuses the whole: too many jobs, too many bytes, or an atomic batch with a job that is
    /// refused; [`Error::Unreachable`], [`Error::Timeout`] when it stays away.
    pub async fn submit_all(&self, batch: &Batch) -> Result<Vec<Outcome>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            jobs: Vec<Outcome>,
        }
        let key = batch.key.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
        let body = batch.to_body()?;
        let place = &self.producer;
        let request = || {
            let request = self.request(place, Method::POST, "v1/jobs:batch").header("Idempotency-Key", format!("\"{key}\""));
            request.header("Content-Type", "application/json").body(body.clone())
        };
        let response = place.server.send(Repeat::Safe, request).await?;
        place.server.read_json::<Answer>(response).await.map(|answer| answer.jobs)
    }

    /// The job as it stands, with its output once it has succeeded, unless that is large ([`Client::result`] has it).
    ///
    /// # Errors
    /// [`Error::Problem`] when there is no such job.
    pub async fn get(&self, job: JobId) -> Result<Job, Error> {
        self.read(&self.results, &format!("v1/jobs/{job}")).await
    }

    /// One page of jobs, newest first.
    ///
    /// # Errors
    /// [`Error::Problem`] for a wrong filter or cursor.
    pub async fn list(&self, filter: &JobFilter, cursor: Option<&str>) -> Result<JobPage, Error> {
        let mut url = self.results.url("v1/jobs");
        filter.write_to(&mut url, cursor);
        self.read_url(&self.results, url).await
    }

    /// All jobs that `filter` shows, newest first; pages are fetched as the stream is read. Ends after the first error.
    pub fn list_all(&self, filter: JobFilter) -> impl Stream<Item = Result<Job, Error>> + Send + use<> {
        enum At {
            Page(Option<String>),
            End,
        }
        let client = self.clone();
        let pages = stream::try_unfold(At::Page(None), move |at| {
            let (client, filter) = (client.clone(), filter.clone());
            async move {
                let At::Page(cursor) = at else { return Ok::<_, Error>(None) };
                let page = client.list(&filter, cursor.as_deref()).await?;
                let next = page.next_cursor.map_or(At::End, |cursor| At::Page(Some(cursor)));
                Ok(Some((stream::iter(page.jobs.into_iter().map(Ok)), next)))
            }
        });
        futures::TryStreamExt::try_flatten(pages)
    }

    /// Asks for the job's end. Returns the job as it stands: it may still be stopping, or have ended before.
    ///
    /// # Errors
    /// [`Error::Problem`] when there is no such job.
    pub async fn cancel(&self, job: JobId) -> Result<Job, Error> {
        self.act(Repeat::Safe, &format!("v1/jobs/{job}/cancel")).await
    }

    /// Runs a finished job again, as a new job that names the old one. Not repeated when its answer is lost.
    ///
    /// # Errors
    /// [`Error::Problem`] when there is no such job or it is not finished.
    pub async fn retry(&self, job: JobId) -> Result<Job, Error> {
        self.act(Repeat::OnlyIfRefused, &format!("v1/jobs/{job}/retry")).await
    }

    /// The job's output as JSON text.
    ///
    /// # Errors
    /// [`Error::Problem`] when the job is unknown, not finished, or has ended without a result.
    pub async fn result(&self, job: JobId) -> Result<Box<RawValue>, Error> {
        self.read(&self.results, &format!("v1/jobs/{job}/result")).await
    }

    /// The job's events after number `after` (0 for all), live until its end. Reconnects by itself and repeats none.
    #[must_use]
    pub fn events(&self, job: JobId, after: u64) -> Events {
        Events::new(self.clone(), job, after)
    }

    /// Waits for the job's end and returns it. Waits without limit; wrap it in a timeout to give up earlier.
    ///
    /// ```no_run
    /// # async fn example(client: siding_client::Client, job: siding_client::JobId) -> Result<(), Box<dyn std::error::Error>> {
    /// let job = tokio::time::timeout(std::time::Duration::from_secs(60), client.wait(job)).await??;
    /// println!("{}", job.state);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Problem`] when there is no such job; others when the server stays away.
    pub async fn wait(&self, job: JobId) -> Result<Job, Error> {
        let now = self.get(job).await?;
        if now.state.is_terminal() {
            return Ok(now);
        }
        let mut events = self.events(job, now.event_seq);
        while let Some(event) = events.next().await {
            event?;
        }
        self.get(job).await
    }

    /// Asks every worker to have this version in memory; it does so while it works, and a worker that cannot says so in its log alone.
    ///
    /// # Errors
    /// [`Error::Problem`] when the server has no such version.
    pub async fn load_model(&self, name: &str, version: &str) -> Result<(), Error> {
        self.tell(&format!("v1/models/{name}/versions/{version}/load")).await
    }

    /// Asks every worker to have this version out of memory once nothing runs it; the next job that needs it loads it again.
    ///
    /// # Errors
    /// [`Error::Problem`] when the server has no such version.
    pub async fn unload_model(&self, name: &str, version: &str) -> Result<(), Error> {
        self.tell(&format!("v1/models/{name}/versions/{version}/unload")).await
    }

    /// The models that the server can run, and those that it cannot.
    ///
    /// # Errors
    /// [`Error::Unreachable`] and the like.
    pub async fn models(&self) -> Result<Models, Error> {
        self.read(&self.producer, "v1/models").await
    }

    /// The lanes, shortest first, and what is in them.
    ///
    /// # Errors
    /// [`Error::Unreachable`] and the like.
    pub async fn lanes(&self) -> Result<Vec<Lane>, Error> {
        #[derive(Deserialize)]
        struct Lanes {
            lanes: Vec<Lane>,
        }
        self.read::<Lanes>(&self.producer, "v1/lanes").await.map(|answer| answer.lanes)
    }

    /// Whether the server is ready to take jobs, and where results are shown apart, whether these are ready to be read. Asks each once.
    ///
    /// # Errors
    /// [`Error::Unreachable`] or [`Error::Timeout`] when nobody answers.
    pub async fn is_ready(&self) -> Result<bool, Error> {
        let apart = (self.producer.base != self.results.base).then_some(&self.results);
        for place in std::iter::once(&self.producer).chain(apart) {
            let started = std::time::Instant::now();
            let answer = self.request(place, Method::GET, "health/ready").send().await;
            if !answer.map_err(|error| place.server.lost(error, started))?.status().is_success() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn read<T: DeserializeOwned>(&self, place: &Place, path: &str) -> Result<T, Error> {
        self.read_url(place, place.url(path)).await
    }

    pub(crate) async fn read_url<T: DeserializeOwned>(&self, place: &Place, url: Url) -> Result<T, Error> {
        let response: Response = place.server.send(Repeat::Safe, || self.http.get(url.clone()).timeout(ANSWER_TIMEOUT)).await?;
        place.server.read_json(response).await
    }

    async fn act(&self, repeat: Repeat, path: &str) -> Result<Job, Error> {
        let place = &self.producer;
        let response = place.server.send(repeat, || self.request(place, Method::POST, path)).await?;
        place.server.read_json(response).await
    }

    async fn tell(&self, path: &str) -> Result<(), Error> {
        let place = &self.producer;
        place.server.send(Repeat::Safe, || self.request(place, Method::POST, path)).await.map(drop)
    }

    pub(crate) fn request(&self, place: &Place, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, place.url(path)).timeout(ANSWER_TIMEOUT)
    }
}

#[cfg(test)]
mod tests;
