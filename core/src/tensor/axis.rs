//! Tensors cut, padded, joined and filled along one axis. It decides nothing: these are the pure pieces that a loop over a sequence is made of.

use half::f16;

use super::{Datatype, Invalid, Tensor, TensorData};

/// Builds the same variant from a function of its elements.
macro_rules! map {
    ($data:expr, $elements:ident => $body:expr) => {
        match $data {
            TensorData::Bool($elements) => TensorData::Bool($body),
            TensorData::Uint8($elements) => TensorData::Uint8($body),
            TensorData::Uint16($elements) => TensorData::Uint16($body),
            TensorData::Uint32($elements) => TensorData::Uint32($body),
            TensorData::Uint64($elements) => TensorData::Uint64($body),
            TensorData::Int8($elements) => TensorData::Int8($body),
            TensorData::Int16($elements) => TensorData::Int16($body),
            TensorData::Int32($elements) => TensorData::Int32($body),
            TensorData::Int64($elements) => TensorData::Int64($body),
            TensorData::Fp16($elements) => TensorData::Fp16($body),
            TensorData::Fp32($elements) => TensorData::Fp32($body),
            TensorData::Fp64($elements) => TensorData::Fp64($body),
            TensorData::Bytes($elements) => TensorData::Bytes($body),
        }
    };
}

impl TensorData {
    /// `count` times `value`; for a boolean, everything but 0 is true. `None` for strings and for a number that the datatype does not have.
    #[must_use]
    pub fn filled(datatype: Datatype, value: f64, count: usize) -> Option<Self> {
        macro_rules! whole {
            ($variant:ident) => {{
                // By way of its digits: no cast that would quietly give another number.
                let number = (value + 0.0).fract().eq(&0.0).then(|| format!("{:.0}", value + 0.0));
                number.and_then(|digits| digits.parse().ok()).map(|number| Self::$variant(vec![number; count]))
            }};
        }
        match datatype {
            Datatype::Bool => Some(Self::Bool(vec![value != 0.0; count])),
            Datatype::Uint8 => whole!(Uint8),
            Datatype::Uint16 => whole!(Uint16),
            Datatype::Uint32 => whole!(Uint32),
            Datatype::Uint64 => whole!(Uint64),
            Datatype::Int8 => whole!(Int8),
            Datatype::Int16 => whole!(Int16),
            Datatype::Int32 => whole!(Int32),
            Datatype::Int64 => whole!(Int64),
            Datatype::Fp16 => Some(f16::from_f64(value)).filter(|n| n.is_finite()).map(|n| Self::Fp16(vec![n; count])),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "rounded to the nearest; too large becomes infinite and is refused"
            )]
            Datatype::Fp32 => Some(value as f32).filter(|n| n.is_finite()).map(|n| Self::Fp32(vec![n; count])),
            Datatype::Fp64 => Some(value).filter(|n| n.is_finite()).map(|n| Self::Fp64(vec![n; count])),
            Datatype::Bytes => None,
        }
    }
}

impl Tensor {
    /// A tensor of this shape, all of it `value`.
    ///
    /// # Errors
    /// `Invalid` when the datatype cannot hold the value, or the shape is too large.
    pub fn filled(datatype: Datatype, shape: &[usize], value: f64) -> Result<Self, Invalid> {
        let count = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
        let count = count.filter(|&count| count <= crate::limits::TENSOR_ELEMENTS_MAX);
        let count = count.ok_or_else(|| Invalid(format!("the shape {shape:?} is too large")))?;
        let data = TensorData::filled(datatype, value, count);
        Self::new(shape.to_vec(), data.ok_or_else(|| Invalid(format!("{datatype} does not have the value {value}")))?)
    }

    /// The `size` places along `axis` that begin at `start`, which may lie in front of the first place; what is outside of the tensor is 0
    /// (false, the empty string).
    ///
    /// # Errors
    /// `Invalid` when there is no such axis, and when it would have more elements than a tensor may have and than this one has.
    pub fn window(&self, axis: usize, start: i64, size: usize) -> Result<Self, Invalid> {
        let (outer, length, inner) = self.around(axis)?;
        let max = crate::limits::TENSOR_ELEMENTS_MAX.max(self.data.len());
        if outer.checked_mul(size).and_then(|rows| rows.checked_mul(inner)).is_none_or(|count| count > max) {
            return Err(Invalid(format!("a window of {size} along axis {axis} of {:?} is too large", self.shape)));
        }
        let data = map!(&self.data, elements => window(elements, [outer, length, inner], start, size));
        let mut shape = self.shape.clone();
        shape[axis] = size;
        Self::new(shape, data)
    }

    /// Appends `other` along `axis`.
    ///
    /// # Errors
    /// `Invalid` when the two differ in type or elsewhere than along the axis.
    pub fn append(&mut self, axis: usize, other: Self) -> Result<(), Invalid> {
        let (outer, length, inner) = self.around(axis)?;
        let mut shape = self.shape.clone();
        shape[axis] += other.shape.get(axis).copied().unwrap_or_default();
        let fits = self.shape.len() == other.shape.len()
            && (0..shape.len()).all(|other_axis| other_axis == axis || self.shape[other_axis] == other.shape[other_axis]);
        if !fits {
            return Err(Invalid(format!("{:?} cannot be appended to {:?} along axis {axis}", other.shape, self.shape)));
        }
        let (first, second) = (length * inner, other.shape[axis] * inner);
        macro_rules! join {
            ($($variant:ident),*) => {
                match (&mut self.data, other.data) {
                    $((TensorData::$variant(into), TensorData::$variant(more)) => join(into, more, outer, first, second),)*
                    (into, more) => {
                        return Err(Invalid(format!("{} cannot be appended to {}", more.datatype(), into.datatype())));
                    }
                }
            };
        }
        join!(Bool, Uint8, Uint16, Uint32, Uint64, Int8, Int16, Int32, Int64, Fp16, Fp32, Fp64, Bytes);
        self.shape = shape;
        Ok(())
    }

    /// How many elements lie before, along and behind an axis.
    fn around(&self, axis: usize) -> Result<(usize, usize, usize), Invalid> {
        let length = self.shape.get(axis).ok_or_else(|| Invalid(format!("{:?} has no axis {axis}", self.shape)))?;
        Ok((self.shape[..axis].iter().product(), *length, self.shape[axis + 1..].iter().product()))
    }
}

fn window<T: Clone + Default>(elements: &[T], [outer, length, inner]: [usize; 3], start: i64, size: usize) -> Vec<T> {
    let mut cut = Vec::with_capacity(outer * size * inner);
    // Places before the first one, then places that are there, then the rest.
    let before = usize::try_from(start.saturating_neg()).unwrap_or(0).min(size);
    let from = usize::try_from(start).unwrap_or(0).min(length);
    let to = from.saturating_add(size - before).min(length);
    for row in 0..outer {
        let end = (row + 1) * size * inner;
        cut.resize(row * size * inner + before * inner, T::default());
        cut.extend_from_slice(&elements[(row * length + from) * inner..(row * length + to) * inner]);
        cut.resize(end, T::default());
    }
    cut
}

/// Each of `outer` rows becomes its `first` elements of `into` and then its `second` elements of `more`.
fn join<T: Clone>(into: &mut Vec<T>, more: Vec<T>, outer: usize, first: usize, second: usize) {
    if outer == 1 {
        into.extend(more);
        return;
    }
    let mut joined = Vec::with_capacity(into.len() + more.len());
    for row in 0..outer {
        joined.extend_from_slice(&into[row * first..(row + 1) * first]);
        joined.extend_from_slice(&more[row * second..(row + 1) * second]);
    }
    *into = joined;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(shape: &[usize], elements: &[i32]) -> Tensor {
        Tensor::new(shape.to_vec(), TensorData::Int32(elements.to_vec())).expect("fits")
    }

    #[test]
    fn a_window_is_what_is_there_and_zeros_around_it() {
        let line = of(&[4], &[1, 2, 3, 4]);
        let table = of(&[2, 3], &[1, 2, 3, 4, 5, 6]);
        let rows = [
            ("inside", &line, 0, 1, 2, of(&[2], &[2, 3])),
            ("front", &line, 0, -2, 4, of(&[4], &[0, 0, 1, 2])),
            ("end", &line, 0, 3, 3, of(&[3], &[4, 0, 0])),
            ("both", &line, 0, -1, 6, of(&[6], &[0, 1, 2, 3, 4, 0])),
            ("far before", &line, 0, -9, 2, of(&[2], &[0, 0])),
            ("far behind", &line, 0, 9, 2, of(&[2], &[0, 0])),
            ("nothing", &line, 0, 2, 0, of(&[0], &[])),
            ("columns", &table, 1, -1, 3, of(&[2, 3], &[0, 1, 2, 0, 4, 5])),
            ("rows", &table, 0, 1, 2, of(&[2, 3], &[4, 5, 6, 0, 0, 0])),
        ];
        for (what, tensor, axis, start, size, expected) in rows {
            assert_eq!(tensor.window(axis, start, size), Ok(expected), "{what}");
        }
        assert!(line.window(1, 0, 1).is_err());
        for size in [usize::MAX, crate::limits::TENSOR_ELEMENTS_MAX / 2 + 1] {
            assert!(table.window(1, 0, size).is_err(), "{size}");
        }
    }

    #[test]
    fn appending_joins_row_by_row_and_refuses_what_does_not_fit() {
        let rows: Vec<(usize, Tensor, Tensor, Option<Tensor>)> = vec![
            (0, of(&[2], &[1, 2]), of(&[1], &[3]), Some(of(&[3], &[1, 2, 3]))),
            (1, of(&[2, 1], &[1, 2]), of(&[2, 2], &[3, 4, 5, 6]), Some(of(&[2, 3], &[1, 3, 4, 2, 5, 6]))),
            (1, of(&[2, 0], &[]), of(&[2, 1], &[3, 4]), Some(of(&[2, 1], &[3, 4]))),
            (1, of(&[2, 1], &[1, 2]), of(&[1, 1], &[3]), None),
            (0, of(&[1], &[1]), of(&[], &[3]), None),
            (0, of(&[1], &[1]), Tensor::new(vec![1], TensorData::Fp32(vec![1.0])).expect("fits"), None),
        ];
        for (axis, mut into, more, expected) in rows {
            let text = format!("{into:?} and {more:?}");
            assert_eq!(into.append(axis, more).ok().map(|()| into), expected, "{text}");
        }
    }

    #[test]
    fn a_tensor_is_filled_only_with_what_its_type_has() {
        let rows = [
            (Datatype::Int64, 16000.0, true),
            (Datatype::Int64, 0.5, false),
            (Datatype::Uint8, -1.0, false),
            (Datatype::Uint8, 256.0, false),
            (Datatype::Fp16, 1e9, false),
            (Datatype::Fp32, 0.1, true),
            (Datatype::Bool, 1.0, true),
            (Datatype::Bytes, 0.0, false),
        ];
        for (datatype, value, expected) in rows {
            assert_eq!(Tensor::filled(datatype, &[2, 3], value).is_ok(), expected, "{datatype} {value}");
        }
        assert!(Tensor::filled(Datatype::Fp32, &[usize::MAX, 2], 0.0).is_err());
    }
}
