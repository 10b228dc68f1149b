//! The files that the configuration names: where they are, whether they can be used, and whether others may read them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use rustls::SignatureAlgorithm;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::{Zeroize, Zeroizing};

use crate::base::ClientCertificate;
use crate::config::model::OwnCertificate;
use crate::config::raw::{Place, Report, Written};

/// The folder that relative paths are taken from.
pub(super) struct Base(PathBuf);

impl Base {
    /// The folder of the configuration file. Links are followed once here, so that a leading `..` can be taken off the path
    /// without changing where it leads.
    pub(super) fn of(folder: &Path) -> Self {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        // Windows answers with a `\\?\` path, which few programs show or take.
        let resolved = if cfg!(windows) { std::path::absolute(folder) } else { folder.canonicalize() };
        Self(resolved.unwrap_or_else(|_| folder.to_owned()))
    }

    /// Whether the configuration lies below `folder`.
    pub(super) fn is_below(&self, folder: &Path) -> bool {
        self.0.starts_with(folder)
    }

    /// `written`, taken from here if it is relative.
    pub(super) fn resolve(&self, written: &str) -> PathBuf {
        let mut path = self.0.clone();
        let mut components = Path::new(written).components().peekable();
        while let Some(component) = components.next_if(|c| matches!(c, Component::ParentDir | Component::CurDir)) {
            if component == Component::ParentDir {
                path.pop();
            }
        }
        path.extend(components);
        path
    }
}

/// Largest file that is taken as a secret or a certificate. More is a mistake, such as a device or a log.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Reads a file whole. It may hold a secret, so it is wiped afterwards.
pub(super) fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for a long secret at once: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(16 * 1024));
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(bytes)
}

fn read_or_fault(file: &Written<PathBuf>, report: &Report) -> Option<Zeroizing<Vec<u8>>> {
    match read(&file.value) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let path = file.value.display();
            let (message, remedy) = match error.kind() {
                io::ErrorKind::NotFound => (format!("`{path}` does not exist"), "Make the file, or correct the path."),
                io::ErrorKind::PermissionDenied => (
                    format!("`{path}` may not be read by this user"),
                    "Give the user that runs Postern the right to read it.",
                ),
                _ => (format!("`{path}` cannot be read: {error}"), "Correct the path, or the file."),
            };
            report.fault(&file.place, message, remedy);
            None
        }
    }
}

/// A file that must be there, whatever it holds.
pub(super) fn check_readable(file: &Written<PathBuf>, report: &Report) {
    drop(read_or_fault(file, report));
}

/// A file that holds a secret: it must be there and hold something, and others should not be able to read it.
pub(super) fn check_secret(file: &Written<PathBuf>, report: &Report) {
    read_secret(file, report);
}

/// The file of the master key: a secret of the one form that a master key has.
pub(super) fn check_master_key(file: &Written<PathBuf>, report: &Report) {
    if let Some(bytes) = read_secret(file, report) {
        check_key_form(&file.place, &format!("what `{}` holds", file.value.display()), &bytes, report);
    }
}

/// Whether `bytes`, which `what` names, are a master key.
pub(super) fn check_key_form(place: &Place, what: &str, bytes: &[u8], report: &Report) {
    if !is_master_key(bytes) {
        let remedy = "Make one with `openssl rand -base64 32`, or put back the one that belongs to the store.";
        report.fault(place, format!("{what} is not a master key, which is 32 octets in base64"), remedy);
    }
}

/// Whether this is a master key: 32 octets in base64, apart from white space around it.
pub fn is_master_key(bytes: &[u8]) -> bool {
    let mut octets = [0; 32];
    let decoded = STANDARD.decode_slice(bytes.trim_ascii(), &mut octets);
    octets.zeroize();
    decoded == Ok(octets.len())
}

/// Reads a secret; `None` where it cannot be read or is empty, which is a fault.
pub(super) fn read_secret(file: &Written<PathBuf>, report: &Report) -> Option<Zeroizing<Vec<u8>>> {
    let bytes = read_or_fault(file, report)?;
    warn_if_others_may_read(file, report);
    if bytes.iter().all(u8::is_ascii_whitespace) {
        report.fault(
            &file.place,
            format!("`{}` is empty", file.value.display()),
            "Put the secret into it, on one line.",
        );
        return None;
    }
    Some(bytes)
}

#[cfg(unix)]
fn warn_if_others_may_read(file: &Written<PathBuf>, report: &Report) {
    use std::os::unix::fs::PermissionsExt;

    let path = file.value.display();
    match std::fs::metadata(&file.value) {
        Ok(metadata) if metadata.permissions().mode() & 0o007 != 0 => {
            let mode = metadata.permissions().mode() & 0o777;
            let message = format!("every user of this machine may read `{path}` (mode {mode:04o})");
            report.warning(&file.place, message, format!("Run `chmod 600 {path}`."));
        }
        _ => {}
    }
}

#[cfg(not(unix))]
fn warn_if_others_may_read(_file: &Written<PathBuf>, _report: &Report) {}

/// The master key that Postern made, if it is there already: nobody but its owner needs to read it.
pub(super) fn warn_if_others_may_read_own_key(data_dir: &Path, place: &Place, report: &Report) {
    let path = data_dir.join("keys").join("master.key");
    if is_open_to(&path, 0o077) {
        let path = path.display();
        report.warning(place, format!("others may read the master key `{path}`"), format!("Run `chmod 600 {path}`."));
    }
}

/// A program that is to be started: it is there, can be executed, and only those who may are able to change it.
pub(super) fn check_program(path: &Path, place: &Place, report: &Report) {
    let shown = path.display();
    if !is_program(path) {
        let message = match path.try_exists() {
            Ok(false) => format!("`{shown}` does not exist"),
            _ => format!("`{shown}` is no program that this user may start"),
        };
        report.fault(place, message, "Correct the path, or the mode of the file.");
    } else if is_open_to(path, 0o002) {
        let message = format!(
            "every user of this machine may change the program `{shown}`, which is given to hand out the master key"
        );
        report.warning(place, message, format!("Run `chmod o-w {shown}`."));
    }
}

/// Whether a program of this name is found as it will be when it is started.
pub(super) fn is_in_path(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let endings: &[&str] = if cfg!(windows) { &["", ".exe"] } else { &[""] };
    std::env::split_paths(&folders)
        .any(|folder| endings.iter().any(|ending| is_program(&folder.join(format!("{program}{ending}")))))
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}

#[cfg(unix)]
fn is_open_to(path: &Path, mode: u32) -> bool {
    use std::os::unix::fs::PermissionsExt;

    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & mode != 0)
}

#[cfg(not(unix))]
fn is_open_to(_path: &Path, _mode: u32) -> bool {
    false
}

/// A file of extra trust anchors: at least one certificate that can be read.
pub(super) fn check_trust_anchors(file: &Written<PathBuf>, report: &Report) {
    let Some(bytes) = read_or_fault(file, report) else { return };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let readable = certificates
        .is_ok_and(|list| !list.is_empty() && list.iter().all(|der| x509_parser::parse_x509_certificate(der).is_ok()));
    if !readable {
        let message = format!("`{}` holds no certificate that can be read", file.value.display());
        report.fault(&file.place, message, "Give it the CA's certificate in PEM (`-----BEGIN CERTIFICATE-----`).");
    }
}

/// The administrator's own certificate: readable, in its time, with the right key, and fit for old clients.
pub(super) fn check_own_certificate(
    certificate: &Written<PathBuf>,
    key: &Written<PathBuf>,
    now: DateTime<Utc>,
    report: &Report,
) -> OwnCertificate {
    let chain = read_or_fault(certificate, report).and_then(|bytes| {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        if chain.is_none() {
            let message = format!("`{}` holds no certificate that can be read", certificate.value.display());
            report.fault(&certificate.place, message, "Give it the chain in PEM, the server's certificate first.");
        }
        chain
    });
    let private_key = read_or_fault(key, report).and_then(|bytes| {
        warn_if_others_may_read(key, report);
        let private_key = PrivateKeyDer::from_pem_slice(&bytes).ok();
        if private_key.is_none() {
            let message = format!("`{}` holds no key that can be read", key.value.display());
            report.fault(&key.place, message, "Give it the key in PEM, without a passphrase.");
        }
        private_key
    });
    if let Some(leaf) = chain.as_ref().and_then(|chain| chain.first()) {
        check_time(leaf, &certificate.place, now, report);
    }
    if let (Some(chain), Some(private_key)) = (chain, private_key) {
        check_pair(chain, &private_key, certificate, key, report);
    }
    OwnCertificate { certificate_file: certificate.value.clone(), key_file: key.value.clone() }
}

/// The certificate with which an application proves itself: readable, with its key, and in its time.
pub(super) fn check_client_certificate(
    file: &Written<PathBuf>,
    key: Option<&[u8]>,
    passphrase: Option<&[u8]>,
    now: DateTime<Utc>,
    report: &Report,
) {
    let Some(bytes) = read_or_fault(file, report) else { return };
    let passphrase = passphrase.map(|bytes| std::str::from_utf8(bytes).unwrap_or_default().trim());
    let certificate = match ClientCertificate::read(&bytes, key, passphrase) {
        Ok(certificate) => certificate,
        Err(error) => {
            let message = format!("`{}` cannot be used: {error}", file.value.display());
            report.fault(&file.place, message, error.remedy());
            return;
        }
    };
    if key.is_none() {
        warn_if_others_may_read(file, report);
    }
    let day = |moment: DateTime<Utc>| moment.format("%Y-%m-%d").to_string();
    let remedy = "Make a new certificate, upload it to the app registration, and put it in the place of this one.";
    let (from, until) = (certificate.starts_at(), certificate.expires_at());
    if until < now {
        report.fault(&file.place, format!("the certificate expired on {}", day(until)), remedy);
    } else if from > now {
        let remedy = "Set this machine's clock, or wait until then.";
        report.fault(&file.place, format!("the certificate is not good before {}", day(from)), remedy);
    } else if until - now <= chrono::Duration::days(60) {
        report.warning(&file.place, format!("the certificate expires on {}", day(until)), remedy);
    }
}

fn check_time(leaf: &CertificateDer<'_>, place: &Place, now: DateTime<Utc>, report: &Report) {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(leaf) else {
        report.fault(place, "the server's certificate cannot be read", "Give the file an X.509 certificate in PEM.");
        return;
    };
    let validity = parsed.validity();
    let day = |timestamp| {
        DateTime::from_timestamp(timestamp, 0).map_or_else(String::new, |t| t.format("%Y-%m-%d").to_string())
    };
    let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    if until < now.timestamp() {
        report.fault(place, format!("the certificate expired on {}", day(until)), "Renew the certificate.");
    } else if from > now.timestamp() {
        let remedy = "Set this machine's clock, or wait until then.";
        report.fault(place, format!("the certificate is not good before {}", day(from)), remedy);
    } else if until < now.timestamp() + 14 * 86_400 {
        report.warning(place, format!("the certificate expires on {}", day(until)), "Renew the certificate.");
    }
}

fn check_pair(
    chain: Vec<CertificateDer<'static>>,
    private_key: &PrivateKeyDer<'_>,
    certificate: &Written<PathBuf>,
    key: &Written<PathBuf>,
    report: &Report,
) {
    let signing_key = match rustls::crypto::aws_lc_rs::sign::any_supported_type(private_key) {
        Ok(signing_key) => signing_key,
        Err(error) => {
            let message = format!("the key in `{}` cannot be used: {error}", key.value.display());
            report.fault(&key.place, message, "Use an ECDSA P-256 key.");
            return;
        }
    };
    if signing_key.algorithm() == SignatureAlgorithm::RSA {
        let message =
            "the certificate has an RSA key; the mail programs of Windows 7 to 8.1 share no cipher suite with it";
        report.warning(
            &certificate.place,
            message,
            "Use a certificate with an ECDSA P-256 key if such machines connect.",
        );
    }
    if CertifiedKey::new(chain, signing_key).keys_match().is_err() {
        let message = format!("the key is not the one of `{}`", certificate.value.display());
        report.fault(
            &key.place,
            message,
            "Name the key that the certificate was made for, the server's certificate first.",
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Base;

    #[test]
    fn relative_paths_are_taken_from_the_folder_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config");
        std::fs::create_dir(&config).unwrap();
        let real = folder.path().canonicalize().unwrap();
        let base = Base::of(&config);
        assert_eq!(base.resolve("../data"), real.join("data"));
        assert_eq!(base.resolve("./secret"), real.join("config").join("secret"));
        assert_eq!(base.resolve("secret"), real.join("config").join("secret"));
        assert_eq!(base.resolve("a/../b"), real.join("config").join("a/../b"), "`a` may be a link");
        assert_eq!(base.resolve("/srv/data"), Path::new("/srv/data"));
    }
}
