//! `siding bench isolation --model M`: what a process of its own costs a model, without the rest of the system. The same input is run in this
//! process and in a model process by turns, so that a busy neighbour disturbs both alike.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde::Serialize;
use siding_core::{
    config::Settings,
    model::repository::{Model, Repository},
};
use siding_worker::runtime::{LoadedModel, ModelRuntime, RunControl, choose::Runtimes};

use super::{Durations, Quantiles, print_line};
use crate::process::isolated;

/// How the bench is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The model's name; its newest version is measured.
    pub model: String,
    /// The repository; the one of the settings when `None`.
    pub models: Option<std::path::PathBuf>,
    /// A job's input as JSON text; the manifest's example when `None`.
    pub input: Option<String>,
    /// Runs in each of the two places.
    pub runs: usize,
}

#[derive(Debug, Clone, Serialize)]
struct Line {
    bench: &'static str,
    model: String,
    runs: usize,
    /// Loading in this process, and starting a process that loads.
    load_here_ms: f64,
    load_apart_ms: f64,
    /// One run in this process, and one in a process of its own.
    here: Quantiles,
    apart: Quantiles,
    /// What the process adds, at the median.
    added_p50_ms: f64,
}

/// Runs the bench and prints one line.
///
/// # Errors
/// When the model cannot be loaded, does not run, or gives another output in a process of its own.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let settings = Settings::load(None)?;
    let folder = options.models.clone().or_else(|| settings.models_folder());
    let folder = folder.context("no model repository: name one with --models, or run `make setup`")?;
    let model = Repository::open(&folder, false)?.resolve(&options.model.parse()?, None)?;
    let input = options.input.clone().or_else(|| model.manifest.example.clone());
    let input = input.context("the manifest has no example: name an input with --input")?;
    let (mut here, load_here) = loaded(&Runtimes::of_settings(&settings), &model)?;
    let (mut apart, load_apart) = loaded(&isolated(&settings), &model)?;
    ensure!(
        once(&mut *here, &input)?.0 == once(&mut *apart, &input)?.0,
        "the model gives another output in a process of its own"
    );
    let (mut in_here, mut in_apart) = (Durations::default(), Durations::default());
    for _ in 0..options.runs {
        in_here.add(once(&mut *here, &input)?.1);
        in_apart.add(once(&mut *apart, &input)?.1);
    }
    let (here, apart) = (in_here.quantiles(), in_apart.quantiles());
    print_line(&Line {
        bench: "isolation",
        model: options.model.clone(),
        runs: options.runs,
        load_here_ms: load_here.as_secs_f64() * 1e3,
        load_apart_ms: load_apart.as_secs_f64() * 1e3,
        here,
        apart,
        added_p50_ms: apart.p50_ms - here.p50_ms,
    })
}

fn loaded(runtime: &dyn ModelRuntime, model: &Arc<Model>) -> anyhow::Result<(Box<dyn LoadedModel>, Duration)> {
    let started = Instant::now();
    let loaded = runtime.load(model)?;
    Ok((loaded, started.elapsed()))
}

fn once(model: &mut dyn LoadedModel, input: &str) -> anyhow::Result<(String, Duration)> {
    let started = Instant::now();
    let output = model.run(input, &RunControl::new(drop))?;
    Ok((output, started.elapsed()))
}
