//! App passwords on SQLite.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::base::Protocol;
use crate::store::sqlite::{BUMP, SqliteStore, address, column, failed, join, optional_time, split, time};
use crate::store::{
    AppPasswordRecord, AppPasswords, DeliveryMode, FirstUse, LastUse, NotedUse, Rotation, SenderScope, SlowHash,
    StoreError, Tracking, UseScope, Verifier,
};

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
        ends_unused: Option<chrono::Duration>,
    ) -> Result<Rotation, StoreError> {
        let mut transaction = self.begin().await?;
        let now = record.created_at.timestamp_millis();
        let old = record.replaces.as_deref().unwrap_or_default();
        let ended = sqlx::query(
            "UPDATE app_password SET expires_at = MIN(COALESCE(expires_at, $2), $2), ends_unused_millis = $4 \
             WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3)",
        )
        .bind(old)
        .bind(old_ends_at.timestamp_millis())
        .bind(now)
        .bind(ends_unused.map(|span| span.num_milliseconds()))
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
        sqlx::query("UPDATE app_password SET expires_at = $2, ends_unused_millis = NULL WHERE id = $1")
            .bind(record.replaces.as_deref())
            .bind(old_ended_at.map(|at| at.timestamp_millis()))
            .execute(transaction.connection()?)
            .await
            .map_err(failed)?;
        sqlx::query(BUMP).execute(transaction.connection()?).await.map_err(failed)?;
        transaction.commit().await
    }

    async fn note_in_use(&self, ids: &[String], at: DateTime<Utc>) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for id in ids {
            sqlx::query("UPDATE app_password SET last_used_at = MAX(COALESCE(last_used_at, 0), $2) WHERE id = $1")
                .bind(id)
                .bind(at.timestamp_millis())
                .execute(transaction.connection()?)
                .await
                .map_err(failed)?;
        }
        transaction.commit().await
    }

    async fn forget_reminded(&self, id: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE app_password SET reminded_days = NULL WHERE id = $1")
            .bind(id)
            .execute(&self.pool)
            .await
            .map_err(failed)?;
        Ok(())
    }

    async fn note_reminded(&self, id: &str, days: i64) -> Result<bool, StoreError> {
        let noted = sqlx::query(
            "UPDATE app_password SET reminded_days = $2 WHERE id = $1 AND (reminded_days IS NULL OR reminded_days > $2)",
        )
        .bind(id)
        .bind(days)
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(noted.rows_affected() > 0)
    }

    async fn end_disused(&self, now: DateTime<Utc>) -> Result<Vec<AppPasswordRecord>, StoreError> {
        let mut transaction = self.begin().await?;
        // The time begins with the first use of the successor at the earliest, as far as that is known: from its issue on.
        let ended = sqlx::query(
            "UPDATE app_password SET expires_at = $1 WHERE ends_unused_millis IS NOT NULL AND revoked_at IS NULL \
             AND (expires_at IS NULL OR expires_at > $1) AND EXISTS (SELECT 1 FROM app_password AS successor \
             WHERE successor.replaces = app_password.id AND successor.revoked_at IS NULL AND successor.last_used_at IS NOT NULL \
             AND (successor.expires_at IS NULL OR successor.expires_at > $1) \
             AND $1 - MAX(COALESCE(app_password.last_used_at, 0), successor.created_at) >= app_password.ends_unused_millis) RETURNING *",
        )
        .bind(now.timestamp_millis())
        .fetch_all(transaction.connection()?)
        .await
        .map_err(failed)?;
        if !ended.is_empty() {
            sqlx::query(BUMP).execute(transaction.connection()?).await.map_err(failed)?;
        }
        transaction.commit().await?;
        ended.iter().map(app_password).collect()
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

    async fn note_first_use(&self, id: &str, first: &FirstUse) -> Result<Option<FirstUse>, StoreError> {
        let mut transaction = self.begin().await?;
        let done = sqlx::query(
            "UPDATE app_password SET first_used_at = $2, first_network = $3, first_protocol = $4 \
             WHERE id = $1 AND first_used_at IS NULL AND revoked_at IS NULL",
        )
        .bind(id)
        .bind(first.at.timestamp_millis())
        .bind(first.network.to_string())
        .bind(first.protocol.name())
        .execute(transaction.connection()?)
        .await
        .map_err(failed)?;
        let row = sqlx::query("SELECT * FROM app_password WHERE id = $1 AND revoked_at IS NULL")
            .bind(id)
            .fetch_optional(transaction.connection()?)
            .await
            .map_err(failed)?;
        let holds = row.as_ref().map(app_password).transpose()?.and_then(|record| record.first_use);
        if done.rows_affected() > 0 {
            sqlx::query(BUMP).execute(transaction.connection()?).await.map_err(failed)?;
        }
        transaction.commit().await?;
        Ok(holds)
    }

    async fn taken_with_since(&self, id: &str, since: DateTime<Utc>) -> Result<Vec<DateTime<Utc>>, StoreError> {
        // A message that went at once has no name in the queue; one that did not is noted when it came into it.
        sqlx::query(
            "SELECT MIN(at) AS at FROM journal WHERE at >= $2 AND password_id = $1 \
             AND (outcome = 'queued' OR (outcome = 'delivered' AND queue_id IS NULL)) \
             GROUP BY COALESCE(queue_id, number) ORDER BY 1",
        )
        .bind(id)
        .bind(since.timestamp_millis())
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?
        .iter()
        .map(|row| time(row, "at"))
        .collect()
    }

    async fn note_uses(&self, uses: &[(String, NotedUse)]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for (id, noted) in uses {
            let (at, last) = noted.last.as_ref().map_or((0, None), |(at, last)| (at.timestamp_millis(), Some(last)));
            sqlx::query(
                "UPDATE app_password SET logins = logins + $3, refusals = refusals + $4, \
                 last_address = CASE WHEN $2 >= COALESCE(last_used_at, 0) AND $5 IS NOT NULL THEN $5 ELSE last_address END, \
                 last_protocol = CASE WHEN $2 >= COALESCE(last_used_at, 0) AND $5 IS NOT NULL THEN $6 ELSE last_protocol END, \
                 last_client = CASE WHEN $2 >= COALESCE(last_used_at, 0) AND $5 IS NOT NULL THEN $7 ELSE last_client END, \
                 last_tls = CASE WHEN $2 >= COALESCE(last_used_at, 0) AND $5 IS NOT NULL THEN $8 ELSE last_tls END, \
                 last_used_at = CASE WHEN $5 IS NULL THEN last_used_at ELSE MAX(COALESCE(last_used_at, 0), $2) END WHERE id = $1",
            )
            .bind(id)
            .bind(at)
            .bind(i64::try_from(noted.logins).unwrap_or(i64::MAX))
            .bind(i64::try_from(noted.refusals).unwrap_or(i64::MAX))
            .bind(last.map(|last| last.address.to_string()))
            .bind(last.map(|last| last.protocol.name()))
            .bind(last.and_then(|last| last.client.as_deref()))
            .bind(last.and_then(|last| last.tls.as_deref()))
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
         expires_at, revoked_at, last_used_at, senders, force_from, replaces, read_only, recipients, starts_at, max_per_minute, max_per_day, \
         max_sessions, binds_network, binds_protocol, activate_by, owner, note, created_by, slow_hash, drop_sent_append) \
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28 \
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
    .bind(record.scope.read_only)
    .bind(record.scope.recipients.join("\n"))
    .bind(record.scope.starts_at.map(|at| at.timestamp_millis()))
    .bind(record.scope.max_per_minute)
    .bind(record.scope.max_per_day)
    .bind(record.scope.max_sessions)
    .bind(record.scope.binds_network)
    .bind(record.scope.binds_protocol)
    .bind(record.scope.activate_by.map(|at| at.timestamp_millis()))
    .bind(record.tracking.owner.as_deref())
    .bind(record.tracking.note.as_deref())
    .bind(record.tracking.created_by.as_deref())
    .bind(record.slow_hash.as_ref().map(|hash| hash.0.as_str()))
    .bind(record.scope.drop_sent_append)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(done.rows_affected() > 0)
}

fn number(row: &SqliteRow, name: &'static str) -> Result<Option<u32>, StoreError> {
    Ok(column::<Option<i64>>(row, name)?.map(|number| u32::try_from(number).unwrap_or(u32::MAX)))
}

fn first_use(row: &SqliteRow) -> Result<Option<FirstUse>, StoreError> {
    let Some(at) = optional_time(row, "first_used_at")? else { return Ok(None) };
    let wrong = |column, value: String| StoreError::Value { column, value };
    let network: String = column(row, "first_network")?;
    let protocol: String = column(row, "first_protocol")?;
    Ok(Some(FirstUse {
        at,
        network: network.parse().map_err(|_| wrong("app_password.first_network", network))?,
        protocol: protocol.parse().map_err(|_| wrong("app_password.first_protocol", protocol))?,
    }))
}

fn tracking(row: &SqliteRow) -> Result<Tracking, StoreError> {
    let wrong = |column, value: String| StoreError::Value { column, value };
    let count = |name| Ok::<_, StoreError>(u64::try_from(column::<i64>(row, name)?).unwrap_or_default());
    let (address, protocol): (Option<String>, Option<String>) =
        (column(row, "last_address")?, column(row, "last_protocol")?);
    let last = match (address, protocol) {
        (Some(address), Some(protocol)) => Some(LastUse {
            address: address.parse().map_err(|_| wrong("app_password.last_address", address))?,
            protocol: protocol.parse().map_err(|_| wrong("app_password.last_protocol", protocol))?,
            client: column(row, "last_client")?,
            tls: column(row, "last_tls")?,
        }),
        _ => None,
    };
    Ok(Tracking {
        owner: column(row, "owner")?,
        note: column(row, "note")?,
        created_by: column(row, "created_by")?,
        last,
        logins: count("logins")?,
        refusals: count("refusals")?,
    })
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
        slow_hash: column::<Option<String>>(row, "slow_hash")?.map(SlowHash),
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
        scope: UseScope {
            read_only: column(row, "read_only")?,
            drop_sent_append: column(row, "drop_sent_append")?,
            recipients: column::<String>(row, "recipients")?.lines().map(str::to_owned).collect(),
            starts_at: optional_time(row, "starts_at")?,
            max_per_minute: number(row, "max_per_minute")?,
            max_per_day: number(row, "max_per_day")?,
            max_sessions: number(row, "max_sessions")?,
            binds_network: column(row, "binds_network")?,
            binds_protocol: column(row, "binds_protocol")?,
            activate_by: optional_time(row, "activate_by")?,
        },
        first_use: first_use(row)?,
        created_at: time(row, "created_at")?,
        expires_at: optional_time(row, "expires_at")?,
        ends_unused: column::<Option<i64>>(row, "ends_unused_millis")?.map(chrono::Duration::milliseconds),
        revoked_at: optional_time(row, "revoked_at")?,
        last_used_at: optional_time(row, "last_used_at")?,
        replaces: column(row, "replaces")?,
        tracking: tracking(row)?,
    })
}
