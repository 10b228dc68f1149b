//! Wrong usage as a document: a program that asked for one gets it, although the words were not understood.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::admin::cli::failure;
use crate::admin::cli::output::{ColourWish, Output};

/// Whether `--json` is among the words, before they are understood.
pub(super) fn is_document_asked(words: &[OsString]) -> bool {
    words.iter().skip(1).take_while(|word| *word != "--").any(|word| word == "--json")
}

/// Prints the document on stdout; the text for people is the caller's.
pub(super) fn tell(error: &clap::Error) {
    failure::tell_usage(&Output::new(true, false, ColourWish::Never), &message(error), &remedy(error));
}

/// The first paragraph of what people are told, on one line.
fn message(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "no command is named".to_owned();
    }
    let text = error.to_string();
    let paragraph = text.lines().take_while(|line| !line.trim().is_empty());
    let line = paragraph.map(str::trim).collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

/// What was probably meant, if that is known, and where to read more.
fn remedy(error: &clap::Error) -> String {
    let meant = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue]
        .into_iter()
        .find_map(|kind| error.get(kind))
        .map(|value| match value {
            ContextValue::Strings(names) => names.join(" or "),
            other => other.to_string(),
        });
    match meant {
        Some(meant) => format!("Write {meant}, if that is meant. {}", failure::SEE_HELP),
        None => failure::SEE_HELP.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::admin::cli::Arguments;

    #[test]
    fn the_document_says_in_one_line_what_is_wrong_and_what_was_meant() {
        for (words, said, meant) in [
            (&["check", "--jsn"][..], "unexpected argument '--jsn' found", "Write --json, if that is meant."),
            (&["chekc"], "unrecognized subcommand 'chekc'", "Write check, if that is meant."),
            (
                &["password", "issue", "a@x.test"],
                "the following required arguments were not provided: --label <TEXT>",
                "Run the command with --help",
            ),
            (
                &["check", "--color", "blue"],
                "invalid value 'blue' for '--color <WHEN>' [possible values: auto, always, never]",
                "Run the command with --help",
            ),
            (&[], "no command is named", "Run the command with --help"),
        ] {
            let words = [&["postern"], words].concat();
            let error = Arguments::command().try_get_matches_from(words.clone()).unwrap_err();
            assert_eq!(message(&error), said, "{words:?}");
            assert!(remedy(&error).starts_with(meant), "{words:?}: {}", remedy(&error));
        }
    }

    #[test]
    fn a_document_is_asked_for_by_the_word_alone() {
        let asked = |words: &[&str]| is_document_asked(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(asked(&["postern", "check", "--json"]) && asked(&["postern", "--json"]));
        assert!(
            !asked(&["postern", "check"]) && !asked(&["postern", "--jsonx"]) && !asked(&["postern", "--", "--json"])
        );
    }
}
