//! How many connections there may be, and how long one may take to log in.

use std::time::{Duration, Instant};

use futures::FutureExt;
use postern::base::Protocol;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::common::{Peer, Plan, World, eventually, plain, turn_clock};

const ALICE: &str = "alice@contoso.test";

async fn limited(limits: &str) -> World {
    World::planned(Plan { more: format!("[limits]\n{limits}\n"), ..Plan::default() }).await
}

/// How a connection that is one too many is answered.
fn too_many(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Imap => "* BYE Too many connections",
        Protocol::Pop3 => "-ERR [SYS/TEMP] Too many connections",
        Protocol::Smtp => "421 4.7.0 Too many connections",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_too_many_before_login_is_told_so_in_clear_and_inside_tls() {
    let world = limited("per_address_before_login = 2").await;
    let password = world.issue(ALICE).await;
    // Logged-in sessions are not counted.
    let mut sessions = Vec::new();
    for _ in 0..5 {
        let (imap, told) = world.imap(ALICE, &password).await;
        assert!(told.starts_with("in OK "), "{told}");
        sessions.push(imap);
    }
    let mut first = world.connect(Protocol::Imap, "none").await;
    assert!(first.line().await.starts_with("* OK "));
    let mut second = world.connect(Protocol::Smtp, "starttls").await;
    assert!(second.reply().await.starts_with("220 "));
    for protocol in Protocol::ALL {
        for tls in ["none", "starttls"] {
            let told = world.connect(protocol, tls).await.rest().await;
            assert!(told.starts_with(too_many(protocol)) && told.ends_with("\r\n"), "{protocol} {tls}: {told}");
        }
        let told = world.connect_tls(protocol).await.rest().await;
        assert!(told.starts_with(too_many(protocol)), "{protocol} implicit: {told}");
    }
    // A login gives the place back, and so does going away.
    assert!(first.imap(&format!("a LOGIN {ALICE} {password}")).await.starts_with("a OK "));
    let mut third = world.connect(Protocol::Pop3, "none").await;
    assert!(third.line().await.starts_with("+OK "));
    assert!(world.connect(Protocol::Pop3, "none").await.rest().await.starts_with(too_many(Protocol::Pop3)));
    drop(second);
    eventually("the place to be free", async || {
        world.connect(Protocol::Pop3, "none").await.line().await.starts_with("+OK ")
    })
    .await;
    for session in &mut sessions {
        assert!(session.imap("n NOOP").await.starts_with("n OK "));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_in_all_are_bounded_whoever_has_them() {
    let world = limited("connections = 3").await;
    let password = world.issue(ALICE).await;
    let (imap, _) = world.imap(ALICE, &password).await;
    let (mut pop3, _) = world.pop3(ALICE, &password).await;
    let mut smtp = world.smtp(ALICE, &password).await;
    for protocol in Protocol::ALL {
        let told = world.connect(protocol, "none").await.rest().await;
        assert!(told.starts_with(too_many(protocol)), "{told}");
    }
    assert!(smtp.smtp("NOOP").await.starts_with("250 "));
    assert!(pop3.ask("STAT").await.starts_with("+OK"));
    drop(imap);
    eventually("a place to be free", async || {
        let mut again = world.connect(Protocol::Imap, "none").await;
        again.line().await.starts_with("* OK ")
            && again.imap(&format!("a LOGIN {ALICE} {password}")).await.starts_with("a OK ")
    })
    .await;
}

#[tokio::test]
async fn f31_who_does_not_log_in_in_time_is_cut_however_busy_it_looks() {
    let world = limited("login_seconds = 30").await;
    let password = world.issue(ALICE).await;
    let (mut logged_in, _) = world.imap(ALICE, &password).await;
    let mut smtp = world.smtp(ALICE, &password).await;

    // Those that say nothing, or do not even begin the handshake.
    let mut silent = Vec::new();
    for (protocol, expected) in [(Protocol::Imap, "* BYE "), (Protocol::Pop3, "-ERR "), (Protocol::Smtp, "421 4.4.2 ")]
    {
        let mut peer = world.connect(protocol, "none").await;
        peer.line().await;
        silent.push((peer, format!("a silent {protocol} client"), expected));
        let stream = TcpStream::connect(world.address(protocol, "implicit")).await.unwrap();
        silent.push((Peer::new(stream), format!("an {protocol} client without a handshake"), ""));
    }
    // Those that say something all the time, which must not buy them any.
    let mut busy = Vec::new();
    for (protocol, words, answer) in [
        (Protocol::Imap, "a NOOP\r\n", "a OK"),
        (Protocol::Pop3, "USER alice\r\n", "+OK"),
        (Protocol::Smtp, "NOOP\r\n", "250 "),
        (Protocol::Smtp, "x", ""),
    ] {
        let mut peer = world.connect(protocol, "none").await;
        peer.line().await;
        busy.push((peer, words, answer));
    }
    for _ in 0..3 {
        turn_clock(Duration::from_secs(9)).await;
        for (peer, words, answer) in &mut busy {
            peer.send(*words).await;
            if !answer.is_empty() {
                let told = peer.line().await;
                assert!(told.starts_with(*answer), "cut too early: {told}");
            }
        }
    }
    for (peer, who, _) in &mut silent {
        let mut octet = [0];
        let early = peer.stream.read(&mut octet).now_or_never();
        assert!(early.is_none(), "{who} was cut too early");
    }
    turn_clock(Duration::from_secs(4)).await;
    let began = Instant::now();
    for (peer, who, expected) in &mut silent {
        let told = peer.rest().await;
        assert!(told.starts_with(*expected) && expected.is_empty() == told.is_empty(), "{who}: {told}");
    }
    for (peer, words, _) in &mut busy {
        let told = peer.rest().await;
        assert!(!told.is_empty(), "{words}");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // Whoever has logged in is not concerned.
    assert!(logged_in.imap("n NOOP").await.starts_with("n OK "));
    assert!(smtp.smtp("NOOP").await.starts_with("250 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_slow_clients_do_not_keep_a_good_one_waiting() {
    let world = limited("per_address_before_login = 400").await;
    let password = world.issue(ALICE).await;
    let mut slow = Vec::new();
    for number in 0..300 {
        let protocol = Protocol::ALL[number % 3];
        let mut peer = world.connect(protocol, "none").await;
        peer.send(["a LOGIN al", "USER", "EHLO pc\r\nAUTH PLAIN "][number % 3]).await;
        slow.push(peer);
    }
    let began = Instant::now();
    assert!(world.imap(ALICE, &password).await.1.starts_with("in OK "));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(slow.len(), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_may_fail_ten_times_and_then_ends() {
    let world = World::start().await;
    world.issue(ALICE).await;
    let by = async |protocol: Protocol| {
        let mut peer = world.connect(protocol, "none").await;
        peer.line().await;
        if protocol == Protocol::Smtp {
            peer.smtp("EHLO pc").await;
        }
        // Each with a name of its own, so that it is the connection that is counted.
        for number in 1..=10 {
            let name = format!("{protocol}-{number}@contoso.test");
            let told = match protocol {
                Protocol::Imap => peer.imap(&format!("a LOGIN {name} wrong")).await,
                Protocol::Pop3 => {
                    assert!(peer.ask(&format!("USER {name}")).await.starts_with("+OK"));
                    peer.ask("PASS wrong").await
                }
                Protocol::Smtp => peer.smtp(&format!("AUTH PLAIN {}", plain(&name, "wrong"))).await,
            };
            let (wrong, too_many) = match protocol {
                Protocol::Imap => ("a NO [AUTHENTICATIONFAILED] ", "a NO [LIMIT] "),
                Protocol::Pop3 => ("-ERR [AUTH] ", "-ERR [LOGIN-DELAY] "),
                Protocol::Smtp => ("535 5.7.8 ", "421 4.7.0 "),
            };
            let expected = if number < 10 { wrong } else { too_many };
            assert!(told.starts_with(expected), "{protocol} {number}: {told}");
        }
        let rest = peer.rest().await;
        assert!(rest.is_empty() || protocol == Protocol::Imap && rest.starts_with("* BYE "), "{protocol}: {rest}");
    };
    tokio::join!(by(Protocol::Imap), by(Protocol::Pop3), by(Protocol::Smtp));
    assert_eq!(world.sandbox.tally().connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_cannot_speak_through_a_browser() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    for (protocol, body) in [
        (Protocol::Imap, format!("a LOGIN {ALICE} {password}\r\nb SELECT INBOX\r\n")),
        (Protocol::Pop3, format!("USER {ALICE}\r\nPASS {password}\r\nSTAT\r\n")),
        (Protocol::Smtp, format!("EHLO pc\r\nAUTH PLAIN {}\r\nMAIL FROM:<{ALICE}>\r\n", plain(ALICE, &password))),
    ] {
        for verb in ["POST", "GET", "OPTIONS"] {
            let mut peer = world.connect(protocol, "none").await;
            let marker = "<script>reflected</script>";
            peer.send(format!("{verb} /{marker} HTTP/1.1\r\nHost: 127.0.0.1\r\nX: {marker}\r\n\r\n{body}")).await;
            let told = peer.rest().await;
            assert!(!told.contains("reflected") && !told.contains(ALICE), "{protocol} {verb}: {told}");
            assert!(told.lines().count() <= 2, "{protocol} {verb}: {told}");
        }
    }
    let tally = world.sandbox.tally();
    assert_eq!((tally.connections, tally.access_tokens.len()), (0, 0), "nothing of the body was executed");
}
