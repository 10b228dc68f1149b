//! App passwords that end by themselves are spoken of in time, so that a script does not find out at 3 a.m.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::json;
use tracing::{info, warn};

use crate::auth::{Successors, reminder_stage};
use crate::base::{Fault, Protocol};
use crate::config;
use crate::delivery::{Delivery, Notice};
use crate::store::{AppPasswordRecord, Store};
use crate::telemetry::audit::Audit;

/// Who is told.
pub(in crate::app) struct Reminders {
    pub(in crate::app) store: Arc<dyn Store>,
    pub(in crate::app) audit: Arc<Audit>,
    pub(in crate::app) delivery: Delivery,
    pub(in crate::app) mail: config::Reminders,
}

impl Reminders {
    /// Looks through all app passwords; called every hour. Each stage is spoken of once, by whichever process.
    pub(in crate::app) async fn remind(&self, now: DateTime<Utc>) {
        let store = &self.store;
        let records = match store.app_passwords().await {
            Ok(records) => records,
            Err(error) => {
                warn!(
                    code = error.code(),
                    remedy = error.remedy(),
                    "app passwords that end cannot be looked for: {error}"
                );
                return;
            }
        };
        let successors = Successors::among(&records);
        for record in &records {
            let Some(stage) = reminder_stage(record, &successors, now) else { continue };
            match store.note_reminded(&record.id, stage).await {
                Ok(true) => self.tell(record, now).await,
                Ok(false) => {}
                Err(error) => {
                    warn!(
                        code = error.code(),
                        remedy = error.remedy(),
                        "that an app password ends cannot be noted: {error}"
                    );
                }
            }
        }
    }

    async fn tell(&self, record: &AppPasswordRecord, now: DateTime<Utc>) {
        let Some(end) = record.expires_at else { return };
        let days = (end - now).num_days();
        let when = match days {
            0 => "today".to_owned(),
            1 => "tomorrow".to_owned(),
            days => format!("in {days} days"),
        };
        let owner = record.tracking.owner.as_deref().map(|owner| format!(", {owner}")).unwrap_or_default();
        warn!(
            mailbox.id = %record.mailbox,
            password.id = record.id,
            remedy = format!("Issue its successor while both work: `postern password rotate {} --overlap 7d`.", record.id),
            "the app password {} ({}{owner}) of {} ends {when}",
            record.id,
            record.label,
            record.mailbox
        );
        let details = json!({ "act": "password ends", "by": "postern", "label": record.label, "days": days });
        if let Err(error) = self.audit.act(Some(&record.mailbox), Some(&record.id), details).await {
            info!("the reminder is missing in the audit trail: {error}");
        }
        self.mail(record, end, &when).await;
    }

    /// The mail goes by the way by which the mailbox sends. Where the app password is not for sending, that way may never have been opened.
    async fn mail(&self, record: &AppPasswordRecord, end: DateTime<Utc>, when: &str) {
        let to = match &self.mail {
            config::Reminders::Mailbox => &record.mailbox,
            config::Reminders::To(address) => address,
            config::Reminders::Nobody => return,
        };
        if !record.protocols.contains(&Protocol::Smtp) {
            return;
        }
        let subject = format!("The app password \"{}\" of {} ends {when}", record.label, record.mailbox);
        let text = text(record, end, when);
        if let Err(error) = self.delivery.notify(&record.mailbox, to, Notice { subject: &subject, text: &text }).await {
            warn!(
                mailbox.id = %record.mailbox,
                password.id = record.id,
                code = error.code(),
                remedy = error.remedy(),
                "the reminder of an app password that ends cannot be sent, and is tried again in an hour: {error}"
            );
            if let Err(error) = self.store.forget_reminded(&record.id).await {
                warn!(code = error.code(), remedy = error.remedy(), "it will not be: {error}");
            }
        }
    }
}

fn text(record: &AppPasswordRecord, end: DateTime<Utc>, when: &str) -> String {
    let mut lines = vec![
        format!("The app password \"{}\" ({}) of {}", record.label, record.id, record.mailbox),
        format!("ends {when}, on {}.", end.format("%Y-%m-%d at %H:%M UTC")),
        "The program or device that uses it cannot send or read mail from then on.".to_owned(),
        String::new(),
    ];
    if let Some(owner) = &record.tracking.owner {
        lines.push(format!("Whose it is: {owner}"));
    }
    if let Some(last) = &record.tracking.last {
        let client = last.client.as_deref().unwrap_or("a program that did not say its name");
        lines.push(format!("Used last by: {client}, from {}", last.address));
    }
    match record.last_used_at {
        Some(at) => lines.push(format!("Used last on: {}", at.format("%Y-%m-%d at %H:%M UTC"))),
        None => lines.push("It was never used.".to_owned()),
    }
    lines.extend([
        String::new(),
        "If it is still needed, the administrator of Postern issues its successor,".to_owned(),
        "and both work until the program is changed:".to_owned(),
        String::new(),
        format!("    postern password rotate {} --overlap 7d", record.id),
        String::new(),
    ]);
    lines.join("\r\n")
}
