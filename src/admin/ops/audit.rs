//! The audit trail: read, verified, and who is noted in it.

use crate::admin::ops::{Ops, OpsError};
use crate::store::{AuditFilter, AuditRecord};
use crate::telemetry::audit::{Broken, Verified};

impl Ops {
    /// The newest `most` entries that are wanted, the newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn audit(&self, filter: &AuditFilter, most: u32) -> Result<Vec<AuditRecord>, OpsError> {
        Ok(self.foundation.store.audit(filter, most).await?)
    }

    /// The instances that have entries.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn audit_instances(&self) -> Result<Vec<String>, OpsError> {
        Ok(self.foundation.store.audit_instances().await?)
    }

    /// The entries of an instance behind this place, `most` at most, in their order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn audit_behind(&self, instance: &str, number: u64, most: u32) -> Result<Vec<AuditRecord>, OpsError> {
        Ok(self.foundation.store.audit_behind(instance, number, most).await?)
    }

    /// Looks through all chains: whether any entry was changed, put in or taken away.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn verify_audit(&self) -> Result<(Vec<Verified>, Vec<Broken>), OpsError> {
        Ok(self.foundation.audit.verify().await?)
    }
}

/// Who gives this command, as the audit trail has it: the account of the process, and the one behind sudo.
pub(in crate::admin::ops) fn actor() -> String {
    let account = account();
    match std::env::var("SUDO_USER") {
        Ok(person) if !person.is_empty() && person != account => {
            let person: String = person.chars().filter(|c| !c.is_control()).take(64).collect();
            format!("{account} (sudo: {person})")
        }
        _ => account,
    }
}

#[cfg(unix)]
fn account() -> String {
    let uid = nix::unistd::getuid();
    let named = nix::unistd::User::from_uid(uid).ok().flatten();
    named.map_or_else(|| format!("uid {uid}"), |user| user.name)
}

#[cfg(not(unix))]
fn account() -> String {
    std::env::var("USERNAME").unwrap_or_else(|_| "unknown".to_owned())
}
