//! What is sealed by the master key.

use async_trait::async_trait;

use crate::base::{Mailbox, TenantName};
use crate::store::StoreError;

/// Something that is sealed by the master key, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedRecord {
    /// Where it lies.
    pub of: SealedOf,
    /// The sealed value.
    pub sealed: Vec<u8>,
}

/// Where a sealed value lies in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealedOf {
    /// The refresh token of an account's sign-in.
    SignIn {
        /// The tenant.
        tenant: TenantName,
        /// The account.
        account: Mailbox,
    },
}

/// Gives the same value sealed anew, or `None` to leave it as it is.
pub type Anew<'a> = &'a (dyn Fn(&SealedRecord) -> Option<Vec<u8>> + Sync);

/// Everything in the store that is sealed by the master key, of whatever kind: what a change of that key has to go through.
#[async_trait]
pub trait SealedRecords: Send + Sync {
    /// Every sealed value.
    async fn sealed_records(&self) -> Result<Vec<SealedRecord>, StoreError>;

    /// Puts sealed values in the place of others that hold the same, in one transaction, flushed to disk when this returns.
    /// Returns how many.
    async fn reseal(&self, anew: Anew<'_>) -> Result<usize, StoreError>;
}
