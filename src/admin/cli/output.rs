//! Where words go: data to stdout, text for people to stderr, in colour only where a person sees it.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use comfy_table::{Cell, Color, ContentArrangement, LineStyle, Table, TableStyle, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use terminal_size::{Width, terminal_size_of};
use zeroize::Zeroizing;

use crate::admin::cli::failure::Failure;
use crate::admin::cli::page::{Page, READABLE, fitted, in_steps};
use crate::admin::tables::{Entry, harmless};

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ColourWish {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl ColourWish {
    /// The wish among the words of the command line, before they are understood: the help is coloured too.
    pub(super) fn among(words: &[OsString]) -> Self {
        let mut words = words.iter().filter_map(|word| word.to_str());
        while let Some(word) = words.next() {
            let value = match word.strip_prefix("--color") {
                Some("") => words.next(),
                Some(rest) => rest.strip_prefix('='),
                None => None,
            };
            if let Some(Ok(wish)) = value.map(|value| Self::from_str(value, false)) {
                return wish;
            }
        }
        Self::Auto
    }

    /// The same for clap.
    pub(super) fn of_clap(self) -> clap::ColorChoice {
        match self {
            Self::Auto => clap::ColorChoice::Auto,
            Self::Always => clap::ColorChoice::Always,
            Self::Never => clap::ColorChoice::Never,
        }
    }

    fn decide(self, terminal: bool) -> bool {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
        }
    }
}

/// How grave a line on stderr is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Error,
    Fault,
    Warning,
}

impl Tone {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Fault => "fault",
            Self::Warning => "warning",
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Error | Self::Fault => AnsiColor::Red.on_default().bold(),
            Self::Warning => AnsiColor::Yellow.on_default().bold(),
        }
    }
}

/// What the user asked about the output, and where it goes.
#[derive(Clone, Debug)]
pub(super) struct Output {
    json: bool,
    quiet: bool,
    stdout_colour: bool,
    stderr_colour: bool,
    /// How wide text for people is set; `None` where no person sees it, and lines stay whole.
    stderr_width: Option<usize>,
}

impl Output {
    pub(super) fn new(json: bool, quiet: bool, wish: ColourWish) -> Self {
        Self {
            json,
            quiet,
            stdout_colour: wish.decide(io::stdout().is_terminal()),
            stderr_colour: wish.decide(io::stderr().is_terminal()),
            stderr_width: terminal_size_of(io::stderr()).map(|(Width(columns), _)| READABLE.min(usize::from(columns))),
        }
    }

    /// Whether a program reads.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether only what is wrong is to be told.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether what goes to stderr is coloured.
    pub(super) fn stderr_colour(&self) -> bool {
        self.stderr_colour
    }

    /// Whether what goes to stdout is coloured.
    pub(super) fn stdout_colour(&self) -> bool {
        self.stdout_colour
    }

    /// How wide running text is set on stdout: as the terminal, but no wider than can be read well; so, too, where no person sees it.
    pub(super) fn width(&self) -> usize {
        Table::new().width().map_or(READABLE, |columns| READABLE.min(usize::from(columns)))
    }

    /// Data for stdout, as it is.
    pub(super) fn data(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::ReaderGone),
            Err(error) => {
                let message = format!("stdout cannot be written: {error}");
                Err(Failure::operation("output", message, "Look at where the output goes, such as a full disk."))
            }
        }
    }

    /// One document for stdout.
    pub(super) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        self.data(&Zeroizing::new(format!("{}\n", text_of(value)?.as_str())))
    }

    /// A table for stdout: as wide as the terminal there, whole lines elsewhere.
    pub(super) fn table(&self, header: &[&str], rows: Vec<Vec<Entry>>) -> Result<(), Failure> {
        self.data(&format!("{}\n", self.lay_out(header, rows, Self::room()).trim_fmt()))
    }

    /// The width of the terminal that stdout is, if it is one.
    pub(super) fn room() -> Option<u16> {
        if io::stdout().is_terminal() { Table::new().width() } else { None }
    }

    /// Makes a table for a terminal of this width, or for none.
    pub(super) fn lay_out(&self, header: &[&str], rows: Vec<Vec<Entry>>, room: Option<u16>) -> Table {
        let mut table = Table::new();
        // One line under the header: with one under each row a list of mailboxes would be twice as long.
        let ruled = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));
        table.load_style(if room.is_some() { ruled } else { presets::NOTHING });
        match room {
            Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        if self.stdout_colour {
            table.enforce_styling();
        }
        if !header.is_empty() {
            table.set_header(header.iter().map(Cell::new));
        }
        for row in rows {
            table.add_row(row.into_iter().map(|entry| self.cell(entry)));
        }
        table
    }

    fn cell(&self, entry: Entry) -> Cell {
        let (text, colour) = match entry {
            Entry::Plain(text) => (text, None),
            Entry::Good(text) => (text, Some(Color::Green)),
            Entry::Bad(text) => (text, Some(Color::Red)),
            Entry::Faint(text) => (text, Some(Color::DarkGrey)),
        };
        // What others chose, such as a label, must not steer the terminal.
        let cell = Cell::new(harmless(&text));
        match colour {
            Some(colour) if self.stdout_colour => cell.fg(colour),
            _ => cell,
        }
    }

    /// A line for people, which -q leaves out.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// A line for people that stays with -q: without it the command would not have done what it is for.
    pub(super) fn say(&self, text: &str) {
        let text = harmless(text);
        Self::write_line(&self.stderr_width.map_or(text.clone(), |width| fitted(&text, width)));
    }

    /// Text for people that is to be copied: its lines stay whole. -q leaves it out.
    pub(super) fn verbatim(&self, text: &str) {
        if !self.quiet {
            Self::write_line(&harmless(text));
        }
    }

    /// That nobody reads stderr is no reason to fail.
    fn write_line(line: &str) {
        drop(writeln!(io::stderr().lock(), "{line}"));
    }

    /// Something wrong, and what to do about it, for people.
    pub(super) fn problem(&self, tone: Tone, message: &str, remedy: Option<&str>) {
        let paint = |text: &str, style: Style| {
            if self.stderr_colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
        };
        let (word, message) = (tone.word(), harmless(message));
        let label = paint(&format!("{word}:"), tone.style());
        let Some(width) = self.stderr_width else {
            Self::write_line(&format!("{label} {message}"));
            if let Some(remedy) = remedy {
                let label = paint("remedy:", AnsiColor::Cyan.on_default());
                Self::write_line(&format!("  {label} {}", harmless(remedy)));
            }
            return;
        };
        let page = Page { width, paint: &paint };
        let mut text = format!("{label} ");
        page.paragraphs(&message, 2, word.len(), &mut text);
        if let Some(remedy) = remedy {
            const LABEL: &str = "remedy: ";
            text.push_str(&format!("  {}", paint(LABEL, AnsiColor::Cyan.on_default())));
            page.paragraphs(&in_steps(&harmless(remedy)), 2, LABEL.len(), &mut text);
        }
        Self::write_line(text.trim_end_matches('\n'));
    }

    /// A turning sign while someone waits, on a terminal only. It goes when it is dropped.
    pub(super) fn spinner(&self, text: &str) -> Spinner {
        if self.quiet || !io::stderr().is_terminal() {
            return Spinner(None);
        }
        let bar = ProgressBar::new_spinner().with_message(text.to_owned());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Spinner(Some(bar))
    }
}

/// A document, as text.
fn text_of(value: &impl Serialize) -> Result<Zeroizing<String>, Failure> {
    // One of the documents holds a new app password, so what it was made in is wiped.
    serde_json::to_string(value).map(Zeroizing::new).map_err(|error| {
        Failure::operation("output", format!("the document cannot be made: {error}"), "Run it without --json.")
    })
}

/// A JSON array for stdout of which each element is printed at once: whoever breaks the command off has those that were done.
pub(super) struct JsonArray<'a> {
    output: &'a Output,
    is_begun: bool,
}

impl<'a> JsonArray<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        Self { output, is_begun: false }
    }

    pub(super) fn push(&mut self, element: &impl Serialize) -> Result<(), Failure> {
        let separator = if self.is_begun { ",\n" } else { "[" };
        self.output.data(&Zeroizing::new(format!("{separator}{}", text_of(element)?.as_str())))?;
        self.is_begun = true;
        Ok(())
    }

    pub(super) fn end(self) -> Result<(), Failure> {
        self.output.data(if self.is_begun { "]\n" } else { "[]\n" })
    }
}

/// A sign that something is going on.
pub(super) struct Spinner(Option<ProgressBar>);

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(colour: bool) -> Output {
        Output { json: false, quiet: false, stdout_colour: colour, stderr_colour: colour, stderr_width: None }
    }

    #[test]
    fn a_table_that_no_person_sees_is_plain_lines_without_colour() {
        let rows =
            vec![vec![Entry::Good("ready".into()), "a\u{1b}[31mb".into()], vec![Entry::Bad("off".into()), "".into()]];
        let text = output(false).lay_out(&["STATE", "LABEL"], rows, None).trim_fmt();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(lines, ["STATE  LABEL", "ready  a\u{fffd}[31mb", "off"]);
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn colour_is_there_when_it_is_wished_for() {
        let text = output(true).lay_out(&["STATE"], vec![vec![Entry::Good("ready".into())]], None).trim_fmt();
        assert!(text.contains('\u{1b}'), "{text:?}");
        assert!(ColourWish::Always.decide(false) && !ColourWish::Never.decide(true) && !ColourWish::Auto.decide(false));
    }

    #[test]
    fn the_wish_is_found_wherever_it_stands() {
        let among = |words: &[&str]| ColourWish::among(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(among(&["postern", "--color", "never", "--help"]), ColourWish::Never);
        assert_eq!(among(&["postern", "check", "--color=always"]), ColourWish::Always);
        assert_eq!(among(&["postern", "check", "--color=blue"]), ColourWish::Auto);
        assert_eq!(among(&["postern", "--colorful", "--color"]), ColourWish::Auto);
    }
}
