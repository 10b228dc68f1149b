//! Mailboxes.

use crate::admin::ops::{MailboxRow, MailboxState};
use crate::admin::tables::{Column, Entry, Facts, short, timestamp};

/// The list.
pub(in crate::admin) fn list(rows: &[MailboxRow]) -> Vec<Column> {
    let texts = |text: fn(&MailboxRow) -> String| rows.iter().map(text).map(Entry::from);
    vec![
        Column::fixed("MAILBOX", texts(|row| row.address.to_string())),
        Column::fixed("TENANT", texts(|row| row.tenant.to_string())).if_it_differs(),
        Column::fixed("STATE", rows.iter().map(state)),
        Column::fixed("SINCE", texts(|row| timestamp(row.since))),
        Column::loose("ALIASES", texts(|row| row.aliases.join(", "))),
        Column::loose("SIGNS IN AS", texts(|row| row.sign_in_as.as_ref().map(ToString::to_string).unwrap_or_default())),
        Column::loose("REASON", texts(|row| row.reason.as_deref().map(short).unwrap_or_default())),
    ]
}

/// Everything that is known of one. What to do stands behind `remedy` as it is, to be set in steps.
pub(in crate::admin) fn facts(row: &MailboxRow) -> Facts {
    let or_none = |text: String| if text.is_empty() { Entry::Faint("none".to_owned()) } else { text.into() };
    let mut facts: Facts = vec![
        ("mailbox", row.address.to_string().into()),
        ("tenant", row.tenant.to_string().into()),
        ("state", state(row)),
        ("since", timestamp(row.since).into()),
        ("reason", or_none(row.reason.clone().unwrap_or_default())),
    ];
    facts.extend(row.remedy.as_ref().map(|remedy| ("remedy", remedy.clone().into())));
    facts.push(("aliases", or_none(row.aliases.join(", "))));
    facts.push(("signs in as", row.sign_in_as.as_ref().unwrap_or(&row.address).to_string().into()));
    facts
}

fn state(row: &MailboxRow) -> Entry {
    let name = row.state_word().to_owned();
    match row.state {
        MailboxState::Ready => Entry::Good(name),
        MailboxState::Disabled => Entry::Faint(name),
        MailboxState::NeedsAdministrator | MailboxState::NeedsSignIn => Entry::Bad(name),
    }
}
