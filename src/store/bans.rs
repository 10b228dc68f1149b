//! Networks from which nobody is let in for a while.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use ipnet::IpNet;

use crate::store::StoreError;

/// A network from which too much was guessed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanRecord {
    /// An address; of IPv6 a /64.
    pub network: IpNet,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Until when. What is over is remembered for a while, as the next one is longer.
    pub until: DateTime<Utc>,
    /// How many times in a row.
    pub strikes: u32,
    /// How many different passwords were tried.
    pub tries: u32,
}

/// The bans.
#[async_trait]
pub trait Bans: Send + Sync {
    /// All of them, also those that are over and not forgotten, the newest first.
    async fn bans(&self) -> Result<Vec<BanRecord>, StoreError>;

    /// Those that are not over, the newest `most`.
    async fn active_bans(&self, now: DateTime<Utc>, most: u32) -> Result<Vec<BanRecord>, StoreError>;

    /// The ban of a network, over or not.
    async fn ban_of(&self, network: &IpNet) -> Result<Option<BanRecord>, StoreError>;

    /// Keeps a ban, in the place of an earlier one of that network.
    async fn ban(&self, ban: &BanRecord) -> Result<(), StoreError>;

    /// Lifts a ban, and forgets that there was one. False: there was none.
    async fn lift_ban(&self, network: &IpNet) -> Result<bool, StoreError>;

    /// Forgets those that were over before then.
    async fn forget_bans(&self, before: DateTime<Utc>) -> Result<(), StoreError>;
}
