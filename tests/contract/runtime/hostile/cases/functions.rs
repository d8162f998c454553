//! Functions that call each other in ways that come to no end, to too much, or too deep.

use super::{Case, RUNS, bytes, case, graph, model, number, of_domain, opset, text};

pub(super) fn cases() -> Vec<Case> {
    // A function of the domain `own` that calls these in a row: `Neg`, or others of its domain.
    let function = |name: &str, calls: &[&str]| {
        let mut body = Vec::new();
        let mut from = "a".to_owned();
        for (index, call) in calls.iter().enumerate() {
            let to = if index + 1 == calls.len() { "b".to_owned() } else { format!("b{index}") };
            let domain = if *call == "Neg" { "" } else { "own" };
            body.extend(bytes(7, &of_domain(domain, call, &[&from], &[&to], &[])));
            from = to;
        }
        let opsets = [("", 17), ("own", 1)].map(|(domain, version)| bytes(9, &[text(1, domain), number(2, version)].concat()));
        bytes(25, &[text(1, name), text(4, "a"), text(5, "b"), body, opsets.concat(), text(10, "own")].concat())
    };
    let calling = |name: &str, functions: &[Vec<u8>]| {
        let main = graph(&[of_domain("own", name, &["x"], &["y"], &[])], &[]);
        [model(&main), opset("own", 1), functions.concat()].concat()
    };
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
}
