//! Rows for `model.toml`: each rule broken once, with the place or key that the error must name. No file is read here.

use super::*;

const DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn spin() -> String {
    format!(
        r#"name = "spin"
version = "1"
description = "Spins."
license = "MIT"
source = "here"
runner = "tensor"

[file]
path = "model.onnx"
sha256 = "{DIGEST}"

[[inputs]]
name = "x"
datatype = "FP32"
shape = ["batch", 2]

[[inputs]]
name = "iters"
datatype = "INT64"
shape = []

[[outputs]]
name = "y"
datatype = "FP32"
shape = ["batch", 2]

[cost]
base_ms = 0.5
per_unit_ms = 0.25
size = {{ input = "iters", by = "value" }}

[example]
input = '{{"x":{{"shape":[1,2],"data":[1,2]}},"iters":{{"shape":[],"data":[4]}}}}'
"#
    )
}

fn scripted(more: &str) -> String {
    format!("name = \"s\"\nversion = \"1\"\ndescription = \"\"\nlicense = \"\"\nsource = \"\"\nrunner = \"scripted\"\n{more}")
}

#[test]
fn a_manifest_that_breaks_a_rule_is_refused_with_its_place_or_key() {
    assert_eq!(Manifest::parse(&spin()).map(|m| m.inputs.len()), Ok(2));
    let rows: &[(&str, &str, Option<usize>, &str)] = &[
        ("name = \"spin\"", "name = ", Some(1), "name ="),
        ("name = \"spin\"", "name = \"../spin\"", Some(1), "`name = \"../spin\"`: model name"),
        ("name = \"spin\"\n", "", Some(1), "missing field `name`"),
        ("version = \"1\"", "version = 1", Some(2), "`version = 1`"),
        ("runner = \"tensor\"", "runner = \"dance\"", Some(6), "unknown variant `dance`"),
        ("runner = \"tensor\"", "runner = \"scripted\"", None, "runner: a scripted model has no [file]"),
        ("source = \"here\"", "source = \"here\"\nauthor = \"me\"", Some(6), "unknown field `author`"),
        ("path = \"model.onnx\"", "path = \"../model.onnx\"", Some(9), "`path = \"../model.onnx\"`: a file name"),
        ("path = \"model.onnx\"", "path = \"/etc/passwd\"", Some(9), "a file name"),
        ("path = \"model.onnx\"", "path = \"model.toml\"", None, "file.path"),
        (DIGEST, "ABC", Some(10), "64 lower-case"),
        ("[[outputs]]", "[[file.external]]\npath = \"model.onnx\"\nsha256 = \"\"\n[[outputs]]", Some(24), "64 lower-case"),
        ("name = \"x\"", "name = \"\"", Some(13), "a tensor's name"),
        ("name = \"iters\"", "name = \"x\"", None, "inputs: x is declared twice"),
        ("datatype = \"INT64\"", "datatype = \"int64\"", Some(19), "must be one of BOOL"),
        ("shape = []", "shape = [0]", Some(20), "a dimension must be from 1"),
        ("shape = []", "shape = [-1]", Some(20), "not -1"),
        ("shape = []", "shape = [1.5]", Some(20), "a whole number or a symbol"),
        ("shape = []", "shape = [\"a b\"]", Some(20), "a symbol must be"),
        ("shape = []", "shape = [1,1,1,1,1,1,1,1,1]", None, "more than 8 dimensions"),
        ("shape = []", "shape = [2]", None, "cost.size.by"),
        ("input = \"iters\"", "input = \"y\"", None, "cost.size.input: y"),
        ("size = { input = \"iters\", by = \"value\" }", "", None, "cost.per_unit_ms: needs"),
        ("base_ms = 0.5", "base_ms = -1", None, "cost.base_ms"),
        ("base_ms = 0.5", "base_ms = nan", None, "cost.base_ms"),
        ("base_ms = 0.5", "", Some(27), "missing field `base_ms`"),
        ("\"data\":[4]", "\"data\":[4.5]", None, "example.input: does not fit: /iters/data/0"),
    ];
    for (from, to, line, part) in rows {
        let text = spin().replacen(from, to, 1);
        assert_ne!(text, spin(), "{from}");
        let error = Manifest::parse(&text).expect_err(to);
        assert_eq!(error.place.map(|place| place.line), *line, "{to}: {error}");
        assert!(error.to_string().contains(part), "{to}: {error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn the_size_of_an_input_is_what_the_cost_profile_names() {
    let value = |iters: i64| format!(r#"{{"x":{{"shape":[1,2],"data":[1,2]}},"iters":{{"shape":[],"data":[{iters}]}}}}"#);
    let delay = scripted("cost = { base_ms = 0, per_unit_ms = 1 }");
    let by_elements = spin().replace("\"iters\", by = \"value\"", "\"x\", by = \"elements\"");
    let rows: &[(&str, String, Result<f64, &str>)] = &[
        (&spin(), value(40), Ok(40.0)),
        (&spin(), value(-40), Ok(0.0)),
        (&by_elements, value(40), Ok(2.0)),
        (&spin(), "{}".into(), Err("/x")),
        (&delay, r#"{"op":"delay","ms":200}"#.into(), Ok(200.0)),
        (&delay, r#"{"op":"noop"}"#.into(), Ok(0.0)),
        (&delay, r#"{"op":"what"}"#.into(), Err("/op")),
    ];
    for (manifest, input, expected) in rows {
        let found = Manifest::parse(manifest).expect("valid").check_input(input).map_err(|problems| problems[0].pointer.clone());
        assert_eq!(found.as_ref().map_err(String::as_str), expected.as_ref().map_err(|p| *p), "{input}");
    }
}
