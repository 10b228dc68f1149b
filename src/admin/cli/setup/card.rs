//! What is to be entered in the mail program, and what to do next: for a person, and plain enough to be copied.

use std::path::Path;

use zeroize::Zeroizing;

use crate::admin::cli::password::card::server;
use crate::admin::ops::{Issued, MailboxState};
use crate::admin::tables::timestamp;
use crate::base::Mailbox;
use crate::config::Config;

/// The settings for the mail program, with the app password: the one text that has it.
pub(super) fn settings(config: &Config, issued: &Issued) -> Zeroizing<String> {
    let Issued { password, row } = issued;
    // Room for all of it, so that growing leaves no copy of the password behind.
    let mut text = Zeroizing::new(String::with_capacity(4096));
    text.push_str(&format!("Settings for the mail program ({})\n\n", row.label));
    text.push_str(&format!("  user name   {}\n", row.mailbox));
    text.push_str("  password    ");
    text.push_str(password.expose());
    text.push('\n');
    for protocol in &row.protocols {
        for listener in config.listeners.iter().filter(|listener| listener.protocol == *protocol) {
            text.push_str(&format!("  {:<10}  {}\n", protocol.name().to_uppercase(), server(listener)));
        }
    }
    text.push_str(&format!("  ends        {}\n", row.expires_at.map_or_else(|| "never".to_owned(), timestamp)));
    text.push_str(&format!("\nThe password is shown this once. To revoke it: postern password revoke {}\n", row.id));
    text
}

/// Where things stand at the end.
#[derive(Clone, Copy)]
pub(super) struct Standing<'a> {
    /// How the program is called so that it finds this configuration: `postern`, or with `--config`.
    pub(super) command: &'a str,
    /// The mailbox.
    pub(super) mailbox: &'a Mailbox,
    /// Whether it can be used.
    pub(super) state: MailboxState,
    /// Whether it is the system's own place, and a service of the system.
    pub(super) is_system: bool,
    /// Whether a process serves already.
    pub(super) is_served: bool,
    /// What is left to be done in the tenant.
    pub(super) administrator: Administrator<'a>,
}

/// What is left to be done in the tenant, as far as is known.
#[derive(Clone, Copy, Debug)]
pub(super) enum Administrator<'a> {
    /// Nothing: the whole way works.
    Done,
    /// The steps that were told, where there is no script.
    DoesSteps,
    /// The steps, and the script, which was shown.
    GetsScript,
    /// The steps, and the script in this file.
    RunsScript(&'a Path),
}

/// What to do next.
pub(super) fn next(standing: &Standing<'_>) -> String {
    let Standing { command, mailbox, .. } = standing;
    let mut steps = Vec::new();
    match standing.administrator {
        Administrator::Done => {}
        Administrator::DoesSteps => {
            steps.push("Let the administrator do the steps above, if they are not done yet.".to_owned());
        }
        Administrator::GetsScript => steps.push(format!(
            "Let the administrator do what is not done yet: the steps above, and, for Exchange, this script, in PowerShell:\n\
             {command} setup --print-script --mailbox {mailbox}"
        )),
        Administrator::RunsScript(script) => steps.push(format!(
            "Let the administrator do what is not done yet: the steps above, and, for Exchange, run {} in PowerShell.",
            script.display()
        )),
    }
    if standing.state == MailboxState::NeedsSignIn {
        steps.push(format!("Sign {mailbox} in:\n{command} mailbox connect {mailbox}"));
    }
    if !matches!(standing.administrator, Administrator::Done) {
        steps.push(format!("See whether everything is in place then:\n{command} doctor {mailbox}"));
    }
    if standing.is_served {
        steps.push("The proxy runs already. It takes a new tenant up when it is started again.".to_owned());
    } else if standing.is_system {
        steps.push(
            "Run it for good (config/service/postern.service in the sources, docs/OPERATING.md):\nsystemctl enable --now postern"
                .to_owned(),
        );
    } else {
        steps.push(format!(
            "Start the proxy; docs/OPERATING.md has the service for systemd (config/service/postern.service):\n{command} serve"
        ));
    }
    steps.push(format!("Let the mail program trust the CA; how, is told for each system by:\n{command} certificate"));
    steps.push(format!(
        "Further mailboxes and app passwords:\n{command} mailbox add ADDRESS\n{command} password issue ADDRESS --label TEXT"
    ));
    let steps = steps.iter().enumerate().map(|(number, step)| {
        let step = step.replace('\n', "\n       ");
        format!("\n  {}. {step}", number + 1)
    });
    format!("Next:{}", steps.collect::<String>())
}

/// How the program is called so that it finds `path`.
pub(super) fn command(path: &Path, is_found: bool) -> String {
    if is_found {
        return "postern".to_owned();
    }
    // A word that a shell takes as it is, or one in quotes.
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:\\".contains(c);
    if text.chars().all(plain) && !cfg!(windows) {
        format!("postern --config {text}")
    } else if cfg!(windows) {
        format!("postern --config \"{text}\"")
    } else {
        format!("postern --config '{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn the_command_can_be_typed_as_it_stands() {
        for (path, found, expected) in [
            ("/etc/postern/postern.toml", true, "postern"),
            ("/srv/postern.toml", false, "postern --config /srv/postern.toml"),
            ("/srv/it's here.toml", false, "postern --config '/srv/it'\\''s here.toml'"),
        ] {
            assert_eq!(command(Path::new(path), found), expected);
        }
    }

    #[test]
    fn what_is_next_depends_on_where_things_stand() {
        let mailbox = "alice@contoso.test".parse().unwrap();
        let standing = Standing {
            command: "postern",
            mailbox: &mailbox,
            state: MailboxState::Ready,
            is_system: false,
            is_served: false,
            administrator: Administrator::Done,
        };
        let text = next(&standing);
        assert!(
            text.contains("postern serve") && !text.contains("connect") && !text.contains("administrator"),
            "{text}"
        );
        for (administrator, part) in [
            (Administrator::DoesSteps, "the steps above, if they"),
            (Administrator::GetsScript, "setup --print-script --mailbox alice@contoso.test"),
            (Administrator::RunsScript(Path::new("postern-setup.ps1")), "run postern-setup.ps1 in PowerShell"),
        ] {
            let text = next(&Standing { administrator, ..standing });
            assert!(text.contains(part) && text.contains("postern doctor alice@contoso.test"), "{text}");
        }
        let text = next(&Standing { state: MailboxState::NeedsSignIn, is_system: true, ..standing });
        assert!(text.contains("mailbox connect alice@contoso.test") && text.contains("systemctl"), "{text}");
    }
}
