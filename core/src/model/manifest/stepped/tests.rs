//! Rows for `[stepped]`: each rule broken once, and inputs of each form. No file is read here.

use super::*;
use crate::tensor::Datatype;

const DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn tensors(key: &str, specs: &[(&str, &str, &str)]) -> String {
    let tensor = |(name, datatype, shape): &(&str, &str, &str)| {
        format!("[[{key}]]\nname = \"{name}\"\ndatatype = \"{datatype}\"\nshape = {shape}\n")
    };
    specs.iter().map(tensor).collect()
}

fn manifest(inputs: &[(&str, &str, &str)], outputs: &[(&str, &str, &str)], stepped: &str) -> String {
    format!(
        "name = \"m\"\nversion = \"1\"\ndescription = \"\"\nlicense = \"\"\nsource = \"\"\nrunner = \"stepped\"\n\
         cost = {{ base_ms = 1, per_unit_ms = 2 }}\n[file]\npath = \"model.onnx\"\nsha256 = \"{DIGEST}\"\n{}{}{stepped}",
        tensors("inputs", inputs),
        tensors("outputs", outputs)
    )
}

fn chunks() -> String {
    manifest(
        &[("x", "FP32", "[\"batch\", 6]"), ("rate", "INT64", "[]"), ("h", "FP32", "[1, \"batch\"]")],
        &[("y", "FP32", "[\"batch\", 1]"), ("h2", "FP32", "[1, \"batch\"]")],
        "[stepped]\nemit = 2\nconstants = { rate = 16000 }\nchunks = { input = \"x\", axis = 1, hop = 4, front = 2 }\n\
         state = [{ input = \"h\", output = \"h2\" }]\ncollect = [{ output = \"y\", along = 1 }]\n",
    )
}

fn count() -> String {
    manifest(
        &[("x", "FP32", "[\"b\", 2]"), ("s", "FP32", "[\"b\"]"), ("how", "FP32", "[\"b\"]")],
        &[("y", "FP32", "[\"b\", 2]")],
        "[stepped.count]\nsteps = 2\nsteps_max = 5\nschedule = [{ input = \"s\", from = 80, to = 1, rho = 7 }]\n\
         [[stepped.state]]\ninput = \"x\"\noutput = \"y\"\nnoise = \"s\"\n[[stepped.collect]]\noutput = \"y\"\n",
    )
}

fn until() -> String {
    let prelude = tensors("stepped.prelude.inputs", &[("src", "INT64", "[\"b\", \"n\"]"), ("hide", "BOOL", "[\"b\", \"n\"]")])
        + &tensors("stepped.prelude.outputs", &[("m", "FP32", "[\"b\", \"n\", 4]"), ("h0", "FP32", "[\"b\", 4]")]);
    manifest(
        &[("ids", "INT64", "[\"b\", \"t\"]"), ("memory", "FP32", "[\"b\", \"n\", 4]"), ("h", "FP32", "[\"b\", 4]")],
        &[("logits", "FP32", "[\"b\", 300]"), ("h2", "FP32", "[\"b\", 4]")],
        &format!(
            "[stepped]\nstate = [{{ input = \"h\", output = \"h2\" }}]\n[stepped.prelude]\n\
             file = {{ path = \"e.onnx\", sha256 = \"{DIGEST}\" }}\ngives = {{ m = \"memory\", h0 = \"h\" }}\n{prelude}\
             [stepped.until]\ntokens = \"ids\"\nfeed = \"all\"\nlogits = \"logits\"\nstart = [1]\nstop = [2]\ntokens_max = 8\n\
             prompt = {{ input = \"src\", after = [2], tokens_max = 5, mask = {{ input = \"hide\", value = 0 }} }}\n\
             vocabulary = {{ kind = \"bytes\" }}\nsampling = {{ temperature = 0.5 }}\n"
        ),
    )
}

#[test]
fn a_loop_that_breaks_a_rule_is_refused_with_its_key() {
    type Row<'a> = (fn() -> String, &'a str, &'a str, &'a str);
    let rows: &[Row<'_>] = &[
        (chunks, "emit = 2", "emit = 0", "stepped.emit"),
        (chunks, "emit = 2", "emmit = 2", "unknown field `emmit`"),
        (chunks, "per_unit_ms = 2", "size = { input = \"x\", by = \"elements\" }", "cost.size: the size of a stepped"),
        (chunks, "{ rate = 16000 }", "{}\ncount = { steps = 1, steps_max = 1 }", "exactly one of chunks, count and until"),
        (chunks, "rate = 16000", "rate = 0.5", "stepped.constants.rate: INT64 does not have 0.5"),
        (chunks, "rate = 16000", "rat = 16000", "stepped.constants: rat is none of"),
        (chunks, "rate = 16000", "rate = 1, h = 1", "the input h has more than one source"),
        (chunks, "input = \"x\", axis", "input = \"z\", axis", "stepped.chunks.input: z"),
        (chunks, "axis = 1", "axis = 0", "stepped.chunks.axis"),
        (chunks, "axis = 1", "axis = 2", "stepped.chunks.axis"),
        (chunks, "hop = 4", "hop = 7", "stepped.chunks.hop"),
        (chunks, "hop = 4", "hop = 0", "stepped.chunks.hop"),
        (chunks, "front = 2", "front = 6", "stepped.chunks.front"),
        (chunks, "output = \"h2\"", "output = \"h3\"", "stepped.state: h: h3"),
        (chunks, "output = \"h2\"", "output = \"h2\", noise = \"s\"", "stepped.state: h: noise"),
        (chunks, "output = \"h2\"", "output = \"h2\", grows = 0", "stepped.state: h: grows"),
        (
            chunks,
            "\"h\"\ndatatype = \"FP32\"\nshape = [1, \"batch\"]",
            "\"h\"\ndatatype = \"FP32\"\nshape = [1, \"other\"]",
            "how large other",
        ),
        (chunks, "along = 1", "along = 2", "stepped.collect: y: along"),
        (chunks, "along = 1", "trim = 1", "trim and rate need along"),
        (chunks, "along = 1", "along = 1, rate = [1, 0]", "stepped.collect: y: rate"),
        (chunks, "collect = [{ output = \"y\", along = 1 }]", "", "stepped.collect: is needed"),
        (count, "steps = 2", "steps = 6", "stepped.count: steps"),
        (count, "steps_max = 5", "steps_max = 5000000", "stepped.count: steps"),
        (count, "rho = 7 }]", "rho = 7 }, { input = \"s\", from = 1, to = 0 }]", "the input s has more than one source"),
        (count, "from = 80", "from = -1", "-1 is too large, or not positive"),
        (count, "rho = 7", "rho = 0", "stepped.count.schedule.rho"),
        (count, "noise = \"s\"", "noise = \"how\"", "noise: must name a schedule"),
        (count, "name = \"how\"", "name = \"seed\"", "inputs: seed has the name of a wish"),
        (until, "tokens = \"ids\"", "tokens = \"memory\"", "stepped.until.tokens: memory must be INT64"),
        (until, "[\"b\", 300]", "[\"b\", \"v\"]", "stepped.until.logits"),
        (until, "[\"b\", 300]", "[\"b\", 200]", "bytes need at least 256"),
        (until, "stop = [2]", "stop = [300]", "300 is no token; there are 300"),
        (until, "start = [1]", "start = []", "stepped.until.start"),
        (until, "tokens_max = 8", "tokens_max = 8\ntokens_min = 9", "stepped.until.tokens_max"),
        (until, "temperature = 0.5", "temperature = 11", "stepped.until.sampling"),
        (until, "temperature = 0.5", "warmth = 0.5", "unknown field `warmth`"),
        (until, "input = \"src\"", "input = \"source\"", "stepped.until.prompt.input"),
        (until, "input = \"hide\"", "input = \"source\"", "stepped.until.prompt.mask.input"),
        (until, "m = \"memory\"", "m = \"h\"", "stepped.prelude.gives"),
        (until, "m = \"memory\"", "q = \"memory\"", "stepped.prelude.gives.q: q"),
        (until, "\"e.onnx\"", "\"model.onnx\"", "model.onnx is named twice"),
        (until, "\"e.onnx\"", "\"../e.onnx\"", "a file name of the model's folder"),
    ];
    for valid in [chunks, count, until] {
        assert_eq!(Manifest::parse(&valid()).map(drop), Ok(()));
    }
    for (base, from, to, part) in rows {
        let text = base().replacen(from, to, 1);
        assert_ne!(text, base(), "{from}");
        let error = Manifest::parse(&text).expect_err(to).to_string();
        assert!(error.contains(part), "{to}: {error}");
    }
}

#[test]
fn an_input_is_sized_by_its_runs_and_every_wrong_wish_is_named() {
    let sequence = |length: usize| format!(r#"{{"x":{{"shape":[1,{length}],"data":{:?}}}}}"#, vec![0.5; length]);
    let how = |more: &str| format!(r#"{{"how":{{"shape":[1],"data":[1]}}{more}}}"#);
    type Row<'a> = (fn() -> String, String, Result<f64, &'a str>);
    let rows: &[Row<'_>] = &[
        (chunks, sequence(1), Ok(1.0)),
        (chunks, sequence(4), Ok(1.0)),
        (chunks, sequence(5), Ok(2.0)),
        (chunks, "{}".into(), Err("/x")),
        (chunks, sequence(4).replace("}}", "},\"seed\":1}"), Err("/seed")),
        (count, how(""), Ok(2.0)),
        (count, how(",\"steps\":5,\"seed\":9007199254740991"), Ok(5.0)),
        (count, how(",\"steps\":6"), Err("/steps")),
        (count, how(",\"steps\":0"), Err("/steps")),
        (count, how(",\"steps\":\"2\""), Err("/steps")),
        (count, how(",\"seed\":9007199254740992"), Err("/seed")),
        (count, how(",\"x\":1"), Err("/x")),
        (until, r#"{"text":"héé"}"#.into(), Ok(8.0)),
        (until, r#"{"text":"hééé"}"#.into(), Err("/text")),
        (until, r#"{"text":""}"#.into(), Ok(8.0)),
        (until, r#"{"text":7}"#.into(), Err("/text")),
        (until, r#"{"tokens":[1,2],"tokens_max":3}"#.into(), Ok(3.0)),
        (until, r#"{"tokens":[1,256]}"#.into(), Err("/tokens/1")),
        (until, r#"{"tokens":[1,-1]}"#.into(), Err("/tokens")),
        (until, r#"{"tokens":[1],"text":"a"}"#.into(), Err("/tokens")),
        (until, "{}".into(), Err("/text")),
        (until, r#"{"text":"a","tokens_max":9}"#.into(), Err("/tokens_max")),
        (until, r#"{"text":"a","temperature":11}"#.into(), Err("/temperature")),
        (until, r#"{"text":"a","top_p":0}"#.into(), Err("/top_p")),
        (until, r#"{"text":"a","top_k":-1}"#.into(), Err("/top_k")),
        (until, r#"{"text":"a","steps":1}"#.into(), Err("/steps")),
        (until, r#"{"text":"a","src":1}"#.into(), Err("/src")),
    ];
    for (base, input, expected) in rows {
        let found = Manifest::parse(&base()).expect("valid").check_input(input).map_err(|problems| problems[0].pointer.clone());
        assert_eq!(found.as_ref().map_err(String::as_str), expected.as_ref().map_err(|p| *p), "{input}");
    }
    let parsed = Manifest::parse(&until()).expect("valid").parse_stepped(r#"{"text":"a","top_k":3}"#).expect("fits");
    assert_eq!(parsed.sampling, Sampling { temperature: 0.5, top_k: 3, top_p: 1.0 });
}

#[test]
fn a_schedule_goes_from_the_first_number_to_the_last() {
    let of = |from, to, rho| Schedule { input: String::new(), from, to, rho };
    let rows = [
        (of(10.0, 0.0, 1.0), 3, vec![10.0, 5.0, 0.0]),
        (of(0.0, 3.0, 1.0), 4, vec![0.0, 1.0, 2.0, 3.0]),
        (of(9.0, 1.0, 2.0), 3, vec![9.0, 4.0, 1.0]),
        (of(80.0, 1.0, 7.0), 1, vec![80.0]),
    ];
    for (schedule, steps, expected) in rows {
        let found: Vec<f64> = (0..steps).map(|index| schedule.value(index, steps)).collect();
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-9) && found.len() == expected.len(), "{found:?}");
    }
}

#[test]
fn symbols_are_what_the_job_says_and_what_grows_begins_with_nothing() {
    let dim = |text: &str| text.parse().map_or_else(|_| Dim::Symbol(text.into()), Dim::Fixed);
    let spec = |dims: &[&str]| TensorSpec {
        name: "x".into(),
        datatype: Datatype::Fp32,
        shape: dims.iter().map(|text| dim(text)).collect(),
    };
    let mut symbols = Symbols::default();
    assert_eq!(symbols.note(&spec(&["batch", "2"]), &[3, 2]), Ok(()));
    assert!(symbols.note(&spec(&["batch"]), &[4]).is_err());
    type Row<'a> = (&'a [&'a str], Option<usize>, Option<Vec<usize>>);
    let rows: [Row<'_>; 5] = [
        (&["2", "batch"], None, Some(vec![2, 3])),
        (&[], None, Some(vec![])),
        (&["batch", "past", "4"], Some(1), Some(vec![3, 0, 4])),
        (&["batch", "past"], None, None),
        (&["batch", "16777216"], None, None),
    ];
    for (dims, grows, expected) in rows {
        assert_eq!(symbols.shape(&spec(dims), grows), expected, "{dims:?}");
    }
}
