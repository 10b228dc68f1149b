//! Changing the master key, so that it may stop at any point: whoever has the old or the new key opens everything, and beginning again
//! ends it.
//!
//! In this order: everything is brought under the present key; the old key is left sealed by the new one (`previous.sealed`); the new one is
//! left sealed by the old one (`next.sealed`), and from here on seals; everything in the store is wrapped anew in one transaction,
//! then the pepper; the new key takes the place of the old one; `next.sealed` goes, and with it the old key's worth. Where the key is the
//! administrator's, taking its place is up to them, and `next.sealed` stays until the source gives the new key.
//!
//! A running `serve` may seal by the old key while this goes on, if it has looked just before. It wraps that anew itself
//! ([`Vault::settle`]); until then `previous.sealed` opens it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::{KeyId, Secret};
use crate::broker::vault::cipher::MasterKey;
use crate::broker::vault::error::VaultError;
use crate::broker::vault::folder::{self, Folder, Held};
use crate::broker::vault::place::Place;
use crate::broker::vault::ring::{Change, Ring, holds_another, write_next};
use crate::broker::vault::source::{self, KeySource};
use crate::broker::vault::{Vault, open_pepper};
use crate::store::Store;

/// How far a change has come. Each is told when it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Everything is under the present key.
    Gathered,
    /// The old key is kept, sealed by the new one.
    PreviousKept,
    /// The new key is kept, sealed by the old one, and seals.
    NextKept,
    /// What the store holds is under the new key.
    RecordsWrapped,
    /// So is the pepper.
    PepperWrapped,
    /// The new key stands in Postern's own file.
    Promoted,
    /// The old key opens nothing any more.
    Finished,
}

/// What a change of the master key has done.
#[derive(Debug)]
pub struct Rotated {
    /// The key of before.
    pub from: KeyId,
    /// The key of now.
    pub to: KeyId,
    /// How many values were wrapped anew.
    pub wrapped: usize,
    /// What does not open, and was left as it is.
    pub closed: Vec<VaultError>,
    /// How far it is. [`Change::None`]: it is finished.
    pub change: Change,
}

/// What was found to do by [`Vault::settle`].
#[derive(Debug)]
pub struct Settled {
    /// The key that seals.
    pub key: KeyId,
    /// How many values were wrapped anew.
    pub wrapped: usize,
    /// What does not open.
    pub closed: Vec<VaultError>,
    /// Whether a change of the master key was ended.
    pub finished: bool,
    /// How far a change is that could not be.
    pub change: Change,
}

/// What one pass over everything that is sealed has done.
#[derive(Default)]
struct Pass {
    wrapped: usize,
    closed: Vec<VaultError>,
}

/// What watches a change.
type Watch<'a> = &'a mut (dyn FnMut(Step) + Send);

impl Vault {
    /// Changes the master key, or goes on with a change that was begun. Without `supplied` Postern makes the new key, in its own
    /// file; a key of the administrator's is changed by supplying the new one, and finished once its source gives that one.
    ///
    /// `alone` says that no other process runs that has the old key alone, so that what leads from the old key to the new may go.
    ///
    /// # Errors
    /// [`VaultError::NewKeyNeeded`], [`VaultError::SameKey`], and what keeps keys and store from being read or written. Then
    /// everything opens as before, and calling this again goes on.
    pub async fn rotate(
        &self,
        store: &dyn Store,
        supplied: Option<Secret<[u8; 32]>>,
        alone: bool,
        watch: Watch<'_>,
    ) -> Result<Rotated, VaultError> {
        let held = self.folder.hold()?;
        self.folder.tidy(&held)?;
        self.take_up()?;
        let mut from = self.ring.load().sealing.id();
        match self.target(supplied)? {
            Some((new, own)) => {
                self.gather(store, &held).await?;
                watch(Step::Gathered);
                self.lay_out(&new, own, watch)?;
            }
            None => from = self.old_key().unwrap_or(from),
        }
        let first = self.wrap_all(store, &held, watch).await?;
        let second = self.finish(store, &held, alone, watch).await?;
        let ring = self.ring.load();
        Ok(Rotated {
            from,
            to: ring.sealing.id(),
            wrapped: first.wrapped + second.as_ref().map_or(0, |pass| pass.wrapped),
            closed: second.map_or(first.closed, |pass| pass.closed),
            change: ring.change,
        })
    }

    /// For the process that serves: brings what is under another key under the present one, and ends a change of the master key
    /// that can be ended. `None` if another process is at the keys just now.
    ///
    /// # Errors
    /// What keeps keys and store from being read or written; the next call makes up for it.
    pub async fn settle(&self, store: &dyn Store) -> Result<Option<Settled>, VaultError> {
        let Some(held) = self.folder.try_hold()? else { return Ok(None) };
        self.folder.tidy(&held)?;
        self.take_up()?;
        let before = self.ring.load().change;
        let first = self.gather(store, &held).await?;
        let second = self.finish(store, &held, true, &mut |_| {}).await?;
        let ring = self.ring.load();
        Ok(Some(Settled {
            key: ring.sealing.id(),
            wrapped: first.wrapped + second.as_ref().map_or(0, |pass| pass.wrapped),
            closed: second.map_or(first.closed, |pass| pass.closed),
            finished: before != Change::None && ring.change == Change::None,
            change: ring.change,
        }))
    }

    /// The key to change to, and whether it is to stand in Postern's own file; `None` to go on with what was begun.
    fn target(&self, supplied: Option<Secret<[u8; 32]>>) -> Result<Option<(MasterKey, bool)>, VaultError> {
        let ring = self.ring.load();
        match (supplied.map(MasterKey::new), ring.change) {
            (Some(new), Change::UnderWay { own: false }) if new.id() == ring.sealing.id() => Ok(None),
            (Some(new), Change::Switched { .. }) if new.id() == ring.given.id() => Ok(None),
            (Some(new), _) if new.id() == ring.given.id() || new.id() == ring.sealing.id() => {
                Err(VaultError::SameKey { key: new.id() })
            }
            (Some(new), _) => Ok(Some((new, false))),
            (None, Change::UnderWay { .. } | Change::Switched { .. }) => Ok(None),
            (None, Change::None) if self.source == KeySource::Own => Ok(Some((MasterKey::random()?, true))),
            (None, Change::None) => Err(VaultError::NewKeyNeeded { place: self.source.place(&self.folder.own()) }),
        }
    }

    /// The old key of a change that was begun before.
    fn old_key(&self) -> Option<KeyId> {
        let ring = self.ring.load();
        match ring.change {
            Change::UnderWay { .. } => Some(ring.given.id()),
            Change::Switched { .. } => folder::key_of(&self.folder.next()),
            Change::None => None,
        }
    }

    /// Leaves each key sealed by the other, so that whoever has one of them has both; then the new one seals.
    fn lay_out(&self, new: &MasterKey, own: bool, watch: Watch<'_>) -> Result<(), VaultError> {
        let ring = self.ring.load_full();
        let previous = new.seal(Place::PreviousKey, ring.sealing.octets().expose())?;
        let next = ring.given.seal(Place::NextKey, &write_next(new, own))?;
        folder::write(&self.folder.previous(), &previous)?;
        watch(Step::PreviousKept);
        folder::write(&self.folder.next(), &next)?;
        watch(Step::NextKept);
        self.take_up()
    }

    /// Brings everything under the key that seals.
    async fn gather(&self, store: &dyn Store, held: &Held) -> Result<Pass, VaultError> {
        self.wrap_all(store, held, &mut |_| {}).await
    }

    async fn wrap_all(&self, store: &dyn Store, _held: &Held, watch: Watch<'_>) -> Result<Pass, VaultError> {
        let ring = self.ring.load_full();
        let failed = Mutex::new(None);
        let anew = |place: Place<'_>, sealed: &[u8]| {
            ring.wrap_anew(place, sealed).unwrap_or_else(|error| {
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                None
            })
        };
        let mut pass = Pass::default();
        let records = store.sealed_records().await?;
        // The writers are held up only if there is something to write.
        if records.iter().any(|record| anew(Place::from(record), &record.sealed).is_some()) {
            pass.wrapped += store.reseal(&|record| anew(Place::from(record), &record.sealed)).await?;
        }
        watch(Step::RecordsWrapped);
        if let Some(sealed) = folder::read(&self.folder.pepper())?
            && let Some(anew) = anew(Place::Pepper, &sealed)
        {
            folder::write(&self.folder.pepper(), &anew)?;
            pass.wrapped += 1;
        }
        watch(Step::PepperWrapped);
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let records = if pass.wrapped > 0 { store.sealed_records().await? } else { records };
        pass.closed = records
            .iter()
            .filter_map(|record| ring.open(Place::from(record), &record.sealed).err())
            .chain(folder::read(&self.folder.pepper())?.and_then(|sealed| open_pepper(&ring, &sealed).err()))
            .collect();
        Ok(pass)
    }

    /// Ends a change that can be ended. Gives what another pass over everything has done, if there was one.
    async fn finish(
        &self,
        store: &dyn Store,
        held: &Held,
        alone: bool,
        watch: Watch<'_>,
    ) -> Result<Option<Pass>, VaultError> {
        let ring = self.ring.load_full();
        let follows = matches!(self.source, KeySource::Own | KeySource::File(_));
        match ring.change {
            Change::UnderWay { own: true } if self.source == KeySource::Own => {
                folder::write(&self.folder.own(), source::write_key(ring.sealing.octets()).as_bytes())?;
                watch(Step::Promoted);
            }
            // Who has the old key alone and cannot look again would be left without one.
            Change::Switched { .. } if alone || follows => {}
            _ => return Ok(None),
        }
        self.take_up()?;
        // What a running process has sealed by the old key meanwhile.
        let pass = self.gather(store, held).await?;
        let ring = self.ring.load_full();
        let unknown =
            pass.closed.iter().any(|error| matches!(error, VaultError::OtherKey { .. } | VaultError::WrongKey { .. }));
        if let Change::Switched { old_is_known } = ring.change
            && (old_is_known || !unknown)
        {
            remove_own_key_of_before(&self.folder, &self.source, &ring)?;
            folder::remove(&self.folder.next())?;
            watch(Step::Finished);
            self.take_up()?;
        }
        Ok(Some(pass))
    }
}

/// After a move from Postern's own file to another source the old key need not lie there any longer.
fn remove_own_key_of_before(folder: &Folder, source: &KeySource, ring: &Arc<Ring>) -> Result<(), VaultError> {
    let own = folder.own();
    let same = |path: &Path| match (path.canonicalize(), own.canonicalize()) {
        (Ok(path), Ok(own)) => path == own,
        _ => false,
    };
    let is_the_source = source.file(&own).is_some_and(|path| same(&path));
    if !is_the_source && holds_another(&own, ring.sealing.id()) {
        folder::remove(&own)?;
    }
    Ok(())
}
