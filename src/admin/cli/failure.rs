//! How a command fails, and how that is told: reason and remedy for a person, a document for a program, a status for both.

use std::error::Error;

use serde::Serialize;

use crate::admin::cli::output::{Output, Tone};
use crate::base::Fault;
use crate::config::{self, Faulty};

/// The operation failed.
const FAILED: u8 = 1;
/// The command line is wrong.
pub(super) const USAGE: u8 = 2;
/// The configuration is wrong (`EX_CONFIG` of sysexits.h).
const CONFIGURATION: u8 = 78;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// The configuration is wrong.
    Configuration(Faulty),
    /// It was tried and did not work.
    Operation {
        /// A short fixed name.
        code: String,
        /// What happened.
        message: String,
        /// What to do about it.
        remedy: Option<String>,
    },
    /// The reader of stdout has gone. It has what it wanted, so this is no failure.
    ReaderGone,
    /// The command has told everything itself, and this is its status.
    Told(u8),
    /// The command line is wrong in a way that only the command itself can see.
    Usage(String),
}

impl Failure {
    /// An operation that failed for a reason of the command line itself.
    pub(super) fn operation(code: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Operation { code: code.to_owned(), message: message.into(), remedy: Some(remedy.into()) }
    }

    /// Faults of the configuration that [`tell_faults`] has told.
    pub(super) fn configuration_told() -> Self {
        Self::Told(CONFIGURATION)
    }

    /// Tells it and returns the exit status.
    pub(super) fn tell(self, output: &Output) -> u8 {
        match self {
            Self::Configuration(faulty) => {
                let remedy = "Correct the configuration and run `postern check`.";
                if output.is_json() {
                    let error =
                        ErrorParts { code: "configuration", message: &faulty.to_string(), remedy: Some(remedy) };
                    // Whoever reads the document can be gone; the status says the same.
                    drop(output.json(&ConfigurationDocument {
                        error,
                        faults: &faulty.faults,
                        warnings: &faulty.warnings,
                    }));
                }
                tell_faults(output, &faulty);
                CONFIGURATION
            }
            Self::Operation { code, message, remedy } => {
                if output.is_json() {
                    let error = ErrorParts { code: &code, message: &message, remedy: remedy.as_deref() };
                    drop(output.json(&ErrorDocument { error }));
                }
                output.problem(Tone::Error, &message, remedy.as_deref());
                FAILED
            }
            Self::ReaderGone => 0,
            Self::Told(status) => status,
            Self::Usage(message) => {
                if output.is_json() {
                    tell_usage(output, &message, SEE_HELP);
                }
                output.problem(Tone::Error, &message, Some(SEE_HELP));
                USAGE
            }
        }
    }
}

/// Where wrong usage can be set right.
pub(super) const SEE_HELP: &str = "Run the command with --help for how it is used.";

/// Prints the document of wrong usage on stdout.
pub(super) fn tell_usage(output: &Output, message: &str, remedy: &str) {
    drop(output.json(&ErrorDocument { error: ErrorParts { code: "usage", message, remedy: Some(remedy) } }));
}

/// Tells each fault and warning of the configuration on stderr.
pub(super) fn tell_faults(output: &Output, faulty: &Faulty) {
    output.problem(Tone::Error, &faulty.to_string(), None);
    for fault in &faulty.faults {
        output.problem(Tone::Fault, &fault.to_string(), Some(&fault.remedy));
    }
    tell_warnings(output, &faulty.warnings);
}

/// Tells each warning of the configuration on stderr.
pub(super) fn tell_warnings(output: &Output, warnings: &[config::Warning]) {
    for warning in warnings {
        output.problem(Tone::Warning, &warning.to_string(), Some(&warning.remedy));
    }
}

impl From<Faulty> for Failure {
    fn from(faulty: Faulty) -> Self {
        Self::Configuration(faulty)
    }
}

impl<E: Fault> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Operation { code: error.code().to_owned(), message: with_causes(&error), remedy: error.remedy() }
    }
}

/// The error and what caused it, in one line. A cause that the error has told already is not told twice.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        cause = error.source();
    }
    text
}

#[derive(Serialize)]
struct ErrorDocument<'a> {
    error: ErrorParts<'a>,
}

#[derive(Serialize)]
struct ConfigurationDocument<'a> {
    error: ErrorParts<'a>,
    faults: &'a [config::Fault],
    warnings: &'a [config::Warning],
}

#[derive(Serialize)]
struct ErrorParts<'a> {
    code: &'a str,
    message: &'a str,
    remedy: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::with_causes;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn causes_are_told_once_each() {
        let error = |text, source: Option<Layer>| Layer { text, source: source.map(Box::new) };
        let chained = error("store: disk full", Some(error("disk full", Some(error("os error 28", None)))));
        assert_eq!(with_causes(&chained), "store: disk full: os error 28");
    }
}
