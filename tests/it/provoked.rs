//! Every refusal in the catalogue that Entra ID or Exchange can give to Postern, provoked in the simulated tenant and followed the whole
//! road: what the mail program hears, where the mailbox stands then, and that the reference leads the administrator to that entry.
//!
//! What only a mail program hears that speaks to Exchange itself cannot occur here ([`Entry::is_about_others`]), nor what Graph says.

use futures::future::join_all;
use postern::admin::ops::{MailboxState, explain_reference};
use postern::base::catalogue::{self, Area, Entry, Places, Retry, Told};
use postern::base::{Fault, Secret, Whose};

use crate::common::{Plan, World, eventually, reference};

const ALICE: &str = "alice@contoso.test";
const BOB: &str = "bob@contoso.test";
const MESSAGE: &str = "From: alice@contoso.test\r\nSubject: one\r\n\r\ntext\r\n.\r\n";

/// What was heard in place of an entry.
struct Heard {
    entry: &'static Entry,
    line: String,
}

/// Compares with what the catalogue says is told; `…` stands for the rest.
fn is_told(heard: &str, told: &str) -> bool {
    let heard = heard.split_once(", ref ").map_or(heard, |(before, _)| before);
    match told.split_once('…') {
        Some((start, _)) => heard.starts_with(start),
        None => heard == told,
    }
}

/// The references that were heard lead to these entries before all others.
async fn lead_to_their_entries(world: &World, heard: &[Heard]) {
    let last = reference(&heard.last().unwrap().line);
    eventually("the incidents to be written", async || explain_reference(&world.config, &last).await.is_ok()).await;
    let mut wrong = Vec::new();
    for Heard { entry, line } in heard {
        let explained = explain_reference(&world.config, &reference(line)).await.unwrap();
        let first = explained[0].search.found.first().map(|found| found.entry.code);
        if first != Some(entry.code) {
            wrong.push(format!("{}: {first:?}, for {}", entry.code, explained[0].incident.reason));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn of(area: Area) -> impl Iterator<Item = &'static Entry> {
    catalogue::entries().filter(move |entry| entry.area == area && !entry.is_about_others())
}

/// The refusals of the token service, each with what `token-error` takes for it.
fn refusals_of_the_token_service() -> Vec<(&'static Entry, String)> {
    let numbers = of(Area::Entra).map(|entry| (entry, entry.code.trim_start_matches("AADSTS").to_owned()));
    let classes = of(Area::OAuth).flat_map(|entry| {
        let names = std::iter::once(entry.code).chain(entry.marks.iter().copied());
        names.map(move |name| (entry, name.to_owned()))
    });
    numbers.chain(classes).collect()
}

async fn delegated() -> World {
    World::planned(Plan { grant: "authorization_code", ..Plan::default() }).await
}

/// Puts a mailbox on the list and signs it in.
async fn signed_in(world: &World, mailbox: &str) -> String {
    let address = mailbox.parse().unwrap();
    world.ops.add_mailbox(&address, None, &[], None).await.unwrap();
    let token = Secret::new(world.sandbox.refresh_token_for(mailbox));
    world.ops.connect_with_refresh_token(&address, token).await.unwrap();
    world.issue(mailbox).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_of_the_token_service_that_someone_must_mend() {
    let world = delegated().await;
    let mut heard = Vec::new();
    for (entry, named) in refusals_of_the_token_service() {
        if entry.whose == Whose::Nobody {
            continue;
        }
        let mailbox = format!("m{named}@contoso.test");
        let password = signed_in(&world, &mailbox).await;
        world.fault(&format!("token-error={named}"));
        let (_imap, line) = world.imap(&mailbox, &password).await;
        let line = line.strip_prefix("in ").unwrap().to_owned();
        assert!(is_told(&line, Told::MUST_ACT.imap.unwrap()), "{named}: {line}");
        // Some happen only while a person signs in; that is where their remedy is read.
        let token = Secret::new(world.sandbox.refresh_token_for(&mailbox));
        let refused = world.ops.connect_with_refresh_token(&mailbox.parse().unwrap(), token).await.unwrap_err();
        let remedy = entry.remedy_line(&Places { mailbox: Some(&mailbox), ..Places::default() });
        assert_eq!(refused.remedy(), Some(remedy), "{named}");
        assert!(refused.to_string().contains(&named), "{named}: {refused}");

        let row = world.ops.mailbox(&mailbox.parse().unwrap()).await.unwrap();
        let state = match entry.whose {
            Whose::User => MailboxState::NeedsSignIn,
            _ => MailboxState::NeedsAdministrator,
        };
        assert_eq!(row.state, state, "{named}: {row:?}");
        assert!(row.reason.unwrap().contains(&named), "{named}");
        world.sandbox.faults().clear_all();
        heard.push(Heard { entry, line });
    }
    assert!(heard.len() > 90, "{}", heard.len());
    lead_to_their_entries(&world, &heard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_of_the_token_service_that_passes() {
    // Each of them keeps the whole tenant waiting, so each has a tenant of its own.
    // But for «not yet», which every device code meets until somebody enters it (`sign_in`).
    let passing = refusals_of_the_token_service().into_iter();
    let passing = passing.filter(|(entry, _)| entry.whose == Whose::Nobody && entry.code != "AADSTS70016");
    let seen = join_all(passing.map(async |(entry, named)| {
        assert!(matches!(entry.retry, Retry::RetryAfter { .. }), "{named}");
        let world = delegated().await;
        let password = signed_in(&world, ALICE).await;
        world.fault(&format!("token-error={named}"));
        let (_imap, line) = world.imap(ALICE, &password).await;
        let line = line.strip_prefix("in ").unwrap().to_owned();
        assert!(is_told(&line, entry.told.imap.unwrap()), "{named}: {line}");
        let row = world.ops.mailbox(&ALICE.parse().unwrap()).await.unwrap();
        assert_eq!(row.state, MailboxState::Ready, "{named}: {row:?}");
        lead_to_their_entries(&world, &[Heard { entry, line }]).await;
    }))
    .await;
    assert!(seen.len() > 8, "{}", seen.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_of_exchange_by_smtp() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    let mut heard = Vec::new();
    for entry in of(Area::Smtp) {
        // What is refused to the login is told at MAIL, as the login of the mail program is answered from its app password alone.
        let at_login = entry.told == (Told { imap: None, pop3: None, ..Told::MUST_ACT });
        let fault = match entry.code {
            _ if at_login => "smtp-login-reply",
            "smtp-recipient-not-found" | "smtp-too-many-recipients" | "hve-external" => "smtp-recipient-reply",
            _ => "smtp-message-reply",
        };
        world.fault(&format!("{fault}={}", entry.example));
        let mut smtp = world.smtp(ALICE, &password).await;
        let mut line = smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
        if fault != "smtp-login-reply" {
            assert!(line.starts_with("250 "), "{}: {line}", entry.code);
            line = smtp.smtp(&format!("RCPT TO:<{BOB}>")).await;
        }
        if fault == "smtp-message-reply" {
            assert!(line.starts_with("250 "), "{}: {line}", entry.code);
            assert!(smtp.smtp("DATA").await.starts_with("354 "));
            smtp.send(MESSAGE).await;
            line = smtp.reply().await;
        }
        assert!(is_told(&line, entry.told.smtp.unwrap()), "{}: {line}", entry.code);
        world.sandbox.faults().clear_all();
        heard.push(Heard { entry, line });
    }
    assert!(heard.len() > 35, "{}", heard.len());
    assert_eq!(world.sandbox.submissions().len(), 0, "what was refused went nowhere");
    lead_to_their_entries(&world, &heard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_of_exchange_by_imap() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    let (mut heard, mut passed_on) = (Vec::new(), 0);
    for entry in of(Area::Imap) {
        // Behind the login Exchange's own words reach the mail program; in place of the login they become an answer of ours.
        let (mut imap, line) = world.imap(ALICE, &password).await;
        assert!(line.starts_with("in OK "), "{}: {line}", entry.code);
        world.fault(&format!("imap-reply={}", tagged(entry.example)));
        let line = imap.imap("x NOOP").await;
        let expected = if entry.example.starts_with("* ") { "" } else { "x " };
        assert!(line.starts_with(&format!("{expected}{}", tagged(entry.example))), "{}: {line}", entry.code);
        world.sandbox.faults().clear_all();
        passed_on += 1;

        let fault = match entry.code {
            "imap-not-connected" => "imap-not-connected".to_owned(),
            "imap-authenticate-failed" | "imap-throttled" | "imap-server-unavailable" | "imap-connection-closed" => {
                format!("imap-login-reply={}", tagged(entry.example))
            }
            _ => continue,
        };
        world.fault(&fault);
        let (_imap, line) = world.imap(ALICE, &password).await;
        let line = line.strip_prefix("in ").unwrap().to_owned();
        let told = match entry.code {
            // Nothing but the end of the session is told of it later; at the login it is one more thing that passes.
            "imap-connection-closed" => Told::TRY_LATER.imap.unwrap(),
            _ => entry.told.imap.unwrap(),
        };
        assert!(is_told(&line, told), "{}: {line}", entry.code);
        world.sandbox.faults().clear_all();
        heard.push(Heard { entry, line });
    }
    assert!(passed_on > 8 && heard.len() == 5, "{passed_on} {}", heard.len());
    lead_to_their_entries(&world, &heard).await;
}

/// An example of the catalogue as the answer to a command; some are written without their first word.
fn tagged(example: &str) -> String {
    let has_status = ["* ", "NO ", "BAD "].iter().any(|start| example.starts_with(start));
    if has_status { example.to_owned() } else { format!("NO {example}") }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_of_exchange_by_pop3() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    let mut heard = Vec::new();
    for entry in of(Area::Pop3) {
        world.fault(&format!("pop-login-reply={}", entry.example));
        let (_pop3, line) = world.pop3(ALICE, &password).await;
        assert!(is_told(&line, entry.told.pop3.unwrap()), "{}: {line}", entry.code);
        world.sandbox.faults().clear_all();
        heard.push(Heard { entry, line });
    }
    assert_eq!(heard.len(), 2);
    lead_to_their_entries(&world, &heard).await;
}
