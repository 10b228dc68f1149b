//! Sign-ins on SQLite.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteRow;

use crate::base::envelope::lasting_part;
use crate::base::{Mailbox, TenantName};
use crate::store::sqlite::troubles::{whose, whose_name};
use crate::store::sqlite::{SqliteStore, address, column, failed, optional_time, time};
use crate::store::{SignInRecord, SignInState, SignIns, StoreError};

#[async_trait]
impl SignIns for SqliteStore {
    async fn sign_in(
        &self,
        tenant: &TenantName,
        account: Option<&Mailbox>,
    ) -> Result<Option<SignInRecord>, StoreError> {
        sqlx::query("SELECT * FROM sign_in WHERE tenant = $1 AND account = $2")
            .bind(tenant.as_str())
            .bind(account.map_or("", Mailbox::as_str))
            .fetch_optional(&self.pool)
            .await
            .map_err(failed)?
            .as_ref()
            .map(sign_in)
            .transpose()
    }

    async fn sign_ins(&self) -> Result<Vec<SignInRecord>, StoreError> {
        sqlx::query("SELECT * FROM sign_in ORDER BY tenant, account")
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?
            .iter()
            .map(sign_in)
            .collect()
    }

    async fn keep_sign_in(&self, record: &SignInRecord) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO sign_in (tenant, account, sealed, whose, since, reason, remedy, refreshed_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
             ON CONFLICT (tenant, account) DO UPDATE SET sealed = excluded.sealed, whose = excluded.whose, \
             since = excluded.since, reason = excluded.reason, remedy = excluded.remedy, \
             refreshed_at = excluded.refreshed_at",
        )
        .bind(record.tenant.as_str())
        .bind(record.account.as_ref().map_or("", Mailbox::as_str))
        .bind(record.sealed.as_deref())
        .bind(whose_name(record.state.whose))
        .bind(record.state.since.timestamp_millis())
        .bind(record.state.reason.as_deref())
        .bind(record.state.remedy.as_deref())
        .bind(record.refreshed_at.map(|at| at.timestamp_millis()))
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(())
    }

    async fn rotate_sign_in(
        &self,
        tenant: &TenantName,
        account: &Mailbox,
        before: &[u8],
        after: &[u8],
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        // A new master key wraps the data key anew, and the rest of the value stays: what is compared is that rest.
        let done = sqlx::query(
            "UPDATE sign_in SET sealed = $4, refreshed_at = $5 WHERE tenant = $1 AND account = $2 \
             AND substr(sealed, length(sealed) - length($3) + 1) = $3",
        )
        .bind(tenant.as_str())
        .bind(account.as_str())
        .bind(lasting_part(before))
        .bind(after)
        .bind(at.timestamp_millis())
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(done.rows_affected() > 0)
    }

    async fn note_sign_in_state(
        &self,
        tenant: &TenantName,
        account: Option<&Mailbox>,
        state: &SignInState,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO sign_in (tenant, account, sealed, whose, since, reason, remedy) \
             VALUES ($1, $2, NULL, $3, $4, $5, $6) ON CONFLICT (tenant, account) DO UPDATE SET \
             since = CASE WHEN sign_in.whose = excluded.whose THEN sign_in.since ELSE excluded.since END, \
             whose = excluded.whose, reason = excluded.reason, remedy = excluded.remedy \
             WHERE sign_in.whose IS NOT excluded.whose OR sign_in.reason IS NOT excluded.reason",
        )
        .bind(tenant.as_str())
        .bind(account.map_or("", Mailbox::as_str))
        .bind(whose_name(state.whose))
        .bind(state.since.timestamp_millis())
        .bind(state.reason.as_deref())
        .bind(state.remedy.as_deref())
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(())
    }

    async fn forget_sign_in(&self, tenant: &TenantName, account: Option<&Mailbox>) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM sign_in WHERE tenant = $1 AND account = $2")
            .bind(tenant.as_str())
            .bind(account.map_or("", Mailbox::as_str))
            .execute(&self.pool)
            .await
            .map_err(failed)?;
        Ok(done.rows_affected() > 0)
    }
}

fn sign_in(row: &SqliteRow) -> Result<SignInRecord, StoreError> {
    let account: String = column(row, "account")?;
    Ok(SignInRecord {
        tenant: TenantName::new(column::<String>(row, "tenant")?),
        account: if account.is_empty() { None } else { Some(address(row, "account", "sign_in.account")?) },
        sealed: column(row, "sealed")?,
        state: SignInState {
            whose: whose(row, "sign_in.whose")?,
            since: time(row, "since")?,
            reason: column(row, "reason")?,
            remedy: column(row, "remedy")?,
        },
        refreshed_at: optional_time(row, "refreshed_at")?,
    })
}
