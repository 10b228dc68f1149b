//! The store on SQLite: one machine, WAL, `synchronous=FULL`, so that what was committed survives a power cut.

mod app_passwords;
mod audit;
mod bans;
mod console;
mod journal;
mod mailboxes;
mod queue;
mod sealed_records;
mod sign_ins;
mod troubles;

use std::borrow::Cow;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Row, SqlSafeStr, Sqlite};
use tokio::sync::Mutex;

use crate::base::Mailbox;
use crate::base::files::{make_private_folder, open_private};
use crate::store::{Store, StoreError};

/// A store in one SQLite file.
pub struct SqliteStore {
    pool: SqlitePool,
    /// Sees every commit of the others, our own pool included, through `PRAGMA data_version`; holds the last one seen
    /// together with the revision read then. `None` once the store is closed.
    watcher: Mutex<Option<Watcher>>,
}

/// A connection, and the last `data_version` that it saw together with the revision of then.
type Watcher = (SqliteConnection, Option<(i64, i64)>);

impl SqliteStore {
    /// The file's name in `data_dir`.
    pub const FILE: &'static str = "postern.db";

    /// Opens the store in `data_dir`, making the folder (mode 0700) and the file (0600) if need be, and brings its tables
    /// up to date. Safe against other processes that do the same at this moment.
    ///
    /// # Errors
    /// [`StoreError::Open`] and [`StoreError::TooNew`].
    pub async fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let path = data_dir.join(Self::FILE);
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Open { path: path.clone(), source };
        make_private_folder(data_dir).map_err(|e| failed(e.into()))?;
        // SQLite gives -wal and -shm the mode of the database itself, so it has to be private before it is opened.
        open_private(&path).map_err(|e| failed(e.into()))?;

        let options = SqliteConnectOptions::new()
            .filename(&path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            .disable_statement_logging();

        let lock = open_private(&data_dir.join("store.lock")).map_err(|e| failed(e.into()))?;
        let locking = lock.try_clone().map_err(|e| failed(e.into()))?;
        tokio::task::spawn_blocking(move || locking.lock())
            .await
            .map_err(|e| failed(e.into()))?
            .map_err(|e| failed(e.into()))?;
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options.clone())
            .await
            .map_err(|e| failed(e.into()))?;
        let migrated = migrations().run(&pool).await;
        drop(lock);
        match migrated {
            Ok(()) => {}
            Err(MigrateError::VersionMissing(_)) => return Err(StoreError::TooNew { path }),
            Err(error) => return Err(failed(error.into())),
        }
        let watcher = options.connect().await.map_err(|e| failed(e.into()))?;
        Ok(Self { pool, watcher: Mutex::new(Some((watcher, None))) })
    }

    /// Begins a transaction that will write.
    pub(in crate::store::sqlite) async fn begin(&self) -> Result<Changes, StoreError> {
        self.begin_as("BEGIN IMMEDIATE").await
    }

    /// Begins a transaction that sees one state of the database however long it reads.
    pub(in crate::store::sqlite) async fn begin_reading(&self) -> Result<Changes, StoreError> {
        self.begin_as("BEGIN").await
    }

    async fn begin_as(&self, begin: &'static str) -> Result<Changes, StoreError> {
        let connection = self.pool.acquire().await.map_err(failed)?;
        let mut changes = Changes { connection: Some(connection) };
        sqlx::query(begin).execute(changes.connection()?).await.map_err(failed)?;
        Ok(changes)
    }

    #[cfg(test)]
    pub(in crate::store) fn pool(&self) -> &SqlitePool {
        &self.pool
    }
}

/// A transaction on a connection of its own. Unless it is committed its connection is closed, which rolls back whatever state SQLite was
/// left in: on a full disk SQLite itself has rolled back already, and a connection that believes otherwise is of no more use.
pub(in crate::store::sqlite) struct Changes {
    /// `None` once it is committed.
    connection: Option<PoolConnection<Sqlite>>,
}

impl Changes {
    pub(in crate::store::sqlite) fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        match &mut self.connection {
            Some(connection) => Ok(connection),
            None => Err(failed(sqlx::Error::PoolClosed)),
        }
    }

    pub(in crate::store::sqlite) async fn commit(mut self) -> Result<(), StoreError> {
        sqlx::query("COMMIT").execute(self.connection()?).await.map_err(failed)?;
        self.connection = None;
        Ok(())
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            connection.close_on_drop();
        }
    }
}

fn migrations() -> Migrator {
    let migration = |number, name, sql: &'static str| {
        Migration::new(number, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(vec![
        migration(1, "start", include_str!("../migrations/sqlite/0001_start.sql")),
        migration(2, "trouble", include_str!("../migrations/sqlite/0002_trouble.sql")),
        migration(3, "queue", include_str!("../migrations/sqlite/0003_queue.sql")),
        migration(4, "senders", include_str!("../migrations/sqlite/0004_senders.sql")),
        migration(5, "journal", include_str!("../migrations/sqlite/0005_journal.sql")),
        migration(6, "unknown", include_str!("../migrations/sqlite/0006_unknown.sql")),
        migration(7, "warned", include_str!("../migrations/sqlite/0007_warned.sql")),
        migration(8, "copies", include_str!("../migrations/sqlite/0008_copies.sql")),
        migration(9, "rotation", include_str!("../migrations/sqlite/0009_rotation.sql")),
        migration(10, "resent", include_str!("../migrations/sqlite/0010_resent.sql")),
        migration(11, "scopes", include_str!("../migrations/sqlite/0011_scopes.sql")),
        migration(12, "audit", include_str!("../migrations/sqlite/0012_audit.sql")),
        migration(13, "tracking", include_str!("../migrations/sqlite/0013_tracking.sql")),
        migration(14, "halt", include_str!("../migrations/sqlite/0014_halt.sql")),
        migration(15, "unknown_attempt", include_str!("../migrations/sqlite/0015_unknown_attempt.sql")),
        migration(16, "begun", include_str!("../migrations/sqlite/0016_begun.sql")),
        migration(17, "adopted", include_str!("../migrations/sqlite/0017_adopted.sql")),
        migration(18, "doubts", include_str!("../migrations/sqlite/0018_doubts.sql")),
        migration(19, "disuse", include_str!("../migrations/sqlite/0019_disuse.sql")),
        migration(20, "bans", include_str!("../migrations/sqlite/0020_bans.sql")),
        migration(21, "reminded", include_str!("../migrations/sqlite/0021_reminded.sql")),
        migration(22, "sent_copies", include_str!("../migrations/sqlite/0022_sent_copies.sql")),
        migration(23, "console_links", include_str!("../migrations/sqlite/0023_console_links.sql")),
    ])
}

pub(in crate::store::sqlite) fn failed(error: sqlx::Error) -> StoreError {
    StoreError::Query(error.into())
}

/// Whether SQLite is behind it and says SQLITE_CORRUPT or SQLITE_NOTADB. An extended code has the primary one in its lower eight bits.
pub(in crate::store) fn is_corrupt(error: &(dyn std::error::Error + 'static)) -> bool {
    const CORRUPT: u32 = 11;
    const NOT_A_DATABASE: u32 = 26;
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<sqlx::Error>()?.as_database_error()?.code()?.parse::<u32>().ok())
        .any(|code| matches!(code & 0xff, CORRUPT | NOT_A_DATABASE))
}

/// Says that what logins depend on has changed.
pub(in crate::store::sqlite) const BUMP: &str = "UPDATE revision SET number = number + 1 WHERE only_row = 1";

#[async_trait]
impl Store for SqliteStore {
    async fn revision(&self) -> Result<i64, StoreError> {
        let mut guard = self.watcher.lock().await;
        let Some((connection, seen)) = &mut *guard else { return Err(failed(sqlx::Error::PoolClosed)) };
        let version: i64 =
            sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut *connection).await.map_err(failed)?;
        if let Some((seen_version, revision)) = seen
            && *seen_version == version
        {
            return Ok(*revision);
        }
        let revision: i64 = sqlx::query_scalar("SELECT number FROM revision WHERE only_row = 1")
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
        *seen = Some((version, revision));
        Ok(revision)
    }

    async fn close(&self) {
        self.pool.close().await;
        // The last connection takes the log into the database file and removes it, so it is waited for.
        if let Some((connection, _)) = self.watcher.lock().await.take()
            && let Err(error) = connection.close().await
        {
            tracing::debug!("the last connection to the store could not be closed: {error}");
        }
    }
}

pub(in crate::store::sqlite) fn column<'r, T>(row: &'r SqliteRow, name: &str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(name).map_err(failed)
}

pub(in crate::store::sqlite) fn time(row: &SqliteRow, name: &'static str) -> Result<DateTime<Utc>, StoreError> {
    optional_time(row, name)?.ok_or(StoreError::Value { column: name, value: "no time".to_owned() })
}

pub(in crate::store::sqlite) fn optional_time(
    row: &SqliteRow,
    name: &'static str,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    let millis: Option<i64> = column(row, name)?;
    millis
        .map(|millis| {
            DateTime::from_timestamp_millis(millis)
                .ok_or_else(|| StoreError::Value { column: name, value: millis.to_string() })
        })
        .transpose()
}

pub(in crate::store::sqlite) fn address(
    row: &SqliteRow,
    name: &str,
    full_name: &'static str,
) -> Result<Mailbox, StoreError> {
    optional_address(row, name, full_name)?
        .ok_or(StoreError::Value { column: full_name, value: "no address".to_owned() })
}

pub(in crate::store::sqlite) fn optional_address(
    row: &SqliteRow,
    name: &str,
    full_name: &'static str,
) -> Result<Option<Mailbox>, StoreError> {
    let text: Option<String> = column(row, name)?;
    text.map(|text| text.parse().map_err(|_| StoreError::Value { column: full_name, value: text })).transpose()
}

pub(in crate::store::sqlite) fn join<T: ToString>(items: impl Iterator<Item = T>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}

pub(in crate::store::sqlite) fn split<T: FromStr>(
    row: &SqliteRow,
    name: &str,
    full_name: &'static str,
) -> Result<Vec<T>, StoreError> {
    let text: String = column(row, name)?;
    text.split(',')
        .filter(|item| !item.is_empty())
        .map(|item| item.parse().map_err(|_| StoreError::Value { column: full_name, value: text.clone() }))
        .collect()
}
