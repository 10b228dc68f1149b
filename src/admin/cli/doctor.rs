//! `postern doctor`: what is wrong between here and the mailbox, step by step, as it is found.

use std::collections::BTreeMap;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde::Serialize;

use crate::admin::cli::failure::Failure;
use crate::admin::cli::output::{Output, Spinner};
use crate::admin::cli::page::{Page, in_steps};
use crate::admin::cli::set_up::SetUp;
use crate::admin::cli::values;
use crate::admin::ops::{Examination, Step, StepEvent, StepState, examine};
use crate::admin::tables::{Entry, harmless};
use crate::base::{Mailbox, Protocol};

/// Find what is wrong between here and the mailbox, step by step
///
/// Looks at the configuration, the store, the ports, the way to each host, its certificate, this machine's clock, the token and what it
/// says, and then logs in by each protocol that a listener speaks, as `serve` does and once more by mail programs of others. Each step that
/// fails is followed by its remedy. Nothing is changed but what any login changes. Whether `serve` runs makes no difference. Without ADDRESS every mailbox of the list
/// is looked at. The status is 0 if no step failed and 1 if one did.
#[derive(Args, Debug)]
pub(super) struct DoctorCommand {
    /// The mailbox to look at [default: all of the list]
    #[arg(value_parser = values::address)]
    address: Option<Mailbox>,
    /// Send a test mail from that mailbox to this address and look for it: in the inbox if it is the same address, where it is
    /// deleted again, else among the sent mails
    #[arg(long, value_name = "TO", value_parser = values::address, requires = "address")]
    send_test: Option<Mailbox>,
}

#[derive(Serialize)]
struct Document<'a> {
    steps: Vec<StepDocument<'a>>,
    ok: bool,
}

#[derive(Serialize)]
struct StepDocument<'a> {
    name: &'static str,
    mailbox: Option<&'a str>,
    tenant: Option<&'a str>,
    protocol: Option<&'static str>,
    state: &'static str,
    took_ms: u64,
    said: &'a str,
    remedy: Option<&'a str>,
}

impl DoctorCommand {
    pub(super) fn run(self, set_up: &SetUp) -> Result<(), Failure> {
        let loaded = set_up.load_as_owner()??;
        let output = &set_up.output;
        let examination = Examination { mailbox: self.address, send_test: self.send_test };
        let mut report = Report::new(output);
        set_up.run_service(async {
            let mut tell = |event| report.take(event);
            Ok(examine(&loaded.config, &loaded.warnings, &examination, &mut tell).await?)
        })?;
        report.end(examination.mailbox.is_none())
    }
}

/// The steps as they come.
struct Report<'a> {
    output: &'a Output,
    steps: Vec<Step>,
    /// The heading that stands above the last line.
    heading: String,
    spinner: Option<Spinner>,
    /// What could not be written.
    failure: Option<Failure>,
}

impl<'a> Report<'a> {
    fn new(output: &'a Output) -> Self {
        Self { output, steps: Vec::new(), heading: String::new(), spinner: None, failure: None }
    }

    fn take(&mut self, event: StepEvent) {
        match event {
            StepEvent::Begins { check, mailbox, protocol } => {
                let of = mailbox.map(|mailbox| format!(", {mailbox}")).unwrap_or_default();
                let spinner = self.output.spinner(&format!("{}{of}", title(check.title(), protocol)));
                self.spinner = Some(spinner);
            }
            StepEvent::Ended(step) => {
                self.spinner = None;
                self.show(&step);
                self.steps.push(*step);
            }
        }
    }

    fn show(&mut self, step: &Step) {
        let quiet = self.output.is_quiet() && matches!(step.state, StepState::Ok | StepState::Skipped);
        if self.output.is_json() || quiet || self.failure.is_some() {
            return;
        }
        let heading = heading(step);
        let mut text = String::new();
        if heading != self.heading {
            let gap = if self.heading.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}{}\n", self.paint(&harmless(&heading), Style::new().bold())));
            self.heading = heading;
        }
        text.push_str(&lines(step, self.output.width(), &|text, style| self.paint(text, style)));
        self.failure = self.output.data(&text).err();
    }

    fn paint(&self, text: &str, style: Style) -> String {
        if self.output.stdout_colour() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn end(mut self, all: bool) -> Result<(), Failure> {
        self.spinner = None;
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let ok = !self.steps.iter().any(|step| step.state == StepState::Failed);
        if self.output.is_json() {
            self.output.json(&Document { steps: self.steps.iter().map(document).collect(), ok })?;
        } else {
            if all {
                self.summary()?;
            }
            self.output.note(&verdict(&self.steps));
        }
        if ok { Ok(()) } else { Err(Failure::Told(1)) }
    }

    /// A line for each mailbox.
    fn summary(&self) -> Result<(), Failure> {
        let mut mailboxes: BTreeMap<&Mailbox, Vec<&Step>> = BTreeMap::new();
        for step in &self.steps {
            if let Some(mailbox) = &step.mailbox {
                mailboxes.entry(mailbox).or_default().push(step);
            }
        }
        if mailboxes.is_empty() {
            return Ok(());
        }
        let rows = mailboxes.into_iter().map(|(mailbox, steps)| {
            let of = |state: StepState| steps.iter().find(|step| step.state == state);
            let says = |step: &&Step| Some(title(step.check.title(), step.protocol));
            let found = match (of(StepState::Failed), of(StepState::Warning)) {
                (Some(_), _) => Entry::Bad("failed".to_owned()),
                (None, Some(_)) => Entry::Plain("warning".to_owned()),
                (None, None) if of(StepState::Ok).is_none() => Entry::Faint("not tried".to_owned()),
                (None, None) => Entry::Good("ok".to_owned()),
            };
            let where_ = of(StepState::Failed).or_else(|| of(StepState::Warning)).and_then(says).unwrap_or_default();
            vec![mailbox.as_str().into(), found, where_.into()]
        });
        self.output.data("\n")?;
        self.output.table(&["MAILBOX", "FOUND", "FIRST AT"], rows.collect())
    }
}

fn heading(step: &Step) -> String {
    match (&step.mailbox, &step.tenant) {
        (Some(mailbox), _) => mailbox.to_string(),
        (None, Some(tenant)) => format!("tenant {tenant}"),
        (None, None) => "this machine".to_owned(),
    }
}

fn title(title: &str, protocol: Option<Protocol>) -> String {
    match protocol {
        Some(protocol) => format!("{} {title}", protocol.name()),
        None => title.to_owned(),
    }
}

/// A step as lines: what it was, what came of it in what time, and the remedy below.
fn lines(step: &Step, width: usize, paint: &dyn Fn(&str, Style) -> String) -> String {
    const STATE: usize = 8;
    const TITLE: usize = 27;

    let (word, style) = match step.state {
        StepState::Failed => ("FAILED", AnsiColor::Red.on_default().bold()),
        StepState::Ok => ("ok", AnsiColor::Green.on_default()),
        StepState::Skipped => ("-", AnsiColor::BrightBlack.on_default()),
        StepState::Warning => ("warning", AnsiColor::Yellow.on_default().bold()),
    };
    let title = title(step.check.title(), step.protocol);
    let mut said = harmless(&step.said);
    if let Some(took) = took(step.took) {
        let end = said.find('\n').unwrap_or(said.len());
        said.insert_str(end, &format!(" ({took})"));
    }
    let page = Page { width, paint };
    let indent = 2 + STATE + TITLE;
    let mut text = format!("  {}{}", paint(word, style), " ".repeat(STATE.saturating_sub(word.len())));
    // On a narrow terminal the text begins on a line of its own.
    if width < indent + 40 || title.chars().count() >= TITLE {
        text.push_str(&format!("{title}\n{}", " ".repeat(2 + STATE)));
        page.paragraphs(&said, 2 + STATE, 0, &mut text);
    } else {
        text.push_str(&format!("{title:<TITLE$}"));
        page.paragraphs(&said, indent, 0, &mut text);
    }
    if let Some(remedy) = &step.remedy {
        const LABEL: &str = "remedy: ";
        text.push_str(&format!("{}{}", " ".repeat(2 + STATE), paint(LABEL, AnsiColor::Cyan.on_default())));
        page.paragraphs(&in_steps(&harmless(remedy)), 2 + STATE, LABEL.len(), &mut text);
    }
    text
}

/// The time, if it is worth telling.
fn took(took: Duration) -> Option<String> {
    match took.as_millis() {
        0 => None,
        milliseconds @ 1..1000 => Some(format!("{milliseconds} ms")),
        _ => Some(format!("{:.1} s", took.as_secs_f64())),
    }
}

fn verdict(steps: &[Step]) -> String {
    let count = |state: StepState| steps.iter().filter(|step| step.state == state).count();
    let plural = |number: usize, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
    let (failed, warnings, skipped) = (count(StepState::Failed), count(StepState::Warning), count(StepState::Skipped));
    let mut parts = vec![match (failed, skipped) {
        (0, 0) => "everything works".to_owned(),
        (0, _) => "nothing failed".to_owned(),
        _ => plural(failed, "step failed", "steps failed"),
    }];
    parts.extend((warnings > 0).then(|| plural(warnings, "warning", "warnings")));
    parts.extend((skipped > 0).then(|| plural(skipped, "step was not tried", "steps were not tried")));
    let begin = if failed > 1 { "; begin with the first that failed" } else { "" };
    format!("{}{begin}", parts.join(", "))
}

fn document(step: &Step) -> StepDocument<'_> {
    StepDocument {
        name: step.check.name(),
        mailbox: step.mailbox.as_ref().map(Mailbox::as_str),
        tenant: step.tenant.as_ref().map(|tenant| tenant.as_str()),
        protocol: step.protocol.map(Protocol::name),
        state: step.state.name(),
        took_ms: u64::try_from(step.took.as_millis()).unwrap_or(u64::MAX),
        said: &step.said,
        remedy: step.remedy.as_deref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::ops::Check;

    fn step(said: &str, remedy: Option<&str>) -> Step {
        Step {
            check: Check::Login,
            mailbox: None,
            tenant: None,
            protocol: Some(Protocol::Imap),
            state: StepState::Failed,
            took: Duration::from_millis(12),
            said: said.to_owned(),
            remedy: remedy.map(str::to_owned),
        }
    }

    #[test]
    fn lines_keep_within_the_terminal_and_commands_stay_whole() {
        let command = "New-ServicePrincipal -AppId 66666666-7777-8888-9999-000000000000 -ObjectId aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
        let remedy = format!(
            "Check in this order:\n1. Service principal, and many more words to fill a whole line of text:\n    {command}"
        );
        let step = step("NO AUTHENTICATE failed. And a good many words more, as Exchange likes to say.", Some(&remedy));
        for width in [60, 80, 100] {
            let text = lines(&step, width, &|text, _| text.to_owned());
            assert!(text.contains(command), "{text}");
            for line in text.lines().filter(|line| !line.contains(command)) {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn what_the_other_side_said_cannot_steer_the_terminal() {
        let text = lines(&step("a\u{1b}[31mb", Some("c\rd")), 80, &|text, _| text.to_owned());
        assert!(!text.contains(['\u{1b}', '\r']) && text.contains("(12 ms)"), "{text:?}");
    }

    #[test]
    fn the_last_line_counts_what_was_found() {
        let of = |states: &[StepState]| {
            let steps: Vec<Step> = states.iter().map(|state| Step { state: *state, ..step("", None) }).collect();
            verdict(&steps)
        };
        use StepState::{Failed, Ok, Skipped, Warning};
        assert_eq!(of(&[Ok]), "everything works");
        assert_eq!(of(&[Ok, Warning]), "everything works, 1 warning");
        assert_eq!(of(&[Ok, Skipped]), "nothing failed, 1 step was not tried");
        assert_eq!(of(&[Failed, Skipped, Skipped]), "1 step failed, 2 steps were not tried");
        assert_eq!(of(&[Failed, Failed]), "2 steps failed; begin with the first that failed");
    }
}
