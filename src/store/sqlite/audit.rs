//! The audit trail on SQLite.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::base::Mailbox;
use crate::store::StoreError;
use crate::store::audit::{
    AuditEnd, AuditEndRecord, AuditEntry, AuditFilter, AuditKind, AuditRecord, Audited, Seal, Sealer,
};
use crate::store::sqlite::{SqliteStore, address, column, failed, time};

#[async_trait]
impl Audited for SqliteStore {
    async fn add_to_audit(
        &self,
        instance: &str,
        entries: &[AuditEntry],
        sealer: &dyn Sealer,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut changes = self.begin().await?;
        let newest = end_of(changes.connection()?, instance, AuditEnd::Newest).await?;
        let (mut number, mut seal) = newest.map_or((0, Seal::default()), |end| (end.number, end.seal));
        for entry in entries {
            number += 1;
            seal = sealer.of_entry(instance, number, &seal, entry);
            sqlx::query(
                "INSERT INTO audit (instance, number, at, kind, mailbox, password_id, details, seal) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(instance)
            .bind(whole(number))
            .bind(entry.at.timestamp_millis())
            .bind(entry.kind.name())
            .bind(entry.mailbox.as_ref().map(Mailbox::as_str))
            .bind(entry.password_id.as_deref())
            .bind(&entry.details)
            .bind(seal.as_slice())
            .execute(changes.connection()?)
            .await
            .map_err(failed)?;
        }
        note_end(changes.connection()?, instance, AuditEnd::Newest, number, &seal, sealer, at).await?;
        changes.commit().await
    }

    async fn audit(&self, filter: &AuditFilter, most: u32) -> Result<Vec<AuditRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM audit WHERE ($1 IS NULL OR at >= $1) AND ($2 IS NULL OR kind = $2) AND ($3 IS NULL OR mailbox = $3) \
             AND ($4 IS NULL OR password_id = $4) ORDER BY at DESC, instance, number DESC LIMIT $5",
        )
        .bind(filter.since.map(|at| at.timestamp_millis()))
        .bind(filter.kind.map(AuditKind::name))
        .bind(filter.mailbox.as_ref().map(Mailbox::as_str))
        .bind(filter.password_id.as_deref())
        .bind(most)
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        rows.iter().map(record).collect()
    }

    async fn audit_behind(&self, instance: &str, number: u64, most: u32) -> Result<Vec<AuditRecord>, StoreError> {
        let rows = sqlx::query("SELECT * FROM audit WHERE instance = $1 AND number > $2 ORDER BY number LIMIT $3")
            .bind(instance)
            .bind(whole(number))
            .bind(most)
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        rows.iter().map(record).collect()
    }

    async fn audit_instances(&self) -> Result<Vec<String>, StoreError> {
        sqlx::query("SELECT instance FROM audit_end UNION SELECT DISTINCT instance FROM audit ORDER BY 1")
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?
            .iter()
            .map(|row| column(row, "instance"))
            .collect()
    }

    async fn audit_ends(&self) -> Result<Vec<AuditEndRecord>, StoreError> {
        let rows = sqlx::query("SELECT * FROM audit_end").fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(end).collect()
    }

    async fn prune_audit(
        &self,
        instance: &str,
        before: DateTime<Utc>,
        sealer: &dyn Sealer,
        at: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let mut changes = self.begin().await?;
        // From the beginning up to the first that is to stay, whatever clock the others were noted by.
        let last = sqlx::query(
            "SELECT number, seal FROM audit WHERE instance = $1 AND number < COALESCE( \
             (SELECT MIN(number) FROM audit WHERE instance = $1 AND at >= $2), \
             (SELECT MAX(number) FROM audit WHERE instance = $1)) ORDER BY number DESC LIMIT 1",
        )
        .bind(instance)
        .bind(before.timestamp_millis())
        .fetch_optional(changes.connection()?)
        .await
        .map_err(failed)?;
        let Some(last) = last else { return Ok(0) };
        let number: i64 = column(&last, "number")?;
        let seal = octets(&last, "seal")?;
        let done = sqlx::query("DELETE FROM audit WHERE instance = $1 AND number <= $2")
            .bind(instance)
            .bind(number)
            .execute(changes.connection()?)
            .await
            .map_err(failed)?;
        let number = u64::try_from(number).unwrap_or_default();
        note_end(changes.connection()?, instance, AuditEnd::Pruned, number, &seal, sealer, at).await?;
        changes.commit().await?;
        Ok(done.rows_affected())
    }
}

async fn end_of(
    connection: &mut SqliteConnection,
    instance: &str,
    of: AuditEnd,
) -> Result<Option<AuditEndRecord>, StoreError> {
    let row = sqlx::query("SELECT * FROM audit_end WHERE instance = $1 AND of = $2")
        .bind(instance)
        .bind(of.name())
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    row.as_ref().map(end).transpose()
}

async fn note_end(
    connection: &mut SqliteConnection,
    instance: &str,
    of: AuditEnd,
    number: u64,
    seal: &Seal,
    sealer: &dyn Sealer,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit_end (instance, of, number, seal, at, own_seal) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (instance, of) DO UPDATE SET number = $3, seal = $4, at = $5, own_seal = $6",
    )
    .bind(instance)
    .bind(of.name())
    .bind(whole(number))
    .bind(seal.as_slice())
    .bind(at.timestamp_millis())
    .bind(sealer.of_end(instance, of, number, seal, at).as_slice())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn octets(row: &SqliteRow, name: &'static str) -> Result<Seal, StoreError> {
    let octets: Vec<u8> = column(row, name)?;
    // What is not one is a seal of nothing, which shows.
    Ok(octets.try_into().unwrap_or_default())
}

fn record(row: &SqliteRow) -> Result<AuditRecord, StoreError> {
    let kind: String = column(row, "kind")?;
    let known = AuditKind::ALL.into_iter().find(|known| known.name() == kind);
    let mailbox: Option<String> = column(row, "mailbox")?;
    Ok(AuditRecord {
        instance: column(row, "instance")?,
        number: u64::try_from(column::<i64>(row, "number")?).unwrap_or_default(),
        entry: AuditEntry {
            at: time(row, "at")?,
            kind: known.ok_or(StoreError::Value { column: "audit.kind", value: kind })?,
            mailbox: mailbox.is_some().then(|| address(row, "mailbox", "audit.mailbox")).transpose()?,
            password_id: column(row, "password_id")?,
            details: column(row, "details")?,
        },
        seal: octets(row, "seal")?,
    })
}

fn end(row: &SqliteRow) -> Result<AuditEndRecord, StoreError> {
    let of: String = column(row, "of")?;
    let known = [AuditEnd::Newest, AuditEnd::Pruned].into_iter().find(|known| known.name() == of);
    Ok(AuditEndRecord {
        instance: column(row, "instance")?,
        of: known.ok_or(StoreError::Value { column: "audit_end.of", value: of })?,
        number: u64::try_from(column::<i64>(row, "number")?).unwrap_or_default(),
        seal: octets(row, "seal")?,
        at: time(row, "at")?,
        own_seal: octets(row, "own_seal")?,
    })
}
