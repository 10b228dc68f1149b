//! Which key opens what: for `key status`, also where the keys are not what they should be.

use std::path::Path;
use std::sync::Arc;

use crate::base::KeyId;
use crate::base::envelope::Envelope;
use crate::broker::vault::cipher::MasterKey;
use crate::broker::vault::error::VaultError;
use crate::broker::vault::folder::{self, Folder};
use crate::broker::vault::place::Place;
use crate::broker::vault::ring::{Change, Ring};
use crate::broker::vault::source::KeySource;
use crate::broker::vault::{Vault, open_pepper, wrong_master};
use crate::store::{SealedRecord, Store};

/// Which key opens what.
#[derive(Debug)]
pub struct Inventory {
    /// Where the master key is looked for, in words.
    pub place: String,
    /// The key that is there.
    pub given: Option<KeyId>,
    /// The key that seals.
    pub sealing: Option<KeyId>,
    /// The keys that only open.
    pub others: Vec<KeyId>,
    /// How far a change of the master key is.
    pub change: Change,
    /// What keeps the keys from being used at all.
    pub fault: Option<VaultError>,
    /// Everything that is sealed.
    pub values: Vec<SealedValue>,
}

/// Something that is sealed.
#[derive(Debug)]
pub struct SealedValue {
    /// What it is, in words.
    pub what: String,
    /// The key it was sealed by; values of the first version do not say.
    pub key: Option<KeyId>,
    /// Why it does not open.
    pub fault: Option<VaultError>,
}

impl Inventory {
    /// Whether Postern can use its keys and everything opens.
    pub fn is_well(&self) -> bool {
        self.fault.is_none() && self.values.iter().all(|value| value.fault.is_none())
    }
}

impl Vault {
    /// Looks at everything that is sealed. Nothing is changed.
    ///
    /// # Errors
    /// When the store cannot be read, or another process does not let go of the keys.
    pub async fn take_stock(data_dir: &Path, source: &KeySource, store: &dyn Store) -> Result<Inventory, VaultError> {
        let folder = Folder::of(data_dir);
        let held = folder.hold_to_read()?;
        let ring = source.read(&folder.own()).and_then(|key| Ring::read(Arc::new(MasterKey::new(key)), &folder));
        let pepper = folder::read(&folder.pepper());
        let records = store.sealed_records().await?;
        let fresh = records.is_empty() && store.app_passwords().await?.is_empty();
        drop(held);

        let (ring, mut fault) = match ring {
            Ok(ring) => (Some(ring), None),
            Err(error) => (None, Some(error)),
        };
        let mut values = Vec::with_capacity(records.len() + 1);
        match pepper {
            Ok(Some(sealed)) => {
                let closed = ring.as_ref().and_then(|ring| open_pepper(ring, &sealed).err());
                values.push(SealedValue { what: Place::Pepper.to_string(), key: key_of(&sealed), fault: closed });
                if let Some(ring) = &ring
                    && let Err(error) = open_pepper(ring, &sealed)
                {
                    fault = Some(wrong_master(error, ring, source, &folder));
                }
            }
            // Both are made when they are first needed.
            Ok(None) if fresh => fault = fault.filter(|fault| !matches!(fault, VaultError::Missing { .. })),
            Ok(None) => fault = fault.or(Some(VaultError::Missing { path: folder.pepper() })),
            Err(error) => fault = fault.or(Some(error)),
        }
        values.extend(records.iter().map(|record| look_at(record, ring.as_ref())));
        Ok(Inventory {
            place: source.place(&folder.own()),
            given: ring.as_ref().map(|ring| ring.given.id()),
            sealing: ring.as_ref().map(|ring| ring.sealing.id()),
            others: ring.iter().flat_map(|ring| ring.others().map(|key| key.id())).collect(),
            change: ring.as_ref().map_or(Change::None, |ring| ring.change),
            fault,
            values,
        })
    }
}

fn look_at(record: &SealedRecord, ring: Option<&Ring>) -> SealedValue {
    let place = Place::from(record);
    SealedValue {
        what: place.to_string(),
        key: key_of(&record.sealed),
        fault: ring.and_then(|ring| ring.open(place, &record.sealed).err()),
    }
}

fn key_of(sealed: &[u8]) -> Option<KeyId> {
    Envelope::read(sealed).ok().and_then(|envelope| envelope.key)
}
