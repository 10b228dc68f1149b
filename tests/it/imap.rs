//! IMAP, the whole road: what is heard when the mailbox does not open, and that nothing is changed or lost once it has.

use std::time::{Duration, Instant};

use postern::base::Protocol;

use crate::common::{Peer, World, eventually, plain, reference};

const ALICE: &str = "alice@contoso.test";
const BOB: &str = "bob@contoso.test";
const SHARED: &str = "shared@contoso.test";

fn logins(world: &World) -> u64 {
    world.sandbox.tally().logins.get(&Protocol::Imap).copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_exchange_lets_in_but_does_not_connect_is_tried_once_more_and_then_told() {
    let world = World::start().await;
    let (alices, bobs) = (world.issue(ALICE).await, world.issue(BOB).await);
    world.fault("imap-not-connected=alice@contoso.test");
    let (_imap, told) = world.imap(ALICE, &alices).await;
    assert!(told.starts_with("in NO [UNAVAILABLE] "), "{told}");
    reference(&told);
    assert_eq!(logins(&world), 2, "one attempt and one more with a new token");
    assert_eq!(world.sandbox.tally().token_requests.values().sum::<u64>(), 2);
    let (_imap, told) = world.imap(BOB, &bobs).await;
    assert!(told.starts_with("in OK "), "{told}");
    world.sandbox.faults().clear_all();
    let (_imap, told) = world.imap(ALICE, &alices).await;
    assert!(told.starts_with("in OK "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_of_exchange_is_told_as_trouble_and_the_client_may_try_again_at_once() {
    for fault in [
        "imap-throttle",
        "imap-throttle=5",
        "imap-bye-greeting",
        "imap-preauth",
        "imap-drop-after-login",
        "imap-endless-line",
        "imap-endless-line=login",
        "mail-unreachable",
        "tls-untrusted",
        "tls-expired",
        "tls-wrong-name",
    ] {
        let world = World::start().await;
        let password = world.issue(ALICE).await;
        world.fault(fault);
        let began = Instant::now();
        let (mut imap, told) = world.imap(ALICE, &password).await;
        assert!(told.starts_with("in NO [UNAVAILABLE] "), "{fault}: {told}");
        assert!(began.elapsed() < Duration::from_secs(20), "{fault}: {:?}", began.elapsed());
        for hidden in ["contoso", "127.0.0.1", "throttled", "BYE", "ertificate"] {
            assert!(!told.contains(hidden), "{fault}: {told}");
        }
        reference(&told);
        // The connection stays, and the same login holds on it once the trouble is over.
        world.sandbox.faults().clear_all();
        let told = imap.imap(&format!("again LOGIN {ALICE} {password}")).await;
        assert!(told.starts_with("again OK [CAPABILITY "), "{fault}: {told}");
        assert!(imap.imap("s SELECT INBOX").await.contains("s OK "), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_say_nothing_are_given_up_within_45_seconds() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    for fault in ["imap-silent", "pop-silent", "smtp-silent"] {
        world.fault(fault);
    }
    let began = Instant::now();
    let mut smtp = world.smtp(ALICE, &password).await;
    let ((_imap, by_imap), (_pop3, by_pop3), by_smtp) = tokio::join!(
        world.imap(ALICE, &password),
        world.pop3(ALICE, &password),
        smtp.smtp("MAIL FROM:<alice@contoso.test>")
    );
    assert!(by_imap.starts_with("in NO [UNAVAILABLE] "), "{by_imap}");
    assert!(by_pop3.starts_with("-ERR [SYS/TEMP] "), "{by_pop3}");
    assert!(by_smtp.starts_with("451 4.3.0 "), "{by_smtp}");
    assert!(began.elapsed() < Duration::from_secs(45), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn capabilities_after_login_are_those_of_exchange_without_the_ones_that_break_old_clients() {
    for fault in ["", "imap-greeting-2026"] {
        let world = World::start().await;
        let password = world.issue(ALICE).await;
        if !fault.is_empty() {
            world.fault(fault);
        }
        let (mut imap, told) = world.imap(ALICE, &password).await;
        let (list, _) =
            told.strip_prefix("in OK [CAPABILITY ").unwrap_or_else(|| panic!("{told}")).split_once(']').unwrap();
        let words: Vec<&str> = list.split(' ').collect();
        for shown in ["IMAP4rev1", "SASL-IR", "UIDPLUS", "MOVE", "IDLE", "NAMESPACE", "LITERAL+"] {
            assert!(words.contains(&shown), "{fault}: {shown} is not in {list}");
        }
        for word in words {
            let hidden =
                ["ENABLE", "IMAP4rev2", "LOGINDISABLED", "STARTTLS"].contains(&word) || word.starts_with("AUTH=");
            assert!(!hidden, "{fault}: {word} is in {list}");
        }
        assert!(imap.imap("x NOOP").await.ends_with("x OK NOOP completed."));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_token_reaches_the_client_in_exchanges_words() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    let (mut imap, told) = world.imap(ALICE, &password).await;
    assert!(told.starts_with("in OK "), "{told}");
    assert!(imap.imap("s SELECT INBOX").await.contains("s OK "));
    world.sandbox.expire_sessions();
    assert_eq!(imap.rest().await, "* BYE Session invalidated - AccessTokenExpired\r\n");
    // The client comes back by itself and is let in.
    assert!(world.imap(ALICE, &password).await.1.starts_with("in OK "));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_the_login_in_the_same_segment_is_kept() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    let behind = "b SELECT INBOX\r\nc STATUS INBOX (MESSAGES)\r\nd NOOP\r\n";
    let literal = format!("a LOGIN {{{}+}}\r\n{ALICE} {{{}+}}\r\n{password}\r\n", ALICE.len(), password.len());
    for login in [
        format!("a LOGIN {ALICE} {password}\r\n"),
        literal,
        format!("a AUTHENTICATE PLAIN {}\r\n", plain(ALICE, &password)),
    ] {
        let whole = format!("{login}{behind}");
        for cut in [0, login.len() - 1, login.len(), login.len() + 1, login.len() + 17, whole.len()] {
            let mut imap = world.connect(Protocol::Imap, "none").await;
            imap.line().await;
            imap.send(&whole[..cut]).await;
            // Two writes; whether they come as two segments is not ours to say.
            tokio::task::yield_now().await;
            imap.send(&whole[cut..]).await;
            let mut tagged = Vec::new();
            while tagged.len() < 4 {
                let line = imap.line().await;
                assert!(!line.is_empty(), "it ended after {tagged:?}");
                if !line.starts_with('*') {
                    tagged.push(line);
                }
            }
            for (line, tag) in tagged.iter().zip(["a OK ", "b OK ", "c OK ", "d OK "]) {
                assert!(line.starts_with(tag), "cut at {cut}: {tagged:?}");
            }
        }
    }
}

/// A message with everything in it that could be taken for protocol.
fn message(octets: usize) -> Vec<u8> {
    let mut message = b"Subject: large\r\nFrom: alice@contoso.test\r\n\r\n".to_vec();
    let traps: [&[u8]; 5] =
        [b"f OK FETCH completed.\r\n", b"* BYE no\r\n", b"{999}\r\n", b".\r\n", b"\xff\xfe\x01 \"\\\r\n"];
    let mut number: usize = 0;
    while message.len() < octets {
        message.extend_from_slice(traps[number % traps.len()]);
        message.extend(std::iter::repeat_n(b'a' + (number % 26) as u8, number % 300));
        message.extend_from_slice(b"\r\n");
        number += 1;
    }
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn five_megabytes_go_up_and_come_down_octet_for_octet() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    let message = message(5 << 20);
    for plus in ["", "+"] {
        let (mut imap, told) = world.imap(ALICE, &password).await;
        assert!(told.starts_with("in OK "), "{told}");
        let folder = format!("up{}", plus.len());
        assert!(imap.imap(&format!("c CREATE {folder}")).await.starts_with("c OK "));
        imap.send(format!("u APPEND {folder} {{{}{plus}}}\r\n", message.len())).await;
        if plus.is_empty() {
            assert!(imap.line().await.starts_with("+ "));
        }
        imap.send(&message).await;
        imap.send("\r\n").await;
        let mut told = imap.line().await;
        while told.starts_with('*') {
            told = imap.line().await;
        }
        assert!(told.starts_with("u OK "), "{told}");
        let kept = world.sandbox.messages(ALICE, &folder);
        assert!(kept.len() == 1 && kept[0] == message, "what Exchange has is not what was sent");

        assert!(imap.imap(&format!("s SELECT {folder}")).await.contains("* 1 EXISTS"));
        imap.send("f FETCH 1 BODY.PEEK[]\r\nn NOOP\r\n").await;
        let first = imap.line().await;
        assert!(first.ends_with(&format!("{{{}}}", message.len())), "{first}");
        assert!(imap.octets(message.len()).await == message, "what came back is not what was sent");
        assert_eq!(imap.line().await, ")");
        assert!(imap.line().await.starts_with("f OK "));
        assert!(imap.line().await.starts_with("n OK "));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f18_a_client_that_does_not_read_loses_nothing_and_holds_nobody_up() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    let message = message(8 << 20);
    world.sandbox.deliver(ALICE, "INBOX", &message);
    let (mut lazy, _) = world.imap(ALICE, &password).await;
    assert!(lazy.imap("s SELECT INBOX").await.contains("* 1 EXISTS"));
    lazy.send("f FETCH 1 BODY.PEEK[]\r\ng FETCH 1 BODY.PEEK[]\r\n").await;
    // Others are served while it does not read.
    for _ in 0..3 {
        let (mut other, _) = world.imap(ALICE, &password).await;
        assert!(other.imap("s SELECT INBOX").await.contains("s OK "));
    }
    for tag in ["f OK ", "g OK "] {
        let first = lazy.line().await;
        assert!(first.ends_with(&format!("{{{}}}", message.len())), "{first}");
        assert!(lazy.octets(message.len()).await == message);
        assert_eq!(lazy.line().await, ")");
        assert!(lazy.line().await.starts_with(tag));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_wakes_and_done_ends_it_however_they_are_cut() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    let (mut imap, _) = world.imap(ALICE, &password).await;
    assert!(imap.imap("s SELECT INBOX").await.contains("* 0 EXISTS"));
    imap.send("i IDLE\r\n").await;
    assert!(imap.line().await.starts_with("+ "));
    world.sandbox.deliver(ALICE, "INBOX", b"Subject: new\r\n\r\n");
    let mut told = imap.line().await;
    while !told.contains("EXISTS") {
        told = imap.line().await;
    }
    assert_eq!(told, "* 1 EXISTS");
    imap.send("DONE\r\nn NOOP\r\n").await;
    let mut told = imap.line().await;
    while told.starts_with('*') {
        told = imap.line().await;
    }
    assert!(told.starts_with("i OK "), "{told}");
    assert!(imap.line().await.starts_with("n OK "));
    imap.send("j IDLE\r\nDONE\r\nk LOGOUT\r\n").await;
    let told = imap.rest().await;
    assert!(told.contains("j OK ") && told.ends_with("k OK LOGOUT completed.\r\n"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_bye_within_five_seconds_of_losing_its_right() {
    for act in ["revoke", "disable", "remove"] {
        let world = World::start().await;
        let issued = world.issue_with(ALICE, |_| {}).await;
        let password = issued.password.expose().clone();
        let (mut idling, _) = world.imap(ALICE, &password).await;
        assert!(idling.imap("s SELECT INBOX").await.contains("s OK "));
        idling.send("i IDLE\r\n").await;
        assert!(idling.line().await.starts_with("+ "));
        let (mut quiet, _) = world.imap(ALICE, &password).await;
        let (mut pop3, _) = world.pop3(ALICE, &password).await;
        let bobs = world.issue(BOB).await;
        let (mut bob, _) = world.imap(BOB, &bobs).await;

        let began = Instant::now();
        let alice = ALICE.parse().unwrap();
        match act {
            "revoke" => drop(world.ops.revoke_password(&issued.row.id).await.unwrap()),
            "disable" => world.ops.disable_mailbox(&alice).await.unwrap(),
            _ => assert_eq!(world.ops.remove_mailbox(&alice).await.unwrap().revoked_passwords, 1),
        }
        for session in [&mut idling, &mut quiet] {
            let told = session.rest().await;
            assert!(told.starts_with("* BYE ") && told.ends_with("\r\n"), "{act}: {told}");
        }
        assert_eq!(pop3.rest().await, "", "{act}: POP3 has no word for it");
        assert!(began.elapsed() < Duration::from_secs(5), "{act}: {:?}", began.elapsed());
        eventually("Exchange's side to be closed", async || world.sandbox.tally().open_connections == 1).await;
        assert!(bob.imap("n NOOP").await.starts_with("n OK "), "{act}: others are not touched");

        let (_, told) = world.imap(ALICE, &password).await;
        match act {
            "disable" => assert!(told.starts_with("in NO [CONTACTADMIN] "), "{told}"),
            _ => assert!(told.starts_with("in NO [AUTHENTICATIONFAILED] "), "{told}"),
        }
        if act == "disable" {
            world.ops.enable_mailbox(&alice).await.unwrap();
            assert!(world.imap(ALICE, &password).await.1.starts_with("in OK "));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_reaches_its_end_ends_its_session() {
    let world = World::start().await;
    let issued = world
        .issue_with(ALICE, |request| request.expires_at = Some(chrono::Utc::now() + chrono::TimeDelta::seconds(3)))
        .await;
    let (mut imap, told) = world.imap(ALICE, issued.password.expose()).await;
    assert!(told.starts_with("in OK "), "{told}");
    assert!(imap.rest().await.starts_with("* BYE "));
    let (_, told) = world.imap(ALICE, issued.password.expose()).await;
    assert!(told.starts_with("in NO [AUTHENTICATIONFAILED] "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f27_a_mailbox_is_known_by_its_address_its_aliases_and_behind_a_backslash() {
    let world = World::start().await;
    world
        .ops
        .add_mailbox(&ALICE.parse().unwrap(), None, &["scan-01".to_owned(), "old@fabrikam.test".to_owned()], None)
        .await
        .unwrap();
    let (alices, shareds) = (world.issue(ALICE).await, world.issue(SHARED).await);
    world.sandbox.deliver(SHARED, "INBOX", b"Subject: for all\r\n\r\n");
    for (login, password, messages) in [
        (ALICE, &alices, Some(0)),
        ("ALICE@Contoso.Test", &alices, Some(0)),
        ("scan-01", &alices, Some(0)),
        ("SCAN-01", &alices, Some(0)),
        ("old@fabrikam.test", &alices, Some(0)),
        (SHARED, &shareds, Some(1)),
        (r"alice@contoso.test\shared@contoso.test", &shareds, Some(1)),
        ("alice@contoso.test/Shared@contoso.test", &shareds, Some(1)),
        (r"CONTOSO\scan-01", &alices, Some(0)),
        // The password decides, and what stands on the left never does.
        (r"alice@contoso.test\shared@contoso.test", &alices, None),
        (r"shared@contoso.test\alice@contoso.test", &shareds, None),
        (SHARED, &alices, None),
        (r"a\b\shared@contoso.test", &shareds, None),
        (r"\shared@contoso.test", &shareds, None),
        (r"alice@contoso.test\", &alices, None),
        ("alice", &alices, None),
    ] {
        let (mut imap, told) = world.imap(login, password).await;
        match messages {
            Some(messages) => {
                assert!(told.starts_with("in OK "), "{login}: {told}");
                assert!(imap.imap("s SELECT INBOX").await.contains(&format!("* {messages} EXISTS")), "{login}");
            }
            None => assert!(told.starts_with("in NO [AUTHENTICATIONFAILED] "), "{login}: {told}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_refuse_in_the_words_of_a_wrong_password() {
    let world = World::start().await;
    let only_smtp = world.issue_with(ALICE, |request| request.protocols = vec![Protocol::Smtp]).await;
    let elsewhere = world.issue_with(ALICE, |request| request.networks = vec!["192.0.2.0/24".parse().unwrap()]).await;
    let here = world.issue_with(ALICE, |request| request.networks = vec!["127.0.0.0/8".parse().unwrap()]).await;
    let (_, wrong) = world.imap(ALICE, "aaaaa-aaaaa-aaaaa-aaaaa").await;
    for issued in [&only_smtp, &elsewhere] {
        let (_, told) = world.imap(ALICE, issued.password.expose()).await;
        assert_eq!(told, wrong);
    }
    assert!(world.imap(ALICE, here.password.expose()).await.1.starts_with("in OK "));
    drop(world.smtp(ALICE, only_smtp.password.expose()).await);
    let (_, by_pop3) = world.pop3(ALICE, only_smtp.password.expose()).await;
    assert!(by_pop3.starts_with("-ERR [AUTH] "), "{by_pop3}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_protocol_is_served_in_each_mode_of_tls() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    for protocol in Protocol::ALL {
        let mut clear = world.connect(protocol, "starttls").await;
        clear.line().await;
        let (ask, answer) = match protocol {
            Protocol::Imap => ("t STARTTLS", "t OK"),
            Protocol::Pop3 => ("STLS", "+OK"),
            Protocol::Smtp => ("STARTTLS", "220"),
        };
        if protocol == Protocol::Smtp {
            assert!(clear.smtp("EHLO pc").await.contains("250-STARTTLS"));
        }
        assert!(clear.ask(ask).await.starts_with(answer));
        let inside = Peer::new(world.handshake(clear.stream.into_inner()).await);
        log_in(inside, protocol, &password, false).await;
        log_in(world.connect_tls(protocol).await, protocol, &password, true).await;
        log_in(world.connect(protocol, "none").await, protocol, &password, true).await;
    }
}

async fn log_in<S>(mut peer: Peer<S>, protocol: Protocol, password: &str, greeted: bool)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    if greeted {
        peer.line().await;
    }
    let response = plain(ALICE, password);
    match protocol {
        Protocol::Imap => {
            let told = peer.imap(&format!("a AUTHENTICATE PLAIN {response}")).await;
            assert!(told.starts_with("a OK "), "{told}");
        }
        Protocol::Pop3 => {
            let told = peer.ask(&format!("AUTH PLAIN {response}")).await;
            assert!(told.starts_with("+OK"), "{told}");
        }
        Protocol::Smtp => {
            let offered = peer.smtp("EHLO pc").await;
            assert!(offered.contains("AUTH "), "{offered}");
            assert!(greeted || !offered.contains("STARTTLS"), "{offered}");
            assert!(peer.smtp(&format!("AUTH PLAIN {response}")).await.starts_with("235 "));
        }
    }
}
