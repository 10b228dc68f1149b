//! App passwords that end by themselves soon.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::store::AppPasswordRecord;

/// The days before the end at which to speak of it.
const REMIND_AT_DAYS: [i64; 3] = [30, 7, 1];

/// Which app passwords were issued in the place of which. Made once for all of them, as there may be many.
#[derive(Debug, Default)]
pub struct Successors<'r>(HashMap<&'r str, Vec<&'r AppPasswordRecord>>);

impl<'r> Successors<'r> {
    /// Those among these.
    pub fn among(records: &'r [AppPasswordRecord]) -> Self {
        let mut successors: HashMap<&str, Vec<&AppPasswordRecord>> = HashMap::new();
        for record in records {
            if let Some(replaces) = &record.replaces {
                successors.entry(replaces).or_default().push(record);
            }
        }
        Self(successors)
    }

    /// Those of the one with this ID, in their order, revoked ones too.
    pub fn of(&self, id: &str) -> &[&'r AppPasswordRecord] {
        self.0.get(id).map_or(&[], Vec::as_slice)
    }
}

/// Which of the days before its end has come (30, 7 or 1), for an app password that is in force and has no successor that outlives it.
pub fn reminder_stage(record: &AppPasswordRecord, successors: &Successors<'_>, now: DateTime<Utc>) -> Option<i64> {
    let end = record.expires_at.filter(|end| *end > now && record.revoked_at.is_none())?;
    let outlives_it = |other: &&AppPasswordRecord| {
        other.revoked_at.is_none() && other.expires_at.is_none_or(|other_end| other_end > end)
    };
    let has_successor = successors.of(&record.id).iter().any(outlives_it);
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
            assert_eq!(reminder_stage(&record, &Successors::default(), now), expected, "{life} {left}");
        }
        let old = record(90, 24, now);
        let new = AppPasswordRecord {
            id: "new".to_owned(),
            replaces: Some("old".to_owned()),
            expires_at: None,
            ..old.clone()
        };
        let stage = |among: &[AppPasswordRecord]| reminder_stage(&old, &Successors::among(among), now);
        assert_eq!(stage(&[old.clone(), new.clone()]), None);
        let revoked = AppPasswordRecord { revoked_at: Some(now), ..new };
        assert_eq!(stage(&[old.clone(), revoked.clone()]), Some(1));
        let shorter = AppPasswordRecord {
            revoked_at: None,
            expires_at: old.expires_at.map(|end| end - chrono::Duration::hours(1)),
            ..revoked.clone()
        };
        assert_eq!(stage(&[old.clone(), shorter]), Some(1));
        let another = AppPasswordRecord { replaces: Some("other".to_owned()), revoked_at: None, ..revoked.clone() };
        assert_eq!(stage(&[another, revoked]), Some(1));
    }
}
