//! The audit trail: read, verified, and who is noted in it.

use crate::admin::ops::{Ops, OpsError};
use crate::base::files::open_private;
use crate::foundation::{self, FoundationError};
use crate::store::{AuditFilter, AuditRecord};
use crate::telemetry::audit::{Broken, Findings};

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
    pub async fn verify_audit(&self) -> Result<Findings, OpsError> {
        Ok(self.foundation.audit.verify().await?)
    }

    /// What is wrong with the audit trail was looked into: as long as nothing more is changed in those chains, they are not called broken any
    /// more. Where this data folder's own is among them, another one begins. Returns the first fault of each.
    ///
    /// # Errors
    /// [`OpsError::Serving`] where a process writes to that chain; when the store cannot be written.
    pub async fn settle_audit(&mut self, reason: Option<&str>) -> Result<Vec<Broken>, OpsError> {
        let find = async || -> Result<Vec<Broken>, OpsError> {
            let mut broken = self.foundation.audit.verify().await?.broken;
            broken.dedup_by(|one, before| one.instance == before.instance);
            Ok(broken)
        };
        let broken = find().await?;
        if !broken.iter().any(|fault| fault.instance == self.foundation.audit.instance()) {
            for fault in &broken {
                self.foundation.audit.settle(fault, &actor(), reason).await?;
            }
            return Ok(broken);
        }
        // Nobody begins to serve meanwhile.
        let path = foundation::running_lock(self.data_dir());
        let lock = open_private(&path).map_err(|source| FoundationError::Instance { path: path.clone(), source })?;
        if lock.try_lock().is_err() {
            let process = self.running()?.map_or(0, |running| running.process);
            return Err(OpsError::Serving { process });
        }
        // As it stands now that nobody writes to it. The other chain says so before it takes its place: broken off, this is done again.
        let broken = find().await?;
        let next = self.foundation.new_chain()?;
        for fault in &broken {
            next.settle(fault, &actor(), reason).await?;
        }
        self.foundation.go_on_with(&self.config, &next)?;
        drop(lock);
        Ok(broken)
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
