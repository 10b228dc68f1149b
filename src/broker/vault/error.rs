//! What can be wrong with a key or a sealed value, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::base::{Answer, Fault, KeyId, Reference, Whose};
use crate::store::StoreError;

/// A key or a sealed value is not as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// Another process has been changing the keys for a long time.
    #[error("another process has been changing the keys in `{folder}` for {seconds} seconds", folder = folder.display())]
    Busy {
        /// The folder of the keys.
        folder: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The octets are not those that were sealed.
    #[error("{what} is damaged: {how}")]
    Damaged {
        /// What was to be opened.
        what: String,
        /// How it shows.
        how: String,
        /// How it can be had anew.
        way_out: String,
    },
    /// The master key, or the sealed pepper, is missing although the store holds what was made with it.
    #[error("`{path}` is missing, but the store holds what was made with it", path = path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The master key is the administrator's, so the new one has to be, too.
    #[error("the master key comes from {place}, where Postern cannot put a new one")]
    NewKeyNeeded {
        /// Where the present one comes from.
        place: String,
    },
    /// The system has no randomness to give.
    #[error("the system has no randomness to give")]
    NoRandomness,
    /// One value was sealed by a key that is not known here, while others open.
    #[error("{what} was sealed by the key {wanted}, which is not known here")]
    OtherKey {
        /// What was to be opened.
        what: String,
        /// The key it was sealed by.
        wanted: KeyId,
        /// How it can be had anew.
        way_out: String,
    },
    /// A file of the keys cannot be read.
    #[error("`{path}` cannot be read: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The new key is the present one.
    #[error("the new key is the present one ({key})")]
    SameKey {
        /// The key.
        key: KeyId,
    },
    /// The store cannot be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The master key cannot be read.
    #[error("the master key cannot be read from {place}: {reason}")]
    Unreadable {
        /// File, variable, credential or command.
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
    /// The master key that was found is not the one that sealed what is here.
    #[error(
        "the pepper of the app passwords does not open with this master key: the key {given} is in {place}, and it was sealed by {wanted}",
        wanted = wanted.map_or_else(|| "another".to_owned(), |key| format!("the key {key}"))
    )]
    WrongMaster {
        /// Where the master key was found.
        place: String,
        /// The key that is there.
        given: KeyId,
        /// The key that is needed; values of the first version do not say.
        wanted: Option<KeyId>,
    },
    /// A file cannot be written.
    #[error("`{path}` cannot be written: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Fault for VaultError {
    fn code(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "keys-busy",
            Self::Damaged { .. } => "sealed-value-damaged",
            Self::Missing { .. } => "key-missing",
            Self::NewKeyNeeded { .. } => "new-key-needed",
            Self::NoRandomness => "no-randomness",
            Self::OtherKey { .. } => "sealed-by-another-key",
            Self::Read { .. } | Self::Unreadable { .. } => "key-unreadable",
            Self::SameKey { .. } => "new-key-is-the-old-one",
            Self::Store(error) => error.code(),
            Self::WrongKey { .. } | Self::WrongMaster { .. } => "key-wrong",
            Self::Write { .. } => "key-cannot-be-written",
        }
    }

    fn whose(&self) -> Whose {
        match self {
            Self::Store(error) => error.whose(),
            _ => Whose::Administrator,
        }
    }

    fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::Busy { .. } => "Look for a `postern key rotate` that hangs, and end it; nothing is lost by that.".to_owned(),
            Self::Damaged { way_out, .. } => way_out.clone(),
            Self::Missing { .. } | Self::WrongKey { .. } => {
                "Put back the `keys` folder (or the key that [keys] names) that belongs to this store, from the backup. Without it \
                 no app password and no sign-in in the store can be used; nothing was changed."
                    .to_owned()
            }
            Self::NewKeyNeeded { .. } => {
                "Make the new key yourself, such as with `(umask 077; openssl rand -base64 32 > new.key)`, and run `postern key rotate \
                 --new-key-file new.key`; it tells what to do next."
                    .to_owned()
            }
            Self::NoRandomness => "Look at the system's random number generator.".to_owned(),
            Self::OtherKey { way_out, .. } => {
                format!("Look with `postern key status`. If that key is lost: {way_out}")
            }
            Self::SameKey { .. } => "Give another one, such as from `openssl rand -base64 32`.".to_owned(),
            Self::Store(error) => return error.remedy(),
            Self::Unreadable { place, .. } if place.starts_with("the systemd credential") => {
                "systemd gives a credential to the service alone. For a command, set CREDENTIALS_DIRECTORY to the folder of the running \
                 service's credentials, as root or as its user; docs/OPERATING.md shows it."
                    .to_owned()
            }
            Self::Unreadable { place, .. } if place.starts_with("the command") => {
                "Run the command of [keys] master_command by hand, as the user that runs Postern: it has to print the key, 32 octets in \
                 base64, and nothing else on stdout, and to end with 0."
                    .to_owned()
            }
            Self::Unreadable { .. } => {
                "The key is 32 octets in base64. Look at [keys] in the configuration and at who may read the key.".to_owned()
            }
            Self::WrongMaster { wanted, .. } => format!(
                "Put the right key{wanted} back there, from the backup of this store's keys, or correct [keys] in the configuration. \
                 `postern key status` tells which key opens what; nothing was changed.",
                wanted = wanted.map(|key| format!(" ({key})")).unwrap_or_default()
            ),
            Self::Read { .. } | Self::Write { .. } => "Look at the owner and mode of the data folder, and at the space on its disk.".to_owned(),
        })
    }

    fn answer(&self, reference: Reference) -> Answer {
        match self {
            Self::Store(error) => error.answer(reference),
            _ => Answer::MustAct(reference),
        }
    }
}
