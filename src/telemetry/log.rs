//! Setting up the log.
//!
//! It is fed by `tracing` alone. The `log` crate is left without a listener on purpose: async-imap writes every line it sends and
//! receives to it, tokens and mail included.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Errors alone, for a command that tells everything itself.
    Errors,
    /// `-q`: what is unusual, and what someone must mend.
    Warnings,
    /// A line when a session starts and one when it ends.
    Normal,
    /// `-v`: each step.
    Debug,
    /// `-vv`: everything.
    Trace,
}

/// Sends the log to stderr. Called once; a second call changes nothing.
pub fn init(level: Level, colour: bool) {
    let ours = match level {
        Level::Errors => LevelFilter::ERROR,
        Level::Warnings => LevelFilter::WARN,
        Level::Normal => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    // Libraries are heard only when something is wrong with them: what they say below that may hold what they carry.
    let filter = Targets::new().with_target("postern", ours).with_default(ours.min(LevelFilter::WARN));
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(colour).with_target(false);
    // An error means that a test or an embedding program has set one up already, which then stands.
    drop(tracing_subscriber::registry().with(lines).with(filter).try_init());
}
