//! What once went wrong here, and must not again.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use postern::base::Protocol;
use postern::listener::ClientStream;
use postern::listener::certificate;
use postern::listener::tls::{Acceptor, ServerTls};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

#[cfg(unix)]
use crate::common::child::Serving;
use crate::common::{Peer, Plan, World, eventually, plain};

const ALICE: &str = "alice@contoso.test";
const BOB: &str = "bob@contoso.test";

/// The tagged answer to an IMAP login.
async fn imap_login(world: &World, login: &str, password: &str) -> String {
    let mut imap = world.connect(Protocol::Imap, "none").await;
    imap.line().await;
    imap.imap(&format!("a1 LOGIN {login} {password}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_is_denied_does_not_cost_the_others_their_token_while_the_token_service_is_away() {
    let world = World::start().await;
    let (alices, bobs) = (world.issue(ALICE).await, world.issue(BOB).await);
    assert!(imap_login(&world, BOB, &bobs).await.starts_with("a1 OK"));
    world.sandbox.faults().set("mailbox-no-permission".parse().unwrap(), Some(ALICE)).unwrap();
    world.sandbox.faults().set("token-status".parse().unwrap(), Some("503")).unwrap();
    let denied = imap_login(&world, ALICE, &alices).await;
    assert!(denied.starts_with("a1 NO [UNAVAILABLE]"), "{denied}");
    let answer = imap_login(&world, BOB, &bobs).await;
    assert!(answer.starts_with("a1 OK"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_sign_in_counts_within_seconds_though_the_token_of_the_old_one_still_lives() {
    let world = World::planned(Plan { grant: "device_code", ..Plan::default() }).await;
    let password = world.issue(ALICE).await;
    let alice = ALICE.parse().unwrap();
    let sign_in = async || {
        let token = world.sandbox.refresh_token_for(ALICE);
        world.ops.connect_with_refresh_token(&alice, token.into()).await.unwrap();
    };
    sign_in().await;
    assert!(imap_login(&world, ALICE, &password).await.starts_with("a1 OK"));
    let issued = world.sandbox.tally().access_tokens.len();
    assert!(imap_login(&world, ALICE, &password).await.starts_with("a1 OK"));
    assert_eq!(world.sandbox.tally().access_tokens.len(), issued, "a token that lives is used again");
    sign_in().await;
    let issued = world.sandbox.tally().access_tokens.len();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(imap_login(&world, ALICE, &password).await.starts_with("a1 OK"));
    assert_eq!(world.sandbox.tally().access_tokens.len(), issued + 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(imap_login(&world, ALICE, &password).await.starts_with("a1 OK"));
    assert_eq!(world.sandbox.tally().access_tokens.len(), issued + 1, "and the new one is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_begin_its_tls_does_not_hold_up_the_end() {
    let mut world = World::start().await;
    let _silent = TcpStream::connect(world.address(Protocol::Imap, "implicit")).await.unwrap();
    let mut half = world.connect(Protocol::Imap, "starttls").await;
    half.line().await;
    assert!(half.imap("a1 STARTTLS").await.starts_with("a1 OK"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    world.stop_serving().await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// An SMTP session that has logged in.
async fn smtp_login(world: &World, login: &str, password: &str) -> Peer<TcpStream> {
    let mut smtp = world.connect(Protocol::Smtp, "none").await;
    smtp.reply().await;
    smtp.smtp("EHLO script").await;
    assert!(smtp.smtp(&format!("AUTH PLAIN {}", plain(login, password))).await.starts_with("235 "));
    smtp
}

/// MAIL, RCPT and DATA.
async fn begin_message(smtp: &mut Peer<TcpStream>) {
    assert!(smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await.starts_with("250 "));
    assert!(smtp.smtp(&format!("RCPT TO:<{BOB}>")).await.starts_with("250 "));
    assert!(smtp.smtp("DATA").await.starts_with("354 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_waits_for_exchange_ends_when_its_app_password_is_revoked() {
    let world = World::start().await;
    let issued = world.issue_with(ALICE, |_| {}).await;
    world.sandbox.faults().set("smtp-slow-data".parse().unwrap(), Some("20000")).unwrap();
    let mut smtp = smtp_login(&world, ALICE, issued.password.expose()).await;
    begin_message(&mut smtp).await;
    smtp.send("Subject: slow\r\n\r\nslow\r\n.\r\n").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.ops.revoke_password(&issued.row.id).await.unwrap();
    let began = Instant::now();
    let answer = smtp.reply().await;
    assert!(answer.starts_with("421 4.3.2"), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(smtp.rest().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_whose_password_was_right_are_not_counted_while_exchange_makes_them_wait() {
    let more = "\n[limits]\nper_address_before_login = 1\n".to_owned();
    let world = World::planned(Plan { more, ..Plan::default() }).await;
    let password = world.issue(ALICE).await;
    world.sandbox.faults().set("imap-silent".parse().unwrap(), None).unwrap();
    let mut waiting = world.connect(Protocol::Imap, "none").await;
    waiting.line().await;
    waiting.send(format!("a1 LOGIN {ALICE} {password}\r\n")).await;
    eventually("the login to be with Exchange", async || world.sandbox.tally().open_connections > 0).await;
    let mut next = world.connect(Protocol::Imap, "none").await;
    let greeting = next.line().await;
    assert!(greeting.starts_with("* OK"), "{greeting}");
}

/// An Exchange that says what a test tells it to: the answer to each command, by its first four octets; `Some` ends a message
/// that is being sent with these words and closes at once.
#[derive(Clone, Default)]
struct Script {
    answers: Vec<(&'static str, &'static str)>,
    in_the_middle: Option<&'static str>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Script {
    async fn play(self, stream: TcpStream, acceptor: Acceptor) -> Option<()> {
        let mut stream = BufReader::new(ClientStream::Clear(stream).secure(&acceptor).await.ok()?);
        let mut says = "220 scripted".to_owned();
        loop {
            stream.get_mut().write_all(format!("{says}\r\n").as_bytes()).await.ok()?;
            stream.get_mut().flush().await.ok()?;
            if says.starts_with("354") {
                let mut line = String::new();
                while line != ".\r\n" {
                    line.clear();
                    stream.read_line(&mut line).await.ok().filter(|octets| *octets > 0)?;
                    if let Some(words) = self.in_the_middle {
                        stream.get_mut().write_all(format!("{words}\r\n").as_bytes()).await.ok()?;
                        return stream.get_mut().flush().await.ok();
                    }
                }
                says = self.answer(".   ");
                continue;
            }
            let mut line = String::new();
            stream.read_line(&mut line).await.ok().filter(|octets| *octets > 0)?;
            self.heard.lock().unwrap().push(line.trim_end().to_owned());
            says = self.answer(&line);
        }
    }

    fn answer(&self, line: &str) -> String {
        let scripted = self.answers.iter().find(|(verb, _)| line.starts_with(verb)).map(|(_, says)| (*says).to_owned());
        let usual = || match line.get(..4).unwrap_or(line) {
            "AUTH" => "334 ",
            "MAIL" | "RCPT" | "RSET" | "EHLO" | ".   " => "250 2.0.0 OK",
            "DATA" => "354 Go on",
            "QUIT" => "221 2.0.0 Bye",
            _ => "235 2.7.0 In",
        };
        scripted.unwrap_or_else(|| usual().to_owned())
    }

    /// Lets the proxy of this world submit to this Exchange instead of the sandbox.
    async fn instead_of(&self, world: &mut World) {
        let material = certificate::ensure(&world.folder().join("scripted"), &[], chrono::Utc::now()).unwrap();
        let acceptor = ServerTls::new(&material).unwrap().acceptor(Protocol::Smtp);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(script.clone().play(stream, acceptor.clone()));
            }
        });
        let anchors = world.sandbox.ca_pem().to_owned() + &material.ca.unwrap().pem;
        std::fs::write(world.folder().join("ca.pem"), anchors).unwrap();
        let text = std::fs::read_to_string(world.config_file()).unwrap();
        let lines = text.lines().map(|line| match line.split_once(" = ") {
            Some(("smtp", host)) if !host.contains("Send") => format!("smtp = \"{address}\""),
            Some(("smtp_tls", _)) => "smtp_tls = \"implicit\"".to_owned(),
            _ => line.to_owned(),
        });
        std::fs::write(world.config_file(), lines.collect::<Vec<_>>().join("\n")).unwrap();
        world.stop_serving().await;
        world.read_configuration();
        world.serve().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_given_before_the_message_is_complete_does_not_acknowledge_it() {
    let mut world = World::start().await;
    let script = Script {
        answers: vec![("DATA", "354 Go on\r\n250 2.0.0 OK"), (".", "554 5.6.0 Refused")],
        ..Script::default()
    };
    script.instead_of(&mut world).await;
    let password = world.issue(ALICE).await;
    let mut smtp = smtp_login(&world, ALICE, &password).await;
    begin_message(&mut smtp).await;
    smtp.send("Subject: kept\r\n\r\nkept\r\n.\r\n").await;
    let answer = smtp.reply().await;
    assert!(answer.starts_with("451 "), "{answer}");
    // The session goes on, on another connection.
    assert!(smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await.starts_with("250 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_refused_half_way_is_refused_with_the_words_of_exchange() {
    let mut world = World::start().await;
    let script = Script { in_the_middle: Some("552 5.3.4 Message size exceeds limit [HOST]"), ..Script::default() };
    script.instead_of(&mut world).await;
    let password = world.issue(ALICE).await;
    let mut smtp = smtp_login(&world, ALICE, &password).await;
    begin_message(&mut smtp).await;
    for _ in 0..4 {
        smtp.send("Subject: large\r\n").await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    smtp.send("\r\n.\r\n").await;
    let answer = smtp.reply().await;
    assert!(answer.starts_with("552 5.3.4 Message size exceeds limit, ref "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_out_of_step_is_not_used_again() {
    let mut world = World::start().await;
    let script = Script { answers: vec![("DATA", "250 2.0.0 OK\r\n354 Go on")], ..Script::default() };
    script.instead_of(&mut world).await;
    let password = world.issue(ALICE).await;
    let mut smtp = smtp_login(&world, ALICE, &password).await;
    assert!(smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await.starts_with("250 "));
    assert!(smtp.smtp(&format!("RCPT TO:<{BOB}>")).await.starts_with("250 "));
    for _ in 0..2 {
        let answer = smtp.smtp("DATA").await;
        assert!(answer.starts_with("451 "), "{answer}");
    }
    assert_eq!(script.heard.lock().unwrap().iter().filter(|line| *line == "DATA").count(), 1);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn every_reference_told_to_a_client_is_in_the_log() {
    let mut world = World::start().await;
    let script = Script { answers: vec![("RCPT", "421 4.3.2 Service not active")], ..Script::default() };
    script.instead_of(&mut world).await;
    let serving = Serving::instead_of(&mut world, &[]).await;
    let password = world.issue(ALICE).await;
    let mut smtp = smtp_login(&world, ALICE, &password).await;
    assert!(smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await.starts_with("250 "));
    for command in [format!("RCPT TO:<{BOB}>"), format!("RCPT TO:<{BOB}>"), "DATA".to_owned()] {
        let answer = smtp.smtp(&command).await;
        if let Some((_, reference)) = answer.trim_end().rsplit_once("ref ") {
            serving.says(reference).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_exchange_is_noted_again_for_a_mailbox_that_was_off_the_list_meanwhile() {
    let world = World::start().await;
    let alice = ALICE.parse().unwrap();
    world.fault("imap-auth-reject");
    for _ in 0..2 {
        let password = world.issue(ALICE).await;
        let (_imap, told) = world.imap(ALICE, &password).await;
        assert!(told.starts_with("in NO [CONTACTADMIN] "), "{told}");
        assert_eq!(world.ops.mailbox(&alice).await.unwrap().state.name(), "needs-administrator");
        world.ops.remove_mailbox(&alice).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        world.ops.add_mailbox(&alice, None, &[], None).await.unwrap();
    }
}
