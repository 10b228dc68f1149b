//! App passwords.

use chrono::{DateTime, TimeDelta, Utc};

use crate::admin::ops::{PasswordRow, PasswordState};
use crate::admin::tables::{Column, Entry, Facts, or_never, scope, span_words, timestamp};
use crate::base::Protocol;

/// What a program is called that did not say its name.
pub(in crate::admin::tables) const NAMELESS: &str = "a program that did not say its name";

/// The list.
pub(in crate::admin) fn list(rows: &[PasswordRow]) -> Vec<Column> {
    let texts = |text: fn(&PasswordRow) -> String| rows.iter().map(text).map(Entry::from);
    let mut columns = vec![
        Column::fixed("ID", texts(|row| row.id.clone())),
        Column::fixed("MAILBOX", texts(|row| row.mailbox.to_string())),
        Column::fixed("LABEL", texts(|row| row.label.clone())),
        Column::fixed("STATE", rows.iter().map(|row| state(row.state))),
        Column::loose("PROTOCOLS", rows.iter().map(bound_protocols)),
        Column::loose("NETWORKS", rows.iter().map(bound_networks)),
        Column::loose("ENDS", rows.iter().map(ends)),
        Column::loose("LAST USED", rows.iter().map(|row| or_never(row.last_used_at))),
    ];
    if rows.iter().any(|row| row.state == PasswordState::Rotating) {
        columns.push(Column::loose("STILL USES THE OLD ONE", rows.iter().map(still_uses)));
    }
    columns
}

/// When it ends; whoever has to do something about it sees that.
fn ends(row: &PasswordRow) -> Entry {
    match (row.expires_at, row.ends_within_days) {
        (Some(end), Some(_)) => Entry::Bad(timestamp(end)),
        (end, _) => or_never(end),
    }
}

fn senders(row: &PasswordRow) -> Entry {
    let allowed = row.senders.allowed.join(", ");
    match (allowed.is_empty(), row.senders.force_from) {
        (true, false) => Entry::Faint("whomever Exchange allows".to_owned()),
        (false, false) => allowed.into(),
        (true, true) => format!("any, replaced by {}", row.mailbox).into(),
        (false, true) => format!("{allowed}; replaced by {}", row.mailbox).into(),
    }
}

/// Those that end soon: when, whose they are, and who uses them.
pub(in crate::admin) fn ending(rows: &[PasswordRow], now: DateTime<Utc>) -> Vec<Column> {
    let texts = |text: fn(&PasswordRow) -> String| rows.iter().map(text).map(Entry::from);
    let used_by = |row: &PasswordRow| match &row.tracking.last {
        Some(last) => format!("{}, {}", last.client.as_deref().unwrap_or(NAMELESS), last.address),
        None => String::new(),
    };
    vec![
        Column::fixed("ID", texts(|row| row.id.clone())),
        Column::fixed("ENDS", rows.iter().map(ends)),
        Column::fixed("IN", rows.iter().map(|row| left(row, now))),
        Column::fixed("MAILBOX", texts(|row| row.mailbox.to_string())),
        Column::fixed("LABEL", texts(|row| row.label.clone())),
        Column::loose("OWNER", texts(|row| row.tracking.owner.clone().unwrap_or_default())),
        Column::loose("LAST USED", rows.iter().map(|row| or_never(row.last_used_at))),
        Column::loose("BY", texts(used_by)),
    ]
}

/// How long it still works.
fn left(row: &PasswordRow, now: DateTime<Utc>) -> Entry {
    let Some(end) = row.expires_at else { return "".into() };
    let left = (end - now).max(TimeDelta::zero());
    let text = match (left.num_days(), left.num_hours()) {
        (0, 0) => "less than an hour".to_owned(),
        (0, 1) => "1 hour".to_owned(),
        (0, hours) => format!("{hours} hours"),
        (1, _) => "1 day".to_owned(),
        (days, _) => format!("{days} days"),
    };
    if left < TimeDelta::days(7) { Entry::Bad(text) } else { text.into() }
}

/// Everything that is known of one.
pub(in crate::admin) fn facts(row: &PasswordRow) -> Facts {
    let mut facts: Facts = vec![
        ("id", row.id.clone().into()),
        ("mailbox", row.mailbox.to_string().into()),
        ("label", row.label.clone().into()),
        ("state", state(row.state)),
        ("secret", if row.is_adopted { "the device's own".into() } else { "made by Postern".into() }),
        ("protocols", protocols(&row.protocols).into()),
        ("networks", networks(row)),
    ];
    if !row.scope.read_only {
        facts.push(("delivery", row.delivery.name().into()));
        facts.push(("senders", senders(row)));
    }
    facts.extend(scope::cells(row));
    facts.extend([
        ("issued", timestamp(row.created_at).into()),
        ("ends", ends(row)),
        ("last used", or_never(row.last_used_at)),
    ]);
    facts.extend(scope::tracking_cells(row));
    if let Some(replaces) = &row.replaces {
        facts.push(("in the place of", replaces.clone().into()));
    }
    if let Some(replaced_by) = &row.replaced_by {
        facts.push(("replaced by", replaced_by.clone().into()));
        facts.push(("still uses it", still_uses(row)));
        if let Some(span) = row.ends_unused {
            facts.push(("ends sooner", format!("if it is not used for {}", span_words(span)).into()));
        }
    }
    if let Some(revoked_at) = row.revoked_at {
        facts.push(("revoked", timestamp(revoked_at).into()));
    }
    facts
}

/// The protocols, or the one that it is bound to.
fn bound_protocols(row: &PasswordRow) -> Entry {
    let names = match row.first_use.as_ref().filter(|_| row.scope.binds_protocol) {
        Some(first) => protocols(&[first.protocol]),
        None => protocols(&row.protocols),
    };
    if row.scope.read_only { format!("{names} (reads only)").into() } else { names.into() }
}

/// The networks, or the one that it is bound to.
fn bound_networks(row: &PasswordRow) -> Entry {
    match row.first_use.as_ref().filter(|_| row.scope.binds_network) {
        Some(first) => format!("{} (bound)", first.network).into(),
        None if row.scope.binds_network => "that of its first login".into(),
        None => networks(row),
    }
}

fn networks(row: &PasswordRow) -> Entry {
    if row.networks.is_empty() {
        return Entry::Faint("any".to_owned());
    }
    row.networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ").into()
}

fn state(state: PasswordState) -> Entry {
    let name = state.name().to_owned();
    match state {
        PasswordState::Active | PasswordState::Rotating => Entry::Good(name),
        PasswordState::Expired => Entry::Bad(name),
        PasswordState::Revoked => Entry::Faint(name),
    }
}

/// Who used it after another one was issued in its place.
fn still_uses(row: &PasswordRow) -> Entry {
    if row.state != PasswordState::Rotating {
        return "".into();
    }
    let used = row.last_used_at.zip(row.replaced_at).is_some_and(|(used, replaced)| used > replaced);
    match row.tracking.last.as_ref().filter(|_| used) {
        Some(last) => {
            let client = last.client.as_deref().unwrap_or(NAMELESS);
            Entry::Bad(format!("{client}, {}", last.address))
        }
        None => Entry::Good("nobody".to_owned()),
    }
}

/// The protocols as people read them: `SMTP, IMAP`.
fn protocols(list: &[Protocol]) -> String {
    list.iter().map(|protocol| protocol.name().to_uppercase()).collect::<Vec<_>>().join(", ")
}
