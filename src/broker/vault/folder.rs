//! The folder `keys` in the data folder: what lies in it, and who may change it when.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::base::envelope::Envelope;
use crate::base::files::{make_private_folder, open_private, remove_durably, write_private};
use crate::broker::vault::error::VaultError;

/// How long another process that changes the keys is waited for. On first run it may be asking a command for the master key.
const PATIENCE: Duration = Duration::from_secs(60);

/// The folder `keys`.
#[derive(Clone, Debug)]
pub(in crate::broker::vault) struct Folder(PathBuf);

/// Held while the keys are read (several may) or changed (one may).
pub(in crate::broker::vault) struct Held(#[expect(dead_code, reason = "it is held, not used")] File);

impl Folder {
    pub(in crate::broker::vault) fn of(data_dir: &Path) -> Self {
        Self(data_dir.join("keys"))
    }

    /// The master key that Postern made, in base64.
    pub(in crate::broker::vault) fn own(&self) -> PathBuf {
        self.0.join("master.key")
    }

    /// The pepper of the app passwords, sealed.
    pub(in crate::broker::vault) fn pepper(&self) -> PathBuf {
        self.0.join("pepper.sealed")
    }

    /// While the master key is being changed: the new one, sealed by the old one. Whoever has the old one finds the new one here.
    pub(in crate::broker::vault) fn next(&self) -> PathBuf {
        self.0.join("next.sealed")
    }

    /// After a change: the old master key, sealed by the new one. It opens what was sealed by the old one at that very moment, and a backup of
    /// the store that is older than the keys beside it.
    pub(in crate::broker::vault) fn previous(&self) -> PathBuf {
        self.0.join("previous.sealed")
    }

    fn lock_file(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Makes the folder, readable by its owner alone, if need be.
    pub(in crate::broker::vault) fn make(&self) -> Result<(), VaultError> {
        make_private_folder(&self.0).map_err(|source| VaultError::Write { path: self.0.clone(), source })
    }

    /// Keeps everybody else from reading and changing the keys.
    pub(in crate::broker::vault) fn hold(&self) -> Result<Held, VaultError> {
        let file = self.open_lock()?;
        self.wait(file, File::try_lock)
    }

    /// The same, but only if nobody holds them now.
    pub(in crate::broker::vault) fn try_hold(&self) -> Result<Option<Held>, VaultError> {
        let file = self.open_lock()?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Held(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(VaultError::Write { path: self.lock_file(), source }),
        }
    }

    /// Keeps everybody else from changing the keys. Without a lock file nobody is at it, and none is made.
    pub(in crate::broker::vault) fn hold_to_read(&self) -> Result<Option<Held>, VaultError> {
        match File::open(self.lock_file()) {
            Ok(file) => self.wait(file, File::try_lock_shared).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(VaultError::Read { path: self.lock_file(), source }),
        }
    }

    fn open_lock(&self) -> Result<File, VaultError> {
        let path = self.lock_file();
        open_private(&path).map_err(|source| VaultError::Write { path, source })
    }

    fn wait(&self, file: File, lock: fn(&File) -> Result<(), TryLockError>) -> Result<Held, VaultError> {
        let end = Instant::now() + PATIENCE;
        loop {
            match lock(&file) {
                Ok(()) => return Ok(Held(file)),
                Err(TryLockError::WouldBlock) if Instant::now() < end => thread::sleep(Duration::from_millis(10)),
                Err(TryLockError::WouldBlock) => {
                    return Err(VaultError::Busy { folder: self.0.clone(), seconds: PATIENCE.as_secs() });
                }
                Err(TryLockError::Error(source)) => return Err(VaultError::Write { path: self.lock_file(), source }),
            }
        }
    }

    /// Removes what a process left that was killed while it wrote: it may hold a key. Only while the keys are held.
    pub(in crate::broker::vault) fn tidy(&self, _held: &Held) -> Result<(), VaultError> {
        let failed = |source| VaultError::Write { path: self.0.clone(), source };
        for entry in fs::read_dir(&self.0).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "new") {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// What tells whether something here, or the file that the master key comes from, has changed: time and length of each.
    pub(in crate::broker::vault) fn stamp(&self, source: Option<&Path>) -> Stamp {
        let of = |path: &Path| {
            let metadata = fs::metadata(path).ok()?;
            #[cfg(unix)]
            let number = std::os::unix::fs::MetadataExt::ino(&metadata);
            #[cfg(not(unix))]
            let number = 0;
            Some((metadata.modified().ok(), metadata.len(), number))
        };
        Stamp([source.and_then(of), of(&self.pepper()), of(&self.next()), of(&self.previous())])
    }
}

/// See [`Folder::stamp`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::broker::vault) struct Stamp([Option<(Option<SystemTime>, u64, u64)>; 4]);

/// The longest sealed value that is read from a file. They have some 130 octets.
const LONGEST_OCTETS: u64 = 4096;

/// Reads a sealed value; `None` if the file is not there.
pub(in crate::broker::vault) fn read(path: &Path) -> Result<Option<Vec<u8>>, VaultError> {
    use std::io::Read;
    let mut sealed = Vec::new();
    match File::open(path).and_then(|file| file.take(LONGEST_OCTETS).read_to_end(&mut sealed)) {
        Ok(_) => Ok(Some(sealed)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(VaultError::Read { path: path.to_owned(), source }),
    }
}

/// The key that a file's value was sealed by, where that can be told.
pub(in crate::broker::vault) fn key_of(path: &Path) -> Option<crate::base::KeyId> {
    Envelope::read(&read(path).ok()??).ok()?.key
}

pub(in crate::broker::vault) fn write(path: &Path, content: &[u8]) -> Result<(), VaultError> {
    write_private(path, content).map_err(|source| VaultError::Write { path: path.to_owned(), source })
}

pub(in crate::broker::vault) fn remove(path: &Path) -> Result<(), VaultError> {
    remove_durably(path).map_err(|source| VaultError::Write { path: path.to_owned(), source })
}
