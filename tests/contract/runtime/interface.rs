//! A manifest that declares another model than the file is refused when the model is loaded, with both sides' words.

use std::fs;

use siding_worker::runtime::ModelRuntime;

use super::{Variant, committed, runtimes};

/// Tiny ONNX files, written field by field, so that a test says exactly what is in them.
pub(super) mod onnx {
    use super::super::sha256;

    pub(in super::super) fn varint(mut number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    }

    pub(in super::super) fn number(field: u64, value: u64) -> Vec<u8> {
        [varint(field << 3), varint(value)].concat()
    }

    pub(in super::super) fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
        [varint(field << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
    }

    pub(in super::super) fn text(field: u64, content: &str) -> Vec<u8> {
        bytes(field, content.as_bytes())
    }

    /// An entry of `TensorProto.external_data`.
    pub(in super::super) fn entry(key: &str, value: &str) -> Vec<u8> {
        bytes(13, &[text(1, key), text(2, value)].concat())
    }

    /// A `ValueInfoProto`: a vector of FP32 whose dimension is `symbol`.
    pub(in super::super) fn vector(name: &str, symbol: &str) -> Vec<u8> {
        let shape = bytes(1, &text(2, symbol));
        let tensor = [number(1, 1), bytes(2, &shape)].concat();
        [text(1, name), bytes(2, &bytes(1, &tensor))].concat()
    }

    /// y = the sum of `inputs` (names and symbols), and of w when its external data is given.
    pub(in super::super) fn add(inputs: &[(&str, &str)], external: Option<&[u8]>) -> Vec<u8> {
        let mut node: Vec<u8> = inputs.iter().flat_map(|(name, _)| text(1, name)).collect();
        let mut graph = Vec::new();
        if let Some(external) = external {
            node.extend(text(1, "w"));
            // dims 2, FP32, name, external entries, data_location EXTERNAL.
            graph.extend(bytes(5, &[number(1, 2), number(2, 1), text(8, "w"), external.to_vec(), number(14, 1)].concat()));
        }
        node.extend([text(2, "y"), text(4, "Sum")].concat());
        graph.extend([bytes(1, &node), text(2, "add")].concat());
        graph.extend(inputs.iter().flat_map(|(name, symbol)| bytes(11, &vector(name, symbol))));
        graph.extend(bytes(12, &vector("y", "of_y")));
        [number(1, 8), bytes(8, &[text(1, ""), number(2, 13)].concat()), bytes(7, &graph)].concat()
    }

    /// The manifest of such a file; shapes are given as TOML writes their one dimension.
    pub(in super::super) fn manifest(model: &[u8], external: &str, inputs: &[(&str, &str)], output: &str) -> String {
        let tensor =
            |key: &str, name: &str, dim: &str| format!("[[{key}]]\nname = \"{name}\"\ndatatype = \"FP32\"\nshape = [{dim}]\n");
        let inputs: String = inputs.iter().map(|(name, dim)| tensor("inputs", name, dim)).collect();
        format!(
            "name = \"add\"\nversion = \"1\"\ndescription = \"\"\nlicense = \"\"\nsource = \"\"\nrunner = \"tensor\"\ncost = {{ base_ms = 1 }}\n\
             [file]\npath = \"model.onnx\"\nsha256 = \"{}\"\n{external}{inputs}{}",
            sha256(model),
            tensor("outputs", "y", output),
        )
    }
}

#[test]
fn names_types_ranks_and_sizes_must_be_the_models() {
    let runtimes = runtimes();
    let manifest = fs::read_to_string(committed().join("spin/1/model.toml")).expect("committed");
    let (manifest, _) = manifest.split_once("[cost]").expect("has a cost");
    let bytes = fs::read(committed().join("spin/1/model.onnx")).expect("committed");
    let iters = "[[inputs]]\nname = \"iters\"\ndatatype = \"INT64\"\nshape = []\n";
    let rows = [
        ("", "", None),
        ("name = \"x\"", "name = \"z\"", Some("inputs: the model has no z; it has x, iters")),
        ("name = \"y\"", "name = \"z\"", Some("outputs: the model has no z; it has y")),
        (iters, "", Some("inputs: the manifest does not declare iters")),
        (
            "datatype = \"INT64\"",
            "datatype = \"INT32\"",
            Some("inputs: iters: datatype: the manifest says INT32, the model INT64"),
        ),
        ("shape = []", "shape = [1]", Some("inputs: iters: shape: the manifest says 1 dimensions ([1]), the model has 0")),
        ("shape = [\"batch\", 64]", "shape = [\"batch\", 32]", Some("inputs: x: shape[1]: the manifest says 32, the model 64")),
        ("shape = [\"batch\", 64]", "shape = [\"batch\", \"n\"]", Some("inputs: x: shape[1]: the manifest says n, the model 64")),
        ("shape = [\"batch\", 64]", "shape = [1, 64]", None),
    ];
    for (from, to, expected) in rows {
        assert!(manifest.contains(from), "{from}");
        let changed = format!("{}[cost]\nbase_ms = 1\n", manifest.replacen(from, to, 1));
        let variant = Variant::new("spin", &changed, &[("model.onnx", &bytes)]);
        let found = runtimes.load(&variant.model()).err().map(|error| error.to_string());
        match (&found, expected) {
            (None, None) => {}
            (Some(found), Some(expected)) => assert!(found.contains(expected), "{to}: {found}"),
            _ => panic!("{to}: {found:?}, not {expected:?}"),
        }
    }
}

#[test]
fn what_is_one_symbol_in_the_model_must_be_one_in_the_manifest() {
    let runtimes = runtimes();
    let shared = onnx::add(&[("a", "n"), ("b", "n")], None);
    let apart = onnx::add(&[("a", "n"), ("b", "m")], None);
    let rows = [
        (&shared, "\"n\"", "\"n\"", None),
        (&shared, "\"k\"", "\"k\"", None),
        (&shared, "2", "2", None),
        (&shared, "\"n\"", "\"m\"", Some("inputs: b: shape[0]: is \"n\" in the model, for which the manifest says n elsewhere")),
        (&shared, "\"n\"", "2", Some("for which the manifest says n elsewhere")),
        (&apart, "\"n\"", "\"m\"", None),
    ];
    for (model, a, b, expected) in rows {
        let manifest = onnx::manifest(model, "", &[("a", a), ("b", b)], "\"n\"");
        let variant = Variant::new("add", &manifest, &[("model.onnx", model)]);
        let found = runtimes.load(&variant.model()).err().map(|error| error.to_string());
        assert_eq!(found.is_some(), expected.is_some(), "{a} {b}: {found:?}");
        assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()), "{a} {b}");
    }
}

#[test]
fn an_output_that_the_manifest_does_not_promise_fails_the_run() {
    let runtimes = runtimes();
    let model = onnx::add(&[("a", "n"), ("b", "m")], None);
    // The runtime would broadcast 1 to 3: y has 3 numbers where the manifest says 2.
    let manifest = onnx::manifest(&model, "", &[("a", "\"n\""), ("b", "\"m\"")], "2");
    let mut loaded = match runtimes.load(&Variant::new("add", &manifest, &[("model.onnx", &model)]).model()) {
        Ok(loaded) => loaded,
        // The model's own symbol for y is dynamic, so a fixed size is only known to be wrong when it runs.
        Err(error) => panic!("{error}"),
    };
    let mut run = |a: &str, b: &str| {
        let vector = |data: &str| format!("{{\"shape\":[{}],\"data\":[{data}]}}", data.split(',').count());
        super::run(&mut *loaded, &format!("{{\"a\":{},\"b\":{}}}", vector(a), vector(b)))
    };
    assert_eq!(run("1,2", "3").as_deref(), Ok(r#"{"y":{"datatype":"FP32","shape":[2],"data":[4.0,5.0]}}"#));
    let error = run("1,2,3", "3").expect_err("three numbers").to_string();
    assert!(error.contains("output y: has the shape [3], the manifest says [2]"), "{error}");
    // Shapes that the graph cannot combine: told as an error of the run, and the model goes on.
    let error = run("1,2,3", "1,2").expect_err("cannot be added");
    assert!(!error.to_string().contains("/onnxruntime"), "{error}");
    assert!(run("1,2", "3,4").is_ok());
}
