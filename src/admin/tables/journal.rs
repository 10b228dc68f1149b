//! The mail that was sent.

use crate::admin::tables::{Column, Entry, short, timestamp};
use crate::store::{JournalEntry, JournalOutcome};

/// The list.
pub(in crate::admin) fn list(entries: &[JournalEntry]) -> Vec<Column> {
    let texts = |text: fn(&JournalEntry) -> String| entries.iter().map(text).map(Entry::from);
    vec![
        Column::fixed("AT", texts(|entry| timestamp(entry.at))),
        Column::fixed("OUTCOME", entries.iter().map(outcome)),
        Column::fixed("FROM", texts(from)),
        Column::loose("TO", texts(to)),
        Column::loose("ID", texts(|entry| entry.queue_id.clone().unwrap_or_default())),
        Column::loose("OCTETS", texts(|entry| entry.size_octets.to_string())),
        Column::loose("REPLY", texts(|entry| entry.reply.as_deref().map(short).unwrap_or_default())),
    ]
}

fn outcome(entry: &JournalEntry) -> Entry {
    let name = entry.outcome.name().to_owned();
    match entry.outcome {
        JournalOutcome::Delivered => Entry::Good(name),
        JournalOutcome::Queued | JournalOutcome::Dropped => Entry::Plain(name),
        JournalOutcome::Refused | JournalOutcome::Expired => Entry::Bad(name),
    }
}

fn from(entry: &JournalEntry) -> String {
    if entry.sender.is_empty() { "nobody (<>)".to_owned() } else { entry.sender.clone() }
}

fn to(entry: &JournalEntry) -> String {
    match entry.recipients.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first, others @ ..] => format!("{first} and {} more", others.len()),
    }
}
