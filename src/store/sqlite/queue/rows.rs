//! The rows of the queue: written, and read as messages.

use chrono::{DateTime, Utc};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::store::StoreError;
use crate::store::queue::{Doubt, Obstacle, QueueState, QueuedMessage, QueuedRecipient, RecipientState};
use crate::store::sqlite::{address, column, failed, optional_time, time};

/// From here on these recipients may have the message by the attempt that was begun last; it has ended at this time, if it has.
pub(in crate::store::sqlite::queue) async fn note_doubt(
    connection: &mut SqliteConnection,
    id: &str,
    at: Option<DateTime<Utc>>,
    places: &[usize],
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT OR REPLACE INTO queued_doubt (message, attempt, at, places) SELECT id, begun, $2, $3 FROM queued_message WHERE id = $1",
    )
    .bind(id)
    .bind(at.map(|at| at.timestamp_millis()))
    .bind(listed(places))
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

/// What became of this attempt is known; none: of the one that was begun last.
pub(in crate::store::sqlite::queue) async fn forget_doubt(
    connection: &mut SqliteConnection,
    id: &str,
    attempt: Option<u32>,
) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM queued_doubt WHERE message = $1 AND attempt = COALESCE($2, (SELECT begun FROM queued_message WHERE id = $1))",
    )
    .bind(id)
    .bind(attempt)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

fn listed(places: &[usize]) -> String {
    places.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

pub(in crate::store::sqlite::queue) async fn insert(
    connection: &mut SqliteConnection,
    message: &QueuedMessage,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO queued_message (id, mailbox, password_id, mail, size_octets, message_id, is_report, accepted_at, state, next_at, \
         attempts, held_millis, held_since, code, reason, remedy, warned_at, copies, resent, begun) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)",
    )
    .bind(&message.id)
    .bind(message.mailbox.as_str())
    .bind(&message.password_id)
    .bind(&message.mail)
    .bind(i64::try_from(message.size_octets).unwrap_or(i64::MAX))
    .bind(message.message_id.as_deref())
    .bind(message.is_report)
    .bind(message.accepted_at.timestamp_millis())
    .bind(message.state.name())
    .bind(message.next_at.timestamp_millis())
    .bind(message.attempts)
    .bind(message.held.num_milliseconds())
    .bind(message.held_since.map(|at| at.timestamp_millis()))
    .bind(message.obstacle.as_ref().map(|obstacle| obstacle.code.as_str()))
    .bind(message.obstacle.as_ref().map(|obstacle| obstacle.reason.as_str()))
    .bind(message.obstacle.as_ref().and_then(|obstacle| obstacle.remedy.as_deref()))
    .bind(message.warned_at.map(|at| at.timestamp_millis()))
    .bind(message.copies)
    .bind(message.resent)
    .bind(message.begun)
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    for (number, recipient) in message.recipients.iter().enumerate() {
        sqlx::query("INSERT INTO queued_recipient (message, number, rcpt, state, reply) VALUES ($1, $2, $3, $4, $5)")
            .bind(&message.id)
            .bind(i64::try_from(number).unwrap_or(i64::MAX))
            .bind(&recipient.rcpt)
            .bind(recipient.state.name())
            .bind(recipient.reply.as_deref())
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    for doubt in &message.doubts {
        sqlx::query("INSERT INTO queued_doubt (message, attempt, at, places) VALUES ($1, $2, $3, $4)")
            .bind(&message.id)
            .bind(doubt.attempt)
            .bind(doubt.at.map(|at| at.timestamp_millis()))
            .bind(listed(&doubt.places))
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    Ok(())
}

pub(in crate::store::sqlite::queue) async fn whole(
    connection: &mut SqliteConnection,
    row: Option<SqliteRow>,
) -> Result<Option<QueuedMessage>, StoreError> {
    let Some(row) = row else { return Ok(None) };
    let id: String = column(&row, "id")?;
    let recipients = recipients(&mut *connection, &id).await?;
    let doubts = sqlx::query("SELECT * FROM queued_doubt WHERE message = $1 ORDER BY attempt")
        .bind(&id)
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    let doubts = doubts.iter().map(doubt).collect::<Result<_, _>>()?;
    message(&row, recipients, doubts).map(Some)
}

pub(in crate::store::sqlite::queue) async fn recipients(
    connection: &mut SqliteConnection,
    id: &str,
) -> Result<Vec<QueuedRecipient>, StoreError> {
    let rows = sqlx::query("SELECT rcpt, state, reply FROM queued_recipient WHERE message = $1 ORDER BY number")
        .bind(id)
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    rows.iter().map(recipient).collect()
}

pub(in crate::store::sqlite::queue) fn recipient(row: &SqliteRow) -> Result<QueuedRecipient, StoreError> {
    let word: String = column(row, "state")?;
    let state = RecipientState::ALL.into_iter().find(|state| state.name() == word);
    Ok(QueuedRecipient {
        rcpt: column(row, "rcpt")?,
        state: state.ok_or(StoreError::Value { column: "queued_recipient.state", value: word })?,
        reply: column(row, "reply")?,
    })
}

pub(in crate::store::sqlite::queue) fn doubt(row: &SqliteRow) -> Result<Doubt, StoreError> {
    let places: String = column(row, "places")?;
    let parsed: Result<Vec<usize>, _> = places.split(',').filter(|place| !place.is_empty()).map(str::parse).collect();
    Ok(Doubt {
        attempt: u32::try_from(column::<i64>(row, "attempt")?).unwrap_or(u32::MAX),
        at: optional_time(row, "at")?,
        places: parsed.map_err(|_| StoreError::Value { column: "queued_doubt.places", value: places })?,
    })
}

pub(in crate::store::sqlite::queue) fn message(
    row: &SqliteRow,
    recipients: Vec<QueuedRecipient>,
    doubts: Vec<Doubt>,
) -> Result<QueuedMessage, StoreError> {
    let word: String = column(row, "state")?;
    let state = QueueState::ALL.into_iter().find(|state| state.name() == word);
    let code: Option<String> = column(row, "code")?;
    let obstacle = match code {
        Some(code) => {
            let reason: Option<String> = column(row, "reason")?;
            Some(Obstacle { code, reason: reason.unwrap_or_default(), remedy: column(row, "remedy")? })
        }
        None => None,
    };
    Ok(QueuedMessage {
        id: column(row, "id")?,
        mailbox: address(row, "mailbox", "queued_message.mailbox")?,
        password_id: column(row, "password_id")?,
        mail: column(row, "mail")?,
        size_octets: u64::try_from(column::<i64>(row, "size_octets")?).unwrap_or_default(),
        message_id: column(row, "message_id")?,
        is_report: column(row, "is_report")?,
        accepted_at: time(row, "accepted_at")?,
        state: state.ok_or(StoreError::Value { column: "queued_message.state", value: word })?,
        next_at: time(row, "next_at")?,
        attempts: u32::try_from(column::<i64>(row, "attempts")?).unwrap_or(u32::MAX),
        doubts,
        copies: u32::try_from(column::<i64>(row, "copies")?).unwrap_or(u32::MAX),
        begun: u32::try_from(column::<i64>(row, "begun")?).unwrap_or(u32::MAX),
        resent: u32::try_from(column::<i64>(row, "resent")?).unwrap_or(u32::MAX),
        warned_at: optional_time(row, "warned_at")?,
        held: chrono::Duration::milliseconds(column(row, "held_millis")?),
        held_since: optional_time(row, "held_since")?,
        obstacle,
        recipients,
    })
}
