//! Why no access token could be had: whose move it is, and what to do.

use crate::base::{Answer, ClientCertificateError, Fault, Mailbox, Reference, Whose};
use crate::broker::vault::VaultError;
use crate::store::StoreError;

/// No access token could be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The certificate of the application cannot be used.
    #[error("the certificate of the tenant `{tenant}` (`{file}`) cannot be used: {error}")]
    Certificate {
        /// The tenant.
        tenant: String,
        /// The file.
        file: String,
        /// What is wrong with it.
        error: ClientCertificateError,
    },
    /// What the application proves itself with cannot be read.
    #[error("the {what} of the tenant `{tenant}` cannot be read from {place}: {reason}")]
    Credential {
        /// The tenant.
        tenant: String,
        /// Secret, certificate, key, passphrase or token.
        what: &'static str,
        /// File, variable or credential.
        place: String,
        /// Why not.
        reason: String,
    },
    /// The sign-in was broken off, or took too long.
    #[error("the sign-in of {account} came to nothing: {reason}")]
    NotFinished {
        /// The account.
        account: Mailbox,
        /// What happened.
        reason: String,
    },
    /// The tenant has no address for this way of signing in.
    #[error("the tenant `{tenant}` has no `{key}`, so nobody can sign in this way")]
    NoSignInAddress {
        /// The tenant.
        tenant: String,
        /// The key of the configuration.
        key: &'static str,
    },
    /// Somebody else has signed in.
    #[error("{signed_in} has signed in, not {account}; nothing was kept")]
    OtherAccount {
        /// The account that was to sign in.
        account: Mailbox,
        /// The mailbox it was for.
        mailbox: Mailbox,
        /// The account that did.
        signed_in: String,
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
            Self::Certificate { .. } => "client-certificate-unusable",
            Self::Credential { .. } => "client-credential-unreadable",
            Self::NotFinished { .. } => "sign-in-not-finished",
            Self::NoSignInAddress { .. } => "no-sign-in-address",
            Self::OtherAccount { .. } => "signed-in-as-another",
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
            Self::Certificate { .. }
            | Self::Credential { .. }
            | Self::NoSignInAddress { .. }
            | Self::NoTenant { .. } => Whose::Administrator,
            Self::NotFinished { .. } | Self::NotSignedIn { .. } | Self::OtherAccount { .. } => Whose::User,
            Self::Refused { whose, .. } => *whose,
            Self::Vault(error) => error.whose(),
            Self::Store(error) => error.whose(),
        }
    }

    fn remedy(&self) -> Option<String> {
        match self {
            Self::Certificate { error, .. } => Some(error.remedy().to_owned()),
            Self::Credential { what, .. } => Some(format!(
                "Look at the path and mode of the {what}; the account that runs Postern must be able to read it."
            )),
            Self::NotFinished { account, .. } => Some(format!("Begin again with `postern mailbox connect {account}`.")),
            Self::NoSignInAddress { key, .. } => Some(format!("Name `{key}` under [tenant.endpoints].")),
            Self::OtherAccount { account, mailbox, signed_in } => Some(format!(
                "Sign in as {account}: in a private window, where no other account is remembered. If {signed_in} is the account that \
                 opens {mailbox}, say so with `postern mailbox add {mailbox} --sign-in-as {signed_in}` and sign in again."
            )),
            Self::OutOfOrder { .. } | Self::Malformed { .. } => None,
            Self::NoTenant { tenant } => {
                Some(format!("Put the [[tenant]] named `{tenant}` back, or move the mailbox to another tenant."))
            }
            Self::NotSignedIn { account } => Some(format!("Sign in: `postern mailbox connect {account}`.")),
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
