//! What is printed at the end.

use comfy_table::{CellAlignment, Table, presets};

/// A table with one column of names and one for each way.
pub struct Report {
    table: Table,
    columns: usize,
}

impl Report {
    /// Columns, the first one of names; ratios are those of the last way to the one before it.
    pub fn new(header: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN).set_header(header);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        Self { table, columns: header.len() }
    }

    /// A line of figures; a way without one shows a dash. The last column is the ratio of the last figure to the one before.
    pub fn figures(&mut self, name: &str, digits: usize, figures: &[Option<f64>]) {
        // Where no session came about there is nothing to divide by.
        let figures: Vec<Option<f64>> =
            figures.iter().map(|figure| figure.filter(|figure| figure.is_finite())).collect();
        let mut cells = vec![name.to_owned()];
        cells.extend(figures.iter().map(|figure| figure.map_or("–".to_owned(), |figure| format!("{figure:.digits$}"))));
        if cells.len() < self.columns {
            let ratio = match figures.as_slice() {
                [.., Some(before), Some(last)] if *before > 0.0 => format!("{:.2}", last / before),
                _ => "–".to_owned(),
            };
            cells.push(ratio);
        }
        self.table.add_row(cells);
    }

    pub fn print(&self) {
        println!("\n{}\n", self.table);
    }
}
