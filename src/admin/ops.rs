//! Every administrative act, once. The command line and the console call these; they work whether or not `serve` runs.

mod audit;
mod bans;
mod console;
mod doctor;
mod error;
mod explain;
mod greeting;
mod key;
mod keys;
mod near;
mod passwords;
mod queue;
mod rows;
pub mod setup;
mod sign_in;
mod status;
mod strength;

use std::path::Path;

use chrono::{DateTime, Utc};

use crate::base::{Clock, Fault, Mailbox, TenantName, Whose};
use crate::config::Config;
use crate::foundation::Foundation;
use crate::store::{DeliveryMode, Halt, MailboxRecord, SignInRecord, SqliteStore, TroubleRecord};

pub use self::console::{ConsoleLink, digest_of, random_text};
pub use self::doctor::{Check, Event as StepEvent, Examination, Step, StepState, examine};
pub use self::error::OpsError;
pub use self::explain::{ExplainError, Explained, explain, explain_reference};
pub use self::key::{KeyChange, KeyStatus, Keys};
pub use self::keys::{KeyFindings, check_keys};
use self::rows::Undo;
pub use self::rows::{
    Added, Adopted, IssueRequest, Issued, MailboxRow, MailboxState, PasswordRow, PasswordState, Removed, RevokeOutcome,
    Rotate, Rotated,
};
pub use self::sign_in::SignInDesk;
pub use self::status::{ListenerStatus, NotWell, Status};
pub use self::strength::Strength;

/// The administrative acts on one configuration and its store.
pub struct Ops {
    config: Config,
    foundation: Foundation,
    clock: Clock,
}

/// Whether a mailbox can be used, since when, why not, and what to do.
struct Standing {
    state: MailboxState,
    since: DateTime<Utc>,
    reason: Option<String>,
    remedy: Option<String>,
}

/// What lets a mailbox of this tenant go on that is halted.
pub(in crate::admin::ops) fn go_on(tenant: &TenantName) -> String {
    format!(
        "Let it go on: `postern resume`, where everything was halted, or `postern resume --tenant {tenant}` (`postern status` says which)."
    )
}

impl Standing {
    /// That of a sign-in which does not work.
    fn of(state: MailboxState, sign_in: &SignInRecord) -> Self {
        let noted = &sign_in.state;
        Self { state, since: noted.since, reason: noted.reason.clone(), remedy: noted.remedy.clone() }
    }
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

    /// On what is open already, as in the process that serves.
    pub fn on(config: &Config, foundation: Foundation) -> Self {
        Self { config: config.clone(), foundation, clock: Clock::system() }
    }

    /// Opens the store and the keys that are there, for what can only act on something in them, such as `mailbox`. A store
    /// that was made in passing would hide that `data_dir` leads to a wrong folder.
    ///
    /// # Errors
    /// [`OpsError::NoStore`], [`OpsError::Foundation`].
    pub async fn open_existing(config: &Config, mailbox: Option<&Mailbox>) -> Result<Self, OpsError> {
        require_store(config, mailbox)?;
        Self::open(config).await
    }

    /// Notes in the audit trail what was done. That this fails is told, and undoes nothing.
    async fn noted(&self, act: &str, mailbox: Option<&Mailbox>, password_id: Option<&str>, more: serde_json::Value) {
        let mut details = serde_json::json!({ "act": act, "by": audit::actor() });
        if let (Some(details), Some(more)) = (details.as_object_mut(), more.as_object()) {
            details.extend(more.clone());
        }
        if let Err(error) = self.foundation.audit.act(mailbox, password_id, details).await {
            tracing::error!(
                code = error.code(),
                remedy = error.remedy(),
                "what was done ({act}) is missing in the audit trail, which cannot be written: {error}"
            );
        }
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
                halted_at: None,
                created_at: self.clock.now(),
            })
            .await?;
        let more = serde_json::json!({ "aliases": aliases, "sign_in_as": sign_in_as.map(ToString::to_string) });
        let has_changed = !aliases.is_empty() || sign_in_as.is_some();
        match &known {
            None => self.noted("mailbox added", Some(address), None, more).await,
            Some(_) if has_changed => self.noted("mailbox changed", Some(address), None, more).await,
            Some(_) => {}
        }
        Ok(if known.is_some() { Added::Already } else { Added::New })
    }

    /// Takes aliases from a mailbox: from the next login on they are no login names of it any more.
    ///
    /// # Errors
    /// [`OpsError::NotListed`], [`OpsError::AliasUnknown`]; then none is taken.
    pub async fn remove_aliases(&self, address: &Mailbox, aliases: &[String]) -> Result<(), OpsError> {
        let row = self.mailbox(address).await?;
        let named: Vec<String> = aliases.iter().map(|alias| alias.to_ascii_lowercase()).collect();
        if let Some(alias) = named.iter().find(|alias| !row.aliases.contains(alias)) {
            return Err(OpsError::AliasUnknown { alias: alias.clone(), mailbox: row.address, aliases: row.aliases });
        }
        for alias in &named {
            // That somebody else has taken it meanwhile is as well.
            self.foundation.store.remove_alias(address, alias).await?;
        }
        self.noted("alias removed", Some(address), None, serde_json::json!({ "aliases": named })).await;
        Ok(())
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
        let troubles = self.foundation.store.troubles().await?;
        let records = self.foundation.store.mailboxes().await?;
        Ok(records.into_iter().map(|record| self.row(record, &sign_ins, &troubles)).collect())
    }

    /// One mailbox.
    ///
    /// # Errors
    /// [`OpsError::NotListed`].
    pub async fn mailbox(&self, address: &Mailbox) -> Result<MailboxRow, OpsError> {
        match self.mailboxes().await?.into_iter().find(|row| row.address == *address) {
            Some(row) => Ok(row),
            None => Err(self.not_listed(address).await),
        }
    }

    /// That a mailbox is not on the list, with those that may have been meant.
    async fn not_listed(&self, address: &Mailbox) -> OpsError {
        match self.foundation.store.mailboxes().await {
            Ok(listed) => OpsError::NotListed { mailbox: address.clone(), near: near::nearest(address, &listed) },
            Err(error) => error.into(),
        }
    }

    fn row(&self, record: MailboxRecord, sign_ins: &[SignInRecord], troubles: &[TroubleRecord]) -> MailboxRow {
        let mut standing = self.standing(&record, sign_ins);
        if standing.state == MailboxState::Ready
            && let Some(trouble) = lasting(&record, troubles, standing.since, self.clock.now())
        {
            // What should pass by itself and does not is still nobody's move, but the administrator should know.
            if trouble.whose != Whose::Nobody || trouble.code == "authenticated-but-not-connected" {
                standing.state = MailboxState::NeedsAdministrator;
            }
            standing.since = trouble.since;
            standing.reason = Some(format!("{}: {}", trouble.protocol, trouble.reason));
            standing.remedy = trouble.remedy.clone();
        }
        let Standing { state, since, reason, remedy } = standing;
        MailboxRow {
            address: record.address,
            tenant: record.tenant,
            aliases: record.aliases,
            sign_in_as: record.sign_in_as,
            is_halted: record.disabled_at.is_none() && record.halted_at.is_some(),
            state,
            since,
            reason,
            remedy,
        }
    }

    fn standing(&self, record: &MailboxRecord, sign_ins: &[SignInRecord]) -> Standing {
        let address = &record.address;
        if let Some(since) = record.disabled_at {
            return Standing {
                state: MailboxState::Disabled,
                since,
                reason: Some("the administrator has disabled it".to_owned()),
                remedy: Some(format!("Let it be used again: `postern mailbox enable {address}`.")),
            };
        }
        if let Some(since) = record.halted_at {
            return Standing {
                state: MailboxState::Disabled,
                since,
                reason: Some("the administrator has halted its tenant, or everything".to_owned()),
                remedy: Some(go_on(&record.tenant)),
            };
        }
        let Some(tenant) = self.config.tenant(record.tenant.as_str()) else {
            return Standing {
                state: MailboxState::NeedsAdministrator,
                since: record.created_at,
                reason: Some(format!("the configuration has no tenant `{}`", record.tenant)),
                remedy: Some(format!(
                    "Put its [[tenant]] back, or take the mailbox off the list: `postern mailbox remove {address}`."
                )),
            };
        };
        let of = |account: Option<&Mailbox>| {
            sign_ins.iter().find(|row| row.tenant == record.tenant && row.account.as_ref() == account)
        };
        let mut since = record.created_at;
        if tenant.grants.any_delegated() {
            match of(Some(record.account())) {
                Some(row) if row.sealed.is_some() => match row.state.whose {
                    Whose::Nobody => since = row.state.since,
                    Whose::Administrator => return Standing::of(MailboxState::NeedsAdministrator, row),
                    Whose::User => return Standing::of(MailboxState::NeedsSignIn, row),
                },
                other => {
                    return Standing {
                        state: MailboxState::NeedsSignIn,
                        since: other.map_or(record.created_at, |row| row.state.since),
                        reason: Some(format!("nobody has signed in for {}", record.account())),
                        remedy: Some(format!("Sign in: `postern mailbox connect {address}`.")),
                    };
                }
            }
        }
        match of(None) {
            Some(row) if row.state.whose != Whose::Nobody => Standing::of(MailboxState::NeedsAdministrator, row),
            _ => Standing { state: MailboxState::Ready, since, reason: None, remedy: None },
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

    /// Stops a tenant, or everything, for now: logins are refused, open sessions end, and mail waits. Returns since when, where it was stopped
    /// already for the same reason; another reason takes the place of the first.
    ///
    /// # Errors
    /// An unknown tenant.
    pub async fn halt(&self, tenant: Option<&str>, reason: Option<String>) -> Result<Option<DateTime<Utc>>, OpsError> {
        let tenant = tenant.map(|name| self.tenant(Some(name))).transpose()?;
        let before = self.foundation.store.halts().await?.into_iter().find(|halt| halt.tenant == tenant);
        if let Some(before) = before.filter(|before| reason.is_none() || before.reason == reason) {
            return Ok(Some(before.at));
        }
        let more = serde_json::json!({ "tenant": tenant.as_ref().map(ToString::to_string), "reason": reason });
        self.foundation.store.halt(&Halt { tenant, at: self.clock.now(), reason }).await?;
        self.noted("halted", None, None, more).await;
        Ok(None)
    }

    /// Lets it go on. False: it was not stopped.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn resume(&self, tenant: Option<&str>) -> Result<bool, OpsError> {
        let tenant = tenant.map(TenantName::new);
        let resumed = self.foundation.store.resume(tenant.as_ref()).await?;
        if resumed {
            let more = serde_json::json!({ "tenant": tenant.as_ref().map(ToString::to_string) });
            self.noted("resumed", None, None, more).await;
        }
        Ok(resumed)
    }

    /// What is stopped.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn halts(&self) -> Result<Vec<Halt>, OpsError> {
        Ok(self.foundation.store.halts().await?)
    }

    async fn switch(&self, address: &Mailbox, at: Option<DateTime<Utc>>) -> Result<(), OpsError> {
        match self.foundation.store.disable_mailbox(address, at).await? {
            true => {
                let act = if at.is_some() { "mailbox disabled" } else { "mailbox enabled" };
                self.noted(act, Some(address), None, serde_json::json!({})).await;
                Ok(())
            }
            false => Err(self.not_listed(address).await),
        }
    }

    /// Takes a mailbox off the list, revokes its app passwords and destroys its sign-in.
    ///
    /// # Errors
    /// [`OpsError::NotListed`].
    pub async fn remove_mailbox(&self, address: &Mailbox) -> Result<Removed, OpsError> {
        match self.foundation.store.remove_mailbox(address, self.clock.now()).await? {
            Some(revoked_passwords) => {
                let more = serde_json::json!({ "revoked_passwords": revoked_passwords });
                self.noted("mailbox removed", Some(address), None, more).await;
                let held_messages = self.hold_queued_of(address).await?;
                Ok(Removed { revoked_passwords, held_messages })
            }
            None => Err(self.not_listed(address).await),
        }
    }
}

/// The trouble of a mailbox that somebody has to mend, else the one that has lasted too long to pass by itself. What its owner had to
/// mend is mended if the sign-in stands since a later time, `since`: the next login tells otherwise.
fn lasting<'t>(
    record: &MailboxRecord,
    troubles: &'t [TroubleRecord],
    since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Option<&'t TroubleRecord> {
    /// Restarts and throttling of Exchange pass within minutes.
    const PASSES_WITHIN: chrono::Duration = chrono::Duration::minutes(5);

    let of_it = || troubles.iter().filter(|trouble| trouble.mailbox == record.address);
    of_it()
        .find(|trouble| match trouble.whose {
            Whose::Nobody => false,
            Whose::Administrator => true,
            Whose::User => trouble.last_at >= since,
        })
        .or_else(|| {
            // What nobody has tried for an hour may have passed long ago.
            of_it().find(|trouble| {
                trouble.whose == Whose::Nobody
                    && trouble.last_at - trouble.since >= PASSES_WITHIN
                    && now - trouble.last_at <= chrono::Duration::hours(1)
            })
        })
}

/// The mode of a new app password, by what the configuration or an option says.
pub fn delivery_mode(mode: crate::config::DeliveryMode) -> DeliveryMode {
    match mode {
        crate::config::DeliveryMode::Assured => DeliveryMode::Assured,
        crate::config::DeliveryMode::Direct => DeliveryMode::Direct,
    }
}

/// Whether the data folder surely holds no store. One that may not be looked into is told about when it is opened.
fn has_no_store(config: &Config) -> bool {
    matches!(config.data_dir.join(SqliteStore::FILE).try_exists(), Ok(false))
}

/// Refuses where the data folder holds no store; `mailbox` is the one that something was to be done with.
///
/// # Errors
/// [`OpsError::NoStore`].
pub fn require_store(config: &Config, mailbox: Option<&Mailbox>) -> Result<(), OpsError> {
    if has_no_store(config) {
        return Err(OpsError::NoStore { data_dir: config.data_dir.clone(), mailbox: mailbox.cloned() });
    }
    Ok(())
}
