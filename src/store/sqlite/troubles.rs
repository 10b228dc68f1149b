//! What keeps mailboxes from being opened, and what stood behind the references, on SQLite.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;

use crate::base::{Mailbox, Protocol, Whose};
use crate::store::sqlite::{SqliteStore, address, column, failed, optional_address, time};
use crate::store::{IncidentRecord, StoreError, TroubleRecord, Troubles};

/// How many incidents are kept. Each is some hundred octets, so this is a few dozen MiB at most.
const INCIDENTS_KEPT: i64 = 50_000;

#[async_trait]
impl Troubles for SqliteStore {
    async fn note_trouble(&self, trouble: &TroubleRecord) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO trouble (mailbox, protocol, code, whose, since, last_at, reason, remedy) \
             SELECT address, $2, $3, $4, $5, $6, $7, $8 FROM mailbox WHERE address = $1 \
             ON CONFLICT (mailbox, protocol) DO UPDATE SET \
             since = CASE WHEN trouble.whose = excluded.whose THEN trouble.since ELSE excluded.since END, \
             code = excluded.code, whose = excluded.whose, last_at = excluded.last_at, reason = excluded.reason, \
             remedy = excluded.remedy",
        )
        .bind(trouble.mailbox.as_str())
        .bind(trouble.protocol.name())
        .bind(&trouble.code)
        .bind(whose_name(trouble.whose))
        .bind(trouble.since.timestamp_millis())
        .bind(trouble.last_at.timestamp_millis())
        .bind(&trouble.reason)
        .bind(trouble.remedy.as_deref())
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(())
    }

    async fn clear_trouble(&self, mailbox: &Mailbox, protocol: Protocol) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM trouble WHERE mailbox = $1 AND protocol = $2")
            .bind(mailbox.as_str())
            .bind(protocol.name())
            .execute(&self.pool)
            .await
            .map_err(failed)?;
        Ok(())
    }

    async fn troubles(&self) -> Result<Vec<TroubleRecord>, StoreError> {
        let rows = sqlx::query("SELECT * FROM trouble ORDER BY mailbox, protocol")
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        rows.iter()
            .map(|row| {
                Ok(TroubleRecord {
                    mailbox: address(row, "mailbox", "trouble.mailbox")?,
                    protocol: protocol(column(row, "protocol")?, "trouble.protocol")?,
                    code: column(row, "code")?,
                    whose: whose(row, "trouble.whose")?,
                    since: time(row, "since")?,
                    last_at: time(row, "last_at")?,
                    reason: column(row, "reason")?,
                    remedy: column(row, "remedy")?,
                })
            })
            .collect()
    }

    async fn add_incidents(&self, incidents: &[IncidentRecord]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for incident in incidents {
            sqlx::query(
                "INSERT INTO incident (reference, at, mailbox, protocol, password_id, code, reason, remedy) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(&incident.reference)
            .bind(incident.at.timestamp_millis())
            .bind(incident.mailbox.as_ref().map(Mailbox::as_str))
            .bind(incident.protocol.map(Protocol::name))
            .bind(incident.password_id.as_deref())
            .bind(&incident.code)
            .bind(&incident.reason)
            .bind(incident.remedy.as_deref())
            .execute(transaction.connection()?)
            .await
            .map_err(failed)?;
        }
        sqlx::query("DELETE FROM incident WHERE number <= (SELECT MAX(number) FROM incident) - $1")
            .bind(INCIDENTS_KEPT)
            .execute(transaction.connection()?)
            .await
            .map_err(failed)?;
        transaction.commit().await
    }

    async fn incidents(&self, reference: &str) -> Result<Vec<IncidentRecord>, StoreError> {
        let rows = sqlx::query("SELECT * FROM incident WHERE reference = $1 ORDER BY number DESC")
            .bind(reference)
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        rows.iter()
            .map(|row| {
                let spoken: Option<String> = column(row, "protocol")?;
                Ok(IncidentRecord {
                    reference: column(row, "reference")?,
                    at: time(row, "at")?,
                    mailbox: optional_address(row, "mailbox", "incident.mailbox")?,
                    protocol: spoken.map(|spoken| protocol(spoken, "incident.protocol")).transpose()?,
                    password_id: column(row, "password_id")?,
                    code: column(row, "code")?,
                    reason: column(row, "reason")?,
                    remedy: column(row, "remedy")?,
                })
            })
            .collect()
    }
}

fn protocol(text: String, column: &'static str) -> Result<Protocol, StoreError> {
    text.parse().map_err(|_| StoreError::Value { column, value: text })
}

/// Reads the column `whose`.
pub(in crate::store::sqlite) fn whose(row: &SqliteRow, full_name: &'static str) -> Result<Whose, StoreError> {
    let text: String = column(row, "whose")?;
    match text.as_str() {
        "nobody" => Ok(Whose::Nobody),
        "administrator" => Ok(Whose::Administrator),
        "user" => Ok(Whose::User),
        _ => Err(StoreError::Value { column: full_name, value: text }),
    }
}

/// What stands in a column `whose`.
pub(in crate::store::sqlite) fn whose_name(whose: Whose) -> &'static str {
    match whose {
        Whose::Nobody => "nobody",
        Whose::Administrator => "administrator",
        Whose::User => "user",
    }
}
