//! The runner `text` with a real model that others made and with a small one that can be checked by hand: equal to what Python's onnxruntime
//! and tokenizers compute (worker/models/reference.py), step by step, over saved states, and with tokenizers that are none.

mod odd;

use std::fs;

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::Deserialize;
use siding_core::{
    limits,
    model::locate,
    tensor::{Tensor, TensorData, Tensors},
};
use siding_worker::runtime::{LoadedModel, ModelRuntime, RunControl, RunError, RunReport, State, Step};

use super::{Variant, committed, model, run, runtimes, sha256};

/// How far a number may be from the reference's: float32 in another order of adding.
const TOLERANCE: f64 = 1e-4;

/// An embedding model's output, and the reference in the same form.
#[derive(Debug, Deserialize, PartialEq)]
pub(super) struct Embeddings {
    #[serde(default)]
    texts: Vec<String>,
    embeddings: Vec<Vec<f64>>,
    tokens: Vec<usize>,
    truncated: Vec<bool>,
}

#[derive(Debug, Deserialize)]
struct Classifications {
    #[serde(default)]
    texts: Vec<String>,
    classifications: Vec<Vec<Label>>,
    tokens: Vec<usize>,
}

#[derive(Debug, Deserialize)]
struct Label {
    label: String,
    score: f64,
}

pub(super) fn minilm() -> std::sync::Arc<siding_core::model::repository::Model> {
    model(&locate::models_dir(&locate::cache_dir().expect("HOME is set")), "minilm")
}

pub(super) fn input(texts: &[impl AsRef<str>]) -> String {
    let texts: Vec<_> = texts.iter().map(AsRef::as_ref).collect();
    serde_json::json!({ "texts": texts }).to_string()
}

fn parse<'a, T: Deserialize<'a>>(output: &'a str) -> T {
    serde_json::from_str(output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

/// Of vectors of length 1, their cosine.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn farthest(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn embeddings_are_the_references_alone_and_together() {
    let reference: Embeddings = parse(include_str!("reference/minilm.json"));
    let mut minilm = runtimes().load(&minilm()).unwrap_or_else(|error| panic!("{error}"));
    let together: Embeddings = parse(&run(&mut *minilm, &input(&reference.texts)).expect("runs"));
    assert_eq!((&together.tokens, &together.truncated), (&reference.tokens, &reference.truncated));
    for (index, expected) in reference.embeddings.iter().enumerate() {
        let alone: Embeddings = parse(&run(&mut *minilm, &input(&reference.texts[index..=index])).expect("runs"));
        for found in [&together.embeddings[index], &alone.embeddings[0]] {
            let (cosine, far) = (dot(found, expected), farthest(found, expected));
            assert!(cosine > 0.9999 && far < TOLERANCE, "text {index}: cosine {cosine}, {far} apart");
            assert!((dot(found, found) - 1.0).abs() < 1e-5, "length 1");
        }
    }
    // What the makers of the model publish for these texts, which int8 weights meet to two digits.
    let [weather, sunny, stadium] = [1, 2, 3].map(|index| &together.embeddings[index]);
    for (a, b, published) in [(weather, sunny, 0.6660), (weather, stadium, 0.1046), (sunny, stadium, 0.1411)] {
        assert!((dot(a, b) - published).abs() < 0.02, "{} for {published}", dot(a, b));
    }
}

#[test]
fn labels_are_the_references_and_sorted_by_score() {
    let reference: Classifications = parse(include_str!("reference/tone.json"));
    let mut tone = runtimes().load(&model(&committed(), "tone")).unwrap_or_else(|error| panic!("{error}"));
    let found: Classifications = parse(&run(&mut *tone, &input(&reference.texts)).expect("runs"));
    assert_eq!((&found.tokens, found.classifications.len()), (&reference.tokens, reference.texts.len()));
    for (found, expected) in found.classifications.iter().zip(&reference.classifications) {
        let labels = |labels: &[Label]| labels.iter().map(|label| label.label.clone()).collect::<Vec<_>>();
        let scores = |labels: &[Label]| labels.iter().map(|label| label.score).collect::<Vec<_>>();
        assert_eq!(labels(found), labels(expected));
        assert!(farthest(&scores(found), &scores(expected)) < TOLERANCE, "{found:?}, not {expected:?}");
    }
    let found = run(&mut *tone, r#"{"text":"The job failed.","top_k":1}"#).expect("runs");
    let found: Classifications = parse(&found);
    assert_eq!((found.classifications.len(), found.classifications[0].len()), (1, 1));
    assert_eq!(found.classifications[0][0].label, "negative");
}

/// Runs from `from`: the states after each step, and the output.
fn stepped(model: &mut dyn LoadedModel, input: &str, from: Option<State>) -> (Vec<State>, String) {
    let mut computation = model.begin(input, from).unwrap_or_else(|error| panic!("{error}"));
    let (mut states, mut before) = (Vec::new(), 0);
    loop {
        match computation.step(&RunControl::new(drop)).unwrap_or_else(|error| panic!("{error}")) {
            Step::Done(output) => return (states, output),
            Step::More(progress) => {
                assert!(before < progress.done && Some(progress.done) < progress.total, "{progress:?} after {before}");
                before = progress.done;
                states.push(computation.save().expect("can be divided"));
            }
        }
    }
}

#[test]
fn a_job_goes_on_from_any_saved_state_to_the_identical_output() {
    // Micro-batches of one length each, and more of one length than fit into one.
    let texts: Vec<_> = (0..60).map(|index| "siding ".repeat([3, 12, 40, 200][index % 4])).collect();
    let input = input(&texts);
    let mut minilm = runtimes().load(&minilm()).unwrap_or_else(|error| panic!("{error}"));
    let (states, expected) = stepped(&mut *minilm, &input, None);
    assert!(states.len() > 8, "{} states", states.len());
    let begin = minilm.begin(&input, None).expect("begins").save().expect("can be divided");
    for state in states.iter().step_by(7).chain([&begin, states.last().expect("several")]) {
        let tensors = Tensors::from_bytes(&state.tensors.to_bytes()).expect("ours");
        let (left, output) = stepped(&mut *minilm, &input, Some(State { tensors, note: state.note.clone() }));
        assert!(left.len() < states.len() || *state == begin);
        assert!(output == expected, "another output after {} of {} steps", states.len() - left.len(), states.len());
    }
}

#[test]
fn a_state_that_is_none_of_this_job_is_refused() {
    let runtimes = runtimes();
    let mut tone = runtimes.load(&model(&committed(), "tone")).unwrap_or_else(|error| panic!("{error}"));
    let texts = ["job", "the worker of the queue is on the job with the model", "done"];
    let (states, _) = stepped(&mut *tone, &input(&texts), None);
    let good = &states[0];
    let tensors = |texts: TensorData, width: usize, numbers: Vec<f32>| {
        let mut tensors = Tensors::new();
        let shape = vec![numbers.len() / width, width];
        tensors.push("texts", Tensor::new(vec![texts.len()], texts).expect("fits")).expect("unique");
        tensors.push("numbers", Tensor::new(shape, TensorData::Fp32(numbers)).expect("fits")).expect("unique");
        tensors
    };
    let indices = |texts: &[u64]| TensorData::Uint64(texts.to_vec());
    let rows = [
        ("another job", State { note: "4".into(), ..good.clone() }),
        ("no note", State { note: String::new(), ..good.clone() }),
        ("no tensors", State { tensors: Tensors::new(), ..good.clone() }),
        ("other types", State { tensors: tensors(TensorData::Int64(vec![0]), 3, vec![0.0; 3]), ..good.clone() }),
        ("other labels", State { tensors: tensors(indices(&[0]), 2, vec![0.0; 2]), ..good.clone() }),
        ("more rows than texts", State { tensors: tensors(indices(&[0]), 3, vec![0.0; 6]), ..good.clone() }),
        ("a text beyond the last", State { tensors: tensors(indices(&[3]), 3, vec![0.0; 3]), ..good.clone() }),
        ("a text twice", State { tensors: tensors(indices(&[0, 0]), 3, vec![0.0; 6]), ..good.clone() }),
        ("a number that is none", State { tensors: tensors(indices(&[0]), 3, vec![f32::NAN; 3]), ..good.clone() }),
    ];
    for (what, state) in rows {
        let refused = tone.begin(&input(&texts), Some(state)).err();
        assert!(matches!(refused, Some(RunError::BadCheckpoint(_))), "{what}: {refused:?}");
    }
    assert!(tone.begin(&input(&texts), Some(good.clone())).is_ok());
}

#[test]
fn progress_counts_texts() {
    let mut tone = runtimes().load(&model(&committed(), "tone")).unwrap_or_else(|error| panic!("{error}"));
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = told.clone();
    let control = RunControl::new(move |report| sink.lock().expect("not poisoned").push(report));
    let texts: Vec<_> = [1, 20, 40, 1].map(|words| "job ".repeat(words)).into();
    tone.run(&input(&texts), &control).expect("runs");
    let progress = |done| RunReport::Progress { done, total: Some(4) };
    assert_eq!(*told.lock().expect("not poisoned"), [progress(2), progress(3)]);
}

/// `tone` with another tokenizer or section, whose digests are right.
fn variant(tokenizer: &[u8], from: &str, to: &str) -> Variant {
    let read = |file: &str| fs::read(committed().join("tone/1").join(file)).expect("committed");
    let manifest = String::from_utf8(read("model.toml")).expect("text");
    assert!(manifest.contains(from), "{from}");
    let manifest = manifest.replacen(from, to, 1).replace(&sha256(&read("tokenizer.json")), &sha256(tokenizer));
    Variant::new("tone", &manifest, &[("model.onnx", &read("model.onnx")), ("tokenizer.json", tokenizer)])
}

/// One token before and one behind each text.
const AROUND: &str = r#""post_processor": {"type": "BertProcessing", "sep": ["[UNK]", 1], "cls": ["[UNK]", 1]}"#;

fn tokenizer() -> Vec<u8> {
    fs::read(committed().join("tone/1/tokenizer.json")).expect("committed")
}

#[test]
fn a_tokenizer_that_is_none_is_an_error_of_loading_and_never_a_panic() {
    let runtimes = runtimes();
    let good = String::from_utf8(tokenizer()).expect("text");
    let padding = r#""padding": {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": null, "pad_id": 7, "pad_type_id": 0, "pad_token": "x"}"#;
    let rows = [
        (good.clone(), "", "", None),
        (String::new(), "", "", Some("tokenizer.json: is no tokenizer")),
        ("{}".into(), "", "", Some("is no tokenizer")),
        (good.replace("WordLevel", "Wordy"), "", "", Some("is no tokenizer")),
        (good.replace("\"padding\": null", padding), "", "", Some("pads with 7; text.pad_id says 0")),
        (good.replace("\"padding\": null", padding), "tokens_max", "pad_id = 7\ntokens_max", None),
        (
            good.replace("\"post_processor\": null", AROUND),
            "tokens_max = 64",
            "tokens_max = 2",
            Some("puts 2 tokens around a text"),
        ),
        (good.replace("\"post_processor\": null", AROUND), "tokens_max = 64", "tokens_max = 3", None),
        (good.replace("\"[PAD]\": 0", "\"[PAD]\": 4000000000"), "", "", Some("has the id 4000000000")),
        // Unknown words without a token for them: no text but its own words could be read.
        (good.replace("\"unk_token\": \"[UNK]\"", "\"unk_token\": \"[WHAT]\""), "", "", Some("tokenizer.json: ")),
    ];
    for (tokenizer, from, to, expected) in rows {
        let found = runtimes.load(&variant(tokenizer.as_bytes(), from, to).model()).err().map(|error| error.to_string());
        assert_eq!(found.is_some(), expected.is_some(), "{found:?}, not {expected:?}");
        assert!(found.clone().unwrap_or_default().contains(expected.unwrap_or_default()), "{found:?}, not {expected:?}");
    }
    let seed = 25;
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut loaded, mut errors) = (0, 0);
    for round in 0..200 {
        let mut bytes = tokenizer();
        if round < 100 {
            bytes.truncate(rng.random_range(0..bytes.len()));
        } else {
            let at = rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << rng.random_range(0..8);
        }
        match runtimes.load(&variant(&bytes, "", "").model()) {
            Ok(mut model) => {
                drop(run(&mut *model, r#"{"text":"The job failed, this is great!"}"#));
                loaded += 1;
            }
            Err(error) => {
                assert!(error.to_string().contains("model tone version 1 cannot be loaded: tokenizer.json"), "{error}");
                errors += 1;
            }
        }
    }
    assert!(loaded > 0 && errors > 100, "{loaded} loaded, {errors} errors: the changes must reach both");
}

#[test]
fn a_tokenizer_is_a_file_of_the_model_with_its_digest() {
    let runtimes = runtimes();
    let variant = variant(&tokenizer(), "", "");
    let before = variant.model();
    fs::write(variant.path("tokenizer.json"), "{}").expect("writes");
    let refused = |model| runtimes.load(model).err().map(|error| error.to_string()).expect("must not load");
    assert!(refused(&before).contains("tokenizer.json has the SHA-256"));
    fs::remove_file(variant.path("tokenizer.json")).expect("removes");
    let broken = |variant: &Variant| {
        let repository = siding_core::model::repository::Repository::open(variant.folder.path(), false).expect("a folder");
        repository.broken().first().map(|broken| broken.why.clone()).unwrap_or_default()
    };
    assert!(broken(&variant).contains("file: tokenizer.json: is missing"), "{}", broken(&variant));
    std::os::unix::fs::symlink(committed().join("tone/1/tokenizer.json"), variant.path("tokenizer.json")).expect("links");
    assert!(broken(&variant).contains("file: tokenizer.json: leads out of its folder"), "{}", broken(&variant));
    assert!(refused(&before).contains("leads out of its folder"));
}

#[test]
fn whose_fault_a_failed_run_is() {
    let runtimes = runtimes();
    let good = String::from_utf8(tokenizer()).expect("text");
    let mut tone = runtimes.load(&model(&committed(), "tone")).unwrap_or_else(|error| panic!("{error}"));
    let blank = run(&mut *tone, r#"{"texts":["job"," "]}"#);
    assert_eq!(blank, Err(RunError::BadInput("/texts/1 has no tokens".into())));
    assert!(run(&mut *tone, r#"{"text":"job"}"#).is_ok());
    // The caller gave a text like any other: the tokenizer is another model's.
    let foreign = variant(good.replace("\"worse\": ", "\"worse\": 9").as_bytes(), "", "");
    let mut foreign = runtimes.load(&foreign.model()).unwrap_or_else(|error| panic!("{error}"));
    let failed = run(&mut *foreign, r#"{"text":"worse"}"#);
    assert!(matches!(&failed, Err(RunError::Failed(why)) if why.contains("refuses what its tokenizer gives")), "{failed:?}");
    assert!(run(&mut *foreign, r#"{"text":"job"}"#).is_ok());
}

#[test]
fn what_is_cut_off_is_said_with_and_without_tokens_around_the_text() {
    let runtimes = runtimes();
    let good = String::from_utf8(tokenizer()).expect("text");
    let around = good.replace("\"post_processor\": null", AROUND);
    for (what, tokenizer, words_max) in [("none around", &good, 64), ("two around", &around, 62)] {
        let mut model = runtimes.load(&variant(tokenizer.as_bytes(), "", "").model()).unwrap_or_else(|error| panic!("{error}"));
        for (words, truncated) in
            [(words_max, false), (words_max + 1, true), (words_max + 2, true), (limits::TEXT_BYTES_MAX / 4, true)]
        {
            let output = run(&mut *model, &input(&["job ".repeat(words)])).expect("runs");
            let ends = format!("\"tokens\":[64],\"truncated\":[{truncated}]}}");
            assert!(output.ends_with(&ends), "{what}, {words} words: {output}");
        }
    }
}
