//! Addresses from which too much was guessed.

use chrono::{DateTime, Utc};

use crate::admin::tables::{Column, Entry, timestamp};
use crate::store::BanRecord;

/// The list.
pub(in crate::admin) fn list(bans: &[BanRecord], now: DateTime<Utc>) -> Vec<Column> {
    let until = |ban: &BanRecord| match ban.until > now {
        true => Entry::Bad(timestamp(ban.until)),
        false => Entry::Faint(format!("{}, over", timestamp(ban.until))),
    };
    vec![
        Column::fixed("ADDRESS", bans.iter().map(|ban| ban.network.to_string().into())),
        Column::fixed("SINCE", bans.iter().map(|ban| timestamp(ban.since).into())),
        Column::fixed("UNTIL", bans.iter().map(until)),
        Column::loose("BANS", bans.iter().map(|ban| ban.strikes.to_string().into())),
        Column::loose("PASSWORDS TRIED", bans.iter().map(|ban| ban.tries.to_string().into())),
    ]
}
