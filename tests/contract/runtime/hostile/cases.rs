//! Files that mean harm, each written field by field: what would make a runtime loop, fall over its own stack, ask for petabytes, or open a path.
//! Every one takes a vector x and gives a vector y, if it does anything.

mod external;
mod functions;

use super::super::interface::onnx::{bytes, entry, number, text, varint, vector};

/// A file. Beside it lies `w.bin` with 16 bytes.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) model: Vec<u8>,
    /// Whether the manifest lists `w.bin`.
    pub(super) listed: bool,
    /// What loading or the run must say, or a part of it; empty where the runtime's words do not matter.
    pub(super) says: &'static str,
}

impl Case {
    fn says(self, says: &'static str) -> Self {
        Self { says, ..self }
    }

    fn unlisted(self) -> Self {
        Self { listed: false, ..self }
    }
}

fn case(name: &str, model: Vec<u8>) -> Case {
    Case { name: name.into(), model, listed: true, says: "" }
}

/// What is said of a file that does load and runs.
const RUNS: &str = "ran: Ok(";

/// A node of the default domain.
fn node(operator: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    of_domain("", operator, inputs, outputs, attributes)
}

fn of_domain(domain: &str, operator: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut node: Vec<u8> = inputs.iter().flat_map(|name| text(1, name)).collect();
    node.extend(outputs.iter().flat_map(|name| text(2, name)));
    node.extend([text(4, operator), text(7, domain)].concat());
    node.extend(attributes.iter().flat_map(|attribute| bytes(5, attribute)));
    node
}

fn ints(name: &str, values: &[i64]) -> Vec<u8> {
    [text(1, name), values.iter().flat_map(|&value| number(8, value as u64)).collect(), number(20, 7)].concat()
}

fn int(name: &str, value: i64) -> Vec<u8> {
    [text(1, name), number(3, value as u64), number(20, 2)].concat()
}

fn with_tensor(name: &str, tensor: &[u8]) -> Vec<u8> {
    [text(1, name), bytes(5, tensor), number(20, 4)].concat()
}

fn with_graph(name: &str, graph: &[u8]) -> Vec<u8> {
    [text(1, name), bytes(6, graph), number(20, 5)].concat()
}

/// A `TensorProto` of FP32 or another type, whose data is `rest`.
fn tensor(name: &str, datatype: u64, dims: &[i64], rest: &[u8]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|&dim| number(1, dim as u64)).collect();
    [dims, number(2, datatype), text(8, name), rest.to_vec()].concat()
}

fn raw(content: &[u8]) -> Vec<u8> {
    bytes(9, content)
}

fn int64s(name: &str, values: &[i64]) -> Vec<u8> {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, 7, &[values.len() as i64], &raw(&data))
}

/// A graph from x to y.
fn graph(nodes: &[Vec<u8>], initializers: &[Vec<u8>]) -> Vec<u8> {
    let mut graph: Vec<u8> = nodes.iter().flat_map(|node| bytes(1, node)).collect();
    graph.extend(text(2, "g"));
    graph.extend(initializers.iter().flat_map(|tensor| bytes(5, tensor)));
    graph.extend([bytes(11, &vector("x", "n")), bytes(12, &vector("y", "m"))].concat());
    graph
}

fn opset(domain: &str, version: u64) -> Vec<u8> {
    bytes(8, &[text(1, domain), number(2, version)].concat())
}

fn model(graph: &[u8]) -> Vec<u8> {
    [number(1, 8), opset("", 17), bytes(7, graph)].concat()
}

/// y = x + w, where w is this initializer.
fn add(tensor: Vec<u8>) -> Vec<u8> {
    model(&graph(&[node("Add", &["x", "w"], &["y"], &[])], &[tensor]))
}

fn identity() -> Vec<u8> {
    graph(&[node("Identity", &["x"], &["y"], &[])], &[])
}

pub(super) fn cases(outside: &str) -> Vec<Case> {
    [graphs(), tensors(), operators(), nested(), functions::cases(), external::cases(outside)].into_iter().flatten().collect()
}

fn graphs() -> Vec<Case> {
    let cycle =
        [node("Add", &["x", "b"], &["a"], &[]), node("Add", &["a", "x"], &["b"], &[]), node("Add", &["a", "b"], &["y"], &[])];
    let twice = [node("Neg", &["x"], &["y"], &[]), node("Abs", &["x"], &["y"], &[])];
    let versions = [
        ("none", None),
        ("zero", Some(0)),
        ("of-tomorrow", Some(99)),
        ("negative", Some(u64::MAX)),
        ("largest", Some(i64::MAX as u64)),
    ];
    let of_version = |version: Option<u64>| {
        [number(1, 8), version.map_or(Vec::new(), |version| opset("", version)), bytes(7, &identity())].concat()
    };
    let mut cases = vec![
        case("cycle", model(&graph(&cycle, &[]))).says("not acyclic"),
        case("cycle-of-one", model(&graph(&[node("Add", &["x", "y"], &["y"], &[])], &[]))),
        case("input-from-nowhere", model(&graph(&[node("Add", &["x", "z"], &["y"], &[])], &[]))),
        case("given-twice", model(&graph(&twice, &[]))),
        case("given-by-nobody", model(&graph(&[], &[]))),
        case("unknown-operator", model(&graph(&[node("Dance", &["x"], &["y"], &[])], &[]))),
        case("unknown-domain", model(&graph(&[of_domain("evil", "Add", &["x", "x"], &["y"], &[])], &[]))),
        case("ir-of-tomorrow", [number(1, 9999), opset("", 17), bytes(7, &identity())].concat()),
        case("ir-negative", [number(1, u64::MAX), opset("", 17), bytes(7, &identity())].concat()),
        case("no-graph", [number(1, 8), opset("", 17)].concat()),
        case("two-graphs", [model(&identity()), bytes(7, &identity())].concat()),
    ];
    cases.extend(versions.map(|(name, version)| case(&format!("opset-{name}"), of_version(version))));
    let chain: Vec<_> = (0..5000)
        .map(|i| {
            let (from, to) = (format!("t{i}"), format!("t{}", i + 1));
            let (from, to) = (if i == 0 { "x" } else { &from }, if i == 4999 { "y" } else { &to });
            node("Neg", &[from], &[to], &[])
        })
        .collect();
    cases.push(case("long-chain", model(&graph(&chain, &[]))));
    cases
}

fn tensors() -> Vec<Case> {
    const PETABYTE: i64 = 1 << 50;
    let four = raw(&[0; 4]);
    let sparse = |dims: &[i64], indices: &[i64]| {
        let values = tensor("w", 1, &[indices.len() as i64], &raw(&vec![0; 4 * indices.len()]));
        let dims: Vec<u8> = dims.iter().flat_map(|&dim| number(3, dim as u64)).collect();
        let sparse = [bytes(1, &values), bytes(2, &int64s("i", indices)), dims].concat();
        let graph = graph(&[node("Add", &["x", "w"], &["y"], &[])], &[]);
        model(&[graph, bytes(15, &sparse)].concat())
    };
    vec![
        case("petabytes-without-data", add(tensor("w", 1, &[PETABYTE], &[]))),
        case("petabytes-of-four-bytes", add(tensor("w", 1, &[PETABYTE], &four))),
        case("petabytes-of-one-float", add(tensor("w", 1, &[PETABYTE], &[varint(4 << 3 | 5), vec![0; 4]].concat()))),
        case("size-overflows-to-0", add(tensor("w", 1, &[1 << 32, 1 << 32], &four))),
        case("size-overflows-to-1", add(tensor("w", 1, &[i64::MAX, i64::MAX], &four))),
        case("bytes-overflow", add(tensor("w", 1, &[(1 << 62) + 1], &four))),
        case("negative-size", add(tensor("w", 1, &[-1], &four))),
        case("negative-twice", add(tensor("w", 1, &[-1, -1], &four))),
        case("many-dimensions", add(tensor("w", 1, &[1; 100_000], &four))),
        case("unknown-datatype", add(tensor("w", 999, &[1], &four))),
        case("no-datatype", add(tensor("w", 0, &[1], &four))),
        case("other-datatype", add(int64s("w", &[1]))),
        case("strings-in-raw", add(tensor("w", 8, &[1], &four))),
        case("strings-in-number", add(tensor("w", 1, &[1], &text(6, "one")))),
        case("datatype-of-4-bits-short", add(tensor("w", 22, &[1 << 40], &four))),
        case("sparse", sparse(&[4], &[0, 3])),
        case("sparse-beyond-its-size", sparse(&[4], &[4])),
        case("sparse-far-beyond", sparse(&[4], &[1 << 40])),
        case("sparse-before-its-size", sparse(&[4], &[-1])),
        case("sparse-of-petabytes", sparse(&[PETABYTE], &[0])),
        case("sparse-overflows", sparse(&[1 << 32, 1 << 32], &[0])),
        case("sparse-negative", sparse(&[-4], &[0])),
    ]
}

/// y = x + what the operator makes of constants.
fn constant(operator: &str, attributes: &[Vec<u8>], inputs: &[Vec<u8>]) -> Vec<u8> {
    let names: Vec<String> = (0..inputs.len()).map(|i| format!("c{i}")).collect();
    let named: Vec<Vec<u8>> = inputs.iter().zip(&names).map(|(input, name)| [input.clone(), text(8, name)].concat()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let cast = int("to", 1);
    let nodes = [
        node(operator, &names, &["c"], attributes),
        node("Cast", &["c"], &["f"], &[cast]),
        node("Add", &["x", "f"], &["y"], &[]),
    ];
    model(&graph(&nodes, &named))
}

/// The smallest number by -1: the processor's own division traps, and the runtime does not look before.
pub(super) fn division_that_traps() -> Case {
    case("division-that-traps", constant("Div", &[], &[int64s("", &[i64::MIN]), int64s("", &[-1])]))
}

/// Operators with numbers that divide by 0 or make something huge out of nothing, while the runtime computes what is constant.
fn operators() -> Vec<Case> {
    let floats = |dims: &[i64]| tensor("", 1, dims, &raw(&vec![0; 4 * dims.iter().product::<i64>() as usize]));
    let kernel = || ints("kernel_shape", &[1, 1]);
    let scalar = |value: i64| tensor("", 7, &[], &raw(&value.to_le_bytes()));
    vec![
        case("division-by-0", constant("Div", &[], &[int64s("", &[1]), int64s("", &[0])])),
        case("remainder-of-0", constant("Mod", &[], &[int64s("", &[1]), int64s("", &[0])])),
        case("pool-strides-0", constant("MaxPool", &[kernel(), ints("strides", &[0, 0])], &[floats(&[1, 1, 2, 2])])),
        case("pool-kernel-0", constant("AveragePool", &[ints("kernel_shape", &[0, 0])], &[floats(&[1, 1, 2, 2])])),
        case("pool-pads-huge", constant("MaxPool", &[kernel(), ints("pads", &[1 << 40; 4])], &[floats(&[1, 1, 2, 2])])),
        case("conv-strides-0", constant("Conv", &[ints("strides", &[0, 0])], &[floats(&[1, 1, 2, 2]), floats(&[1, 1, 1, 1])])),
        case("conv-group-0", constant("Conv", &[int("group", 0)], &[floats(&[1, 1, 2, 2]), floats(&[1, 1, 1, 1])])),
        case("split-by-0", constant("Split", &[], &[floats(&[4]), int64s("", &[0])])),
        case("space-to-depth-0", constant("SpaceToDepth", &[int("blocksize", 0)], &[floats(&[1, 1, 2, 2])])),
        case("fill-petabytes", constant("ConstantOfShape", &[], &[int64s("", &[1 << 50])])),
        case("fill-overflows", constant("ConstantOfShape", &[], &[int64s("", &[1 << 32, 1 << 32])])),
        case("fill-negative", constant("ConstantOfShape", &[], &[int64s("", &[-5])])),
        case("range-without-end", constant("Range", &[], &[scalar(0), scalar(1 << 50), scalar(1)])),
        case("range-by-0", constant("Range", &[], &[scalar(0), scalar(1), scalar(0)])),
        case("tile-petabytes", constant("Tile", &[], &[floats(&[1]), int64s("", &[1 << 50])])),
        case("expand-petabytes", constant("Expand", &[], &[floats(&[1]), int64s("", &[1 << 50])])),
        case("pad-petabytes", constant("Pad", &[], &[floats(&[1]), int64s("", &[0, 1 << 50])])),
        case("gather-outside", constant("Gather", &[], &[floats(&[2]), int64s("", &[1 << 40])])),
        case(
            "slice-by-0",
            constant("Slice", &[], &[floats(&[2]), int64s("", &[0]), int64s("", &[2]), int64s("", &[0]), int64s("", &[0])]),
        ),
        case("reshape-to-0", constant("Reshape", &[], &[floats(&[2]), int64s("", &[-1, 0])])),
        case("transpose-outside", constant("Transpose", &[ints("perm", &[7])], &[floats(&[2])])),
        case("one-hot-petabytes", constant("OneHot", &[], &[int64s("", &[0]), scalar(1 << 50), int64s("", &[0, 1])])),
        case("axis-outside", constant("Concat", &[int("axis", 1 << 40)], &[floats(&[2])])),
    ]
}

fn nested() -> Vec<Case> {
    // An If whose branch holds an If, and so on; each level is three messages.
    let nest = |depth: usize| {
        let branch = |node: Vec<u8>, output: &str| [bytes(1, &node), text(2, "b"), bytes(12, &vector(output, "m"))].concat();
        let mut inner = node("Identity", &["x"], &["y0"], &[]);
        for level in 0..depth {
            let output = format!("y{level}");
            let graph = branch(inner, &output);
            let outer = if level + 1 == depth { "y".to_owned() } else { format!("y{}", level + 1) };
            inner = node("If", &["go"], &[&outer], &[with_graph("then_branch", &graph), with_graph("else_branch", &graph)]);
            if level > 6 {
                inner = node("If", &["go"], &[&outer], &[with_graph("then_branch", &graph)]);
            }
        }
        model(&graph(&[inner], &[tensor("go", 9, &[], &raw(&[1]))]))
    };
    // A sequence of sequences of sequences, as a type of a value.
    let typed = |depth: usize| {
        let mut inner = bytes(1, &number(1, 1));
        for _ in 0..depth {
            inner = bytes(4, &bytes(1, &inner));
        }
        let value = [text(1, "t"), bytes(2, &inner)].concat();
        model(&[identity(), bytes(13, &value)].concat())
    };
    vec![
        case("ifs-5", nest(5)).says(RUNS),
        case("ifs-30", nest(30)),
        case("ifs-100", nest(100)).says("nested too deep"),
        case("types-40", typed(40)),
        case("types-1000", typed(1000)),
    ]
}
