//! What an app password is bound to beside protocols, networks and senders, and how it is used.

use crate::admin::ops::PasswordRow;
use crate::admin::tables::passwords::NAMELESS;
use crate::admin::tables::{Facts, timestamp};
use crate::store::UseScope;

/// What `--drop-sent-append` comes to.
const ONE_COPY: &str = "is filed by Exchange; the copy of the mail program is dropped";

/// The lines of the card that goes with a new one.
pub(in crate::admin) fn card_lines(scope: &UseScope) -> Vec<String> {
    let mut lines = Vec::new();
    if scope.read_only {
        lines.push("  may        read, and change nothing".to_owned());
    }
    if scope.drop_sent_append {
        lines.push(format!("  sent mail  {ONE_COPY}"));
    }
    if !scope.recipients.is_empty() {
        lines.push(format!("  sends to   {}", scope.recipients.join(", ")));
    }
    if let Some(most) = limits(scope) {
        lines.push(format!("  at most    {most}"));
    }
    if scope.binds_network {
        let protocol = if scope.binds_protocol { " and protocol" } else { "" };
        lines.push(format!("  bound to   the network{protocol} of its first login"));
    }
    if let Some(by) = scope.activate_by {
        lines.push(format!("  lapses     unless it is used by {}", timestamp(by)));
    }
    if let Some(start) = scope.starts_at {
        lines.push(format!("  begins     {}", timestamp(start)));
    }
    lines
}

/// What it is bound to.
pub(super) fn cells(row: &PasswordRow) -> Facts {
    let mut cells = Facts::new();
    let scope = &row.scope;
    if scope.read_only {
        cells.push(("may", "read, and change nothing".into()));
    }
    if scope.drop_sent_append {
        cells.push(("sent mail", ONE_COPY.into()));
    }
    if !scope.recipients.is_empty() {
        cells.push(("sends to", scope.recipients.join(", ").into()));
    }
    if let Some(most) = limits(scope) {
        cells.push(("at most", most.into()));
    }
    if let Some(start) = scope.starts_at {
        cells.push(("begins", timestamp(start).into()));
    }
    if scope.binds_network {
        let bound_to = match &row.first_use {
            Some(first) if scope.binds_protocol => {
                format!("{}, {}", first.network, first.protocol.name().to_uppercase())
            }
            Some(first) => first.network.to_string(),
            None => "the place of its first login".to_owned(),
        };
        cells.push(("bound to", bound_to.into()));
    }
    match (&row.first_use, scope.activate_by) {
        (Some(first), _) => cells.push(("first used", timestamp(first.at).into())),
        (None, Some(by)) => cells.push(("lapses", format!("unless it is used by {}", timestamp(by)).into())),
        (None, None) => {}
    }
    cells
}

/// Whose it is and how it is used.
pub(super) fn tracking_cells(row: &PasswordRow) -> Facts {
    let mut cells = Facts::new();
    let tracking = &row.tracking;
    if let Some(last) = &tracking.last {
        let client = last.client.as_deref().unwrap_or(NAMELESS);
        let tls = match last.tls.as_deref() {
            None | Some("none") => "without TLS".to_owned(),
            Some(version) => version.replace('_', "."),
        };
        let how = format!("{} from {}, {tls}, {client}", last.protocol.name().to_uppercase(), last.address);
        cells.push(("by", how.into()));
    }
    if tracking.logins + tracking.refusals > 0 {
        let refusals = match tracking.refusals {
            0 => String::new(),
            count => format!("; the mailbox could not be opened {count} times"),
        };
        cells.push(("logins", format!("{}{refusals}", tracking.logins).into()));
    }
    for (name, text) in [("owner", &tracking.owner), ("note", &tracking.note), ("issued by", &tracking.created_by)] {
        if let Some(text) = text {
            cells.push((name, text.clone().into()));
        }
    }
    cells
}

fn limits(scope: &UseScope) -> Option<String> {
    let each = [
        scope.max_per_minute.map(|n| format!("{n} messages a minute")),
        scope.max_per_day.map(|n| format!("{n} messages a day")),
        scope.max_sessions.map(|n| format!("{n} sessions at once")),
    ];
    let said: Vec<String> = each.into_iter().flatten().collect();
    (!said.is_empty()).then(|| said.join(", "))
}
