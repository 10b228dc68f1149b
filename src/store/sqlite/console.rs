//! Links to the console on SQLite.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::store::StoreError;
use crate::store::console::{ConsoleLinkRecord, ConsoleLinks};
use crate::store::sqlite::{SqliteStore, column, failed, time};

#[async_trait]
impl ConsoleLinks for SqliteStore {
    async fn add_console_link(&self, link: &ConsoleLinkRecord, now: DateTime<Utc>) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM console_link WHERE expires_at <= $1")
            .bind(now.timestamp_millis())
            .execute(&self.pool)
            .await
            .map_err(failed)?;
        sqlx::query("INSERT INTO console_link (digest, created_by, expires_at) VALUES ($1, $2, $3)")
            .bind(link.digest.as_slice())
            .bind(&link.created_by)
            .bind(link.expires_at.timestamp_millis())
            .execute(&self.pool)
            .await
            .map_err(failed)?;
        Ok(())
    }

    async fn forget_console_links(&self) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM console_link").execute(&self.pool).await.map_err(failed)?;
        Ok(())
    }

    async fn take_console_link(
        &self,
        digest: &[u8; 32],
        now: DateTime<Utc>,
    ) -> Result<Option<ConsoleLinkRecord>, StoreError> {
        let row = sqlx::query("DELETE FROM console_link WHERE digest = $1 AND expires_at > $2 RETURNING *")
            .bind(digest.as_slice())
            .bind(now.timestamp_millis())
            .fetch_optional(&self.pool)
            .await
            .map_err(failed)?;
        row.map(|row| {
            Ok(ConsoleLinkRecord {
                digest: *digest,
                created_by: column(&row, "created_by")?,
                expires_at: time(&row, "expires_at")?,
            })
        })
        .transpose()
    }
}
