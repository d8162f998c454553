//! Rows for `[text]` and for the inputs of text models.

use super::*;

const DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn embedding() -> String {
    format!(
        r#"name = "m"
version = "1"
description = ""
license = ""
source = ""
runner = "text"
[file]
path = "model.onnx"
sha256 = "{DIGEST}"
[[inputs]]
name = "ids"
datatype = "INT64"
shape = ["batch", "tokens"]
[[inputs]]
name = "mask"
datatype = "INT32"
shape = ["batch", "tokens"]
[[outputs]]
name = "out"
datatype = "FP32"
shape = ["batch", "tokens", 8]
[text]
task = "embedding"
tokenizer = {{ path = "tokenizer.json", sha256 = "{DIGEST}" }}
tokens_max = 16
ids = "ids"
mask = "mask"
output = "out"
pooling = "mean"
normalize = true
[cost]
base_ms = 1
per_unit_ms = 0.5
[example]
input = '{{"texts":["a","b"]}}'
"#
    )
}

fn classification() -> String {
    embedding()
        .replace("task = \"embedding\"", "task = \"classification\"")
        .replace("[\"batch\", \"tokens\", 8]", "[\"batch\", 3]")
        .replace("pooling = \"mean\"\nnormalize = true", "labels = [\"x\", \"y\", \"z\"]\nscores = \"softmax\"")
}

#[test]
fn a_section_that_breaks_a_rule_is_refused_with_its_key() {
    let rows: &[(bool, &str, &str, Option<&str>)] = &[
        (false, "", "", None),
        (true, "", "", None),
        (false, "pooling = \"mean\"", "pooling = \"cls\"", None),
        (false, ", 8]", ", \"width\"]", None),
        (false, "pooling = \"mean\"", "pooling = \"median\"", Some("unknown variant `median`")),
        (
            false,
            "pooling = \"mean\"",
            "pooling = \"none\"",
            Some("text.output: out must be FP32 [batch, numbers], not FP32 [batch, tokens, 8]"),
        ),
        (false, "pooling = \"mean\"\n", "", Some("task \"embedding\" needs pooling and normalize")),
        (false, "normalize = true", "normalize = true\nlabels = [\"a\"]", Some("has no labels")),
        (false, "normalize = true", "normalize = true\nstride = 1", Some("unknown field `stride`")),
        (false, "\"tokenizer.json\"", "\"../tokenizer.json\"", Some("a file name")),
        (false, "\"tokenizer.json\"", "\"model.onnx\"", Some("text.tokenizer.path")),
        (false, "\"tokenizer.json\"", "\"model.toml\"", Some("text.tokenizer.path")),
        (false, "tokens_max = 16", "tokens_max = 0", Some("text.tokens_max: must be from 1 to 8192, not 0")),
        (false, "tokens_max = 16", "tokens_max = 8193", Some("text.tokens_max")),
        (false, "ids = \"ids\"", "ids = \"mask\"", Some("each input must be one of ids, mask and types; ids is not")),
        (false, "ids = \"ids\"", "ids = \"idz\"", Some("ids is not")),
        (false, "output = \"out\"", "types = \"t\"\noutput = \"out\"", Some("text.types: t is not one of the inputs")),
        (false, "output = \"out\"", "output = \"o\"", Some("text.output: o is not one of the outputs")),
        (false, "\"INT32\"", "\"FP32\"", Some("inputs: mask of a text model must be INT64 or INT32")),
        (false, "[\"batch\", \"tokens\"]\n[[outputs", "[\"batch\", \"other\"]\n[[outputs", Some("not INT32 [batch, other]")),
        (false, "[\"batch\", \"tokens\"]\n[[inputs", "[1, \"tokens\"]\n[[inputs", Some("not INT64 [1, tokens]")),
        (false, "\"tokens\", 8]", "\"other\", 8]", Some("text.output: out must be FP32 [batch, tokens, numbers]")),
        (false, "per_unit_ms = 0.5", "size = { input = \"ids\", by = \"elements\" }", Some("cost.size")),
        (false, "\"b\"]}", "7]}", Some("example.input: does not fit: /texts/1")),
        (true, "scores = \"softmax\"", "scores = \"best\"", Some("unknown variant `best`")),
        (true, "scores = \"softmax\"\n", "", Some("task \"classification\" needs labels and scores")),
        (true, "\"z\"]", "\"y\"]", Some("text.labels: \"y\" is there twice")),
        (true, ", \"z\"]", ", \"\"]", Some("text.labels: a label must have")),
        (true, ", \"z\"]", "]", Some("text.labels: there are 2, the output has 3 numbers")),
        (true, "[\"batch\", 3]", "[\"batch\", \"n\"]", None),
    ];
    for (labels, from, to, expected) in rows {
        let base = if *labels { classification() } else { embedding() };
        assert!(base.contains(from), "{from}");
        let found = Manifest::parse(&base.replacen(from, to, 1)).err().map(|error| error.to_string());
        assert_eq!(found.is_some(), expected.is_some(), "{to}: {found:?}");
        assert!(found.clone().unwrap_or_default().contains(expected.unwrap_or_default()), "{to}: {found:?}");
    }
}

#[test]
fn an_input_is_texts_and_its_size_is_about_their_tokens() {
    let many = |count: usize| format!(r#"{{"texts":[{}]}}"#, vec!["\"a\""; count].join(","));
    let long = |bytes: usize| format!(r#"{{"text":"{}"}}"#, "a".repeat(bytes));
    let rows: &[(bool, String, Result<f64, &str>)] = &[
        (false, r#"{"texts":["abcd","abcde"]}"#.into(), Ok(7.0)),
        (false, r#"{"text":""}"#.into(), Ok(2.0)),
        (false, r#"{"text":"é\n\u00e9"}"#.into(), Ok(4.0)),
        (false, long(limits::TEXT_BYTES_MAX), Ok(16.0)),
        (false, many(limits::TEXTS_MAX), Ok(3.0 * 1024.0)),
        (false, long(limits::TEXT_BYTES_MAX + 1), Err("/text has 65537 bytes")),
        (false, many(limits::TEXTS_MAX + 1), Err("/texts/1024 is one more")),
        (false, r#"{"texts":[]}"#.into(), Err("/texts must be an array of 1 to 1024 texts")),
        (false, r#"{"texts":"a"}"#.into(), Err("/texts must be an array")),
        (false, r#"{"texts":["a",["b"]]}"#.into(), Err("/texts/1 is nested deeper")),
        (false, r#"{"texts":["a",{"b":1}]}"#.into(), Err("/texts/1 must be a string of valid Unicode, not {\"b\":1}")),
        (false, r#"{"texts":["a",null]}"#.into(), Err("/texts/1 must be a string of valid Unicode, not null")),
        (false, r#"{"text":"\ud800"}"#.into(), Err("/text must be a string of valid Unicode")),
        (false, r#"{"text":["a"]}"#.into(), Err("/text must be a string")),
        (false, r#"{"text":"a","texts":["a"]}"#.into(), Err("/text only one of")),
        (false, "{}".into(), Err("/texts is missing")),
        (false, "[]".into(), Err(" must be a JSON object")),
        (false, r#"{"text":"a","top_k":1}"#.into(), Err("/top_k is not an input of the model; it takes texts, text")),
        (true, r#"{"text":"a","top_k":3}"#.into(), Ok(3.0)),
        (true, r#"{"text":"a","top_k":4}"#.into(), Err("/top_k must be a whole number from 1 to 3, not 4")),
        (true, r#"{"text":"a","top_k":0}"#.into(), Err("/top_k must be")),
        (true, r#"{"text":"a","top_k":"1"}"#.into(), Err("/top_k must be")),
    ];
    for (labels, input, expected) in rows {
        let manifest = Manifest::parse(&if *labels { classification() } else { embedding() }).expect("valid");
        let found = manifest.check_input(input).map_err(|problems| format!("{} {}", problems[0].pointer, problems[0].detail));
        let shown: String = input.chars().take(60).collect();
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, *expected, "{shown}"),
            (Err(found), Err(expected)) => assert!(found.starts_with(expected), "{shown}: {found}"),
            (found, _) => panic!("{shown}: {found:?}, not {expected:?}"),
        }
    }
}
