//! Running text on a terminal: broken between words, with what is to be copied left whole.

use anstyle::{AnsiColor, Style};

/// The widest that running text is set: longer lines are hard to read.
pub(super) const READABLE: usize = 100;

/// How text is set.
pub(super) struct Page<'a> {
    /// Columns.
    pub(super) width: usize,
    /// Gives a text its style, where there is colour.
    pub(super) paint: &'a dyn Fn(&str, Style) -> String,
}

impl Page<'_> {
    /// Sets lines of words, indented but for the first, of which so many columns are taken. Commands, which begin with four spaces,
    /// stand alone and whole, further to the left if need be, so that they can be copied.
    pub(super) fn paragraphs(&self, words: &str, indent: usize, taken: usize, text: &mut String) {
        for (number, line) in words.lines().enumerate() {
            match line.strip_prefix("    ") {
                Some(command) => {
                    let room = self.width.saturating_sub(command.chars().count());
                    text.push_str(&" ".repeat((indent + 4).min(room)));
                    text.push_str(&(self.paint)(command, AnsiColor::Cyan.on_default()));
                }
                None if number == 0 => text.push_str(&wrapped(line, indent, taken, self.width)),
                None => {
                    text.push_str(&" ".repeat(indent));
                    text.push_str(&wrapped(line, indent, 0, self.width));
                }
            }
            text.push('\n');
        }
        if words.is_empty() {
            text.push('\n');
        }
    }
}

/// The words in lines of this width, each but the first indented; of the first so many columns are taken.
pub(super) fn wrapped(words: &str, indent: usize, taken: usize, width: usize) -> String {
    let room = width.saturating_sub(indent).max(20);
    let mut text = String::new();
    let mut column = taken;
    for word in words.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > room && !text.is_empty() {
            text.push_str(&format!("\n{}", " ".repeat(indent)));
            column = 0;
        } else if !text.is_empty() {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text
}

/// A text for people in lines of this width. What is indented is to be copied and stays whole, but for numbered steps
/// (`  1. …`) and what belongs to them (five spaces).
pub(super) fn fitted(text: &str, width: usize) -> String {
    let lines = text.split('\n').map(|line| {
        let words = line.trim_start_matches(' ');
        let indent = line.len() - words.len();
        let is_step = words.split_once(". ").is_some_and(|(number, _)| number.parse::<u8>().is_ok());
        match indent {
            0 if is_step => wrapped(words, 3, 0, width),
            0 => wrapped(words, 0, 0, width),
            2 if is_step => format!("  {}", wrapped(words, 5, 0, width)),
            5 => format!("     {}", wrapped(words, 5, 0, width)),
            _ => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A remedy that was put into one line, for the log, with each of its steps on a line of its own again, and its commands alone, behind
/// four spaces.
pub(super) fn in_steps(remedy: &str) -> String {
    let mut steps = Vec::new();
    let mut rest = remedy;
    if remedy.starts_with("1. ") {
        for number in 2..100 {
            let Some((step, behind)) = rest.split_once(&format!(" {number}. ")) else { break };
            let start = rest.len() - behind.len() - format!("{number}. ").len();
            steps.push(step);
            rest = rest.get(start..).unwrap_or_default();
        }
    }
    steps.push(rest);
    steps.into_iter().map(with_commands_apart).collect::<Vec<_>>().join("\n")
}

/// Commands follow a whole sentence or a colon, and end with the sentence or before the next command.
fn with_commands_apart(step: &str) -> String {
    let mut text = String::new();
    let mut rest = step;
    while let Some((before, behind)) = rest.split_once('`') {
        let Some((quoted, after)) = behind.split_once('`') else { break };
        let follows = before.ends_with(": ") || before.ends_with(". ") || (before == " " && text.ends_with('\n'));
        let next_command = after.strip_prefix(',').filter(|after| after.starts_with(" `"));
        let after_it = after.strip_prefix('.').or(next_command).filter(|_| follows);
        match after_it {
            Some(after) => {
                text.push_str(before.trim_end());
                text.push_str(&format!(
                    "{}    {quoted}\n",
                    if text.is_empty() || text.ends_with('\n') { "" } else { "\n" }
                ));
                rest = after;
            }
            None => {
                text.push_str(&format!(
                    "{}`{quoted}`",
                    if text.ends_with('\n') { before.trim_start() } else { before }
                ));
                rest = after;
            }
        }
    }
    text.push_str(if text.ends_with('\n') { rest.trim_start() } else { rest });
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::catalogue::{self, Places, Step};

    #[test]
    fn text_is_broken_between_words_and_what_is_to_be_copied_is_not() {
        let command = "  postern --config /etc/postern/postern.toml serve --and --more --words --than --fit";
        let text = format!(
            "A sentence that is longer than forty columns, so it is broken.\n\n  1. A step that is longer than forty columns too.\n     \
             And what belongs to it is as long as that.\n{command}\n\
             https://login.microsoftonline.com/11111111/oauth2/v2.0/authorize"
        );
        let fitted = fitted(&text, 40);
        assert!(fitted.contains(command) && fitted.contains("/oauth2/v2.0/authorize"), "{fitted}");
        assert!(
            fitted.contains("\n  1. A step that is longer than forty\n     columns too.\n     And what"),
            "{fitted}"
        );
        assert!(fitted.starts_with("A sentence that is longer than forty\ncolumns, so it is broken.\n\n"), "{fitted}");
        assert_eq!(super::fitted(&text, 1000), text);
        assert_eq!(super::fitted("", 40), "");
    }

    #[test]
    fn a_remedy_in_one_line_becomes_the_steps_that_it_was_made_of() {
        let places = Places { mailbox: Some("alice@contoso.test"), ..Places::default() };
        let mut compared = 0;
        for entry in catalogue::entries() {
            let in_lines = in_steps(&entry.remedy_line(&places));
            for step in entry.steps(&places) {
                match step {
                    (Step::Run(_) | Step::PowerShell(_), command) => {
                        assert!(in_lines.contains(&format!("    {command}")), "{}: {in_lines}", entry.code);
                    }
                    (_, words) => assert!(in_lines.contains(words.as_str()), "{}: {in_lines}", entry.code),
                }
            }
            // A remark stands behind the step before it, and may hold anything.
            if !entry.remedy.iter().any(|step| matches!(step, Step::Note(_))) {
                assert_eq!(in_lines, entry.remedy_text(&places), "{}", entry.code);
                compared += 1;
            }
        }
        assert!(compared > 100, "{compared}");
        assert_eq!(
            in_steps("Sign in: `postern mailbox connect a@x.test`."),
            "Sign in:\n    postern mailbox connect a@x.test"
        );
        assert_eq!(in_steps("Name `key` under [x]. Then wait."), "Name `key` under [x]. Then wait.");
        assert_eq!(in_steps("Half a `quote"), "Half a `quote");
    }
}
