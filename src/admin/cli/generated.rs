//! `postern completions` and `postern man`: generated from the definition of the command line.

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use crate::admin::cli::Arguments;
use crate::admin::cli::failure::Failure;
use crate::admin::cli::set_up::SetUp;

/// Print completions for a shell
///
/// For bash, for instance: postern completions bash > /etc/bash_completion.d/postern
#[derive(Args, Debug)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, set_up: &SetUp) -> Result<(), Failure> {
        set_up.refuse_json()?;
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "postern", &mut script);
        set_up.output.data(&String::from_utf8_lossy(&script))
    }
}

/// Print the manual page, with every command
///
/// To read it: postern man | man -l -
#[derive(Args, Debug)]
pub(super) struct Manual {}

impl Manual {
    pub(super) fn run(self, set_up: &SetUp) -> Result<(), Failure> {
        set_up.refuse_json()?;
        let mut definition = Arguments::command();
        definition.build();
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(definition.clone()).render(&mut page);
        if let Err(error) = rendered {
            let message = format!("the page cannot be made: {error}");
            return Err(Failure::operation("manual", message, "Use `postern --help`."));
        }
        let mut page = String::from_utf8_lossy(&page).into_owned();
        add_commands(&mut page, &mut definition, "postern");
        set_up.output.data(&page)
    }
}

/// Adds the help of every command below `parent`: one page holds all, as there is one program.
fn add_commands(page: &mut String, parent: &mut Command, path: &str) {
    for command in parent.get_subcommands_mut().filter(|command| command.get_name() != "help") {
        let path = format!("{path} {}", command.get_name());
        if command.has_subcommands() {
            add_commands(page, command, &path);
            continue;
        }
        page.push_str(&format!(".SH \"{}\"\n.nf\n", path.to_uppercase()));
        for line in command.render_long_help().to_string().lines() {
            // The global options stand at the top of the page.
            if line == "Global options:" {
                break;
            }
            let line = line.replace('\\', "\\\\").replace('-', "\\-");
            // A dot or quote at the start of a line would be a request to the typesetter.
            let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
            page.push_str(&format!("{guard}{line}\n"));
        }
        page.push_str(".fi\n");
    }
}
