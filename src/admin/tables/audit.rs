//! The audit trail.

use serde_json::Value;

use crate::admin::tables::{Column, Entry, timestamp};
use crate::store::{AuditKind, AuditRecord};

/// The list.
pub(in crate::admin) fn list(records: &[AuditRecord]) -> Vec<Column> {
    let details: Vec<Value> = records.iter().map(details).collect();
    let word = |name: &'static str| details.iter().map(move |details| said(details, name));
    vec![
        Column::fixed("AT", records.iter().map(|record| timestamp(record.entry.at).into())),
        Column::fixed("WHAT", records.iter().zip(&details).map(|(record, details)| what(record, details))),
        Column::loose("MAILBOX", records.iter().map(|record| mailbox(record).into())),
        Column::loose(
            "PASSWORD",
            records.iter().map(|record| record.entry.password_id.clone().unwrap_or_default().into()),
        ),
        Column::loose(
            "FROM",
            word("address")
                .zip(word("by"))
                .map(|(address, by)| Entry::from(if address.is_empty() { by } else { address })),
        ),
        Column::loose("BY", word("protocol").map(|name| Entry::from(name.to_uppercase()))),
        Column::loose("MORE", details.iter().map(|details| more(details).into())),
    ]
}

/// What an entry says beside its kind, its mailbox and its app password.
pub(in crate::admin) fn details(record: &AuditRecord) -> Value {
    serde_json::from_str(&record.entry.details)
        .unwrap_or_else(|_| serde_json::json!({ "reason": record.entry.details }))
}

fn mailbox(record: &AuditRecord) -> String {
    record.entry.mailbox.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn said(details: &Value, name: &str) -> String {
    match details.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn what(record: &AuditRecord, details: &Value) -> Entry {
    match record.entry.kind {
        AuditKind::Act => said(details, "act").into(),
        AuditKind::Login => Entry::Good("login".to_owned()),
        AuditKind::LoginRefused => Entry::Bad("login refused".to_owned()),
        AuditKind::Strangers => Entry::Bad("wrong login".to_owned()),
    }
}

fn more(details: &Value) -> String {
    let mut parts = Vec::new();
    // What was halted or resumed: everything, where no tenant is named.
    if details.get("tenant").is_some() {
        let tenant = said(details, "tenant");
        parts.push(if tenant.is_empty() { "everything".to_owned() } else { format!("tenant {tenant}") });
    }
    // Whoever did it from an address, which stands in the column for whom.
    if !said(details, "address").is_empty() && !said(details, "by").is_empty() {
        parts.push(said(details, "by"));
    }
    for name in ["label", "queue_id", "replaces", "reason"] {
        let text = said(details, name);
        if !text.is_empty() {
            parts.push(text);
        }
    }
    let further = said(details, "further");
    if !further.is_empty() {
        parts.push(format!("{further} more within the minute"));
    }
    let client = said(details, "client");
    if !client.is_empty() {
        parts.push(client);
    }
    parts.join("; ")
}
