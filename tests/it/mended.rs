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
    let began = Instant::now();
    world.upkeep().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(imap_login(&world, ALICE, &password).await.starts_with("a1 OK"));
    assert_eq!(world.sandbox.tally().access_tokens.len(), issued + 1);
    world.upkeep().await;
    assert!(imap_login(&world, ALICE, &password).await.starts_with("a1 OK"));
    assert_eq!(world.sandbox.tally().access_tokens.len(), issued + 1, "and the new one is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_begin_its_tls_does_not_hold_up_the_end() {
    let more = "\n[limits]\nper_address_before_login = 2\n".to_owned();
    let mut world = World::planned(Plan { more, ..Plan::default() }).await;
    let _silent = TcpStream::connect(world.address(Protocol::Imap, "implicit")).await.unwrap();
    let mut half = world.connect(Protocol::Imap, "starttls").await;
    half.line().await;
    assert!(half.imap("a1 STARTTLS").await.starts_with("a1 OK"));
    // The silent one says nothing, and nothing is said to it; it has been let in once there is no room for a third.
    eventually("both connections to be let in", async || {
        world.connect(Protocol::Imap, "none").await.line().await.starts_with("* BYE Too many")
    })
    .await;
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
    let mut world = World::start().await;
    let script = Script { answers: vec![(".", SILENCE)], ..Script::default() };
    script.instead_of(&mut world).await;
    let issued = world.issue_with(ALICE, |_| {}).await;
    let mut smtp = smtp_login(&world, ALICE, issued.password.expose()).await;
    begin_message(&mut smtp).await;
    smtp.send("Subject: slow\r\n\r\nslow\r\n.\r\n").await;
    script.hears(".").await;
    world.ops.revoke_password(&issued.row.id).await.unwrap();
    let began = Instant::now();
    let answer = smtp.reply().await;
    assert_eq!(answer, "421 4.3.2 The login is no longer valid, log in again");
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
    /// The commands, `.` for the end of a message, and `(cut)` when a message was ended in the middle.
    heard: Arc<Mutex<Vec<String>>>,
}

/// The answer that never comes.
const SILENCE: &str = "(silence)";

impl Script {
    async fn play(self, stream: TcpStream, acceptor: Acceptor) -> Option<()> {
        let mut stream = BufReader::new(ClientStream::Clear(stream).secure(&acceptor).await.ok()?);
        let mut says = "220 scripted".to_owned();
        loop {
            if says == SILENCE {
                std::future::pending::<()>().await;
            }
            stream.get_mut().write_all(format!("{says}\r\n").as_bytes()).await.ok()?;
            stream.get_mut().flush().await.ok()?;
            if says.starts_with("354") {
                let mut line = String::new();
                while line != ".\r\n" {
                    line.clear();
                    stream.read_line(&mut line).await.ok().filter(|octets| *octets > 0)?;
                    if let Some(words) = self.in_the_middle {
                        stream.get_mut().write_all(format!("{words}\r\n").as_bytes()).await.ok()?;
                        stream.get_mut().shutdown().await.ok()?;
                        return self.note("(cut)");
                    }
                }
                self.note(".");
                says = self.answer(".   ");
                continue;
            }
            let mut line = String::new();
            stream.read_line(&mut line).await.ok().filter(|octets| *octets > 0)?;
            self.note(line.trim_end());
            says = self.answer(&line);
        }
    }

    fn note(&self, what: &str) -> Option<()> {
        self.heard.lock().unwrap().push(what.to_owned());
        Some(())
    }

    /// Waits until it has heard this.
    async fn hears(&self, what: &str) {
        eventually(what, async || self.heard.lock().unwrap().iter().any(|line| line == what)).await;
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
    smtp.send("Subject: large\r\n\r\n").await;
    script.hears("(cut)").await;
    smtp.send("more\r\n.\r\n").await;
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

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_is_not_waited_behind_but_told_as_temporary() {
    for command in ["MAIL", "RCPT", "."] {
        let mut world = World::start().await;
        let script = Script { answers: vec![(command, "334 And now?")], ..Script::default() };
        script.instead_of(&mut world).await;
        let password = world.issue(ALICE).await;
        let mut smtp = smtp_login(&world, ALICE, &password).await;
        for _ in 0..2 {
            let mut told = smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
            if command != "MAIL" {
                assert!(told.starts_with("250 "), "{command}: {told}");
                told = smtp.smtp(&format!("RCPT TO:<{BOB}>")).await;
            }
            if command == "." {
                assert!(told.starts_with("250 ") && smtp.smtp("DATA").await.starts_with("354 "), "{told}");
                told = smtp.smtp("Subject: kept\r\n\r\nkept\r\n.").await;
            }
            assert!(told.starts_with("451 4.3.0 "), "{command}: {told}");
            assert!(smtp.smtp("RSET").await.starts_with("250 "));
        }
        // Each on a connection of its own.
        assert_eq!(script.heard.lock().unwrap().iter().filter(|line| line.starts_with("AUTH")).count(), 2, "{command}");
    }
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
        world.upkeep().await;
        world.ops.add_mailbox(&alice, None, &[], None).await.unwrap();
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_what_to_do_for_a_client_that_came_without_tls() {
    const REFUSED: &str = "login refused: it came without TLS";
    const LEFT: &str = "left without a login: none was offered, since it came without TLS";
    let edit = |text: String| {
        text.replace("\ntls = \"starttls\"", "\ntls = \"starttls\"\nplaintext_from = [\"192.0.2.0/24\"]")
    };
    let mut world = World::planned(Plan { edit, ..Plan::default() }).await;
    let password = world.issue(ALICE).await;
    let mut serving = Serving::instead_of(&mut world, &[]).await;
    let count = |serving: &Serving, words: &str| serving.said().matches(words).count();

    // One line for each connection, however often it tries.
    for protocol in Protocol::ALL {
        let port = |tls: &str| world.address(protocol, tls).port();
        let mut peer = world.connect(protocol, "starttls").await;
        peer.line().await;
        for _ in 0..2 {
            let (told, expected) = match protocol {
                Protocol::Smtp => {
                    peer.smtp("EHLO old-scanner").await;
                    (peer.smtp(&format!("AUTH PLAIN {}", plain(ALICE, &password))).await, "538 5.7.11 ")
                }
                Protocol::Imap => (peer.imap(&format!("a LOGIN {ALICE} {password}")).await, "a NO [PRIVACYREQUIRED] "),
                Protocol::Pop3 => (peer.ask(&format!("USER {ALICE}")).await, "-ERR [AUTH] Turn on TLS first"),
            };
            assert!(told.starts_with(expected), "{told}");
        }
        let mark = format!("protocol={protocol} ");
        eventually("the refusal in the log", async || {
            serving.said().lines().any(|line| line.contains(REFUSED) && line.contains(&mark))
        })
        .await;
        let said = serving.said();
        let line = said.lines().find(|line| line.contains(REFUSED) && line.contains(&mark)).unwrap();
        for expected in [
            "WARN".to_owned(),
            "code=\"answer-tls-first\"".to_owned(),
            format!("STARTTLS with port {}, or SSL/TLS with port {}.", port("starttls"), port("implicit")),
            format!("to `plaintext_from` of the {protocol} listener on 127.0.0.1:{}", port("starttls")),
        ] {
            assert!(line.contains(&expected), "{expected} is missing: {line}");
        }
        assert!(!line.contains(&password) && !line.contains(LEFT));
    }

    // Who looks and goes away is told of as well, but not who only connects.
    drop(world.connect(Protocol::Imap, "starttls").await.line().await);
    for (protocol, question) in
        [(Protocol::Smtp, "EHLO old-scanner"), (Protocol::Imap, "a CAPABILITY"), (Protocol::Pop3, "CAPA")]
    {
        let mut peer = world.connect(protocol, "starttls").await;
        peer.line().await;
        peer.ask(question).await;
        drop(peer);
        let mark = format!("protocol={protocol} ");
        eventually("the departure in the log", async || {
            serving.said().lines().any(|line| line.contains(LEFT) && line.contains(&mark) && line.contains("INFO"))
        })
        .await;
    }
    // Nor who turned TLS on in the end.
    let mut peer = world.connect(Protocol::Imap, "starttls").await;
    peer.line().await;
    assert!(peer.imap("a CAPABILITY").await.contains("LOGINDISABLED"));
    assert!(peer.imap("b STARTTLS").await.starts_with("b OK"));
    let mut peer = Peer::new(world.handshake(peer.stream.into_inner()).await);
    assert!(peer.imap(&format!("c LOGIN {ALICE} {password}")).await.starts_with("c OK"));
    assert_eq!((count(&serving, REFUSED), count(&serving, LEFT)), (3, 3), "{}", serving.said());
    assert!(serving.runs());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_halted_stops_at_once_loses_nothing_and_goes_on_where_it_was() {
    use postern::store::DeliveryMode;

    let world = World::start().await;
    let issued = world.issue_with(ALICE, |request| request.delivery = DeliveryMode::Assured).await;
    let password = issued.password.expose();
    let mut smtp = world.smtp(ALICE, password).await;
    let (mut imap, told) = world.imap(ALICE, password).await;
    assert!(told.starts_with("in OK "), "{told}");
    world.fault("mail-unreachable");
    for command in [&format!("MAIL FROM:<{ALICE}>"), "RCPT TO:<bob@contoso.test>", "DATA"] {
        smtp.smtp(command).await;
    }
    smtp.send("From: alice@contoso.test\r\n\r\ntext\r\n.\r\n").await;
    assert!(smtp.reply().await.contains("queued as"));
    world.sandbox.faults().clear_all();
    // Somebody is in the middle of a message.
    let mut slow = world.smtp(ALICE, password).await;
    for command in [&format!("MAIL FROM:<{ALICE}>"), "RCPT TO:<bob@contoso.test>", "DATA"] {
        slow.smtp(command).await;
    }
    slow.send("From: alice@contoso.test\r\n\r\nof a thief\r\n").await;
    world.fault("mail-unreachable");
    world.ops.halt(Some("contoso"), Some("a stolen laptop".to_owned())).await.unwrap();
    assert!(world.ops.halt(Some("fabrikam"), None).await.is_err(), "there is no such tenant");
    world.sandbox.faults().clear_all();
    world.upkeep().await;
    assert!(imap.rest().await.starts_with("* BYE "));
    let (_, told) = world.imap(ALICE, password).await;
    assert!(told.starts_with("in NO [CONTACTADMIN] "), "never a wrong password: {told}");
    let told = smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
    assert!(told.starts_with("451 4.7.0 "), "{told}");
    slow.send(".\r\n").await;
    let told = slow.reply().await;
    assert!(told.starts_with("451 4.7.0 "), "it is not completed: {told}");
    assert!(slow.smtp("NOOP").await.starts_with("250 "), "the session goes on");
    world.ops.retry_all_queued().await.unwrap();
    eventually("the message to be held", async || {
        let left = world.ops.queue().await.unwrap();
        left[0].obstacle.as_ref().is_some_and(|obstacle| obstacle.code == "mailbox-disabled")
    })
    .await;
    assert_eq!(world.sandbox.submissions().len(), 0);
    let troubles = world.ops.status().await.unwrap().troubles;
    assert!(troubles.iter().any(|trouble| trouble.said.contains("a stolen laptop")), "{troubles:?}");
    // That everything goes on does not mean that this tenant does.
    assert!(!world.ops.resume(None).await.unwrap());
    assert!(world.ops.resume(Some("contoso")).await.unwrap());
    assert!(world.imap(ALICE, password).await.1.starts_with("in OK "));
    eventually("the message to go", async || {
        world.ops.retry_all_queued().await.unwrap();
        world.sandbox.submissions().len() == 1
    })
    .await;
}
