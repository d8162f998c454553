//! What the functions of an ONNX file come to: the runtime writes out every call when it loads a model, and thirty short functions that each call
//! the one before twice are a billion nodes, two thousand in a row are deeper than its stack, and thirty that call each other in a branch are thirty graphs in each
//! other. It decides which files are refused for that; it looks at names only, which is why no function may be given a graph: whoever names it would not show what it is.
//!
//! Field numbers as in `external`.

use std::collections::HashMap;

use siding_core::limits;

use super::protobuf::{Value, next};

const GIVEN_GRAPH: &str = "a function is given a graph";

/// Domain and name of an operator or a function.
type Name<'a> = (&'a [u8], &'a [u8]);

/// One call in a graph or a function.
struct Call<'a> {
    name: Name<'a>,
    /// In how many graphs it is, one inside of the other; 1 for a node of the graph or the function itself.
    level: usize,
    /// Whether it is given a graph.
    is_given_graph: bool,
}

/// Everything that a graph or a function calls, graphs inside of it included.
type Calls<'a> = Vec<Call<'a>>;

/// What calls come to when each is written out.
#[derive(Clone, Copy)]
struct Size {
    nodes: usize,
    /// How deep calls and graphs are in each other.
    depth: usize,
    /// How deep graphs alone are in each other.
    graphs: usize,
}

impl Size {
    /// Of an operator, or of nothing.
    fn of_nodes(nodes: usize) -> Self {
        Self { nodes, depth: 0, graphs: 0 }
    }
}

/// Refuses a file whose functions call each other without end, are more than `limits::MODEL_CALLS_DEPTH_MAX` deep in each other, have more than
/// `limits::MODEL_GRAPHS_DEPTH_MAX` graphs in each other, or come to more than `limits::MODEL_NODES_MAX` nodes; and one that is given a graph.
pub(super) fn check(model: &[u8]) -> Result<(), &'static str> {
    let (main, functions) = parts(model)?;
    if functions.is_empty() {
        return Ok(());
    }
    let given_graph = |call: &Call<'_>| call.is_given_graph && functions.contains_key(&call.name);
    if main.iter().chain(functions.values().flatten()).any(given_graph) {
        return Err(GIVEN_GRAPH);
    }
    let sizes = sizes(&functions)?;
    match total(&main, &sizes) {
        Size { nodes, .. } if nodes > limits::MODEL_NODES_MAX => Err("its functions come to too many nodes"),
        Size { depth, .. } if depth > limits::MODEL_CALLS_DEPTH_MAX => Err("its functions call each other too deep"),
        Size { graphs, .. } if graphs > limits::MODEL_GRAPHS_DEPTH_MAX => Err("its functions have graphs too deep in each other"),
        Size { .. } => Ok(()),
    }
}

/// What these calls come to.
fn total(calls: &Calls<'_>, sizes: &HashMap<Name<'_>, Size>) -> Size {
    calls.iter().fold(Size::of_nodes(0), |total, call| {
        let called = sizes.get(&call.name).copied().unwrap_or(Size::of_nodes(1));
        let depth = called.depth.saturating_add(call.level);
        // A node of the graph or the function itself is in no graph that counts.
        let graphs = called.graphs.saturating_add(call.level - 1);
        Size { nodes: total.nodes.saturating_add(called.nodes), depth: total.depth.max(depth), graphs: total.graphs.max(graphs) }
    })
}

/// What each function comes to. From the functions that call no other one upwards, so that no depth is too deep for our own stack.
fn sizes<'a>(functions: &HashMap<Name<'a>, Calls<'a>>) -> Result<HashMap<Name<'a>, Size>, &'static str> {
    let mut callers: HashMap<Name<'a>, Vec<Name<'a>>> = HashMap::new();
    let mut waits_for: HashMap<Name<'a>, usize> = HashMap::new();
    let mut ready = Vec::new();
    for (&name, calls) in functions {
        let own: Vec<_> = calls.iter().map(|call| call.name).filter(|called| functions.contains_key(called)).collect();
        match own.len() {
            0 => ready.push(name),
            number => drop(waits_for.insert(name, number)),
        }
        own.into_iter().for_each(|called| callers.entry(called).or_default().push(name));
    }
    let mut sizes = HashMap::new();
    while let Some(name) = ready.pop() {
        sizes.insert(name, total(&functions[&name], &sizes));
        for caller in callers.get(&name).into_iter().flatten() {
            if let Some(left) = waits_for.get_mut(caller) {
                *left -= 1;
                if *left == 0 {
                    ready.push(*caller);
                }
            }
        }
    }
    if sizes.len() < functions.len() { Err("its functions call each other without end") } else { Ok(sizes) }
}

/// What the main graph calls, and each function. Functions of one name are taken as one that calls what all of them do.
fn parts(mut model: &[u8]) -> Result<(Calls<'_>, HashMap<Name<'_>, Calls<'_>>), &'static str> {
    let (mut main, mut functions) = (Calls::new(), HashMap::<_, Calls<'_>>::new());
    while let Some((number, value)) = next(&mut model)? {
        match (number, value) {
            (7, Value::Bytes(graph)) => calls(graph, 1, &mut main)?,
            (25, Value::Bytes(function)) => {
                let name = name(function, Fields { domain: 10, name: 1 })?;
                calls(function, 7, functions.entry(name).or_default())?;
                // What it is given where a call gives it nothing.
                inside(function, 11, |attribute| graphs(attribute, |_| Err(GIVEN_GRAPH)))?;
            }
            _ => {}
        }
    }
    Ok((main, functions))
}

/// Adds what the nodes under field `nodes` of `body` call, and the nodes of the graphs in their attributes.
fn calls<'a>(body: &'a [u8], nodes: u64, found: &mut Calls<'a>) -> Result<(), &'static str> {
    let mut open = vec![(body, nodes, 1)];
    while let Some((mut graph, nodes, level)) = open.pop() {
        while let Some((number, value)) = next(&mut graph)? {
            let (true, Value::Bytes(node)) = (number == nodes, value) else { continue };
            let before = open.len();
            inside(node, 5, |attribute| {
                graphs(attribute, |graph| {
                    open.push((graph, 1, level + 1));
                    Ok(())
                })
            })?;
            found.push(Call { name: name(node, Fields { domain: 7, name: 4 })?, level, is_given_graph: open.len() > before });
        }
    }
    Ok(())
}

/// Calls `with` for each graph of an attribute.
fn graphs<'a>(attribute: &'a [u8], mut with: impl FnMut(&'a [u8]) -> Result<(), &'static str>) -> Result<(), &'static str> {
    [6, 11].into_iter().try_for_each(|field| inside(attribute, field, &mut with))
}

/// Calls `with` for each message under that field.
fn inside<'a>(
    mut message: &'a [u8],
    field: u64,
    mut with: impl FnMut(&'a [u8]) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    while let Some((number, value)) = next(&mut message)? {
        if let (true, Value::Bytes(bytes)) = (number == field, value) {
            with(bytes)?;
        }
    }
    Ok(())
}

/// Where a message says its domain and name.
struct Fields {
    domain: u64,
    name: u64,
}

/// Of a field that is given twice, the last one counts. The default domain has two names.
fn name(mut message: &[u8], fields: Fields) -> Result<Name<'_>, &'static str> {
    let (mut domain, mut name): Name<'_> = (b"", b"");
    while let Some((number, value)) = next(&mut message)? {
        match value {
            Value::Bytes(text) if number == fields.domain => domain = text,
            Value::Bytes(text) if number == fields.name => name = text,
            _ => {}
        }
    }
    Ok((if domain == b"ai.onnx" { b"" } else { domain }, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u8, content: &[u8]) -> Vec<u8> {
        let tag = (u32::from(number) << 3) | 2;
        let low = |number: usize| u8::try_from(number & 0x7f).expect("7 bits");
        let length = [low(content.len()) | 0x80, low(content.len() >> 7)];
        let tag = if tag < 128 { vec![low(tag as usize)] } else { vec![low(tag as usize) | 0x80, low(tag as usize >> 7)] };
        [&tag, length.as_slice(), content].concat()
    }

    fn node(call: &str) -> Vec<u8> {
        let (domain, name) = call.split_once(':').expect("domain:name");
        [message(4, name.as_bytes()), message(7, domain.as_bytes())].concat()
    }

    /// A file whose main graph calls `main`, with these functions of the domain `f` and what each calls.
    fn file(main: &str, functions: &[(&str, &[&str])]) -> Vec<u8> {
        let of_function = |(name, calls): &(&str, &[&str])| {
            let nodes: Vec<u8> = calls.iter().flat_map(|call| message(7, &node(call))).collect();
            message(25, &[message(1, name.as_bytes()), nodes, message(10, b"f")].concat())
        };
        let functions: Vec<u8> = functions.iter().flat_map(of_function).collect();
        [message(7, &message(1, &node(main))), functions].concat()
    }

    #[test]
    fn functions_that_come_to_too_much_or_to_no_end_are_refused() {
        let (endless, many) = (Err("its functions call each other without end"), Err("its functions come to too many nodes"));
        let deep = Err("its functions call each other too deep");
        let names: Vec<String> = (0..90).map(|level| format!("f:{level}")).collect();
        let bodies: Vec<[&str; 2]> =
            (0..90).map(|level| [if level == 0 { ":Neg" } else { names[level - 1].as_str() }; 2]).collect();
        let levels = |depth: usize, calls: usize| {
            let functions: Vec<(&str, &[&str])> = (0..depth).map(|level| (&names[level][2..], &bodies[level][..calls])).collect();
            file(&names[depth - 1], &functions)
        };
        // A function that calls itself in a graph of an attribute of a node.
        let in_graph = message(7, &[node(":If"), message(5, &message(6, &message(1, &node("f:a"))))].concat());
        let in_graph = message(25, &[message(1, b"a"), in_graph, message(10, b"f")].concat());
        // Functions that each call the one before in a graph of a node.
        let branches = |depth: usize| {
            let mut functions = message(25, &[message(1, b"0"), message(7, &node(":Neg")), message(10, b"f")].concat());
            for level in 1..depth {
                let branch = message(5, &message(6, &message(1, &node(&names[level - 1]))));
                let body = message(7, &[node(":If"), branch].concat());
                functions.extend(message(25, &[message(1, &names[level].as_bytes()[2..]), body, message(10, b"f")].concat()));
            }
            [message(7, &message(1, &node(&names[depth - 1]))), functions].concat()
        };
        let function = message(25, &[message(1, b"a"), message(7, &node(":Neg")), message(10, b"f")].concat());
        let with_graph = message(7, &message(1, &[node("f:a"), message(5, &message(6, &message(1, &node(":Neg"))))].concat()));
        let by_default = message(25, &[message(1, b"b"), message(11, &message(11, b"")), message(10, b"f")].concat());
        let rows = [
            ("no function", file(":Neg", &[]), Ok(())),
            ("one", file("f:a", &[("a", &[":Neg"])]), Ok(())),
            ("one of an operator's name", file("f:Neg", &[("Neg", &[":Neg"])]), Ok(())),
            ("itself", file("f:a", &[("a", &["f:a"])]), endless),
            ("each other", file("f:a", &[("a", &["f:b"]), ("b", &[":Neg", "f:a"])]), endless),
            ("one of two of a name", file("f:a", &[("a", &[":Neg"]), ("a", &["f:a"])]), endless),
            ("itself, further in", [file(":Neg", &[]), in_graph].concat(), endless),
            ("ten levels of two calls", levels(10, 2), Ok(())),
            ("thirty levels of two calls", levels(30, 2), many),
            ("ninety levels of two calls", levels(90, 2), many),
            ("thirty levels of one call", levels(30, 1), Ok(())),
            ("ninety levels of one call", levels(90, 1), deep),
            ("branches eight deep", branches(9), Ok(())),
            ("branches nine deep", branches(10), Err("its functions have graphs too deep in each other")),
            ("a call with a graph", [with_graph, function.clone()].concat(), Err(GIVEN_GRAPH)),
            ("a graph where a call gives none", [file("f:a", &[]), function, by_default].concat(), Err(GIVEN_GRAPH)),
            ("no message", vec![7 << 3 | 2, 100], Err("it ends in the middle of a field")),
        ];
        for (what, bytes, expected) in rows {
            assert_eq!(check(&bytes), expected, "{what}");
        }
    }
}
