//! What a command stands on: the output, the configuration, the clock, and the identity to act under.

use std::future::Future;
use std::path::Path;

use chrono::{DateTime, Utc};

use crate::admin::cli::Global;
use crate::admin::cli::failure::{self, Failure};
use crate::admin::cli::identity;
use crate::admin::cli::output::Output;
use crate::base::Clock;
use crate::config::{self, Config, Loaded, LogFormat, LogLevel, Surroundings};
use crate::telemetry::log::{self, Form, Level};

/// What a command stands on.
pub(super) struct SetUp {
    global: Global,
    pub(super) output: Output,
    clock: Clock,
}

impl SetUp {
    pub(super) fn new(global: Global, output: Output) -> Self {
        Self { global, output, clock: Clock::system() }
    }

    /// Begins to log as this configuration and the flags want it. The flags win.
    pub(super) fn log(&self, wanted: &config::Log) {
        let of = |level| match level {
            LogLevel::Error => Level::Errors,
            LogLevel::Warn => Level::Warnings,
            LogLevel::Info => Level::Normal,
            LogLevel::Debug => Level::Debug,
            LogLevel::Trace => Level::Trace,
        };
        let flag = match (self.global.quiet, self.global.verbose) {
            (true, _) => Some(Level::Warnings),
            (false, 0) => None,
            (false, 1) => Some(Level::Debug),
            (false, _) => Some(Level::Trace),
        };
        let parts = wanted.levels.iter().map(|(part, level)| (part.clone(), of(*level)));
        log::init(&log::Settings {
            form: match wanted.format {
                LogFormat::Text => Form::Text,
                LogFormat::Json => Form::Json,
                LogFormat::Journald => Form::Journald,
            },
            level: flag.or(wanted.level.map(of)).unwrap_or(Level::Normal),
            parts: if flag.is_some() { Vec::new() } else { parts.collect() },
            colour: self.output.stderr_colour(),
        });
    }

    /// The time now.
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Where the program stands, and the configuration that `--config` names.
    pub(super) fn surroundings(&self) -> (Surroundings, Option<&Path>) {
        (Surroundings::of_this_process(self.now()), self.global.config.as_deref())
    }

    /// The same with this configuration.
    pub(super) fn with_config(&self, path: &Path) -> Self {
        let global = Global { config: Some(path.to_owned()), ..self.global.clone() };
        Self { global, output: self.output.clone(), clock: self.clock.clone() }
    }

    /// Finds and reads the configuration.
    pub(super) fn load(&self) -> Result<Loaded, config::Faulty> {
        config::load(self.global.config.as_deref(), &Surroundings::of_this_process(self.now()))
    }

    /// The configuration, for a command that acts on the data directory: as the user whose it is.
    pub(super) fn config(&self) -> Result<Config, Failure> {
        let loaded = self.load()?;
        if let Some(user) = identity::become_owner_of(&loaded.config.data_dir)? {
            self.output.note(&format!("acting as {user}, whose `{}` is", loaded.config.data_dir.display()));
        }
        Ok(loaded.config)
    }

    /// The configuration as the proxy will find it: the file is read by whoever runs the command, and everything that it names
    /// by the user whose data directory it is. The inner error is the configuration's.
    pub(super) fn load_as_owner(&self) -> Result<Result<Loaded, config::Faulty>, Failure> {
        let loaded = match self.load() {
            Ok(loaded) => loaded,
            Err(faulty) => return Ok(Err(faulty)),
        };
        // Read once more before root is given up: the file itself may be root's alone.
        let text = loaded.path.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        let Some(user) = identity::become_owner_of(&loaded.config.data_dir)? else { return Ok(Ok(loaded)) };
        self.output.note(&format!("acting as {user}, whose `{}` is", loaded.config.data_dir.display()));
        let (Some(path), Some(text)) = (&loaded.path, text) else { return Ok(Ok(loaded)) };
        let mut again = config::parse(&text, path, &Surroundings::of_this_process(self.now()));
        if std::fs::File::open(path).is_err() {
            let warnings = match &mut again {
                Ok(loaded) => &mut loaded.warnings,
                Err(faulty) => &mut faulty.warnings,
            };
            let path = path.display();
            warnings.push(config::Warning {
                key: String::new(),
                line: None,
                message: format!("`{path}` may not be read by {user}, so only root can start Postern with it"),
                remedy: format!("Give {user} the right to read it, such as `chmod 644 {path}`; it holds no secret."),
            });
        }
        Ok(again)
    }

    /// The configuration with its warnings told, for a command that goes on running.
    pub(super) fn config_with_warnings(&self) -> Result<Config, Failure> {
        let loaded = self.load_as_owner()??;
        failure::tell_warnings(&self.output, &loaded.warnings);
        Ok(loaded.config)
    }

    /// Runs `work` to its end on this thread.
    pub(super) fn wait_for<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        runtime(tokio::runtime::Builder::new_current_thread())?.block_on(work)
    }

    /// Runs `work` to its end on as many threads as the machine has processors.
    pub(super) fn run_service<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let runtime = runtime(tokio::runtime::Builder::new_multi_thread())?;
        let done = runtime.block_on(work);
        // A look-up of a host name that hangs cannot be cancelled, and is not waited for.
        runtime.shutdown_timeout(std::time::Duration::from_millis(500));
        done
    }

    /// Refuses --json for a command whose output is of another kind.
    pub(super) fn refuse_json(&self) -> Result<(), Failure> {
        if self.output.is_json() {
            return Err(Failure::Usage("--json has no meaning for this command".to_owned()));
        }
        Ok(())
    }
}

fn runtime(mut builder: tokio::runtime::Builder) -> Result<tokio::runtime::Runtime, Failure> {
    builder.enable_all().build().map_err(|error| {
        let message = format!("the program cannot start its threads: {error}");
        Failure::operation("runtime", message, "Look at the limits on processes and open files of this user.")
    })
}
