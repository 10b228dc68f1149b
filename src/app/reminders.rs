//! App passwords that end by themselves are spoken of in time, so that a script does not find out at 3 a.m.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::json;
use tracing::{info, warn};

use crate::base::{Fault, Protocol};
use crate::config;
use crate::delivery::{Delivery, Notice};
use crate::store::{AppPasswordRecord, Store};
use crate::telemetry::audit::Audit;

/// The days before the end at which to speak of it.
const REMIND_AT_DAYS: [i64; 3] = [30, 7, 1];

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
        for record in &records {
            let Some(stage) = stage(record, &records, now) else { continue };
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

/// The day of [`REMIND_AT_DAYS`] that has come for one that somebody uses, and that has no successor yet.
fn stage(record: &AppPasswordRecord, all: &[AppPasswordRecord], now: DateTime<Utc>) -> Option<i64> {
    let end = record.expires_at.filter(|end| *end > now && record.revoked_at.is_none())?;
    let has_successor = all.iter().any(|other| {
        other.replaces.as_ref() == Some(&record.id)
            && other.revoked_at.is_none()
            && other.expires_at.is_none_or(|other_end| other_end > end)
    });
    if has_successor {
        return None;
    }
    // One that was issued for a short time from the start is no surprise at its first stages.
    let life = end - record.created_at;
    let left = end - now;
    REMIND_AT_DAYS.into_iter().rev().find(|days| {
        let days = chrono::Duration::days(*days);
        left <= days && life > days
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Protocol;
    use crate::store::{DeliveryMode, SenderScope, Tracking, UseScope, Verifier};

    fn record(life_days: i64, left_hours: i64, now: DateTime<Utc>) -> AppPasswordRecord {
        let end = now + chrono::Duration::hours(left_hours);
        AppPasswordRecord {
            id: "old".to_owned(),
            mailbox: "alice@contoso.test".parse().unwrap(),
            label: "scanner".to_owned(),
            verifier: Verifier([0; 32]),
            slow_hash: None,
            protocols: Protocol::ALL.to_vec(),
            networks: Vec::new(),
            delivery: DeliveryMode::Assured,
            senders: SenderScope::default(),
            scope: UseScope::default(),
            first_use: None,
            ends_unused: None,
            created_at: end - chrono::Duration::days(life_days),
            expires_at: Some(end),
            revoked_at: None,
            last_used_at: None,
            replaces: None,
            tracking: Tracking::default(),
        }
    }

    #[test]
    fn it_is_spoken_of_a_month_a_week_and_a_day_ahead_unless_there_is_a_successor() {
        let now = Utc::now();
        for (life, left, expected) in [
            (90, 31 * 24, None),
            (90, 30 * 24, Some(30)),
            (90, 8 * 24, Some(30)),
            (90, 7 * 24, Some(7)),
            (90, 24, Some(1)),
            (90, 1, Some(1)),
            (90, 0, None),
            (14, 10 * 24, None),
            (14, 5 * 24, Some(7)),
            (1, 5, None),
        ] {
            let record = record(life, left, now);
            assert_eq!(stage(&record, std::slice::from_ref(&record), now), expected, "{life} {left}");
        }
        let old = record(90, 24, now);
        let new = AppPasswordRecord {
            id: "new".to_owned(),
            replaces: Some("old".to_owned()),
            expires_at: None,
            ..old.clone()
        };
        assert_eq!(stage(&old, &[old.clone(), new.clone()], now), None);
        let revoked = AppPasswordRecord { revoked_at: Some(now), ..new };
        assert_eq!(stage(&old, &[old.clone(), revoked], now), Some(1));
    }
}
