//! Lists of what has more columns than a terminal is wide. What does not fit beside stands beneath its row, so that no address and no
//! time is broken into pieces.

use crate::admin::cli::failure::Failure;
use crate::admin::cli::output::Output;
use crate::admin::cli::page::in_steps;
use crate::admin::tables::{Column, Entry, harmless};

/// Prints what is known about one thing, a line for each. What to do is set in steps.
pub(super) fn facts<N: AsRef<str>>(output: &Output, facts: Vec<(N, Entry)>) -> Result<(), Failure> {
    let row = |(name, entry): (N, Entry)| {
        let entry = if name.as_ref() == "remedy" { in_steps(entry.text()).into() } else { entry };
        vec![name.as_ref().into(), entry]
    };
    output.table(&[], facts.into_iter().map(row).collect())
}

/// Prints a list: whole lines with every column where no person reads, and as it fits on a terminal.
pub(super) fn print(output: &Output, columns: Vec<Column>) -> Result<(), Failure> {
    output.data(&format!("{}\n", laid_out(output, columns, Output::room())))
}

fn laid_out(output: &Output, mut columns: Vec<Column>, room: Option<u16>) -> String {
    let Some(width) = room else { return table(output, &columns, None).0 };
    columns.retain(Column::tells);
    let whole = table(output, &columns, room).0;
    // The last ones go first: what matters less stands further to the right, and reasons are the longest.
    let mut loose = Vec::new();
    let rows = loop {
        let (rows, fits) = table(output, &columns, room);
        if fits {
            break rows;
        }
        match columns.iter().rposition(|column| !column.stays) {
            Some(last) => loose.insert(0, columns.remove(last)),
            None => return whole,
        }
    };
    if loose.is_empty() {
        return rows;
    }
    // The header and the line under it, then one line for each row.
    let mut lines = rows.lines();
    let mut text: Vec<String> = lines.by_ref().take(2).map(str::to_owned).collect();
    for (number, line) in lines.enumerate() {
        text.push(line.to_owned());
        text.extend(beneath(&loose, number, usize::from(width)));
    }
    text.join("\n")
}

/// The columns as a table, and whether each row of it is one line.
fn table(output: &Output, columns: &[Column], room: Option<u16>) -> (String, bool) {
    let header: Vec<&str> = columns.iter().map(|column| column.header).collect();
    let count = columns.first().map_or(0, |column| column.cells.len());
    let cell = |column: &Column, row: usize| column.cells.get(row).cloned().unwrap_or_else(|| "".into());
    let rows = (0..count).map(|row| columns.iter().map(|column| cell(column, row)).collect());
    let table = output.lay_out(&header, rows.collect(), room);
    // A column has a space on either side, and one to the next.
    let width: u32 = table.column_max_content_widths().into_iter().map(|width| u32::from(width) + 3).sum();
    (table.trim_fmt(), room.is_none_or(|room| width <= u32::from(room) + 1))
}

/// What stands beneath a row: `state of it: text; …`, wrapped between words.
fn beneath(columns: &[Column], row: usize, width: usize) -> Vec<String> {
    const INDENT: &str = "    ";
    let said = columns.iter().filter_map(|column| match column.cells.get(row)? {
        Entry::Faint(_) => None,
        entry if entry.text().is_empty() => None,
        entry => Some(format!("{}: {}", column.header.to_lowercase(), harmless(entry.text()))),
    });
    let said = said.collect::<Vec<_>>().join("; ");
    let mut lines: Vec<String> = Vec::new();
    for word in said.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("{INDENT}{word}")),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::cli::output::ColourWish;

    fn columns() -> Vec<Column> {
        let texts = |list: [&str; 2]| list.map(|text| Entry::from(text.to_owned())).into_iter();
        vec![
            Column::fixed("MAILBOX", texts(["alice@contoso.com", "scanner-second-floor@contoso.com"])),
            Column::fixed("STATE", texts(["ready", "needs-administrator"])),
            Column::fixed("SINCE", texts(["2026-11-25T12:00:00Z", "2026-11-25T13:00:00Z"])),
            Column::loose("ALIASES", texts(["", ""])),
            Column::loose("ENDS", [Entry::Faint("never".into()), "2027-01-01T00:00:00Z".into()].into_iter()),
            Column::loose(
                "REASON",
                texts(["", "smtp: 535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled"]),
            ),
        ]
    }

    fn shown(room: Option<u16>) -> Vec<String> {
        let output = Output::new(false, false, ColourWish::Never);
        laid_out(&output, columns(), room).lines().map(|line| line.trim_end().to_owned()).collect()
    }

    #[test]
    fn a_narrow_terminal_gets_what_does_not_fit_beneath_the_row() {
        let lines = shown(Some(80));
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
        assert_eq!(
            lines,
            [
                " MAILBOX                            STATE                 SINCE",
                "───────────────────────────────────────────────────────────────────────────────",
                " alice@contoso.com                  ready                 2026-11-25T12:00:00Z",
                " scanner-second-floor@contoso.com   needs-administrator   2026-11-25T13:00:00Z",
                "    ends: 2027-01-01T00:00:00Z; reason: smtp: 535 5.7.139 Authentication",
                "    unsuccessful, SmtpClientAuthentication is disabled",
            ]
        );
    }

    #[test]
    fn only_as_much_goes_beneath_as_must() {
        let lines = shown(Some(110));
        assert!(lines[0].ends_with("ENDS") && lines[3].ends_with("2027-01-01T00:00:00Z"), "{lines:#?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 110), "{lines:#?}");
        assert!(lines[4].starts_with("    reason: smtp: 535"), "{lines:#?}");
    }

    #[test]
    fn a_wide_terminal_has_one_line_for_each_row_without_the_columns_that_say_nothing() {
        let lines = shown(Some(200));
        assert_eq!(lines.len(), 4, "{lines:#?}");
        assert!(lines[0].contains("ENDS") && !lines[0].contains("ALIASES"), "{lines:#?}");
    }

    #[test]
    fn where_no_person_reads_every_column_is_there_on_whole_lines() {
        let lines = shown(None);
        assert_eq!(lines.len(), 3, "{lines:#?}");
        assert!(lines[0].contains("ALIASES") && lines[2].ends_with("is disabled"), "{lines:#?}");
    }

    #[test]
    fn a_terminal_too_narrow_for_anything_still_gets_everything() {
        let lines = shown(Some(40));
        assert!(lines.iter().all(|line| line.chars().count() <= 40), "{lines:#?}");
        assert!(lines.join(" ").contains("535"), "{lines:#?}");
    }
}
