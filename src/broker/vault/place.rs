//! What is sealed, and where it belongs.

use std::fmt;

use crate::base::{Mailbox, TenantName};
use crate::store::{SealedOf, SealedRecord};

/// The place of a sealed value; it is authenticated with it, so that a value copied to another place does not open.
///
/// Whatever is sealed has a place here. A new kind needs three things: a variant with its associated data and name below, a
/// [`SealedOf`] in the store if it lies there (`sealed_records` lists it and `reseal` writes it), and nothing else: a change of the master
/// key, `key status` and the check at start go by those lists.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// The pepper of the app passwords.
    Pepper,
    /// The master key that takes the place of the one that this is sealed by.
    NextKey,
    /// The master key before the one that this is sealed by.
    PreviousKey,
    /// The refresh token of an account.
    RefreshToken {
        /// Its tenant.
        tenant: &'a TenantName,
        /// The account that signed in.
        account: &'a Mailbox,
    },
}

/// Which of the two encryptions of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker::vault) enum Layer {
    /// The data key under the master key, in this version of the envelope.
    Key(u8),
    /// The value under the data key. The same in every version, so that a value outlives a change of version as well.
    Value,
}

impl Place<'_> {
    /// What is authenticated with a part of the envelope.
    pub(in crate::broker::vault) fn associated_data(self, layer: Layer) -> Vec<u8> {
        let layer = match layer {
            Layer::Key(version) => format!("{version}/key"),
            Layer::Value => "1/value".to_owned(),
        };
        // Lengths in front of the names, so that no two places can be spelled alike.
        match self {
            Self::Pepper => format!("postern/{layer}/pepper"),
            Self::NextKey => format!("postern/{layer}/next_key"),
            Self::PreviousKey => format!("postern/{layer}/previous_key"),
            Self::RefreshToken { tenant, account } => format!(
                "postern/{layer}/sign_in/{}:{}/{}:{}",
                tenant.as_str().len(),
                tenant,
                account.as_str().len(),
                account
            ),
        }
        .into_bytes()
    }

    /// How it can be had anew where it cannot be opened any more.
    pub(in crate::broker::vault) fn way_out(self) -> String {
        match self {
            Self::RefreshToken { account, .. } => {
                format!(
                    "Sign {account} in again with `postern mailbox connect {account}`, or restore the store from a backup."
                )
            }
            Self::Pepper => {
                "Put `keys/pepper.sealed` back from a backup; without it no app password can be used.".to_owned()
            }
            Self::NextKey | Self::PreviousKey => "Put the `keys` folder back from a backup.".to_owned(),
        }
    }
}

/// What it is, in words for the administrator.
impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pepper => f.write_str("the pepper of the app passwords"),
            Self::NextKey => f.write_str("the next master key"),
            Self::PreviousKey => f.write_str("the previous master key"),
            Self::RefreshToken { account, .. } => write!(f, "the sign-in of {account}"),
        }
    }
}

impl<'a> From<&'a SealedRecord> for Place<'a> {
    fn from(record: &'a SealedRecord) -> Self {
        match &record.of {
            SealedOf::SignIn { tenant, account } => Self::RefreshToken { tenant, account },
        }
    }
}
