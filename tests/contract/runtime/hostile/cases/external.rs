//! External data at places that are not the model's: outside of its folder, in memory, beyond a file's end, and hidden from who looks for it.

use super::{
    Case, add, bytes, case, entry, graph, int64s, model, node, number, of_domain, opset, raw, tensor, text, varint, vector,
    with_graph, with_tensor,
};

pub(super) fn cases(outside: &str) -> Vec<Case> {
    [elsewhere(outside), of_initializers(outside)].into_iter().flatten().collect()
}

/// What makes a tensor's data external.
fn at(location: &str, offset: &str, length: &str) -> Vec<u8> {
    [entry("location", location), entry("offset", offset), entry("length", length), number(14, 1)].concat()
}

/// The tensor w, whose data is there.
fn there(location: &str) -> Vec<u8> {
    tensor("w", 1, &[2], &at(location, "0", "8"))
}

/// In everything that can hold a tensor, hidden or not.
fn elsewhere(outside: &str) -> Vec<Case> {
    let constant = node("Constant", &[], &["w"], &[with_tensor("value", &there(outside))]);
    let in_sparse = [bytes(1, &there(outside)), bytes(2, &int64s("i", &[0, 1])), number(3, 4)].concat();
    let adding = node("Add", &["x", "w"], &["y"], &[]);
    let branch = [
        bytes(1, &node("Add", &["x", "v"], &["b"], &[])),
        text(2, "b"),
        bytes(5, &tensor("v", 1, &[2], &at(outside, "0", "8"))),
        bytes(12, &vector("b", "m")),
    ]
    .concat();
    let conditional = node("If", &["go"], &["y"], &[with_graph("then_branch", &branch), with_graph("else_branch", &branch)]);
    let function = [
        text(1, "f"),
        text(4, "a"),
        text(5, "b"),
        bytes(7, &constant),
        bytes(7, &node("Add", &["a", "w"], &["b"], &[])),
        bytes(9, &[text(1, ""), number(2, 17)].concat()),
        text(10, "own"),
    ]
    .concat();
    // A field whose number has bits above the 32 that protobuf reads: those bits are dropped, and it is `graph` or `initializer`.
    let hidden =
        |field: u64, content: &[u8]| [varint(1 << 32 | field << 3 | 2), varint(content.len() as u64), content.to_vec()].concat();
    let plain = graph(std::slice::from_ref(&adding), &[]);
    let under_hidden_graph = |graph: &[u8]| [number(1, 8), opset("", 17), hidden(7, graph)].concat();
    let too_large = "a field has a number that is too large";
    vec![
        case("external-in-constant", model(&graph(&[constant.clone(), adding.clone()], &[]))),
        case("external-in-sparse", model(&[graph(std::slice::from_ref(&adding), &[]), bytes(15, &in_sparse)].concat())),
        case("external-in-branch", model(&graph(&[conditional], &[tensor("go", 9, &[], &raw(&[1]))]))),
        case(
            "external-in-function",
            [model(&graph(&[of_domain("own", "f", &["x"], &["y"], &[])], &[])), opset("own", 1), bytes(25, &function)].concat(),
        ),
        case("external-hidden-initializer", model(&[plain, hidden(5, &there("outside"))].concat())).says(too_large).unlisted(),
        case("external-hidden-constant", under_hidden_graph(&graph(&[constant, adding.clone()], &[]))).says(too_large).unlisted(),
        case("external-hidden-beside", under_hidden_graph(&graph(std::slice::from_ref(&adding), &[there(outside)])))
            .says(too_large),
    ]
}

/// Of an initializer, where external data is allowed.
fn of_initializers(outside: &str) -> Vec<Case> {
    let mut cases = vec![
        case("external-of-memory", add(tensor("w", 1, &[2], &at("*/_ORT_MEM_ADDR_/*", "4096", "8"))))
            .says("is not a [[file.external]]"),
        case("external-two-places", add([there("w.bin"), entry("location", outside)].concat())),
        case("external-nowhere", add(tensor("w", 1, &[2], &number(14, 1)))),
        case("external-offset-overflow", add(tensor("w", 1, &[2], &at("w.bin", "18446744073709551615", "8")))),
        case("external-offset-negative", add(tensor("w", 1, &[2], &at("w.bin", "-8", "8")))),
        case("external-length-overflow", add(tensor("w", 1, &[2], &at("w.bin", "8", "18446744073709551608")))),
        case("external-longer-than-there", add(tensor("w", 1, &[1 << 40], &at("w.bin", "0", "4398046511104")))),
        case("external-shorter-than-said", add(tensor("w", 1, &[1 << 40], &at("w.bin", "0", "8")))),
        case("external-without-length", add(tensor("w", 1, &[1 << 40], &[entry("location", "w.bin"), number(14, 1)].concat()))),
        case("external-of-strings", add(tensor("w", 8, &[2], &at("w.bin", "0", "8")))),
    ];
    let locations = [
        outside,
        "../outside",
        "./../../outside",
        "w.bin/../../outside",
        "/dev/zero",
        "/proc/self/environ",
        "",
        ".",
        "link",
        "w.bin\0x",
    ];
    cases.extend(locations.iter().enumerate().map(|(index, location)| {
        case(&format!("external-place-{index}"), add(there(location))).says("is not a [[file.external]]")
    }));
    cases
}
