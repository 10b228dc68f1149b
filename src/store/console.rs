//! Links by which an administrator signs in to the console.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::store::StoreError;

/// A link that nobody has used yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleLinkRecord {
    /// SHA-256 of what stands in the link.
    pub digest: [u8; 32],
    /// Who made it.
    pub created_by: String,
    /// Its end.
    pub expires_at: DateTime<Utc>,
}

/// The links by which an administrator signs in to the console.
#[async_trait]
pub trait ConsoleLinks: Send + Sync {
    /// Keeps a link, and forgets those that are over at `now`.
    async fn add_console_link(&self, link: &ConsoleLinkRecord, now: DateTime<Utc>) -> Result<(), StoreError>;

    /// Forgets all links.
    async fn forget_console_links(&self) -> Result<(), StoreError>;

    /// Takes a link out, once for whoever is the first to ask. `None`: there is none, or it is over at `now`.
    async fn take_console_link(
        &self,
        digest: &[u8; 32],
        now: DateTime<Utc>,
    ) -> Result<Option<ConsoleLinkRecord>, StoreError>;
}
