//! Stopping: what is under way finishes, everybody hears why, and nothing stays behind.
#![cfg(unix)]

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use postern::base::Protocol;
use tokio::io::AsyncWriteExt;

use crate::common::child::Serving;
use crate::common::{World, eventually};

const ALICE: &str = "alice@contoso.test";

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_says_goodbye_and_lets_a_transaction_finish() {
    let mut world = World::start().await;
    let password = world.issue(ALICE).await;
    let serving = Serving::instead_of(&mut world, &[]).await;

    let (mut idling, _) = world.imap(ALICE, &password).await;
    assert!(idling.imap("s SELECT INBOX").await.contains("s OK "));
    idling.send("i IDLE\r\n").await;
    assert!(idling.line().await.starts_with("+ "));
    let mut in_tls = world.connect_tls(Protocol::Imap).await;
    in_tls.line().await;
    assert!(in_tls.imap(&format!("a LOGIN {ALICE} {password}")).await.starts_with("a OK "));
    let (mut pop3, _) = world.pop3(ALICE, &password).await;
    let mut quiet = world.smtp(ALICE, &password).await;
    let mut stranger = world.connect(Protocol::Smtp, "none").await;
    stranger.reply().await;
    let mut before_login = world.connect(Protocol::Imap, "none").await;
    before_login.line().await;
    let mut half_way = world.connect(Protocol::Imap, "none").await;
    half_way.line().await;
    assert!(half_way.ask("a AUTHENTICATE PLAIN").await.starts_with("+ "));
    let mut pop3_stranger = world.connect(Protocol::Pop3, "none").await;
    pop3_stranger.line().await;
    let mut pop3_half_way = world.connect(Protocol::Pop3, "none").await;
    pop3_half_way.line().await;
    assert!(pop3_half_way.ask(&format!("USER {ALICE}")).await.starts_with("+OK"));
    let mut refused = world.smtp(ALICE, &password).await;
    assert!(refused.smtp(&format!("MAIL FROM:<{ALICE}>")).await.starts_with("250 "));
    assert!(refused.smtp("RCPT TO:<bob@contoso.test>").await.starts_with("250 "));
    assert!(refused.smtp("DATA").await.starts_with("354 "));
    let open_connections = world.sandbox.tally().open_connections;
    refused.send("Subject: refused\r\n\r\na\0b\r\n").await;
    eventually("the message to be given up", async || world.sandbox.tally().open_connections < open_connections).await;
    let mut sending = world.smtp(ALICE, &password).await;
    assert!(sending.smtp(&format!("MAIL FROM:<{ALICE}>")).await.starts_with("250 "));
    assert!(sending.smtp("RCPT TO:<bob@contoso.test>").await.starts_with("250 "));
    assert!(sending.smtp("DATA").await.starts_with("354 "));
    sending.send("Subject: under way\r\n\r\nfirst\r\n").await;

    let began = Instant::now();
    serving.signal(Signal::SIGTERM);
    for told in [idling.rest().await, in_tls.rest().await, before_login.rest().await, half_way.rest().await] {
        assert!(told.starts_with("* BYE ") && told.ends_with("\r\n"), "{told}");
    }
    for told in [pop3.rest().await, pop3_stranger.rest().await, pop3_half_way.rest().await] {
        assert_eq!(told, "");
    }
    for told in [quiet.rest().await, stranger.rest().await] {
        assert!(told.starts_with("421 4.3.2 "), "{told}");
    }
    // Nobody new is taken on.
    let address = world.address(Protocol::Smtp, "none");
    eventually("the port to be closed", async || tokio::net::TcpStream::connect(address).await.is_err()).await;

    // A message that is refused already may be finished all the same, and its client hears what was wrong with it.
    refused.send("c\r\n.\r\n").await;
    let told = refused.reply().await;
    assert!(told.starts_with("554 5.6.0 "), "{told}");
    let told = refused.rest().await;
    assert!(told.starts_with("421 4.3.2 "), "{told}");

    sending.send("second\r\n.\r\n").await;
    let told = sending.reply().await;
    assert!(told.starts_with("250 2.0.0 "), "{told}");
    let told = sending.rest().await;
    assert!(told.starts_with("421 4.3.2 "), "{told}");
    let submitted = world.sandbox.submissions();
    assert_eq!(submitted.len(), 1);
    assert!(submitted[0].content.ends_with(b"first\r\nsecond\r\n"));

    let mark = world.config.data_dir.join("serve.json");
    let (status, log) = serving.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(!mark.exists());
    assert!(log.contains("stopped"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_dawdles_does_not_hold_up_the_end() {
    let mut world = World::start().await;
    let password = world.issue(ALICE).await;
    let serving = Serving::instead_of(&mut world, &[]).await;
    let mut sending = world.smtp(ALICE, &password).await;
    assert!(sending.smtp(&format!("MAIL FROM:<{ALICE}>")).await.starts_with("250 "));
    assert!(sending.smtp("RCPT TO:<bob@contoso.test>").await.starts_with("250 "));
    assert!(sending.smtp("DATA").await.starts_with("354 "));
    sending.send("Subject: never finished\r\n").await;
    // Neither does one that does not read its IMAP.
    let message = vec![b'x'; 8 << 20];
    world.sandbox.deliver(ALICE, "INBOX", &message);
    let (mut lazy, _) = world.imap(ALICE, &password).await;
    assert!(lazy.imap("s SELECT INBOX").await.contains("s OK "));
    lazy.send("f FETCH 1 BODY[]\r\n").await;
    lazy.line().await;

    let began = Instant::now();
    serving.signal(Signal::SIGTERM);
    let (status, log) = serving.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(world.sandbox.submissions().len(), 0, "what was not finished was not sent");
    let told = sending.rest().await;
    assert!(told.is_empty() || told.starts_with("421 4.3.2 "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_why_a_session_ended() {
    let mut world = World::start().await;
    let serving = Serving::instead_of(&mut world, &[]).await;
    let alice = ALICE.parse().unwrap();
    let ends = |lines: &str| lines.lines().filter(|line| line.contains("session ended: ")).count();

    let issued = world.issue_with(ALICE, |_| {}).await;
    let mut smtp = world.smtp(ALICE, issued.password.expose()).await;
    let (mut imap, _) = world.imap(ALICE, issued.password.expose()).await;
    world.ops.revoke_password(&issued.row.id).await.unwrap();
    assert_eq!(smtp.rest().await, "421 4.3.2 The login is no longer valid, log in again\r\n");
    assert_eq!(imap.rest().await, "* BYE The login is no longer valid, log in again\r\n");
    eventually("two ends in the log", async || ends(&serving.said()) == 2).await;
    assert_eq!(serving.said().matches("session ended: the app password was revoked").count(), 2);

    // Its end has to be ahead when it is issued and used, and to come: no clock of another process can be turned.
    let in_a_moment = chrono::Utc::now() + chrono::Duration::seconds(2);
    let issued = world.issue_with(ALICE, |request| request.expires_at = Some(in_a_moment)).await;
    let mut smtp = world.smtp(ALICE, issued.password.expose()).await;
    assert!(smtp.rest().await.starts_with("421 4.3.2 The login "));
    serving.says("session ended: the app password has expired").await;

    let password = world.issue(ALICE).await;
    let (mut pop3, _) = world.pop3(ALICE, &password).await;
    world.ops.disable_mailbox(&alice).await.unwrap();
    assert_eq!(pop3.rest().await, "");
    serving.says("session ended: the mailbox was disabled").await;
    world.ops.enable_mailbox(&alice).await.unwrap();

    let mut smtp = world.smtp(ALICE, &password).await;
    world.ops.remove_mailbox(&alice).await.unwrap();
    assert!(smtp.rest().await.starts_with("421 4.3.2 The login "));
    serving.says("session ended: the mailbox was taken off the list").await;

    let bobs = world.issue("bob@contoso.test").await;
    let mut smtp = world.smtp("bob@contoso.test", &bobs).await;
    assert!(smtp.smtp("QUIT").await.starts_with("221 "));
    serving.says("session ended: goodbye was said").await;
    let mut smtp = world.smtp("bob@contoso.test", &bobs).await;
    serving.signal(Signal::SIGTERM);
    assert!(smtp.rest().await.starts_with("421 4.3.2 The service is stopping"));
    let (_, said) = serving.ended().await;
    assert_eq!(said.matches("session ended: the service is stopping").count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_client_does_not_read_ends_with_its_app_password_too() {
    let mut world = World::start().await;
    let serving = Serving::instead_of(&mut world, &[]).await;
    let issued = world.issue_with(ALICE, |_| {}).await;
    let mut smtp = world.smtp(ALICE, issued.password.expose()).await;
    // As many commands as it takes until the answers to them stand in the way. That nothing passes any more can only be seen by waiting.
    let flood = b"EHLO pc\r\n".repeat(4096);
    while tokio::time::timeout(Duration::from_millis(500), smtp.stream.write_all(&flood)).await.is_ok() {}
    world.ops.revoke_password(&issued.row.id).await.unwrap();
    let began = Instant::now();
    serving.says("session ended: the app password was revoked").await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_is_served_once_and_again_after_a_kill() {
    let mut world = World::start().await;
    let password = world.issue(ALICE).await;
    let first = Serving::instead_of(&mut world, &[]).await;

    let (status, said) = Serving::start(&world.config_file(), &[]).ended().await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("already served by process {}", first.process())), "{said}");
    assert!(world.imap(ALICE, &password).await.1.starts_with("in OK "), "the first one is not touched");

    let mark = world.config.data_dir.join("serve.json");
    assert!(mark.exists());
    first.signal(Signal::SIGKILL);
    let (status, _) = first.ended().await;
    assert!(!status.success());
    let mut second = Serving::start(&world.config_file(), &[]);
    second.ready(&mut world).await;
    let (mut imap, told) = world.imap(ALICE, &password).await;
    assert!(told.starts_with("in OK "), "{told}");
    assert!(imap.imap("n NOOP").await.starts_with("n OK "));
    second.signal(Signal::SIGINT);
    let (status, said) = second.ended().await;
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!mark.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_stops_out_of_ten_end_well() {
    let mut world = World::start().await;
    let password = world.issue(ALICE).await;
    for number in 0..10 {
        let mut serving = Serving::start(&world.config_file(), &["-q"]);
        if number == 0 {
            world.stop_serving().await;
            serving = Serving::start(&world.config_file(), &["-q"]);
        }
        serving.ready(&mut world).await;
        let (mut imap, told) = world.imap(ALICE, &password).await;
        assert!(told.starts_with("in OK "), "{told}");
        serving.signal(if number % 2 == 0 { Signal::SIGTERM } else { Signal::SIGINT });
        assert!(imap.rest().await.starts_with("* BYE "));
        let (status, said) = serving.ended().await;
        assert_eq!(status.code(), Some(0), "{number}: {said}");
    }
}
