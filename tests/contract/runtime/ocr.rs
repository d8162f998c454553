//! A real vision model that others made reads a line in a picture: a model of runner `tensor` is a manifest and nothing else.

use std::fs;

use serde::Deserialize;
use siding_core::model::locate;
use siding_worker::runtime::ModelRuntime;

use super::{model, run, runtimes};

/// What worker/models/reference.py drew, and what Python's onnxruntime makes of it at each place.
#[derive(Deserialize)]
struct Reference {
    drawn: String,
    read: String,
    best: Vec<usize>,
    scores: Vec<f64>,
}

#[derive(Deserialize)]
struct Output {
    #[serde(rename = "softmax_11.tmp_0")]
    scores: Scores,
}

#[derive(Deserialize)]
struct Scores {
    shape: [usize; 3],
    data: Vec<f64>,
}

/// A picture's width and its bytes: binary PGM of 256 greys without comments.
fn picture() -> (usize, &'static [u8]) {
    let file = include_bytes!("reference/line.pgm");
    let end = file.windows(5).position(|end| end == b"\n255\n").expect("a header") + 5;
    let header = std::str::from_utf8(&file[..end]).expect("text");
    let width = header.split_whitespace().nth(1).and_then(|width| width.parse().ok()).expect("a width");
    assert_eq!(file.len() - end, width * 48, "{header}");
    (width, &file[end..])
}

#[test]
fn a_line_in_a_picture_is_read_as_the_reference_reads_it() {
    let reference: Reference = serde_json::from_str(include_str!("reference/ocr.json")).expect("JSON");
    let ocr = model(&locate::models_dir(&locate::cache_dir().expect("HOME is set")), "ocr");
    let characters = fs::read_to_string(ocr.folder.join("characters.txt")).expect("committed beside the manifest");
    let characters: Vec<&str> = characters.lines().chain([" "]).collect();
    let (width, grey) = picture();
    let grey: Vec<f32> = grey.iter().map(|&grey| f32::from(grey) / 127.5 - 1.0).collect();
    let input = format!(r#"{{"x":{{"shape":[1,3,48,{width}],"data":{:?}}}}}"#, grey.repeat(3));

    let mut loaded = runtimes().load(&ocr).unwrap_or_else(|error| panic!("{error}"));
    let output: Output = serde_json::from_str(&run(&mut *loaded, &input).expect("runs")).expect("an output");
    assert_eq!(output.scores.shape, [1, reference.best.len(), characters.len() + 1]);
    let best = |row: &[f64]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("characters");
    let rows: Vec<&[f64]> = output.scores.data.chunks(characters.len() + 1).collect();
    let found: Vec<usize> = rows.iter().map(|row| best(row)).collect();
    assert_eq!(found, reference.best);
    for ((row, &place), expected) in rows.iter().zip(&found).zip(&reference.scores) {
        assert!((row[place] - expected).abs() < 1e-3, "{} is not {expected}", row[place]);
    }
    let read: String = (0..found.len())
        .filter(|&at| found[at] != 0 && (at == 0 || found[at] != found[at - 1]))
        .map(|at| characters[found[at] - 1])
        .collect();
    assert_eq!(read, reference.read);
    assert_eq!(read.trim(), reference.drawn);
}
