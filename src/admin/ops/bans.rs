//! Addresses from which nobody is let in for a while.

use ipnet::IpNet;

use crate::admin::ops::audit::actor;
use crate::admin::ops::{Ops, OpsError};
use crate::store::BanRecord;

impl Ops {
    /// The bans, also those that are over and make the next one longer, the newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn bans(&self) -> Result<Vec<BanRecord>, OpsError> {
        Ok(self.foundation.store.bans().await?)
    }

    /// Lifts the bans of all addresses in this network, within seconds. Returns which.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn lift_bans(&self, network: &IpNet) -> Result<Vec<BanRecord>, OpsError> {
        let mut bans = self.bans().await?;
        bans.retain(|ban| network.contains(&ban.network) || ban.network.contains(network));
        for ban in &bans {
            self.foundation.store.lift_ban(&ban.network).await?;
            let more = serde_json::json!({ "address": ban.network.to_string(), "by": actor() });
            self.noted("ban lifted", None, None, more).await;
        }
        Ok(bans)
    }
}
