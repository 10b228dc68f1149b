//! The faults of the nearest peer, each of which must be impossible here.
//!
//! | fault | what must not happen | held by |
//! | --- | --- | --- |
//! | F1 | a ceiling on sessions, later ones hang | `f01_…` here |
//! | F2 | a short backlog, clients at once get no greeting | `f02_…` here |
//! | F3 | one failed look-up of a name drops other sessions | `f03_…` here |
//! | F4 | SIGHUP ends the process | `f04_…` here |
//! | F5 | octets lost at the switch from login to raw copy | `f05_…` in `front`, `imap::what_follows_the_login_in_the_same_segment_is_kept` |
//! | F6 | a pipelined password is forwarded upstream | `f06_f07_…` in `front`, `f06_…` here |
//! | F7 | AUTH before EHLO skips the upstream's STARTTLS | `f06_f07_…` in `front`, `delivery::trouble_at_mail_is_temporary_and_over_with_its_cause` |
//! | F8 | text behind the upstream's 220 to STARTTLS is believed | the same test of `delivery` (`smtp-starttls-inject`) |
//! | F9 | text behind the client's STARTTLS is executed | `f09_…` in `front`, `f09_…` here |
//! | F10 | many first logins make many token requests | `tokens::f10_…` (two) |
//! | F11 | a rejected token stays cached | `tokens::f11_…` |
//! | F12 | a 400 of the token service deletes the refresh token | `tokens::f12_…` (three) |
//! | F13 | a token failure is told as a permanent 535 | `tokens::f12_f13_…` and all that use its `hears` |
//! | F14 | the first password tried becomes the account's | `f14_…` here |
//! | F15 | a wrong password wipes the owner's tokens | `f15_…` here |
//! | F16 | unknown account and wrong password differ | `f16_…` here (two) |
//! | F17 | a login costs a quarter of a CPU second | `f17_…` here |
//! | F18 | no back-pressure | `imap::f18_…`, `relay::tests` |
//! | F19 | no line limit before login | `f19_…` in `front`, `f19_…` here |
//! | F20 | an upstream connection before any credential | `f20_…` here |
//! | F21 | XOAUTH2 challenges reach the client | `f21_…` here |
//! | F22 | a client that speaks before the greeting is cut | `f22_…` in `front` |
//! | F23 | a password that is not UTF-8 drops the connection | `f23_…` in `front` |
//! | F24 | a cancelled AUTH LOGIN is taken for a user name | `f24_…` in `front` |
//! | F25 | a quoted password works by one protocol and not by another | `f25_…` in `front` |
//! | F26 | mechanisms it does not know go to Exchange | `f26_…` in `front`, `f26_…` here |
//! | F27 | user names are case-sensitive, no aliases | `imap::f27_…` |
//! | F28 | USER and PASS in one packet fail | `f28_…` in `front`, `pop3::f28_…` |
//! | F29 | upstream down is end-of-file for the client | `f29_…` here |
//! | F30 | the file with the secret is readable by all, and rewritten | `f30_…` here |
//! | F31 | no time limit on clients, 600 s on the token service | `tokens::f31_…`, `limits::f31_…`, `imap::servers_that_say_nothing_…` |
//! | F32 | the redirect's `state` is not compared | comes with the sign-in by browser, which this version does not have |

use std::time::{Duration, Instant};

use futures::future::join_all;
use postern::base::{Protocol, Secret};
use postern::store::SenderScope;

use crate::common::{Plan, World, eventually, plain, within};

const ALICE: &str = "alice@contoso.test";
const BOB: &str = "bob@contoso.test";

/// Room for many sockets, in this process and in those that it starts.
#[cfg(unix)]
fn raise_the_limit_on_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = soft.max(hard.min(16_384));
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).unwrap();
    assert!(wanted >= 4096, "{wanted} files are too few for this test");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn f01_six_hundred_sessions_opened_64_at_a_time_are_all_served() {
    raise_the_limit_on_files();
    let mut world = World::start().await;
    let password = world.issue(ALICE).await;
    let serving = crate::common::child::Serving::instead_of(&mut world, &["-q"]).await;
    let mut sessions = Vec::new();
    while sessions.len() < 600 {
        let batch = (0..64.min(600 - sessions.len())).map(|_| world.imap(ALICE, &password));
        for (imap, told) in within("64 logins at once", join_all(batch)).await {
            assert!(told.starts_with("in OK "), "session {}: {told}", sessions.len());
            sessions.push(imap);
        }
    }
    for (number, imap) in sessions.iter_mut().enumerate() {
        assert!(imap.imap("n NOOP").await.starts_with("n OK "), "session {number}");
    }
    assert_eq!(world.sandbox.tally().open_connections, 600);
    drop(sessions);
    eventually("all connections to be closed", async || world.sandbox.tally().open_connections == 0).await;
    assert!(world.imap(ALICE, &password).await.1.starts_with("in OK "));
    serving.signal(nix::sys::signal::Signal::SIGTERM);
    let (status, log) = serving.ended().await;
    assert!(status.success(), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f02_two_hundred_clients_at_once_all_hear_a_greeting() {
    let world =
        World::planned(Plan { more: "[limits]\nper_address_before_login = 1000\n".to_owned(), ..Plan::default() })
            .await;
    let began = Instant::now();
    let greeted = async |_| world.connect(Protocol::Imap, "none").await.line().await;
    for greeting in join_all((0..200).map(greeted)).await {
        assert!(greeting.starts_with("* OK "), "{greeting}");
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn f03_a_name_that_is_not_found_concerns_its_own_login_only() {
    // A second tenant, whose hosts do not exist.
    let edit = |text: String| {
        let (_, tenant) = text.split_once("[[tenant]]").unwrap();
        let tenant: String = tenant
            .lines()
            .take_while(|line| !line.starts_with("[[listener]]"))
            .map(|line| match line.split_once(" = ") {
                Some(("name", _)) => "name = \"lost\"\n".to_owned(),
                Some((key @ ("imap" | "pop3" | "smtp"), _)) => format!("{key} = \"no-such-host.invalid:993\"\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        format!("{text}\n[[tenant]]{tenant}")
    };
    let world = World::planned(Plan { edit, ..Plan::default() }).await;
    let lost = "carol@fabrikam.test";
    world.ops.add_mailbox(&lost.parse().unwrap(), Some("lost"), &[], None).await.unwrap();
    let (alices, carols) = (world.issue(ALICE).await, world.issue(lost).await);
    let (mut imap, _) = world.imap(ALICE, &alices).await;
    let (mut pop3, _) = world.pop3(ALICE, &alices).await;
    let mut smtp = world.smtp(lost, &carols).await;
    let from_lost = format!("MAIL FROM:<{lost}>");
    let ((_, by_imap), (_, by_pop3), by_smtp) =
        tokio::join!(world.imap(lost, &carols), world.pop3(lost, &carols), smtp.smtp(&from_lost));
    assert!(by_imap.starts_with("in NO [UNAVAILABLE] "), "{by_imap}");
    assert!(by_pop3.starts_with("-ERR [SYS/TEMP] "), "{by_pop3}");
    assert!(by_smtp.starts_with("451 4.3.0 "), "{by_smtp}");
    assert!(imap.imap("n NOOP").await.starts_with("n OK "));
    assert!(pop3.ask("STAT").await.starts_with("+OK"));
    assert!(world.imap(ALICE, &alices).await.1.starts_with("in OK "));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn f04_sighup_reads_the_certificate_anew_and_ends_nothing() {
    let mut world = World::start().await;
    let password = world.issue(ALICE).await;
    let mut serving = crate::common::child::Serving::instead_of(&mut world, &[]).await;
    let (mut before, _) = world.imap(ALICE, &password).await;
    for _ in 0..3 {
        serving.signal(nix::sys::signal::Signal::SIGHUP);
    }
    serving.says("the certificate was read anew").await;
    assert!(serving.runs());
    assert!(before.imap("n NOOP").await.starts_with("n OK "));
    let mut after = world.connect_tls(Protocol::Imap).await;
    assert!(after.line().await.starts_with("* OK "));
    assert!(after.imap(&format!("a LOGIN {ALICE} {password}")).await.starts_with("a OK "));
    serving.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(serving.ended().await.0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn f06_a_pipelined_password_is_read_here_and_goes_nowhere() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    let response = plain(ALICE, &password);
    let mut smtp = world.connect(Protocol::Smtp, "none").await;
    smtp.send(format!("EHLO pc\r\nAUTH PLAIN {response}\r\nMAIL FROM:<{ALICE}>\r\nRSET\r\nQUIT\r\n")).await;
    for expected in ["220 ", "250-", "235 ", "250 2.1.0", "250 2.0.0", "221 "] {
        let told = smtp.reply().await;
        assert!(told.starts_with(expected), "{told}");
    }
    let clear = world.sandbox.tally().clear_octets;
    let clear = String::from_utf8(clear).unwrap();
    assert!(!clear.contains(&response) && !clear.contains("AUTH"), "{clear}");
    assert!(clear.contains("STARTTLS"), "{clear}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f09_what_stands_behind_starttls_is_not_executed_inside() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    for (protocol, clear, go_on, inside, first) in [
        (Protocol::Imap, format!("a STARTTLS\r\nb LOGIN {ALICE} {password}\r\n"), "a OK", "c NOOP\r\n", "c OK"),
        (Protocol::Pop3, format!("STLS\r\nUSER {ALICE}\r\nPASS {password}\r\n"), "+OK", "STAT\r\n", "-ERR"),
        (
            Protocol::Smtp,
            format!("STARTTLS\r\nEHLO pc\r\nAUTH PLAIN {}\r\n", plain(ALICE, &password)),
            "220",
            "MAIL FROM:<a@b.test>\r\n",
            "5",
        ),
    ] {
        let mut peer = world.connect(protocol, "starttls").await;
        peer.line().await;
        if protocol == Protocol::Smtp {
            peer.smtp("EHLO pc").await;
        }
        peer.send(clear).await;
        let told = peer.line().await;
        assert!(told.starts_with(go_on), "{protocol}: {told}");
        let mut secured = crate::common::Peer::new(world.handshake(peer.stream.into_inner()).await);
        let told = secured.ask(inside.trim_end()).await;
        assert!(told.starts_with(first), "{protocol}: {told}");
    }
    assert_eq!(world.sandbox.tally().connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn f14_no_password_becomes_right_by_being_tried_and_no_mailbox_by_being_named() {
    let world = World::start().await;
    world.issue(ALICE).await;
    // The tenant has this mailbox and the application may open it, but it is not on the list.
    let not_listed = "scanner@contoso.test";
    for mailbox in [ALICE, BOB, not_listed, "nobody@contoso.test"] {
        for _ in 0..2 {
            let (_, told) = world.imap(mailbox, "aaaaa-bbbbb-ccccc-ddddd").await;
            assert!(told.starts_with("in NO [AUTHENTICATIONFAILED] "), "{mailbox}: {told}");
        }
    }
    let refused = world.ops.issue_password(postern::admin::ops::IssueRequest {
        senders: SenderScope::default(),
        scope: postern::store::UseScope::default(),
        owner: None,
        note: None,
        mailbox: not_listed.parse().unwrap(),
        label: "x".to_owned(),
        protocols: Vec::new(),
        networks: Vec::new(),
        expires_at: None,
        short: false,
        delivery: postern::store::DeliveryMode::Direct,
    });
    assert!(refused.await.is_err());
    let tally = world.sandbox.tally();
    assert_eq!((tally.connections, tally.access_tokens.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn f15_wrong_passwords_cost_the_owner_nothing() {
    let world = World::planned(Plan { grant: "authorization_code", ..Plan::default() }).await;
    let alice = ALICE.parse().unwrap();
    let token = Secret::new(world.sandbox.refresh_token_for(ALICE));
    world.ops.connect_with_refresh_token(&alice, token).await.unwrap();
    let password = world.issue(ALICE).await;
    let (mut open, told) = world.imap(ALICE, &password).await;
    assert!(told.starts_with("in OK "), "{told}");
    let asked = world.sandbox.tally().token_requests;
    // More than are answered as wrong passwords, from the owner's own address.
    let guesses = (0..12).map(async |_| world.imap(ALICE, "aaaaa-bbbbb-ccccc-ddddd").await.1);
    let told = join_all(guesses).await;
    let limited = told.iter().filter(|told| told.starts_with("in NO [LIMIT] ")).count();
    let wrong = told.iter().filter(|told| told.starts_with("in NO [AUTHENTICATIONFAILED] ")).count();
    assert_eq!((wrong, limited), (10, 2), "{told:?}");
    let began = Instant::now();
    let (_, told) = world.imap(ALICE, &password).await;
    assert!(told.starts_with("in OK "), "{told}");
    assert!(began.elapsed() < Duration::from_secs(2), "the right password does not wait: {:?}", began.elapsed());
    assert!(open.imap("n NOOP").await.starts_with("n OK "));
    assert_eq!(world.sandbox.tally().token_requests, asked, "the token is still the one of before");
    assert_eq!(world.ops.mailbox(&alice).await.unwrap().state, postern::admin::ops::MailboxState::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn f16_unknown_wrong_revoked_and_foreign_sound_the_same() {
    let world = World::start().await;
    let revoked = world.issue_with(ALICE, |_| {}).await;
    world.ops.revoke_password(&revoked.row.id).await.unwrap();
    let bobs = world.issue(BOB).await;
    let cases = [
        (ALICE, "aaaaa-bbbbb-ccccc-ddddd".to_owned()),
        ("nobody@contoso.test", "aaaaa-bbbbb-ccccc-ddddd".to_owned()),
        ("not an address", "x".to_owned()),
        (ALICE, revoked.password.expose().clone()),
        (ALICE, bobs),
    ];
    let mut heard = Vec::new();
    for (login, password) in &cases {
        let mut smtp = world.connect(Protocol::Smtp, "none").await;
        smtp.reply().await;
        smtp.smtp("EHLO pc").await;
        let by_smtp = smtp.smtp(&format!("AUTH PLAIN {}", plain(login, password))).await;
        heard.push((world.imap(login, password).await.1, world.pop3(login, password).await.1, by_smtp));
    }
    assert!(heard[0].0.starts_with("in NO [AUTHENTICATIONFAILED] "), "{heard:?}");
    assert!(heard[0].1.starts_with("-ERR [AUTH] "), "{heard:?}");
    assert!(heard[0].2.starts_with("535 5.7.8 "), "{heard:?}");
    heard.dedup();
    assert_eq!(heard.len(), 1, "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f16_unknown_and_known_logins_are_refused_in_the_same_time() {
    let world = World::start().await;
    world.issue(ALICE).await;
    let aliases: Vec<String> = (0..12).map(|number| format!("alias-{number:02}")).collect();
    world.ops.add_mailbox(&ALICE.parse().unwrap(), None, &aliases, None).await.unwrap();
    let timed = async |login: &str| {
        let mut pop3 = world.connect(Protocol::Pop3, "none").await;
        pop3.line().await;
        pop3.ask(&format!("USER {login}")).await;
        let began = Instant::now();
        assert!(pop3.ask("PASS aaaaa-bbbbb-ccccc-ddddd").await.starts_with("-ERR [AUTH] "));
        began.elapsed()
    };
    // The shortest of each kind, since a busy machine only makes it longer. Each name is new, so that no penalty has grown.
    let (mut known, mut unknown) = (Duration::MAX, Duration::MAX);
    for (number, alias) in aliases.iter().enumerate() {
        known = known.min(timed(alias).await);
        unknown = unknown.min(timed(&format!("nobody-{number:02}")).await);
    }
    assert!(known > Duration::from_millis(450), "{known:?}");
    assert!(known.abs_diff(unknown) < Duration::from_millis(10), "known {known:?}, unknown {unknown:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn f17_a_login_costs_little() {
    let mut world = World::start().await;
    let password = world.issue(ALICE).await;
    let serving = crate::common::child::Serving::instead_of(&mut world, &["-q"]).await;
    // User and system time, in ticks of a hundredth of a second.
    let ticks = || {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", serving.process())).unwrap();
        let fields: Vec<u64> =
            text.rsplit(')').next().unwrap().split_whitespace().filter_map(|field| field.parse().ok()).collect();
        // The fields behind the name begin with the state, which is no number, so utime is the eleventh of the numbers.
        fields[10] + fields[11]
    };
    drop(world.smtp(ALICE, &password).await);
    let before = ticks();
    for _ in 0..50 {
        drop(world.smtp(ALICE, &password).await);
    }
    let milliseconds = (ticks() - before) * 10 / 50;
    assert!(milliseconds < 25, "{milliseconds} ms of CPU for each login");
    serving.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(serving.ended().await.0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn f19_an_endless_line_is_cut_off() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut peer = world.connect(protocol, "none").await;
        peer.line().await;
        let (mut reading, mut writing) = tokio::io::split(peer.stream.into_inner());
        let written = tokio::spawn(async move {
            let mut octets = 0_usize;
            // The proxy closes; until then it may take what the buffers of two sockets hold.
            while octets < 64 << 20 && tokio::io::AsyncWriteExt::write_all(&mut writing, &[b'a'; 4096]).await.is_ok() {
                octets += 4096;
            }
            octets
        });
        let mut told = Vec::new();
        within("the end", async { drop(tokio::io::AsyncReadExt::read_to_end(&mut reading, &mut told).await) }).await;
        let octets = within("the writer to be stopped", written).await.unwrap();
        assert!(octets < 16 << 20, "{protocol}: {octets} octets were taken");
        assert!(told.len() < 4096, "{protocol}: {}", told.len());
    }
    assert_eq!(world.sandbox.tally().connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn f20_nothing_goes_out_before_a_credential_holds() {
    let world = World::start().await;
    let wrong = plain(ALICE, "aaaaa-bbbbb-ccccc-ddddd");
    for (protocol, words) in [
        (Protocol::Imap, "a CAPABILITY\r\nb ID NIL\r\nc SELECT INBOX\r\nd AUTHENTICATE PLAIN\r\n*\r\ne LOGIN alice@contoso.test wrong\r\nf LOGOUT\r\n".to_owned()),
        (Protocol::Pop3, format!("CAPA\r\nSTAT\r\nAUTH PLAIN {wrong}\r\nQUIT\r\n")),
        (Protocol::Smtp, format!("EHLO pc\r\nMAIL FROM:<{ALICE}>\r\nAUTH PLAIN {wrong}\r\nMAIL FROM:<{ALICE}>\r\nQUIT\r\n")),
    ] {
        let mut peer = world.connect(protocol, "none").await;
        peer.send(words).await;
        let told = peer.rest().await;
        assert!(told.contains("Login name or password is wrong"), "{told}");
    }
    let tally = world.sandbox.tally();
    assert_eq!((tally.connections, tally.token_requests.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn f21_the_challenge_of_a_failed_xoauth2_stays_between_us_and_exchange() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    world.fault("imap-challenge-json");
    world.fault("smtp-challenge-json");
    let (mut imap, told) = world.imap(ALICE, &password).await;
    assert!(told.starts_with("in NO [CONTACTADMIN] ") && !told.contains('\n'), "{told}");
    assert!(imap.imap("n NOOP").await.starts_with("n OK "), "the session goes on");
    let told = imap.imap(&format!("p AUTHENTICATE PLAIN {}", plain(ALICE, &password))).await;
    assert!(told.starts_with("p NO [CONTACTADMIN] ") && !told.contains('\n'), "{told}");
    let mut smtp = world.smtp(ALICE, &password).await;
    let told = smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
    assert!(told.starts_with("451 4.7.0 ") && !told.contains('\n'), "{told}");
    assert!(smtp.smtp("NOOP").await.starts_with("250 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn f26_a_listener_is_no_tunnel_to_exchange() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    // A token that Exchange would take must open nothing here.
    drop(world.imap(ALICE, &password).await);
    let token = world.sandbox.tally().access_tokens.pop().unwrap();
    let connections = world.sandbox.tally().connections;
    use base64::Engine as _;
    let blob =
        base64::engine::general_purpose::STANDARD.encode(format!("user={ALICE}\u{1}auth=Bearer {token}\u{1}\u{1}"));
    for mechanism in ["XOAUTH2", "xoauth2", "OAUTHBEARER", "EXTERNAL", "ANONYMOUS", "NTLM"] {
        for (protocol, words) in [
            (
                Protocol::Imap,
                format!("a AUTHENTICATE {mechanism} {blob}\r\nb AUTHENTICATE {mechanism}\r\nc LOGOUT\r\n"),
            ),
            (Protocol::Pop3, format!("AUTH {mechanism} {blob}\r\nAUTH {mechanism}\r\nQUIT\r\n")),
            (
                Protocol::Smtp,
                format!("EHLO pc\r\nAUTH {mechanism} {blob}\r\nAUTH {mechanism}\r\nMAIL FROM:<{ALICE}>\r\nQUIT\r\n"),
            ),
        ] {
            let mut peer = world.connect(protocol, "none").await;
            peer.send(words).await;
            let told = peer.rest().await;
            for let_in in ["\r\na OK", "\r\nb OK", "235 ", "334", "\r\n+ ", "250 2.1.0"] {
                assert!(!told.contains(let_in), "{protocol} {mechanism}: {told}");
            }
        }
    }
    assert_eq!(world.sandbox.tally().connections, connections);
}

#[tokio::test(flavor = "multi_thread")]
async fn f29_when_nobody_answers_at_exchange_the_client_is_told_in_words() {
    // A port that was free a moment ago, where nobody listens.
    let edit = |text: String| {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let closed = |line: &str| match line.split_once(" = ") {
            Some((key @ ("imap" | "pop3" | "smtp"), _)) => format!("{key} = \"{free}\"\n"),
            _ => format!("{line}\n"),
        };
        text.lines().map(closed).collect()
    };
    let world = World::planned(Plan { edit, ..Plan::default() }).await;
    let password = world.issue(ALICE).await;
    let (mut imap, told) = world.imap(ALICE, &password).await;
    assert!(told.starts_with("in NO [UNAVAILABLE] "), "{told}");
    assert!(imap.imap("n NOOP").await.starts_with("n OK "));
    let (mut pop3, told) = world.pop3(ALICE, &password).await;
    assert!(told.starts_with("-ERR [SYS/TEMP] "), "{told}");
    assert!(pop3.ask("QUIT").await.starts_with("+OK"));
    let mut smtp = world.smtp(ALICE, &password).await;
    let told = smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
    assert!(told.starts_with("451 4.3.0 "), "{told}");
    assert!(smtp.smtp("QUIT").await.starts_with("221 "));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn f30_what_is_secret_is_its_owners_alone_and_the_client_secret_is_never_written() {
    use std::os::unix::fs::MetadataExt;
    let world = World::planned(Plan { grant: "authorization_code", ..Plan::default() }).await;
    let secret = world.folder().join("client-secret");
    let before = std::fs::metadata(&secret).unwrap();
    let content = std::fs::read(&secret).unwrap();
    let token = Secret::new(world.sandbox.refresh_token_for(ALICE));
    world.ops.connect_with_refresh_token(&ALICE.parse().unwrap(), token).await.unwrap();
    let password = world.issue(ALICE).await;
    assert!(world.imap(ALICE, &password).await.1.starts_with("in OK "));
    let mut seen = 0;
    let mut folders = vec![world.config.data_dir.clone()];
    while let Some(folder) = folders.pop() {
        assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o7777, 0o700, "{}", folder.display());
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                folders.push(path);
            } else {
                seen += 1;
                // A certificate is for everyone to see; whoever is to trust the CA copies it from there.
                let public = path.extension().is_some_and(|extension| extension == "pem" || extension == "crt");
                let others = metadata.mode() & 0o7777 & !0o600;
                assert!(others == 0 || public && others == 0o044, "{} is {:o}", path.display(), metadata.mode());
            }
        }
    }
    assert!(seen >= 5, "{seen} files");
    let after = std::fs::metadata(&secret).unwrap();
    assert_eq!((before.ino(), before.mtime_nsec(), before.mode()), (after.ino(), after.mtime_nsec(), after.mode()));
    assert!(std::fs::read(&secret).unwrap() == content);
}
