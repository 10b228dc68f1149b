//! Messages on disk: one file each, flushed before anybody is told that the message is kept.
//!
//! A draft is written while the message comes, and becomes part of the spool only when it is complete: the file is flushed, renamed, and
//! its folder flushed. The name says how far a message has come, so that what a killed process leaves can be told apart at the next start:
//! `part` is still coming, `new` is whole and perhaps not in the queue yet, `eml` is in the queue, `gone` is perhaps not in it any more.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use crate::base::files::{flush_folder_of, make_private_folder, open_private, remove_durably};
use crate::base::{Answer, Fault, Reference, Whose};
use crate::wire::header;

/// The folder in `data_dir`.
const FOLDER: &str = "spool";

/// How full quota or disk may be before nothing more is taken in.
const FULL_PERCENT: u64 = 80;

/// With so many octets free a disk is not full, however large it is.
const PLENTY_OCTETS: u64 = 10 * 1024 * 1024 * 1024;

/// How often the files are counted at most.
const COUNTING_TIME: Duration = Duration::from_secs(2);

/// A complete message.
const COMPLETE: &str = "eml";

/// A whole message that the queue may not know yet.
const NEW: &str = "new";

/// A message that the queue may not know any more.
const GONE: &str = "gone";

/// The folder for whole messages that the queue does not know.
const LEFT_OVER: &str = "left-over";

/// A message that is still coming.
const DRAFT: &str = "part";

/// Octets within which a header ends that was looked through when it came, and what was added to it.
const LONGEST_HEADER_OCTETS: u64 = 600 * 1024;

/// Octets at the beginning of a message that are kept in memory, to read the header from.
const HEADER_OCTETS: usize = 64 * 1024;

/// The spool cannot take or give a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// A file cannot be written, read or removed.
    #[error("the spool file `{path}` cannot be used: {source}", path = path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Disk or quota are too full.
    #[error("the spool takes no more: {why}")]
    Full {
        /// What is full.
        why: String,
    },
    /// There is no name for a file.
    #[error("the system has no randomness to give")]
    Random,
}

impl Fault for SpoolError {
    fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "spool-failed",
            Self::Full { .. } => "spool-full",
            Self::Random => "no-randomness",
        }
    }

    fn whose(&self) -> Whose {
        Whose::Administrator
    }

    fn remedy(&self) -> Option<String> {
        Some(
            match self {
                Self::File { .. } => "Look at the space and the health of the disk that holds `data_dir`, and at the owner of the folder.",
                Self::Full { .. } => {
                    "Make room on the disk that holds `data_dir`, or raise `spool_bytes` under [delivery]; `postern queue list` shows what waits."
                }
                Self::Random => "Look at the system's source of randomness.",
            }
            .to_owned(),
        )
    }

    fn answer(&self, reference: Reference) -> Answer {
        Answer::DiskGuard(reference)
    }
}

/// What was found at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files that were of no more use.
    pub removed: usize,
    /// Messages that the queue has forgotten.
    pub set_aside: usize,
}

/// The folder of messages.
#[derive(Clone, Debug)]
pub struct Spool {
    folder: PathBuf,
    limit_octets: u64,
    /// Octets of everything in it, drafts included.
    used_octets: Arc<AtomicU64>,
    /// When its files were counted last.
    counted_at: Arc<Mutex<Instant>>,
}

impl Spool {
    /// Opens the spool in `data_dir`, making it (mode 0700) if need be. `limit_octets` is how much may lie in it.
    ///
    /// # Errors
    /// [`SpoolError::File`].
    pub fn open(data_dir: &Path, limit_octets: u64) -> Result<Self, SpoolError> {
        let folder = data_dir.join(FOLDER);
        let failed = |source| SpoolError::File { path: folder.clone(), source };
        make_private_folder(&folder).map_err(failed)?;
        let used = count(&folder).map_err(failed)?;
        let counted_at = Arc::new(Mutex::new(Instant::now()));
        Ok(Self { folder, limit_octets, used_octets: Arc::new(AtomicU64::new(used)), counted_at })
    }

    /// Octets that are used, as this process knows it.
    fn used_with(&self, octets: u64) -> u64 {
        self.used_octets.load(Ordering::Relaxed).saturating_add(octets)
    }

    /// Counts the files anew, unless that was done a moment ago: the command line takes messages out as well.
    fn count_again(&self) {
        let mut counted_at = self.counted_at.lock().unwrap_or_else(PoisonError::into_inner);
        if counted_at.elapsed() < COUNTING_TIME {
            return;
        }
        *counted_at = Instant::now();
        if let Ok(used) = count(&self.folder) {
            self.used_octets.store(used, Ordering::Relaxed);
        }
    }

    /// Whether a message of this size may be taken in.
    ///
    /// # Errors
    /// [`SpoolError::Full`] if not.
    pub fn check_room(&self, octets: u64) -> Result<(), SpoolError> {
        let most = self.limit_octets / 100 * FULL_PERCENT;
        if self.used_with(octets) > most {
            self.count_again();
        }
        let used = self.used_with(octets);
        if used > most {
            let why = format!("{used} of {} octets that `spool_bytes` allows would be used", self.limit_octets);
            return Err(SpoolError::Full { why });
        }
        match disk(&self.folder) {
            // Half as much again, so that what is written about it has room as well.
            Some((free, _)) if free < octets.saturating_add(octets / 2) => {
                Err(SpoolError::Full { why: format!("the disk has {free} octets left") })
            }
            Some((free, all)) if free < PLENTY_OCTETS && free < all / 100 * (100 - FULL_PERCENT) => {
                Err(SpoolError::Full { why: format!("the disk has {free} of {all} octets left") })
            }
            _ => Ok(()),
        }
    }

    /// Begins to take a message in.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub async fn begin(&self) -> Result<Draft, SpoolError> {
        self.check_room(0)?;
        self.begin_anyway().await
    }

    /// The same where the guard holds already, for what belongs to a message that was acknowledged.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub async fn begin_anyway(&self) -> Result<Draft, SpoolError> {
        let id = fresh_id().ok_or(SpoolError::Random)?;
        let path = self.folder.join(format!("{id}.{DRAFT}"));
        let opening = path.clone();
        let opened = tokio::task::spawn_blocking(move || open_private(&opening)).await;
        let opened = opened.unwrap_or_else(|error| Err(io::Error::other(error)));
        let file = opened.map_err(|source| SpoolError::File { path: path.clone(), source })?;
        Ok(Draft {
            spool: self.clone(),
            id,
            path,
            file: File::from_std(file),
            octets: 0,
            head: Vec::new(),
            kept: false,
        })
    }

    /// Opens a message to be sent.
    ///
    /// # Errors
    /// [`SpoolError::File`].
    pub async fn read(&self, id: &str) -> Result<Reading, SpoolError> {
        let mut missing = None;
        // The last once more: it may have got that name meanwhile.
        for stage in [COMPLETE, NEW, GONE, COMPLETE] {
            let path = self.path(id, stage);
            match File::open(&path).await {
                Ok(file) => return Ok(Reading { file, path }),
                Err(source) if source.kind() == io::ErrorKind::NotFound => {
                    missing = Some(SpoolError::File { path, source });
                }
                Err(source) => return Err(SpoolError::File { path, source }),
            }
        }
        Err(missing.unwrap_or(SpoolError::Random))
    }

    /// The queue has a message that was kept. Where this fails the next start makes up for it.
    pub async fn settle(&self, id: &str) {
        drop(tokio::fs::rename(self.path(id, NEW), self.path(id, COMPLETE)).await);
    }

    /// A message is about to be taken out of the queue: what a process that is killed behind that leaves is of no more use.
    pub async fn retire(&self, id: &str) {
        for stage in [COMPLETE, NEW] {
            drop(tokio::fs::rename(self.path(id, stage), self.path(id, GONE)).await);
        }
    }

    /// Removes a message for good. One that is not there is no error.
    ///
    /// # Errors
    /// [`SpoolError::File`].
    pub async fn remove(&self, id: &str) -> Result<(), SpoolError> {
        let path = self.path(id, COMPLETE);
        let used = Arc::clone(&self.used_octets);
        let removing = [COMPLETE, NEW, GONE].map(|stage| self.path(id, stage));
        let removed = tokio::task::spawn_blocking(move || {
            for path in removing {
                if let Ok(metadata) = std::fs::metadata(&path) {
                    remove_durably(&path)?;
                    less(&used, metadata.len());
                }
            }
            Ok(())
        });
        let removed = removed.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        removed.map_err(|source| SpoolError::File { path, source })
    }

    /// Tidies up after a process that ended in the middle: what nobody was told of and what is done with is removed. A message that was in
    /// the queue and that `known` lacks is set aside, since a store that was restored or emptied may have forgotten it. Only for whoever
    /// serves the folder, before it takes messages in.
    ///
    /// # Errors
    /// [`SpoolError::File`].
    pub fn sweep(&self, known: &HashSet<String>) -> Result<Swept, SpoolError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| SpoolError::File { path, source }
        };
        let mut swept = Swept::default();
        for entry in std::fs::read_dir(&self.folder).map_err(failed(&self.folder))? {
            let path = entry.map_err(failed(&self.folder))?.path();
            let name =
                |part: Option<&std::ffi::OsStr>| part.and_then(|part| part.to_str()).unwrap_or_default().to_owned();
            let (id, stage) = (name(path.file_stem()), name(path.extension()));
            let octets = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
            match (stage.as_str(), known.contains(&id)) {
                (NEW | GONE, true) => std::fs::rename(&path, self.path(&id, COMPLETE)).map_err(failed(&path))?,
                (DRAFT, _) | (NEW | GONE, false) => {
                    remove_durably(&path).map_err(failed(&path))?;
                    less(&self.used_octets, octets);
                    swept.removed += 1;
                }
                (COMPLETE, false) => {
                    let aside = self.folder.join(LEFT_OVER);
                    make_private_folder(&aside).map_err(failed(&aside))?;
                    std::fs::rename(&path, aside.join(format!("{id}.{COMPLETE}"))).map_err(failed(&path))?;
                    less(&self.used_octets, octets);
                    swept.set_aside += 1;
                }
                _ => {}
            }
        }
        Ok(swept)
    }

    fn path(&self, id: &str, stage: &str) -> PathBuf {
        self.folder.join(format!("{id}.{stage}"))
    }
}

/// Octets of the files in a folder.
fn count(folder: &Path) -> io::Result<u64> {
    let mut used = 0;
    for entry in std::fs::read_dir(folder)? {
        // A file that has just gone uses nothing.
        let metadata = entry.and_then(|entry| entry.metadata());
        used += metadata.map_or(0, |metadata| if metadata.is_file() { metadata.len() } else { 0 });
    }
    Ok(used)
}

fn less(used: &AtomicU64, octets: u64) {
    let _ = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(used.saturating_sub(octets)));
}

/// Ten letters and digits that nobody else has, and that can be told over the telephone.
fn fresh_id() -> Option<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = [0; 10];
    aws_lc_rs::rand::fill(&mut random).ok()?;
    Some(
        random
            .iter()
            .filter_map(|octet| LETTERS.get(usize::from(octet % 32)))
            .map(|letter| char::from(*letter))
            .collect(),
    )
}

/// Free and all octets of the disk.
#[cfg(unix)]
fn disk(folder: &Path) -> Option<(u64, u64)> {
    let stat = nix::sys::statvfs::statvfs(folder).ok()?;
    // The counts have other widths on other systems.
    let octets = |blocks: u128| u64::try_from(blocks * u128::from(stat.fragment_size())).unwrap_or(u64::MAX);
    Some((octets(u128::from(stat.blocks_available())), octets(u128::from(stat.blocks()))))
}

/// The quota alone counts where the system is not asked.
#[cfg(not(unix))]
fn disk(_folder: &Path) -> Option<(u64, u64)> {
    None
}

/// A message that is coming. Unless it is kept it goes when this is dropped.
#[derive(Debug)]
pub struct Draft {
    spool: Spool,
    id: String,
    path: PathBuf,
    file: File,
    octets: u64,
    head: Vec<u8>,
    kept: bool,
}

impl Draft {
    /// What the message will be called.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Octets so far.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// The beginning of the message, with its header unless that is very long.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Takes a piece.
    ///
    /// # Errors
    /// [`SpoolError`]; then the draft is of no more use.
    pub async fn write(&mut self, piece: &[u8]) -> Result<(), SpoolError> {
        let octets = piece.len() as u64;
        let used = self.spool.used_octets.fetch_add(octets, Ordering::Relaxed) + octets;
        self.octets += octets;
        if used > self.spool.limit_octets {
            return Err(SpoolError::Full { why: "`spool_bytes` is used up".to_owned() });
        }
        let room = HEADER_OCTETS.saturating_sub(self.head.len()).min(piece.len());
        self.head.extend_from_slice(piece.get(..room).unwrap_or_default());
        self.file.write_all(piece).await.map_err(|source| SpoolError::File { path: self.path.clone(), source })
    }

    /// What has come so far, read back.
    ///
    /// # Errors
    /// [`SpoolError::File`].
    pub async fn content(&mut self) -> Result<Vec<u8>, SpoolError> {
        let path = self.path.clone();
        let failed = |source| SpoolError::File { path: path.clone(), source };
        self.file.flush().await.map_err(failed)?;
        tokio::fs::read(&self.path).await.map_err(failed)
    }

    /// Makes the message part of the spool: flushed, with its folder, when this returns. Once it is in the queue, [`Spool::settle`] is due.
    ///
    /// # Errors
    /// [`SpoolError::File`]; then it is gone.
    pub async fn keep(mut self) -> Result<(), SpoolError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| SpoolError::File { path, source }
        };
        self.file.flush().await.map_err(failed(&self.path))?;
        self.file.sync_all().await.map_err(failed(&self.path))?;
        let (from, to) = (self.path.clone(), self.spool.path(&self.id, NEW));
        let renaming = to.clone();
        let renamed = tokio::task::spawn_blocking(move || {
            std::fs::rename(&from, &renaming)?;
            flush_folder_of(&renaming)
        });
        let renamed = renamed.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        if renamed.is_err() {
            // It may lie under either name.
            drop(std::fs::remove_file(&to));
        }
        renamed.map_err(failed(&to))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            drop(std::fs::remove_file(&self.path));
            less(&self.spool.used_octets, self.octets);
        }
    }
}

/// A message that is being read.
#[derive(Debug)]
pub struct Reading {
    file: File,
    path: PathBuf,
}

impl Reading {
    /// The header of the message; `None` if it is longer than any that was looked through. The pieces begin where they would have.
    ///
    /// # Errors
    /// [`SpoolError::File`].
    pub async fn header(&mut self) -> Result<Option<Vec<u8>>, SpoolError> {
        let path = self.path.clone();
        let failed = |source| SpoolError::File { path: path.clone(), source };
        let mut head = Vec::new();
        let read = (&mut self.file).take(LONGEST_HEADER_OCTETS).read_to_end(&mut head).await.map_err(failed)?;
        self.file.rewind().await.map_err(failed)?;
        if read as u64 == LONGEST_HEADER_OCTETS && !header::has_whole_header(&head) {
            return Ok(None);
        }
        let length = header::header_of(&head).len();
        head.truncate(length);
        Ok(Some(head))
    }

    /// The next piece, at most as large as the buffer; empty at the end.
    ///
    /// # Errors
    /// [`SpoolError::File`].
    pub async fn piece<'b>(&mut self, buffer: &'b mut [u8]) -> Result<&'b [u8], SpoolError> {
        match self.file.read(buffer).await {
            Ok(count) => Ok(buffer.get(..count).unwrap_or_default()),
            Err(source) => Err(SpoolError::File { path: self.path.clone(), source }),
        }
    }
}

#[cfg(test)]
mod tests;
