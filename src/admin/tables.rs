//! What administrators read of mailboxes, app passwords, mail and logins, in the words and the order in which both the command line and the
//! console show it. How a table is laid out is theirs.

mod audit;
mod bans;
mod journal;
mod mailboxes;
mod passwords;
mod queue;
mod reason;
mod scope;
mod status;

use chrono::{DateTime, SecondsFormat, Utc};

pub(in crate::admin) use self::audit::{details, list as audit};
pub(in crate::admin) use self::bans::list as bans;
pub(in crate::admin) use self::journal::list as journal;
pub(in crate::admin) use self::mailboxes::{facts as mailbox, list as mailboxes};
pub(in crate::admin) use self::passwords::{ending, facts as password, list as passwords};
pub(in crate::admin) use self::queue::{facts as message, list as queue, next_at};
pub(in crate::admin) use self::reason::short;
pub(in crate::admin) use self::scope::card_lines;
pub(in crate::admin) use self::status::facts as status;

/// A cell of a table: a text, and whether it is good or bad news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::admin) enum Entry {
    Plain(String),
    Good(String),
    Bad(String),
    Faint(String),
}

impl Entry {
    /// The text alone.
    pub(in crate::admin) fn text(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Good(text) | Self::Bad(text) | Self::Faint(text) => text,
        }
    }
}

impl<T: Into<String>> From<T> for Entry {
    fn from(text: T) -> Self {
        Self::Plain(text.into())
    }
}

/// What is known about one thing: names, and what stands behind each.
pub(in crate::admin) type Facts = Vec<(&'static str, Entry)>;

/// A column of a list.
pub(in crate::admin) struct Column {
    pub(in crate::admin) header: &'static str,
    /// Whether it stays in its row however narrow the terminal is.
    pub(in crate::admin) stays: bool,
    /// Whether it is left out for a person where it says the same in every row.
    pub(in crate::admin) must_differ: bool,
    pub(in crate::admin) cells: Vec<Entry>,
}

impl Column {
    /// One that stays in its row.
    pub(in crate::admin) fn fixed(header: &'static str, cells: impl Iterator<Item = Entry>) -> Self {
        Self { header, stays: true, must_differ: false, cells: cells.collect() }
    }

    /// One that goes beneath the row where the terminal is too narrow. There, what is faint or empty is left out.
    pub(in crate::admin) fn loose(header: &'static str, cells: impl Iterator<Item = Entry>) -> Self {
        Self { header, stays: false, must_differ: false, cells: cells.collect() }
    }

    /// The same, left out for a person where it says the same in every row.
    pub(in crate::admin) fn if_it_differs(mut self) -> Self {
        self.must_differ = true;
        self
    }

    /// Whether it tells a person anything.
    pub(in crate::admin) fn tells(&self) -> bool {
        let mut texts = self.cells.iter().map(Entry::text);
        let first = texts.clone().next().unwrap_or_default();
        texts.any(|text| if self.must_differ { text != first } else { !text.is_empty() })
    }
}

/// The text without control characters, except line ends, and without those that turn the direction of writing: what others chose must
/// not steer whoever shows it, nor stand for something else.
pub(in crate::admin) fn harmless(text: &str) -> String {
    let steers = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// A moment as it is shown everywhere: RFC 3339, UTC, whole seconds.
pub(in crate::admin) fn timestamp(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A span as it is written: `2d`, `12h`.
pub(in crate::admin) fn span_words(span: chrono::Duration) -> String {
    let minutes = span.num_minutes();
    match minutes {
        0 => format!("{}s", span.num_seconds()),
        days if days % 1440 == 0 => format!("{}d", days / 1440),
        hours if hours % 60 == 0 => format!("{}h", hours / 60),
        minutes => format!("{minutes}m"),
    }
}

fn or_never(moment: Option<DateTime<Utc>>) -> Entry {
    moment.map_or(Entry::Faint("never".to_owned()), |moment| timestamp(moment).into())
}
