use std::time::Duration;

use futures::StreamExt as _;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::sandbox::tests::{
    ALICE, BOB, Peer, app_token, client_config, eventually, start, start_with, user_token, xoauth2,
};
use crate::sandbox::{FaultName, Sandbox};

const MAIL: &[u8] =
    b"From: bob@contoso.test\r\nTo: alice@contoso.test\r\nSubject: Hello\r\n\r\nA body\r\n.with a dot\r\n";

async fn greeted(sandbox: &Sandbox) -> Peer {
    let mut peer = Peer::tls(sandbox.imap_address(), client_config(sandbox)).await;
    peer.line().await;
    peer
}

/// Logged in as Alice, with INBOX selected.
async fn selected(sandbox: &Sandbox) -> Peer {
    let token = app_token(sandbox).await;
    let mut peer = greeted(sandbox).await;
    let answer = peer.command(&format!("a AUTHENTICATE XOAUTH2 {}", xoauth2(ALICE, &token))).await;
    assert_eq!(answer, "a OK AUTHENTICATE completed.\n");
    assert!(peer.command("s SELECT inbox").await.ends_with("s OK [READ-WRITE] SELECT completed.\n"));
    peer
}

struct Bearer(String, String);

impl async_imap::Authenticator for Bearer {
    type Response = String;

    fn process(&mut self, _: &[u8]) -> String {
        format!("user={}\u{1}auth=Bearer {}\u{1}\u{1}", self.0, self.1)
    }
}

#[tokio::test]
async fn a_foreign_client_logs_in_lists_reads_flags_and_appends() {
    let sandbox = start().await;
    sandbox.deliver(ALICE, "INBOX", MAIL);
    let stream = TcpStream::connect(sandbox.imap_address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(client_config(&sandbox)).connect(name, stream).await.unwrap();
    let mut client = async_imap::Client::new(stream);
    client.read_response().await.unwrap().unwrap();
    let token = user_token(&sandbox, ALICE, "IMAP.AccessAsUser.All").await;
    let mut session = client.authenticate("XOAUTH2", Bearer(ALICE.into(), token)).await.map_err(|(e, _)| e).unwrap();
    assert!(session.capabilities().await.unwrap().has_str("MOVE"));

    let names: Vec<String> = {
        let folders = session.list(Some(""), Some("*")).await.unwrap();
        folders.map(|folder| folder.unwrap().name().to_owned()).collect().await
    };
    assert_eq!(names, ["Archive", "Deleted Items", "Drafts", "INBOX", "Junk Email", "Sent Items"]);

    let inbox = session.select("INBOX").await.unwrap();
    assert_eq!((inbox.exists, inbox.uid_next), (1, Some(2)));
    let fetched: Vec<_> = session.fetch("1", "(UID ENVELOPE BODYSTRUCTURE BODY[])").await.unwrap().collect().await;
    let message = fetched[0].as_ref().unwrap();
    assert_eq!(message.body(), Some(MAIL));
    assert_eq!(message.envelope().unwrap().subject.as_deref(), Some(&b"Hello"[..]));
    assert!(message.bodystructure().is_some());

    let flagged: Vec<_> = session.uid_store("1", "+FLAGS (\\Flagged)").await.unwrap().collect().await;
    assert_eq!(flagged.len(), 1);
    session.append("Drafts", Some("(\\Draft)"), None, b"Subject: draft\r\n\r\n").await.unwrap();
    assert_eq!(sandbox.messages(ALICE, "Drafts"), [b"Subject: draft\r\n\r\n"]);
    session.uid_mv("1", "Archive").await.unwrap();
    assert_eq!(sandbox.messages(ALICE, "Archive"), [MAIL]);
    session.logout().await.unwrap();
}

#[tokio::test]
async fn greeting_and_capabilities_are_those_of_the_classic_front_end_and_move_comes_after_login() {
    let sandbox = start().await;
    let mut peer = Peer::tls(sandbox.imap_address(), client_config(&sandbox)).await;
    assert!(peer.line().await.starts_with("* OK The Microsoft Exchange IMAP4 service is ready. ["));
    let before = peer.command("a CAPABILITY").await;
    assert_eq!(
        before,
        "* CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS ID UNSELECT CHILDREN IDLE NAMESPACE \
         LITERAL+\na OK CAPABILITY completed.\n"
    );
    let token = app_token(&sandbox).await;
    assert_eq!(peer.ask("b AUTHENTICATE XOAUTH2").await, "+ ");
    assert_eq!(peer.ask(&xoauth2(ALICE, &token)).await, "b OK AUTHENTICATE completed.");
    assert!(peer.command("c CAPABILITY").await.contains(" UIDPLUS MOVE ID UNSELECT CLIENTACCESSRULES "));
    assert_eq!(peer.command("d NAMESPACE").await, "* NAMESPACE ((\"\" \"/\")) NIL NIL\nd OK NAMESPACE completed.\n");

    sandbox.faults().set(FaultName::ImapGreeting2026, None).unwrap();
    let mut peer = Peer::tls(sandbox.imap_address(), client_config(&sandbox)).await;
    assert!(peer.line().await.contains("(tcpproxy/15.21.0406.000 BACKENDAUTHENTICATE)"));
    assert!(peer.command("a CAPABILITY").await.contains(" LOGINDISABLED "));
    peer.command(&format!("b AUTHENTICATE XOAUTH2 {}", xoauth2(ALICE, &token))).await;
    assert!(peer.command("c CAPABILITY").await.contains(" ENABLE IMAP4rev2 "));
    peer.command("d ENABLE IMAP4rev2").await;
    peer.command("e SELECT INBOX").await;
    assert!(peer.command("f SEARCH ALL").await.starts_with("* ESEARCH (TAG \"f\")"));
}

#[tokio::test]
async fn only_a_good_token_for_the_mailbox_opens_it() {
    let sandbox = start().await;
    let app = app_token(&sandbox).await;
    let alice = user_token(&sandbox, ALICE, "IMAP.AccessAsUser.All").await;
    let for_smtp = user_token(&sandbox, ALICE, "SMTP.Send").await;
    for (user, token, let_in, connected) in [
        (ALICE, app.as_str(), true, true),
        ("BOB@contoso.test", app.as_str(), true, true),
        ("nobody@contoso.test", app.as_str(), false, false),
        (ALICE, alice.as_str(), true, true),
        ("shared@contoso.test", alice.as_str(), true, true), // Alice is its delegate
        (BOB, alice.as_str(), true, false),                  // authenticated but not connected
        (ALICE, for_smtp.as_str(), false, false),
        (ALICE, "made-up", false, false),
    ] {
        let mut peer = greeted(&sandbox).await;
        let answer = peer.command(&format!("a AUTHENTICATE XOAUTH2 {}", xoauth2(user, token))).await;
        let expected = if let_in { "a OK AUTHENTICATE completed.\n" } else { "a NO AUTHENTICATE failed.\n" };
        assert_eq!(answer, expected, "{user} {token}");
        let probe = peer.command("b NAMESPACE").await;
        assert_eq!(probe.contains("b OK"), connected, "{user}: {probe}");
        if let_in && !connected {
            assert_eq!(probe, "b BAD User is authenticated but not connected.\n");
            peer.command("c NOOP").await;
            peer.send("d NOOP\r\n").await;
            assert!(peer.until_closed().await.ends_with("* BYE Connection closed. 14\r\n"));
        }
    }
    let mut peer = greeted(&sandbox).await;
    assert_eq!(peer.command("a LOGIN alice@contoso.test {6+}\r\nsecret").await, "a NO LOGIN failed.\n");
    assert_eq!(peer.command("b SELECT INBOX").await, "b BAD Command received in Invalid state.\n");
}

#[tokio::test]
async fn idle_shows_a_message_as_it_arrives_and_other_sessions_see_flags_and_expunges() {
    let sandbox = start().await;
    let mut idle = selected(&sandbox).await;
    idle.send("i IDLE\r\n").await;
    assert_eq!(idle.line().await, "+ IDLE accepted, awaiting DONE command.");
    sandbox.deliver(ALICE, "INBOX", MAIL);
    assert_eq!(idle.line().await, "* 1 EXISTS");
    idle.until("RECENT\r\n").await;

    let mut other = selected(&sandbox).await;
    assert_eq!(
        other.command("a STORE 1 +FLAGS (\\Deleted)").await,
        "* 1 FETCH (FLAGS (\\Deleted))\na OK STORE completed.\n"
    );
    assert!(idle.line().await.starts_with("* 1 FETCH (FLAGS (\\Deleted"));
    assert_eq!(other.command("b EXPUNGE").await, "* 1 EXPUNGE\n* 0 EXISTS\n* 0 RECENT\nb OK EXPUNGE completed.\n");
    assert_eq!(idle.line().await, "* 1 EXPUNGE");
    idle.until("RECENT\r\n").await;
    assert_eq!(idle.ask("DONE").await, "i OK IDLE completed.");
}

#[tokio::test]
async fn a_message_is_recent_for_the_first_session_that_selects_its_folder_and_for_no_other() {
    let sandbox = start().await;
    sandbox.deliver(ALICE, "INBOX", MAIL);
    let token = app_token(&sandbox).await;
    let mut looking = greeted(&sandbox).await;
    looking.command(&format!("a AUTHENTICATE XOAUTH2 {}", xoauth2(ALICE, &token))).await;
    assert!(looking.command("b EXAMINE INBOX").await.contains("* 1 RECENT\n"));

    let mut first = selected(&sandbox).await;
    for (command, expected) in [
        ("a UID FETCH 1 (FLAGS)", "* 1 FETCH (UID 1 FLAGS (\\Recent))\na OK FETCH completed.\n"),
        ("b SEARCH NEW", "* SEARCH 1\nb OK SEARCH completed.\n"),
        ("c STORE 1 +FLAGS (\\Seen)", "* 1 FETCH (FLAGS (\\Seen \\Recent))\nc OK STORE completed.\n"),
        ("d SEARCH OLD", "* SEARCH\nd OK SEARCH completed.\n"),
    ] {
        assert_eq!(first.command(command).await, expected);
    }
    let mut second = selected(&sandbox).await;
    assert_eq!(second.command("a FETCH 1 (FLAGS)").await, "* 1 FETCH (FLAGS (\\Seen))\na OK FETCH completed.\n");
    assert_eq!(second.command("b SEARCH RECENT").await, "* SEARCH\nb OK SEARCH completed.\n");
}

#[tokio::test]
async fn folders_are_listed_with_what_they_are_for() {
    let sandbox = start().await;
    let mut peer = selected(&sandbox).await;
    let folders = "* LIST (\\HasNoChildren) \"/\" Archive\n* LIST (\\HasNoChildren \\Trash) \"/\" \"Deleted Items\"\n\
        * LIST (\\HasNoChildren \\Drafts) \"/\" Drafts\n* LIST (\\Marked \\HasNoChildren) \"/\" INBOX\n\
        * LIST (\\HasNoChildren \\Junk) \"/\" \"Junk Email\"\n* LIST (\\HasNoChildren \\Sent) \"/\" \"Sent Items\"\n";
    assert_eq!(peer.command("a LIST \"\" *").await, format!("{folders}a OK LIST completed.\n"));
    assert_eq!(
        peer.command("b LSUB \"\" *").await,
        format!("{}b OK LSUB completed.\n", folders.replace("* LIST", "* LSUB"))
    );
}

#[tokio::test]
async fn the_session_ends_at_the_second_at_which_the_token_expires_also_inside_idle_and_a_literal() {
    let sandbox = start_with(&[(FaultName::TokenExpiresIn, Some("2"))]).await;
    let ends = ["", "b IDLE\r\n", "b APPEND INBOX {100+}\r\nSubject:"].map(|last_command| {
        let sandbox = &sandbox;
        async move {
            let token = app_token(sandbox).await;
            let issued = std::time::Instant::now();
            let mut peer = greeted(sandbox).await;
            let login = format!("a AUTHENTICATE XOAUTH2 {}", xoauth2(ALICE, &token));
            assert_eq!(peer.command(&login).await, "a OK AUTHENTICATE completed.\n");
            peer.send(last_command).await;
            let ended = peer.until_closed().await;
            assert!(ended.ends_with("* BYE Session invalidated - AccessTokenExpired\r\n"), "{last_command}: {ended}");
            assert!(issued.elapsed() > Duration::from_millis(1900), "{last_command}: too early");
            assert_eq!(greeted(sandbox).await.command(&login).await, "a NO AUTHENTICATE failed.\n");
        }
    });
    futures::future::join_all(ends).await;
}

#[tokio::test]
async fn sessions_that_are_told_to_expire_do_so_and_new_ones_live() {
    let sandbox = start().await;
    let peer = selected(&sandbox).await;
    let waiting = greeted(&sandbox).await;
    sandbox.expire_sessions();
    assert_eq!(peer.until_closed().await, "* BYE Session invalidated - AccessTokenExpired\r\n");
    let token = app_token(&sandbox).await;
    let mut waiting = waiting;
    waiting.command(&format!("a AUTHENTICATE XOAUTH2 {}", xoauth2(ALICE, &token))).await;
    assert_eq!(waiting.command("b NOOP").await, "b OK NOOP completed.\n");
}

#[tokio::test]
async fn messages_are_copied_moved_expunged_and_numbered_as_uidplus_says() {
    let sandbox = start().await;
    for number in 1..=3 {
        sandbox.deliver(ALICE, "INBOX", format!("Subject: {number}\r\n\r\n{number}\r\n").as_bytes());
    }
    let mut peer = selected(&sandbox).await;
    for (command, expected) in [
        ("a COPY 1:2 Archive", "a OK [COPYUID 16 1,2 1,2] COPY completed.\n"),
        ("b COPY 1 Nowhere", "b NO [TRYCREATE] Destination folder doesn't exist.\n"),
        (
            "c UID MOVE 2 \"Deleted Items\"",
            "* OK [COPYUID 17 2 1]\n* 2 EXPUNGE\n* 2 EXISTS\n* 2 RECENT\nc OK MOVE completed.\n",
        ),
        ("d UID SEARCH ALL", "* SEARCH 1 3\nd OK SEARCH completed.\n"),
        ("e STORE 1:* FLAGS.SILENT (\\Deleted)", "e OK STORE completed.\n"),
        ("f UID EXPUNGE 3", "* 2 EXPUNGE\n* 1 EXISTS\n* 1 RECENT\nf OK EXPUNGE completed.\n"),
        (
            "g STATUS Archive (MESSAGES UNSEEN UIDNEXT)",
            "* STATUS Archive (MESSAGES 2 UNSEEN 2 UIDNEXT 3)\ng OK STATUS completed.\n",
        ),
        (
            "h APPEND Drafts (\\Draft) \"23-Nov-2026 10:00:00 +0100\" {4+}\r\na: b",
            "h OK [APPENDUID 18 1] APPEND completed.\n",
        ),
        ("i CREATE Projects/2026", "i OK CREATE completed.\n"),
        ("j CREATE Projects", "j NO Mailbox already exists.\n"),
        (
            "k LIST \"\" Pro*",
            "* LIST (\\HasChildren) \"/\" Projects\n* LIST (\\HasNoChildren) \"/\" Projects/2026\nk OK LIST completed.\n",
        ),
        ("l RENAME Projects Work", "l OK RENAME completed.\n"),
        ("m UNSUBSCRIBE Work/2026", "m OK UNSUBSCRIBE completed.\n"),
        ("n LSUB \"\" W*", "* LSUB (\\HasChildren) \"/\" Work\nn OK LSUB completed.\n"),
        ("o DELETE INBOX", "o NO Folder name is reserved\n"),
        ("p SEARCH CHARSET UTF-8 ALL", "p NO [BADCHARSET (US-ASCII)] The specified charset is not supported.\n"),
        ("q CLOSE", "q OK CLOSE completed.\n"),
        ("r FETCH 1 FLAGS", "r BAD Command received in Invalid state.\n"),
        ("s EXAMINE Archive", "s OK [READ-ONLY] EXAMINE completed.\n"),
        ("t STORE 1 +FLAGS (\\Seen)", "t NO Command is not valid when mailbox is selected as read only.\n"),
        ("u FETCH 1 BODY[TEXT]", "* 1 FETCH (BODY[TEXT] {3}\n1\n)\nu OK FETCH completed.\n"),
        ("v UNSELECT", "v OK UNSELECT completed.\n"),
    ] {
        let answer = peer.command(command).await;
        if command.starts_with("s ") {
            assert!(answer.ends_with(expected), "{answer}");
        } else {
            assert_eq!(answer, expected, "{command}");
        }
    }
    assert_eq!(sandbox.messages(ALICE, "INBOX").len(), 0);
}

#[tokio::test]
async fn a_fetch_that_reads_marks_as_seen_and_says_so_and_a_peek_does_not() {
    let sandbox = start().await;
    sandbox.deliver(ALICE, "INBOX", b"Subject: x\r\n\r\n12\r\n");
    let mut peer = selected(&sandbox).await;
    assert_eq!(
        peer.command("a FETCH 1 BODY.PEEK[TEXT]").await,
        "* 1 FETCH (BODY[TEXT] {4}\n12\n)\na OK FETCH completed.\n"
    );
    assert_eq!(
        peer.command("b UID FETCH 1 (BODY[TEXT])").await,
        "* 1 FETCH (UID 1 BODY[TEXT] {4}\n12\n FLAGS (\\Seen \\Recent))\nb OK FETCH completed.\n"
    );
    assert_eq!(
        peer.command("c FETCH 1 (FLAGS BODY[TEXT])").await,
        "* 1 FETCH (FLAGS (\\Seen \\Recent) BODY[TEXT] {4}\n12\n)\nc OK FETCH completed.\n"
    );
}

#[tokio::test]
async fn after_ten_errors_the_server_hangs_up() {
    let sandbox = start().await;
    let mut peer = selected(&sandbox).await;
    for number in 1..10 {
        assert_eq!(
            peer.command(&format!("a{number} FETCH")).await,
            format!("a{number} BAD Command Argument Error. 11\n")
        );
    }
    peer.send("last NONSENSE\r\n").await;
    assert!(peer.until_closed().await.ends_with("* BYE Connection closed. 14\r\n"));
}

#[tokio::test]
async fn a_synchronising_literal_is_asked_for_and_one_that_is_too_large_is_refused_unread() {
    let sandbox = start().await;
    let mut peer = selected(&sandbox).await;
    assert_eq!(peer.ask("a APPEND Drafts {10}").await, "+ Ready for additional command text.");
    assert_eq!(peer.ask("Subject: x").await, "a OK [APPENDUID 18 1] APPEND completed.");
    assert_eq!(
        peer.ask("b APPEND Drafts {99999999}").await,
        "b NO Maximum size of appendable message has been exceeded"
    );
    assert_eq!(peer.command("c NOOP").await, "c OK NOOP completed.\n");
}

#[tokio::test]
async fn every_fault_of_imap_shows() {
    let sandbox = start().await;
    let token = app_token(&sandbox).await;
    let login = format!("a AUTHENTICATE XOAUTH2 {}", xoauth2(ALICE, &token));
    let set = |name, value| sandbox.faults().set(name, value).unwrap();

    set(FaultName::ImapAuthReject, Some("1"));
    assert_eq!(greeted(&sandbox).await.command(&login).await, "a NO AUTHENTICATE failed.\n");
    assert_eq!(greeted(&sandbox).await.command(&login).await, "a OK AUTHENTICATE completed.\n");

    set(FaultName::ImapChallengeJson, Some("1"));
    let mut peer = greeted(&sandbox).await;
    assert!(peer.ask(&login).await.starts_with("+ eyJ"));
    assert_eq!(peer.ask("").await, "a NO AUTHENTICATE failed.");

    set(FaultName::ImapThrottle, Some("5000"));
    let mut peer = greeted(&sandbox).await;
    peer.command(&login).await;
    assert_eq!(peer.command("b NOOP").await, "b NO Request is throttled. Suggested Backoff Time: 5000 milliseconds\n");
    peer.send("c NOOP\r\n").await;
    assert_eq!(
        peer.until_closed().await,
        "c BAD Request is throttled. Suggested Backoff Time: 5000 milliseconds\r\n* BYE Connection closed. 14\r\n"
    );
    sandbox.faults().clear_all();

    set(FaultName::ImapNotConnected, Some(ALICE));
    let mut peer = greeted(&sandbox).await;
    peer.command(&login).await;
    assert_eq!(peer.command("b SELECT INBOX").await, "b BAD User is authenticated but not connected.\n");
    sandbox.faults().clear_all();

    set(FaultName::ImapEstimatedSize, None);
    sandbox.deliver(ALICE, "INBOX", MAIL);
    let answer = selected(&sandbox).await.command("b FETCH 1 (RFC822.SIZE RFC822)").await;
    assert!(answer.contains(&format!("RFC822 {{{}}}", MAIL.len())), "{answer}");
    assert!(!answer.contains(&format!("RFC822.SIZE {} ", MAIL.len())), "{answer}");
    sandbox.faults().clear_all();

    set(FaultName::ImapDropAfterLogin, None);
    let mut peer = greeted(&sandbox).await;
    peer.command(&login).await;
    assert_eq!(peer.until_closed().await, "");
    sandbox.faults().clear_all();

    set(FaultName::ImapByeGreeting, Some("1"));
    let peer = Peer::tls(sandbox.imap_address(), client_config(&sandbox)).await;
    assert_eq!(peer.until_closed().await, "* BYE Server Unavailable. 15\r\n");

    set(FaultName::ImapPreauth, None);
    let mut peer = Peer::tls(sandbox.imap_address(), client_config(&sandbox)).await;
    assert!(peer.line().await.starts_with("* PREAUTH "));
    sandbox.faults().clear_all();

    set(FaultName::ImapEndlessLine, None);
    let mut peer = Peer::tls(sandbox.imap_address(), client_config(&sandbox)).await;
    let endless = peer.until(&"A".repeat(1 << 20)).await;
    assert!(!endless.contains('\n'));
    sandbox.faults().clear_all();

    set(FaultName::ImapSilent, None);
    let mut peer = Peer::tls(sandbox.imap_address(), client_config(&sandbox)).await;
    peer.send("a CAPABILITY\r\n").await;
    let silence = tokio::time::timeout(Duration::from_millis(100), peer.line()).await;
    assert!(silence.is_err(), "it spoke");
}

#[tokio::test]
async fn logins_are_counted_by_how_they_ended() {
    let sandbox = start().await;
    let _peer = selected(&sandbox).await;
    greeted(&sandbox).await.command("a LOGIN a b").await;
    let tally = sandbox.tally();
    let imap = crate::base::Protocol::Imap;
    assert_eq!((tally.logins.get(&imap), tally.refused_logins.get(&imap)), (Some(&1), Some(&1)));
    eventually("one is open", || sandbox.tally().open_connections == 1).await;
}
