use std::time::Duration;

use crate::sandbox::tests::{ALICE, BOB, Peer, app_token, client_config, start, user_token, xoauth2};
use crate::sandbox::{FaultName, Sandbox};

const REFUSED: &str = "-ERR Authentication failure: unknown user name or bad password.";
const PROTOCOL_ERROR: &str = "-ERR Protocol error. Connection is closed. 10\r\n";

async fn greeted(sandbox: &Sandbox) -> Peer {
    let mut peer = Peer::tls(sandbox.pop3_address(), client_config(sandbox)).await;
    peer.line().await;
    peer
}

async fn log_in(sandbox: &Sandbox, user: &str, token: &str) -> (Peer, String) {
    let mut peer = greeted(sandbox).await;
    assert_eq!(peer.ask("AUTH XOAUTH2").await, "+ ");
    let answer = peer.ask(&xoauth2(user, token)).await;
    (peer, answer)
}

#[tokio::test]
async fn the_inbox_is_read_with_its_dots_stuffed_and_deleted_at_quit() {
    let sandbox = start().await;
    sandbox.deliver(ALICE, "INBOX", b"Subject: 1\r\n\r\n.dot\r\nend");
    sandbox.deliver(ALICE, "INBOX", b"Subject: 2\r\n\r\ntwo\r\n");
    let token = app_token(&sandbox).await;
    let (mut peer, answer) = log_in(&sandbox, ALICE, &token).await;
    assert_eq!(answer, "+OK User successfully authenticated.");
    // What arrives after login is for the next session.
    sandbox.deliver(ALICE, "INBOX", b"Subject: 3\r\n\r\n");
    for (command, expected) in [
        ("STAT", "+OK 2 42\r\n"),
        ("LIST", "+OK\r\n1 23\r\n2 19\r\n.\r\n"),
        ("LIST 2", "+OK 2 19\r\n"),
        ("UIDL", "+OK\r\n1 AAAAAA00000001\r\n2 AAAAAA00000002\r\n.\r\n"),
        ("RETR 1", "+OK\r\nSubject: 1\r\n\r\n..dot\r\nend\r\n.\r\n"),
        ("TOP 2 0", "+OK\r\nSubject: 2\r\n\r\n.\r\n"),
        ("RETR 3", "-ERR The specified message is out of range.\r\n"),
        ("DELE 2", "+OK\r\n"),
        ("RETR 2", "-ERR The specified message is out of range.\r\n"),
        ("RSET", "+OK\r\n"),
        ("DELE 1", "+OK\r\n"),
        ("STAT", "+OK 1 19\r\n"),
        ("NOOP", "+OK\r\n"),
        ("AUTH XOAUTH2", "-ERR Command is not valid in this state.\r\n"),
    ] {
        peer.send(format!("{command}\r\n")).await;
        assert_eq!(peer.until(expected).await, expected, "{command}");
    }
    peer.send("QUIT\r\n").await;
    assert_eq!(peer.until_closed().await, "+OK Microsoft Exchange Server POP3 server signing off.\r\n");
    assert_eq!(sandbox.messages(ALICE, "INBOX"), [&b"Subject: 2\r\n\r\ntwo\r\n"[..], b"Subject: 3\r\n\r\n"]);
}

#[tokio::test]
async fn what_was_marked_stays_if_the_connection_is_lost() {
    let sandbox = start().await;
    sandbox.deliver(ALICE, "INBOX", b"Subject: 1\r\n\r\n");
    let token = app_token(&sandbox).await;
    let (mut peer, _) = log_in(&sandbox, ALICE, &token).await;
    assert_eq!(peer.ask("DELE 1").await, "+OK");
    drop(peer);
    crate::sandbox::tests::eventually("it is gone", || sandbox.tally().open_connections == 0).await;
    assert_eq!(sandbox.messages(ALICE, "INBOX").len(), 1);
}

#[tokio::test]
async fn login_takes_two_lines_and_a_good_token() {
    let sandbox = start().await;
    let app = app_token(&sandbox).await;
    let alice = user_token(&sandbox, ALICE, "POP.AccessAsUser.All").await;
    let for_imap = user_token(&sandbox, ALICE, "IMAP.AccessAsUser.All").await;
    for (user, token, let_in) in [
        (ALICE, alice.as_str(), true),
        (BOB, app.as_str(), true),
        (BOB, alice.as_str(), false),
        (ALICE, for_imap.as_str(), false),
        (ALICE, "made-up", false),
        ("nobody@contoso.test", app.as_str(), false),
    ] {
        let (_, answer) = log_in(&sandbox, user, token).await;
        let expected = if let_in { "+OK User successfully authenticated." } else { REFUSED };
        assert_eq!(answer, expected, "{user}");
    }
    let mut peer = greeted(&sandbox).await;
    peer.send(format!("AUTH XOAUTH2 {}\r\n", xoauth2(ALICE, &app))).await;
    assert_eq!(peer.until_closed().await, PROTOCOL_ERROR);

    let mut peer = greeted(&sandbox).await;
    peer.send("CAPA\r\n").await;
    assert_eq!(peer.until("\r\n.\r\n").await, "+OK\r\nTOP\r\nUIDL\r\nSASL PLAIN XOAUTH2\r\nUSER\r\n.\r\n");
    assert_eq!(peer.ask("STAT").await, "-ERR Command is not valid in this state.");
    assert_eq!(peer.ask(&format!("USER {ALICE}")).await, "+OK");
    assert!(peer.ask("PASS secret").await.starts_with("-ERR Logon failure"));
}

#[tokio::test]
async fn every_fault_of_pop3_shows() {
    let sandbox = start().await;
    let set = |name, value| sandbox.faults().set(name, value).unwrap();
    set(FaultName::TokenSize, Some("4200"));
    let long = app_token(&sandbox).await;
    sandbox.faults().clear_all();
    let short = app_token(&sandbox).await;

    assert!(log_in(&sandbox, ALICE, &long).await.1.starts_with("+OK"));
    set(FaultName::PopLongToken, None);
    assert!(log_in(&sandbox, ALICE, &short).await.1.starts_with("+OK"));
    let (peer, answer) = log_in(&sandbox, ALICE, &long).await;
    assert_eq!(answer, PROTOCOL_ERROR.trim_end());
    assert_eq!(peer.until_closed().await, "");
    sandbox.faults().clear_all();

    set(FaultName::PopAuthReject, Some("1"));
    assert_eq!(log_in(&sandbox, ALICE, &short).await.1, REFUSED);
    assert!(log_in(&sandbox, ALICE, &short).await.1.starts_with("+OK"));

    set(FaultName::PopGreeting2026, None);
    let mut peer = Peer::tls(sandbox.pop3_address(), client_config(&sandbox)).await;
    assert!(peer.line().await.starts_with("+OK Microsoft Exchange POP3 server ready (tcpproxy/15.20.9137.005). ["));

    set(FaultName::PopSilent, None);
    let mut peer = Peer::tls(sandbox.pop3_address(), client_config(&sandbox)).await;
    let silence = tokio::time::timeout(Duration::from_millis(100), peer.line()).await;
    assert!(silence.is_err(), "it spoke");
}

#[test]
fn top_is_the_header_and_as_many_lines_as_asked() {
    let message = b"A: 1\r\nB: 2\r\n\r\none\r\ntwo\r\nthree";
    for (lines, expected) in
        [(0, &b"A: 1\r\nB: 2\r\n\r\n"[..]), (1, b"A: 1\r\nB: 2\r\n\r\none\r\n"), (3, message), (9, message)]
    {
        assert_eq!(super::top(message, lines), expected, "{lines}");
    }
    assert_eq!(super::top(b"no end of header", 5), b"no end of header");
}
