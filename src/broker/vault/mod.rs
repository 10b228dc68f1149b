//! Sealing what must survive on disk: refresh tokens in the store, the pepper of the app passwords, whatever has a [`Place`].
//!
//! Each value is encrypted under a data key of its own (AES-256-GCM), and that data key under the master key, so that a new
//! master key means wrapping small keys anew. The place of a value (table, tenant, account) is authenticated with it: a row copied to
//! another place does not open. An envelope names the master key it was sealed by, so that a wrong key is told from a damaged value.
//! `docs/decisions/0009-changing-the-master-key.md` has the reasons for how the master key is changed.

mod cipher;
mod command;
mod error;
mod folder;
mod inventory;
mod place;
mod ring;
mod rotation;
mod source;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tracing::{debug, warn};

use crate::base::{Fault, KeyId, Secret};
use crate::broker::vault::cipher::{MasterKey, octets_of, random_octets};
use crate::broker::vault::folder::{Folder, Stamp};
use crate::broker::vault::ring::Ring;

pub use self::error::VaultError;
pub use self::inventory::{Inventory, SealedValue};
pub use self::place::Place;
pub use self::ring::Change;
pub use self::rotation::{Rotated, Settled, Step};
pub use self::source::{KeySource, read_key};

/// Seals and unseals.
///
/// It outlives a change of the master key by another process: it looks whether the keys have changed before it seals, and whenever
/// something was sealed by a key that it does not know.
pub struct Vault {
    ring: ArcSwap<Ring>,
    folder: Folder,
    source: KeySource,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// What the keys in memory were read from.
    stamp: Stamp,
    /// What could not be used and was told.
    told: Option<Stamp>,
}

impl Vault {
    /// Opens the master key and the pepper. In a data folder whose store is still empty (`fresh`), what is missing is made;
    /// otherwise a missing or wrong key is an error and nothing on disk is changed.
    ///
    /// Returns the vault and the pepper, 32 octets. It may take as long as `master_command` does, 30 seconds at the most.
    ///
    /// # Errors
    /// [`VaultError`]: what keeps the keys from being used.
    pub fn open(data_dir: &Path, source: &KeySource, fresh: bool) -> Result<(Self, Secret<[u8; 32]>), VaultError> {
        let folder = Folder::of(data_dir);
        let mut may_make = fresh && !folder.pepper().exists();
        let _held = if may_make {
            folder.make()?;
            // Two processes that start at once must agree on what they make.
            let held = folder.hold()?;
            may_make = !folder.pepper().exists();
            Some(held)
        } else {
            folder.hold_to_read()?
        };
        let stamp = folder.stamp(source.file(&folder.own()).as_deref());
        let given = match source.read(&folder.own()) {
            Err(VaultError::Missing { .. }) if may_make => {
                let made = MasterKey::random()?;
                folder::write(&folder.own(), source::write_key(made.octets()).as_bytes())?;
                made
            }
            read => MasterKey::new(read?),
        };
        let ring = Ring::read(Arc::new(given), &folder)?;
        let pepper = match folder::read(&folder.pepper())? {
            Some(sealed) => open_pepper(&ring, &sealed).map_err(|error| wrong_master(error, &ring, source, &folder))?,
            None if may_make => {
                let pepper = random_octets()?;
                folder::write(&folder.pepper(), &ring.sealing.seal(Place::Pepper, pepper.expose())?)?;
                pepper
            }
            None => return Err(VaultError::Missing { path: folder.pepper() }),
        };
        let seen = Mutex::new(Seen { stamp, told: None });
        Ok((Self { ring: ArcSwap::from_pointee(ring), folder, source: source.clone(), seen }, pepper))
    }

    /// Seals a value for its place, by the newest master key there is.
    ///
    /// # Errors
    /// [`VaultError::NoRandomness`].
    pub fn seal(&self, place: Place<'_>, value: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.follow();
        self.ring.load().sealing.seal(place, value)
    }

    /// Opens what [`seal`](Vault::seal) made for this place.
    ///
    /// # Errors
    /// [`VaultError::OtherKey`] and [`VaultError::WrongKey`] when it was sealed by a key that is not known here,
    /// [`VaultError::Damaged`] when its octets are not those of then.
    pub fn unseal(&self, place: Place<'_>, sealed: &[u8]) -> Result<Secret<Vec<u8>>, VaultError> {
        let opened = self.ring.load().open(place, sealed);
        match opened {
            Err(VaultError::OtherKey { .. } | VaultError::WrongKey { .. }) => {
                // Whether there is something new or another task has just taken it up: the keys of now are what counts.
                self.follow();
                self.ring.load().open(place, sealed)
            }
            opened => opened,
        }
    }

    /// The master key that seals.
    pub fn key(&self) -> KeyId {
        self.ring.load().sealing.id()
    }

    /// Looks whether another process has changed the keys, and takes them up. What is no good is told once, and the keys that are
    /// known go on. Returns whether there are others now.
    pub fn follow(&self) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.stamp();
        if now == seen.stamp {
            return false;
        }
        let before = self.key();
        // A change goes on while the files are read one by one, so what does not fit together may fit a moment later.
        let mut taken = self.take_up();
        for _ in 0..2 {
            if taken.is_err() {
                taken = self.take_up();
            }
        }
        match taken {
            Ok(()) => {
                seen.stamp = now;
                if before != self.key() {
                    debug!(key = %self.key(), was = %before, "the master key has changed");
                }
                true
            }
            Err(error) => {
                if seen.told.replace(now) != Some(now) {
                    warn!(
                        code = error.code(),
                        remedy = error.remedy(),
                        "the keys have changed, and are no good; those in memory stay in use: {error}"
                    );
                }
                false
            }
        }
    }

    fn stamp(&self) -> Stamp {
        self.folder.stamp(self.source.file(&self.folder.own()).as_deref())
    }

    /// Reads the keys anew, and takes them up if they open the pepper.
    fn take_up(&self) -> Result<(), VaultError> {
        let before = self.ring.load_full();
        // A variable does not change while we run, and a command is run once.
        let given = match self.source.file(&self.folder.own()) {
            Some(_) => Arc::new(MasterKey::new(self.source.read(&self.folder.own())?)),
            None => Arc::clone(&before.given),
        };
        let mut ring = Ring::read(given, &self.folder)?;
        let Some(sealed) = folder::read(&self.folder.pepper())? else {
            return Err(VaultError::Missing { path: self.folder.pepper() });
        };
        open_pepper(&ring, &sealed).map_err(|error| wrong_master(error, &ring, &self.source, &self.folder))?;
        // What is on its way may be sealed by what was known before.
        ring.add(Arc::clone(&before.sealing));
        before.others().for_each(|key| ring.add(Arc::clone(key)));
        self.ring.store(Arc::new(ring));
        Ok(())
    }
}

fn open_pepper(ring: &Ring, sealed: &[u8]) -> Result<Secret<[u8; 32]>, VaultError> {
    octets_of(ring.open(Place::Pepper, sealed)?.expose()).ok_or_else(|| VaultError::Damaged {
        what: Place::Pepper.to_string(),
        how: "it has not 32 octets".to_owned(),
        way_out: Place::Pepper.way_out(),
    })
}

/// That the pepper does not open means that nothing does: then it is the master key that is wrong.
fn wrong_master(error: VaultError, ring: &Ring, source: &KeySource, folder: &Folder) -> VaultError {
    let wanted = match error {
        VaultError::OtherKey { wanted, .. } => Some(wanted),
        VaultError::WrongKey { .. } => None,
        other => return other,
    };
    VaultError::WrongMaster { place: source.place(&folder.own()), given: ring.given.id(), wanted }
}
