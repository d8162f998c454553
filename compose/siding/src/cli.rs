//! The command line: reads it, runs one command, and turns its end into an exit code. It decides nothing that a command does.

pub mod args;
mod catalog;
mod check;
mod config;
mod dead;
pub mod exit;
mod jobs;
mod migrate;
mod submit;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use siding_client::Client;
use siding_core::{
    config::{Effective, Settings},
    telemetry,
};
use siding_worker::runtime::onnx::Options;

use self::{
    args::{BenchCommand, Cli, Command, Global, JobsCommand, Log, ModelsCommand, SettingsArgs},
    exit::Failed,
};
use crate::{
    bench, demo, doctor,
    output::Output,
    process::{self, Shape},
    seams::Seams,
    services::Role,
};

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    main_over(|seams| seams)
}

/// The same, with the seams of a process that serves wrapped first: for a test's program, which breaks at a seam on purpose.
pub fn main_over(wrap: fn(Seams) -> Seams) -> ExitCode {
    let cli = Cli::parse();
    match run(cli, wrap) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => failed.report(),
    }
}

fn run(cli: Cli, wrap: fn(Seams) -> Seams) -> Result<(), Failed> {
    if let Command::Completions { shell } = cli.command {
        return print_completions(shell);
    }
    if matches!(cli.command, Command::ModelProcess) {
        telemetry::init_logs(telemetry::LogForm::Text, "warn");
        // No executor and no thread of ours yet: the model has this process for itself.
        let settings = Settings::load(None).map_err(|error| Failed::Usage(error.to_string()))?;
        return siding_worker::runtime::isolated::serve::serve(Options::of(&settings)).map_err(Failed::from);
    }
    // One process does everything in laptop mode; the number of threads is the number of cores.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failed::from)?;
    let ended = runtime.block_on(run_async(cli, wrap));
    // Whatever was worth waiting for was waited for, with its bound. A thread that hangs in native code must not keep the process.
    runtime.shutdown_background();
    ended
}

async fn run_async(cli: Cli, wrap: fn(Seams) -> Seams) -> Result<(), Failed> {
    let output = Output::new(cli.global.output, cli.global.quiet);
    match cli.command {
        Command::Up(args) => serve(Shape::Up { data: args.data }, wrap, args.log, &args.settings).await,
        Command::Producer(args) => serve(Shape::One(Role::Producer), wrap, args.log, &args.settings).await,
        Command::Worker(args) => serve(Shape::One(Role::Worker), wrap, args.log, &args.settings).await,
        Command::Results(args) => serve(Shape::One(Role::Results), wrap, args.log, &args.settings).await,
        Command::Migrate(args) => migrate::run(&output, &args).await,
        Command::Submit(args) => submit::run(&client(&cli.global)?, &output, args).await,
        Command::Jobs { command } => run_jobs(&client(&cli.global)?, &output, command).await,
        Command::Config { command } => config::run(&output, command),
        Command::Dead { command } => dead::run(&client(&cli.global)?, &output, command).await,
        Command::Models { command } => run_models(&cli.global, &output, command.unwrap_or(ModelsCommand::List)).await,
        Command::Lanes => catalog::lanes(&client(&cli.global)?, &output).await,
        Command::Doctor(args) => doctor::run(&client(&cli.global)?, &output, args).await,
        Command::Demo(args) => demo::run(&output, args).await,
        Command::Bench { command } => {
            telemetry::init_logs(telemetry::LogForm::Text, "warn");
            match command {
                BenchCommand::Dispatch(args) => Ok(bench::dispatch::run(args.into()).await?),
                BenchCommand::Isolation(args) => Ok(bench::isolation::run(&args.into())?),
                BenchCommand::Inference(args) => Ok(bench::inference::run(args.into()).await?),
            }
        }
        Command::Completions { shell } => print_completions(shell),
        Command::ModelProcess => Err(Failed::Usage("a model process is started by a worker".into())),
    }
}

async fn serve(shape: Shape, wrap: fn(Seams) -> Seams, log: Log, args: &SettingsArgs) -> Result<(), Failed> {
    telemetry::init_logs(log.into(), "info");
    let settings = effective(args)?.settings;
    Ok(process::run(process::Options { shape, settings, wrap }).await?)
}

fn effective(args: &SettingsArgs) -> Result<Effective, Failed> {
    Effective::load(&args.sources()).map_err(|error| Failed::Usage(error.to_string()))
}

async fn run_jobs(client: &Client, output: &Output, command: JobsCommand) -> Result<(), Failed> {
    match command {
        JobsCommand::List(args) => jobs::list(client, output, args).await,
        JobsCommand::Get { id } => jobs::get(client, output, id).await,
        JobsCommand::Result { id } => jobs::result(client, output, id).await,
        JobsCommand::Watch(args) => watch::run(client, output, args).await,
        JobsCommand::Cancel { id } => jobs::cancel(client, output, id).await,
        JobsCommand::Retry { id, follow } => jobs::retry(client, output, id, &follow).await,
    }
}

async fn run_models(global: &Global, output: &Output, command: ModelsCommand) -> Result<(), Failed> {
    match command {
        ModelsCommand::List => catalog::models(&client(global)?, output).await,
        ModelsCommand::Show { model } => catalog::show(&client(global)?, output, &model).await,
        ModelsCommand::Load { model } => catalog::load(&client(global)?, output, &model).await,
        ModelsCommand::Unload { model } => catalog::unload(&client(global)?, output, &model).await,
        ModelsCommand::Check(args) => check::run(output, args).await,
    }
}

fn client(global: &Global) -> Result<Client, Failed> {
    Ok(Client::new(&global.server)?)
}

fn print_completions(shell: clap_complete::Shell) -> Result<(), Failed> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "siding", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script).map_err(Failed::from)
}
