//! App passwords on SQLite.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::base::Protocol;
use crate::store::sqlite::{BUMP, SqliteStore, address, column, failed, join, optional_time, split, time};
use crate::store::{AppPasswordRecord, AppPasswords, DeliveryMode, Rotation, SenderScope, StoreError, Verifier};

#[async_trait]
impl AppPasswords for SqliteStore {
    async fn add_app_password(&self, record: &AppPasswordRecord) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let added = insert(transaction.connection()?, record).await?;
        sqlx::query(BUMP).execute(transaction.connection()?).await.map_err(failed)?;
        transaction.commit().await?;
        Ok(added)
    }

    async fn rotate_app_password(
        &self,
        record: &AppPasswordRecord,
        old_ends_at: DateTime<Utc>,
    ) -> Result<Rotation, StoreError> {
        let mut transaction = self.begin().await?;
        let now = record.created_at.timestamp_millis();
        let old = record.replaces.as_deref().unwrap_or_default();
        let ended = sqlx::query(
            "UPDATE app_password SET expires_at = MIN(COALESCE(expires_at, $2), $2) \
             WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3)",
        )
        .bind(old)
        .bind(old_ends_at.timestamp_millis())
        .bind(now)
        .execute(transaction.connection()?)
        .await
        .map_err(failed)?;
        if ended.rows_affected() == 0 {
            return Ok(Rotation::Ended);
        }
        let others = sqlx::query(
            "SELECT 1 FROM app_password WHERE replaces = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)",
        )
        .bind(old)
        .bind(now)
        .fetch_optional(transaction.connection()?)
        .await
        .map_err(failed)?;
        if others.is_some() {
            return Ok(Rotation::Replaced);
        }
        if !insert(transaction.connection()?, record).await? {
            return Ok(Rotation::NotListed);
        }
        sqlx::query(BUMP).execute(transaction.connection()?).await.map_err(failed)?;
        transaction.commit().await?;
        Ok(Rotation::Done)
    }

    async fn undo_rotation(
        &self,
        record: &AppPasswordRecord,
        old_ended_at: Option<DateTime<Utc>>,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::query("UPDATE app_password SET revoked_at = COALESCE(revoked_at, $2) WHERE id = $1")
            .bind(&record.id)
            .bind(at.timestamp_millis())
            .execute(transaction.connection()?)
            .await
            .map_err(failed)?;
        sqlx::query("UPDATE app_password SET expires_at = $2 WHERE id = $1")
            .bind(record.replaces.as_deref())
            .bind(old_ended_at.map(|at| at.timestamp_millis()))
            .execute(transaction.connection()?)
            .await
            .map_err(failed)?;
        sqlx::query(BUMP).execute(transaction.connection()?).await.map_err(failed)?;
        transaction.commit().await
    }

    async fn app_passwords(&self) -> Result<Vec<AppPasswordRecord>, StoreError> {
        sqlx::query("SELECT * FROM app_password ORDER BY created_at, id")
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?
            .iter()
            .map(app_password)
            .collect()
    }

    async fn app_password_by_verifier(&self, verifier: &Verifier) -> Result<Option<AppPasswordRecord>, StoreError> {
        sqlx::query("SELECT * FROM app_password WHERE verifier = $1")
            .bind(verifier.0.as_slice())
            .fetch_optional(&self.pool)
            .await
            .map_err(failed)?
            .as_ref()
            .map(app_password)
            .transpose()
    }

    async fn revoke_app_password(&self, id: &str, at: DateTime<Utc>) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let done = sqlx::query("UPDATE app_password SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
            .bind(id)
            .bind(at.timestamp_millis())
            .execute(transaction.connection()?)
            .await
            .map_err(failed)?;
        sqlx::query(BUMP).execute(transaction.connection()?).await.map_err(failed)?;
        transaction.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    async fn note_uses(&self, uses: &[(String, DateTime<Utc>)]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for (id, at) in uses {
            sqlx::query("UPDATE app_password SET last_used_at = MAX(COALESCE(last_used_at, 0), $2) WHERE id = $1")
                .bind(id)
                .bind(at.timestamp_millis())
                .execute(transaction.connection()?)
                .await
                .map_err(failed)?;
        }
        transaction.commit().await
    }
}

/// False: its mailbox is not on the list.
async fn insert(connection: &mut SqliteConnection, record: &AppPasswordRecord) -> Result<bool, StoreError> {
    // One statement: somebody may take the mailbox off the list between a look at the list and this.
    let done = sqlx::query(
        "INSERT INTO app_password (id, mailbox, label, verifier, protocols, networks, delivery, created_at, \
         expires_at, revoked_at, last_used_at, senders, force_from, replaces) \
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14 \
         WHERE EXISTS (SELECT 1 FROM mailbox WHERE address = $2)",
    )
    .bind(&record.id)
    .bind(record.mailbox.as_str())
    .bind(&record.label)
    .bind(record.verifier.0.as_slice())
    .bind(join(record.protocols.iter()))
    .bind(join(record.networks.iter()))
    .bind(record.delivery.name())
    .bind(record.created_at.timestamp_millis())
    .bind(record.expires_at.map(|at| at.timestamp_millis()))
    .bind(record.revoked_at.map(|at| at.timestamp_millis()))
    .bind(record.last_used_at.map(|at| at.timestamp_millis()))
    .bind(record.senders.allowed.join("\n"))
    .bind(record.senders.force_from)
    .bind(record.replaces.as_deref())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(done.rows_affected() > 0)
}

fn app_password(row: &SqliteRow) -> Result<AppPasswordRecord, StoreError> {
    let verifier: Vec<u8> = column(row, "verifier")?;
    let delivery: String = column(row, "delivery")?;
    Ok(AppPasswordRecord {
        id: column(row, "id")?,
        mailbox: address(row, "mailbox", "app_password.mailbox")?,
        label: column(row, "label")?,
        verifier: Verifier(
            verifier.try_into().map_err(|_| StoreError::Value {
                column: "app_password.verifier",
                value: "not 32 octets".to_owned(),
            })?,
        ),
        protocols: split::<Protocol>(row, "protocols", "app_password.protocols")?,
        networks: split(row, "networks", "app_password.networks")?,
        delivery: match delivery.as_str() {
            "assured" => DeliveryMode::Assured,
            "direct" => DeliveryMode::Direct,
            _ => return Err(StoreError::Value { column: "app_password.delivery", value: delivery }),
        },
        senders: SenderScope {
            allowed: column::<String>(row, "senders")?.lines().map(str::to_owned).collect(),
            force_from: column(row, "force_from")?,
        },
        created_at: time(row, "created_at")?,
        expires_at: optional_time(row, "expires_at")?,
        revoked_at: optional_time(row, "revoked_at")?,
        last_used_at: optional_time(row, "last_used_at")?,
        replaces: column(row, "replaces")?,
    })
}
