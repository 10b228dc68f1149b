//! The mail that waits.

use chrono::{DateTime, Utc};

use crate::admin::tables::{Column, Entry, Facts, short, timestamp};
use crate::delivery::{recipient_of, sender_of};
use crate::store::{QueueState, QueuedMessage, QueuedRecipient};

/// The list.
pub(in crate::admin) fn list(messages: &[QueuedMessage]) -> Vec<Column> {
    let texts = |text: fn(&QueuedMessage) -> String| messages.iter().map(text).map(Entry::from);
    let reason =
        |message: &QueuedMessage| message.obstacle.as_ref().map(|obstacle| short(&obstacle.reason)).unwrap_or_default();
    vec![
        Column::fixed("ID", texts(|message| message.id.clone())),
        Column::fixed("MAILBOX", texts(|message| message.mailbox.to_string())),
        Column::fixed("STATE", messages.iter().map(|message| state(message.state))),
        Column::fixed("ACCEPTED", texts(|message| timestamp(message.accepted_at))),
        Column::loose("NEXT", texts(|message| next_at(message).map(timestamp).unwrap_or_default())),
        Column::loose("TO", texts(to)),
        Column::loose("OCTETS", texts(|message| message.size_octets.to_string())),
        Column::loose("REASON", texts(reason)),
    ]
}

/// Everything that is known of one. What to do stands behind `remedy` as it is, to be set in steps.
pub(in crate::admin) fn facts(message: &QueuedMessage) -> Facts {
    let mut facts: Facts = vec![
        ("id", message.id.clone().into()),
        ("mailbox", message.mailbox.to_string().into()),
        ("from", sender_of(message).unwrap_or_else(|| "nobody (<>)".to_owned()).into()),
        ("state", state(message.state)),
        ("accepted", timestamp(message.accepted_at).into()),
        ("octets", message.size_octets.to_string().into()),
        ("attempts", message.attempts.to_string().into()),
    ];
    facts.extend(next_at(message).map(|next| ("next", timestamp(next).into())));
    if !message.password_id.is_empty() {
        facts.push(("app password", message.password_id.clone().into()));
    }
    if message.is_report {
        facts.push(("what", "a mail of Postern's own: a delivery report, or a reminder".into()));
    }
    if message.is_unknown() {
        facts.push(("outcome", Entry::Bad("unknown: it may have arrived".to_owned())));
    }
    if let Some(obstacle) = &message.obstacle {
        facts.push(("reason", obstacle.reason.clone().into()));
        facts.extend(obstacle.remedy.as_ref().map(|remedy| ("remedy", remedy.clone().into())));
    }
    for recipient in &message.recipients {
        let said = recipient.reply.as_ref().map(|reply| format!(": {reply}")).unwrap_or_default();
        let text = format!("{} {}{said}", recipient_of(recipient).unwrap_or_default(), recipient.state.name());
        facts.push(("recipient", text.into()));
    }
    facts
}

/// When it is tried next; one that is held is not.
pub(in crate::admin) fn next_at(message: &QueuedMessage) -> Option<DateTime<Utc>> {
    (message.state != QueueState::Held).then_some(message.next_at)
}

/// The first recipient that waits, and how many others.
fn to(message: &QueuedMessage) -> String {
    let waiting: Vec<&QueuedRecipient> = message.waiting().collect();
    let first = waiting.first().and_then(|recipient| recipient_of(recipient)).unwrap_or_default();
    match waiting.len() {
        0 | 1 => first,
        number => format!("{first} and {} more", number - 1),
    }
}

fn state(state: QueueState) -> Entry {
    let name = state.name().to_owned();
    match state {
        QueueState::Waiting => Entry::Plain(name),
        QueueState::Held => Entry::Faint(name),
        QueueState::HeldForSetup => Entry::Bad(name),
    }
}
