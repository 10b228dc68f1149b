//! The command line: what is asked, done by `admin::ops` and `app`, and told to a person or a program.
//!
//! Data goes to stdout and nothing else does; text for people goes to stderr. The exit status is 0 when it is done, 1 when
//! it failed, 2 for wrong usage and 78 for a wrong configuration.

mod audit;
mod ban;
mod certificate;
mod check;
mod connect;
mod console;
mod demo;
mod doctor;
mod explain;
mod failure;
mod generated;
mod halt;
mod identity;
mod journal;
mod key;
mod limits;
mod listing;
mod mailbox;
mod output;
mod page;
mod password;
mod queue;
mod redirect;
mod sandbox;
mod secret_file;
mod serve;
mod set_up;
mod setup;
mod signals;
mod status;
mod terminal;
mod usage;
mod values;
mod view;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::admin::cli::failure::Failure;
use crate::admin::cli::output::{ColourWish, Output};
use crate::admin::cli::set_up::SetUp;
use crate::telemetry::log::{self, Level};

/// Runs the command line and returns the exit status.
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let definition = Arguments::command().color(ColourWish::among(&words).of_clap());
    let as_document = usage::is_document_asked(&words);
    let arguments = definition.try_get_matches_from(words).and_then(|found| Arguments::from_arg_matches(&found));
    match arguments {
        Ok(arguments) => run(arguments),
        Err(told) => {
            if told.use_stderr() && as_document {
                usage::tell(&told);
            }
            // Help and version are data and go to stdout; a reader that has gone is no failure.
            drop(told.print());
            if told.use_stderr() { ExitCode::from(failure::USAGE) } else { ExitCode::SUCCESS }
        }
    }
}

fn run(arguments: Arguments) -> ExitCode {
    let output = Output::new(arguments.global.json, arguments.global.quiet, arguments.global.color);
    let set_up = SetUp::new(arguments.global.clone(), output.clone());
    // What `serve` says is as the configuration wants it.
    if !matches!(arguments.command, Command::Serve(_)) {
        let (level, colour) = (level(&arguments), output.stderr_colour());
        log::init(&log::Settings { form: log::Form::Text, level, parts: Vec::new(), colour });
    }
    match arguments.command.run(&set_up) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(failure.tell(&output)),
    }
}

/// How much the log says.
fn level(arguments: &Arguments) -> Level {
    match (arguments.global.quiet, arguments.global.verbose) {
        // The demonstration provokes refusals and shows them in its table; the doctor tells every failure as a step.
        (_, 0) if matches!(arguments.command, Command::Demo(_) | Command::Doctor(_)) => Level::Errors,
        (true, _) => Level::Warnings,
        (false, 0) => Level::Normal,
        (false, 1) => Level::Debug,
        (false, _) => Level::Trace,
    }
}

/// Lets mail programs that only know user name and password keep working with Exchange Online
///
/// App passwords come in over SMTP, IMAP and POP3; OAuth 2.0 goes out. Run `postern COMMAND --help` for more on a command.
#[derive(Parser, Debug)]
#[command(
    name = "postern",
    version,
    propagate_version = false,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(max_term_width = 100, disable_help_subcommand = false)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// The configuration file [default: $POSTERN_CONFIG, ./config/postern.toml, then the system's place]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON document on stdout, and nothing else there
    #[arg(long, global = true)]
    json: bool,
    /// Say less: warnings only
    #[arg(short, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Say more: -v for debug, -vv for trace
    #[arg(short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Colour what is for people
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = ColourWish::Auto, hide_default_value = true)]
    color: ColourWish,
}

#[derive(Subcommand, Debug)]
enum Command {
    Demo(demo::Demo),
    Sandbox(sandbox::SandboxCommand),
    Setup(Box<setup::Setup>),
    Serve(serve::Serve),
    Status(status::StatusCommand),
    Check(check::Check),
    Certificate(certificate::Certificate),
    Mailbox(mailbox::MailboxGroup),
    Password(Box<password::PasswordGroup>),
    Queue(queue::QueueGroup),
    Audit(audit::AuditGroup),
    Ban(ban::BanGroup),
    Console(console::ConsoleCommand),
    Halt(halt::HaltCommand),
    Resume(halt::ResumeCommand),
    Doctor(doctor::DoctorCommand),
    Explain(explain::Explain),
    Key(key::KeyGroup),
    Completions(generated::Completions),
    Man(generated::Manual),
}

impl Command {
    fn run(self, set_up: &SetUp) -> Result<(), Failure> {
        match self {
            Self::Demo(command) => command.run(set_up),
            Self::Sandbox(command) => command.run(set_up),
            Self::Setup(command) => command.run(set_up),
            Self::Serve(command) => command.run(set_up),
            Self::Status(command) => command.run(set_up),
            Self::Check(command) => command.run(set_up),
            Self::Certificate(command) => command.run(set_up),
            Self::Mailbox(command) => command.run(set_up),
            Self::Password(command) => command.run(set_up),
            Self::Queue(command) => command.run(set_up),
            Self::Audit(command) => command.run(set_up),
            Self::Ban(command) => command.run(set_up),
            Self::Console(command) => command.run(set_up),
            Self::Halt(command) => command.run(set_up),
            Self::Resume(command) => command.run(set_up),
            Self::Doctor(command) => command.run(set_up),
            Self::Explain(command) => command.run(set_up),
            Self::Key(command) => command.run(set_up),
            Self::Completions(command) => command.run(set_up),
            Self::Man(command) => command.run(set_up),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_definition_is_coherent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_and_option_is_explained() {
        fn look(command: &clap::Command, path: &str) {
            assert!(command.get_about().is_some(), "{path} says nothing of itself");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{path}: `{}` is not explained", argument.get_id());
            }
            for inner in command.get_subcommands() {
                look(inner, &format!("{path} {}", inner.get_name()));
            }
        }
        look(&Arguments::command(), "postern");
    }

    #[test]
    fn no_secret_is_taken_from_a_flag() {
        fn look(command: &clap::Command) {
            for argument in command.get_arguments() {
                let name = argument.get_id().as_str();
                let file = name.ends_with("file");
                assert!(
                    file || !["secret", "token", "password"].iter().any(|word| name.contains(word))
                        || name.ends_with("port"),
                    "{name}"
                );
            }
            command.get_subcommands().for_each(look);
        }
        look(&Arguments::command());
    }
}
