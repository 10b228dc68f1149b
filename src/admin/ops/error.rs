//! Why an administrative act could not be done, and what to do about it.

use std::path::PathBuf;

use chrono::{DateTime, Utc};

use crate::admin::ops::Strength;
use crate::base::{Fault, Mailbox, TenantName, Whose};
use crate::broker::BrokerError;
use crate::delivery::spool::SpoolError;
use crate::foundation::FoundationError;
use crate::store::StoreError;

/// An administrative act could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpsError {
    /// An alias is not fit to be a login name.
    #[error("`{alias}` cannot be a login name: {why}")]
    Alias {
        /// The alias.
        alias: String,
        /// Why not.
        why: &'static str,
    },
    /// The mailbox has no such alias.
    #[error("`{alias}` is no alias of the mailbox {mailbox}")]
    AliasUnknown {
        /// What was named.
        alias: String,
        /// The mailbox.
        mailbox: Mailbox,
        /// The aliases that it has.
        aliases: Vec<String>,
    },
    /// The token service or the sign-in.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// An app password for reading only that is to send.
    #[error("an app password for reading only cannot be for SMTP alone")]
    ReadOnlySender,
    /// The end of an app password lies in front of its beginning.
    #[error("the end {end} is not after the beginning {start}", end = end.to_rfc3339(), start = start.to_rfc3339())]
    EndBeforeStart {
        /// The beginning.
        start: DateTime<Utc>,
        /// The end.
        end: DateTime<Utc>,
    },
    /// The end of an app password lies in the past.
    #[error("the end {end} has already passed", end = at.to_rfc3339())]
    EndInThePast {
        /// The end.
        at: DateTime<Utc>,
    },
    /// Something can only be done while nobody serves the data folder.
    #[error("process {process} serves this data folder, and would go on with what is to end")]
    Serving {
        /// Its number.
        process: u32,
    },
    /// The store, the keys or the trust anchors.
    #[error(transparent)]
    Foundation(#[from] FoundationError),
    /// A label is empty or holds control characters.
    #[error("the label {why}")]
    Label {
        /// What is wrong with it.
        why: &'static str,
    },
    /// The system has no randomness to give.
    #[error("the system has no randomness to give")]
    NoRandomness,
    /// The tenant has no sign-ins: the application itself signs in.
    #[error(
        "no sign-in exists for {mailbox}: in the tenant `{tenant}` the application itself signs in (client_credentials)"
    )]
    NoSignIn {
        /// The mailbox.
        mailbox: Mailbox,
        /// Its tenant.
        tenant: TenantName,
    },
    /// The data folder holds no store. What can only act on something that is there makes none: the folder may be a wrong one.
    #[error(
        "there is no store in `{}` yet: neither `postern serve` nor `postern mailbox add` has run with this data folder",
        data_dir.display()
    )]
    NoStore {
        /// The data folder.
        data_dir: PathBuf,
        /// The mailbox that something was to be done with.
        mailbox: Option<Mailbox>,
    },
    /// The process that serves has no console.
    #[error("there is no console: the configuration that is served has no [console]")]
    NoConsole,
    /// Nobody serves the data folder.
    #[error("Postern is not running, so that there is no console to sign in to")]
    NotServed,
    /// There is no tenant at all.
    #[error("the configuration has no tenant yet")]
    NoTenant,
    /// The mailbox is not on the list.
    #[error("the mailbox {mailbox} is not on the list")]
    NotListed {
        /// The mailbox.
        mailbox: Mailbox,
        /// Those on the list that may have been meant, the likeliest first.
        near: Vec<Mailbox>,
    },
    /// A message that waits is held.
    #[error("the message {id} is held")]
    QueueHeld {
        /// Its ID.
        id: String,
    },
    /// No message waits under this ID.
    #[error("no message waits under the ID `{id}`")]
    QueueUnknown {
        /// What was named.
        id: String,
    },
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The mailbox is on the list for another tenant.
    #[error("the mailbox {mailbox} is on the list for the tenant `{tenant}`")]
    OtherTenant {
        /// The mailbox.
        mailbox: Mailbox,
        /// The tenant it is on the list for.
        tenant: TenantName,
    },
    /// There is no app password with this ID.
    #[error("there is no app password with the ID `{id}`")]
    PasswordUnknown {
        /// The ID.
        id: String,
    },
    /// The app password is revoked or has ended, so that none can take its place.
    #[error("the app password `{id}` is revoked or has ended")]
    PasswordOver {
        /// The ID.
        id: String,
        /// Whose it was.
        mailbox: Mailbox,
        /// What it was called.
        label: String,
    },
    /// Another one has its place already.
    #[error("the app password `{id}` is being replaced by `{by}` already")]
    PasswordReplaced {
        /// The ID.
        id: String,
        /// The one in its place.
        by: String,
    },
    /// No login can carry this secret.
    #[error("the secret {why}")]
    SecretUnfit {
        /// What is wrong with it.
        why: &'static str,
    },
    /// The secret is too easily guessed.
    #[error("the secret is weak: {}", strength.words())]
    SecretWeak {
        /// How strong it is.
        strength: Strength,
    },
    /// The secret is an app password of this mailbox already, or one that Postern has made.
    #[error("the secret is the app password `{id}` already")]
    SecretKnown {
        /// Its ID.
        id: String,
    },
    /// The mailbox has as many secrets of devices as it may.
    #[error("{mailbox} has {most} secrets of devices already, the most that are looked through at a login")]
    TooManyAdopted {
        /// The mailbox.
        mailbox: Mailbox,
        /// How many it may have.
        most: usize,
    },
    /// There are several tenants, and none was named.
    #[error("there are several tenants: {tenants}")]
    TenantAmbiguous {
        /// Their names.
        tenants: String,
    },
    /// There is no tenant of this name.
    #[error("the configuration has no tenant `{tenant}`")]
    TenantUnknown {
        /// The name.
        tenant: String,
        /// The names that there are.
        tenants: String,
    },
}

impl From<StoreError> for OpsError {
    fn from(error: StoreError) -> Self {
        Self::Foundation(error.into())
    }
}

impl Fault for OpsError {
    fn code(&self) -> &'static str {
        match self {
            Self::Alias { .. } => "alias-unfit",
            Self::AliasUnknown { .. } => "alias-unknown",
            Self::Broker(error) => error.code(),
            Self::EndInThePast { .. } => "end-in-the-past",
            Self::EndBeforeStart { .. } => "end-before-start",
            Self::ReadOnlySender => "read-only-sender",
            Self::Foundation(error) => error.code(),
            Self::Serving { .. } => "still-serving",
            Self::Label { .. } => "label-unfit",
            Self::NoRandomness => "no-randomness",
            Self::NoSignIn { .. } => "no-sign-in",
            Self::NoStore { .. } => "no-store",
            Self::NoConsole => "no-console",
            Self::NotServed => "not-running",
            Self::NoTenant => "no-tenant",
            Self::NotListed { .. } => "mailbox-not-listed",
            Self::QueueHeld { .. } => "queue-message-held",
            Self::QueueUnknown { .. } => "queue-message-unknown",
            Self::Spool(error) => error.code(),
            Self::OtherTenant { .. } => "mailbox-of-another-tenant",
            Self::PasswordOver { .. } => "password-over",
            Self::PasswordReplaced { .. } => "password-replaced",
            Self::PasswordUnknown { .. } => "password-unknown",
            Self::SecretUnfit { .. } => "secret-unfit",
            Self::SecretWeak { .. } => "secret-weak",
            Self::SecretKnown { .. } => "secret-known",
            Self::TooManyAdopted { .. } => "too-many-adopted",
            Self::TenantAmbiguous { .. } => "tenant-ambiguous",
            Self::TenantUnknown { .. } => "tenant-unknown",
        }
    }

    fn whose(&self) -> Whose {
        match self {
            Self::Broker(error) => error.whose(),
            _ => Whose::Administrator,
        }
    }

    fn remedy(&self) -> Option<String> {
        match self {
            Self::Alias { .. } => Some("Use a name without spaces and control characters.".to_owned()),
            Self::AliasUnknown { mailbox, aliases, .. } if aliases.is_empty() => {
                Some(format!("{mailbox} has no alias."))
            }
            Self::AliasUnknown { aliases, .. } => Some(format!("Its aliases are: {}.", aliases.join(", "))),
            Self::Broker(error) => error.remedy(),
            Self::ReadOnlySender => {
                Some("Leave `--protocol smtp` out, or issue one for sending and one for reading.".to_owned())
            }
            Self::EndBeforeStart { .. } => Some("Give a later end (`--expires`), or an earlier beginning.".to_owned()),
            Self::EndInThePast { .. } => Some("Give a later date, or a span such as 90d.".to_owned()),
            Self::Foundation(error) => error.remedy(),
            Self::Serving { .. } => {
                Some("Stop Postern (`sudo systemctl stop postern`), do this, and start it again.".to_owned())
            }
            Self::Label { .. } => Some("Say in a few words which program or device uses it.".to_owned()),
            Self::QueueHeld { id } => Some(format!("Let it go with `postern queue release {id}`.")),
            Self::QueueUnknown { id } => Some(format!(
                "`postern queue list` shows what waits, and `postern queue journal --with {id}` what became of what does not."
            )),
            Self::Spool(error) => error.remedy(),
            Self::NoRandomness => Some("Look at the system's random number generator.".to_owned()),
            Self::NoSignIn { mailbox, .. } => Some(format!("Nothing has to be done: {mailbox} can be used as it is.")),
            Self::NoConsole => Some(
                "Put `[console]` with `address = \"127.0.0.1:8587\"` into the configuration, and start Postern anew."
                    .to_owned(),
            ),
            Self::NotServed => Some("Start it with `postern serve`.".to_owned()),
            Self::NoTenant => {
                Some("Add one with `postern setup`, or by hand; config/minimal.toml shows one.".to_owned())
            }
            Self::NoStore { mailbox, .. } => {
                let address = mailbox.as_ref().map_or("ADDRESS", Mailbox::as_str);
                Some(format!(
                    "If that is so, begin with `postern serve` or `postern mailbox add {address}`; if not, correct `data_dir` in the \
                     configuration."
                ))
            }
            Self::NotListed { mailbox, near } => {
                let add = format!("dd it with `postern mailbox add {mailbox}`.");
                let near: Vec<&str> = near.iter().map(Mailbox::as_str).collect();
                Some(if near.is_empty() {
                    format!("A{add}")
                } else {
                    format!("Did you mean {}? If not, a{add}", near.join(" or "))
                })
            }
            Self::OtherTenant { mailbox, .. } => {
                Some(format!("Take it off first with `postern mailbox remove {mailbox}`."))
            }
            Self::PasswordOver { mailbox, label, .. } => Some(format!(
                "Issue a new one: `postern password issue {mailbox} --label '{}'`.",
                label.replace('\'', " ")
            )),
            Self::PasswordReplaced { by, .. } => Some(format!(
                "Rotate that one instead: `postern password rotate {by}`; or, if nobody has it, `postern password revoke {by}` first."
            )),
            Self::PasswordUnknown { .. } => Some("`postern password list` shows the IDs.".to_owned()),
            Self::SecretUnfit { .. } => {
                Some("Give it as it is entered in the device: one line, and nothing else.".to_owned())
            }
            Self::SecretWeak { strength } => Some(format!(
                "{}Issue one instead (`postern password issue`) and enter that in the device; or, if nobody can get at the device, bind this one to \
                 where it stands: `--force-weak --network CIDR`.",
                strength.why.as_deref().map(|why| format!("{} ", why.trim())).unwrap_or_default()
            )),
            Self::SecretKnown { id } => Some(format!("`postern password show {id}` tells what it is good for.")),
            Self::TooManyAdopted { mailbox, .. } => Some(format!(
                "Revoke those of devices that are gone (`postern password list --mailbox {mailbox}`), give devices the same secret, or issue one."
            )),
            Self::TenantAmbiguous { .. } => Some("Name one with --tenant.".to_owned()),
            Self::TenantUnknown { tenants, .. } => Some(format!("The tenants are: {tenants}.")),
        }
    }
}
