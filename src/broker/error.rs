//! Why no access token could be had: whose move it is, and what to do.

use crate::base::{Answer, Fault, Mailbox, Reference, Whose};
use crate::broker::vault::VaultError;
use crate::store::StoreError;

/// No access token could be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The client secret cannot be read.
    #[error("the client secret of the tenant `{tenant}` cannot be read from {place}: {reason}")]
    Credential {
        /// The tenant.
        tenant: String,
        /// File, variable or credential.
        place: String,
        /// Why not.
        reason: String,
    },
    /// The token service answered something else than OAuth 2.0 prescribes, or is overloaded.
    #[error("the token service of the tenant `{tenant}` is out of order: {reason}")]
    OutOfOrder {
        /// The tenant.
        tenant: String,
        /// What it said.
        reason: String,
    },
    /// The mailbox belongs to a tenant that the configuration does not have.
    #[error("the configuration has no tenant `{tenant}`")]
    NoTenant {
        /// The tenant.
        tenant: String,
    },
    /// Nobody has signed in for this account.
    #[error("nobody has signed in for {account}")]
    NotSignedIn {
        /// The account.
        account: Mailbox,
    },
    /// The token service said no.
    #[error("the token service of the tenant `{tenant}` said no: {said}")]
    Refused {
        /// The tenant.
        tenant: String,
        /// Number, OAuth error and first sentence.
        said: String,
        /// Whose move it is.
        whose: Whose,
        /// What to do.
        remedy: String,
    },
    /// What the token service gave cannot stand in a SASL string.
    #[error("the token service of the tenant `{tenant}` gave a token of the wrong form")]
    Malformed {
        /// The tenant.
        tenant: String,
    },
    /// The token service did not answer.
    #[error("the token service of the tenant `{tenant}` cannot be reached: {reason}")]
    Unreachable {
        /// The tenant.
        tenant: String,
        /// What the network said.
        reason: String,
    },
    /// A sealed token cannot be opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The store cannot be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Fault for BrokerError {
    fn code(&self) -> &'static str {
        match self {
            Self::Credential { .. } => "client-secret-unreadable",
            Self::OutOfOrder { .. } => "token-service-out-of-order",
            Self::NoTenant { .. } => "tenant-unknown",
            Self::NotSignedIn { .. } => "not-signed-in",
            Self::Refused { .. } => "token-refused",
            Self::Malformed { .. } => "token-malformed",
            Self::Unreachable { .. } => "token-service-unreachable",
            Self::Vault(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }

    fn whose(&self) -> Whose {
        match self {
            Self::OutOfOrder { .. } | Self::Malformed { .. } | Self::Unreachable { .. } => Whose::Nobody,
            Self::Credential { .. } | Self::NoTenant { .. } => Whose::Administrator,
            Self::NotSignedIn { .. } => Whose::User,
            Self::Refused { whose, .. } => *whose,
            Self::Vault(error) => error.whose(),
            Self::Store(error) => error.whose(),
        }
    }

    fn remedy(&self) -> Option<String> {
        match self {
            Self::Credential { .. } => Some(
                "Look at the path and mode of the secret; the account that runs Postern must be able to read it."
                    .to_owned(),
            ),
            Self::OutOfOrder { .. } | Self::Malformed { .. } => None,
            Self::NoTenant { tenant } => {
                Some(format!("Put the [[tenant]] named `{tenant}` back, or move the mailbox to another tenant."))
            }
            Self::NotSignedIn { account } => {
                Some(format!("Sign in: `postern mailbox connect {account} --refresh-token-file FILE`."))
            }
            Self::Refused { remedy, .. } => Some(remedy.clone()),
            Self::Unreachable { .. } => {
                Some("Check this machine's way to the internet: name resolution, firewall, clock.".to_owned())
            }
            Self::Vault(error) => error.remedy(),
            Self::Store(error) => error.remedy(),
        }
    }

    fn answer(&self, reference: Reference) -> Answer {
        match self {
            Self::Store(error) => error.answer(reference),
            _ if self.whose() == Whose::Nobody => Answer::TryLater(reference),
            _ => Answer::MustAct(reference),
        }
    }
}
