//! Which external data an ONNX file refers to, found by walking its protobuf fields. It decides nothing about the model: it is a
//! loop with a bounded stack over bytes that may be anything, and it says "not valid" rather than guess.
//!
//! Field numbers: onnx.proto3 of ONNX 1.22 (IR version 10 to 13).

use std::str;

use siding_core::limits;

use super::protobuf::{Value, next};

/// Deepest nesting of messages: the model and its graph, three for each graph in an attribute of a node of a graph, and three for what is in the last one.
const DEPTH_MAX: usize = 2 + limits::MODEL_GRAPHS_DEPTH_MAX * 3 + 3;

/// One tensor's reference to external data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// The file, relative to the model's folder, as the model says it.
    pub(super) location: String,
    /// Where in the file it starts.
    pub(super) offset: u64,
    /// How many bytes; to the end when `None`.
    pub(super) length: Option<u64>,
    /// Whether the tensor is an initializer of the main graph.
    pub(super) is_initializer: bool,
}

/// The messages in which tensors can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    MainGraph,
    Graph,
    Function,
    Training,
    Node,
    Attribute,
    SparseTensor,
    Initializer,
    Tensor,
}

impl Message {
    /// The message that a field of this one holds; `None` when no tensor can be in it.
    fn field(self, number: u64) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, 7) => Self::MainGraph,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::MainGraph, 5) => Self::Initializer,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => Self::Tensor,
            (Self::MainGraph | Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::MainGraph | Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::SparseTensor,
            (Self::Training, 1 | 2) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            _ => return None,
        })
    }
}

/// Every reference in the file.
pub(super) fn references(model: &[u8]) -> Result<Vec<Reference>, &'static str> {
    let mut references = Vec::new();
    let mut open = vec![(Message::Model, model)];
    while let Some((message, rest)) = open.last_mut() {
        let Some((number, value)) = next(rest)? else {
            open.pop();
            continue;
        };
        match (message.field(number), value) {
            (Some(tensor @ (Message::Tensor | Message::Initializer)), Value::Bytes(bytes)) => {
                references.extend(reference(bytes, tensor == Message::Initializer)?);
            }
            (Some(_), Value::Bytes(_)) if open.len() == DEPTH_MAX => return Err("its messages are nested too deep"),
            (Some(inner), Value::Bytes(bytes)) => open.push((inner, bytes)),
            (Some(_), _) => return Err("a message has the wrong wire type"),
            (None, _) => {}
        }
    }
    Ok(references)
}

/// A tensor's reference, if it has one. Of a key that is given twice, the last one counts, but a second location is refused.
fn reference(mut tensor: &[u8], is_initializer: bool) -> Result<Option<Reference>, &'static str> {
    let (mut location, mut offset, mut length, mut external) = (None, 0, None, false);
    while let Some((number, value)) = next(&mut tensor)? {
        match (number, value) {
            (13, Value::Bytes(entry)) => match key_value(entry)? {
                ("location", _) if location.is_some() => return Err("a tensor has two locations of external data"),
                ("location", text) => location = Some(text.to_owned()),
                ("offset", text) => offset = text.parse().map_err(|_| "an offset of external data is no number")?,
                ("length", text) => length = Some(text.parse().map_err(|_| "a length of external data is no number")?),
                _ => {}
            },
            (14, Value::Varint(place)) => external = place == 1,
            (13 | 14, _) => return Err("a tensor's field has the wrong wire type"),
            _ => {}
        }
    }
    match location {
        Some(location) => Ok(Some(Reference { location, offset, length, is_initializer })),
        None if external => Err("a tensor with external data does not say where it is"),
        None => Ok(None),
    }
}

fn key_value(mut entry: &[u8]) -> Result<(&str, &str), &'static str> {
    let (mut key, mut text): (&[u8], &[u8]) = (b"", b"");
    while let Some((number, value)) = next(&mut entry)? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => key = bytes,
            (2, Value::Bytes(bytes)) => text = bytes,
            _ => {}
        }
    }
    let utf8 = |bytes| str::from_utf8(bytes).map_err(|_| "a name of external data is not UTF-8");
    Ok((utf8(key)?, utf8(text)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("short");
        assert!(length < 128 && number < 16);
        [&[number << 3 | 2, length], content].concat()
    }

    fn tensor(entries: &[(&str, &str)]) -> Vec<u8> {
        let entry =
            |(key, value): &(&str, &str)| message(13, &[message(1, key.as_bytes()), message(2, value.as_bytes())].concat());
        let mut tensor: Vec<u8> = entries.iter().flat_map(entry).collect();
        tensor.extend([14 << 3, 1]);
        tensor
    }

    fn refers(location: &str, offset: u64, length: Option<u64>, is_initializer: bool) -> Result<Vec<Reference>, &'static str> {
        Ok(vec![Reference { location: location.into(), offset, length, is_initializer }])
    }

    #[test]
    fn references_are_found_wherever_a_tensor_can_be() {
        let weights = tensor(&[("location", "w"), ("offset", "4"), ("length", "8")]);
        let in_node = message(1, &message(5, &message(5, &tensor(&[("location", "../w")]))));
        let in_subgraph = message(1, &message(5, &message(6, &message(5, &weights))));
        let rows = [
            (message(7, &message(5, &weights)), refers("w", 4, Some(8), true)),
            (message(7, &in_node), refers("../w", 0, None, false)),
            (message(7, &in_subgraph), refers("w", 4, Some(8), false)),
            (message(7, &message(5, &[14 << 3, 0])), Ok(vec![])),
            (message(7, &message(5, &[14 << 3, 1])), Err("a tensor with external data does not say where it is")),
            (
                message(7, &message(5, &tensor(&[("location", "a"), ("location", "b")]))),
                Err("a tensor has two locations of external data"),
            ),
            (
                message(7, &message(5, &tensor(&[("location", "a"), ("offset", "-1")]))),
                Err("an offset of external data is no number"),
            ),
            (message(7, &[0x80]), Err("it ends in the middle of a number")),
            (vec![7 << 3 | 2, 100], Err("it ends in the middle of a field")),
            (vec![7 << 3 | 3], Err("a field has an unknown wire type")),
            (vec![7 << 3, 0], Err("a message has the wrong wire type")),
            // The graph's tag with a bit above the 32nd, which other readers drop.
            (vec![7 << 3 | 2 | 0x80, 0x80, 0x80, 0x80, 0x10, 0], Err("a field has a number that is too large")),
            (vec![0xff; 20], Err("a number is too long")),
            (vec![], Ok(vec![])),
        ];
        for (bytes, expected) in rows {
            assert_eq!(references(&bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn nesting_without_end_is_refused_not_followed() {
        // A node with an attribute with a graph with a node, and so on; lengths are of two bytes from the inside out.
        let wrap = |number: u8, content: &[u8]| {
            let length = content.len();
            let low = u8::try_from(length & 0x7f).expect("7 bits") | 0x80;
            let high = u8::try_from(length >> 7).expect("short");
            [&[number << 3 | 2, low, high], content].concat()
        };
        let mut graph = Vec::new();
        for _ in 0..100 {
            graph = wrap(6, &wrap(1, &wrap(5, &graph)));
        }
        assert_eq!(references(&wrap(7, &graph[3..])), Err("its messages are nested too deep"));
    }
}
