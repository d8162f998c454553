//! `siding models check`: which models are meant, how long each may take, and how the findings are printed. What is measured is decided in
//! `check`; this never asks a server, and never loads a model into its own process: it may be one that nobody knows yet.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use siding_core::{
    config::{Effective, Settings},
    drain::Drain,
    model::repository::{Broken, Model, Repository},
    telemetry,
};
use siding_worker::runtime::{ModelRuntime, RunControl};
use tokio::sync::oneshot;

use super::{args::CheckArgs, exit::Failed};
use crate::{
    check::{Checked, Report, check},
    output::{Format, Output, Paint, Table, human},
    process,
};

/// How long a model is waited for.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// To be checked.
    check: Duration,
    /// To end after it was told to stop, and then after its process was killed.
    end: Duration,
}

const END_PATIENCE: Duration = Duration::from_secs(5);

/// Models and folders that are to be checked.
#[derive(Debug, Default)]
struct Chosen {
    models: Vec<Arc<Model>>,
    broken: Vec<Broken>,
}

/// Runs the command.
pub async fn run(output: &Output, args: CheckArgs) -> Result<(), Failed> {
    telemetry::init_logs(telemetry::LogForm::Text, "error");
    let settings = Effective::load(&args.sources()).map_err(|error| Failed::Usage(error.to_string()))?.settings;
    let chosen = choose(&settings, &args.what)?;
    let runtime: Arc<dyn ModelRuntime> = Arc::new(process::isolated(&settings));
    let patience = Patience { check: Duration::from_secs(args.seconds), end: END_PATIENCE };
    let mut models = Vec::new();
    for model in chosen.models {
        output.note(&format!("checking {}/{}", model.manifest.name, model.manifest.version));
        models.push(check_within(patience, &model, runtime.clone()).await?);
    }
    let report = Report::new(models, &chosen.broken);
    match output.format {
        Format::Json | Format::Jsonl => output.json(&report)?,
        Format::Table => print(output, &report)?,
    }
    match report.problems() {
        0 => Ok(()),
        1 => Err(Failed::Ended("1 thing is wrong".into())),
        wrong => Err(Failed::Ended(format!("{wrong} things are wrong"))),
    }
}

/// Checks on a thread of its own. What takes longer is told to stop, then its process is killed; what is not to be killed either, a
/// model that is still being loaded, is given up, and its process ends with this one.
async fn check_within(patience: Patience, model: &Arc<Model>, runtime: Arc<dyn ModelRuntime>) -> anyhow::Result<Checked> {
    let (drain, control) = (Drain::new(), Arc::new(RunControl::new(drop)));
    let (answer, mut answered) = oneshot::channel();
    let (of_thread, checked) = (control.clone(), model.clone());
    // Nobody waits for the answer when it was given up, or when this command has ended already.
    drain.spawn_blocking(move || drop(answer.send(check(&checked, &*runtime, &of_thread))));
    let broke_off = "the check broke off";
    if let Ok(checked) = tokio::time::timeout(patience.check, &mut answered).await {
        return checked.context(broke_off);
    }
    control.stop();
    if let Ok(checked) = tokio::time::timeout(patience.end, &mut answered).await {
        return checked.context(broke_off);
    }
    control.kill();
    match tokio::time::timeout(patience.end, answered).await {
        Ok(checked) => checked.context(broke_off),
        Err(_) => Ok(Checked::given_up(model, format!("does not stop: it is still being loaded after {:.0?}", patience.check))),
    }
}

fn choose(settings: &Settings, what: &[String]) -> Result<Chosen, Failed> {
    let allow_scripted = settings.worker.scripted;
    let open = |folder: &Path| {
        Repository::open(folder, allow_scripted).map_err(|error| Failed::Usage(siding_core::error::chain(&error)))
    };
    let configured = || match settings.models_folder() {
        Some(folder) => open(&folder),
        None => Err(Failed::Usage("no model repository: name one with --models, or run `make setup`".into())),
    };
    let mut chosen = Chosen::default();
    if what.is_empty() {
        chosen.add(&configured()?, |_| true);
        if chosen.len() == 0 {
            return Err(Failed::Usage("the repository has no model".into()));
        }
    }
    for what in what {
        let (before, folder) = (chosen.len(), PathBuf::from(what));
        // `spin` is a name even where a folder `spin` lies about; a path says that it is one.
        let is_path = what.starts_with(['.', '/']) || (folder.is_dir() && what.parse::<siding_core::id::ModelName>().is_err());
        match is_path {
            true if has_manifest(&folder) => {
                let (repository, own) = around(&folder)?;
                chosen.add(&open(&repository)?, |place| place == own);
            }
            true => chosen.add(&open(&folder)?, |_| true),
            false => {
                let of_model = format!("{what}/");
                chosen.add(&configured()?, |place| place == what || place.starts_with(&of_model));
            }
        }
        // What is empty is most likely another folder than the one that was meant.
        if chosen.len() == before {
            let where_not = if is_path { "there is no model in" } else { "the repository has no model" };
            return Err(Failed::Usage(format!("{where_not} {what}")));
        }
    }
    Ok(chosen)
}

fn has_manifest(folder: &Path) -> bool {
    folder.join(siding_core::model::manifest::FILE_NAME).is_file()
}

/// The repository in which a version's folder is, and its `name/version` there.
fn around(folder: &Path) -> Result<(PathBuf, String), Failed> {
    let unusable = || Failed::Usage(format!("{} is no folder NAME/VERSION", folder.display()));
    let real = folder.canonicalize().map_err(|_| unusable())?;
    let (name, root) = (real.parent().ok_or_else(unusable)?, real.ancestors().nth(2).ok_or_else(unusable)?);
    let last = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).ok_or_else(unusable);
    Ok((root.to_path_buf(), format!("{}/{}", last(name)?, last(&real)?)))
}

impl Chosen {
    /// Adds what is at the places that are wanted, `name/version` each.
    fn add(&mut self, repository: &Repository, wanted: impl Fn(&str) -> bool) {
        let place = |model: &Model| format!("{}/{}", model.manifest.name, model.manifest.version);
        self.models.extend(repository.models().iter().filter(|model| wanted(&place(model))).cloned());
        self.broken.extend(repository.broken().iter().filter(|broken| wanted(&broken.folder)).cloned());
    }

    fn len(&self) -> usize {
        self.models.len() + self.broken.len()
    }
}

fn print(output: &Output, report: &Report) -> Result<(), Failed> {
    let mut table = Table::new(&["MODEL", "RUNNER", ">LOAD", ">LOADED", ">AFTER RUNS", ">SIZE", ">ONE RUN", ">MANIFEST SAYS"]);
    let bytes = |bytes: Option<u64>| bytes.map_or("-".to_owned(), human::bytes);
    for model in &report.models {
        let place = format!("{}/{}", model.name, model.version);
        let load = model.load_ms.map_or("-".to_owned(), human::duration);
        let of_model = [place, model.runner.to_string(), load, bytes(model.memory.loaded_bytes), bytes(model.memory.ran_bytes)];
        for index in 0..model.runs.len().max(1) {
            let [place, runner, load, loaded, ran] = if index == 0 { of_model.clone() } else { Default::default() };
            let [size, one, says] = model.runs.get(index).map_or(["-".to_owned(), "-".to_owned(), "-".to_owned()], |run| {
                [run.size.to_string(), time(run.ms), time(run.expected_ms)]
            });
            table.row([place, runner, load, loaded, ran, size, one, says]);
        }
    }
    if !report.models.is_empty() {
        output.table(&table)?;
    }
    for model in &report.models {
        let place = format!("{}/{}", model.name, model.version);
        if let Some(cost) = &model.cost {
            output.line(&format!("\n# {place}, as measured here on one thread\n{}", cost.toml().trim_end()))?;
        }
        for note in &model.notes {
            output.line(&output.paint(Paint::Busy, &format!("{place}: {note}")))?;
        }
        for problem in &model.problems {
            output.line(&output.paint(Paint::Bad, &format!("{place}: {problem}")))?;
        }
    }
    for broken in &report.broken {
        output.line(&output.paint(Paint::Bad, &format!("{}: {}", broken.folder, broken.error)))?;
    }
    Ok(())
}

fn time(ms: f64) -> String {
    if ms < 1.0 { format!("{:.0} us", ms * 1e3) } else { human::duration(ms) }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use siding_core::model::manifest::Manifest;
    use siding_worker::runtime::{LoadError, LoadedModel, RuntimeReport, scripted::Scripted};

    use super::*;

    /// Its loads wait for whoever holds the other end.
    struct Stuck(Mutex<mpsc::Receiver<()>>);

    impl ModelRuntime for Stuck {
        fn report(&self) -> RuntimeReport {
            Scripted::new().report()
        }

        fn load(&self, model: &Model) -> Result<Box<dyn LoadedModel>, LoadError> {
            let ended = self.0.lock().expect("one load").recv();
            Err(LoadError::new(model, format!("{ended:?}")))
        }
    }

    #[tokio::test]
    async fn a_model_that_is_loaded_for_ever_is_given_up_and_told_of() {
        let text = "name = \"m\"\nversion = \"1\"\ndescription = \"\"\nlicense = \"\"\nsource = \"\"\nrunner = \"scripted\"\n\
                    cost = { base_ms = 1 }\n";
        let model = Arc::new(Model::in_folder(Manifest::parse(text).expect("valid"), PathBuf::new()));
        let (held, waited_for) = mpsc::channel();
        let patience = Patience { check: Duration::from_millis(20), end: Duration::from_millis(1) };
        let found = check_within(patience, &model, Arc::new(Stuck(Mutex::new(waited_for)))).await.expect("an answer");
        assert_eq!(found.problems, ["does not stop: it is still being loaded after 20ms"]);
        drop(held);
    }
}
