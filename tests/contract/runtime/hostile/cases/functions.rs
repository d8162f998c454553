//! Functions that call each other in ways that come to no end, to too much, or too deep.

use super::{
    Case, RUNS, bytes, case, graph, model, node, number, of_domain, opset, raw, tensor, text, vector, with_graph, with_tensor,
};

/// A function of the domain `own`: its name, inputs, outputs and nodes.
fn of_body(body: &[u8]) -> Vec<u8> {
    let opsets = [("", 17), ("own", 1)].map(|(domain, version)| bytes(9, &[text(1, domain), number(2, version)].concat()));
    bytes(25, &[body, opsets.concat().as_slice(), text(10, "own").as_slice()].concat())
}

fn value(tensor: &[u8]) -> Vec<u8> {
    with_tensor("value", tensor)
}

/// A function of the domain `own` that calls these in a row: `Neg`, or others of its domain.
fn function(name: &str, calls: &[&str]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut from = "a".to_owned();
    for (index, call) in calls.iter().enumerate() {
        let to = if index + 1 == calls.len() { "b".to_owned() } else { format!("b{index}") };
        let domain = if *call == "Neg" { "" } else { "own" };
        body.extend(bytes(7, &of_domain(domain, call, &[&from], &[&to], &[])));
        from = to;
    }
    of_body(&[text(1, name), text(4, "a"), text(5, "b"), body].concat())
}

/// A file that calls the function of that name.
fn calling(name: &str, functions: &[Vec<u8>]) -> Vec<u8> {
    let main = graph(&[of_domain("own", name, &["x"], &["y"], &[])], &[]);
    [model(&main), opset("own", 1), functions.concat()].concat()
}

pub(super) fn cases() -> Vec<Case> {
    let laughs = |depth: usize| {
        let mut all = vec![function("f0", &["Neg", "Neg"])];
        for level in 1..depth {
            let below = format!("f{}", level - 1);
            all.push(function(&format!("f{level}"), &[&below, &below]));
        }
        calling(&format!("f{}", depth - 1), &all)
    };
    let in_a_row = |depth: usize| {
        let mut all = vec![function("f0", &["Neg"])];
        all.extend((1..depth).map(|level| function(&format!("f{level}"), &[&format!("f{}", level - 1)])));
        calling(&format!("f{}", depth - 1), &all)
    };
    vec![
        case("function", calling("f", &[function("f", &["Neg", "Neg"])])).says(RUNS),
        case("function-of-itself", calling("f", &[function("f", &["f"])])).says("without end"),
        case("functions-of-each-other", calling("f", &[function("f", &["g"]), function("g", &["f"])])).says("without end"),
        case("function-missing", calling("f", &[function("g", &["Neg"])])),
        case("function-twice", calling("f", &[function("f", &["Neg"]), function("f", &["Neg", "Neg"])])),
        case("functions-in-a-row", in_a_row(60)).says(RUNS),
        case("functions-in-a-long-row", in_a_row(2000)).says("call each other too deep"),
        case("a-thousand-laughs", laughs(10)).says(RUNS),
        case("a-billion-laughs", laughs(30)).says("too many nodes"),
    ]
    .into_iter()
    .chain(in_graphs())
    .collect()
}

/// Functions in graphs, and graphs in functions.
fn in_graphs() -> Vec<Case> {
    // Each calls the one before it in a branch of an If.
    let branching = |depth: usize| {
        let mut all = vec![function("f0", &["Neg"])];
        for level in 1..depth {
            let call = of_domain("own", &format!("f{}", level - 1), &["a"], &["r"], &[]);
            let branch = [bytes(1, &call), text(2, "branch"), bytes(12, &vector("r", "m"))].concat();
            let go = node("Constant", &[], &["go"], &[value(&tensor("", 9, &[], &raw(&[1])))]);
            let other = [bytes(1, &node("Neg", &["a"], &["s"], &[])), text(2, "other"), bytes(12, &vector("s", "m"))].concat();
            let choice = node("If", &["go"], &["b"], &[with_graph("then_branch", &branch), with_graph("else_branch", &other)]);
            let name = text(1, &format!("f{level}"));
            all.push(of_body(&[name, text(4, "a"), text(5, "b"), bytes(7, &go), bytes(7, &choice)].concat()));
        }
        calling(&format!("f{}", depth - 1), &all)
    };
    // A function whose branches are what it is given by name, and a call that gives it a graph.
    let by_name = {
        let named = |name: &str| [text(1, name), text(21, "g"), number(20, 5)].concat();
        let go = node("Constant", &[], &["go"], &[value(&tensor("", 9, &[], &raw(&[1])))]);
        let choice = node("If", &["go"], &["b"], &[named("then_branch"), named("else_branch")]);
        let signature = [text(1, "f"), text(4, "a"), text(5, "b"), text(6, "g")].concat();
        of_body(&[signature, bytes(7, &go), bytes(7, &choice)].concat())
    };
    let given = {
        let branch = [bytes(1, &node("Neg", &["x"], &["r"], &[])), text(2, "branch"), bytes(12, &vector("r", "m"))].concat();
        let main = graph(&[of_domain("own", "f", &["x"], &["y"], &[with_graph("g", &branch)])], &[]);
        let by_default = of_body(&[text(1, "f"), text(4, "a"), text(5, "b"), bytes(11, &with_graph("g", &branch))].concat());
        ([model(&main), opset("own", 1), by_name.clone()].concat(), calling("f", &[by_default]))
    };
    vec![
        case("functions-of-branches", branching(5)).says(RUNS),
        case("functions-of-many-branches", branching(31)).says("graphs too deep in each other"),
        case("function-given-a-graph", given.0).says("is given a graph"),
        case("function-with-a-graph-of-its-own", given.1).says("is given a graph"),
        case("function-of-no-graph", calling("f", &[by_name])),
    ]
}
