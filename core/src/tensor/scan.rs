//! A walk over the text of nested JSON arrays, for data too large for a tree: each element's text goes to a function, the nesting is
//! measured. It is a loop with a bounded stack; it decides what counts as rectangular and never what an element means.

/// Bounds of one walk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Deepest nesting.
    pub(crate) rank_max: usize,
    /// Most elements.
    pub(crate) elements_max: usize,
}

/// Where a walk stopped and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Positions in the nested arrays, outermost first.
    pub(crate) indices: Vec<usize>,
    /// What is wrong and what would be right.
    pub(crate) detail: String,
}

/// Walks `text`, which must be valid JSON, and returns the length of the arrays at each depth: empty for a bare element. All arrays
/// of one depth must have the same length and all elements the same depth. Stops at the first element that `element` refuses.
pub(crate) fn scan(text: &str, bounds: Bounds, mut element: impl FnMut(&str) -> Result<(), String>) -> Result<Vec<usize>, Fault> {
    let mut walk = Walk { bounds, indices: Vec::new(), lengths: Vec::new(), leaf_depth: None, elements: 0 };
    let mut rest = text.trim_ascii_start();
    while let Some(first) = rest.bytes().next() {
        let used = match first {
            b'[' => walk.open().map(|()| 1),
            b']' => walk.close().map(|()| 1),
            b',' => Ok(1),
            _ => {
                let used = element_len(rest);
                walk.leaf().and_then(|()| element(&rest[..used])).map(|()| walk.next()).map(|()| used)
            }
        };
        match used {
            Ok(used) => rest = rest[used..].trim_ascii_start(),
            Err(detail) => return Err(Fault { indices: walk.indices, detail }),
        }
    }
    Ok(walk.lengths.into_iter().map(Option::unwrap_or_default).collect())
}

/// The length of the element that `text` starts with. An object counts up to its end of text: it is refused anyway.
fn element_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    match bytes[0] {
        b'"' => {
            let mut at = 1;
            while at < bytes.len() && bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at + 1
        }
        b'{' => bytes.len(),
        _ => bytes.iter().position(|b| matches!(b, b',' | b']') || b.is_ascii_whitespace()).unwrap_or(bytes.len()),
    }
}

struct Walk {
    bounds: Bounds,
    /// The position in each open array, outermost first.
    indices: Vec<usize>,
    /// The length of the arrays at each depth, once one was closed.
    lengths: Vec<Option<usize>>,
    /// How deep elements are, once one was met.
    leaf_depth: Option<usize>,
    elements: usize,
}

impl Walk {
    fn open(&mut self) -> Result<(), String> {
        let depth = self.indices.len();
        if depth == self.bounds.rank_max {
            return Err(format!("is nested deeper than {} levels", self.bounds.rank_max));
        }
        if self.leaf_depth.is_some_and(|leaf| depth >= leaf) {
            return Err("is an array where its neighbours are elements".into());
        }
        if self.lengths.len() == depth {
            self.lengths.push(None);
        }
        self.indices.push(0);
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        let length = self.indices.pop().expect("valid JSON closes what it opened");
        let known = self.lengths[self.indices.len()].get_or_insert(length);
        if *known != length {
            return Err(format!("has {length} items where its neighbours have {known}"));
        }
        self.next();
        Ok(())
    }

    fn leaf(&mut self) -> Result<(), String> {
        let depth = self.indices.len();
        if *self.leaf_depth.get_or_insert(depth) != depth || self.lengths.len() > depth {
            return Err("is an element where its neighbours are arrays".into());
        }
        if self.elements == self.bounds.elements_max {
            return Err(format!("is one more than the {} elements expected", self.bounds.elements_max));
        }
        self.elements += 1;
        Ok(())
    }

    fn next(&mut self) {
        if let Some(index) = self.indices.last_mut() {
            *index += 1;
        }
    }
}
