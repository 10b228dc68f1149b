//! The list of mailboxes on SQLite.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use sqlx::sqlite::SqliteRow;

use crate::base::{Mailbox, TenantName};
use crate::store::sqlite::{BUMP, SqliteStore, address, column, failed, optional_address, optional_time, time};
use crate::store::{Halt, MailboxRecord, Mailboxes, StoreError};

#[async_trait]
impl Mailboxes for SqliteStore {
    async fn add_mailbox(&self, mailbox: &MailboxRecord) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let address = mailbox.address.as_str();
        // An address that is already somebody's alias, and an alias that is already somebody's address or alias, would make
        // one login name mean two mailboxes.
        for login in std::iter::once(address).chain(mailbox.aliases.iter().map(String::as_str)) {
            let owner: Option<String> = sqlx::query_scalar(
                "SELECT address FROM mailbox WHERE address = $1 UNION ALL SELECT mailbox FROM alias WHERE login = $1",
            )
            .bind(login)
            .fetch_optional(transaction.connection()?)
            .await
            .map_err(failed)?;
            if let Some(owner) = owner
                && owner != address
            {
                return Err(StoreError::LoginTaken { login: login.to_owned(), mailbox: owner });
            }
        }
        sqlx::query(
            "INSERT INTO mailbox (address, tenant, sign_in_as, disabled_at, created_at) VALUES ($1, $2, $3, NULL, $4) \
             ON CONFLICT (address) DO UPDATE SET sign_in_as = COALESCE(excluded.sign_in_as, mailbox.sign_in_as)",
        )
        .bind(address)
        .bind(mailbox.tenant.as_str())
        .bind(mailbox.sign_in_as.as_ref().map(Mailbox::as_str))
        .bind(mailbox.created_at.timestamp_millis())
        .execute(transaction.connection()?)
        .await
        .map_err(failed)?;
        for login in mailbox.aliases.iter().filter(|login| *login != address) {
            sqlx::query("INSERT INTO alias (login, mailbox) VALUES ($1, $2) ON CONFLICT (login) DO NOTHING")
                .bind(login)
                .bind(address)
                .execute(transaction.connection()?)
                .await
                .map_err(failed)?;
        }
        sqlx::query(BUMP).execute(transaction.connection()?).await.map_err(failed)?;
        transaction.commit().await
    }

    async fn remove_alias(&self, address: &Mailbox, login: &str) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let done = sqlx::query("DELETE FROM alias WHERE login = $1 AND mailbox = $2")
            .bind(login)
            .bind(address.as_str())
            .execute(transaction.connection()?)
            .await
            .map_err(failed)?;
        sqlx::query(BUMP).execute(transaction.connection()?).await.map_err(failed)?;
        transaction.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    async fn mailboxes(&self) -> Result<Vec<MailboxRecord>, StoreError> {
        let mut transaction = self.begin_reading().await?;
        let rows =
            sqlx::query(
                "SELECT address, tenant, sign_in_as, disabled_at, created_at, \
                 (SELECT MIN(at) FROM halt WHERE halt.tenant IN ('', mailbox.tenant)) AS halted_at FROM mailbox ORDER BY address",
            )
                .fetch_all(transaction.connection()?)
                .await
                .map_err(failed)?;
        let mut mailboxes = Vec::with_capacity(rows.len());
        for row in rows {
            mailboxes.push(MailboxRecord {
                address: address(&row, "address", "mailbox.address")?,
                tenant: TenantName::new(column::<String>(&row, "tenant")?),
                aliases: Vec::new(),
                sign_in_as: optional_address(&row, "sign_in_as", "mailbox.sign_in_as")?,
                disabled_at: optional_time(&row, "disabled_at")?,
                halted_at: optional_time(&row, "halted_at")?,
                created_at: time(&row, "created_at")?,
            });
        }
        let rows = sqlx::query("SELECT login, mailbox FROM alias ORDER BY mailbox, login")
            .fetch_all(transaction.connection()?)
            .await
            .map_err(failed)?;
        transaction.commit().await?;
        for row in rows {
            let owner: String = column(&row, "mailbox")?;
            // Both lists are sorted by address, and SQLite compares TEXT by octets as Rust does.
            if let Ok(place) = mailboxes.binary_search_by(|mailbox| mailbox.address.as_str().cmp(&owner))
                && let Some(mailbox) = mailboxes.get_mut(place)
            {
                mailbox.aliases.push(column(&row, "login")?);
            }
        }
        Ok(mailboxes)
    }

    async fn disable_mailbox(&self, address: &Mailbox, at: Option<DateTime<Utc>>) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        // Disabling again keeps the first time.
        let sql = if at.is_some() {
            "UPDATE mailbox SET disabled_at = COALESCE(disabled_at, $2) WHERE address = $1"
        } else {
            "UPDATE mailbox SET disabled_at = $2 WHERE address = $1"
        };
        let done = sqlx::query(sql)
            .bind(address.as_str())
            .bind(at.map(|at| at.timestamp_millis()))
            .execute(transaction.connection()?)
            .await
            .map_err(failed)?;
        sqlx::query(BUMP).execute(transaction.connection()?).await.map_err(failed)?;
        transaction.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    async fn halt(&self, halt: &Halt) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "INSERT INTO halt (tenant, at, reason) VALUES ($1, $2, $3) ON CONFLICT (tenant) DO UPDATE SET reason = $3",
        )
        .bind(halt.tenant.as_ref().map_or("", TenantName::as_str))
        .bind(halt.at.timestamp_millis())
        .bind(halt.reason.as_deref())
        .execute(transaction.connection()?)
        .await
        .map_err(failed)?;
        sqlx::query(BUMP).execute(transaction.connection()?).await.map_err(failed)?;
        transaction.commit().await
    }

    async fn resume(&self, tenant: Option<&TenantName>) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let done = sqlx::query("DELETE FROM halt WHERE tenant = $1")
            .bind(tenant.map_or("", TenantName::as_str))
            .execute(transaction.connection()?)
            .await
            .map_err(failed)?;
        sqlx::query(BUMP).execute(transaction.connection()?).await.map_err(failed)?;
        transaction.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    async fn halts(&self) -> Result<Vec<Halt>, StoreError> {
        let rows = sqlx::query("SELECT * FROM halt ORDER BY tenant").fetch_all(&self.pool).await.map_err(failed)?;
        let halt = |row: &SqliteRow| {
            let tenant: String = column(row, "tenant")?;
            Ok(Halt {
                tenant: Some(tenant).filter(|name| !name.is_empty()).map(TenantName::new),
                at: time(row, "at")?,
                reason: column(row, "reason")?,
            })
        };
        rows.iter().map(halt).collect()
    }

    async fn remove_mailbox(&self, address: &Mailbox, at: DateTime<Utc>) -> Result<Option<u64>, StoreError> {
        let mut transaction = self.begin().await?;
        let removed = sqlx::query("DELETE FROM mailbox WHERE address = $1")
            .bind(address.as_str())
            .execute(transaction.connection()?)
            .await
            .map_err(failed)?;
        if removed.rows_affected() == 0 {
            return Ok(None);
        }
        let revoked = sqlx::query("UPDATE app_password SET revoked_at = $2 WHERE mailbox = $1 AND revoked_at IS NULL")
            .bind(address.as_str())
            .bind(at.timestamp_millis())
            .execute(transaction.connection()?)
            .await
            .map_err(failed)?;
        sqlx::query(
            "DELETE FROM sign_in WHERE account <> '' AND NOT EXISTS (SELECT 1 FROM mailbox \
             WHERE mailbox.tenant = sign_in.tenant AND COALESCE(mailbox.sign_in_as, mailbox.address) = sign_in.account)",
        )
        .execute(transaction.connection()?)
        .await
        .map_err(failed)?;
        sqlx::query(BUMP).execute(transaction.connection()?).await.map_err(failed)?;
        transaction.commit().await?;
        Ok(Some(revoked.rows_affected()))
    }
}
