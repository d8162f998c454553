//! A whole system in this process: real services on the ground of a profile, with HTTP on a free port and faults on request. `finish` waits for rest and checks the promises; a test that forgets it fails.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use siding::{
    http,
    seams::{self, Held, Seams},
    services::Services,
};
use siding_client::{Client, Submission};
use siding_core::{
    clock::SystemClock,
    config::Settings,
    id::{EventSeq, JobId, LaneName},
    job::State,
    model::catalog::Catalog,
    store::JobRecord,
};
use siding_worker::runtime::{ModelRuntime, scripted::Scripted};

use super::{
    cut::Cuttable,
    eventually,
    faults::{Disturbed, Faults, RECOVERY_MAX},
    invariants, models,
    profile::{Ground, Profile},
};

/// What differs from a usual system.
pub struct Options {
    /// What it stands on.
    pub profile: Profile,
    /// The settings; `Options::on` has short leases and polls.
    pub settings: Settings,
    /// What runs the models: scripts alone by default.
    pub runtime: Arc<dyn ModelRuntime>,
    /// Writes further models into the repository before it is opened.
    pub more_models: fn(&Path),
    /// How slow its callers may be.
    pub patience: http::Patience,
}

impl Options {
    /// Those of a usual system on this profile.
    #[must_use]
    pub fn on(profile: Profile) -> Self {
        let mut settings = Settings::default();
        settings.worker.scripted = true;
        settings.worker.slots = 2;
        settings.worker.drain_ms = 2_000;
        settings.server.unready_ms = 0;
        settings.dispatch.relay_poll_ms = 50;
        settings.dispatch.sweep_poll_ms = 50;
        settings.stream.poll_ms = 200;
        for lane in &mut settings.lanes {
            lane.lease_secs = 2;
        }
        Self { profile, settings, runtime: Arc::new(Scripted::new()), more_models: |_| {}, patience: http::Patience::default() }
    }
}

impl Default for Options {
    /// Those of a usual system that needs no server.
    fn default() -> Self {
        Self::on(Profile::Laptop)
    }
}

/// The system under test.
pub struct TestSystem {
    /// A client of its HTTP port.
    pub client: Client,
    /// Its address, as `http://…`.
    pub url: String,
    /// The seams that its services use.
    pub seams: Seams,
    /// The faults of its store.
    pub faults: Arc<Faults>,
    /// Its workers' connections to the broker.
    pub connections: Arc<Cuttable>,
    /// Its settings.
    pub settings: Settings,
    services: Option<Services>,
    /// Its models.
    pub catalog: Catalog,
    runtime: Arc<dyn ModelRuntime>,
    lanes: Vec<LaneName>,
    _held: Held,
    ground: Ground,
    finished: bool,
}

impl TestSystem {
    /// Starts a usual one that needs no server.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        Self::on(Profile::Laptop).await
    }

    /// Starts a usual one on this profile.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn on(profile: Profile) -> Self {
        Self::start_with(Options::on(profile)).await
    }

    /// Starts one. Its models: `scripted` (instant), `scripted-short`, `scripted-long` by their expected durations.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_with(options: Options) -> Self {
        let Options { profile, mut settings, runtime, more_models, patience } = options;
        let lanes: Vec<LaneName> = settings.lanes.iter().map(|lane| lane.name.clone()).collect();
        let ground = Ground::new(profile, &lanes).await;
        ground.put_into(&mut settings);
        let models = ground.folder().join("models");
        models::write_scripted(&models, "scripted", "1", 0.0);
        models::write_scripted(&models, "scripted-short", "1", 2_000.0);
        models::write_scripted(&models, "scripted-long", "1", 600_000.0);
        more_models(&models);
        let catalog = Catalog::open(&models, true, settings.models.versions.parse().expect("a policy"))
            .expect("the test's models are valid");
        let held = seams::hold(&ground.folder().join("data")).expect("a fresh folder is free");
        let opened = Seams::open(&ground.place(), &settings, Arc::new(SystemClock)).await;
        let mut seams = opened.unwrap_or_else(|error| panic!("{}", siding_core::error::chain(&error)));
        let connections = Cuttable::new(seams.consumer.clone());
        seams.consumer = connections.clone();
        let faults = Arc::new(Faults::default());
        let disturbed = Arc::new(Disturbed {
            faults: faults.clone(),
            submissions: seams.submissions.clone(),
            attempts: seams.attempts.clone(),
        });
        seams.submissions = disturbed.clone();
        seams.attempts = disturbed;
        let services = Services::start(&seams, &settings, &catalog, runtime.clone()).expect("the services start");
        let router = http::router(&services);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound port"));
        let stopping = services.front().clone();
        services.front().spawn(async move {
            http::serve(listener, router, stopping, patience).await.expect("the listener ends at the stop signal");
        });
        let client = Client::new(&url).expect("a valid address");
        let services = Some(services);
        Self {
            client,
            url,
            seams,
            faults,
            connections,
            settings,
            services,
            catalog,
            runtime,
            lanes,
            _held: held,
            ground,
            finished: false,
        }
    }

    /// Where its models lie.
    #[must_use]
    pub fn models(&self) -> std::path::PathBuf {
        self.ground.folder().join("models")
    }

    /// The services.
    ///
    /// # Panics
    /// When they were taken away.
    pub fn services(&mut self) -> &mut Services {
        self.services.as_mut().expect("they run")
    }

    /// The worker dies: nothing is recorded any more, its deliveries go back, its leases stay. A new one starts at once.
    ///
    /// # Panics
    /// When there is no worker or no new one can start.
    pub fn crash_worker(&mut self) {
        self.services().take_worker().expect("there is a worker").abandon();
        self.start_worker();
    }

    /// Starts a worker in place of one that was taken away.
    ///
    /// # Panics
    /// When it cannot start.
    pub fn start_worker(&mut self) {
        let (catalog, runtime) = (self.catalog.clone(), self.runtime.clone());
        self.services().start_worker(&catalog, runtime).expect("a worker starts");
    }

    /// Submits a script to a scripted model.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn submit(&self, model: &str, script: serde_json::Value) -> JobId {
        let submission = Submission::new(model, &script).expect("a script is JSON");
        self.submit_as(&submission).await
    }

    /// Submits.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn submit_as(&self, submission: &Submission) -> JobId {
        stored_id(self.client.submit(submission).await.expect("the submission is accepted").id)
    }

    /// Waits until the job is in this state.
    ///
    /// # Panics
    /// When it takes too long.
    pub async fn in_state(&self, job: JobId, state: State) -> JobRecord {
        eventually(&format!("the job is {state}"), RECOVERY_MAX, || async {
            let record = self.job(job).await;
            if record.state == state { Ok(record) } else { Err(format!("{record:?}")) }
        })
        .await
    }

    /// The kinds of the job's events, in order.
    ///
    /// # Panics
    /// When the store cannot be read.
    pub async fn event_kinds(&self, job: JobId) -> Vec<&'static str> {
        let events = self.seams.feed.events(job, EventSeq(0), 256).await.expect("the store can be read");
        events.iter().map(|event| event.kind.as_str()).collect()
    }

    /// The job as it is stored.
    ///
    /// # Panics
    /// When there is none.
    pub async fn job(&self, job: JobId) -> JobRecord {
        self.seams.jobs.get(job).await.expect("the store can be read").expect("the job exists")
    }

    /// Waits until the job is in a terminal state.
    ///
    /// # Panics
    /// When it takes too long.
    pub async fn ended(&self, job: JobId) -> JobRecord {
        eventually("the job ends", RECOVERY_MAX, || async {
            let record = self.job(job).await;
            if record.state.is_terminal() { Ok(record) } else { Err(format!("{record:?}")) }
        })
        .await
    }

    /// The files of its blob store.
    ///
    /// # Panics
    /// When its folder cannot be read.
    #[must_use]
    pub fn blob_files(&self) -> Vec<PathBuf> {
        let folder = match self.settings.blobs.folder.as_str() {
            "" => self.ground.folder().join("data").join("blobs"),
            folder => PathBuf::from(folder),
        };
        let entries =
            |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("a readable entry").path());
        // Two levels, as the blob store lays them out.
        entries(&folder).flat_map(|inner| entries(&inner).collect::<Vec<_>>()).filter(|path| path.is_file()).collect()
    }

    /// Takes the services away, to stop them in the test's own way; the test ends with `finish_stopped`.
    ///
    /// # Panics
    /// When they were taken before.
    pub fn take_services(&mut self) -> Services {
        self.services.take().expect("taken once")
    }

    /// Waits until everything accepted is over, checks the promises and stops the system.
    ///
    /// # Panics
    /// When something does not end, or a promise is broken.
    pub async fn finish(mut self) {
        let services = self.take_services();
        self.rest().await;
        services.stop().await.expect("the services stop in time");
        self.seams.close().await;
    }

    /// As `finish`, for a system whose services the test has stopped.
    ///
    /// # Panics
    /// When something has not ended, or a promise is broken.
    pub async fn finish_stopped(mut self) {
        assert!(self.services.is_none(), "the services still run: use finish()");
        self.rest().await;
        self.seams.close().await;
    }

    async fn rest(&mut self) {
        let seams = &self.seams;
        self.faults.heal();
        let check = || async {
            let found = invariants::violations(&*seams.jobs, &*seams.feed, &*seams.dispatch, &*seams.consumer, &self.lanes).await;
            if found.is_empty() { Ok(()) } else { Err(found.join("\n")) }
        };
        eventually("the system comes to rest with its promises kept", RECOVERY_MAX, check).await;
        self.finished = true;
    }

    /// How long a test waits at most for one thing.
    #[must_use]
    pub fn patience() -> Duration {
        RECOVERY_MAX
    }
}

impl Drop for TestSystem {
    fn drop(&mut self) {
        assert!(self.finished || std::thread::panicking(), "a test must end its system with finish(), which checks the promises");
    }
}

/// The job id of the client's words in the store's.
///
/// # Panics
/// Never: both hold a UUID.
#[must_use]
pub fn stored_id(id: siding_client::JobId) -> JobId {
    id.to_string().parse().expect("one id, one spelling")
}
