//! The rows of the queue: written, and read as messages.

use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::store::StoreError;
use crate::store::queue::{Obstacle, QueueState, QueuedMessage, QueuedRecipient, RecipientState};
use crate::store::sqlite::{address, column, failed, optional_time, time};

/// From here on these recipients, and no others, may have the message.
pub(in crate::store::sqlite::queue) async fn mark_unknown(
    connection: &mut SqliteConnection,
    id: &str,
    places: &[usize],
) -> Result<(), StoreError> {
    sqlx::query("UPDATE queued_recipient SET is_unknown = 0 WHERE message = $1 AND is_unknown")
        .bind(id)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    for number in places {
        sqlx::query("UPDATE queued_recipient SET is_unknown = 1 WHERE message = $1 AND number = $2")
            .bind(id)
            .bind(i64::try_from(*number).unwrap_or(i64::MAX))
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    Ok(())
}

pub(in crate::store::sqlite::queue) async fn insert(
    connection: &mut SqliteConnection,
    message: &QueuedMessage,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO queued_message (id, mailbox, password_id, mail, size_octets, message_id, is_report, accepted_at, state, next_at, \
         attempts, is_unknown, held_millis, held_since, code, reason, remedy, warned_at, unknown_at, copies, resent, unknown_attempt, begun) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)",
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
    .bind(message.is_unknown)
    .bind(message.held.num_milliseconds())
    .bind(message.held_since.map(|at| at.timestamp_millis()))
    .bind(message.obstacle.as_ref().map(|obstacle| obstacle.code.as_str()))
    .bind(message.obstacle.as_ref().map(|obstacle| obstacle.reason.as_str()))
    .bind(message.obstacle.as_ref().and_then(|obstacle| obstacle.remedy.as_deref()))
    .bind(message.warned_at.map(|at| at.timestamp_millis()))
    .bind(message.unknown_at.map(|at| at.timestamp_millis()))
    .bind(message.copies)
    .bind(message.resent)
    .bind(message.unknown_attempt)
    .bind(message.begun)
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    for (number, recipient) in message.recipients.iter().enumerate() {
        sqlx::query("INSERT INTO queued_recipient (message, number, rcpt, state, reply, is_unknown) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(&message.id)
            .bind(i64::try_from(number).unwrap_or(i64::MAX))
            .bind(&recipient.rcpt)
            .bind(recipient.state.name())
            .bind(recipient.reply.as_deref())
            .bind(recipient.is_unknown)
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
    let recipients = recipients(connection, &column::<String>(&row, "id")?).await?;
    message(&row, recipients).map(Some)
}

pub(in crate::store::sqlite::queue) async fn recipients(
    connection: &mut SqliteConnection,
    id: &str,
) -> Result<Vec<QueuedRecipient>, StoreError> {
    let rows =
        sqlx::query("SELECT rcpt, state, reply, is_unknown FROM queued_recipient WHERE message = $1 ORDER BY number")
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
        is_unknown: column(row, "is_unknown")?,
    })
}

pub(in crate::store::sqlite::queue) fn message(
    row: &SqliteRow,
    recipients: Vec<QueuedRecipient>,
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
        is_unknown: column(row, "is_unknown")?,
        unknown_at: optional_time(row, "unknown_at")?,
        copies: u32::try_from(column::<i64>(row, "copies")?).unwrap_or(u32::MAX),
        begun: u32::try_from(column::<i64>(row, "begun")?).unwrap_or(u32::MAX),
        unknown_attempt: u32::try_from(column::<i64>(row, "unknown_attempt")?).unwrap_or(u32::MAX),
        resent: u32::try_from(column::<i64>(row, "resent")?).unwrap_or(u32::MAX),
        warned_at: optional_time(row, "warned_at")?,
        held: chrono::Duration::milliseconds(column(row, "held_millis")?),
        held_since: optional_time(row, "held_since")?,
        obstacle,
        recipients,
    })
}
