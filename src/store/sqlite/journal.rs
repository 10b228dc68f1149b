//! The journal on SQLite.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::base::Mailbox;
use crate::store::StoreError;
use crate::store::journal::{JournalEntry, JournalFilter, JournalOutcome, Journaled, Route};
use crate::store::sqlite::{SqliteStore, address, column, failed, time};

/// The length of the spans in which recipients are counted.
const SPAN_MILLIS: i64 = 300_000;

#[async_trait]
impl Journaled for SqliteStore {
    async fn add_to_journal(&self, entries: &[JournalEntry]) -> Result<(), StoreError> {
        let mut changes = self.begin().await?;
        for entry in entries {
            add(changes.connection()?, entry).await?;
        }
        changes.commit().await
    }

    async fn journal(&self, filter: &JournalFilter, most: u32) -> Result<Vec<JournalEntry>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM journal WHERE ($1 IS NULL OR at >= $1) AND ($2 IS NULL OR mailbox = $2) AND ($3 IS NULL OR outcome = $3) \
             AND ($4 IS NULL OR instr(lower(sender || char(10) || recipients || char(10) || coalesce(message_id, '') || char(10) || \
             coalesce(queue_id, '')), $4) > 0) AND ($6 IS NULL OR at < $6) ORDER BY number DESC LIMIT $5",
        )
        .bind(filter.since.map(|at| at.timestamp_millis()))
        .bind(filter.mailbox.as_ref().map(Mailbox::as_str))
        .bind(filter.outcome.map(JournalOutcome::name))
        .bind(filter.with.as_ref().map(|text| text.to_ascii_lowercase()))
        .bind(most)
        .bind(filter.before.map(|at| at.timestamp_millis()))
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        rows.iter().map(entry).collect()
    }

    async fn prune_journal(&self, before: DateTime<Utc>) -> Result<u64, StoreError> {
        let done = sqlx::query("DELETE FROM journal WHERE at < $1")
            .bind(before.timestamp_millis())
            .execute(&self.pool)
            .await
            .map_err(failed)?;
        Ok(done.rows_affected())
    }

    async fn sent_since(&self, since: DateTime<Utc>) -> Result<Vec<(Mailbox, DateTime<Utc>, u64)>, StoreError> {
        let rows = sqlx::query(
            "SELECT mailbox, MAX(at) AS at, SUM(recipient_count) AS recipients FROM journal \
             WHERE at >= $1 AND outcome = 'delivered' GROUP BY mailbox, at / $2",
        )
        .bind(since.timestamp_millis())
        .bind(SPAN_MILLIS)
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        let sent = |row: &SqliteRow| {
            let recipients: i64 = column(row, "recipients")?;
            let mailbox = address(row, "mailbox", "journal.mailbox")?;
            Ok((mailbox, time(row, "at")?, u64::try_from(recipients).unwrap_or_default()))
        };
        rows.iter().map(sent).collect()
    }
}

fn entry(row: &SqliteRow) -> Result<JournalEntry, StoreError> {
    let (outcome, route): (String, String) = (column(row, "outcome")?, column(row, "route")?);
    let known = JournalOutcome::ALL.into_iter().find(|known| known.name() == outcome);
    let outcome = known.ok_or(StoreError::Value { column: "journal.outcome", value: outcome })?;
    let size: i64 = column(row, "size_octets")?;
    let recipients: String = column(row, "recipients")?;
    Ok(JournalEntry {
        at: time(row, "at")?,
        mailbox: address(row, "mailbox", "journal.mailbox")?,
        password_id: column(row, "password_id")?,
        queue_id: column(row, "queue_id")?,
        sender: column(row, "sender")?,
        recipients: recipients.lines().map(str::to_owned).collect(),
        size_octets: u64::try_from(size).unwrap_or_default(),
        message_id: column(row, "message_id")?,
        route: Route::ALL.into_iter().find(|known| known.name() == route),
        outcome,
        reply: column(row, "reply")?,
    })
}

/// Adds an entry.
pub(super) async fn add(connection: &mut SqliteConnection, entry: &JournalEntry) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO journal (at, mailbox, password_id, queue_id, sender, recipients, recipient_count, size_octets, message_id, \
         route, outcome, reply) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(entry.at.timestamp_millis())
    .bind(entry.mailbox.as_str())
    .bind(&entry.password_id)
    .bind(entry.queue_id.as_deref())
    .bind(&entry.sender)
    .bind(entry.recipients.join("\n"))
    .bind(i64::try_from(entry.recipients.len()).unwrap_or(i64::MAX))
    .bind(i64::try_from(entry.size_octets).unwrap_or(i64::MAX))
    .bind(entry.message_id.as_deref())
    .bind(entry.route.map_or("", Route::name))
    .bind(entry.outcome.name())
    .bind(entry.reply.as_deref())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
