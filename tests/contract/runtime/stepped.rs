//! Models that others made, run in steps: each gives what a plain loop in Python gives, and a loop that is cut and goes on from what was saved
//! gives it bit for bit.

use std::{
    f64::consts::PI,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use siding_core::{
    model::{locate, manifest::Manifest, repository::Model},
    tensor::Tensors,
};
use siding_worker::runtime::{LoadedModel, ModelRuntime, RunControl, RunError, RunReport, State, Step, onnx::Onnx};

use super::{Variant, committed, model, run, runtimes, stopped};

/// How far numbers may be from the reference's: another order of sums, on another machine.
const TOLERANCE: f64 = 1e-4;

/// The model `spin` in a loop: each turn begins with what the turn before gave.
pub(super) fn wheel() -> Variant {
    let folder = committed().join("spin/1");
    let spin = std::fs::read_to_string(folder.join("model.toml")).expect("committed");
    let manifest = spin[..spin.find("[cost]").expect("a cost")]
        .replace("\"spin\"", "\"wheel\"")
        .replace("\"tensor\"", "\"stepped\"")
        .replace("\"batch\"", "1")
        + "[stepped]\nemit = 4\ncount = { steps = 1, steps_max = 1000000 }\n\
           [[stepped.state]]\ninput = \"x\"\noutput = \"y\"\ninitial = 0.125\n\
           [[stepped.collect]]\noutput = \"y\"\n[cost]\nbase_ms = 0\nper_unit_ms = 1\n";
    Variant::new("wheel", &manifest, &[("model.onnx", &std::fs::read(folder.join("model.onnx")).expect("committed"))])
}

pub(super) fn turns(steps: u64, iters: i64) -> String {
    json!({ "steps": steps, "iters": { "shape": [], "data": [iters] } }).to_string()
}

fn fetched(name: &str) -> Arc<Model> {
    model(&locate::models_dir(&locate::cache_dir().expect("HOME is set")), name)
}

fn reference() -> Value {
    serde_json::from_str(include_str!("reference/stepped.json")).expect("committed")
}

/// Each run is a step.
fn finely() -> Onnx {
    Onnx::open("", &["cpu"]).expect("run `make setup`").with_step_ms(0)
}

fn load(name: &str) -> Box<dyn LoadedModel> {
    runtimes().load(&fetched(name)).unwrap_or_else(|error| panic!("{error}"))
}

fn answer(loaded: &mut dyn LoadedModel, input: &Value) -> Value {
    let output = run(loaded, &input.to_string()).unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_str(&output).expect("JSON")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("an array").iter().map(|number| number.as_f64().expect("a number")).collect()
}

fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    let differ = |(found, expected): &(&f64, &f64)| (*found - *expected).abs() > tolerance;
    let worst = found.iter().zip(expected).enumerate().find(|(_, pair)| differ(pair));
    assert_eq!(worst, None, "the first that differs");
}

fn tensor(shape: &[usize], data: &[f32]) -> Value {
    json!({ "shape": shape, "data": data })
}

/// What `worker/models/reference_stepped.py` calls speech.
fn speech(seconds: usize) -> Vec<f32> {
    let sample = |index: usize| {
        let at = index as f64 / 16000.0;
        let harmonic = |number: f64| {
            let hertz = 120.0 * number;
            let formant = |formant: f64| (-((hertz - formant) / 150.0).powi(2)).exp();
            let weight = formant(600.0) + formant(1200.0) + formant(2500.0) + 0.02;
            weight * (2.0 * PI * hertz * at + 3.0 * (2.0 * PI * 3.0 * at).sin()).sin()
        };
        let signal: f64 = (1..26).map(|number| harmonic(f64::from(number))).sum();
        if at < 1.0 { 0.0 } else { (0.1 * signal * (PI * 4.0 * at).sin().powi(2)) as f32 }
    };
    (0..seconds * 16000).map(sample).collect()
}

fn chords() -> Vec<f32> {
    let sample = |index: usize| {
        let at = index as f64 / 22050.0;
        let tone = |hertz: f64| (1..4).map(|n| (2.0 * PI * hertz * f64::from(n) * at).sin() / f64::from(n)).sum::<f64>();
        (if at < 1.0 { tone(440.0) } else { tone(523.25) + tone(659.25) }) as f32 * 0.2
    };
    (0..55125).map(sample).collect()
}

fn heard(samples: &[f32]) -> Value {
    json!({ "input": tensor(&[1, samples.len()], samples) })
}

fn played(samples: &[f32]) -> Value {
    json!({ "serving_default_input_2:0": tensor(&[1, samples.len(), 1], samples) })
}

#[test]
fn speech_is_told_from_silence_as_in_the_reference() {
    let output = answer(&mut *load("silero-vad"), &heard(&speech(3)));
    let (found, expected) = (numbers(&output["output"]["data"]), numbers(&reference()["silero-vad"]));
    close(&found, &expected, TOLERANCE);
    let loudest = |part: &[f64]| part.iter().copied().fold(0.0, f64::max);
    assert!(loudest(&found[..30]) < 0.1 && loudest(&found[32..]) > 0.5, "{found:?}");
}

#[test]
fn notes_are_told_as_in_the_reference() {
    let output = answer(&mut *load("basic-pitch"), &played(&chords()));
    let notes = &output["StatefulPartitionedCall:1"];
    let reference = &reference()["basic-pitch"];
    assert_eq!(notes["shape"], json!([1, reference["frames"], 88]));
    let frames = numbers(&notes["data"]);
    let keys: Vec<f64> = (0..88).map(|key| frames.iter().skip(key).step_by(88).sum()).collect();
    close(&keys, &numbers(&reference["keys"]), 0.01);
    // A4, C5 and E5 are keys 48, 51 and 55 from A0; C5 and E5 sound for 1.5 s of 2.5.
    let mut by_sound: Vec<usize> = (0..88).collect();
    by_sound.sort_by(|&a, &b| keys[b].total_cmp(&keys[a]));
    by_sound.truncate(3);
    by_sound.sort_unstable();
    assert_eq!(by_sound, [48, 51, 55]);
}

#[test]
fn names_are_written_as_their_package_writes_them() {
    let mut loaded = load("romanizer");
    for name in reference()["romanizer"].as_array().expect("names") {
        let output = answer(&mut *loaded, &json!({ "text": name["text"] }));
        assert_eq!((&output["text"], &output["ended"]), (&name["is"], &json!("stop")));
    }
    let short = answer(&mut *loaded, &json!({ "text": "محمد", "tokens_max": 3 }));
    assert_eq!((&short["text"], &short["ended"]), (&json!("Moh"), &json!("tokens_max")));
}

#[test]
fn a_landscape_out_of_a_seed_is_the_references() {
    let reference = &reference()["terrain"];
    let input = json!({ "seed": reference["seed"], "steps": reference["steps"], "difficulty": tensor(&[1], &[0.7]) });
    let output = answer(&mut *load("terrain"), &input);
    assert_eq!(output["denoised"]["shape"], json!([1, 1, 128, 128]));
    let all = numbers(&output["denoised"]["data"]);
    let every_eighth: Vec<f64> = (0..256).map(|index| all[index / 16 * 8 * 128 + index % 16 * 8]).collect();
    close(&every_eighth, &numbers(&reference["every_eighth"]), 0.005);
}

#[test]
fn a_cache_that_grows_gives_what_all_tokens_at_once_give() {
    let mut loaded = runtimes().load(&model(&committed(), "babble")).expect("loads");
    let reference = &reference()["babble"];
    let output = answer(&mut *loaded, &json!({ "text": reference["text"], "tokens_max": 24 }));
    assert_eq!(output["tokens"], reference["tokens"]);
}

/// The lane is chosen by the number of runs, so nothing else that a caller says may make a run longer.
#[test]
fn a_job_of_a_committed_model_is_as_long_as_its_number_of_runs_says() {
    let rows = [
        (include_str!("../../../worker/models/terrain/1/model.toml"), "difficulty", vec![1], 5.0),
        (include_str!("../../../worker/models/silero-vad/1/model.toml"), "input", vec![1, 1024], 2.0),
        (include_str!("../../../worker/models/basic-pitch/1/model.toml"), "serving_default_input_2:0", vec![1, 8, 1], 1.0),
    ];
    for (manifest, input, mut shape, runs) in rows {
        let manifest = Manifest::parse(manifest).expect("committed");
        let size = |shape: &[usize]| {
            let given = tensor(shape, &vec![0.5; shape.iter().product()]);
            manifest.check_input(&json!({ input: given }).to_string())
        };
        assert_eq!(size(&shape), Ok(runs), "{}", manifest.name);
        shape[0] = 1024;
        assert!(size(&shape).is_err(), "{}: many at once", manifest.name);
    }
}

/// What every form is shown with.
fn cases() -> Vec<(Arc<Model>, Value)> {
    vec![
        (fetched("silero-vad"), heard(&speech(2)[24000..30000])),
        (fetched("basic-pitch"), played(&[chords(), chords()].concat())),
        (fetched("romanizer"), json!({ "text": "عبدالرحمن", "temperature": 1.5, "seed": 3 })),
        (fetched("terrain"), json!({ "seed": 5, "steps": 3, "difficulty": tensor(&[1], &[0.2]) })),
        (model(&committed(), "babble"), json!({ "text": "é", "temperature": 1.0, "top_k": 50, "top_p": 0.9, "tokens_max": 30 })),
    ]
}

/// A control and what is reported to it.
fn listening() -> (RunControl, Arc<Mutex<Vec<String>>>) {
    let pieces = Arc::new(Mutex::new(Vec::new()));
    let sink = pieces.clone();
    let control = RunControl::new(move |report| {
        if let RunReport::Output(piece) = report {
            sink.lock().expect("not poisoned").push(piece);
        }
    });
    (control, pieces)
}

fn cut_everywhere(runtime: &Onnx, model: &Model, input: &str) {
    let name = &model.manifest.name;
    let mut loaded = runtime.load(model).unwrap_or_else(|error| panic!("{error}"));
    let (whole_control, whole_pieces) = listening();
    let whole = loaded.run(input, &whole_control).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (control, pieces) = listening();
    let mut computation = loaded.begin(input, None).expect("begins");
    assert_eq!(computation.save(), None, "{name}: nothing to save before the first step");
    let mut steps = 1;
    let end = loop {
        match computation.step(&control).unwrap_or_else(|error| panic!("{name}: {error}")) {
            Step::Done(output) => break output,
            Step::More(_) => steps += 1,
        }
        let State { tensors, note } = computation.save().expect("can be divided");
        let tensors = Tensors::from_bytes(&tensors.to_bytes()).expect("comes back");
        // Another process would load it anew, too.
        let mut fresh = runtime.load(model).unwrap_or_else(|error| panic!("{error}"));
        computation = fresh.begin(input, Some(State { tensors, note })).unwrap_or_else(|error| panic!("{name}: {error}"));
    };
    assert!(steps > 2, "{name}: {steps} steps");
    assert_eq!(end, whole, "{name}");
    assert_eq!(*pieces.lock().expect("not poisoned"), *whole_pieces.lock().expect("not poisoned"), "{name}");
}

#[test]
fn a_loop_that_is_cut_at_every_run_gives_the_same_bits() {
    let runtime = finely();
    let wheel = wheel();
    cut_everywhere(&runtime, &wheel.model(), &turns(9, 100));
    for (model, input) in cases() {
        cut_everywhere(&runtime, &model, &input.to_string());
    }
}

#[test]
fn pieces_of_output_together_are_the_output() {
    let mut loaded = runtimes().load(&model(&committed(), "babble")).expect("loads");
    let (control, pieces) = listening();
    let input = json!({ "text": "a", "temperature": 2.0, "tokens_max": 30 }).to_string();
    let output: Value = serde_json::from_str(&loaded.run(&input, &control).expect("runs")).expect("JSON");
    let pieces: Vec<Value> =
        pieces.lock().expect("not poisoned").iter().map(|p| serde_json::from_str(p).expect("JSON")).collect();
    let tokens: Vec<&Value> = pieces.iter().flat_map(|piece| piece["tokens"].as_array().expect("tokens")).collect();
    assert_eq!(tokens, output["tokens"].as_array().expect("tokens").iter().collect::<Vec<_>>());
    let text: String = pieces.iter().filter_map(|piece| piece["text"].as_str()).collect();
    assert_eq!(json!(text), output["text"], "no piece ends within a character");
    assert!(pieces.len() > 2, "{pieces:?}");

    let (control, pieces) = listening();
    let input = heard(&speech(2)[..20000]).to_string();
    let output: Value = serde_json::from_str(&load("silero-vad").run(&input, &control).expect("runs")).expect("JSON");
    let pieces: Vec<Value> =
        pieces.lock().expect("not poisoned").iter().map(|p| serde_json::from_str(p).expect("JSON")).collect();
    let ranges: Vec<_> = pieces.iter().map(|piece| (piece["from"].clone(), piece["to"].clone())).collect();
    assert_eq!(ranges, [(json!(0), json!(32)), (json!(32), json!(40))]);
    let data: Vec<f64> = pieces.iter().flat_map(|piece| numbers(&piece["output"]["output"]["data"])).collect();
    assert_eq!(data, numbers(&output["output"]["data"]));
}

#[test]
fn one_seed_gives_one_result_and_another_seed_another() {
    let mut loaded = runtimes().load(&model(&committed(), "babble")).expect("loads");
    let mut of = |seed: u64| answer(&mut *loaded, &json!({ "text": "a", "temperature": 1.0, "seed": seed }));
    assert_eq!(of(7), of(7));
    assert_ne!(of(7), of(8));
    assert_eq!(of(0), answer(&mut *loaded, &json!({ "text": "a", "temperature": 1.0 })), "without a seed it is 0");
}

/// The state after the first run.
fn saved(loaded: &mut dyn LoadedModel, input: &str) -> State {
    let mut computation = loaded.begin(input, None).expect("begins");
    let step = computation.step(&RunControl::new(drop)).expect("steps");
    assert!(matches!(step, Step::More(_)), "{step:?}");
    computation.save().expect("can be divided")
}

#[test]
fn a_state_that_is_not_this_jobs_is_refused() {
    let runtime = finely();
    let mut babble = runtime.load(&model(&committed(), "babble")).expect("loads");
    let text = json!({ "text": "abc" }).to_string();
    let good = saved(&mut *babble, &text);
    let foreign = saved(&mut *runtime.load(&fetched("silero-vad")).expect("loads"), &heard(&speech(1)).to_string());
    let note = |from: &str, to: &str| {
        let changed = good.note.replace(from, to);
        assert_ne!(changed, good.note, "{from}");
        State { note: changed, ..good.clone() }
    };
    let mut fewer = Tensors::new();
    let (name, first) = good.tensors.iter().next().expect("a state");
    fewer.push(name, first.clone()).expect("one");
    let mut other = fewer.clone();
    other.push("state past_value", first.window(4, 0, 3).expect("an axis")).expect("two");
    let rows = [
        ("another model's", foreign),
        ("no JSON", State { note: "{".into(), ..good.clone() }),
        ("no counts", State { note: "{}".into(), ..good.clone() }),
        ("no run yet", note("\"runs\":1", "\"runs\":0")),
        ("further than the job goes", note("\"runs\":1", "\"runs\":129")),
        ("more tokens than runs", note("\"tokens\":[", "\"tokens\":[1,")),
        ("no token", note("\"tokens\":[", "\"tokens\":[256],\"old\":[")),
        ("more told than there is", note("\"tokens_told\":0", "\"tokens_told\":2")),
        ("a tensor less", State { tensors: fewer, ..good.clone() }),
        ("a tensor of another shape", State { tensors: other, ..good.clone() }),
    ];
    for (what, state) in rows {
        let refused = babble.begin(&text, Some(state)).err();
        assert!(matches!(refused, Some(RunError::BadCheckpoint(_))), "{what}: {refused:?}");
    }
    babble.begin(&text, Some(good)).map(drop).expect("this one is");
}

#[test]
fn what_is_stopped_within_a_step_can_still_be_saved_and_goes_on() {
    let wheel = wheel();
    let runtime = runtimes();
    let mut loaded = runtime.load(&wheel.model()).expect("loads");
    let input = turns(200, 200);
    let whole = run(&mut *loaded, &input).expect("runs");
    let control = Arc::new(RunControl::new(drop));
    let mut computation = loaded.begin(&input, None).expect("begins");
    assert!(matches!(computation.step(&control), Ok(Step::More(_))));
    control.stop();
    assert_eq!(computation.step(&control), Err(RunError::Stopped));
    let state = computation.save().expect("the state before the stop");
    let mut computation = loaded.begin(&input, Some(state)).expect("goes on");
    let control = RunControl::new(drop);
    let end = loop {
        if let Step::Done(output) = computation.step(&control).expect("steps") {
            break output;
        }
    };
    assert_eq!(end, whole);
}

#[test]
fn a_run_within_a_loop_ends_soon_after_a_stop() {
    let wheel = wheel();
    let mut loaded = runtimes().load(&wheel.model()).expect("loads");
    let (result, late) = stopped(&mut *loaded, &turns(1, i64::MAX));
    assert_eq!(result, Err(RunError::Stopped));
    assert!(late < super::STOP_MAX, "ended {late:?} after the stop");
}
