//! Tables of text: columns as wide as their widest cell. It decides alignment; it knows no terminal and never cuts a cell.

use super::Paint;

/// A table that is being filled, row by row.
#[derive(Debug, Clone, Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<(String, Option<Paint>)>>,
}

#[derive(Debug, Clone)]
struct Column {
    title: &'static str,
    numbers: bool,
}

impl Table {
    /// A table with these columns; a title that begins with `>` is a column of numbers, aligned to the right.
    pub fn new(titles: &[&'static str]) -> Self {
        let columns = titles.iter().map(|title| match title.strip_prefix('>') {
            Some(title) => Column { title, numbers: true },
            None => Column { title, numbers: false },
        });
        Self { columns: columns.collect(), rows: Vec::new() }
    }

    /// Adds a row of plain cells.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into_iter().map(|text| (text, None)).collect());
    }

    /// Gives the cell in `column` of the newest row a colour.
    pub fn paint(&mut self, column: usize, paint: Paint) {
        if let Some(cell) = self.rows.last_mut().and_then(|row| row.get_mut(column)) {
            cell.1 = Some(paint);
        }
    }

    /// The lines, with `paint` applied to what has a colour.
    pub fn lines(&self, paint: impl Fn(Paint, &str) -> String) -> Vec<String> {
        let cells = |i: usize| self.rows.iter().filter_map(move |row| row.get(i));
        let widths: Vec<usize> = (self.columns.iter().enumerate())
            .map(|(i, column)| cells(i).map(|(text, _)| width(text)).chain([width(column.title)]).max().unwrap_or(0))
            .collect();
        let pad = |i: usize, text: &str| {
            let space = " ".repeat(widths[i].saturating_sub(width(text)));
            if self.columns[i].numbers { (space, String::new()) } else { (String::new(), space) }
        };
        let join = |cells: Vec<String>| cells.join("  ").trim_end().to_owned();
        let heading = self.columns.iter().enumerate().map(|(i, column)| {
            let (before, after) = pad(i, column.title);
            format!("{before}{}{after}", column.title)
        });
        let mut lines = vec![paint(Paint::Dim, &join(heading.collect()))];
        for row in &self.rows {
            let painted = row.iter().enumerate().map(|(i, (text, colour))| {
                let (before, after) = pad(i, text);
                let text = colour.map_or_else(|| text.clone(), |colour| paint(colour, text));
                format!("{before}{text}{after}")
            });
            lines.push(join(painted.collect()));
        }
        lines
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_colour_takes_no_room() {
        let mut table = Table::new(&["STATE", ">MS", "NOTE"]);
        table.row(["queued".into(), "7".into(), "ä".into()]);
        table.paint(0, Paint::Good);
        table.row(["x".into(), "1234".into(), String::new()]);
        let plain = table.lines(|_, text| text.to_owned());
        assert_eq!(plain, ["STATE     MS  NOTE", "queued     7  ä", "x       1234"]);
        let painted = table.lines(|_, text| format!("<{text}>"));
        assert_eq!(painted, ["<STATE     MS  NOTE>", "<queued>     7  ä", "x       1234"]);
    }
}
