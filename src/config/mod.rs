//! The configuration file and the environment, checked once.
//!
//! [`load`] finds the file, reads it, and either gives a [`Config`] in which everything holds, or every fault of the file at
//! once, each with its key, line and remedy. Nothing else of the program looks into the file.

mod check;
mod cloud;
mod credential;
mod duration;
mod files;
mod listener;
mod log;
mod model;
mod ports;
mod raw;
mod tenant;
mod upstream;

use std::fmt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

pub use duration::{NotADuration, parse_duration};
pub use files::is_master_key;
pub use listener::parse_network;
pub use log::{Log, LogFormat, LogLevel};
pub use model::{
    Audit, Cloud, Config, Credential, Delivery, DeliveryMode, Endpoints, Family, Grant, Grants, HostPort, KeySource,
    Limits, Listener, MailboxLimits, OwnCertificate, ProxySource, Reminders, Route, Scopes, SecretPlace, SmtpService,
    SmtpTls, Tenant, TlsMode, UnknownOutcome, Upstream,
};
pub(crate) use raw::distance;
pub use tenant::is_uuid;
pub use upstream::NoProxyAddress;

/// Where the program stands: what [`load`] needs to know that is not in the file.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The value of `POSTERN_CONFIG`, if set and not empty.
    pub named: Option<PathBuf>,
    /// The folder the program was started in.
    pub current_dir: PathBuf,
    /// The system's place for the file.
    pub system_file: PathBuf,
    /// The system's place for data.
    pub system_data_dir: PathBuf,
    /// The time, for certificates and dates.
    pub now: DateTime<Utc>,
}

impl Surroundings {
    /// Reads them from the environment of this process.
    pub fn of_this_process(now: DateTime<Utc>) -> Self {
        let (system_file, system_data_dir) = system_places();
        Self {
            named: std::env::var_os("POSTERN_CONFIG").filter(|value| !value.is_empty()).map(PathBuf::from),
            current_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
            system_file,
            system_data_dir,
            now,
        }
    }

    /// Where the file is, in the order `--config`, `POSTERN_CONFIG`, `./config/postern.toml`, the system's place. A file that
    /// was named is taken even if it does not exist, so that its absence is told and not passed over.
    pub fn find(&self, named_by_flag: Option<&Path>) -> Option<PathBuf> {
        if let Some(path) = named_by_flag.or(self.named.as_deref()) {
            return Some(self.current_dir.join(path));
        }
        // Only what surely is not there is passed over: a file that may not be read is told about.
        [self.current_dir.join("config").join("postern.toml"), self.system_file.clone()]
            .into_iter()
            .find(|path| path.try_exists().unwrap_or(true))
    }
}

#[cfg(not(windows))]
fn system_places() -> (PathBuf, PathBuf) {
    (PathBuf::from("/etc/postern/postern.toml"), PathBuf::from("/var/lib/postern"))
}

#[cfg(windows)]
fn system_places() -> (PathBuf, PathBuf) {
    let program_data = std::env::var_os("ProgramData").map_or_else(|| PathBuf::from("C:\\ProgramData"), PathBuf::from);
    (program_data.join("Postern").join("postern.toml"), program_data.join("Postern").join("data"))
}

/// A configuration in which everything holds.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What is allowed, but better otherwise.
    pub warnings: Vec<Warning>,
    /// The file; `None` where there is none and the built-in defaults hold.
    pub path: Option<PathBuf>,
}

/// The configuration is wrong: every fault of it.
#[derive(Clone, Debug)]
pub struct Faulty {
    /// The faults, in the order of the file. Never empty.
    pub faults: Vec<Fault>,
    /// What is allowed, but better otherwise.
    pub warnings: Vec<Warning>,
    /// The file.
    pub path: PathBuf,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.faults.len();
        let faults = if number == 1 { "fault" } else { "faults" };
        write!(f, "the configuration `{}` has {number} {faults}", self.path.display())
    }
}

impl std::error::Error for Faulty {}

/// One thing that is wrong, or could be better.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Fault {
    /// The path of the key, such as `tenant[0].endpoints.imap`; empty for the file as a whole.
    pub key: String,
    /// The line it stands on, counted from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// What is allowed, but better otherwise. It has the shape of a [`Fault`].
pub type Warning = Fault;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Finds the configuration, reads it and checks it.
///
/// # Errors
///
/// Every fault of the file. Without a file the built-in defaults hold: six listeners on loopback, `./data`, no tenant.
pub fn load(named_by_flag: Option<&Path>, surroundings: &Surroundings) -> Result<Loaded, Faulty> {
    let Some(path) = surroundings.find(named_by_flag) else {
        let data_dir = surroundings.current_dir.join("data");
        return Ok(Loaded { config: Config::built_in(data_dir), warnings: Vec::new(), path: None });
    };
    match std::fs::read(&path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => parse(&text, &path, surroundings),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let line = error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count() + 1;
                Err(whole_file(path, Some(line), "the file is not UTF-8".into(), "Save it as UTF-8."))
            }
        },
        Err(error) => {
            let remedy = "Correct the path, or let this user read the file.";
            Err(whole_file(path, None, format!("the file cannot be read: {error}"), remedy))
        }
    }
}

/// Reads and checks the `text` of the configuration at `path`.
///
/// # Errors
///
/// As [`load`].
pub fn parse(text: &str, path: &Path, surroundings: &Surroundings) -> Result<Loaded, Faulty> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let report = raw::Report::new(text);
    let config = check::check(text, &files::Base::of(folder), surroundings, &report);
    let (faults, warnings) = report.into_findings();
    match config {
        Some(config) if faults.is_empty() => Ok(Loaded { config, warnings, path: Some(path.to_owned()) }),
        _ => Err(Faulty { faults, warnings, path: path.to_owned() }),
    }
}

fn whole_file(path: PathBuf, line: Option<usize>, message: String, remedy: &str) -> Faulty {
    let fault = Fault { key: String::new(), line, message, remedy: remedy.to_owned() };
    Faulty { faults: vec![fault], warnings: Vec::new(), path }
}

#[cfg(test)]
mod tests;
