//! The audit trail on SQLite.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::base::Mailbox;
use crate::store::StoreError;
use crate::store::audit::{
    AuditAdded, AuditEnd, AuditEndRecord, AuditEntry, AuditFilter, AuditKind, AuditRecord, AuditTail, Audited, Seal,
    Sealer,
};
use crate::store::sqlite::{SqliteStore, address, column, failed, time};

/// Entries that are pruned in one transaction.
const PRUNED_AT_ONCE: u32 = 1000;

#[async_trait]
impl Audited for SqliteStore {
    async fn add_to_audit(
        &self,
        instance: &str,
        entries: &[AuditEntry],
        known: Option<AuditTail>,
        sealer: &dyn Sealer,
        at: DateTime<Utc>,
    ) -> Result<Option<AuditAdded>, StoreError> {
        if entries.is_empty() {
            return Ok(None);
        }
        let mut changes = self.begin().await?;
        let connection = changes.connection()?;
        let end = end_of(connection, instance, AuditEnd::Newest).await?;
        let last = newest(connection, instance).await?;
        let is_known = match known {
            Some(known) => has_had(connection, instance, known, sealer).await?,
            None => true,
        };
        let is_intact = is_known
            && match (&end, last) {
                (Some(end), Some(last)) => is_true(sealer, end) && (end.number, end.seal) == (last.number, last.seal),
                (None, None) => true,
                _ => false,
            };
        let mut tail = last.unwrap_or(AuditTail { number: 0, seal: Seal::default() });
        if !is_intact {
            // No place is given twice, if an entry was taken away.
            let taken = [end.map_or(0, |end| end.number), known.map_or(0, |known| known.number)];
            tail.number = taken.into_iter().fold(tail.number, u64::max);
        }
        let AuditTail { mut number, mut seal } = tail;
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
        // Whoever has touched the chain would have a true end of us, and with it what he has left.
        let own_seal = match is_intact {
            true => sealer.of_end(instance, AuditEnd::Newest, number, &seal, at),
            false => Seal::default(),
        };
        let end = AuditEndRecord { instance: instance.to_owned(), of: AuditEnd::Newest, number, seal, at, own_seal };
        note_end(changes.connection()?, &end).await?;
        changes.commit().await?;
        Ok(Some(AuditAdded { tail: AuditTail { number, seal }, has_known: is_known, is_intact }))
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

    async fn audit_until(&self, instance: &str, number: u64) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT COUNT(*) AS count FROM audit WHERE instance = $1 AND number <= $2")
            .bind(instance)
            .bind(whole(number))
            .fetch_one(&self.pool)
            .await
            .map_err(failed)?;
        Ok(u64::try_from(column::<i64>(&row, "count")?).unwrap_or_default())
    }

    async fn audit_in_front(
        &self,
        instance: &str,
        number: u64,
        skipped: u64,
        most: u32,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM audit WHERE instance = $1 AND number <= $2 ORDER BY number LIMIT $3 OFFSET $4")
                .bind(instance)
                .bind(whole(number))
                .bind(most)
                .bind(whole(skipped))
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

    async fn forget_audit(&self, instance: &str) -> Result<(), StoreError> {
        let mut changes = self.begin().await?;
        for statement in ["DELETE FROM audit WHERE instance = $1", "DELETE FROM audit_end WHERE instance = $1"] {
            sqlx::query(statement).bind(instance).execute(changes.connection()?).await.map_err(failed)?;
        }
        changes.commit().await
    }

    async fn prune_audit(
        &self,
        instance: &str,
        before: DateTime<Utc>,
        sealer: &dyn Sealer,
        at: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let mut changes = self.begin().await?;
        let connection = changes.connection()?;
        let pruned = end_of(connection, instance, AuditEnd::Pruned).await?;
        if pruned.as_ref().is_some_and(|pruned| !is_true(sealer, pruned)) {
            return Ok(0);
        }
        let Some(newest) = newest(connection, instance).await? else { return Ok(0) };
        let (mut number, mut seal) = pruned.map_or((0, Seal::default()), |pruned| (pruned.number, pruned.seal));
        let first = number;
        let mut cut = (number, seal);
        let rows = sqlx::query("SELECT * FROM audit WHERE instance = $1 AND number > $2 ORDER BY number LIMIT $3")
            .bind(instance)
            .bind(whole(number))
            .bind(PRUNED_AT_ONCE)
            .fetch_all(&mut *connection)
            .await
            .map_err(failed)?;
        for row in &rows {
            let record = record(row)?;
            let is_next = record.number == number + 1 && record.number < newest.number;
            // What was touched stays, and shows; the time of an entry is as good as its seal.
            if !is_next
                || !record.is_as_written
                || sealer.of_entry(instance, record.number, &seal, &record.entry) != record.seal
            {
                break;
            }
            (number, seal) = (record.number, record.seal);
            // What stands in front of an old one is as old, whatever the clock was then.
            if record.entry.at < before {
                cut = (number, seal);
            }
        }
        let (number, seal) = cut;
        if number == first {
            return Ok(0);
        }
        // Not what may stand in front of it, put there by somebody else.
        let done = sqlx::query("DELETE FROM audit WHERE instance = $1 AND number > $2 AND number <= $3")
            .bind(instance)
            .bind(whole(first))
            .bind(whole(number))
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
        let own_seal = sealer.of_end(instance, AuditEnd::Pruned, number, &seal, at);
        let end = AuditEndRecord { instance: instance.to_owned(), of: AuditEnd::Pruned, number, seal, at, own_seal };
        note_end(connection, &end).await?;
        changes.commit().await?;
        Ok(done.rows_affected())
    }
}

/// Whether an end was noted by somebody who has the key.
fn is_true(sealer: &dyn Sealer, end: &AuditEndRecord) -> bool {
    sealer.of_end(&end.instance, end.of, end.number, &end.seal, end.at) == end.own_seal
}

async fn newest(connection: &mut SqliteConnection, instance: &str) -> Result<Option<AuditTail>, StoreError> {
    let row = sqlx::query("SELECT number, seal FROM audit WHERE instance = $1 ORDER BY number DESC LIMIT 1")
        .bind(instance)
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    row.as_ref().map(tail).transpose()
}

/// Whether this entry is there, or was pruned.
async fn has_had(
    connection: &mut SqliteConnection,
    instance: &str,
    known: AuditTail,
    sealer: &dyn Sealer,
) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT number, seal FROM audit WHERE instance = $1 AND number = $2")
        .bind(instance)
        .bind(whole(known.number))
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?;
    if let Some(row) = &row {
        return Ok(tail(row)? == known);
    }
    let pruned = end_of(connection, instance, AuditEnd::Pruned).await?;
    Ok(pruned.is_some_and(|pruned| pruned.number >= known.number && is_true(sealer, &pruned)))
}

fn tail(row: &SqliteRow) -> Result<AuditTail, StoreError> {
    let number = u64::try_from(column::<i64>(row, "number")?).unwrap_or_default();
    Ok(AuditTail { number, seal: octets(row, "seal")? })
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

async fn note_end(connection: &mut SqliteConnection, end: &AuditEndRecord) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit_end (instance, of, number, seal, at, own_seal) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (instance, of) DO UPDATE SET number = $3, seal = $4, at = $5, own_seal = $6",
    )
    .bind(&end.instance)
    .bind(end.of.name())
    .bind(whole(end.number))
    .bind(end.seal.as_slice())
    .bind(end.at.timestamp_millis())
    .bind(end.own_seal.as_slice())
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
    let stored: Option<String> = column(row, "mailbox")?;
    let mailbox = stored.is_some().then(|| address(row, "mailbox", "audit.mailbox")).transpose()?;
    let password_id: Option<String> = column(row, "password_id")?;
    Ok(AuditRecord {
        instance: column(row, "instance")?,
        is_as_written: mailbox.as_ref().map(Mailbox::as_str) == stored.as_deref() && password_id.as_deref() != Some(""),
        number: u64::try_from(column::<i64>(row, "number")?).unwrap_or_default(),
        entry: AuditEntry {
            at: time(row, "at")?,
            kind: known.ok_or(StoreError::Value { column: "audit.kind", value: kind })?,
            mailbox,
            password_id,
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
