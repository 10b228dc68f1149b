//! `[log]`: what `serve` says of itself, and in which form.

use crate::config::raw::{self, Section};

/// The parts of Postern that a level of their own can be given to: its folders of source.
const PARTS: [&str; 12] = [
    "admin",
    "app",
    "auth",
    "broker",
    "delivery",
    "front",
    "listener",
    "relay",
    "session",
    "store",
    "upstream",
    "telemetry",
];

/// How the log of `serve` looks and how much it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Its form.
    pub format: LogFormat,
    /// How much it says, unless a flag of the command line says otherwise.
    pub level: Option<LogLevel>,
    /// The same for single parts.
    pub levels: Vec<(String, LogLevel)>,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people, on stderr.
    #[default]
    Text,
    /// A JSON document on each line, on stderr.
    Json,
    /// Entries with fields, in the journal of systemd.
    Journald,
}

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// What somebody has to mend.
    Error,
    /// What is unusual as well.
    Warn,
    /// A line when a session starts and one when it ends.
    Info,
    /// Each step.
    Debug,
    /// Everything.
    Trace,
}

/// The words in the file.
const LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

pub(super) fn log(section: Section<'_>) -> Log {
    let report = section.report();
    let mut log = Log::default();
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json), ("journald", LogFormat::Journald)];
    if let Some(format) = section.word("format", &formats) {
        log.format = format.value;
        if format.value == LogFormat::Journald && !cfg!(target_os = "linux") {
            report.fault(&format.place, "there is no journal of systemd here", "Write \"text\" or \"json\".");
        }
    }
    log.level = section.word("level", &LEVELS).map(|level| level.value);
    for (part, level) in section.table("levels").map(Section::into_texts).unwrap_or_default() {
        if !PARTS.contains(&part.as_str()) {
            let message = format!("`{}` is no part of Postern", part.escape_debug());
            report.fault(&level.place, message, format!("The parts are {}.", PARTS.join(", ")));
        } else if let Some(level) = raw::choose(report, &level.place, level.value, &LEVELS) {
            log.levels.push((part, level));
        }
    }
    section.finish();
    log
}
