//! The master keys that are known at a time: the one that seals, and those that still open.
//!
//! While a change is under way there are two files beside the keys. `next.sealed` is the new key, sealed by the old one; `previous.sealed` is
//! the old key, sealed by the new one. So whoever has either key has both, and a change may stop at any point.

use std::path::Path;
use std::sync::Arc;

use crate::base::KeyId;
use crate::base::Secret;
use crate::base::envelope::{Envelope, Malformed};
use crate::broker::vault::cipher::{Closed, MasterKey, octets_of};
use crate::broker::vault::error::VaultError;
use crate::broker::vault::folder::{self, Folder};
use crate::broker::vault::place::Place;

/// The master keys that are known.
pub(in crate::broker::vault) struct Ring {
    /// The one that the source gave.
    pub(in crate::broker::vault) given: Arc<MasterKey>,
    /// The one that seals.
    pub(in crate::broker::vault) sealing: Arc<MasterKey>,
    /// All that open.
    keys: Vec<Arc<MasterKey>>,
    /// How far a change of the master key is.
    pub(in crate::broker::vault) change: Change,
}

/// How far a change of the master key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// None is under way.
    None,
    /// The source still gives the old key; the new one is found by it, and seals.
    UnderWay {
        /// Whether the new key is to stand in Postern's own file. Otherwise it is the administrator's.
        own: bool,
    },
    /// The source gives the new key; what leads from the old one to it is still there.
    Switched {
        /// Whether the old one is known here as well.
        old_is_known: bool,
    },
}

impl Ring {
    /// The ring of one key.
    pub(in crate::broker::vault) fn of(given: Arc<MasterKey>) -> Self {
        Self { sealing: Arc::clone(&given), keys: vec![Arc::clone(&given)], given, change: Change::None }
    }

    /// The ring of the key that the source gave and of what lies in the folder.
    ///
    /// # Errors
    /// [`VaultError::Read`]; [`VaultError::Damaged`] if the given key should lead to a next one and does not.
    pub(in crate::broker::vault) fn read(given: Arc<MasterKey>, folder: &Folder) -> Result<Self, VaultError> {
        let mut ring = Self::of(given);
        let next = folder::read(&folder.next())?;
        if let Some(sealed) = &next
            && Envelope::read(sealed).is_ok_and(|envelope| envelope.key == Some(ring.given.id()))
        {
            let (key, own) = read_next(&ring.open(Place::NextKey, sealed)?)?;
            ring.sealing = Arc::new(key);
            ring.keys.insert(0, Arc::clone(&ring.sealing));
            ring.change = Change::UnderWay { own };
        }
        if let Some(sealed) = folder::read(&folder.previous())?
            // What is left of a change that came to nothing is sealed by a key that never was, and is no fault.
            && let Ok(octets) = ring.open(Place::PreviousKey, &sealed)
            && let Some(octets) = octets_of(octets.expose())
        {
            ring.add(Arc::new(MasterKey::new(octets)));
        }
        if let Some(sealed) = &next
            && ring.change == Change::None
        {
            let key = Envelope::read(sealed).ok().and_then(|envelope| envelope.key);
            ring.change = Change::Switched { old_is_known: key.is_some_and(|key| ring.key(key).is_some()) };
        }
        Ok(ring)
    }

    /// Lets a further key open what it sealed.
    pub(in crate::broker::vault) fn add(&mut self, key: Arc<MasterKey>) {
        if self.key(key.id()).is_none() {
            self.keys.push(key);
        }
    }

    /// The keys that open and do not seal.
    pub(in crate::broker::vault) fn others(&self) -> impl Iterator<Item = &Arc<MasterKey>> {
        self.keys.iter().filter(|key| key.id() != self.sealing.id())
    }

    fn key(&self, id: KeyId) -> Option<&Arc<MasterKey>> {
        self.keys.iter().find(|key| key.id() == id)
    }

    /// Opens what was sealed for this place by any of the keys.
    ///
    /// # Errors
    /// [`VaultError::OtherKey`], [`VaultError::WrongKey`] (of version 1, which does not say by which key it was sealed),
    /// [`VaultError::Damaged`].
    pub(in crate::broker::vault) fn open(
        &self,
        place: Place<'_>,
        sealed: &[u8],
    ) -> Result<Secret<Vec<u8>>, VaultError> {
        let damaged = |how: String| VaultError::Damaged { what: place.to_string(), how, way_out: place.way_out() };
        let envelope = Envelope::read(sealed).map_err(|error: Malformed| damaged(error.to_string()))?;
        let altered = || damaged("its octets are not those that were sealed for this place".to_owned());
        let Some(id) = envelope.key else {
            return self
                .keys
                .iter()
                .find_map(|key| match key.open(place, &envelope) {
                    Err(Closed::Key) => None,
                    Err(Closed::Value) => Some(Err(altered())),
                    Ok(value) => Some(Ok(value)),
                })
                .unwrap_or_else(|| Err(VaultError::WrongKey { what: place.to_string() }));
        };
        let other = || VaultError::OtherKey { what: place.to_string(), wanted: id, way_out: place.way_out() };
        self.key(id).ok_or_else(other)?.open(place, &envelope).map_err(|_| altered())
    }

    /// The same value under the key that seals now; `None` if it is so already, or if it does not open.
    pub(in crate::broker::vault) fn wrap_anew(
        &self,
        place: Place<'_>,
        sealed: &[u8],
    ) -> Result<Option<Vec<u8>>, VaultError> {
        let Ok(envelope) = Envelope::read(sealed) else { return Ok(None) };
        if envelope.key == Some(self.sealing.id()) {
            return Ok(None);
        }
        for key in &self.keys {
            if envelope.key.is_none_or(|id| id == key.id())
                && let Some(anew) = self.sealing.wrap_anew(key, place, &envelope)?
            {
                return Ok(Some(anew));
            }
        }
        Ok(None)
    }
}

/// The next key as it is sealed: its octets, and one that says whether it is to stand in Postern's own file.
pub(in crate::broker::vault) fn write_next(key: &MasterKey, own: bool) -> zeroize::Zeroizing<Vec<u8>> {
    let mut plain = zeroize::Zeroizing::new(Vec::with_capacity(33));
    plain.extend_from_slice(key.octets().expose());
    plain.push(u8::from(own));
    plain
}

fn read_next(plain: &Secret<Vec<u8>>) -> Result<(MasterKey, bool), VaultError> {
    let read = || {
        let (own, octets) = plain.expose().split_last()?;
        Some((MasterKey::new(octets_of(octets)?), *own == 1))
    };
    read().ok_or_else(|| VaultError::Damaged {
        what: Place::NextKey.to_string(),
        how: "it is no key".to_owned(),
        way_out: Place::NextKey.way_out(),
    })
}

/// Whether a file that may hold a key in base64 holds another one than this.
pub(in crate::broker::vault) fn holds_another(path: &Path, key: KeyId) -> bool {
    use crate::broker::vault::source::KeySource;
    KeySource::File(path.to_owned()).read(path).is_ok_and(|octets| MasterKey::new(octets).id() != key)
}
