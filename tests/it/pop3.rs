//! POP3, the whole road.

use postern::base::Protocol;

use crate::common::{World, eventually, plain, reference};

const ALICE: &str = "alice@contoso.test";

#[tokio::test(flavor = "multi_thread")]
async fn trouble_of_exchange_is_told_as_trouble() {
    for (fault, told_as) in [
        ("pop-auth-reject", "-ERR [SYS/PERM] "),
        ("mailbox-no-permission=alice@contoso.test", "-ERR [SYS/PERM] "),
        ("mail-unreachable", "-ERR [SYS/TEMP] "),
        ("tls-untrusted", "-ERR [SYS/TEMP] "),
        ("tls-expired", "-ERR [SYS/TEMP] "),
        ("tls-wrong-name", "-ERR [SYS/TEMP] "),
    ] {
        let world = World::start().await;
        let password = world.issue(ALICE).await;
        world.fault(fault);
        let (mut pop3, told) = world.pop3(ALICE, &password).await;
        assert!(told.starts_with(told_as), "{fault}: {told}");
        reference(&told);
        let logins: u64 = world.sandbox.tally().refused_logins.values().sum();
        assert!(logins <= 3, "{fault}: {logins} logins upstream for one of the client");
        world.sandbox.faults().clear_all();
        // The same connection serves once the trouble is over.
        assert!(pop3.ask(&format!("USER {ALICE}")).await.starts_with("+OK"), "{fault}");
        assert!(pop3.ask(&format!("PASS {password}")).await.starts_with("+OK"), "{fault}");
        assert!(pop3.ask("STAT").await.starts_with("+OK 0 0"), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f28_what_comes_in_one_segment_is_taken_as_what_it_is() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    world.sandbox.deliver(ALICE, "INBOX", b"Subject: one\r\n\r\n");
    for login in [format!("USER {ALICE}\r\nPASS {password}\r\n"), format!("AUTH PLAIN {}\r\n", plain(ALICE, &password))]
    {
        let mut pop3 = world.connect(Protocol::Pop3, "none").await;
        pop3.send(format!("{login}STAT\r\nLIST\r\nQUIT\r\n")).await;
        let told = pop3.rest().await;
        assert!(told.contains("\r\n+OK 1 16\r\n"), "{told}");
        assert!(told.ends_with("signing off.\r\n"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_comes_octet_for_octet_with_its_dots_and_is_gone_when_deleted() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    let mut message = b"Subject: large\r\n\r\n".to_vec();
    let mut number = 0;
    while message.len() < 5 << 20 {
        message.extend(format!("{}line {number} +OK -ERR\r\n", if number % 3 == 0 { "." } else { "" }).bytes());
        message.extend_from_slice(b".\r\n\r\n\xff\r\n");
        number += 1;
    }
    world.sandbox.deliver(ALICE, "INBOX", &message);
    let (mut pop3, told) = world.pop3(ALICE, &password).await;
    assert!(told.starts_with("+OK"), "{told}");
    assert!(pop3.ask("RETR 1").await.starts_with("+OK"));
    let mut stuffed = Vec::new();
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    assert!(pop3.octets(stuffed.len()).await == stuffed, "the octets differ");
    assert_eq!(pop3.line().await, ".");
    assert!(pop3.ask("DELE 1").await.starts_with("+OK"));
    assert!(pop3.ask("QUIT").await.starts_with("+OK"));
    assert_eq!(pop3.rest().await, "");
    eventually("the message to be gone", async || world.sandbox.messages(ALICE, "INBOX").is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_may_be_typed_with_spaces_and_capitals_and_a_name_is_not_trimmed() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    for typed in [password.replace('-', " "), password.to_ascii_uppercase(), password.replace('-', "")] {
        let (_pop3, told) = world.pop3(ALICE, &typed).await;
        assert!(told.starts_with("+OK"), "{told}");
    }
    let (_pop3, told) = world.pop3(&format!("{ALICE} "), &password).await;
    assert!(told.starts_with("-ERR [AUTH] "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_tokens_fit() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    world.fault("token-size=9000");
    let (_pop3, told) = world.pop3(ALICE, &password).await;
    assert!(told.starts_with("+OK"), "{told}");
    let (_imap, told) = world.imap(ALICE, &password).await;
    assert!(told.starts_with("in OK "), "{told}");
    let mut smtp = world.smtp(ALICE, &password).await;
    assert!(smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await.starts_with("250 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_mailbox_is_shown_before_login() {
    let world = World::start().await;
    let mut pop3 = world.connect(Protocol::Pop3, "none").await;
    assert!(pop3.line().await.starts_with("+OK The Microsoft Exchange POP3 service is ready."));
    for command in ["STAT", "LIST", "RETR 1", "TOP 1 0", "UIDL", "DELE 1", "RSET", "PASS x"] {
        assert!(pop3.ask(command).await.starts_with("-ERR"), "{command}");
    }
    pop3.send("CAPA\r\nQUIT\r\n").await;
    let told = pop3.rest().await;
    assert!(told.contains("\r\nRESP-CODES\r\n") && told.contains("\r\nAUTH-RESP-CODE\r\n"), "{told}");
    assert!(!told.contains("XOAUTH2"), "{told}");
    assert_eq!(world.sandbox.tally().connections, 0);
}
