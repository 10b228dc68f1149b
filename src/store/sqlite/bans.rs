//! Bans on SQLite.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use ipnet::IpNet;
use sqlx::sqlite::SqliteRow;

use crate::store::StoreError;
use crate::store::bans::{BanRecord, Bans};
use crate::store::sqlite::{SqliteStore, column, failed, time};

#[async_trait]
impl Bans for SqliteStore {
    async fn bans(&self) -> Result<Vec<BanRecord>, StoreError> {
        let rows = sqlx::query("SELECT * FROM ban ORDER BY since DESC, network")
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        rows.iter().map(record).collect()
    }

    async fn active_bans(&self, now: DateTime<Utc>, most: u32) -> Result<Vec<BanRecord>, StoreError> {
        let rows = sqlx::query("SELECT * FROM ban WHERE until > $1 ORDER BY since DESC LIMIT $2")
            .bind(now.timestamp_millis())
            .bind(most)
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        rows.iter().map(record).collect()
    }

    async fn ban_of(&self, network: &IpNet) -> Result<Option<BanRecord>, StoreError> {
        let row = sqlx::query("SELECT * FROM ban WHERE network = $1")
            .bind(network.to_string())
            .fetch_optional(&self.pool)
            .await
            .map_err(failed)?;
        row.as_ref().map(record).transpose()
    }

    async fn ban(&self, ban: &BanRecord) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO ban (network, since, until, strikes, tries) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (network) DO UPDATE SET since = $2, until = $3, strikes = $4, tries = $5",
        )
        .bind(ban.network.to_string())
        .bind(ban.since.timestamp_millis())
        .bind(ban.until.timestamp_millis())
        .bind(ban.strikes)
        .bind(ban.tries)
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(())
    }

    async fn lift_ban(&self, network: &IpNet) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM ban WHERE network = $1")
            .bind(network.to_string())
            .execute(&self.pool)
            .await
            .map_err(failed)?;
        Ok(done.rows_affected() > 0)
    }

    async fn forget_bans(&self, before: DateTime<Utc>) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM ban WHERE until < $1 OR network NOT IN (SELECT network FROM ban ORDER BY until DESC LIMIT 20000)",
        )
            .bind(before.timestamp_millis())
            .execute(&self.pool)
            .await
            .map_err(failed)?;
        Ok(())
    }
}

fn record(row: &SqliteRow) -> Result<BanRecord, StoreError> {
    let network: String = column(row, "network")?;
    Ok(BanRecord {
        network: network.parse().map_err(|_| StoreError::Value { column: "ban.network", value: network })?,
        since: time(row, "since")?,
        until: time(row, "until")?,
        strikes: u32::try_from(column::<i64>(row, "strikes")?).unwrap_or(u32::MAX),
        tries: u32::try_from(column::<i64>(row, "tries")?).unwrap_or(u32::MAX),
    })
}
