//! Asking a person at a terminal. Every question says why it is asked and has a default wherever there is a sensible one.
//!
//! Answers are typed, also where one of a few is chosen: a list under a moving cursor would leave the terminal without a cursor when
//! Ctrl-C ends it, and cannot be read out.

use std::io::IsTerminal;

use dialoguer::theme::{ColorfulTheme, SimpleTheme, Theme};
use dialoguer::{Confirm, Input, Password};

use crate::admin::cli::failure::Failure;
use crate::admin::cli::output::Output;
use crate::base::Secret;

/// Whoever answers the questions.
pub(in crate::admin::cli) struct Asker {
    output: Output,
    asks: bool,
    theme: Box<dyn Theme>,
}

/// A question.
#[derive(Clone, Copy)]
pub(super) struct Question<'q> {
    /// The option that answers it.
    pub(super) flag: &'q str,
    /// Why it is asked, and what the answers mean.
    pub(super) why: &'q str,
    /// The question in a few words.
    pub(super) prompt: &'q str,
}

impl Asker {
    /// Asks if a person sits there, and `given` does not say that nothing is to be asked.
    pub(in crate::admin::cli) fn new(output: &Output, nothing: bool) -> Self {
        let person = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        let theme: Box<dyn Theme> =
            if output.stderr_colour() { Box::new(ColorfulTheme::default()) } else { Box::new(SimpleTheme) };
        Self { output: output.clone(), asks: person && !nothing && !output.is_json(), theme }
    }

    /// Whether questions are asked.
    pub(in crate::admin::cli) fn asks(&self) -> bool {
        self.asks
    }

    /// A line for the person who answers.
    pub(super) fn say(&self, text: &str) {
        if self.asks {
            self.output.say(text);
        }
    }

    /// The answer that was given by an option, else what the person types, else the default.
    pub(super) fn ask<T>(
        &self,
        question: Question<'_>,
        given: Option<T>,
        default: Option<&str>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        if let Some(given) = given {
            return Ok(given);
        }
        if !self.asks {
            let Some(default) = default else { return Err(missing(&[question.flag.to_owned()])) };
            return read(default).map_err(|why| Failure::Usage(format!("{}: {why}", question.flag)));
        }
        self.say(&format!("\n{}", question.why));
        let mut input = Input::<String>::with_theme(&*self.theme).with_prompt(question.prompt);
        if let Some(default) = default {
            input = input.default(default.to_owned());
        }
        let typed = input.validate_with(|text: &String| read(text.trim()).map(drop)).interact_text();
        let typed = typed.map_err(broken_off)?;
        read(typed.trim()).map_err(Failure::Usage)
    }

    /// The same for an answer that may be left out.
    pub(super) fn ask_if_any<T>(
        &self,
        question: Question<'_>,
        given: Option<T>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Failure> {
        if given.is_some() || !self.asks {
            return Ok(given);
        }
        self.say(&format!("\n{}", question.why));
        let or_none = |text: &str| if text.is_empty() { Ok(None) } else { read(text).map(Some) };
        let typed = Input::<String>::with_theme(&*self.theme)
            .with_prompt(format!("{} (Enter leaves it out)", question.prompt))
            .allow_empty(true)
            .validate_with(|text: &String| or_none(text.trim()).map(drop))
            .interact_text();
        or_none(typed.map_err(broken_off)?.trim()).map_err(Failure::Usage)
    }

    /// Yes or no; without a person `unasked`.
    pub(super) fn confirm(&self, prompt: &str, default: bool, unasked: bool) -> Result<bool, Failure> {
        if !self.asks {
            return Ok(unasked);
        }
        Confirm::with_theme(&*self.theme).with_prompt(prompt).default(default).interact().map_err(broken_off)
    }

    /// What is typed, as it is, and nobody sees; typed again where `again` asks for that.
    pub(in crate::admin::cli) fn hidden(&self, prompt: &str, again: Option<&str>) -> Result<Secret<String>, Failure> {
        // Ctrl-C in the middle would leave a terminal that shows nothing that is typed: it is heard after Enter.
        let held = Held::hold();
        let mut asked = Password::with_theme(&*self.theme).with_prompt(prompt).allow_empty_password(true);
        if let Some(again) = again {
            asked = asked.with_confirmation(again, "These were not the same.");
        }
        let typed = asked.report(false).interact().map(Secret::new);
        drop(held);
        typed.map_err(broken_off)
    }

    /// A client secret that nobody sees while it is typed or pasted.
    pub(super) fn secret(&self, why: &str, prompt: &str) -> Result<Secret<String>, Failure> {
        self.say(&format!("\n{why}"));
        loop {
            let typed = self.hidden(prompt, None)?;
            match typed.expose().trim() {
                "" => self.say("It is empty."),
                text if text.chars().any(|c| c.is_control() || c.is_whitespace()) => {
                    self.say("It has a space or a control character in it, which no client secret has.");
                }
                text => {
                    self.say(&format!("{} characters were read.", text.chars().count()));
                    return Ok(Secret::new(text.to_owned()));
                }
            }
        }
    }
}

/// That questions would have to be asked, and nobody can be.
pub(super) fn missing(flags: &[String]) -> Failure {
    let list = flags.join(", ");
    Failure::Usage(format!("nobody can be asked, and these are missing: {list}"))
}

fn broken_off(error: dialoguer::Error) -> Failure {
    let dialoguer::Error::IO(error) = error;
    let message = format!("no answer could be read: {error}");
    Failure::operation("no-answer", message, "Run `postern setup` again; it goes on where it stopped.")
}

/// The signals of the keyboard, held back as long as this lives.
struct Held {
    #[cfg(unix)]
    before: Option<nix::sys::signal::SigSet>,
}

impl Held {
    #[cfg(unix)]
    fn hold() -> Self {
        use nix::sys::signal::{SigSet, SigmaskHow, Signal};

        let keyboard: SigSet = [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP].into_iter().collect();
        Self { before: keyboard.thread_swap_mask(SigmaskHow::SIG_BLOCK).ok() }
    }

    #[cfg(not(unix))]
    fn hold() -> Self {
        Self {}
    }
}

#[cfg(unix)]
impl Drop for Held {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = before.thread_set_mask();
        }
    }
}
