//! Where the configuration is, or is to be.

use std::path::{Path, PathBuf};

use crate::admin::cli::failure::Failure;
use crate::admin::cli::set_up::SetUp;
use crate::admin::cli::setup::Setup;
use crate::admin::cli::setup::ask::{Asker, Question};
use crate::admin::ops::setup::Owner;
use crate::config::{Loaded, Surroundings};

/// Where the configuration is, or is to be.
pub(super) struct Place {
    /// The file.
    pub(super) path: PathBuf,
    /// What it says, and its text, if it is there.
    pub(super) found: Option<(Loaded, String)>,
    /// The data folder.
    pub(super) data_dir: PathBuf,
    /// Whether the data folder is the system's own, which need not be named.
    pub(super) is_system: bool,
    /// Whom the service runs as, where that is another than us.
    pub(super) owner: Option<Owner>,
    /// Where the program stands.
    pub(super) surroundings: Surroundings,
}

impl Place {
    /// Finds it, by the same order as every command, or asks for it.
    pub(super) fn find(set_up: &SetUp, asker: &Asker, options: &Setup) -> Result<Self, Failure> {
        let (surroundings, named) = set_up.surroundings();
        let path = match (named, surroundings.find(named)) {
            (Some(_), Some(path)) => path,
            (None, Some(path)) if surroundings.named.is_some() => path,
            (_, found) => {
                let default = found.unwrap_or_else(|| default_place(&surroundings));
                asker.say(WELCOME);
                let question = Question {
                    flag: "--config FILE",
                    why: "The configuration is one file. A new one is made; to one that is there the tenant is added, and nothing else in it is \
                          changed.",
                    prompt: "Configuration file",
                };
                let read =
                    |text: &str| if text.is_empty() { Err("write a path".to_owned()) } else { Ok(PathBuf::from(text)) };
                asker.ask(question, None, Some(&default.display().to_string()), read)?
            }
        };
        let path = std::path::absolute(surroundings.current_dir.join(path))
            .map_err(|error| Failure::Usage(format!("--config: {error}")))?;
        let found = if path.try_exists().unwrap_or(true) {
            let loaded = set_up.with_config(&path).load()?;
            let text = std::fs::read_to_string(&path).map_err(|error| {
                let message = format!("`{}` cannot be read: {error}", path.display());
                Failure::operation("configuration", message, "Let this user read the file.")
            })?;
            Some((loaded, text))
        } else {
            None
        };
        let data_dir = data_dir(options, &surroundings, &path, found.as_ref().map(|(loaded, _)| loaded))?;
        let is_system = data_dir == surroundings.system_data_dir;
        let owner = Owner::of_service(&data_dir, &surroundings.system_data_dir);
        Ok(Self { path, found, data_dir, is_system, owner, surroundings })
    }

    /// Refuses to set the system's service up where nobody is there to run it.
    pub(super) fn require_account(&self) -> Result<(), Failure> {
        if self.is_system && self.owner.is_none() && !self.data_dir.exists() && is_root() {
            let message = "this system has no account `postern`, which the service is to run as";
            let remedy = format!(
                "Make it with `useradd --system --home-dir {} --shell /usr/sbin/nologin postern` and run `postern setup` again, or name \
                 other places with --config and --data-dir.",
                self.data_dir.display()
            );
            return Err(Failure::operation("no-service-account", message, remedy));
        }
        Ok(())
    }

    /// The folder of the file.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Whether commands find the file without being told.
    pub(super) fn is_found(&self) -> bool {
        self.surroundings.find(None).is_some_and(|found| found == self.path)
    }
}

const WELCOME: &str = "\
This sets Postern up: the configuration, your tenant of Exchange Online, the first mailbox, and an app password for the first mail program.
Nothing is written before you have seen it, except the certificate of the application. Ctrl-C ends it at any time; run it again, and it goes on.";

/// Where a new configuration is best: the system's place for the system's administrator, else below the current folder.
fn default_place(surroundings: &Surroundings) -> PathBuf {
    if cfg!(target_os = "linux") && is_root() {
        return surroundings.system_file.clone();
    }
    surroundings.current_dir.join("config").join("postern.toml")
}

fn data_dir(
    options: &Setup,
    surroundings: &Surroundings,
    path: &Path,
    found: Option<&Loaded>,
) -> Result<PathBuf, Failure> {
    let asked = options.tenant.data_dir.as_deref().map(|folder| surroundings.current_dir.join(folder));
    match (found, asked) {
        (Some(loaded), None) => Ok(loaded.config.data_dir.clone()),
        (Some(loaded), Some(asked)) if asked == loaded.config.data_dir => Ok(asked),
        (Some(loaded), Some(_)) => {
            let message = format!(
                "--data-dir: the configuration that is there says `{}`; change it there, if that is meant",
                loaded.config.data_dir.display()
            );
            Err(Failure::Usage(message))
        }
        (None, Some(asked)) => Ok(asked),
        (None, None) if path == surroundings.system_file => Ok(surroundings.system_data_dir.clone()),
        // Beside its folder, as in the samples; what lies in no folder of that name keeps it together.
        (None, None) => {
            let folder = path.parent().unwrap_or(path);
            match folder.parent() {
                Some(above) if folder.file_name().is_some_and(|name| name == "config") => Ok(above.join("data")),
                _ => Ok(folder.join("data")),
            }
        }
    }
}

#[cfg(unix)]
fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}
