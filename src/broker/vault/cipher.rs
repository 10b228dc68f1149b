//! The cryptography of an envelope: a data key for each value (AES-256-GCM), wrapped by the master key.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{hmac, rand};
use zeroize::Zeroize;

use crate::base::Secret;
use crate::base::envelope::{Envelope, KeyId, WRAPPED_OCTETS};
use crate::broker::vault::error::VaultError;
use crate::broker::vault::place::{Layer, Place};

/// A master key: 32 octets, and what it is known by.
pub(in crate::broker::vault) struct MasterKey {
    id: KeyId,
    octets: Secret<[u8; 32]>,
    cipher: RandomizedNonceKey,
}

/// Why a sealed value does not open with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker::vault) enum Closed {
    /// The data key does not unwrap: another master key, another place, or other octets.
    Key,
    /// The data key unwraps, but the value does not open: its octets are not those of then.
    Value,
}

impl MasterKey {
    /// Takes the octets.
    pub(in crate::broker::vault) fn new(octets: Secret<[u8; 32]>) -> Self {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, octets.expose()), b"postern/key-id");
        let mut id = [0; KeyId::OCTETS];
        id.iter_mut().zip(tag.as_ref()).for_each(|(octet, of_tag)| *octet = *of_tag);
        Self { id: KeyId(id), cipher: key(octets.expose()), octets }
    }

    /// A new one.
    pub(in crate::broker::vault) fn random() -> Result<Self, VaultError> {
        Ok(Self::new(random_octets()?))
    }

    /// What it is known by.
    pub(in crate::broker::vault) fn id(&self) -> KeyId {
        self.id
    }

    /// The key itself.
    pub(in crate::broker::vault) fn octets(&self) -> &Secret<[u8; 32]> {
        &self.octets
    }

    /// Seals a value for its place.
    pub(in crate::broker::vault) fn seal(&self, place: Place<'_>, value: &[u8]) -> Result<Vec<u8>, VaultError> {
        let data_key = random_octets()?;
        let value = encrypt(&key(data_key.expose()), &place.associated_data(Layer::Value), value)?;
        Ok(Envelope::write(self.id, &self.wrap(place, &data_key)?, &value))
    }

    /// Opens what was sealed for this place. Whether the envelope names this key is for the caller to look at.
    pub(in crate::broker::vault) fn open(
        &self,
        place: Place<'_>,
        envelope: &Envelope<'_>,
    ) -> Result<Secret<Vec<u8>>, Closed> {
        let data_key = self.unwrap(place, envelope).ok_or(Closed::Key)?;
        decrypt(&key(data_key.expose()), &place.associated_data(Layer::Value), envelope.value).ok_or(Closed::Value)
    }

    /// Wraps the data key of an envelope that `before` opens by this key; the value's octets stay as they are.
    pub(in crate::broker::vault) fn wrap_anew(
        &self,
        before: &Self,
        place: Place<'_>,
        envelope: &Envelope<'_>,
    ) -> Result<Option<Vec<u8>>, VaultError> {
        let Some(data_key) = before.unwrap(place, envelope) else { return Ok(None) };
        Ok(Some(Envelope::write(self.id, &self.wrap(place, &data_key)?, envelope.value)))
    }

    fn wrap(&self, place: Place<'_>, data_key: &Secret<[u8; 32]>) -> Result<[u8; WRAPPED_OCTETS], VaultError> {
        let wrapped = encrypt(&self.cipher, &place.associated_data(Layer::Key(2)), data_key.expose())?;
        // Nonce, 32 octets and tag: another length would be a fault of the library.
        wrapped.try_into().map_err(|_| VaultError::NoRandomness)
    }

    fn unwrap(&self, place: Place<'_>, envelope: &Envelope<'_>) -> Option<Secret<[u8; 32]>> {
        let version = if envelope.key.is_some() { 2 } else { 1 };
        let plain = decrypt(&self.cipher, &place.associated_data(Layer::Key(version)), envelope.wrapped)?;
        octets_of(plain.expose())
    }
}

/// 32 octets, if it is that many.
pub(in crate::broker::vault) fn octets_of(plain: &[u8]) -> Option<Secret<[u8; 32]>> {
    let mut octets: [u8; 32] = plain.try_into().ok()?;
    let secret = Secret::new(octets);
    octets.zeroize();
    Some(secret)
}

/// 32 octets that nobody can guess.
pub(in crate::broker::vault) fn random_octets() -> Result<Secret<[u8; 32]>, VaultError> {
    let mut octets = [0; 32];
    rand::fill(&mut octets).map_err(|_| VaultError::NoRandomness)?;
    let secret = Secret::new(octets);
    octets.zeroize();
    Ok(secret)
}

fn key(octets: &[u8; 32]) -> RandomizedNonceKey {
    // 32 octets are always a key for AES-256.
    #[expect(clippy::expect_used, reason = "the length is right by type")]
    RandomizedNonceKey::new(&AES_256_GCM, octets).expect("32 octets")
}

fn encrypt(key: &RandomizedNonceKey, associated: &[u8], value: &[u8]) -> Result<Vec<u8>, VaultError> {
    // Room for the tag at once: growing would leave a copy of the value behind.
    let mut cipher = Vec::with_capacity(value.len() + AES_256_GCM.tag_len());
    cipher.extend_from_slice(value);
    let nonce =
        key.seal_in_place_append_tag(Aad::from(associated), &mut cipher).map_err(|_| VaultError::NoRandomness)?;
    let mut whole = nonce.as_ref().to_vec();
    whole.append(&mut cipher);
    Ok(whole)
}

fn decrypt(key: &RandomizedNonceKey, associated: &[u8], whole: &[u8]) -> Option<Secret<Vec<u8>>> {
    let (nonce, cipher) = whole.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut buffer = cipher.to_vec();
    let length = key.open_in_place(nonce, Aad::from(associated), &mut buffer).ok()?.len();
    buffer.truncate(length);
    Some(Secret::new(buffer))
}
