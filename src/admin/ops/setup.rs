//! A first installation: the configuration of a new tenant, the certificate of its application, and what its administrator has to
//! do in Entra ID and Exchange. Nothing here asks anybody anything.

mod certificate;
mod file;
mod powershell;
mod register;
mod script;
mod steps;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use chrono::NaiveDate;

use crate::base::files::{make_private_folder, write_private};
use crate::base::{Fault, Protocol, Whose};
use crate::config::{Cloud, Grant};

pub use self::certificate::{ApplicationCertificate, Kept, ensure_certificate};
pub use self::file::{appended, new_file, tenant_block};
pub use self::script::{Script, is_script};
pub use self::steps::{Proof, Registration, registration};

/// A tenant that is to be written into the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTenant {
    /// What it is called here.
    pub name: String,
    /// Where its presets come from.
    pub cloud: Cloud,
    /// The directory (tenant) ID; not for personal accounts and custom clouds.
    pub tenant_id: Option<String>,
    /// The application (client) ID.
    pub client_id: String,
    /// Who signs in.
    pub grant: Grant,
    /// How the application proves itself.
    pub credential: NewCredential,
    /// The last day of its client secret.
    pub client_secret_expires: Option<NaiveDate>,
    /// What stands in place of the cloud's presets.
    pub endpoints: Vec<(EndpointKey, String)>,
}

/// How the application of a new tenant proves itself: the files that hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewCredential {
    /// A certificate, and its key where that is in a file of its own.
    Certificate {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: Option<PathBuf>,
    },
    /// A token of another issuer.
    Federated(PathBuf),
    /// A public client.
    None,
    /// A client secret.
    Secret(PathBuf),
}

/// A setting under `[tenant.endpoints]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointKey(&'static str);

impl EndpointKey {
    /// Every setting; `scopes.` ones stand in a table of their own.
    pub const ALL: [&'static str; 13] = [
        "authorize_url",
        "device_url",
        "token_url",
        "imap",
        "pop3",
        "smtp",
        "smtp_tls",
        "graph",
        "ca_file",
        "scopes.imap",
        "scopes.pop3",
        "scopes.smtp",
        "scopes.graph",
    ];

    /// The name of the setting.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// The host of a protocol.
    pub fn host(protocol: Protocol) -> Self {
        Self(protocol.name())
    }
}

impl FromStr for EndpointKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|name| *name == text);
        found.map(Self).ok_or_else(|| format!("`{text}` is none of {}", Self::ALL.join(", ")))
    }
}

impl fmt::Display for EndpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What a new tenant needs could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The certificate of the application cannot be made.
    #[error("no certificate can be made for the application")]
    Certificate(#[from] rcgen::Error),
    /// There are files of the names that the certificate is to have, and they are no use.
    #[error("`{path}` is there already, and cannot be used: {why}")]
    CertificateInTheWay {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file cannot be read or written.
    #[error("`{path}` cannot be read or written")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A `[[tenant]]` at the end of the file would change something else, or is not possible there.
    #[error("a [[tenant]] cannot be put at the end of the configuration: {why}")]
    NotAppendable {
        /// What is in the way.
        why: String,
    },
    /// TOML is UTF-8, and a path is not.
    #[error("the path `{path}` is not UTF-8, and cannot stand in the configuration")]
    NotText {
        /// The path.
        path: PathBuf,
    },
}

impl Fault for SetupError {
    fn code(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "application-certificate-not-made",
            Self::CertificateInTheWay { .. } => "application-certificate-in-the-way",
            Self::File { .. } => "setup-file",
            Self::NotAppendable { .. } => "tenant-not-appendable",
            Self::NotText { .. } => "path-not-text",
        }
    }

    fn whose(&self) -> Whose {
        Whose::Administrator
    }

    fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::Certificate(_) => "Look at the system's random number generator.".to_owned(),
            Self::CertificateInTheWay { path, .. } => format!(
                "Move `{}` and what belongs to it away, or give a certificate of your own with --certificate-file.",
                path.display()
            ),
            Self::File { path, .. } => {
                format!("Let this user read and write `{}`, or name another place.", path.display())
            }
            Self::NotAppendable { .. } => {
                "Put the [[tenant]] into the file by hand; config/postern.toml shows every setting.".to_owned()
            }
            Self::NotText { .. } => "Use a path of plain letters.".to_owned(),
        })
    }
}

/// Who is to own the files: the account that the service runs as, where that is another than ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its number.
    pub user: u32,
    /// The number of its group.
    pub group: u32,
    /// Its name.
    pub name: String,
}

impl Owner {
    /// The account that the service runs as: whose `data_dir` is. The system's own one that is still to be made becomes that
    /// of the account `postern`. `None` where it is us, or where this process may give nothing away.
    #[cfg(unix)]
    pub fn of_service(data_dir: &Path, system_data_dir: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;

        use nix::unistd::{Uid, User, geteuid};

        if !geteuid().is_root() {
            return None;
        }
        let user = match std::fs::metadata(data_dir) {
            Ok(found) if found.uid() == 0 => return None,
            Ok(found) => match User::from_uid(Uid::from_raw(found.uid())).ok().flatten() {
                Some(user) => user,
                None => {
                    let name = format!("user {}", found.uid());
                    return Some(Self { user: found.uid(), group: found.gid(), name });
                }
            },
            Err(_) if data_dir == system_data_dir => User::from_name("postern").ok().flatten()?,
            Err(_) => return None,
        };
        Some(Self { user: user.uid.as_raw(), group: user.gid.as_raw(), name: user.name })
    }

    /// Windows decides by the rights of the folder.
    #[cfg(not(unix))]
    pub fn of_service(_data_dir: &Path, _system_data_dir: &Path) -> Option<Self> {
        None
    }
}

/// Makes the folder `path` for `owner` alone, if it is not there.
///
/// # Errors
/// [`SetupError::File`].
pub fn make_folder(path: &Path, owner: Option<&Owner>) -> Result<(), SetupError> {
    if path.is_dir() {
        return Ok(());
    }
    make_private_folder(path).and_then(|()| give(path, owner, Kind::Own)).map_err(failed(path))
}

/// Makes the folder of the configuration, if it is not there: ours, and to be entered by `reader`.
///
/// # Errors
/// [`SetupError::File`].
pub fn make_folder_of_file(file: &Path, reader: Option<&Owner>) -> Result<(), SetupError> {
    let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) else {
        return Ok(());
    };
    make_private_folder(folder).and_then(|()| give(folder, reader, Kind::ReadFolder)).map_err(failed(folder))
}

/// Writes a secret for `owner` alone, whole or not at all.
///
/// # Errors
/// [`SetupError::File`].
pub fn write_secret(path: &Path, content: &[u8], owner: Option<&Owner>) -> Result<(), SetupError> {
    write_private(path, content).and_then(|()| give(path, owner, Kind::Own)).map_err(failed(path))
}

/// Writes a new configuration, whole or not at all: ours, and to be read by `reader`.
///
/// # Errors
/// [`SetupError::File`]; one that is there is left as it is.
pub fn write_new_configuration(path: &Path, text: &str, reader: Option<&Owner>) -> Result<(), SetupError> {
    if path.try_exists().unwrap_or(true) {
        return Err(failed(path)(io::ErrorKind::AlreadyExists.into()));
    }
    write_private(path, text.as_bytes()).and_then(|()| give(path, reader, Kind::Read)).map_err(failed(path))
}

/// Puts `text` in the place of a configuration that still holds `before`, whole or not at all. Its mode and owner stay.
///
/// # Errors
/// [`SetupError::File`]; then it is as it was.
pub fn replace_configuration(path: &Path, before: &str, text: &str) -> Result<(), SetupError> {
    // A link stays one.
    let path = &path.canonicalize().map_err(failed(path))?;
    let metadata = std::fs::metadata(path).map_err(failed(path))?;
    if std::fs::read_to_string(path).map_err(failed(path))? != before {
        return Err(failed(path)(io::Error::other("somebody else has changed it meanwhile")));
    }
    write_private(path, text.as_bytes()).and_then(|()| keep_rights(path, &metadata)).map_err(failed(path))
}

#[cfg(unix)]
fn keep_rights(path: &Path, before: &std::fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;

    let now = std::fs::metadata(path)?;
    if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
        // Only root can; who else may write here has made it his own, as every editor does.
        drop(std::os::unix::fs::chown(path, Some(before.uid()), Some(before.gid())));
    }
    std::fs::set_permissions(path, before.permissions())
}

#[cfg(not(unix))]
fn keep_rights(_path: &Path, _before: &std::fs::Metadata) -> io::Result<()> {
    Ok(())
}

/// What somebody else is to have of a file.
#[derive(Clone, Copy)]
enum Kind {
    /// It becomes theirs, and theirs alone.
    Own,
    /// They may read it.
    Read,
    /// They may enter it.
    ReadFolder,
}

#[cfg(unix)]
fn give(path: &Path, owner: Option<&Owner>, kind: Kind) -> io::Result<()> {
    use std::os::unix::fs::{PermissionsExt, chown};

    let Some(owner) = owner else { return Ok(()) };
    let mode = match kind {
        Kind::Own => return chown(path, Some(owner.user), Some(owner.group)),
        Kind::Read => 0o640,
        Kind::ReadFolder => 0o750,
    };
    chown(path, None, Some(owner.group))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn give(_path: &Path, _owner: Option<&Owner>, _kind: Kind) -> io::Result<()> {
    Ok(())
}

/// Makes the error for a file that the system refuses.
fn failed(path: &Path) -> impl FnOnce(io::Error) -> SetupError {
    let path = path.to_owned();
    move |source| SetupError::File { path, source }
}

/// Whether `text` is fit to be the short name of a tenant, which also names files: letters, digits, `.`, `_` and `-`.
pub fn is_tenant_name(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_can_name_a_file_and_nothing_else() {
        for name in ["contoso", "Contoso-2.eu", "a_b", "7"] {
            assert!(is_tenant_name(name), "{name}");
        }
        for name in ["", ".", "..", "-x", "a b", "a/b", "a\\b", "a\n", "ä", "a'b", &"x".repeat(41)] {
            assert!(!is_tenant_name(name), "{name:?}");
        }
    }

    #[test]
    fn a_configuration_that_is_there_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/postern.toml");
        make_folder_of_file(&path, None).unwrap();
        write_new_configuration(&path, "first", None).unwrap();
        assert!(write_new_configuration(&path, "second", None).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
        assert!(replace_configuration(&path, "something else", "third").is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
        replace_configuration(&path, "first", "third").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "third");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[cfg(unix)]
    #[test]
    fn a_configuration_that_is_changed_keeps_its_mode_and_its_link() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.toml"), folder.path().join("link.toml"));
        std::fs::write(&real, "a").unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        replace_configuration(&link, "a", "b").unwrap();
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "b");
        assert!(link.is_symlink());
        assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o644);
    }
}
