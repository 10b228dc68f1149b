//! The master key: which key opens what, and changing it. Both work where the keys are not what they should be, which is when they are
//! needed.

use std::fs::{File, TryLockError};

use crate::admin::ops::OpsError;
use crate::admin::ops::audit::actor;
use crate::base::Fault;
use crate::base::{KeyId, Secret};
use crate::broker::vault::{Change, Inventory, Rotated, Step, Vault};
use crate::config::{Config, KeySource};
use crate::foundation::{self, Foundation, FoundationError};
use crate::store::SqliteStore;

/// The acts on the keys of a data folder.
pub struct Keys {
    config: Config,
}

/// Which key opens what, and what is to be done about it.
#[derive(Debug)]
pub struct KeyStatus {
    /// What was found.
    pub inventory: Inventory,
    /// What to do next, step by step; empty if nothing.
    pub next: Vec<String>,
}

/// What a change of the master key has done, and what is left to do.
#[derive(Debug)]
pub struct KeyChange {
    /// What was done.
    pub rotated: Rotated,
    /// What to do next, step by step.
    pub next: Vec<String>,
}

impl Keys {
    /// Nothing is opened yet.
    pub fn of(config: &Config) -> Self {
        Self { config: config.clone() }
    }

    /// Looks at everything that is sealed.
    ///
    /// # Errors
    /// When the store cannot be opened or read.
    pub async fn status(&self) -> Result<KeyStatus, OpsError> {
        let source = foundation::key_source(&self.config);
        let store = SqliteStore::open(&self.config.data_dir).await?;
        let inventory =
            Vault::take_stock(&self.config.data_dir, &source, &store).await.map_err(FoundationError::from)?;
        let next = match inventory.sealing {
            Some(key) => self.next(inventory.change, key),
            None => Vec::new(),
        };
        Ok(KeyStatus { inventory, next })
    }

    /// Changes the master key, or goes on with a change that was begun. `supplied` is the new key where it is not Postern that makes
    /// it. `watch` is told each step when it is on disk.
    ///
    /// # Errors
    /// When the present key is missing or wrong; when a new one has to be supplied; when something cannot be written. Then everything
    /// opens as before, and doing it again goes on.
    pub async fn rotate(
        &self,
        supplied: Option<Secret<[u8; 32]>>,
        watch: &mut (dyn FnMut(Step) + Send),
    ) -> Result<KeyChange, OpsError> {
        // The pepper, which no change of keys changes, is opened here, so a wrong key is told before anything is touched.
        let Foundation { store, vault, audit, .. } = Foundation::open(&self.config).await?;
        let rotated = vault.rotate(&*store, supplied, !self.is_served(), watch).await.map_err(FoundationError::from)?;
        let details = serde_json::json!({ "act": "master key changed", "by": actor(), "to": rotated.to.to_string() });
        if let Err(error) = audit.act(None, None, details).await {
            tracing::error!(
                code = error.code(),
                remedy = error.remedy(),
                "the change of the key is missing in the audit trail, which cannot be written: {error}"
            );
        }
        let mut next = self.next(rotated.change, rotated.to);
        if rotated.change == Change::None {
            next.push(format!(
                "make a new backup of the store and then of `{}`; one of before needs the key of then",
                self.config.data_dir.join("keys").display()
            ));
        }
        Ok(KeyChange { rotated, next })
    }

    /// What is left to do by people until a change is finished.
    fn next(&self, change: Change, key: KeyId) -> Vec<String> {
        match change {
            Change::None => Vec::new(),
            Change::UnderWay { own: true } => {
                vec!["the change was broken off: run `postern key rotate` again, or restart `postern serve`; either ends it".to_owned()]
            }
            Change::UnderWay { own: false } => vec![
                self.switch(key),
                "restart `postern serve` (such as with `systemctl restart postern`), or run `postern key rotate` if it does not run: that \
                 ends the change, and the old key opens nothing any more"
                    .to_owned(),
                format!(
                    "look with `postern key status`: the key must be {key}, and no change under way; keep the old key for as long as you \
                     keep backups of before, and no other copies of either"
                ),
            ],
            Change::Switched { .. } if self.is_served() => {
                vec!["restart `postern serve`, which still has the old key alone; that ends the change".to_owned()]
            }
            Change::Switched { .. } => {
                vec!["start `postern serve`, or run `postern key rotate` again; either ends the change".to_owned()]
            }
        }
    }

    /// How the source is made to give the new key.
    fn switch(&self, key: KeyId) -> String {
        match &self.config.keys {
            KeySource::DefaultFile => format!(
                "name the place of the new key ({key}) under [keys] in the configuration: master_file, master_credential or master_command"
            ),
            KeySource::File(path) => {
                format!(
                    "put the new key ({key}) into `{}`, readable by the user that runs Postern alone",
                    path.display()
                )
            }
            KeySource::Env(name) => format!("set {name} to the new key ({key}) where Postern is started"),
            KeySource::Credential(name) => format!(
                "put the new key ({key}) where LoadCredential={name}: leads, or encrypt it anew for LoadCredentialEncrypted={name}:"
            ),
            KeySource::Command(words) => format!(
                "put the new key ({key}) where `{}` finds the old one, so that it prints the new one",
                words.first().map_or("master_command", String::as_str)
            ),
        }
    }

    /// Whether a process serves this data folder. If that cannot be told, it is taken for served.
    fn is_served(&self) -> bool {
        match File::open(foundation::running_lock(&self.config.data_dir)) {
            Ok(lock) => matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock | TryLockError::Error(_))),
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
        }
    }
}
