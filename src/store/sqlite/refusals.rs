//! What Exchange refuses, on SQLite.

use async_trait::async_trait;

use crate::base::{Mailbox, Protocol};
use crate::store::sqlite::{SqliteStore, address, column, failed, time};
use crate::store::{RefusalRecord, Refusals, StoreError};

#[async_trait]
impl Refusals for SqliteStore {
    async fn note_refusal(&self, refusal: &RefusalRecord) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO refusal (mailbox, protocol, since, reason) \
             SELECT address, $2, $3, $4 FROM mailbox WHERE address = $1 \
             ON CONFLICT (mailbox, protocol) DO UPDATE SET reason = excluded.reason",
        )
        .bind(refusal.mailbox.as_str())
        .bind(refusal.protocol.name())
        .bind(refusal.since.timestamp_millis())
        .bind(&refusal.reason)
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(())
    }

    async fn clear_refusal(&self, mailbox: &Mailbox, protocol: Protocol) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM refusal WHERE mailbox = $1 AND protocol = $2")
            .bind(mailbox.as_str())
            .bind(protocol.name())
            .execute(&self.pool)
            .await
            .map_err(failed)?;
        Ok(())
    }

    async fn refusals(&self) -> Result<Vec<RefusalRecord>, StoreError> {
        let rows = sqlx::query("SELECT * FROM refusal ORDER BY mailbox, protocol")
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        rows.iter()
            .map(|row| {
                let protocol: String = column(row, "protocol")?;
                Ok(RefusalRecord {
                    mailbox: address(row, "mailbox", "refusal.mailbox")?,
                    protocol: protocol
                        .parse()
                        .map_err(|_| StoreError::Value { column: "refusal.protocol", value: protocol })?,
                    since: time(row, "since")?,
                    reason: column(row, "reason")?,
                })
            })
            .collect()
    }
}
