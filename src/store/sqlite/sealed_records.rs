//! What is sealed by the master key, on SQLite.

use async_trait::async_trait;

use crate::base::{Mailbox, TenantName};
use crate::store::sqlite::{Changes, SqliteStore, address, column, failed};
use crate::store::{Anew, SealedOf, SealedRecord, SealedRecords, StoreError};

#[async_trait]
impl SealedRecords for SqliteStore {
    async fn sealed_records(&self) -> Result<Vec<SealedRecord>, StoreError> {
        let mut transaction = self.begin_reading().await?;
        let records = all(&mut transaction).await?;
        transaction.commit().await?;
        Ok(records)
    }

    async fn reseal(&self, anew: Anew<'_>) -> Result<usize, StoreError> {
        // From here on nobody else writes, so nothing is put over a value that has changed meanwhile.
        let mut transaction = self.begin().await?;
        let mut count = 0;
        for record in all(&mut transaction).await? {
            let Some(sealed) = anew(&record) else { continue };
            match &record.of {
                SealedOf::SignIn { tenant, account } => {
                    put_sign_in(&mut transaction, tenant, account, &sealed).await?;
                }
            }
            count += 1;
        }
        transaction.commit().await?;
        Ok(count)
    }
}

async fn all(transaction: &mut Changes) -> Result<Vec<SealedRecord>, StoreError> {
    sqlx::query(
        "SELECT tenant, account, sealed FROM sign_in WHERE sealed IS NOT NULL AND account <> '' ORDER BY tenant, account",
    )
    .fetch_all(transaction.connection()?)
    .await
    .map_err(failed)?
    .iter()
    .map(|row| {
        let tenant = TenantName::new(column::<String>(row, "tenant")?);
        let of = SealedOf::SignIn { tenant, account: address(row, "account", "sign_in.account")? };
        Ok(SealedRecord { of, sealed: column(row, "sealed")? })
    })
    .collect()
}

async fn put_sign_in(
    transaction: &mut Changes,
    tenant: &TenantName,
    account: &Mailbox,
    sealed: &[u8],
) -> Result<(), StoreError> {
    sqlx::query("UPDATE sign_in SET sealed = $3 WHERE tenant = $1 AND account = $2")
        .bind(tenant.as_str())
        .bind(account.as_str())
        .bind(sealed)
        .execute(transaction.connection()?)
        .await
        .map_err(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{SignIns, Store};

    #[tokio::test]
    async fn what_is_sealed_is_listed_and_replaced_where_it_is_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path()).await.unwrap();
        for (account, sealed) in
            [("alice@contoso.test", "old 1"), ("bob@contoso.test", "old 2"), ("eve@contoso.test", "")]
        {
            let mut change = store.begin().await.unwrap();
            sqlx::query(
                "INSERT INTO sign_in (tenant, account, sealed, whose, since) VALUES ('contoso', $1, $2, 'nobody', 0)",
            )
            .bind(account)
            .bind((!sealed.is_empty()).then_some(sealed.as_bytes()))
            .execute(change.connection().unwrap())
            .await
            .unwrap();
            change.commit().await.unwrap();
        }
        let revision = store.revision().await.unwrap();
        let listed = store.sealed_records().await.unwrap();
        assert_eq!(listed.iter().map(|record| record.sealed.as_slice()).collect::<Vec<_>>(), [b"old 1", b"old 2"]);
        let anew = |record: &SealedRecord| (record.sealed == b"old 2").then(|| b"new 2".to_vec());
        assert_eq!(store.reseal(&anew).await.unwrap(), 1);
        assert_eq!(store.reseal(&anew).await.unwrap(), 0);
        let listed = store.sealed_records().await.unwrap();
        assert_eq!(listed.iter().map(|record| record.sealed.as_slice()).collect::<Vec<_>>(), [b"old 1", b"new 2"]);
        assert_eq!(store.revision().await.unwrap(), revision, "logins do not depend on it");
        let bob = store.sign_in(&TenantName::new("contoso"), Some(&"bob@contoso.test".parse().unwrap())).await.unwrap();
        assert_eq!(bob.unwrap().sealed.unwrap(), b"new 2");
    }
}
