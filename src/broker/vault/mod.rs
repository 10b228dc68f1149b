//! Sealing what must survive on disk: refresh tokens in the store, and the pepper of the app passwords.
//!
//! Each value is encrypted under a data key of its own (AES-256-GCM), and that data key under the master key, so that a new
//! master key means re-wrapping small keys. The place of a value (table, tenant, account, version) is authenticated with it: a row
//! copied to another place does not open.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroize;

use crate::base::files::{make_private_folder, open_private, write_private};
use crate::base::{Answer, Fault, Mailbox, Reference, Secret, TenantName, Whose};

/// Where the master key is.
#[derive(Clone, Debug, Default)]
pub enum KeySource {
    /// `keys/master.key` in `data_dir`, made on first run.
    #[default]
    Own,
    /// A file; it must be there.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A systemd credential.
    Credential(String),
}

/// Seals and unseals.
pub struct Vault {
    master: RandomizedNonceKey,
}

/// The place of a sealed value; it is authenticated with it.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// The pepper of the app passwords.
    Pepper,
    /// The refresh token of an account.
    RefreshToken {
        /// Its tenant.
        tenant: &'a TenantName,
        /// The account that signed in.
        account: &'a Mailbox,
    },
}

impl Place<'_> {
    fn associated_data(&self, part: &str) -> Vec<u8> {
        // Lengths in front of the names, so that no two places can be spelled alike.
        match self {
            Self::Pepper => format!("postern/1/{part}/pepper").into_bytes(),
            Self::RefreshToken { tenant, account } => format!(
                "postern/1/{part}/sign_in/{}:{}/{}:{}",
                tenant.as_str().len(),
                tenant,
                account.as_str().len(),
                account
            )
            .into_bytes(),
        }
    }
}

/// A key or a sealed value is not as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The master key, or the sealed pepper, is missing although the store holds what was made with it.
    #[error("`{path}` is missing, but the store holds what was made with it", path = path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The master key cannot be read.
    #[error("the master key cannot be read from {place}: {reason}")]
    Unreadable {
        /// File, variable or credential.
        place: String,
        /// Why not.
        reason: String,
    },
    /// The master key is not the one that sealed this.
    #[error("{what} does not open with this master key")]
    WrongKey {
        /// What was to be opened.
        what: String,
    },
    /// A file cannot be written.
    #[error("`{path}` cannot be written: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system has no randomness to give.
    #[error("the system has no randomness to give")]
    NoRandomness,
}

impl Fault for VaultError {
    fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "key-missing",
            Self::Unreadable { .. } => "key-unreadable",
            Self::WrongKey { .. } => "key-wrong",
            Self::Write { .. } => "key-cannot-be-written",
            Self::NoRandomness => "no-randomness",
        }
    }

    fn whose(&self) -> Whose {
        Whose::Administrator
    }

    fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::Missing { .. } | Self::WrongKey { .. } => {
                "Put back the `keys` folder (or the key that [keys] names) that belongs to this store, from the backup. Without it \
                 no app password and no sign-in in the store can be used; nothing was changed."
                    .to_owned()
            }
            Self::Unreadable { place, .. } if place.starts_with("the systemd credential") => {
                "systemd gives a credential to the service alone. For a command, set CREDENTIALS_DIRECTORY to the folder of the running \
                 service's credentials, as root or as its user; docs/OPERATING.md shows it."
                    .to_owned()
            }
            Self::Unreadable { .. } => {
                "The key is 32 octets in base64. Look at [keys] in the configuration and at who may read the key.".to_owned()
            }
            Self::Write { .. } => "Look at the owner and mode of the data folder, and at the space on its disk.".to_owned(),
            Self::NoRandomness => "Look at the system's random number generator.".to_owned(),
        })
    }

    fn answer(&self, reference: Reference) -> Answer {
        Answer::MustAct(reference)
    }
}

impl Vault {
    /// Opens the master key and the pepper. In a data folder whose store is still empty (`fresh`), what is missing is made;
    /// otherwise a missing or wrong key is an error and nothing on disk is changed.
    ///
    /// Returns the vault and the pepper, 32 octets.
    ///
    /// # Errors
    /// [`VaultError`], each variant.
    pub fn open(data_dir: &Path, source: &KeySource, fresh: bool) -> Result<(Self, Secret<[u8; 32]>), VaultError> {
        let folder = data_dir.join("keys");
        make_private_folder(&folder).map_err(|source| VaultError::Write { path: folder.clone(), source })?;
        // Two processes that start at once must agree on what they make.
        let lock_file = folder.join("lock");
        let lock = open_private(&lock_file).map_err(|source| VaultError::Write { path: lock_file.clone(), source })?;
        lock.lock().map_err(|source| VaultError::Write { path: lock_file, source })?;

        let pepper_file = folder.join("pepper.sealed");
        let may_make = fresh && !pepper_file.exists();
        let vault = Self::new(&*read_master(&folder, source, may_make)?);
        let pepper = match fs::read(&pepper_file) {
            Ok(sealed) => {
                let plain = vault.unseal(Place::Pepper, &sealed)?;
                let mut pepper = [0; 32];
                if plain.expose().len() != pepper.len() {
                    return Err(VaultError::WrongKey { what: Place::Pepper.name() });
                }
                pepper.copy_from_slice(plain.expose());
                Secret::new(pepper)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_make => {
                let pepper = random_key()?;
                let sealed = vault.seal(Place::Pepper, pepper.expose())?;
                write_private(&pepper_file, &sealed)
                    .map_err(|source| VaultError::Write { path: pepper_file.clone(), source })?;
                pepper
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(VaultError::Missing { path: pepper_file });
            }
            Err(error) => {
                return Err(VaultError::Unreadable {
                    place: pepper_file.display().to_string(),
                    reason: error.to_string(),
                });
            }
        };
        Ok((vault, pepper))
    }

    fn new(master: &Secret<[u8; 32]>) -> Self {
        Self { master: key(master.expose()) }
    }

    /// Seals a value for its place: version 1, the wrapped data key (60 octets), then nonce, ciphertext and tag.
    ///
    /// # Errors
    /// [`VaultError::NoRandomness`].
    pub fn seal(&self, place: Place<'_>, value: &[u8]) -> Result<Vec<u8>, VaultError> {
        let data_key = random_key()?;
        let mut sealed = vec![1];
        sealed.extend(encrypt(&self.master, &place.associated_data("key"), data_key.expose())?);
        sealed.extend(encrypt(&key(data_key.expose()), &place.associated_data("value"), value)?);
        Ok(sealed)
    }

    /// Opens what [`seal`](Vault::seal) made for this place.
    ///
    /// # Errors
    /// [`VaultError::WrongKey`] when the key, the place or the octets are not the ones of then.
    pub fn unseal(&self, place: Place<'_>, sealed: &[u8]) -> Result<Secret<Vec<u8>>, VaultError> {
        const WRAPPED: usize = NONCE_LEN + 32 + 16;
        let wrong = || VaultError::WrongKey { what: place.name() };
        let (1, rest) = sealed.split_first().map(|(version, rest)| (*version, rest)).ok_or_else(wrong)? else {
            return Err(wrong());
        };
        let (wrapped, value) = rest.split_at_checked(WRAPPED).ok_or_else(wrong)?;
        let data_key = decrypt(&self.master, &place.associated_data("key"), wrapped).ok_or_else(wrong)?;
        let mut raw = [0; 32];
        raw.copy_from_slice(data_key.expose());
        let data_key = key(&raw);
        raw.zeroize();
        decrypt(&data_key, &place.associated_data("value"), value).ok_or_else(wrong)
    }
}

impl Place<'_> {
    fn name(&self) -> String {
        match self {
            Self::Pepper => "the pepper of the app passwords".to_owned(),
            Self::RefreshToken { account, .. } => format!("the sign-in of {account}"),
        }
    }
}

fn key(octets: &[u8; 32]) -> RandomizedNonceKey {
    // 32 octets are always a key for AES-256.
    #[expect(clippy::expect_used, reason = "the length is right by type")]
    RandomizedNonceKey::new(&AES_256_GCM, octets).expect("32 octets")
}

fn encrypt(key: &RandomizedNonceKey, associated: &[u8], value: &[u8]) -> Result<Vec<u8>, VaultError> {
    let mut cipher = value.to_vec();
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

fn random_key() -> Result<Secret<[u8; 32]>, VaultError> {
    let mut octets = [0; 32];
    rand::fill(&mut octets).map_err(|_| VaultError::NoRandomness)?;
    Ok(Secret::new(octets))
}

fn read_master(folder: &Path, source: &KeySource, may_make: bool) -> Result<Box<Secret<[u8; 32]>>, VaultError> {
    let own = folder.join("master.key");
    let (place, text) = match source {
        KeySource::Own => (own.display().to_string(), read_text(&own)),
        KeySource::File(path) => (path.display().to_string(), read_text(path)),
        KeySource::Environment(name) => (
            format!("the environment variable {name}"),
            std::env::var(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string())),
        ),
        KeySource::Credential(name) => (
            format!("the systemd credential {name}"),
            match std::env::var_os("CREDENTIALS_DIRECTORY") {
                Some(directory) => read_text(&Path::new(&directory).join(name)),
                None => Err(io::Error::new(io::ErrorKind::InvalidInput, "systemd gave no credentials to this process")),
            },
        ),
    };
    match text {
        Ok(text) => {
            let text = Secret::new(text);
            let mut octets = [0; 32];
            let decoded = STANDARD.decode_slice(text.expose().trim(), &mut octets);
            if decoded != Ok(octets.len()) {
                return Err(VaultError::Unreadable { place, reason: "it is not 32 octets in base64".to_owned() });
            }
            let master = Box::new(Secret::new(octets));
            octets.zeroize();
            Ok(master)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && matches!(source, KeySource::Own) => {
            if !may_make {
                return Err(VaultError::Missing { path: own });
            }
            let master = random_key()?;
            let text = Secret::new(STANDARD.encode(master.expose()) + "\n");
            write_private(&own, text.expose().as_bytes()).map_err(|source| VaultError::Write { path: own, source })?;
            Ok(Box::new(master))
        }
        Err(error) => Err(VaultError::Unreadable { place, reason: error.to_string() }),
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    // A key is 45 octets; a wrong path may lead to something endless.
    File::open(path)?.take(4096).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> TenantName {
        TenantName::new("contoso")
    }

    fn account(text: &str) -> Mailbox {
        text.parse().unwrap()
    }

    #[test]
    fn a_sealed_token_opens_only_in_its_own_place_and_whole() {
        let vault = Vault::new(&Secret::new([7; 32]));
        let (tenant, alice, bob) = (tenant(), account("alice@contoso.test"), account("bob@contoso.test"));
        let place = Place::RefreshToken { tenant: &tenant, account: &alice };
        let sealed = vault.seal(place, b"0.ARoA-refresh").unwrap();
        assert_eq!(vault.unseal(place, &sealed).unwrap().expose(), b"0.ARoA-refresh");
        assert!(!sealed.windows(7).any(|window| window == b"refresh"));

        assert!(vault.unseal(Place::RefreshToken { tenant: &tenant, account: &bob }, &sealed).is_err(), "swapped rows");
        assert!(Vault::new(&Secret::new([8; 32])).unseal(place, &sealed).is_err(), "another master key");
        for place_of_bit in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[place_of_bit] ^= 1;
            assert!(vault.unseal(place, &flipped).is_err(), "bit flipped in octet {place_of_bit}");
        }
        for length in 0..sealed.len() {
            assert!(vault.unseal(place, &sealed[..length]).is_err());
        }
    }

    #[test]
    fn keys_are_made_once_private_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let (vault, pepper) = Vault::open(folder.path(), &KeySource::Own, true).unwrap();
        let sealed = vault.seal(Place::Pepper, b"x").unwrap();
        let (again, same) = Vault::open(folder.path(), &KeySource::Own, false).unwrap();
        assert_eq!(pepper.expose(), same.expose());
        assert_eq!(again.unseal(Place::Pepper, &sealed).unwrap().expose(), b"x");
        #[cfg(unix)]
        for file in ["keys/master.key", "keys/pepper.sealed"] {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(folder.path().join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
        }
    }

    #[test]
    fn a_missing_or_wrong_key_is_an_error_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        Vault::open(folder.path(), &KeySource::Own, true).unwrap();
        let master = folder.path().join("keys/master.key");
        let kept = fs::read(&master).unwrap();

        fs::remove_file(&master).unwrap();
        for fresh in [true, false] {
            let error = Vault::open(folder.path(), &KeySource::Own, fresh).err().unwrap();
            assert_eq!(error.code(), "key-missing");
        }
        assert!(!master.exists());

        fs::write(&master, STANDARD.encode([9; 32])).unwrap();
        assert_eq!(Vault::open(folder.path(), &KeySource::Own, false).err().unwrap().code(), "key-wrong");
        fs::write(&master, "not base64").unwrap();
        assert_eq!(Vault::open(folder.path(), &KeySource::Own, false).err().unwrap().code(), "key-unreadable");

        fs::write(&master, kept).unwrap();
        fs::remove_file(folder.path().join("keys/pepper.sealed")).unwrap();
        assert_eq!(Vault::open(folder.path(), &KeySource::Own, false).err().unwrap().code(), "key-missing");
        assert!(!folder.path().join("keys/pepper.sealed").exists());
    }
}
