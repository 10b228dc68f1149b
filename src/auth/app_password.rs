//! App passwords: how they are made, how they are read back, and what is kept of them.
//!
//! A generated password has 100 bits (80 in the short form), so a keyed hash is enough to check it: there is nothing to
//! guess, one look-up finds it among any number, and the store alone is of no use to a thief, because the key (the pepper)
//! is not in it. `docs/decisions/0001-app-password-verifier.md` has the reasons.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hmac, rand};
use zeroize::Zeroize;

use crate::base::Secret;
use crate::store::{SlowHash, Verifier};

/// Lower-case base32 (RFC 4648, section 6): no letter of it is mistaken for a digit of it.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The long form: letters and digits in it, without its hyphens.
const LONG: usize = 20;

/// The short form, for devices that take no more than 16 characters.
const SHORT: usize = 16;

/// The key under which app passwords are hashed. It is kept outside the store.
pub struct Pepper(hmac::Key);

impl Pepper {
    /// Takes the key, 32 random octets.
    pub fn new(key: &Secret<[u8; 32]>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose()))
    }

    /// The key of the chains of the audit trail. No app password has a verifier like it: none holds a NUL.
    pub fn audit_key(&self) -> Secret<[u8; 32]> {
        let mut key = [0; 32];
        key.copy_from_slice(hmac::sign(&self.0, b"\0the chains of the audit trail").as_ref());
        Secret::new(key)
    }

    /// What hashes secrets that others chose. Its key is derived, so that neither kind of verifier says anything of the other.
    pub fn slow_hasher(&self) -> SlowHasher {
        let mut key = [0; 32];
        key.copy_from_slice(hmac::sign(&self.0, b"\0secrets that others chose").as_ref());
        SlowHasher(Secret::new(key))
    }

    /// The verifier of a password as a client presents it: hyphens, spaces and case do not count.
    pub fn verifier(&self, presented: &[u8]) -> Verifier {
        let mut normal = Vec::with_capacity(presented.len());
        normal.extend(presented.iter().filter(|byte| !b"- ".contains(byte)).map(u8::to_ascii_lowercase));
        let tag = hmac::sign(&self.0, &normal);
        normal.zeroize();
        let mut verifier = [0; 32];
        verifier.copy_from_slice(tag.as_ref());
        Verifier(verifier)
    }
}

/// Argon2id under a key that is not in the store: for secrets that people chose, which can be guessed.
pub struct SlowHasher(Secret<[u8; 32]>);

impl SlowHasher {
    /// The slow hash of a secret, octet by octet as it is, under a salt of its own: 19 MiB of memory and some 30 ms of one core.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn hash(&self, secret: &[u8]) -> Result<SlowHash, Unspecified> {
        let mut salt = [0; 16];
        rand::fill(&mut salt)?;
        let hash = self.argon2().and_then(|argon2| argon2.hash_password_with_salt(secret, &salt).ok());
        hash.map(|hash| SlowHash(hash.to_string())).ok_or(Unspecified)
    }

    /// Whether it is the hash of this secret.
    pub fn is_of(&self, hash: &SlowHash, secret: &[u8]) -> bool {
        let Ok(parsed) = PasswordHash::new(&hash.0) else { return false };
        self.argon2().is_some_and(|argon2| argon2.verify_password(secret, &parsed).is_ok())
    }

    /// Takes as long as [`is_of`](Self::is_of) does.
    pub(in crate::auth) fn work_for_nothing(&self, secret: &[u8]) {
        if let Some(argon2) = self.argon2() {
            let mut out = [0; 32];
            let _ = std::hint::black_box(argon2.hash_password_into(secret, b"a salt of nobody", &mut out));
        }
    }

    /// With what OWASP advises for it, which is also the default of the library.
    fn argon2(&self) -> Option<Argon2<'_>> {
        Argon2::new_with_secret(self.0.expose(), Algorithm::Argon2id, Version::V0x13, Params::DEFAULT).ok()
    }
}

/// Makes an app password: `abcde-fghij-klmno-pqrst` (100 bits), or 16 characters without hyphens (80 bits).
///
/// # Errors
/// When the system has no randomness to give.
pub fn generate(short: bool) -> Result<Secret<String>, Unspecified> {
    let length = if short { SHORT } else { LONG };
    let letters = Secret::new(letters(length)?);
    if short {
        return Ok(Secret::new(letters.expose().clone()));
    }
    let mut text = String::with_capacity(LONG + 3);
    for (place, letter) in letters.expose().chars().enumerate() {
        if place > 0 && place % 5 == 0 {
            text.push('-');
        }
        text.push(letter);
    }
    Ok(Secret::new(text))
}

/// Makes the public ID of an app password: eight letters and digits.
///
/// # Errors
/// When the system has no randomness to give.
pub fn generate_id() -> Result<String, Unspecified> {
    letters(8)
}

fn letters(length: usize) -> Result<String, Unspecified> {
    let mut random = vec![0; length];
    rand::fill(&mut random)?;
    // 256 is a multiple of 32, so each letter is equally likely.
    let text = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect();
    random.zeroize();
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pepper(byte: u8) -> Pepper {
        Pepper::new(&Secret::new([byte; 32]))
    }

    #[test]
    fn a_generated_password_has_its_form_and_never_repeats() {
        let long = generate(false).unwrap();
        let groups: Vec<_> = long.expose().split('-').collect();
        assert_eq!(groups.iter().map(|group| group.len()).collect::<Vec<_>>(), [5, 5, 5, 5]);
        assert!(groups.concat().bytes().all(|byte| ALPHABET.contains(&byte)));
        let short = generate(true).unwrap();
        assert_eq!(short.expose().len(), 16);
        assert!(short.expose().bytes().all(|byte| ALPHABET.contains(&byte)));
        assert_ne!(generate(false).unwrap().expose(), long.expose());
    }

    #[test]
    fn hyphens_spaces_and_case_do_not_count_and_everything_else_does() {
        let pepper = pepper(1);
        let verifier = pepper.verifier(b"abcde-fghij-klmno-pqrst");
        for same in [&b"abcdefghijklmnopqrst"[..], b"ABCDE FGHIJ KLMNO PQRST", b" abcde-fghij-klmno-pqrst "] {
            assert_eq!(pepper.verifier(same), verifier);
        }
        for other in [&b"abcdefghijklmnopqrs"[..], b"abcdefghijklmnopqrst\n", b"abcdefghijklmnopqrst\0x", b""] {
            assert_ne!(pepper.verifier(other), verifier);
        }
    }

    #[test]
    fn a_slow_hash_is_of_one_secret_to_the_letter_and_of_one_pepper() {
        let hash = pepper(1).slow_hasher().hash(b"Copy-Room 7!").unwrap();
        assert!(hash.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.0);
        assert!(pepper(1).slow_hasher().is_of(&hash, b"Copy-Room 7!"));
        for other in [&b"copy-room 7!"[..], b"CopyRoom7!", b"Copy-Room 7", b""] {
            assert!(!pepper(1).slow_hasher().is_of(&hash, other));
        }
        assert!(!pepper(2).slow_hasher().is_of(&hash, b"Copy-Room 7!"), "the store alone is worth nothing");
        assert_ne!(pepper(1).slow_hasher().hash(b"Copy-Room 7!").unwrap(), hash, "each has a salt of its own");
        assert!(!pepper(1).slow_hasher().is_of(&SlowHash("what is this".to_owned()), b"what is this"));
        assert_eq!(format!("{hash:?}"), "[slow hash]");
    }

    #[test]
    fn a_verifier_is_worth_nothing_under_another_pepper() {
        assert_ne!(pepper(1).verifier(b"abc"), pepper(2).verifier(b"abc"));
    }
}
