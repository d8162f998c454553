//! Rows for the reading of inputs: what fits, and every way in which an input can be wrong. Nothing here may need a runtime.

use super::*;

fn spec(name: &str, datatype: Datatype, shape: &[&str]) -> TensorSpec {
    let dim = |text: &&str| text.parse().map_or_else(|_| Dim::Symbol((*text).into()), Dim::Fixed);
    TensorSpec { name: name.into(), datatype, shape: shape.iter().map(dim).collect() }
}

/// Parses `tensor` as `x` of that type and shape: its elements, or the one problem's pointer below `/x` and a part of its text.
fn check(datatype: Datatype, shape: &[&str], tensor: &str, expected: Result<TensorData, (&str, &str)>) {
    let found = parse_input(&format!("{{\"x\":{tensor}}}"), &[spec("x", datatype, shape)]);
    match (found, expected) {
        (Ok(tensors), Ok(data)) => assert_eq!(tensors.get("x").map(Tensor::data), Some(&data), "{tensor}"),
        (Err(problems), Err((pointer, part))) => {
            assert_eq!(problems.len(), 1, "{tensor}: {problems:?}");
            assert_eq!(problems[0].pointer, format!("/x{pointer}"), "{tensor}: {problems:?}");
            assert!(problems[0].detail.contains(part), "{tensor}: {problems:?}");
        }
        (found, expected) => panic!("{tensor}: {found:?}, not {expected:?}"),
    }
}

#[test]
fn data_may_be_flat_or_nested_like_the_shape() {
    use Datatype::{Bool, Bytes, Fp16, Fp32, Fp64, Int8, Int64, Uint64};
    let six = || Ok(TensorData::Fp32(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    check(Fp32, &["b", "3"], r#"{"shape":[2,3],"data":[1,2,3,4,5,6]}"#, six());
    check(Fp32, &["b", "3"], r#"{"data":[[1,2,3],[4,5,6.0]],"datatype":"FP32","shape":[2,3]}"#, six());
    check(Fp32, &["b", "3"], "{ \"shape\" : [ 2 , 3 ] ,\n\"data\" : [ [ 1 , 2 , 3 ] ,\t[ 4 , 5 , 6e0 ] ] }", six());
    check(Int64, &[], r#"{"shape":[],"data":[-7]}"#, Ok(TensorData::Int64(vec![-7])));
    check(Int64, &[], r#"{"shape":[],"data":-7}"#, Ok(TensorData::Int64(vec![-7])));
    check(Int8, &["n"], r#"{"shape":[2],"data":[-128,127]}"#, Ok(TensorData::Int8(vec![-128, 127])));
    check(Uint64, &["n"], r#"{"shape":[1],"data":[18446744073709551615]}"#, Ok(TensorData::Uint64(vec![u64::MAX])));
    check(Fp64, &["n"], r#"{"shape":[1],"data":[0.30000000000000004]}"#, Ok(TensorData::Fp64(vec![0.1 + 0.2])));
    check(Fp16, &["n"], r#"{"shape":[1],"data":[65504]}"#, Ok(TensorData::Fp16(vec![f16::MAX])));
    check(Bool, &["n"], r#"{"shape":[2],"data":[true,false]}"#, Ok(TensorData::Bool(vec![true, false])));
    let strings = vec!["a,]\"\\".to_owned(), "ü😀".to_owned()];
    check(Bytes, &["n"], r#"{"shape":[2],"data":["a,]\"\\","\u00fc\ud83d\ude00"]}"#, Ok(TensorData::Bytes(strings)));
}

#[test]
fn a_tensor_that_does_not_fit_is_refused_at_the_place_that_is_wrong() {
    use Datatype::{Bool, Bytes, Fp16, Fp32, Fp64, Int8, Int64, Uint8};
    let rows = [
        (Fp32, "[]", "", "must be a JSON object"),
        (Fp32, "null", "", "must be a JSON object"),
        (Fp32, r#"{"data":[1]}"#, "/shape", "is missing"),
        (Fp32, r#"{"shape":[1]}"#, "/data", "is missing"),
        (Fp32, r#"{"shape":[1],"data":[1],"extra":1}"#, "/extra", "shape, datatype, data"),
        (Fp32, r#"{"shape":[1],"data":[1],"a/~b":1}"#, "/a~1~0b", "not a field"),
        (Fp32, r#"{"shape":[1],"data":[1],"a":1,"b":2,"c":3}"#, "", "more than 4 fields"),
        (Fp32, r#"{"shape":[1],"data":[1],"data":[2]}"#, "/data", "given twice"),
        (Fp32, r#"{"shape":[1],"datatype":"FP64","data":[1]}"#, "/datatype", "must be \"FP32\", not \"FP64\""),
        (Fp32, r#"{"shape":[1],"datatype":7,"data":[1]}"#, "/datatype", "not 7"),
        (Fp32, r#"{"shape":1,"data":[1]}"#, "/shape", "array of 1 dimensions: [n]"),
        (Fp32, r#"{"shape":[],"data":[1]}"#, "/shape", "array of 1 dimensions"),
        (Fp32, r#"{"shape":[1,1],"data":[1]}"#, "/shape", "array of 1 dimensions"),
        (Fp32, r#"{"shape":[[1]],"data":[1]}"#, "/shape/0", "deeper"),
        (Fp32, r#"{"shape":[1,1,1,1,1,1,1,1,1],"data":[1]}"#, "/shape/8", "one more than the 8"),
        (Fp32, r#"{"shape":[0],"data":[]}"#, "/shape/0", "at least 1, not 0"),
        (Fp32, r#"{"shape":[-1],"data":[1]}"#, "/shape/0", "at least 1, not -1"),
        (Fp32, r#"{"shape":[1.0],"data":[1]}"#, "/shape/0", "at least 1, not 1.0"),
        (Fp32, r#"{"shape":["1"],"data":[1]}"#, "/shape/0", "at least 1, not \"1\""),
        (Fp32, r#"{"shape":[99999999999999999999],"data":[1]}"#, "/shape/0", "at least 1"),
        (Fp32, r#"{"shape":[16777217],"data":[1]}"#, "/shape", "more than the 16777216 elements"),
        (Fp32, r#"{"shape":[2],"data":[1]}"#, "/data", "has 1 elements; the shape [2] has 2"),
        (Fp32, r#"{"shape":[2],"data":[1,2,3]}"#, "/data/2", "one more than the 2"),
        (Fp32, r#"{"shape":[1],"data":[]}"#, "/data", "has 0 elements"),
        (Fp32, r#"{"shape":[1],"data":1}"#, "/data", "is nested as []"),
        (Fp32, r#"{"shape":[1],"data":[[1]]}"#, "/data/0", "deeper than 1"),
        (Fp32, r#"{"shape":[1],"data":{"0":1}}"#, "/data", "must be a number within the range of FP32, not {"),
        (Fp32, r#"{"shape":[1],"data":[1e39]}"#, "/data/0", "range of FP32"),
        (Fp32, r#"{"shape":[1],"data":[null]}"#, "/data/0", "not null"),
        (Fp32, r#"{"shape":[1],"data":["NaN"]}"#, "/data/0", "not \"NaN\""),
        (Fp16, r#"{"shape":[1],"data":[65536]}"#, "/data/0", "range of FP16"),
        (Fp64, r#"{"shape":[1],"data":[1e400]}"#, "/data/0", "range of FP64"),
        (Int8, r#"{"shape":[2],"data":[0,128]}"#, "/data/1", "from -128 to 127, not 128"),
        (Uint8, r#"{"shape":[1],"data":[-1]}"#, "/data/0", "from 0 to 255"),
        (Int64, r#"{"shape":[1],"data":[1.0]}"#, "/data/0", "whole number"),
        (Int64, r#"{"shape":[1],"data":[9223372036854775808]}"#, "/data/0", "whole number"),
        (Int64, r#"{"shape":[1],"data":[true]}"#, "/data/0", "whole number"),
        (Bool, r#"{"shape":[1],"data":[1]}"#, "/data/0", "true or false"),
        (Bytes, r#"{"shape":[1],"data":[1]}"#, "/data/0", "a string"),
        (Bytes, r#"{"shape":[1],"data":["\ud800"]}"#, "/data/0", "valid Unicode"),
        (Bytes, r#"{"shape":[1],"data":["a\u0000"]}"#, "/data/0", "without U+0000"),
    ];
    for (datatype, tensor, pointer, part) in rows {
        check(datatype, &["n"], tensor, Err((pointer, part)));
    }
}

#[test]
fn nesting_must_be_rectangular_and_equal_to_the_shape() {
    let rows = [
        (r#"{"shape":[2,2],"data":[[1,2],[3]]}"#, "/data/1", "has 1 items where its neighbours have 2"),
        (r#"{"shape":[2,2],"data":[[1,2],3]}"#, "/data/1", "neighbours are arrays"),
        (r#"{"shape":[2,2],"data":[1,[2]]}"#, "/data/1", "neighbours are elements"),
        (r#"{"shape":[2,2],"data":[[],1]}"#, "/data/1", "neighbours are arrays"),
        (r#"{"shape":[2,2],"data":[[1,2,3,4]]}"#, "/data", "is nested as [1, 4]"),
        (r#"{"shape":[2,2],"data":[[1],[2],[3],[4]]}"#, "/data", "is nested as [4, 1]"),
        (r#"{"shape":[2,2],"data":[[[1]]]}"#, "/data/0/0", "deeper than 2"),
        (r#"{"shape":[2,2],"data":[[],[]]}"#, "/data", "is nested as [2, 0]"),
        (r#"{"shape":[4294967296,4294967296],"data":[1]}"#, "/shape", "more than the 16777216 elements"),
    ];
    for (tensor, pointer, part) in rows {
        check(Datatype::Fp32, &["a", "b"], tensor, Err((pointer, part)));
    }
    check(Datatype::Fp32, &["a", "3"], r#"{"shape":[1,2],"data":[1,2]}"#, Err(("/shape/1", "must be 3, not 2")));
}

#[test]
fn every_wrong_tensor_is_reported_and_symbols_must_agree() {
    let specs = [spec("ids", Datatype::Int64, &["batch", "n"]), spec("mask", Datatype::Int64, &["batch", "n"])];
    let one = r#"{"shape":[1,2],"data":[1,2]}"#;
    let two = r#"{"shape":[2,1],"data":[1,2]}"#;
    let rows = [
        ("[]".to_owned(), vec![""]),
        ("{}".to_owned(), vec!["/ids", "/mask"]),
        (String::new(), vec![""]),
        ("{".to_owned(), vec![""]),
        ("{} x".to_owned(), vec![""]),
        (format!("{{\"ids\":{{\"shape\":[1,1],\"data\":[NaN]}},\"mask\":{one}}}"), vec![""]),
        (format!("{{\"ids\":{{\"shape\":[1,1],\"data\":[Infinity]}},\"mask\":{one}}}"), vec![""]),
        (format!("{{\"ids\":{one},\"mask\":{one}}}"), vec![]),
        (format!("{{\"mask\":{one},\"ids\":{one}}}"), vec![]),
        (format!("{{\"ids\":{one},\"mask\":{two}}}"), vec!["/mask/shape/0"]),
        (format!("{{\"ids\":{one},\"Mask\":{one}}}"), vec!["/Mask", "/mask"]),
        (format!("{{\"ids\":{one},\"mask\":{one},\"more\":{one}}}"), vec!["/more"]),
        (format!("{{\"ids\":{one},\"ids\":{one},\"mask\":{one}}}"), vec!["/ids"]),
    ];
    for (json, expected) in rows {
        let problems = parse_input(&json, &specs).err().unwrap_or_default();
        assert_eq!(problems.iter().map(|p| p.pointer.as_str()).collect::<Vec<_>>(), expected, "{json}: {problems:?}");
    }
}

#[test]
fn bombs_are_refused_without_being_held_or_recursed_into() {
    let specs = [spec("x", Datatype::Fp32, &["n"])];
    let deep = "[".repeat(1_000_000);
    let closed = format!("{deep}1{}", "]".repeat(1_000_000));
    let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let many = (0..100_000).map(|i| format!("\"t{i}\":1")).collect::<Vec<_>>().join(",");
    let long_name = "n".repeat(1_000_000);
    let rows = [
        deep.clone(),
        closed.clone(),
        format!("{{\"x\":{deep}}}"),
        format!("{{\"x\":{{\"shape\":[1],\"data\":{closed}}}}}"),
        format!("{{\"x\":{{\"shape\":{closed},\"data\":[1]}}}}"),
        format!("{{\"x\":{{\"shape\":[1],\"data\":{objects}}}}}"),
        format!("{{\"x\":{objects}}}"),
        format!("{{\"x\":\"{long_name}\"}}"),
        format!("\"{long_name}\""),
        format!("{{{many}}}"),
        format!("{{\"{long_name}\":1}}"),
        format!("{{\"x\":{{\"shape\":[1],\"data\":[\"{long_name}\"]}}}}"),
        format!("{{\"x\":{{\"shape\":[1],\"data\":[{}1]}}}}", "1,".repeat(1_000_000)),
    ];
    for json in rows {
        let problems = parse_input(&json, &specs).expect_err("a bomb");
        let told: usize = problems.iter().map(|p| p.pointer.len() + p.detail.len()).sum();
        assert!(told < 1000, "a problem must not repeat the bomb: {told} bytes for {}…", &json[..20]);
    }
}

#[test]
fn what_is_written_is_read_back_bit_for_bit() {
    use rand::{Rng, SeedableRng};
    let seed = 11;
    println!("seed {seed}");
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    for _ in 0..500 {
        let count = rng.random_range(1..20);
        let singles = (0..count).map(|_| f32::from_bits(rng.random())).filter(|number| number.is_finite()).collect::<Vec<_>>();
        let doubles = (0..count).map(|_| f64::from_bits(rng.random())).filter(|number| number.is_finite()).collect::<Vec<_>>();
        let halves = (0..count).map(|_| f16::from_bits(rng.random())).filter(|number| number.is_finite()).collect::<Vec<_>>();
        let longs = (0..count).map(|_| rng.random()).collect::<Vec<i64>>();
        let texts =
            (0..count).map(|_| (0..3).map(|_| rng.random::<char>()).filter(|c| *c != '\0').collect()).collect::<Vec<String>>();
        let data = [
            TensorData::Fp32(singles),
            TensorData::Fp64(doubles),
            TensorData::Fp16(halves),
            TensorData::Int64(longs),
            TensorData::Bytes(texts),
        ];
        let mut tensors = Tensors::new();
        let mut specs = Vec::new();
        for (index, data) in data.into_iter().enumerate().filter(|(_, data)| !data.is_empty()) {
            let name = format!("t/~{index}");
            specs.push(spec(&name, data.datatype(), &[&format!("n{index}")]));
            tensors.push(name, Tensor::new(vec![data.len()], data).expect("fits")).expect("few");
        }
        let text = crate::tensor::write_output(&tensors).expect("small");
        assert_eq!(parse_input(&text, &specs).as_ref(), Ok(&tensors), "{text}");
    }
}

#[test]
fn damaged_text_is_an_error_or_a_tensor_and_never_a_panic() {
    use rand::{Rng, SeedableRng};
    let specs = [spec("x", Datatype::Fp32, &["b", "2"]), spec("s", Datatype::Bytes, &["b"])];
    let good = r#"{"x":{"shape":[2,2],"datatype":"FP32","data":[[1,-2.5e3],[3,4]]},"s":{"shape":[2],"data":["ä\"\\","\u00e4"]}}"#;
    let alphabet: Vec<char> = "[]{}\",:\\ \n0123456789-+.eEtrufalsn\u{e4}\u{1f600}".chars().collect();
    let seed = 12;
    println!("seed {seed}");
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut text: Vec<char> = good.chars().collect();
        for _ in 0..rng.random_range(1..4) {
            let (at, with) = (rng.random_range(0..text.len()), alphabet[rng.random_range(0..alphabet.len())]);
            match rng.random_range(0..3) {
                0 => text[at] = with,
                1 => text.insert(at, with),
                _ => {
                    text.remove(at);
                }
            }
        }
        match parse_input(&text.into_iter().collect::<String>(), &specs) {
            Ok(_) => read += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(read > 100 && refused > 100, "{read} read, {refused} refused: the damage must reach both");
}
