//! How a sealed value is laid out, without any cryptography: what the store may compare and what a key is known by.
//!
//! Version 2 is `2`, the ID of the master key (8 octets), the data key wrapped by it (60 octets), and the value under the data key.
//! Version 1 had no ID. A new master key wraps the data key anew and leaves the value's octets as they are, so two envelopes with the
//! same value octets hold the same value, whichever master keys they were wrapped by.

use std::fmt;

/// Octets of a wrapped data key: nonce, 32 octets, tag.
pub const WRAPPED_OCTETS: usize = 12 + 32 + 16;

/// What a master key is known by: the beginning of a keyed hash of it, which says nothing about the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; Self::OCTETS]);

impl KeyId {
    /// Its length in an envelope.
    pub const OCTETS: usize = 8;
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A sealed value, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The master key it was sealed by; version 1 does not say.
    pub key: Option<KeyId>,
    /// The data key, wrapped by the master key.
    pub wrapped: &'a [u8; WRAPPED_OCTETS],
    /// The value, encrypted under the data key.
    pub value: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Takes a sealed value apart.
    ///
    /// # Errors
    /// When it is too short, or of a version that is not known here; with a word on which.
    pub fn read(sealed: &'a [u8]) -> Result<Self, Malformed> {
        let (version, rest) = sealed.split_first().ok_or(Malformed::TooShort)?;
        let (key, rest) = match version {
            1 => (None, rest),
            2 => {
                let (id, rest) = rest.split_first_chunk().ok_or(Malformed::TooShort)?;
                (Some(KeyId(*id)), rest)
            }
            version => return Err(Malformed::Version(*version)),
        };
        let (wrapped, value) = rest.split_first_chunk().ok_or(Malformed::TooShort)?;
        Ok(Self { key, wrapped, value })
    }

    /// Puts an envelope together, in version 2.
    pub fn write(key: KeyId, wrapped: &[u8; WRAPPED_OCTETS], value: &[u8]) -> Vec<u8> {
        [&[2][..], &key.0, wrapped, value].concat()
    }
}

/// What of a sealed value stays when a new master key wraps its data key. What is no envelope is compared whole.
pub fn lasting_part(sealed: &[u8]) -> &[u8] {
    match Envelope::read(sealed) {
        Ok(envelope) if !envelope.value.is_empty() => envelope.value,
        _ => sealed,
    }
}

/// This is no sealed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends too early.
    #[error("it is too short")]
    TooShort,
    /// A version that is not known here.
    #[error("it is of the unknown version {0}")]
    Version(u8),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_read_as_it_was_written_and_the_first_version_still_is() {
        let sealed = Envelope::write(KeyId([7; 8]), &[1; 60], b"value");
        let read = Envelope::read(&sealed).unwrap();
        assert_eq!((read.key, read.wrapped, read.value), (Some(KeyId([7; 8])), &[1; 60], &b"value"[..]));
        assert_eq!(KeyId([0x0a; 8]).to_string(), "0a0a0a0a0a0a0a0a");

        let first = [&[1][..], &[1; 60], b"value"].concat();
        assert_eq!(Envelope::read(&first).unwrap().key, None);
        assert_eq!(lasting_part(&first), lasting_part(&sealed), "the same value in both");
        for (sealed, wrong) in [
            (&b""[..], Malformed::TooShort),
            (&first[..60], Malformed::TooShort),
            (&sealed[..68], Malformed::TooShort),
            (b"\x03rest", Malformed::Version(3)),
        ] {
            assert_eq!(Envelope::read(sealed), Err(wrong));
            assert_eq!(lasting_part(sealed), sealed);
        }
    }
}
