//! `siding demo`: starts a server as a process of its own and shows what Siding is for: while one long job runs, many short ones on other
//! real models are answered at once; and when its worker is killed, the long job goes on from its last checkpoint. It uses only what any caller has (the SDK) and must never claim what it did not measure.

mod files;
mod load;
mod long;
mod magika;
mod report;
mod server;
mod short;

use std::{io::IsTerminal, path::PathBuf, time::Duration};

use siding_core::model::locate::{cache_dir, models_dir};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::{magika::Magika, server::Server};
use crate::{
    cli::{args::DemoArgs, exit::Failed},
    output::{Output, Paint},
};

/// A failed demo, as a sentence.
fn failed(text: impl Into<String>) -> Failed {
    Failed::Ended(text.into())
}

/// What ends a demo early.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Interrupts {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Runs the demo. The server is stopped and waited for however it ends.
pub async fn run(output: &Output, args: DemoArgs) -> Result<(), Failed> {
    let models = args.models.or_else(|| cache_dir().map(|cache| models_dir(&cache)));
    let models = models.ok_or_else(|| failed("no model repository: run `make setup`, or name one with --models"))?;
    // Everything that can be wrong without a server is found before one is started.
    let magika = Magika::load(&models)?;
    let files = files::find()?;
    let mut interrupts = Interrupts::listen()?;
    let folder = Folder::of(args.data)?;
    let mut server = Server::start(&models, &folder.path)?;
    let shown = tokio::select! {
        shown = show(output, &mut server, &magika, &files, Duration::from_secs(args.seconds)) => shown,
        () = interrupts.any() => Err(failed("interrupted")),
    };
    if shown.is_ok() && std::io::stdout().is_terminal() {
        output.line("")?;
        output.line(&output.paint(Paint::Busy, "The server is still up, so that you can look around. Ctrl-C stops it."))?;
        tokio::select! {
            () = interrupts.any() => {}
            () = server.ended() => {}
        }
    }
    let stopped = server.stop().await;
    shown.and(stopped)
}

async fn show(output: &Output, server: &mut Server, magika: &Magika, files: &[PathBuf], long: Duration) -> Result<(), Failed> {
    server.wait_until_ready().await?;
    let url = server.url.clone();
    output.line(&format!("Siding is up at {url} (one process: in-process broker, SQLite, one worker)."))?;
    let outcome = match load::run(server, output, magika, files, long).await {
        Ok(outcome) => outcome,
        // Whatever the caller met, a server that has ended by itself is the reason.
        Err(_) if server.has_ended() => {
            return Err(failed(format!("the server has ended in the middle.{}", server.end_of_log())));
        }
        Err(error) => return Err(error),
    };
    report::print(output, &url, &outcome)?;
    outcome.check().map_err(failed)
}

/// The demo's data folder: the caller's, or a temporary one that goes away with it.
struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    fn of(given: Option<PathBuf>) -> Result<Self, Failed> {
        let temporary = given.is_none();
        let path = given.unwrap_or_else(|| std::env::temp_dir().join(format!("siding-demo-{}", uuid::Uuid::now_v7())));
        std::fs::create_dir_all(&path).map_err(|error| failed(format!("{}: {error}", path.display())))?;
        Ok(Self { path, temporary })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            crate::output::complain(&format!("siding: {} is left behind: {error}", self.path.display()));
        }
    }
}
