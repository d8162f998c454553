//! A text model that gives what its manifest does not promise: numbers that are none, and one number for each token where labels are meant.

use siding_worker::runtime::{ModelRuntime, RunError};

use super::{
    super::interface::onnx::{bytes, number, text},
    Variant, input, run, runtimes, sha256, tokenizer,
};

/// y = sqrt(mask - ids) as FP32: 0 for the id 1, NaN for those above. Its inputs are INT32.
fn model() -> Vec<u8> {
    let node = |inputs: &[&str], output: &str, operator: &str, attribute: &[u8]| {
        let inputs: Vec<u8> = inputs.iter().flat_map(|name| text(1, name)).collect();
        bytes(1, &[&inputs, &text(2, output)[..], &text(4, operator), attribute].concat())
    };
    let value = |field: u64, name: &str, datatype: u64| {
        let shape = bytes(2, &[bytes(1, &text(2, "texts")), bytes(1, &text(2, name))].concat());
        bytes(field, &[text(1, name), bytes(2, &bytes(1, &[number(1, datatype), shape].concat()))].concat())
    };
    // The attribute `to` of type INT: FP32 is 1 there, INT32 is 6.
    let to_float = bytes(5, &[text(1, "to"), number(3, 1), number(20, 2)].concat());
    let graph = [
        node(&["mask", "ids"], "less", "Sub", &[]),
        node(&["less"], "float", "Cast", &to_float),
        node(&["float"], "y", "Sqrt", &[]),
        text(2, "odd"),
        value(11, "ids", 6),
        value(11, "mask", 6),
        value(12, "y", 1),
    ];
    [number(1, 8), bytes(8, &[text(1, ""), number(2, 13)].concat()), bytes(7, &graph.concat())].concat()
}

#[test]
fn numbers_that_are_none_and_other_shapes_fail_the_run_and_are_no_answer() {
    let (model, tokenizer) = (model(), tokenizer());
    let tensor = |key: &str, name: &str, datatype: &str, last: &str| {
        format!("[[{key}]]\nname = \"{name}\"\ndatatype = \"{datatype}\"\nshape = [\"texts\", \"{last}\"]\n")
    };
    let manifest = format!(
        "name = \"odd\"\nversion = \"1\"\ndescription = \"\"\nlicense = \"\"\nsource = \"\"\nrunner = \"text\"\ncost = {{ base_ms = 1 }}\n\
         [file]\npath = \"model.onnx\"\nsha256 = \"{}\"\n{}{}{}[text]\ntask = \"classification\"\n\
         tokenizer = {{ path = \"tokenizer.json\", sha256 = \"{}\" }}\ntokens_max = 8\nids = \"ids\"\nmask = \"mask\"\noutput = \"y\"\n\
         labels = [\"a\", \"b\"]\nscores = \"softmax\"\n",
        sha256(&model),
        tensor("inputs", "ids", "INT32", "tokens"),
        tensor("inputs", "mask", "INT32", "tokens"),
        tensor("outputs", "y", "FP32", "labels"),
        sha256(&tokenizer),
    );
    let variant = Variant::new("odd", &manifest, &[("model.onnx", &model), ("tokenizer.json", &tokenizer)]);
    let mut odd = runtimes().load(&variant.model()).unwrap_or_else(|error| panic!("{error}"));
    // Unknown words have the id 1.
    let good = r#"{"classifications":[[{"label":"a","score":0.5},{"label":"b","score":0.5}]],"tokens":[2],"truncated":[false]}"#;
    let rows = [
        ("xx yy", Ok(good.to_owned())),
        ("xx job", Err("output y: has a number that is none (NaN or infinite)")),
        ("xx yy zz", Err("output y: has the shape [1, 3] for 1 texts of 3 tokens")),
        ("xx yy", Ok(good.to_owned())),
    ];
    for (text, expected) in rows {
        assert_eq!(run(&mut *odd, &input(&[text])), expected.map_err(|why| RunError::Failed(why.into())), "{text}");
    }
}
