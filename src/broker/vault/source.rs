//! Where the master key comes from.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::base::Secret;
use crate::broker::vault::cipher::octets_of;
use crate::broker::vault::command;
use crate::broker::vault::error::VaultError;

/// The longest text that is read as a key. A key has 45 octets; a wrong path may lead to something endless.
pub(in crate::broker::vault) const LONGEST_KEY_TEXT_OCTETS: usize = 4096;

/// Where the master key is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// A program and its arguments, which prints the key.
    Command(Vec<String>),
}

impl KeySource {
    /// In words; `own` is the file of [`KeySource::Own`].
    pub(in crate::broker::vault) fn place(&self, own: &Path) -> String {
        match self {
            Self::Own => format!("`{}`", own.display()),
            Self::File(path) => format!("`{}`", path.display()),
            Self::Environment(name) => format!("the environment variable {name}"),
            Self::Credential(name) => format!("the systemd credential {name}"),
            // The arguments could say more about a key service than belongs in a log.
            Self::Command(words) => format!("the command `{}`", words.first().map_or("", String::as_str)),
        }
    }

    /// The file that holds the key, where it is one, so that it can be read again while Postern runs.
    pub(in crate::broker::vault) fn file(&self, own: &Path) -> Option<PathBuf> {
        match self {
            Self::Own => Some(own.to_owned()),
            Self::File(path) => Some(path.clone()),
            Self::Credential(name) => Some(Path::new(&std::env::var_os("CREDENTIALS_DIRECTORY")?).join(name)),
            Self::Environment(_) | Self::Command(_) => None,
        }
    }

    /// Reads the key.
    ///
    /// # Errors
    /// [`VaultError::Unreadable`]; [`VaultError::Missing`] where Postern's own file is not there.
    pub(in crate::broker::vault) fn read(&self, own: &Path) -> Result<Secret<[u8; 32]>, VaultError> {
        let unreadable = |reason: String| VaultError::Unreadable { place: self.place(own), reason };
        let text = match (self, self.file(own)) {
            (_, Some(path)) => match read_text(&path) {
                Ok(text) => text,
                Err(error) if *self == Self::Own && error.kind() == io::ErrorKind::NotFound => {
                    return Err(VaultError::Missing { path });
                }
                Err(error) => return Err(unreadable(error.to_string())),
            },
            (Self::Environment(name), None) => match std::env::var(name) {
                Ok(text) => Zeroizing::new(text),
                Err(std::env::VarError::NotPresent) => return Err(unreadable("it is not set".to_owned())),
                // The error would show the value.
                Err(std::env::VarError::NotUnicode(_)) => return Err(unreadable("it is not UTF-8".to_owned())),
            },
            (Self::Command(words), None) => command::run(words).map_err(unreadable)?,
            (_, None) => return Err(unreadable("systemd gave no credentials to this process".to_owned())),
        };
        read_key(&text).map_err(|reason| unreadable(reason.to_owned()))
    }
}

/// Reads a new key that the administrator made; `text` is what its file holds.
///
/// # Errors
/// With what is wrong with it.
pub fn read_key(text: &str) -> Result<Secret<[u8; 32]>, &'static str> {
    let text = text.trim();
    if text.is_empty() {
        return Err("it is empty");
    }
    let octets = Zeroizing::new(STANDARD.decode(text).map_err(|_| "it is not 32 octets in base64")?);
    octets_of(&octets).ok_or(if octets.len() < 32 {
        "it is shorter than 32 octets"
    } else {
        "it is longer than 32 octets"
    })
}

/// A key as it stands in a file.
pub(in crate::broker::vault) fn write_key(key: &Secret<[u8; 32]>) -> Zeroizing<String> {
    // Room for the line end at once: growing would leave a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(64));
    STANDARD.encode_string(key.expose(), &mut text);
    text.push('\n');
    text
}

fn read_text(path: &Path) -> io::Result<Zeroizing<String>> {
    let limit = LONGEST_KEY_TEXT_OCTETS as u64;
    let mut text = Zeroizing::new(String::with_capacity(LONGEST_KEY_TEXT_OCTETS));
    File::open(path)?.take(limit).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_octets_in_base64_and_what_is_wrong_with_another_text_is_said_without_it() {
        let right = STANDARD.encode([9; 32]);
        for (text, wrong) in [
            (right.clone(), None),
            (format!("  {right}\r\n"), None),
            (String::new(), Some("it is empty")),
            ("\n".to_owned(), Some("it is empty")),
            (STANDARD.encode([9; 31]), Some("it is shorter than 32 octets")),
            (STANDARD.encode([9; 16]), Some("it is shorter than 32 octets")),
            (STANDARD.encode([9; 64]), Some("it is longer than 32 octets")),
            ("not base64".to_owned(), Some("it is not 32 octets in base64")),
            (format!("{right}\n{right}"), Some("it is not 32 octets in base64")),
            (right.trim_end_matches('=').to_owned(), Some("it is not 32 octets in base64")),
        ] {
            let read = read_key(&text);
            assert_eq!(read.as_ref().err().copied(), wrong, "{text:?}");
            assert!(read.is_err() || read.is_ok_and(|key| *key.expose() == [9; 32]));
        }
        assert_eq!(read_key(&write_key(&Secret::new([9; 32]))).unwrap().expose(), &[9; 32]);
    }
}
