//! A real model that others made tells real files apart, prepared as its makers prepare them.

use std::{fs, path::Path};

use siding_core::model::locate;
use siding_worker::runtime::ModelRuntime;

use super::{model, run, runtimes};

/// Numbers for one end of a file.
const HALF: usize = 1024;
/// How much of a file is looked at from either end.
const BLOCK: usize = 4096;

/// Up to 1024 bytes from either end, without white space outside, padded with 256.
fn features(content: &[u8]) -> Vec<u16> {
    let white = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    let block = content.len().min(BLOCK);
    let first = &content[..block];
    let first = &first[first.iter().take_while(|byte| white(byte)).count()..];
    let last = &content[content.len() - block..];
    let last = &last[..last.len() - last.iter().rev().take_while(|byte| white(byte)).count()];
    let (first, last) = (&first[..first.len().min(HALF)], &last[last.len().saturating_sub(HALF)..]);
    let padding = |taken: &[u8]| vec![256_u16; HALF - taken.len()];
    let numbers = |taken: &[u8]| taken.iter().map(|&byte| byte.into()).collect::<Vec<_>>();
    [numbers(first), padding(first), padding(last), numbers(last)].concat()
}

#[test]
fn real_files_are_told_apart_alone_and_together() {
    let cache = locate::cache_dir().expect("HOME is set");
    let magika = model(&locate::models_dir(&cache), "magika");
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(magika.folder.join("config.json")).expect("fetched with the model")).expect("JSON");
    let labels: Vec<&str> = config["target_labels_space"].as_array().expect("labels").iter().filter_map(|l| l.as_str()).collect();
    let mut loaded = runtimes().load(&magika).unwrap_or_else(|error| panic!("{error}"));

    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let of = |path: &str| fs::read(here.join(path)).expect(path);
    let markdown = "# Siding\n\nA queue for [inference](https://example.org).\n\n## Use\n\n```sh\nmake demo\n```\n\n- *one* thing\n- **another**\n";
    let files = [
        ("python", of("worker/models/fetch.py")),
        ("rust", of("core/src/tensor.rs")),
        ("markdown", markdown.repeat(4).into_bytes()),
        ("toml", of("worker/models/spin/1/model.toml")),
        ("onnx", of("worker/models/spin/1/model.onnx")),
    ];
    let mut told = |rows: &[Vec<u16>]| -> Vec<String> {
        let input = format!(r#"{{"bytes":{{"shape":[{},2048],"datatype":"INT32","data":{rows:?}}}}}"#, rows.len());
        let output: serde_json::Value = serde_json::from_str(&run(&mut *loaded, &input).expect("runs")).expect("JSON");
        let scores: Vec<f64> =
            output["target_label"]["data"].as_array().expect("data").iter().filter_map(|s| s.as_f64()).collect();
        assert_eq!(scores.len(), rows.len() * labels.len());
        let best = |row: &[f64]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("labels");
        scores.chunks(labels.len()).map(|row| labels[best(row)].to_owned()).collect()
    };
    let rows: Vec<_> = files.iter().map(|(_, content)| features(content)).collect();
    let expected: Vec<_> = files.iter().map(|(label, _)| *label).collect();
    assert_eq!(told(&rows), expected, "together");
    for (row, label) in rows.into_iter().zip(expected) {
        assert_eq!(told(&[row]), [label], "alone");
    }
}
