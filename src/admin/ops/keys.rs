//! Whether the keys belong to the store, for `check`. Nothing on disk is changed, and a data folder that is still to be made is no fault.

use std::io::ErrorKind;
use std::path::Path;

use zeroize::Zeroizing;

use crate::base::Fault as _;
use crate::broker::vault::{KeySource, Vault, VaultError};
use crate::config::{self, Config};
use crate::foundation;
use crate::store::SqliteStore;

/// What is wrong with the keys, and what could not be looked at.
#[derive(Debug, Default)]
pub struct KeyFindings {
    /// What keeps Postern from starting.
    pub faults: Vec<config::Fault>,
    /// What does not, or may not.
    pub warnings: Vec<config::Warning>,
}

/// Looks at the master key that Postern made and at whether the configured one opens what the data folder holds. The form of a configured
/// key has been checked with the configuration.
pub fn check_keys(config: &Config) -> KeyFindings {
    let mut findings = KeyFindings::default();
    let (folder, source) = (config.data_dir.join("keys"), foundation::key_source(config));
    let pepper = folder.join("pepper.sealed");
    match (pepper.try_exists(), folder.join("lock").try_exists()) {
        (Err(error), _) | (_, Err(error)) => {
            let message = format!("the keys in `{}` cannot be looked at: {error}", folder.display());
            findings.warnings.push(finding(message, "Run it as root, or as the user that runs Postern."));
        }
        // With both there is nothing left to make, and opening it only reads.
        (Ok(true), Ok(true)) => {
            match Vault::open(&config.data_dir, &source, false) {
                // The command runs here as it does where Postern is started, but perhaps not with the same variables.
                Err(error @ VaultError::Unreadable { .. }) if matches!(source, KeySource::Command(_)) => {
                    findings.warnings.push(finding(error.to_string(), &error.remedy().unwrap_or_default()));
                }
                opened => findings.faults.extend(opened.err().and_then(|error| fault(&error, &source))),
            }
        }
        (Ok(sealed), _) => {
            if matches!(source, KeySource::Own) {
                findings.faults.extend(own_key(&folder.join("master.key"), sealed));
            }
            if !sealed && config.data_dir.join(SqliteStore::FILE).exists() {
                let message = format!("`{}` is missing beside a store", pepper.display());
                let remedy = "Put the `keys` folder of this store back from the backup. Only a store without app passwords and \
                              sign-ins can do without it.";
                findings.warnings.push(finding(message, remedy));
            }
        }
    }
    findings
}

/// What keeps the vault from being opened. A variable or a credential that is not here has been warned about: it may be there where
/// Postern is started.
fn fault(error: &VaultError, source: &KeySource) -> Option<config::Fault> {
    let elsewhere = matches!(source, KeySource::Environment(_) | KeySource::Credential(_));
    if elsewhere && matches!(error, VaultError::Unreadable { .. }) {
        return None;
    }
    Some(finding(error.to_string(), &error.remedy().unwrap_or_default()))
}

/// What is wrong with the key that Postern makes, in a folder where it has not opened anything with it yet.
fn own_key(path: &Path, needed: bool) -> Option<config::Fault> {
    let place = path.display().to_string();
    let error = match std::fs::read(path).map(Zeroizing::new) {
        Ok(bytes) if config::is_master_key(&bytes) => return None,
        Ok(_) => VaultError::Unreadable { place, reason: "it is not 32 octets in base64".to_owned() },
        Err(error) if error.kind() == ErrorKind::NotFound && !needed => return None,
        Err(error) if error.kind() == ErrorKind::NotFound => VaultError::Missing { path: path.to_owned() },
        Err(error) => VaultError::Unreadable { place, reason: error.to_string() },
    };
    fault(&error, &KeySource::Own)
}

fn finding(message: String, remedy: &str) -> config::Fault {
    config::Fault { key: "keys".to_owned(), line: None, message, remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Everything below a folder, with what it holds.
    fn everything(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.push((path.clone(), Vec::new()));
                found.extend(everything(&path));
            } else {
                found.push((path.clone(), fs::read(path).unwrap()));
            }
        }
        found.sort();
        found
    }

    #[cfg(unix)]
    #[test]
    fn a_command_is_asked_for_the_key_and_its_failure_is_a_warning_here() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::built_in(folder.path().join("data"));
        let check = |config: &Config| {
            let found = check_keys(config);
            let told =
                |findings: &[config::Fault]| findings.iter().map(|finding| finding.message.clone()).collect::<String>();
            (told(&found.faults), told(&found.warnings))
        };
        let command = |script: &str| config::KeySource::Command(["/bin/sh", "-c", script].map(str::to_owned).into());
        config.keys = command("echo AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=");
        Vault::open(&config.data_dir, &foundation::key_source(&config), true).unwrap();
        assert_eq!(check(&config), (String::new(), String::new()));
        config.keys = command("echo no token >&2; exit 1");
        let (faults, warnings) = check(&config);
        assert!(faults.is_empty() && warnings.ends_with("and said: no token"), "{faults} {warnings}");
        config.keys = command("echo 3q2+796tvu/erb7v3q2+796tvu/erb7v3q2+796tvu8=");
        assert!(check(&config).0.contains("does not open with this master key"));
    }

    #[test]
    fn keys_that_would_not_open_the_store_are_told_and_nothing_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        let config = Config::built_in(data_dir.clone());
        let check = |what: &str, fault: Option<&str>, warning: Option<&str>| {
            let before = everything(folder.path());
            let found = check_keys(&config);
            assert_eq!(everything(folder.path()), before, "{what}");
            for (found, expected) in [(&found.faults, fault), (&found.warnings, warning)] {
                assert_eq!(found.len(), usize::from(expected.is_some()), "{what}: {found:?}");
                assert!(expected.is_none_or(|part| found[0].message.contains(part)), "{what}: {found:?}");
                assert!(found.iter().all(|finding| finding.remedy.ends_with('.')), "{what}: {found:?}");
            }
        };
        check("a folder that is still to be made", None, None);
        assert!(!data_dir.exists());

        Vault::open(&data_dir, &KeySource::Own, true).unwrap();
        check("keys that belong together", None, None);
        let (master, pepper) = (data_dir.join("keys/master.key"), data_dir.join("keys/pepper.sealed"));
        let right = fs::read(&master).unwrap();
        for lock in [true, false] {
            fs::write(&master, &right).unwrap();
            check("the right key", None, None);
            fs::write(&master, "s3cret").unwrap();
            check("no key", Some("it is not 32 octets in base64"), None);
            fs::remove_file(&master).unwrap();
            check("a lost key", Some("is missing"), None);
            if lock {
                fs::write(&master, "3q2+796tvu/erb7v3q2+796tvu/erb7v3q2+796tvu8=").unwrap();
                check("another key", Some("does not open with this master key"), None);
                fs::remove_file(data_dir.join("keys/lock")).unwrap();
            }
        }
        fs::write(&master, &right).unwrap();
        fs::remove_file(&pepper).unwrap();
        check("a key of one's own before the first start", None, None);
        fs::write(data_dir.join(SqliteStore::FILE), "").unwrap();
        check("a store whose pepper is lost", None, Some("is missing beside a store"));
    }
}
