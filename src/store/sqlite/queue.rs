//! The queue on SQLite.

mod rows;

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::base::Mailbox;
use crate::store::queue::{
    AttemptEnd, Certainty, Doubt, Ending, HELD_CODE, LIMITS_CODE, Obstacle, Queue, QueueState, QueueWish,
    QueuedMessage, QueuedOf, QueuedRecipient, Told,
};
use crate::store::sqlite::queue::rows::{doubt, forget_doubt, insert, message, note_doubt, recipient, whole};
use crate::store::sqlite::{SqliteStore, address, column, failed, optional_time, time};
use crate::store::{JournalEntry, QueueTally, StoreError};

#[async_trait]
impl Queue for SqliteStore {
    async fn enqueue(&self, message: &QueuedMessage) -> Result<(), StoreError> {
        let mut changes = self.begin().await?;
        insert(changes.connection()?, message).await?;
        if message.obstacle.as_ref().is_some_and(|obstacle| obstacle.code == LIMITS_CODE) {
            // The courier may have put the others off a moment ago.
            sqlx::query(
                "UPDATE queued_message SET next_at = MAX(next_at, COALESCE((SELECT MAX(other.next_at) FROM queued_message AS other \
                 WHERE other.mailbox = queued_message.mailbox AND other.id <> $1 AND other.code = $2 AND other.state = 'waiting' \
                 AND other.attempt_at IS NULL AND NOT EXISTS (SELECT 1 FROM queued_doubt WHERE queued_doubt.message = other.id)), 0)) \
                 WHERE id = $1",
            )
            .bind(&message.id)
            .bind(LIMITS_CODE)
            .execute(changes.connection()?)
            .await
            .map_err(failed)?;
        }
        sqlx::query(
            "UPDATE queued_message SET state = 'held', held_since = COALESCE(held_since, accepted_at), code = $2, \
             reason = 'what was submitted with the app password ' || password_id || ' is held', \
             remedy = 'Let it go with `postern queue release ' || id || '`, or drop it.' \
             WHERE id = $1 AND EXISTS (SELECT 1 FROM app_password WHERE app_password.id = queued_message.password_id AND hold_mail)",
        )
        .bind(&message.id)
        .bind(HELD_CODE)
        .execute(changes.connection()?)
        .await
        .map_err(failed)?;
        changes.commit().await
    }

    async fn queued(&self) -> Result<Vec<QueuedMessage>, StoreError> {
        // One state of both tables, however long it takes.
        let mut reading = self.begin_reading().await?;
        let rows = sqlx::query("SELECT * FROM queued_message ORDER BY accepted_at, rowid")
            .fetch_all(reading.connection()?)
            .await
            .map_err(failed)?;
        let of_all = sqlx::query("SELECT message, rcpt, state, reply FROM queued_recipient ORDER BY message, number")
            .fetch_all(reading.connection()?)
            .await
            .map_err(failed)?;
        let doubts_of_all = sqlx::query("SELECT * FROM queued_doubt ORDER BY message, attempt")
            .fetch_all(reading.connection()?)
            .await
            .map_err(failed)?;
        let mut doubts: HashMap<String, Vec<Doubt>> = HashMap::new();
        for row in &doubts_of_all {
            doubts.entry(column(row, "message")?).or_default().push(doubt(row)?);
        }
        let mut recipients: HashMap<String, Vec<QueuedRecipient>> = HashMap::new();
        for row in &of_all {
            recipients.entry(column(row, "message")?).or_default().push(recipient(row)?);
        }
        let mut messages = Vec::with_capacity(rows.len());
        for row in &rows {
            let id: String = column(row, "id")?;
            let own = recipients.remove(&id).unwrap_or_default();
            messages.push(message(row, own, doubts.remove(&id).unwrap_or_default())?);
        }
        reading.commit().await?;
        Ok(messages)
    }

    async fn queued_first(&self, most: u32) -> Result<Vec<QueuedMessage>, StoreError> {
        let mut reading = self.begin_reading().await?;
        let rows = sqlx::query("SELECT * FROM queued_message ORDER BY accepted_at, rowid LIMIT $1")
            .bind(most)
            .fetch_all(reading.connection()?)
            .await
            .map_err(failed)?;
        let mut messages = Vec::with_capacity(rows.len());
        for row in rows {
            messages.extend(whole(reading.connection()?, Some(row)).await?);
        }
        reading.commit().await?;
        Ok(messages)
    }

    async fn queue_tally(&self) -> Result<QueueTally, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS messages, COUNT(*) FILTER (WHERE state = 'held-for-setup') AS for_setup, \
             COUNT(*) FILTER (WHERE state = 'held') AS held, \
             COUNT(*) FILTER (WHERE state = 'held' AND is_report = 1) AS stuck_reports, \
             COUNT(*) FILTER (WHERE state = 'held' AND code = 'outcome-unknown') AS unknown, \
             MIN(accepted_at) AS oldest_at FROM queued_message",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(failed)?;
        let count = |name| column::<i64>(&row, name).map(|count| u64::try_from(count).unwrap_or_default());
        Ok(QueueTally {
            messages: count("messages")?,
            for_setup: count("for_setup")?,
            held: count("held")?,
            stuck_reports: count("stuck_reports")?,
            unknown: count("unknown")?,
            oldest_at: optional_time(&row, "oldest_at")?,
        })
    }

    async fn queue_depth(&self) -> Result<(Vec<(QueueState, u64)>, Option<DateTime<Utc>>), StoreError> {
        let rows = sqlx::query(
            "SELECT state, COUNT(*) AS messages, MIN(accepted_at) AS accepted_at FROM queued_message GROUP BY state",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        let (mut depth, mut oldest) = (Vec::new(), None::<DateTime<Utc>>);
        for row in &rows {
            let word: String = column(row, "state")?;
            let state = QueueState::ALL.into_iter().find(|state| state.name() == word);
            let state = state.ok_or(StoreError::Value { column: "queued_message.state", value: word })?;
            depth.push((state, u64::try_from(column::<i64>(row, "messages")?).unwrap_or_default()));
            let at = time(row, "accepted_at")?;
            oldest = Some(oldest.map_or(at, |other| other.min(at)));
        }
        Ok((depth, oldest))
    }

    async fn queued_ids(&self) -> Result<HashSet<String>, StoreError> {
        let rows = sqlx::query("SELECT id FROM queued_message").fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(|row| column(row, "id")).collect()
    }

    async fn queued_message(&self, id: &str) -> Result<Option<QueuedMessage>, StoreError> {
        let mut reading = self.begin_reading().await?;
        let row = sqlx::query("SELECT * FROM queued_message WHERE id = $1")
            .bind(id)
            .fetch_optional(reading.connection()?)
            .await
            .map_err(failed)?;
        let found = whole(reading.connection()?, row).await?;
        reading.commit().await?;
        Ok(found)
    }

    async fn due(&self, now: DateTime<Utc>) -> Result<Vec<Mailbox>, StoreError> {
        sqlx::query(
            "SELECT mailbox, MIN(next_at) AS first_at FROM queued_message \
             WHERE state <> 'held' AND attempt_at IS NULL AND next_at <= $1 GROUP BY mailbox ORDER BY first_at",
        )
        .bind(now.timestamp_millis())
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?
        .iter()
        .map(|row| address(row, "mailbox", "queued_message.mailbox"))
        .collect()
    }

    async fn behind(&self, codes: &[&str], by: DateTime<Utc>) -> Result<Vec<Mailbox>, StoreError> {
        let mut found = Vec::new();
        for code in codes {
            let rows = sqlx::query(
                "SELECT DISTINCT mailbox FROM queued_message WHERE code = $1 AND state = 'waiting' \
                 AND (next_at <= $2 OR attempt_at IS NOT NULL)",
            )
            .bind(code)
            .bind(by.timestamp_millis())
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
            for row in &rows {
                found.push(address(row, "mailbox", "queued_message.mailbox")?);
            }
        }
        Ok(found)
    }

    async fn next_due(&self, mailbox: &Mailbox, now: DateTime<Utc>) -> Result<Option<QueuedMessage>, StoreError> {
        let mut reading = self.begin_reading().await?;
        let row = sqlx::query(
            "SELECT * FROM queued_message WHERE mailbox = $1 AND next_at <= $2 AND state <> 'held' AND attempt_at IS NULL \
             ORDER BY accepted_at, rowid LIMIT 1",
        )
        .bind(mailbox.as_str())
        .bind(now.timestamp_millis())
        .fetch_optional(reading.connection()?)
        .await
        .map_err(failed)?;
        let found = whole(reading.connection()?, row).await?;
        reading.commit().await?;
        Ok(found)
    }

    async fn begin_attempt(&self, id: &str, at: DateTime<Utc>) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE queued_message SET attempt_at = $2, attempts = attempts + 1, begun = begun + 1 \
             WHERE id = $1 AND state <> 'held' AND attempt_at IS NULL",
        )
        .bind(id)
        .bind(at.timestamp_millis())
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(done.rows_affected() > 0)
    }

    async fn note_final(&self, id: &str, places: &[usize], again: bool) -> Result<bool, StoreError> {
        let mut changes = self.begin().await?;
        let done = sqlx::query(
            "UPDATE queued_message SET resent = resent + $2 WHERE id = $1 AND state <> 'held' AND attempt_at IS NOT NULL",
        )
        .bind(id)
        .bind(i64::from(again))
        .execute(changes.connection()?)
        .await
        .map_err(failed)?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        note_doubt(changes.connection()?, id, None, places).await?;
        changes.commit().await?;
        Ok(true)
    }

    async fn take_final_back(&self, id: &str, resent: u32) -> Result<bool, StoreError> {
        let mut changes = self.begin().await?;
        let done = sqlx::query(
            "UPDATE queued_message SET resent = $2 WHERE id = $1 AND state <> 'held' AND attempt_at IS NOT NULL",
        )
        .bind(id)
        .bind(resent)
        .execute(changes.connection()?)
        .await
        .map_err(failed)?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        forget_doubt(changes.connection()?, id, None).await?;
        changes.commit().await?;
        Ok(true)
    }

    async fn end_attempt(&self, id: &str, end: &AttemptEnd, at: DateTime<Utc>) -> Result<bool, StoreError> {
        let mut changes = self.begin().await?;
        let (is_attempt, number) = match end.of {
            Ending::Attempt(number) => (true, number),
            Ending::Look => (false, 0),
        };
        let resent = match end.certainty {
            Certainty::Answered { resent } => Some(resent),
            _ => None,
        };
        // Time that it was held for the set-up is counted when that ends, and begins to count where it begins.
        let done = sqlx::query(
            "UPDATE queued_message SET attempt_at = NULL, next_at = $3, copies = copies + $9, resent = COALESCE($4, resent), \
             code = CASE WHEN state = 'held' THEN code ELSE $5 END, reason = CASE WHEN state = 'held' THEN reason ELSE $6 END, \
             remedy = CASE WHEN state = 'held' THEN remedy ELSE $7 END, \
             held_millis = CASE WHEN state = 'held-for-setup' AND $2 = 'waiting' AND held_since IS NOT NULL \
               THEN held_millis + MAX($8 - held_since, 0) ELSE held_millis END, \
             held_since = CASE WHEN state = 'held' THEN held_since \
               WHEN $2 <> 'waiting' THEN COALESCE(held_since, $8) ELSE NULL END, \
             attempts = CASE WHEN state = 'held-for-setup' AND $2 = 'waiting' THEN 1 ELSE attempts END, \
             state = CASE WHEN state = 'held' THEN state ELSE $2 END \
             WHERE id = $1 AND CASE WHEN $10 THEN attempt_at IS NOT NULL AND attempts = $11 ELSE attempt_at IS NULL END",
        )
        .bind(id)
        .bind(end.state.name())
        .bind(end.next_at.timestamp_millis())
        .bind(resent)
        .bind(end.obstacle.as_ref().map(|obstacle| obstacle.code.as_str()))
        .bind(end.obstacle.as_ref().map(|obstacle| obstacle.reason.as_str()))
        .bind(end.obstacle.as_ref().and_then(|obstacle| obstacle.remedy.as_deref()))
        .bind(at.timestamp_millis())
        .bind(i64::from(end.is_taken))
        .bind(is_attempt)
        .bind(number)
        .execute(changes.connection()?)
        .await
        .map_err(failed)?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        match &end.certainty {
            Certainty::AsBefore => {}
            Certainty::Answered { .. } => forget_doubt(changes.connection()?, id, None).await?,
            Certainty::Unknown(at, places) => note_doubt(changes.connection()?, id, Some(*at), places).await?,
            Certainty::Found(attempts) => {
                for attempt in attempts {
                    forget_doubt(changes.connection()?, id, Some(*attempt)).await?;
                }
            }
        }
        for (number, state, reply) in &end.recipients {
            sqlx::query("UPDATE queued_recipient SET state = $3, reply = $4 WHERE message = $1 AND number = $2")
                .bind(id)
                .bind(i64::try_from(*number).unwrap_or(i64::MAX))
                .bind(state.name())
                .bind(reply.as_deref())
                .execute(changes.connection()?)
                .await
                .map_err(failed)?;
        }
        changes.commit().await?;
        Ok(true)
    }

    async fn note_told(&self, id: &str, told: Told, report: Option<&QueuedMessage>) -> Result<bool, StoreError> {
        let mut changes = self.begin().await?;
        let noting = match told {
            Told::Failed => {
                sqlx::query("UPDATE queued_recipient SET state = 'returned' WHERE message = $1 AND state = 'failed'")
                    .bind(id)
            }
            Told::GivenUp => {
                sqlx::query("DELETE FROM queued_message WHERE id = $1 AND state <> 'held' AND attempt_at IS NULL")
                    .bind(id)
            }
            Told::Delayed { at } => sqlx::query("UPDATE queued_message SET warned_at = $2 WHERE id = $1")
                .bind(id)
                .bind(at.timestamp_millis()),
        };
        let noted = noting.execute(changes.connection()?).await.map_err(failed)?;
        if noted.rows_affected() == 0 {
            return Ok(false);
        }
        if let Some(report) = report {
            insert(changes.connection()?, report).await?;
        }
        changes.commit().await?;
        Ok(true)
    }

    async fn postpone(&self, mailbox: &Mailbox, until: DateTime<Utc>) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE queued_message SET next_at = $2 WHERE mailbox = $1 AND attempt_at IS NULL AND next_at < $2",
        )
        .bind(mailbox.as_str())
        .bind(until.timestamp_millis())
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(())
    }

    async fn hold_for_setup(
        &self,
        mailbox: &Mailbox,
        obstacle: &Obstacle,
        until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE queued_message SET state = 'held-for-setup', held_since = $4, next_at = MAX(next_at, $3), code = $5, reason = $6, \
             remedy = $7 WHERE mailbox = $1 AND attempt_at IS NULL AND state = $2",
        )
        .bind(mailbox.as_str())
        .bind(QueueState::Waiting.name())
        .bind(until.timestamp_millis())
        .bind(now.timestamp_millis())
        .bind(&obstacle.code)
        .bind(&obstacle.reason)
        .bind(obstacle.remedy.as_deref())
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(())
    }

    async fn heed_clock(&self, now: DateTime<Utc>, longest_pause: chrono::Duration) -> Result<u64, StoreError> {
        let mut changes = self.begin().await?;
        let waiting = sqlx::query("UPDATE queued_message SET next_at = $1 WHERE next_at > $2")
            .bind(now.timestamp_millis())
            .bind((now + longest_pause).timestamp_millis())
            .execute(changes.connection()?)
            .await
            .map_err(failed)?;
        let doubts = sqlx::query("UPDATE queued_doubt SET at = $1 WHERE at > $2")
            .bind(now.timestamp_millis())
            // Attempts end while this is asked.
            .bind((now + chrono::Duration::minutes(1)).timestamp_millis())
            .execute(changes.connection()?)
            .await
            .map_err(failed)?;
        changes.commit().await?;
        Ok(waiting.rows_affected() + doubts.rows_affected())
    }

    async fn postpone_one(&self, id: &str, until: DateTime<Utc>) -> Result<(), StoreError> {
        sqlx::query("UPDATE queued_message SET next_at = $2 WHERE id = $1 AND attempt_at IS NULL AND next_at < $2")
            .bind(id)
            .bind(until.timestamp_millis())
            .execute(&self.pool)
            .await
            .map_err(failed)?;
        Ok(())
    }

    async fn note_absent(&self, id: &str) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM queued_doubt WHERE message = $1 \
             AND EXISTS (SELECT 1 FROM queued_message WHERE id = $1 AND attempt_at IS NULL)",
        )
        .bind(id)
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(())
    }

    async fn note_unanswered(&self, id: &str, at: DateTime<Utc>, filing: chrono::Duration) -> Result<(), StoreError> {
        let mut changes = self.begin().await?;
        sqlx::query(
            "UPDATE queued_message SET next_at = MIN(next_at, $2) WHERE id = $1 AND begun = 0 \
             AND EXISTS (SELECT 1 FROM queued_doubt WHERE message = $1 AND attempt = 0)",
        )
        .bind(id)
        .bind((at + filing).timestamp_millis())
        .execute(changes.connection()?)
        .await
        .map_err(failed)?;
        sqlx::query("UPDATE queued_doubt SET at = $2 WHERE message = $1 AND attempt = 0")
            .bind(id)
            .bind(at.timestamp_millis())
            .execute(changes.connection()?)
            .await
            .map_err(failed)?;
        changes.commit().await
    }

    async fn settle_attempts(&self, at: DateTime<Utc>, filing: chrono::Duration) -> Result<u64, StoreError> {
        let mut changes = self.begin().await?;
        // Which of them were still open is not known; the others only wait a little longer.
        sqlx::query(
            "UPDATE queued_message SET next_at = MIN(next_at, $1) \
             WHERE begun = 0 AND id IN (SELECT message FROM queued_doubt WHERE attempt = 0)",
        )
        .bind((at + filing).timestamp_millis())
        .execute(changes.connection()?)
        .await
        .map_err(failed)?;
        sqlx::query(
            "UPDATE queued_doubt SET at = $1 WHERE attempt = 0 AND message IN (SELECT id FROM queued_message WHERE begun = 0)",
        )
        .bind(at.timestamp_millis())
        .execute(changes.connection()?)
        .await
        .map_err(failed)?;
        let unknown = sqlx::query("UPDATE queued_doubt SET at = $1 WHERE at IS NULL")
            .bind(at.timestamp_millis())
            .execute(changes.connection()?)
            .await
            .map_err(failed)?;
        sqlx::query("UPDATE queued_message SET attempt_at = NULL WHERE attempt_at IS NOT NULL")
            .execute(changes.connection()?)
            .await
            .map_err(failed)?;
        changes.commit().await?;
        Ok(unknown.rows_affected())
    }

    async fn wish(&self, of: QueuedOf<'_>, wish: QueueWish, at: DateTime<Utc>) -> Result<u64, StoreError> {
        let (which, value) = match of {
            // Everything is equal to itself.
            QueuedOf::All => ("$1", ""),
            QueuedOf::Id(id) => ("id", id),
            QueuedOf::Mailbox(mailbox) => ("mailbox", mailbox.as_str()),
            QueuedOf::Password(id) => ("password_id", id),
        };
        let change = match wish {
            QueueWish::Retry => "next_at = CASE WHEN state = 'held' THEN next_at ELSE $2 END",
            // Why the mail of others waits says nothing of this one any more; that it may have arrived does.
            QueueWish::Hold => {
                "state = 'held', held_since = COALESCE(held_since, $2), code = CASE WHEN state = 'held' OR code = 'outcome-unknown' THEN code ELSE $3 END, \
                 reason = CASE WHEN state = 'held' OR code = 'outcome-unknown' THEN reason ELSE $4 END, \
                 remedy = CASE WHEN state = 'held' OR code = 'outcome-unknown' THEN remedy ELSE 'Let it go with `postern queue release ' || id || '`, or drop it.' END"
            }
            // Whoever releases what may have arrived wants it to be sent again.
            QueueWish::Release => {
                "state = 'waiting', next_at = $2, resent = CASE WHEN @held THEN 0 ELSE resent END, \
                 code = CASE WHEN @said THEN NULL ELSE code END, reason = CASE WHEN @said THEN NULL ELSE reason END, \
                 remedy = CASE WHEN @said THEN NULL ELSE remedy END, \
                 held_millis = held_millis + COALESCE(MAX($2 - held_since, 0), 0), held_since = NULL"
            }
        };
        // While an attempt is under way it is that one that may have arrived, and not what it was held for.
        const HELD: &str = "(code = 'outcome-unknown' AND state = 'held' AND attempt_at IS NULL)";
        let change = change.replace("@held", HELD).replace("@said", &format!("({HELD} OR code = $3)"));
        let reason = match of {
            QueuedOf::All => "all mail is held".to_owned(),
            QueuedOf::Id(_) => "the administrator holds it".to_owned(),
            QueuedOf::Mailbox(mailbox) => format!("what {mailbox} sends is held"),
            QueuedOf::Password(id) => format!("what was submitted with the app password {id} is held"),
        };
        let mut changes = self.begin().await?;
        if wish == QueueWish::Release {
            for statement in [
                format!(
                    "UPDATE queued_message SET copies = copies + (SELECT COUNT(*) FROM queued_doubt WHERE message = id) \
                     WHERE {which} = $1 AND {HELD}"
                ),
                format!(
                    "DELETE FROM queued_doubt WHERE message IN (SELECT id FROM queued_message WHERE {which} = $1 AND {HELD})"
                ),
            ] {
                sqlx::query(sqlx::AssertSqlSafe(statement))
                    .bind(value)
                    .execute(changes.connection()?)
                    .await
                    .map_err(failed)?;
            }
        }
        let done = sqlx::query(sqlx::AssertSqlSafe(format!("UPDATE queued_message SET {change} WHERE {which} = $1")))
            .bind(value)
            .bind(at.timestamp_millis())
            .bind(HELD_CODE)
            .bind(reason)
            .execute(changes.connection()?)
            .await
            .map_err(failed)?;
        let of_passwords = match (wish, of) {
            (QueueWish::Hold, QueuedOf::Mailbox(_)) => Some("mailbox"),
            (QueueWish::Hold, QueuedOf::Password(_)) => Some("id"),
            _ => None,
        };
        if let Some(which) = of_passwords {
            // What a session hands in that has not ended yet is held as well, but only where it will end.
            let marking =
                format!("UPDATE app_password SET hold_mail = 1 WHERE {which} = $1 AND revoked_at IS NOT NULL");
            sqlx::query(sqlx::AssertSqlSafe(marking))
                .bind(value)
                .execute(changes.connection()?)
                .await
                .map_err(failed)?;
        }
        changes.commit().await?;
        Ok(done.rows_affected())
    }

    async fn dequeue(&self, id: &str, noted: Option<&JournalEntry>) -> Result<bool, StoreError> {
        let mut changes = self.begin().await?;
        let done = sqlx::query("DELETE FROM queued_message WHERE id = $1")
            .bind(id)
            .execute(changes.connection()?)
            .await
            .map_err(failed)?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        if let Some(entry) = noted {
            super::journal::add(changes.connection()?, entry).await?;
        }
        changes.commit().await?;
        Ok(true)
    }
}
