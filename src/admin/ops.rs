//! Every administrative act, once. The command line and, later, the console call these; they work whether or not `serve` runs.

mod error;
mod key;
mod status;

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use ipnet::IpNet;

use crate::auth::app_password;
use crate::base::{Clock, Mailbox, Protocol, Secret, TenantName, Whose};
use crate::broker::Broker;
use crate::config::Config;
use crate::foundation::{self, Foundation};
use crate::store::{AppPasswordRecord, DeliveryMode, MailboxRecord, RefusalRecord, SignInRecord};

pub use self::error::OpsError;
pub use self::key::{KeyChange, KeyStatus, Keys};
pub use self::status::{ListenerStatus, Status};

/// The administrative acts on one configuration and its store.
pub struct Ops {
    config: Config,
    foundation: Foundation,
    clock: Clock,
}

/// A mailbox as an administrator sees it.
#[derive(Clone, Debug)]
pub struct MailboxRow {
    /// Its address.
    pub address: Mailbox,
    /// Its tenant.
    pub tenant: TenantName,
    /// Further login names.
    pub aliases: Vec<String>,
    /// The account that signs in for it, where that is another.
    pub sign_in_as: Option<Mailbox>,
    /// Whether it can be used.
    pub state: MailboxState,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Why not, and what to do.
    pub reason: Option<String>,
}

/// Whether a mailbox can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailboxState {
    /// The administrator has disabled it.
    Disabled,
    /// Something in the set-up has to be mended.
    NeedsAdministrator,
    /// Its owner has to sign in.
    NeedsSignIn,
    /// It can.
    Ready,
}

impl MailboxState {
    /// The word in tables and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::NeedsAdministrator => "needs-administrator",
            Self::NeedsSignIn => "needs-sign-in",
            Self::Ready => "ready",
        }
    }
}

/// What an app password is to be good for.
#[derive(Clone, Debug)]
pub struct IssueRequest {
    /// The mailbox that it opens.
    pub mailbox: Mailbox,
    /// What the administrator calls it.
    pub label: String,
    /// The protocols; empty means all.
    pub protocols: Vec<Protocol>,
    /// The networks; empty means any.
    pub networks: Vec<IpNet>,
    /// Its end.
    pub expires_at: Option<DateTime<Utc>>,
    /// 16 characters instead of 20 and their hyphens.
    pub short: bool,
    /// What becomes of messages submitted with it.
    pub delivery: DeliveryMode,
}

/// A new app password.
#[derive(Debug)]
pub struct Issued {
    /// The password. It exists here and nowhere else.
    pub password: Secret<String>,
    /// Everything else.
    pub row: PasswordRow,
}

/// An app password as an administrator sees it.
#[derive(Clone, Debug)]
pub struct PasswordRow {
    /// Its public ID.
    pub id: String,
    /// The mailbox that it opens.
    pub mailbox: Mailbox,
    /// What the administrator calls it.
    pub label: String,
    /// Whether it can be used.
    pub state: PasswordState,
    /// The protocols.
    pub protocols: Vec<Protocol>,
    /// The networks; empty means any.
    pub networks: Vec<IpNet>,
    /// What becomes of messages submitted with it.
    pub delivery: DeliveryMode,
    /// When it was issued.
    pub created_at: DateTime<Utc>,
    /// Its end.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Its last successful login.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// Whether an app password can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PasswordState {
    /// It can.
    Active,
    /// Its date has passed.
    Expired,
    /// It was revoked.
    Revoked,
}

impl PasswordState {
    /// The word in tables and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// What adding a mailbox did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is new on the list.
    New,
    /// It was there; new aliases were added.
    Already,
}

/// What removing a mailbox did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// App passwords that were revoked with it.
    pub revoked_passwords: u64,
}

/// What revoking did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokeOutcome {
    /// It already was.
    AlreadyRevoked,
    /// It is revoked now.
    Revoked,
}

impl Ops {
    /// Opens the store and the keys of this configuration, making both on first run.
    ///
    /// # Errors
    /// [`OpsError::Foundation`].
    pub async fn open(config: &Config) -> Result<Self, OpsError> {
        let foundation = Foundation::open(config).await?;
        Ok(Self { config: config.clone(), foundation, clock: Clock::system() })
    }

    /// The folder of the store.
    pub fn data_dir(&self) -> &Path {
        &self.config.data_dir
    }

    /// Puts a mailbox on the list; adding again adds new aliases.
    ///
    /// # Errors
    /// An unknown or unnamed tenant, an unfit alias, or one that is taken.
    pub async fn add_mailbox(
        &self,
        address: &Mailbox,
        tenant: Option<&str>,
        aliases: &[String],
        sign_in_as: Option<&Mailbox>,
    ) -> Result<Added, OpsError> {
        let known = self.foundation.store.mailboxes().await?.into_iter().find(|known| known.address == *address);
        let tenant = match (tenant, &known) {
            (None, Some(known)) => known.tenant.clone(),
            (named, _) => self.tenant(named)?,
        };
        if let Some(known) = &known
            && known.tenant != tenant
        {
            return Err(OpsError::OtherTenant { mailbox: address.clone(), tenant: known.tenant.clone() });
        }
        let mut fit = Vec::with_capacity(aliases.len());
        for alias in aliases {
            let why = if alias.is_empty() {
                "it is empty"
            } else if alias.len() > 254 {
                "it is longer than 254 octets"
            } else if alias.chars().any(|c| c.is_control() || c.is_whitespace()) {
                "it holds a space or a control character"
            } else {
                fit.push(alias.to_ascii_lowercase());
                continue;
            };
            return Err(OpsError::Alias { alias: alias.clone(), why });
        }
        self.foundation
            .store
            .add_mailbox(&MailboxRecord {
                address: address.clone(),
                tenant,
                aliases: fit,
                sign_in_as: sign_in_as.filter(|account| *account != address).cloned(),
                disabled_at: None,
                created_at: self.clock.now(),
            })
            .await?;
        Ok(if known.is_some() { Added::Already } else { Added::New })
    }

    fn tenant(&self, named: Option<&str>) -> Result<TenantName, OpsError> {
        let names = || self.config.tenants.iter().map(|tenant| tenant.name.as_str()).collect::<Vec<_>>().join(", ");
        match (named, self.config.tenants.as_slice()) {
            (_, []) => Err(OpsError::NoTenant),
            (Some(name), _) => match self.config.tenant(name) {
                Some(tenant) => Ok(tenant.name.clone()),
                None => Err(OpsError::TenantUnknown { tenant: name.to_owned(), tenants: names() }),
            },
            (None, [only]) => Ok(only.name.clone()),
            (None, _) => Err(OpsError::TenantAmbiguous { tenants: names() }),
        }
    }

    /// All mailboxes, by address.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn mailboxes(&self) -> Result<Vec<MailboxRow>, OpsError> {
        let sign_ins = self.foundation.store.sign_ins().await?;
        let refusals = self.foundation.store.refusals().await?;
        let records = self.foundation.store.mailboxes().await?;
        Ok(records.into_iter().map(|record| self.row(record, &sign_ins, &refusals)).collect())
    }

    /// One mailbox.
    ///
    /// # Errors
    /// [`OpsError::NotListed`].
    pub async fn mailbox(&self, address: &Mailbox) -> Result<MailboxRow, OpsError> {
        let found = self.mailboxes().await?.into_iter().find(|row| row.address == *address);
        found.ok_or_else(|| OpsError::NotListed { mailbox: address.clone() })
    }

    fn row(&self, record: MailboxRecord, sign_ins: &[SignInRecord], refusals: &[RefusalRecord]) -> MailboxRow {
        let (mut state, mut since, mut reason) = self.state(&record, sign_ins);
        if state == MailboxState::Ready
            && let Some(refusal) = refusals.iter().find(|refusal| refusal.mailbox == record.address)
        {
            (state, since) = (MailboxState::NeedsAdministrator, refusal.since);
            reason = Some(refusal.reason.clone());
        }
        MailboxRow {
            address: record.address,
            tenant: record.tenant,
            aliases: record.aliases,
            sign_in_as: record.sign_in_as,
            state,
            since,
            reason,
        }
    }

    fn state(
        &self,
        record: &MailboxRecord,
        sign_ins: &[SignInRecord],
    ) -> (MailboxState, DateTime<Utc>, Option<String>) {
        if let Some(at) = record.disabled_at {
            return (MailboxState::Disabled, at, Some("the administrator has disabled it".to_owned()));
        }
        let Some(tenant) = self.config.tenant(record.tenant.as_str()) else {
            let reason = format!("the configuration has no tenant `{}`", record.tenant);
            return (MailboxState::NeedsAdministrator, record.created_at, Some(reason));
        };
        let of = |account: Option<&Mailbox>| {
            sign_ins.iter().find(|row| row.tenant == record.tenant && row.account.as_ref() == account)
        };
        let mut since = record.created_at;
        if tenant.grants.any_delegated() {
            match of(Some(record.account())) {
                Some(row) if row.sealed.is_some() => match row.whose {
                    Whose::Nobody => since = row.since,
                    Whose::Administrator => {
                        return (MailboxState::NeedsAdministrator, row.since, row.reason.clone());
                    }
                    Whose::User => return (MailboxState::NeedsSignIn, row.since, row.reason.clone()),
                },
                other => {
                    let since = other.map_or(record.created_at, |row| row.since);
                    let reason = format!("nobody has signed in for {}", record.account());
                    return (MailboxState::NeedsSignIn, since, Some(reason));
                }
            }
        }
        match of(None) {
            Some(row) if row.whose != Whose::Nobody => {
                (MailboxState::NeedsAdministrator, row.since, row.reason.clone())
            }
            _ => (MailboxState::Ready, since, None),
        }
    }

    /// Keeps a mailbox on the list but lets nobody use it; open sessions end within seconds.
    ///
    /// # Errors
    /// [`OpsError::NotListed`].
    pub async fn disable_mailbox(&self, address: &Mailbox) -> Result<(), OpsError> {
        self.switch(address, Some(self.clock.now())).await
    }

    /// Lets a disabled mailbox be used again.
    ///
    /// # Errors
    /// [`OpsError::NotListed`].
    pub async fn enable_mailbox(&self, address: &Mailbox) -> Result<(), OpsError> {
        self.switch(address, None).await
    }

    async fn switch(&self, address: &Mailbox, at: Option<DateTime<Utc>>) -> Result<(), OpsError> {
        match self.foundation.store.disable_mailbox(address, at).await? {
            true => Ok(()),
            false => Err(OpsError::NotListed { mailbox: address.clone() }),
        }
    }

    /// Takes a mailbox off the list, revokes its app passwords and destroys its sign-in.
    ///
    /// # Errors
    /// [`OpsError::NotListed`].
    pub async fn remove_mailbox(&self, address: &Mailbox) -> Result<Removed, OpsError> {
        match self.foundation.store.remove_mailbox(address, self.clock.now()).await? {
            Some(revoked_passwords) => Ok(Removed { revoked_passwords }),
            None => Err(OpsError::NotListed { mailbox: address.clone() }),
        }
    }

    /// Signs a mailbox in with a refresh token that was had elsewhere. It is tried before it is kept.
    ///
    /// # Errors
    /// [`OpsError::NotListed`], [`OpsError::NoSignIn`], and the broker's when the token does not work.
    pub async fn connect_with_refresh_token(
        &self,
        address: &Mailbox,
        refresh_token: Secret<String>,
    ) -> Result<(), OpsError> {
        let row = self.with_sign_in(address).await?;
        let trust = foundation::trust(&self.config)?;
        let broker = Broker::new(
            foundation::broker_tenants(&self.config, &trust),
            Arc::clone(&self.foundation.store),
            Arc::clone(&self.foundation.vault),
            self.clock.clone(),
        )?;
        let account = row.sign_in_as.as_ref().unwrap_or(address);
        Ok(broker.connect(&row.tenant, account, refresh_token).await?)
    }

    /// Destroys the sign-in of a mailbox. False: there was none.
    ///
    /// # Errors
    /// [`OpsError::NotListed`], [`OpsError::NoSignIn`].
    pub async fn disconnect(&self, address: &Mailbox) -> Result<bool, OpsError> {
        let row = self.with_sign_in(address).await?;
        let account = row.sign_in_as.as_ref().unwrap_or(address);
        Ok(self.foundation.store.forget_sign_in(&row.tenant, Some(account)).await?)
    }

    async fn with_sign_in(&self, address: &Mailbox) -> Result<MailboxRow, OpsError> {
        let row = self.mailbox(address).await?;
        match self.config.tenant(row.tenant.as_str()) {
            Some(tenant) if tenant.grants.any_delegated() => Ok(row),
            Some(_) => Err(OpsError::NoSignIn { mailbox: address.clone(), tenant: row.tenant }),
            None => Err(self.tenant(Some(row.tenant.as_str())).err().unwrap_or(OpsError::NoTenant)),
        }
    }

    /// Issues an app password. What is returned is the only time that it can be read.
    ///
    /// # Errors
    /// [`OpsError::NotListed`], an unfit label, an end in the past.
    pub async fn issue_password(&self, request: IssueRequest) -> Result<Issued, OpsError> {
        let label = request.label.trim().to_owned();
        if label.is_empty() {
            return Err(OpsError::Label { why: "is empty" });
        }
        if label.chars().any(char::is_control) || label.chars().count() > 200 {
            return Err(OpsError::Label { why: "holds control characters or is longer than 200 characters" });
        }
        let now = self.clock.now();
        if let Some(at) = request.expires_at.filter(|at| *at <= now) {
            return Err(OpsError::EndInThePast { at });
        }
        self.mailbox(&request.mailbox).await?;
        let password = app_password::generate(request.short).map_err(|_| OpsError::NoRandomness)?;
        let record = AppPasswordRecord {
            id: app_password::generate_id().map_err(|_| OpsError::NoRandomness)?,
            mailbox: request.mailbox,
            label,
            verifier: self.foundation.pepper.verifier(password.expose().as_bytes()),
            protocols: if request.protocols.is_empty() { Protocol::ALL.to_vec() } else { request.protocols },
            networks: request.networks,
            delivery: request.delivery,
            created_at: now,
            expires_at: request.expires_at,
            revoked_at: None,
            last_used_at: None,
        };
        self.foundation.store.add_app_password(&record).await?;
        Ok(Issued { password, row: self.password_row(record) })
    }

    fn password_row(&self, record: AppPasswordRecord) -> PasswordRow {
        let state = if record.revoked_at.is_some() {
            PasswordState::Revoked
        } else if record.expires_at.is_some_and(|end| end <= self.clock.now()) {
            PasswordState::Expired
        } else {
            PasswordState::Active
        };
        PasswordRow {
            id: record.id,
            mailbox: record.mailbox,
            label: record.label,
            state,
            protocols: record.protocols,
            networks: record.networks,
            delivery: record.delivery,
            created_at: record.created_at,
            expires_at: record.expires_at,
            revoked_at: record.revoked_at,
            last_used_at: record.last_used_at,
        }
    }

    /// All app passwords, by time of issue.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn passwords(&self) -> Result<Vec<PasswordRow>, OpsError> {
        let records = self.foundation.store.app_passwords().await?;
        Ok(records.into_iter().map(|record| self.password_row(record)).collect())
    }

    /// One app password.
    ///
    /// # Errors
    /// [`OpsError::PasswordUnknown`].
    pub async fn password(&self, id: &str) -> Result<PasswordRow, OpsError> {
        let found = self.passwords().await?.into_iter().find(|row| row.id == id);
        found.ok_or_else(|| OpsError::PasswordUnknown { id: id.to_owned() })
    }

    /// Revokes an app password: refused at its next login, its open sessions closed within seconds.
    ///
    /// # Errors
    /// [`OpsError::PasswordUnknown`].
    pub async fn revoke_password(&self, id: &str) -> Result<RevokeOutcome, OpsError> {
        self.password(id).await?;
        match self.foundation.store.revoke_app_password(id, self.clock.now()).await? {
            true => Ok(RevokeOutcome::Revoked),
            false => Ok(RevokeOutcome::AlreadyRevoked),
        }
    }
}
