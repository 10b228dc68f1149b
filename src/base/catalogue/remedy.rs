//! Remedies: steps with named places, and how they are put into a line or a page.

/// A part of a remedy. The texts are templates; [`Places`] says what can stand in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something to do: a sentence in the imperative.
    Do(&'static str),
    /// A remark that is nothing to do.
    Note(&'static str),
    /// A command for a shell on Postern's machine, belonging to what stands before it.
    Run(&'static str),
    /// A command for Exchange Online PowerShell, belonging to what stands before it.
    PowerShell(&'static str),
}

impl Step {
    /// The text with its places.
    pub fn template(self) -> &'static str {
        match self {
            Self::Do(text) | Self::Note(text) | Self::Run(text) | Self::PowerShell(text) => text,
        }
    }

    /// Whether it is a command.
    pub fn is_command(self) -> bool {
        matches!(self, Self::Run(_) | Self::PowerShell(_))
    }
}

/// The command that signs a mailbox in, the one place that knows how.
pub(in crate::base::catalogue) const CONNECT: Step = Step::Run("postern mailbox connect {mailbox}");

/// For everything that a sign-in anew mends.
pub(in crate::base::catalogue) const SIGN_IN_AGAIN: &[Step] = &[Step::Do("Sign the mailbox in again:"), CONNECT];

/// What stands in the places of a remedy: `{mailbox}`, `{sender}`, `{tenant}`, `{client_id}`. A place that is not filled is
/// written in capitals, as in README's PowerShell: MAILBOX.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places<'a> {
    /// The address of the mailbox, or of the account that signs in for it.
    pub mailbox: Option<&'a str>,
    /// The address that was named as sender.
    pub sender: Option<&'a str>,
    /// The tenant's ID.
    pub tenant: Option<&'a str>,
    /// The application's (client) ID.
    pub client_id: Option<&'a str>,
    /// The object ID of the enterprise application, or the account that signs in: whoever gets rights in Exchange.
    pub object_id: Option<&'a str>,
}

impl Places<'_> {
    /// The names of all places.
    pub const NAMES: [&'static str; 5] =
        ["mailbox", "sender", "tenant", "client_id", "object_id_of_the_enterprise_application"];

    /// Fills the places of a template.
    ///
    /// Values come from mail programs and from pasted texts, and what they fill is copied into an administrator's shell. So a value
    /// with anything else in it than letters, digits and `@ . _ + -` does not count, nor one that could be taken for an option.
    pub fn fill(&self, template: &str) -> String {
        let mut filled = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((before, behind)) = rest.split_once('{') {
            let Some((name, after)) = behind.split_once('}') else { break };
            filled.push_str(before);
            match self.value(name).filter(|value| is_harmless(value)) {
                Some(value) => filled.push_str(value),
                None => filled.push_str(&name.to_uppercase().replace('_', "-")),
            }
            rest = after;
        }
        filled.push_str(rest);
        filled
    }

    fn value(&self, name: &str) -> Option<&str> {
        match name {
            "mailbox" => self.mailbox,
            "sender" => self.sender,
            "tenant" => self.tenant,
            "client_id" => self.client_id,
            "object_id_of_the_enterprise_application" => self.object_id,
            _ => None,
        }
    }
}

/// Whether a shell takes this for one plain word.
fn is_harmless(value: &str) -> bool {
    !value.starts_with('-')
        && (1..=254).contains(&value.len())
        && value.chars().all(|c| c.is_alphanumeric() || matches!(c, '@' | '.' | '_' | '+' | '-'))
}

/// Whether the steps need numbers.
pub fn is_numbered(steps: &[Step]) -> bool {
    steps.iter().filter(|step| matches!(step, Step::Do(_))).count() > 1
}

/// The steps in one line.
pub(in crate::base::catalogue) fn line(steps: &[Step], places: &Places<'_>) -> String {
    let (numbered, mut number) = (is_numbered(steps), 0);
    let mut line = String::new();
    for (place, step) in steps.iter().enumerate() {
        if !line.is_empty() {
            line.push(' ');
        }
        let text = places.fill(step.template());
        if step.is_command() {
            let next_is_command = steps.get(place + 1).is_some_and(|next| next.is_command());
            line.push_str(&format!("`{text}`{}", if next_is_command { "," } else { "." }));
            continue;
        }
        if numbered && matches!(step, Step::Do(_)) {
            number += 1;
            line.push_str(&format!("{number}. "));
        }
        line.push_str(&text);
    }
    line
}

/// The steps in lines: numbered if there are several, commands alone and indented.
pub fn text(steps: &[Step], places: &Places<'_>) -> String {
    let (numbered, mut number) = (is_numbered(steps), 0);
    let mut lines = Vec::with_capacity(steps.len());
    for step in steps {
        let text = places.fill(step.template());
        lines.push(match step {
            Step::Do(_) if numbered => {
                number += 1;
                format!("{number}. {text}")
            }
            Step::Do(_) | Step::Note(_) => text,
            Step::Run(_) | Step::PowerShell(_) => format!("    {text}"),
        });
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: &[Step] = &[
        Step::Do("Switch it on:"),
        Step::PowerShell("Set-CASMailbox -Identity {mailbox}"),
        Step::Do("Wait."),
        Step::Note("It takes long."),
    ];

    #[test]
    fn a_place_is_filled_or_named_in_capitals() {
        let places = Places { mailbox: Some("alice@contoso.test"), ..Places::default() };
        assert_eq!(
            places.fill("Add {mailbox} as {sender} of {client_id}."),
            "Add alice@contoso.test as SENDER of CLIENT-ID."
        );
        assert_eq!(places.fill("no place, {open"), "no place, {open");
    }

    #[test]
    fn nothing_that_a_shell_would_act_on_gets_into_a_command() {
        for value in [
            "a@x.test; rm -rf ~",
            "$(id)@x.test",
            "a`b@x",
            "'a'@x",
            "-Force",
            "a|b",
            "a b",
            "",
            "a@x.test\n",
            "{tenant}",
        ] {
            let places = Places { mailbox: Some(value), ..Places::default() };
            assert_eq!(places.fill("Set-CASMailbox {mailbox}"), "Set-CASMailbox MAILBOX", "{value:?}");
        }
        for value in ["müller+list@contoso.test", "o_brien-2@contoso.test"] {
            let places = Places { mailbox: Some(value), ..Places::default() };
            assert_eq!(places.fill("{mailbox}"), value);
        }
    }

    #[test]
    fn steps_become_a_line_or_lines() {
        let places = Places { mailbox: Some("a@x.test"), ..Places::default() };
        assert_eq!(
            line(STEPS, &places),
            "1. Switch it on: `Set-CASMailbox -Identity a@x.test`. 2. Wait. It takes long."
        );
        assert_eq!(
            text(STEPS, &places),
            "1. Switch it on:\n    Set-CASMailbox -Identity a@x.test\n2. Wait.\nIt takes long."
        );
        assert_eq!(line(&STEPS[2..], &places), "Wait. It takes long.");
        assert_eq!(line(&[], &places), "");
    }
}
