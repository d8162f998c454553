//! Execution providers: which were asked for, with which options, and which can be used. It decides nothing silently: a provider is active or it is
//! refused with the reason, and the CPU is always there.

use std::path::Path;

use ort::{
    ep::{ArenaExtendStrategy, CPU, CUDA, ExecutionProviderDispatch, TensorRT, cuda},
    session::Session,
};
use siding_core::config::{Arena, ConvSearch, Cuda, Settings, Tensorrt};

use super::{library::Library, said};

/// What is asked of ONNX Runtime, for every session.
#[derive(Debug, Clone)]
pub struct Options {
    /// The providers in the order in which they take a model's nodes.
    pub providers: Vec<String>,
    /// Whether a model does not load where one of them cannot be used.
    pub is_required: bool,
    /// Threads of one run on the CPU.
    pub intra_threads: usize,
    /// CUDA's options.
    pub cuda: Cuda,
    /// TensorRT's.
    pub tensorrt: Tensorrt,
}

impl Options {
    /// Those of the settings.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        Self {
            providers: settings.worker.providers.0.clone(),
            is_required: settings.worker.providers_required,
            intra_threads: settings.worker.intra_threads,
            cuda: settings.cuda.clone(),
            tensorrt: settings.tensorrt.clone(),
        }
    }
}

/// What was asked for and what came of it.
#[derive(Debug)]
pub(super) struct Providers {
    pub options: Options,
    /// In the order in which they take nodes; the CPU is the last.
    pub active: Vec<String>,
    /// Each with the reason.
    pub refused: Vec<(String, String)>,
}

impl Providers {
    /// Tries each provider once, without a model: whether this library has it, and whether its own libraries can be loaded.
    pub(super) fn try_each(library: &Library, options: Options) -> Self {
        let (mut active, mut refused) = (Vec::new(), Vec::new());
        for name in options.providers.iter().filter(|name| *name != "cpu") {
            match preload(name, &options).and_then(|()| register(library, dispatch(name, &options))) {
                Ok(()) => active.push(name.clone()),
                Err(why) => refused.push((name.clone(), why)),
            }
        }
        active.push("cpu".into());
        Self { options, active, refused }
    }

    /// The active ones for one session, each an error when it fails after all.
    pub(super) fn dispatches(&self) -> Vec<ExecutionProviderDispatch> {
        self.active.iter().filter_map(|name| dispatch(name, &self.options)).collect()
    }

    /// The CPU alone.
    pub(super) fn cpu() -> Vec<ExecutionProviderDispatch> {
        vec![CPU::default().with_arena_allocator(true).build().error_on_failure()]
    }

    /// Whether a session may do without the others when they fail for its model.
    pub(super) fn may_fall_back(&self) -> bool {
        self.active.len() > 1 && !self.options.is_required
    }

    /// Why nothing may be loaded at all.
    pub(super) fn forbids(&self) -> Option<String> {
        let (name, why) = self.refused.first().filter(|_| self.options.is_required)?;
        Some(format!("the execution provider {name} is required (worker.providers_required) and not active: {why}"))
    }
}

/// `None` for a name that nobody knows.
fn dispatch(name: &str, options: &Options) -> Option<ExecutionProviderDispatch> {
    let provider = match name {
        "cpu" => return Providers::cpu().pop(),
        "cuda" => with_cuda(&options.cuda).build(),
        "tensorrt" => with_tensorrt(&options.tensorrt, options.cuda.device_id).build(),
        _ => return None,
    };
    // The default is to go on without a word.
    Some(provider.error_on_failure())
}

fn with_cuda(options: &Cuda) -> CUDA {
    let provider = CUDA::default()
        .with_device_id(options.device_id)
        .with_arena_extend_strategy(match options.arena {
            Arena::Doubling => ArenaExtendStrategy::NextPowerOfTwo,
            Arena::AsRequested => ArenaExtendStrategy::SameAsRequested,
        })
        .with_conv_algorithm_search(match options.conv_search {
            ConvSearch::Exhaustive => cuda::ConvAlgorithmSearch::Exhaustive,
            ConvSearch::Heuristic => cuda::ConvAlgorithmSearch::Heuristic,
            ConvSearch::Default => cuda::ConvAlgorithmSearch::Default,
        })
        .with_tf32(options.tf32);
    match usize::try_from(options.memory_bytes_max) {
        Ok(0) | Err(_) => provider,
        Ok(bytes) => provider.with_memory_limit(bytes),
    }
}

fn with_tensorrt(options: &Tensorrt, device_id: i32) -> TensorRT {
    let mut provider = TensorRT::default().with_device_id(device_id).with_fp16(options.fp16);
    if let Some(bytes) = usize::try_from(options.workspace_bytes_max).ok().filter(|bytes| *bytes > 0) {
        provider = provider.with_max_workspace_size(bytes);
    }
    if options.engine_cache.is_empty() {
        return provider.with_engine_cache(false);
    }
    provider.with_engine_cache(true).with_engine_cache_path(&options.engine_cache)
}

/// Loads the libraries that a provider will look for, where the settings say where they are.
fn preload(name: &str, options: &Options) -> Result<(), String> {
    let folder = Path::new(&options.cuda.libraries);
    if folder.as_os_str().is_empty() || !matches!(name, "cuda" | "tensorrt") {
        return Ok(());
    }
    cuda::preload_dylibs(Some(folder), Some(folder)).map_err(|error| format!("its libraries (cuda.libraries): {}", said(&error)))
}

fn register(library: &Library, provider: Option<ExecutionProviderDispatch>) -> Result<(), String> {
    let Some(provider) = provider else { return Err("not supported; supported: cuda, tensorrt, cpu".into()) };
    let builder = Session::builder(library.environment()).map_err(|error| said(&error))?;
    builder.with_execution_providers([provider]).map(drop).map_err(|error| said(&error.into()))
}
