//! `postern explain`: what a number, a reply, a log line or an error mail means, and what to do.

use std::io::Read;

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde::Serialize;

use crate::admin::cli::failure::Failure;
use crate::admin::cli::output::{Output, Tone};
use crate::admin::cli::set_up::SetUp;
use crate::admin::ops::{self, ExplainError, Explained};
use crate::admin::tables::{harmless, timestamp};
use crate::base::catalogue::{Certainty, Entry, Found, Match, Places, Search, Step, is_numbered, whose_name};
use crate::base::{Fault, Mailbox, Protocol, Whose};

/// Tell what a number, a reply or an error means, and what to do
///
/// Takes an AADSTS number (7000222), a reply of Exchange ("535 5.7.139", 5.7.60), the name of a failure in Postern's log (token-refused), or
/// any text with such in it: a line of the log, an error mail, what a mail program shows. `-` reads the text from stdin. A reference
/// (`ref 7F3K2Q`), as refusals have it, is looked up in the store of the configuration. Nothing is sent anywhere, and for all else no
/// configuration is needed.
#[derive(Args, Debug)]
#[command(override_usage = "postern explain [OPTIONS] <CODE-or-text>...")]
pub(super) struct Explain {
    /// The code or the text; `-` is stdin
    #[arg(value_name = "CODE-or-text", allow_hyphen_values = true)]
    text: String,
    /// More of it, so that it need not be quoted
    #[arg(value_name = "MORE", hide = true)]
    more: Vec<String>,
}

/// The most that is read from stdin.
const MOST_OCTETS: u64 = 1024 * 1024;

/// What happened stands in front of what to do in so many characters, and in full behind it.
const LONGEST_REASON: usize = 300;

/// Of this many causes or fewer that share a code each is told in full.
const MOST_IN_FULL: usize = 10;

impl Explain {
    pub(super) fn run(self, set_up: &SetUp) -> Result<(), Failure> {
        let output = &set_up.output;
        let text = self.text()?;
        let search = ops::explain(&text);
        // A reference tells more than the words around it, which are the same for many causes.
        if let Some(reference) = search.references.first() {
            match explain_reference(set_up, reference) {
                Err(failure) if search.found.is_empty() => return Err(failure),
                Err(_) => {}
                Ok(()) => return Ok(()),
            }
        }
        if search.found.is_empty() {
            return Err(nothing_known(&search).into());
        }
        if output.is_json() {
            let places = search.places();
            let entries: Vec<EntryDocument> =
                search.found.iter().map(|found| EntryDocument::new(found.entry, &places)).collect();
            return output.json(&entries);
        }
        let page = Page { width: output.width(), paint: output.stdout_colour() };
        output.data(&page.all(&search))?;
        remarks(output, &search);
        Ok(())
    }

    fn text(&self) -> Result<String, Failure> {
        if self.text != "-" || !self.more.is_empty() {
            let words = std::iter::once(&self.text).chain(&self.more).map(String::as_str);
            return Ok(words.collect::<Vec<_>>().join(" "));
        }
        let mut octets = Vec::new();
        match std::io::stdin().lock().take(MOST_OCTETS).read_to_end(&mut octets) {
            // An error mail can hold anything; what is not UTF-8 has no code in it.
            Ok(_) => Ok(String::from_utf8_lossy(&octets).into_owned()),
            Err(error) => Err(Failure::operation(
                "stdin",
                format!("stdin cannot be read: {error}"),
                "Give the text as an argument.",
            )),
        }
    }
}

/// A reference is looked up in the store, which takes a configuration.
fn explain_reference(set_up: &SetUp, reference: &str) -> Result<(), Failure> {
    let output = &set_up.output;
    let config = set_up.config()?;
    let found = set_up.wait_for(async { Ok(ops::explain_reference(&config, reference).await?) })?;
    if output.is_json() {
        return output.json(&found.iter().map(IncidentDocument::from).collect::<Vec<_>>());
    }
    let page = Page { width: output.width(), paint: output.stdout_colour() };
    let mut text = String::new();
    for explained in &found {
        page.separate(&mut text);
        page.incident(&mut text, explained);
    }
    output.data(&text)
}

fn nothing_known(search: &Search) -> ExplainError {
    ExplainError::NothingKnown {
        number: search.unknown_numbers.first().copied(),
        reply: search.unknown_replies.first().cloned(),
    }
}

/// What stands in the text beside the entries, on stderr.
fn remarks(output: &Output, search: &Search) {
    for number in &search.unknown_numbers {
        let error = ExplainError::NothingKnown { number: Some(*number), reply: None };
        output.problem(Tone::Warning, &error.to_string(), error.remedy().as_deref());
    }
    if let Some(reference) = search.references.first() {
        output.note(&format!("its line in the log of `serve`: journalctl -u postern | grep {reference}"));
    }
}

/// An entry in `--json`.
#[derive(Serialize)]
struct EntryDocument {
    code: &'static str,
    title: &'static str,
    says: Option<&'static str>,
    what: &'static str,
    whose: &'static str,
    remedy: String,
    told: ToldDocument,
    retry: RetryDocument,
    certainty: &'static str,
    source: &'static str,
}

/// What stood behind a reference, in `--json`.
#[derive(Serialize)]
struct IncidentDocument<'a> {
    reference: &'a str,
    at: String,
    mailbox: Option<&'a str>,
    protocol: Option<&'static str>,
    password_id: Option<&'a str>,
    code: &'a str,
    reason: &'a str,
    remedy: Option<&'a str>,
    entries: Vec<EntryDocument>,
}

impl<'a> From<&'a Explained> for IncidentDocument<'a> {
    fn from(explained: &'a Explained) -> Self {
        let (incident, places) = (&explained.incident, explained.search.places());
        Self {
            reference: &incident.reference,
            at: timestamp(incident.at),
            mailbox: incident.mailbox.as_ref().map(Mailbox::as_str),
            protocol: incident.protocol.map(Protocol::name),
            password_id: incident.password_id.as_deref(),
            code: &incident.code,
            reason: &incident.reason,
            remedy: incident.remedy.as_deref(),
            entries: explained.search.found.iter().map(|found| EntryDocument::new(found.entry, &places)).collect(),
        }
    }
}

#[derive(Serialize)]
struct ToldDocument {
    smtp: Option<&'static str>,
    imap: Option<&'static str>,
    pop3: Option<&'static str>,
}

#[derive(Serialize)]
struct RetryDocument {
    when: &'static str,
    seconds: Option<u32>,
}

impl EntryDocument {
    fn new(entry: &'static Entry, places: &Places<'_>) -> Self {
        Self {
            code: entry.code,
            title: entry.title,
            says: Some(entry.example).filter(|example| !example.is_empty()),
            what: entry.what,
            whose: whose_name(entry.whose),
            remedy: entry.remedy_text(places),
            told: ToldDocument { smtp: entry.told.smtp, imap: entry.told.imap, pop3: entry.told.pop3 },
            retry: RetryDocument { when: entry.retry.name(), seconds: entry.retry.seconds() },
            certainty: entry.certainty.name(),
            source: entry.source,
        }
    }
}

/// How entries are laid out for a person.
struct Page {
    width: usize,
    paint: bool,
}

impl Page {
    fn all(&self, search: &Search) -> String {
        let places = search.places();
        let shared: Vec<&Found> = search.found.iter().filter(|found| found.how == Match::OneOf).collect();
        let mut page = String::new();
        for found in &search.found {
            let of_many = found.how == Match::OneOf && shared.len() > 1;
            if of_many && shared.first().is_some_and(|first| first.entry.code == found.entry.code) {
                self.separate(&mut page);
                self.causes(&mut page, &shared);
            }
            if of_many && shared.len() > MOST_IN_FULL {
                continue;
            }
            self.separate(&mut page);
            // Our own name for something that is known better needs no advice of its own.
            let brief = found.how == Match::Own && search.found.first().is_some_and(|first| first.how != Match::Own);
            if brief {
                self.headline(&mut page, found.entry);
            } else {
                self.entry(&mut page, found.entry, &places);
            }
        }
        page
    }

    /// What happened when a reference was given, and what is known about that.
    fn incident(&self, page: &mut String, explained: &Explained) {
        let incident = &explained.incident;
        let mut whom = Vec::from([timestamp(incident.at)]);
        whom.extend(incident.protocol.map(|protocol| protocol.name().to_uppercase()));
        whom.extend(incident.mailbox.as_ref().map(ToString::to_string));
        whom.extend(incident.password_id.as_ref().map(|id| format!("app password {id}")));
        self.paragraph(page, "", &self.bold(&format!("{}: {}", incident.reference, whom.join(", "))));
        // Some of Exchange's replies are pages long.
        let begin: String = incident.reason.chars().take(LONGEST_REASON).collect();
        let is_whole = begin.len() == incident.reason.len();
        let shown = if is_whole { begin } else { format!("{begin}…, in full below") };
        self.paragraph(page, "  ", &harmless(&format!("{shown} ({})", incident.code)));
        if let Some(remedy) = &incident.remedy {
            page.push('\n');
            self.heading(page, "What to do");
            self.paragraph(page, "    ", &harmless(remedy));
        }
        if !explained.search.found.is_empty() {
            page.push('\n');
            page.push_str(&self.all(&explained.search));
        }
        if !is_whole {
            page.push('\n');
            self.heading(page, "In full");
            self.paragraph(page, "    ", &harmless(&incident.reason));
        }
    }

    fn separate(&self, page: &mut String) {
        if !page.is_empty() {
            page.push('\n');
        }
    }

    /// How to tell apart what shares a code.
    fn causes(&self, page: &mut String, causes: &[&Found]) {
        let full = causes.len() <= MOST_IN_FULL;
        let head = format!("This code alone can mean {} things. The words behind it tell them apart:", causes.len());
        self.paragraph(page, "", &self.bold(&head));
        for found in causes {
            let entry = found.entry;
            let says = if entry.example.is_empty() { entry.name() } else { entry.example };
            self.paragraph(page, "  ", says);
            self.paragraph(page, "      ", &format!("{} ({})", entry.title, entry.code));
        }
        if !full {
            self.paragraph(page, "", "For one of them in full: postern explain NAME, the name in brackets.");
        }
    }

    /// What it is, and what happened.
    fn headline(&self, page: &mut String, entry: &Entry) {
        self.paragraph(page, "", &self.bold(&format!("{}: {}", entry.name(), entry.title)));
        if !entry.example.is_empty() && !entry.example.eq_ignore_ascii_case(entry.name()) {
            self.paragraph(page, "  ", &self.faint(&format!("«{}»", entry.example)));
        }
        self.paragraph(page, "  ", entry.what);
    }

    fn entry(&self, page: &mut String, entry: &Entry, places: &Places<'_>) {
        self.headline(page, entry);
        page.push('\n');
        let who = match entry.whose {
            Whose::Nobody => "",
            Whose::Administrator => " (administrator)",
            Whose::User => " (user)",
        };
        self.heading(page, &format!("What to do{who}"));
        self.steps(page, entry, places);
        page.push('\n');
        let lines: Vec<_> = entry.told.lines().collect();
        if !lines.is_empty() {
            self.heading(page, "What the mail program is told");
            for (protocol, line) in lines {
                self.paragraph(page, &format!("    {protocol}  "), line);
            }
        }
        self.fact(page, "Try again:  ", &entry.retry.words());
        if entry.certainty != Certainty::Own {
            self.fact(page, "Known from: ", &format!("{} ({})", entry.source, entry.certainty.words()));
        }
    }

    fn steps(&self, page: &mut String, entry: &Entry, places: &Places<'_>) {
        let numbered = is_numbered(entry.remedy);
        let mut number = 0;
        for (step, text) in entry.steps(places) {
            match step {
                Step::Do(_) if numbered => {
                    number += 1;
                    self.paragraph(page, &format!("    {number}. "), &text);
                }
                // A remark is about all of it, not about the step that stands before it.
                Step::Do(_) | Step::Note(_) => self.paragraph(page, "    ", &text),
                // A command is never broken, so that it can be copied.
                Step::Run(_) | Step::PowerShell(_) => {
                    let indent = if numbered { "         " } else { "      " };
                    page.push_str(&format!("{indent}{}\n", self.style(AnsiColor::Green.on_default(), &text)));
                }
            }
        }
    }

    fn heading(&self, page: &mut String, text: &str) {
        page.push_str(&format!("  {}\n", self.style(AnsiColor::Cyan.on_default(), text)));
    }

    fn fact(&self, page: &mut String, name: &str, text: &str) {
        let name = self.style(AnsiColor::Cyan.on_default(), name);
        self.paragraph(page, &format!("  {name}"), text);
    }

    fn bold(&self, text: &str) -> String {
        self.style(Style::new().bold(), text)
    }

    fn faint(&self, text: &str) -> String {
        self.style(AnsiColor::BrightBlack.on_default(), text)
    }

    fn style(&self, style: Style, text: &str) -> String {
        if self.paint { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// A paragraph, broken at spaces; further lines stand under the first one's text.
    fn paragraph(&self, page: &mut String, indent: &str, text: &str) {
        let hanging = " ".repeat(visible(indent));
        let room = self.width.saturating_sub(hanging.len()).max(20);
        let (mut line, mut length) = (String::new(), 0);
        let mut first = true;
        let mut flush = |line: &mut String| {
            page.push_str(if std::mem::take(&mut first) { indent } else { &hanging });
            page.push_str(line);
            page.push('\n');
            line.clear();
        };
        for word in text.split(' ') {
            let wide = visible(word);
            if length > 0 && length + 1 + wide > room {
                flush(&mut line);
                length = 0;
            }
            if length > 0 {
                line.push(' ');
                length += 1;
            }
            line.push_str(word);
            length += wide;
        }
        flush(&mut line);
    }
}

/// How many columns a text takes, without what colours it.
fn visible(text: &str) -> usize {
    let mut columns = 0;
    let mut in_sequence = false;
    for c in text.chars() {
        match (in_sequence, c) {
            (false, '\u{1b}') => in_sequence = true,
            (true, 'm') => in_sequence = false,
            (false, _) => columns += 1,
            (true, _) => {}
        }
    }
    columns
}
