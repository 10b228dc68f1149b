//! Files that only their owner may read, written whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Makes a folder (and those above it) that only its owner can enter, or leaves one that is there as it is.
///
/// # Errors
/// What the system says.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Opens a file for reading and writing, making it with mode 0600 if need be. Its content stays.
///
/// # Errors
/// What the system says.
pub fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Writes a file (mode 0600) whole or not at all: beside it first, flushed, then renamed, and the folder flushed.
///
/// # Errors
/// What the system says; then the file is as it was.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = Path::new(&beside);
    let written = write_beside(beside, path, content);
    if written.is_err() {
        drop(fs::remove_file(beside));
    }
    written
}

fn write_beside(beside: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    // Left over from a process of this number that was killed here; its mode may not be trusted.
    match fs::remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = open_private(beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    flush_folder_of(path)
}

/// Removes a file for good: the folder is flushed. One that is not there is no error.
///
/// # Errors
/// What the system says.
pub fn remove_durably(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed?,
    }
    flush_folder_of(path)
}

/// Flushes the folder that a file lies in, so that its name survives a power cut.
///
/// # Errors
/// What the system says.
#[cfg(unix)]
pub fn flush_folder_of(path: &Path) -> io::Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Windows has no flushing of folders.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn flush_folder_of(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_replaced_whole_and_nobody_else_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        make_private_folder(&inner).unwrap();
        let path = inner.join("key");
        write_private(&path, b"first").unwrap();
        write_private(&path, b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_eq!(fs::read_dir(&inner).unwrap().count(), 1, "nothing is left beside it");
        for _ in 0..2 {
            let other = inner.join("other");
            write_private(&other, b"3").unwrap();
            remove_durably(&other).unwrap();
            remove_durably(&other).unwrap();
            assert!(!other.exists());
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&path), mode(&inner)), (0o600, 0o700));
        }
    }
}
