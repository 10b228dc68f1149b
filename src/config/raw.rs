//! What was written: reading typed values out of a TOML table, keeping their places, and noting every fault on the way.
//!
//! `serde` would stop at the first fault, and would not know what the others are.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use chrono::NaiveDate;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::{Fault, Warning};

/// The faults and warnings found so far.
pub(super) struct Report {
    /// The offset of each line.
    line_starts: Vec<usize>,
    faults: RefCell<Vec<Fault>>,
    warnings: RefCell<Vec<Warning>>,
}

/// Where something stands: its key, and its offset in the file if it is there at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) key: String,
    offset: Option<usize>,
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Written<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl<T> Written<T> {
    /// The same place with another value.
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Written<U> {
        Written { value: change(self.value), place: self.place }
    }
}

impl Report {
    /// An empty report on `text`.
    pub(super) fn new(text: &str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(offset, _)| offset + 1);
        Self {
            line_starts: std::iter::once(0).chain(newlines).collect(),
            faults: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// The line, counted from 1, of an offset.
    fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    fn finding(&self, place: &Place, message: impl Into<String>, remedy: impl Into<String>) -> Fault {
        Fault {
            key: place.key.clone(),
            line: place.offset.map(|offset| self.line(offset)),
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// Notes that something is wrong at `place`.
    pub(super) fn fault(&self, place: &Place, message: impl Into<String>, remedy: impl Into<String>) {
        let fault = self.finding(place, message, remedy);
        self.faults.borrow_mut().push(fault);
    }

    /// Notes that something at `place` is allowed, but better otherwise.
    pub(super) fn warning(&self, place: &Place, message: impl Into<String>, remedy: impl Into<String>) {
        let warning = self.finding(place, message, remedy);
        self.warnings.borrow_mut().push(warning);
    }

    /// Notes a fault of the syntax. What follows from the same line is left out: it is nearly always the same mistake again.
    pub(super) fn syntax(&self, span: Option<Range<usize>>, message: &str) {
        let place = Place { key: String::new(), offset: span.map(|span| span.start) };
        let fault = self.finding(&place, format!("this is not TOML: {message}"), "Correct the line.");
        let mut faults = self.faults.borrow_mut();
        if !faults.iter().any(|earlier| earlier.line == fault.line) {
            faults.push(fault);
        }
    }

    /// Whether any fault has been noted.
    pub(super) fn has_faults(&self) -> bool {
        !self.faults.borrow().is_empty()
    }

    /// Everything noted, in the order of the file.
    pub(super) fn into_findings(self) -> (Vec<Fault>, Vec<Warning>) {
        let (mut faults, mut warnings) = (self.faults.into_inner(), self.warnings.into_inner());
        faults.sort_by_key(|fault| fault.line);
        warnings.sort_by_key(|warning| warning.line);
        (faults, warnings)
    }
}

/// A table that is being read. Keys that nobody asked for are faults when it is [`finish`](Section::finish)ed.
pub(super) struct Section<'a> {
    report: &'a Report,
    table: &'a DeTable<'a>,
    place: Place,
    known: RefCell<Vec<&'static str>>,
    finished: Cell<bool>,
}

impl<'a> Section<'a> {
    /// The file as a whole.
    pub(super) fn root(report: &'a Report, table: &'a DeTable<'a>) -> Self {
        Self::new(report, table, Place { key: String::new(), offset: None })
    }

    fn new(report: &'a Report, table: &'a DeTable<'a>, place: Place) -> Self {
        Self { report, table, place, known: RefCell::default(), finished: Cell::new(false) }
    }

    /// Where findings go.
    pub(super) fn report(&self) -> &'a Report {
        self.report
    }

    /// Where `key` stands, or would stand: then the place is the table's line.
    pub(super) fn place_of(&self, key: &str) -> Place {
        let offset = self.table.get_key_value(key).map(|(name, _)| name.span().start).or(self.place.offset);
        let path = if self.place.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place.key) };
        Place { key: path, offset }
    }

    /// Whether `key` is there, be it right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn take(&self, key: &'static str) -> Option<(&'a DeValue<'a>, Place)> {
        self.known.borrow_mut().push(key);
        let value = self.table.get(key)?;
        Some((value.get_ref(), self.place_of(key)))
    }

    fn take_as<T>(
        &self,
        key: &'static str,
        wanted: &str,
        convert: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<Written<T>> {
        let (value, place) = self.take(key)?;
        match convert(value) {
            Some(value) => Some(Written { value, place }),
            None => {
                self.report.fault(
                    &place,
                    format!("this is {}, not {wanted}", type_name(value)),
                    correction(key, wanted),
                );
                None
            }
        }
    }

    /// A text.
    pub(super) fn text(&self, key: &'static str) -> Option<Written<&'a str>> {
        self.take_as(key, "a text", DeValue::as_str)
    }

    /// A text that is not empty; its absence is a fault with this remedy.
    pub(super) fn required_text(&self, key: &'static str, remedy: &str) -> Option<Written<&'a str>> {
        if !self.has(key) {
            self.known.borrow_mut().push(key);
            self.report.fault(&self.place_of(key), "this is missing", remedy);
            return None;
        }
        self.filled_text(key, remedy)
    }

    /// A text that is not empty, if there is one.
    pub(super) fn filled_text(&self, key: &'static str, remedy: &str) -> Option<Written<&'a str>> {
        let text = self.text(key)?;
        if text.value.trim().is_empty() {
            self.report.fault(&text.place, "this is empty", remedy);
            return None;
        }
        Some(text)
    }

    /// One of a few words; another one is a fault that lists them.
    pub(super) fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<Written<T>> {
        let text = self.text(key)?;
        choose(self.report, &text.place, text.value, words).map(|value| Written { value, place: text.place })
    }

    /// A whole number from `least` to `most`.
    pub(super) fn number(&self, key: &'static str, least: u64, most: u64) -> Option<Written<u64>> {
        let integer = self.take_as(key, "a whole number", DeValue::as_integer)?;
        let number = u64::from_str_radix(&integer.value.as_str().replace('_', ""), integer.value.radix()).ok();
        match number.filter(|number| (least..=most).contains(number)) {
            Some(value) => Some(Written { value, place: integer.place }),
            None => {
                let message = format!("{} is not between {least} and {most}", integer.value);
                self.report.fault(&integer.place, message, format!("Write a whole number from {least} to {most}."));
                None
            }
        }
    }

    /// A date, as TOML's own or as text.
    pub(super) fn date(&self, key: &'static str) -> Option<Written<NaiveDate>> {
        self.take_as(key, "a date such as 2027-05-31", |value| match value {
            DeValue::Datetime(datetime) if datetime.time.is_none() => {
                let date = datetime.date?;
                NaiveDate::from_ymd_opt(i32::from(date.year), u32::from(date.month), u32::from(date.day))
            }
            DeValue::String(text) => NaiveDate::parse_from_str(text, "%Y-%m-%d").ok(),
            _ => None,
        })
    }

    /// A list of texts.
    pub(super) fn texts(&self, key: &'static str) -> Option<Written<Vec<Written<&'a str>>>> {
        let list = self.take_as(key, "a list of texts", DeValue::as_array)?;
        let mut texts = Vec::new();
        for (index, item) in list.value.iter().enumerate() {
            let place = Place { key: format!("{}[{index}]", list.place.key), offset: Some(item.span().start) };
            match item.get_ref().as_str() {
                Some(value) => texts.push(Written { value, place }),
                None => {
                    let message = format!("this is {}, not a text", type_name(item.get_ref()));
                    self.report.fault(&place, message, "Put it in quotation marks.");
                }
            }
        }
        Some(Written { value: texts, place: list.place })
    }

    /// A table, if it is there.
    pub(super) fn table(&self, key: &'static str) -> Option<Section<'a>> {
        let table = self.take_as(key, "a table", DeValue::as_table)?;
        Some(Section::new(self.report, table.value, table.place))
    }

    /// Either a text or a table.
    pub(super) fn text_or_table(&self, key: &'static str) -> Option<TextOrTable<'a>> {
        if self.table.get(key).is_some_and(|value| value.get_ref().is_table()) {
            return self.table(key).map(TextOrTable::Table);
        }
        self.take_as(key, "a text or a table", DeValue::as_str).map(TextOrTable::Text)
    }

    /// The tables of a list of tables, `[[key]]`.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(list) = self.take_as(key, "a list of tables", DeValue::as_array) else {
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (index, item) in list.value.iter().enumerate() {
            let place = Place { key: format!("{}[{index}]", list.place.key), offset: Some(item.span().start) };
            match item.get_ref().as_table() {
                Some(table) => sections.push(Section::new(self.report, table, place)),
                None => {
                    let message = format!("this is {}, not a table", type_name(item.get_ref()));
                    self.report.fault(&place, message, format!("Write it as `[[{key}]]`."));
                }
            }
        }
        sections
    }

    /// A table whose keys are free and whose values are texts; this ends the reading.
    pub(super) fn into_texts(self) -> Vec<(String, Written<&'a str>)> {
        self.finished.set(true);
        let mut texts = Vec::new();
        for (name, value) in self.table {
            let name: &str = name.get_ref();
            let place = self.place_of(name);
            match value.get_ref().as_str() {
                Some(value) => texts.push((name.to_owned(), Written { value, place })),
                None => {
                    let message = format!("this is {}, not a text", type_name(value.get_ref()));
                    self.report.fault(&place, message, "Put it in quotation marks.");
                }
            }
        }
        texts
    }

    /// Keys that are planned and have no effect yet. Accepting one would promise what is not kept.
    pub(super) fn not_yet(&self, keys: &[&'static str]) {
        for key in keys {
            if let Some((_, place)) = self.take(key) {
                self.report.fault(&place, format!("`{key}` is not in this version yet"), format!("Remove `{key}`."));
            }
        }
    }

    /// Ends the reading: what nobody asked for is a fault, with the known key that comes nearest.
    pub(super) fn finish(self) {
        self.finished.set(true);
        let known = self.known.borrow();
        for name in self.table.keys() {
            let name: &str = name.get_ref();
            if known.contains(&name) {
                continue;
            }
            let remedy = match nearest(name, &known) {
                Some(near) => format!("Write `{near}`, if that is meant, or remove it."),
                None => {
                    let mut known: Vec<_> = known.iter().map(|key| format!("`{key}`")).collect();
                    known.sort();
                    known.dedup();
                    format!("Remove it. Known here are {}.", known.join(", "))
                }
            };
            self.report.fault(&self.place_of(name), format!("`{}` is not a known key", name.escape_debug()), remedy);
        }
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        debug_assert!(
            self.finished.get() || std::thread::panicking(),
            "`{}` was read and not finished",
            self.place.key
        );
    }
}

/// A value that may be a text or a table.
pub(super) enum TextOrTable<'a> {
    Text(Written<&'a str>),
    Table(Section<'a>),
}

/// Finds `text` among `words`; if it is none of them, that is a fault.
pub(super) fn choose<T: Copy>(report: &Report, place: &Place, text: &str, words: &[(&str, T)]) -> Option<T> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Some(*value);
    }
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let remedy = match nearest(text, &names) {
        Some(near) => format!("Write `{near}`, if that is meant. Known are {}.", names.join(", ")),
        None => format!("Write one of {}.", names.join(", ")),
    };
    report.fault(place, format!("`{}` is not known here", text.escape_debug()), remedy);
    None
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn correction(key: &str, wanted: &str) -> String {
    match wanted {
        "a text" => format!("Put the value in quotation marks: `{key} = \"…\"`."),
        "a list of texts" => format!("Write a list: `{key} = [\"…\"]`."),
        "a list of tables" => format!("Write it as `[[{key}]]`, with two brackets on each side."),
        "a table" => format!("Write it as `[{key}]`."),
        _ => format!("Write {wanted}."),
    }
}

/// The known key that `written` was probably meant to be: at most a third of its letters away.
fn nearest<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    let allowed = (written.chars().count() / 3).clamp(1, 4);
    let plain = written.to_ascii_lowercase().replace('-', "_");
    known
        .iter()
        .map(|key| (distance(&plain, key), *key))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, key)| key)
}

/// The number of letters to put in, take out or change to get from `a` to `b` (Levenshtein).
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, other) in row.iter_mut().skip(1).zip(&b) {
            let best = (diagonal + usize::from(letter != *other)).min(*cell + 1).min(left + 1);
            diagonal = *cell;
            *cell = best;
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// Parses the text; faults of the syntax go to the report, and then nothing is returned.
pub(super) fn document<'t>(text: &'t str, report: &Report) -> Option<Spanned<DeTable<'t>>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        report.syntax(error.span(), error.message());
    }
    errors.is_empty().then_some(table)
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn a_misspelt_key_is_led_back_to_the_nearest_known_one() {
        let known = ["protocol", "address", "tls", "plaintext_from"];
        for (written, near) in [
            ("adress", Some("address")),
            ("Protocol", Some("protocol")),
            ("plaintext-from", Some("plaintext_from")),
            ("protocl", Some("protocol")),
            ("tsl", None),
            ("ls", Some("tls")),
            ("colour", None),
        ] {
            assert_eq!(nearest(written, &known), near, "{written}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
    }
}
