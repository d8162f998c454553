//! What the model `spin` shows of ONNX Runtime: right numbers, linear duration, and an honest report.

use std::time::{Duration, Instant};

use siding_worker::runtime::{
    LoadedModel, ModelRuntime,
    onnx::{Onnx, Options},
};

use super::{committed, model, run, runtimes};

/// The JSON text of an input.
pub(super) fn input(rows: &[[f32; 64]], iters: i64) -> String {
    format!(r#"{{"x":{{"shape":[{},64],"data":{rows:?}}},"iters":{{"shape":[],"data":[{iters}]}}}}"#, rows.len())
}

/// The rows of an output.
fn rows(output: &str) -> Vec<Vec<f64>> {
    #[derive(serde::Deserialize)]
    struct Output {
        y: Y,
    }
    #[derive(serde::Deserialize)]
    struct Y {
        datatype: String,
        shape: Vec<usize>,
        data: Vec<f64>,
    }
    let output: Output = serde_json::from_str(output).expect("the output's form");
    assert_eq!((output.y.datatype.as_str(), output.y.shape[1]), ("FP32", 64));
    assert_eq!(output.y.data.len(), output.y.shape[0] * 64);
    output.y.data.chunks(64).map(<[f64]>::to_vec).collect()
}

fn length(row: impl IntoIterator<Item = f64>) -> f64 {
    row.into_iter().map(|number| number * number).sum::<f64>().sqrt()
}

#[test]
fn every_product_is_computed() {
    let mut spin = runtimes().load(&model(&committed(), "spin")).expect("loads");
    let mut rng: rand::rngs::StdRng = rand::SeedableRng::seed_from_u64(1);
    let x: [[f32; 64]; 3] = std::array::from_fn(|_| std::array::from_fn(|_| rand::Rng::random_range(&mut rng, -1.0..1.0)));
    for iters in [-1, 0, 1, 1000] {
        let y = rows(&run(&mut *spin, &input(&x, iters)).expect("runs"));
        assert_eq!(y.len(), 3);
        for (before, after) in x.iter().zip(&y) {
            let same = before.iter().zip(after).all(|(a, b)| *a == *b as f32);
            assert_eq!(same, iters < 1, "{iters} iterations must change the vector");
            let (before, after) = (length(before.iter().map(|&number| f64::from(number))), length(after.iter().copied()));
            assert!((before - after).abs() < 1e-3 * before, "{iters}: {before} became {after}");
        }
    }
}

#[test]
fn duration_is_linear_in_the_iterations() {
    let mut spin = runtimes().load(&model(&committed(), "spin")).expect("loads");
    // The quickest of a few: a busy machine only ever adds.
    let quickest = |spin: &mut dyn LoadedModel, iters: i64| -> Duration {
        let once = |spin: &mut dyn LoadedModel| {
            let start = Instant::now();
            run(spin, &input(&[[0.5; 64]], iters)).expect("runs");
            start.elapsed()
        };
        (0..5).map(|_| once(spin)).min().expect("five runs")
    };
    let (short, long) = (quickest(&mut *spin, 5_000), quickest(&mut *spin, 20_000));
    let ratio = long.as_secs_f64() / short.as_secs_f64();
    assert!((2.0..8.0).contains(&ratio), "4 times the iterations took {ratio:.2} times as long: {short:?}, {long:?}");
}

#[test]
fn the_report_says_what_is_in_use_and_what_is_not() {
    let onnx = Onnx::open("", &["tensorrt", "npu", "cpu"]).expect("run `make setup`");
    let report = onnx.report();
    assert_eq!((report.name.as_str(), report.providers_active), ("onnxruntime", vec!["cpu".to_owned()]));
    assert!(report.version.starts_with("1."), "{}", report.version);
    assert!(std::path::Path::new(&report.library).is_absolute(), "{}", report.library);
    let [(first, why), second] = &report.providers_refused[..] else { panic!("two: {:?}", report.providers_refused) };
    assert!(first == "tensorrt" && !why.is_empty(), "the library of the CPU has none: {why}");
    assert_eq!(*second, ("npu".to_owned(), "not supported; supported: cuda, tensorrt, cpu".to_owned()));
}

#[test]
fn a_provider_that_cannot_be_used_is_passed_over_unless_it_is_required() {
    let mut settings = siding_core::config::Settings::default();
    settings.worker.providers.0 = vec!["cuda".into()];
    for is_required in [false, true] {
        settings.worker.providers_required = is_required;
        let onnx = Onnx::with("", Options::of(&settings)).expect("run `make setup`");
        println!("refused: {:?}", onnx.report().providers_refused);
        match (is_required, onnx.load(&model(&committed(), "spin"))) {
            (false, Ok(mut spin)) => drop(run(&mut *spin, &input(&[[1.0; 64]], 1)).expect("the CPU computes")),
            (true, Err(error)) => assert!(error.why.contains("cuda is required"), "{error}"),
            (_, loaded) => panic!("required: {is_required}, loaded: {}", loaded.is_ok()),
        }
    }
}

#[test]
fn a_wish_for_more_threads_is_heeded_and_changes_no_result() {
    let mut settings = siding_core::config::Settings::default();
    settings.worker.intra_threads = 2;
    let mut two =
        Onnx::with("", Options::of(&settings)).expect("run `make setup`").load(&model(&committed(), "spin")).expect("loads");
    let mut one = runtimes().load(&model(&committed(), "spin")).expect("loads");
    let input = input(&[[0.5; 64]], 100);
    assert_eq!(run(&mut *two, &input), run(&mut *one, &input));
}
