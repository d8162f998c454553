//! Larger inputs out of an example. It decides which part of an example grows: the first whose growing makes the size larger, whatever the model's
//! runner is. It knows numbers, texts, lists and tensors, and no key of any runner.

use serde_json::{Number, Value};
use siding_core::{
    limits,
    model::manifest::Manifest,
    tensor::{Dim, TensorSpec},
};

use super::FACTOR_MAX;

/// An example and the part of it that grows.
#[derive(Debug)]
pub(super) struct Growing<'a> {
    example: Value,
    specs: &'a [TensorSpec],
    part: Part,
}

/// One thing in an example that can be larger.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// A number, a text or a list: it is multiplied or repeated.
    Plain { key: String },
    /// The only number of a tensor.
    Scalar { key: String },
    /// These axes of these tensors, together: they have one symbol.
    Axes(Vec<(String, usize)>),
}

impl<'a> Growing<'a> {
    /// Finds the part; `size` says how large an input is, `None` of one that does not fit. `None` when nothing makes the size larger.
    pub(super) fn of(manifest: &'a Manifest, example: &str, size: impl Fn(&str) -> Option<f64>) -> Option<Self> {
        Self::in_example(serde_json::from_str(example).ok()?, &manifest.inputs, size)
    }

    fn in_example(example: Value, specs: &'a [TensorSpec], size: impl Fn(&str) -> Option<f64>) -> Option<Self> {
        let text = example.to_string();
        let own = size(&text)?;
        // Most grow with the first step; a window of many samples only when the sequence is longer than it.
        let is_small = |&factor: &usize| factor <= FACTOR_MAX && text.len().saturating_mul(factor) <= limits::BODY_BYTES_MAX;
        parts(&example, specs).into_iter().map(|part| Self { example: example.clone(), specs, part }).find(|growing| {
            let steps = std::iter::successors(Some(2_usize), |factor| Some(factor * 2)).take_while(is_small);
            steps.map_while(|factor| size(&growing.times(factor))).any(|size| size > own)
        })
    }

    /// The example with its part so many times as large, as JSON text.
    pub(super) fn times(&self, factor: usize) -> String {
        let mut larger = self.example.clone();
        match &self.part {
            Part::Plain { key } => larger[key] = plain(&self.example[key], factor),
            Part::Scalar { key } => {
                if let Some(number) = flat(&self.example[key]["data"]).first() {
                    larger[key]["data"] = Value::Array(vec![plain(number, factor)]);
                }
            }
            Part::Axes(axes) => {
                for spec in self.specs {
                    for (key, axis) in axes.iter().filter(|(key, _)| *key == spec.name) {
                        let tensor = larger[key].clone();
                        tile(&mut larger[key], &tensor, *axis, factor);
                    }
                }
            }
        }
        larger.to_string()
    }
}

/// Everything that can be larger, in the order in which it is tried: numbers and scalars say outright how much there is to do, axes are last.
fn parts(example: &Value, specs: &[TensorSpec]) -> Vec<Part> {
    let Some(fields) = example.as_object() else { return Vec::new() };
    let spec_of = |key: &str| specs.iter().find(|spec| spec.name == key);
    let shape_of = |key: &str| fields.get(key).and_then(|value| value["shape"].as_array());
    let mut parts = Vec::new();
    let plain = |wanted: fn(&Value) -> bool| {
        fields.iter().filter(move |(_, value)| wanted(value)).map(|(key, _)| Part::Plain { key: key.clone() })
    };
    parts.extend(plain(Value::is_number));
    parts.extend(
        fields
            .iter()
            .filter(|(key, value)| spec_of(key).is_some() && flat(&value["data"]).len() == 1)
            .map(|(key, _)| Part::Scalar { key: key.clone() }),
    );
    parts.extend(plain(Value::is_array));
    parts.extend(plain(Value::is_string));
    let (mut windows, mut symbols) = (Vec::new(), Vec::<(&str, Vec<(String, usize)>)>::new());
    for spec in specs.iter().filter(|spec| shape_of(&spec.name).is_some_and(|shape| shape.len() == spec.shape.len())) {
        for (axis, dim) in spec.shape.iter().enumerate() {
            let place = (spec.name.clone(), axis);
            match dim {
                // An axis that is fixed in the file and may be given otherwise: a window moves along it.
                Dim::Fixed(_) => windows.push(Part::Axes(vec![place])),
                Dim::Symbol(symbol) => match symbols.iter_mut().find(|(known, _)| known == symbol) {
                    Some((_, places)) => places.push(place),
                    None => symbols.push((symbol, vec![place])),
                },
            }
        }
    }
    parts.extend(windows);
    parts.extend(symbols.into_iter().map(|(_, places)| Part::Axes(places)));
    parts
}

/// A number multiplied; a text or a list repeated.
fn plain(value: &Value, factor: usize) -> Value {
    match value {
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => Value::Number(whole.saturating_mul(factor as u64).into()),
            #[expect(clippy::cast_precision_loss, reason = "at most FACTOR_MAX")]
            (None, Some(real)) => Number::from_f64(real * factor as f64).map_or(Value::Null, Value::Number),
            (None, None) => value.clone(),
        },
        // With a space between, so that words stay words.
        Value::String(text) => Value::String(vec![text.as_str(); factor].join(" ")),
        Value::Array(list) => Value::Array(list.iter().cycle().take(list.len() * factor).cloned().collect()),
        Value::Null | Value::Bool(_) | Value::Object(_) => value.clone(),
    }
}

/// Sets `larger` to `tensor` repeated along one axis.
fn tile(larger: &mut Value, tensor: &Value, axis: usize, factor: usize) {
    let shape: Vec<usize> =
        tensor["shape"].as_array().into_iter().flatten().filter_map(|size| usize::try_from(size.as_u64()?).ok()).collect();
    let data = flat(&tensor["data"]);
    // Row-major: what lies together under one index of the axes before is repeated as a whole.
    let together: usize = shape.iter().skip(axis).product();
    if together == 0 {
        return;
    }
    let repeated = data.chunks(together).flat_map(|chunk| std::iter::repeat_n(chunk, factor).flatten());
    larger["data"] = Value::Array(repeated.map(|&element| element.clone()).collect());
    larger["shape"][axis] = (shape[axis] * factor).into();
}

/// The elements of a tensor's `data`, flat or nested.
fn flat(data: &Value) -> Vec<&Value> {
    let mut elements = Vec::new();
    let mut open = vec![data];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(list) => open.extend(list.iter().rev()),
            element => elements.push(element),
        }
    }
    elements
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use siding_core::tensor::Datatype;

    use super::*;

    fn spec(name: &str, shape: &[Dim]) -> TensorSpec {
        TensorSpec { name: name.into(), datatype: Datatype::Fp32, shape: shape.to_vec() }
    }

    /// The example three times as large, where the size is what `size` reads; `null` when nothing grows.
    fn three_times(example: Value, specs: &[TensorSpec], size: fn(&Value) -> Option<f64>) -> Value {
        let size = |input: &str| size(&serde_json::from_str(input).expect("JSON"));
        Growing::in_example(example, specs, size)
            .map_or(Value::Null, |growing| serde_json::from_str(&growing.times(3)).expect("JSON"))
    }

    fn elements(value: &Value) -> f64 {
        flat(value).len() as f64
    }

    #[test]
    fn what_makes_the_size_larger_grows_and_nothing_else() {
        let n = || Dim::Symbol("n".into());
        let (fixed, two) =
            (spec("x", &[Dim::Fixed(4), n()]), [spec("x", &[n(), Dim::Fixed(2)]), spec("y", &[Dim::Fixed(2), n()])]);
        type Size = fn(&Value) -> Option<f64>;
        let rows: [(Value, &[TensorSpec], Size, Value); 7] = [
            // The runner stepped: a number of steps beside a seed.
            (json!({"seed": 7, "steps": 2}), &[], |input| input["steps"].as_f64(), json!({"seed": 7, "steps": 6})),
            // The runner text.
            (
                json!({"texts": ["a", "b"]}),
                &[],
                |input| Some(elements(&input["texts"])),
                json!({"texts": ["a", "b", "a", "b", "a", "b"]}),
            ),
            (json!({"text": "ab"}), &[], |input| Some(input["text"].as_str()?.len() as f64), json!({"text": "ab ab ab"})),
            // The only number of a tensor, where it is the size.
            (
                json!({"x": {"shape": [], "data": [5]}}),
                &[spec("x", &[])],
                |input| flat(&input["x"]["data"]).first()?.as_f64(),
                json!({"x": {"shape": [], "data": [15]}}),
            ),
            // One symbol at two places grows at both, along its own axis of each.
            (
                json!({"x": {"shape": [1, 2], "data": [[1, 2]]}, "y": {"shape": [2, 1], "data": [3, 4]}}),
                &two,
                |input| Some(elements(&input["x"]["data"])).filter(|_| input["x"]["shape"] == json!([input["y"]["shape"][1], 2])),
                json!({"x": {"shape": [3, 2], "data": [1, 2, 1, 2, 1, 2]}, "y": {"shape": [2, 3], "data": [3, 3, 3, 4, 4, 4]}}),
            ),
            // A window over a sequence: the axis that the file has fixed, when only that counts.
            (
                json!({"x": {"shape": [2, 1], "data": [1, 2]}}),
                &[fixed],
                |input| Some((input["x"]["shape"][0].as_f64()? / 64.0).ceil()),
                json!({"x": {"shape": [6, 1], "data": [1, 2, 1, 2, 1, 2]}}),
            ),
            (json!({"x": 1}), &[], |_| Some(0.0), Value::Null),
        ];
        for (example, specs, size, expected) in rows {
            assert_eq!(three_times(example.clone(), specs, size), expected, "{example}");
        }
    }
}
