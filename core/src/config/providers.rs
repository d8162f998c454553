//! Settings of execution providers: what their options are called here, and how a model process is told them. It decides no default
//! (`defaults.toml`) and knows nothing of ONNX Runtime.

use serde::Deserialize;

use super::Settings;

/// CUDA's options, as ONNX Runtime has them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cuda {
    /// Which device; TensorRT uses the same one.
    pub device_id: i32,
    /// Most bytes of each session's arena on the device; 0 for no bound.
    pub memory_bytes_max: u64,
    /// How the arena grows.
    pub arena: Arena,
    /// How cuDNN looks for the algorithm of a convolution.
    pub conv_search: ConvSearch,
    /// Whether matrix products may use TensorFloat-32, which rounds.
    pub tf32: bool,
    /// The folder with CUDA's and cuDNN's libraries, loaded before ONNX Runtime asks for them; empty for the system's.
    pub libraries: String,
}

/// How an arena grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Arena {
    /// To the next power of two.
    Doubling,
    /// By what was asked for.
    AsRequested,
}

impl Arena {
    fn as_str(self) -> &'static str {
        match self {
            Self::Doubling => "doubling",
            Self::AsRequested => "as_requested",
        }
    }
}

impl TryFrom<String> for Arena {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        match word.as_str() {
            "doubling" => Ok(Self::Doubling),
            "as_requested" => Ok(Self::AsRequested),
            _ => Err("must be doubling or as_requested"),
        }
    }
}

/// How cuDNN looks for an algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ConvSearch {
    /// It tries them all, on the first run of each shape.
    Exhaustive,
    /// It guesses.
    Heuristic,
    /// It takes its default.
    Default,
}

impl ConvSearch {
    fn as_str(self) -> &'static str {
        match self {
            Self::Exhaustive => "exhaustive",
            Self::Heuristic => "heuristic",
            Self::Default => "default",
        }
    }
}

impl TryFrom<String> for ConvSearch {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        match word.as_str() {
            "exhaustive" => Ok(Self::Exhaustive),
            "heuristic" => Ok(Self::Heuristic),
            "default" => Ok(Self::Default),
            _ => Err("must be exhaustive, heuristic or default"),
        }
    }
}

/// TensorRT's options, as ONNX Runtime has them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensorrt {
    /// Whether it may compute in 16 bits.
    pub fp16: bool,
    /// Most bytes that it may use to look for the best kernels; 0 for its default.
    pub workspace_bytes_max: u64,
    /// The folder where built engines are kept, which take minutes to build; empty to build them at each load.
    pub engine_cache: String,
}

impl Settings {
    /// What a model process needs to know of providers and threads, as variables that `load` reads again.
    #[must_use]
    pub fn of_providers(&self) -> Vec<(String, String)> {
        let (worker, cuda, tensorrt) = (&self.worker, &self.cuda, &self.tensorrt);
        let rows = [
            ("WORKER__PROVIDERS", worker.providers.0.join(",")),
            ("WORKER__PROVIDERS_REQUIRED", worker.providers_required.to_string()),
            ("WORKER__INTRA_THREADS", worker.intra_threads.to_string()),
            ("CUDA__DEVICE_ID", cuda.device_id.to_string()),
            ("CUDA__MEMORY_BYTES_MAX", cuda.memory_bytes_max.to_string()),
            ("CUDA__ARENA", cuda.arena.as_str().to_owned()),
            ("CUDA__CONV_SEARCH", cuda.conv_search.as_str().to_owned()),
            ("CUDA__TF32", cuda.tf32.to_string()),
            ("CUDA__LIBRARIES", cuda.libraries.clone()),
            ("TENSORRT__FP16", tensorrt.fp16.to_string()),
            ("TENSORRT__WORKSPACE_BYTES_MAX", tensorrt.workspace_bytes_max.to_string()),
            ("TENSORRT__ENGINE_CACHE", tensorrt.engine_cache.clone()),
        ];
        rows.into_iter().map(|(name, value)| (format!("SIDING_{name}"), value)).collect()
    }
}
