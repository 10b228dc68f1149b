//! The catalogue of refusals against what it speaks of: our own failures, what mail programs are told, the simulated tenant, and the
//! document that is made of it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use postern::base::catalogue::{self, Area, Certainty, Entry, Places, Step, Told};
use postern::base::{Answer, Reference};
use postern::wire::answer;
use postern::wire::smtp::{Reply, shorten};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The texts in double quotes within the bodies of all `fn code(&self)`.
fn codes_in(source: &str) -> Vec<&str> {
    let mut codes = Vec::new();
    for (place, head) in source.match_indices("fn code(&self) -> &'static str {") {
        let body = &source[place + head.len()..];
        let mut depth = 1;
        let end = body.char_indices().find(|(_, c)| {
            depth += match c {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            depth == 0
        });
        codes.extend(body[..end.unwrap().0].split('"').skip(1).step_by(2));
    }
    codes
}

#[test]
fn every_failure_of_ours_has_its_entry() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let mut codes = BTreeSet::new();
    for file in files {
        let source = fs::read_to_string(&file).unwrap();
        codes.extend(codes_in(&source).into_iter().map(str::to_owned));
    }
    assert!(codes.len() > 50 && codes.contains("token-refused") && codes.contains("cannot-listen"), "{codes:?}");
    // The log's own word for what Exchange says about a message and nobody knows: no failure of ours.
    codes.insert("exchange-refused".to_owned());
    // What the queue shows of a message, and the log of what was found, without a failure of ours.
    codes.extend(
        [
            "address-banned",
            "audit-broken",
            "graph-unfit",
            "held-by-administrator",
            "outcome-unknown",
            "queue-unreadable",
            "report-undeliverable",
            "spool-left-over",
        ]
        .map(str::to_owned),
    );
    let own: BTreeSet<String> =
        catalogue::entries().filter(|entry| entry.area == Area::Own).map(|entry| entry.code.to_owned()).collect();
    let missing: Vec<_> = codes.difference(&own).collect();
    assert!(missing.is_empty(), "src/base/catalogue/own.rs lacks {missing:?}");
    let gone: Vec<_> = own.difference(&codes).collect();
    assert!(gone.is_empty(), "nothing in src returns {gone:?} any more");
}

#[test]
fn the_gatherer_finds_codes_where_they_are() {
    let source = "fn code(&self) -> &'static str {\n match self { Self::A { .. } => \"a-b\", Self::B(e) => e.code() }\n}\nlet x = \"no\";";
    assert_eq!(codes_in(source), ["a-b"]);
}

#[test]
fn what_the_catalogue_says_of_answers_is_what_mail_programs_hear() {
    let reference = Reference::from_random(0);
    for (answer, code) in [
        (Answer::WrongPassword, "answer-wrong-password"),
        (Answer::PrivacyRequired, "answer-tls-first"),
        (Answer::TooManyFailures, "answer-too-many-failures"),
        (Answer::TooManyConnections, "answer-too-many-connections"),
        (Answer::TooManySessions(reference), "answer-too-many-sessions"),
        (Answer::TryLater(reference), "answer-try-later"),
        (Answer::MustAct(reference), "answer-must-act"),
        (Answer::DiskGuard(reference), "answer-disk-guard"),
        (Answer::SenderNotAllowed(reference), "answer-sender"),
        (Answer::MailLoop(reference), "answer-loop"),
        (Answer::Ended, "answer-ended"),
        (Answer::Stopping, "answer-stopping"),
        (Answer::GoodBye, "answer-goodbye"),
    ] {
        let entry = catalogue::by_code(code).unwrap();
        let smtp = String::from_utf8(answer::smtp(answer).to_bytes()).unwrap();
        let imap = [answer::imap(Some(b"a"), answer), answer::imap(None, answer)].concat();
        let imap = String::from_utf8(imap).unwrap();
        let pop3 = String::from_utf8(answer::pop3(answer)).unwrap();
        for (said, told) in [(&smtp, entry.told.smtp), (&imap, entry.told.imap), (&pop3, entry.told.pop3)] {
            let Some(told) = told else {
                assert!(said.is_empty(), "{code}: {said} is told, the catalogue says nothing");
                continue;
            };
            assert!(said.contains(told), "{code}: {said} should hold {told}");
            let found = catalogue::search(said.lines().next().unwrap()).found;
            assert_eq!(found.first().map(|found| found.entry.code), Some(code), "{said}");
        }
    }
}

#[test]
fn what_the_catalogue_says_of_messages_is_what_they_are_shortened_to() {
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    for entry in catalogue::entries().filter(|entry| entry.area == Area::Smtp) {
        let Some(told) = entry.told.smtp.filter(|told| Some(*told) != Told::MUST_ACT.smtp) else { continue };
        let (code, text) = entry.example.split_once(' ').unwrap();
        let short = shorten(&Reply::new(code.parse().unwrap(), text), Reference::from_random(0));
        // 421 would announce that our own connection ends.
        let code = if short.code == 421 { 451 } else { short.code };
        let heard = format!("{code} {}", short.text());
        let heard = heard.strip_suffix(", ref 222222").unwrap();
        let same = match told.strip_suffix('…') {
            Some(start) => heard.starts_with(start),
            None => heard == told,
        };
        if !same {
            wrong.push(format!("{}: `{heard}` is told, not `{told}`", entry.code));
        }
        looked_at += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(looked_at > 25, "{looked_at}");
}

#[test]
fn every_number_of_the_simulated_tenant_is_in_the_catalogue() {
    let source = fs::read_to_string(root().join("src/sandbox/refusal/known.rs")).unwrap();
    let mut numbers = 0;
    for line in source.split_once("known! {").unwrap().1.lines() {
        if let Some(Ok(number)) = line.split_whitespace().next().map(str::parse) {
            assert!(catalogue::aadsts(number).is_some(), "AADSTS{number}");
            numbers += 1;
        }
    }
    assert!(numbers > 60, "{numbers}");
}

#[test]
fn errors_md_is_what_the_catalogue_says() {
    let path = root().join("docs/ERRORS.md");
    let made = document();
    if std::env::var_os("POSTERN_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, &made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    let line = made.lines().zip(kept.lines()).position(|(made, kept)| made != kept);
    assert!(
        made == kept,
        "docs/ERRORS.md differs from the catalogue (line {:?}); make it anew with POSTERN_BLESS=1 cargo test --test it errors_md",
        line.map(|line| line + 1)
    );
}

fn document() -> String {
    let mut page = String::from(HEAD);
    page.push_str("\n## Contents\n\n");
    for area in Area::ALL {
        writeln!(page, "- [{}](#{})", area.heading(), area_anchor(area)).unwrap();
    }
    for area in Area::ALL {
        let mut entries: Vec<&Entry> = catalogue::entries().filter(|entry| entry.area == area).collect();
        if area == Area::Entra {
            entries.sort_by_key(|entry| entry.code.trim_start_matches("AADSTS").parse::<u64>().unwrap());
        }
        writeln!(page, "\n## <a id=\"{}\"></a>{}\n\n{}\n", area_anchor(area), area.heading(), about(area)).unwrap();
        page.push_str("| | |\n| --- | --- |\n");
        for entry in &entries {
            writeln!(page, "| [{}](#{}) | {} |", cell(entry.name()), anchor(entry), cell(entry.title)).unwrap();
        }
        for entry in entries {
            section(&mut page, entry);
        }
    }
    while page.contains("\n\n\n") {
        page = page.replace("\n\n\n", "\n\n");
    }
    page
}

fn section(page: &mut String, entry: &Entry) {
    writeln!(page, "\n### <a id=\"{}\"></a>{}: {}\n", anchor(entry), entry.name(), entry.title).unwrap();
    if entry.name() != entry.code {
        writeln!(page, "`{}`\n", entry.code).unwrap();
    }
    if !entry.example.is_empty() {
        writeln!(page, "    {}\n", entry.example).unwrap();
    }
    writeln!(page, "{}\n", entry.what).unwrap();
    writeln!(page, "**What to do.** Whose move it is: {}.\n", catalogue::whose_words(entry.whose)).unwrap();
    let numbered = catalogue::is_numbered(entry.remedy);
    let (mut number, mut in_step) = (0, false);
    let mut steps = entry.steps(&Places::default()).into_iter().peekable();
    while let Some((step, text)) = steps.next() {
        let indent = if in_step { "   " } else { "" };
        match step {
            Step::Do(_) if numbered => {
                number += 1;
                in_step = true;
                writeln!(page, "{number}. {text}").unwrap();
            }
            Step::Do(_) | Step::Note(_) => {
                in_step = false;
                writeln!(page, "\n{text}\n").unwrap();
            }
            Step::Run(_) | Step::PowerShell(_) => {
                let language = if matches!(step, Step::Run(_)) { "sh" } else { "powershell" };
                write!(page, "\n{indent}```{language}\n{indent}{text}\n").unwrap();
                while let Some((_, text)) = steps.next_if(|(next, _)| same_shell(*next, step)) {
                    writeln!(page, "{indent}{text}").unwrap();
                }
                writeln!(page, "{indent}```").unwrap();
                if steps.peek().is_some() {
                    page.push('\n');
                }
            }
        }
    }
    page.push('\n');
    for (protocol, line) in entry.told.lines() {
        writeln!(page, "- {protocol}: `{line}`").unwrap();
    }
    writeln!(page, "- Try again: {}.", entry.retry.words()).unwrap();
    if entry.certainty != Certainty::Own {
        writeln!(page, "- Known from: {} ({}).", entry.source, entry.certainty.words()).unwrap();
    }
}

fn same_shell(one: Step, other: Step) -> bool {
    matches!((one, other), (Step::Run(_), Step::Run(_)) | (Step::PowerShell(_), Step::PowerShell(_)))
}

fn anchor(entry: &Entry) -> String {
    entry.code.to_ascii_lowercase()
}

fn area_anchor(area: Area) -> String {
    format!("area-{area:?}").to_ascii_lowercase()
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('[', "\\[")
}

fn about(area: Area) -> &'static str {
    match area {
        Area::Answer => {
            "What a mail program shows after it has spoken to Postern. Where it has `ref` and six characters, they lead to the line in the log."
        }
        Area::Smtp => {
            "What Exchange says to Postern. A login by SMTP is answered from the app password alone, so what Exchange says to Postern's own \
             login reaches the mail program with its message."
        }
        Area::Imap => {
            "What Exchange says to Postern's login, and what it says to the mail program afterwards; that passes unchanged."
        }
        Area::Pop3 => "What Exchange says to Postern's login.",
        Area::Graph => "What Microsoft Graph says where a message is sent by it.",
        Area::Entra => {
            "Why there is no token. The number stands in Postern's log behind `AADSTS`; the trace ID beside it is what Microsoft's support asks \
             for. Numbers that are not here: `https://login.microsoftonline.com/error?code=NUMBER`."
        }
        Area::OAuth => {
            "The class of a refusal, for when its number is not known. Postern decides by these, never by numbers."
        }
        Area::Own => "The short names in Postern's log (`code=`) and in the `error.code` of `--json`.",
    }
}

const HEAD: &str = "\
# Errors

What Entra ID, Exchange Online and Postern say when they say no: what happened, whose move it is, what to do. `postern explain` prints the
same, for a number, a reply, a line of the log or a whole error mail:

    postern explain 7000222
    postern explain 535 5.7.139
    postern explain - < error-mail.txt

In commands, MAILBOX, SENDER, TENANT (the directory ID) and CLIENT-ID stand for yours. OBJECT-ID-OF-THE-ENTERPRISE-APPLICATION is the one under
Enterprise applications in the Entra admin centre. PowerShell is Exchange Online PowerShell:

```powershell
Install-Module ExchangeOnlineManagement
Connect-ExchangeOnline
```

What is not confirmed by Microsoft says so under \"Known from\". The lines of a mail program stand without the reference (`ref 7F3K2Q`) that
follows them.

This page is made from `src/base/catalogue`; to change it, change that, then `POSTERN_BLESS=1 cargo test --test it errors_md`.
";
