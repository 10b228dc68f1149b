//! The store on SQLite: one machine, WAL, `synchronous=FULL`, so that what was committed survives a power cut.

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
use sqlx::{ConnectOptions, Row, SqlSafeStr, Sqlite};
use tokio::sync::Mutex;

use crate::base::files::{make_private_folder, open_private};
use crate::base::{Mailbox, Protocol, TenantName, Whose};
use crate::store::{
    AppPasswordRecord, DeliveryMode, MailboxRecord, RefusalRecord, SignInRecord, Store, StoreError, Verifier,
};

/// A store in one SQLite file.
pub struct SqliteStore {
    pool: SqlitePool,
    /// Sees every commit of the others, our own pool included, through `PRAGMA data_version`; holds the last one seen
    /// together with the revision read then.
    watcher: Mutex<(SqliteConnection, Option<(i64, i64)>)>,
}

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
        Ok(Self { pool, watcher: Mutex::new((watcher, None)) })
    }

    /// Begins a transaction that will write.
    async fn begin(&self) -> Result<Changes, StoreError> {
        self.begin_as("BEGIN IMMEDIATE").await
    }

    /// Begins a transaction that sees one state of the database however long it reads.
    async fn begin_reading(&self) -> Result<Changes, StoreError> {
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
struct Changes {
    /// `None` once it is committed.
    connection: Option<PoolConnection<Sqlite>>,
}

impl Changes {
    fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        match &mut self.connection {
            Some(connection) => Ok(connection),
            None => Err(failed(sqlx::Error::PoolClosed)),
        }
    }

    async fn commit(mut self) -> Result<(), StoreError> {
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
    Migrator::with_migrations(vec![Migration::new(
        1,
        Cow::Borrowed("start"),
        MigrationType::Simple,
        include_str!("migrations/sqlite/0001_start.sql").into_sql_str(),
        false,
    )])
}

fn failed(error: sqlx::Error) -> StoreError {
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

const BUMP: &str = "UPDATE revision SET number = number + 1 WHERE only_row = 1";

#[async_trait]
impl Store for SqliteStore {
    async fn revision(&self) -> Result<i64, StoreError> {
        let mut guard = self.watcher.lock().await;
        let (connection, seen) = &mut *guard;
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
            sqlx::query("SELECT address, tenant, sign_in_as, disabled_at, created_at FROM mailbox ORDER BY address")
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

    async fn add_app_password(&self, record: &AppPasswordRecord) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        // One statement: somebody may take the mailbox off the list between a look at the list and this.
        let done = sqlx::query(
            "INSERT INTO app_password (id, mailbox, label, verifier, protocols, networks, delivery, created_at, \
             expires_at, revoked_at, last_used_at) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11 \
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
        .execute(transaction.connection()?)
        .await
        .map_err(failed)?;
        sqlx::query(BUMP).execute(transaction.connection()?).await.map_err(failed)?;
        transaction.commit().await?;
        Ok(done.rows_affected() > 0)
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
            "INSERT INTO sign_in (tenant, account, sealed, whose, since, reason) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (tenant, account) DO UPDATE SET sealed = excluded.sealed, whose = excluded.whose, \
             since = excluded.since, reason = excluded.reason",
        )
        .bind(record.tenant.as_str())
        .bind(record.account.as_ref().map_or("", Mailbox::as_str))
        .bind(record.sealed.as_deref())
        .bind(whose_name(record.whose))
        .bind(record.since.timestamp_millis())
        .bind(record.reason.as_deref())
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
    ) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE sign_in SET sealed = $4 WHERE tenant = $1 AND account = $2 AND sealed = $3")
            .bind(tenant.as_str())
            .bind(account.as_str())
            .bind(before)
            .bind(after)
            .execute(&self.pool)
            .await
            .map_err(failed)?;
        Ok(done.rows_affected() > 0)
    }

    async fn note_sign_in_state(
        &self,
        tenant: &TenantName,
        account: Option<&Mailbox>,
        whose: Whose,
        reason: Option<&str>,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO sign_in (tenant, account, sealed, whose, since, reason) VALUES ($1, $2, NULL, $3, $4, $5) \
             ON CONFLICT (tenant, account) DO UPDATE SET \
             since = CASE WHEN sign_in.whose = excluded.whose THEN sign_in.since ELSE excluded.since END, \
             whose = excluded.whose, reason = excluded.reason",
        )
        .bind(tenant.as_str())
        .bind(account.map_or("", Mailbox::as_str))
        .bind(whose_name(whose))
        .bind(at.timestamp_millis())
        .bind(reason)
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

    async fn note_refusal(&self, refusal: &RefusalRecord) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO refusal (mailbox, protocol, since, reason) \
             SELECT address, $2, $3, $4 FROM mailbox WHERE address = $1 \
             ON CONFLICT (mailbox, protocol) DO UPDATE SET reason = excluded.reason",
        )
        .bind(refusal.mailbox.as_str())
        .bind(refusal.protocol.name())
        .bind(refusal.since.timestamp_millis())
        .bind(&refusal.reason)
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(())
    }

    async fn clear_refusal(&self, mailbox: &Mailbox, protocol: Protocol) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM refusal WHERE mailbox = $1 AND protocol = $2")
            .bind(mailbox.as_str())
            .bind(protocol.name())
            .execute(&self.pool)
            .await
            .map_err(failed)?;
        Ok(())
    }

    async fn refusals(&self) -> Result<Vec<RefusalRecord>, StoreError> {
        let rows = sqlx::query("SELECT * FROM refusal ORDER BY mailbox, protocol")
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        rows.iter()
            .map(|row| {
                let protocol: String = column(row, "protocol")?;
                Ok(RefusalRecord {
                    mailbox: address(row, "mailbox", "refusal.mailbox")?,
                    protocol: protocol
                        .parse()
                        .map_err(|_| StoreError::Value { column: "refusal.protocol", value: protocol })?,
                    since: time(row, "since")?,
                    reason: column(row, "reason")?,
                })
            })
            .collect()
    }

    async fn close(&self) {
        self.pool.close().await;
    }
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
            "direct" => DeliveryMode::Direct,
            _ => return Err(StoreError::Value { column: "app_password.delivery", value: delivery }),
        },
        created_at: time(row, "created_at")?,
        expires_at: optional_time(row, "expires_at")?,
        revoked_at: optional_time(row, "revoked_at")?,
        last_used_at: optional_time(row, "last_used_at")?,
    })
}

fn sign_in(row: &SqliteRow) -> Result<SignInRecord, StoreError> {
    let whose: String = column(row, "whose")?;
    let account: String = column(row, "account")?;
    Ok(SignInRecord {
        tenant: TenantName::new(column::<String>(row, "tenant")?),
        account: if account.is_empty() { None } else { Some(address(row, "account", "sign_in.account")?) },
        sealed: column(row, "sealed")?,
        whose: match whose.as_str() {
            "nobody" => Whose::Nobody,
            "administrator" => Whose::Administrator,
            "user" => Whose::User,
            _ => return Err(StoreError::Value { column: "sign_in.whose", value: whose }),
        },
        since: time(row, "since")?,
        reason: column(row, "reason")?,
    })
}

fn whose_name(whose: Whose) -> &'static str {
    match whose {
        Whose::Nobody => "nobody",
        Whose::Administrator => "administrator",
        Whose::User => "user",
    }
}

fn column<'r, T>(row: &'r SqliteRow, name: &str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(name).map_err(failed)
}

fn time(row: &SqliteRow, name: &'static str) -> Result<DateTime<Utc>, StoreError> {
    optional_time(row, name)?.ok_or(StoreError::Value { column: name, value: "no time".to_owned() })
}

fn optional_time(row: &SqliteRow, name: &'static str) -> Result<Option<DateTime<Utc>>, StoreError> {
    let millis: Option<i64> = column(row, name)?;
    millis
        .map(|millis| {
            DateTime::from_timestamp_millis(millis)
                .ok_or_else(|| StoreError::Value { column: name, value: millis.to_string() })
        })
        .transpose()
}

fn address(row: &SqliteRow, name: &str, full_name: &'static str) -> Result<Mailbox, StoreError> {
    optional_address(row, name, full_name)?
        .ok_or(StoreError::Value { column: full_name, value: "no address".to_owned() })
}

fn optional_address(row: &SqliteRow, name: &str, full_name: &'static str) -> Result<Option<Mailbox>, StoreError> {
    let text: Option<String> = column(row, name)?;
    text.map(|text| text.parse().map_err(|_| StoreError::Value { column: full_name, value: text })).transpose()
}

fn join<T: ToString>(items: impl Iterator<Item = T>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}

fn split<T: FromStr>(row: &SqliteRow, name: &str, full_name: &'static str) -> Result<Vec<T>, StoreError> {
    let text: String = column(row, name)?;
    text.split(',')
        .filter(|item| !item.is_empty())
        .map(|item| item.parse().map_err(|_| StoreError::Value { column: full_name, value: text.clone() }))
        .collect()
}
