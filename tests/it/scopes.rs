//! What an app password is bound to: for reading only, for certain recipients, for so many messages and sessions, to a time, and to the
//! place of its first use.

use chrono::Duration;
use postern::base::{Clock, Protocol};
use postern::store::{AppPasswords, DeliveryMode, FirstUse, UseScope};

use crate::common::{Plan, World, eventually};

const ALICE: &str = "alice@contoso.test";
const BOB: &str = "bob@contoso.test";

async fn issue(world: &World, scope: UseScope) -> (String, String) {
    let issued = world
        .issue_with(ALICE, |request| {
            request.delivery = DeliveryMode::Assured;
            request.scope = scope;
        })
        .await;
    (issued.row.id.clone(), issued.password.expose().clone())
}

/// A whole world with a clock that is turned by hand, ahead of the command line's.
async fn by_hand() -> (World, Clock) {
    let clock = Clock::by_hand(chrono::Utc::now() + Duration::minutes(30));
    (World::planned(Plan { clock: clock.clone(), ..Plan::default() }).await, clock)
}

async fn mail(smtp: &mut crate::common::Peer<tokio::net::TcpStream>, to: &str) -> String {
    let told = smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
    if !told.starts_with("250 ") {
        return told;
    }
    let told = smtp.smtp(&format!("RCPT TO:<{to}>")).await;
    if !told.starts_with("250 ") {
        smtp.smtp("RSET").await;
        return told;
    }
    assert!(smtp.smtp("DATA").await.starts_with("354 "));
    smtp.send(format!("From: {ALICE}\r\n\r\ntext\r\n.\r\n")).await;
    smtp.reply().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_for_reading_reads_by_imap_and_changes_nothing() {
    let world = World::start().await;
    let message = b"From: bob@contoso.test\r\nSubject: keep me\r\n\r\ntext\r\n";
    world.sandbox.deliver(ALICE, "INBOX", message);
    let (_, password) = issue(&world, UseScope { read_only: true, ..UseScope::default() }).await;
    let (mut imap, told) = world.imap(ALICE, &password).await;
    assert!(told.starts_with("in OK "), "{told}");
    let told = imap.imap("a1 SELECT INBOX").await;
    assert!(told.contains("1 EXISTS") && told.contains("a1 OK [READ-ONLY]"), "{told}");
    imap.send("a2 FETCH 1 (FLAGS BODY[])\r\n").await;
    let mut told = String::new();
    while !told.contains("\na2 ") {
        told += &format!("{}\n", imap.line().await);
    }
    assert!(told.contains("Subject: keep me") && told.contains("a2 OK"), "{told}");
    for command in [
        "STORE 1 +FLAGS (\\Deleted)",
        "UID STORE 1 +FLAGS (\\Seen)",
        "COPY 1 Archive",
        "UID MOVE 1 Archive",
        "EXPUNGE",
        "DELETE INBOX",
        "CREATE x",
        "RENAME INBOX y",
        "SUBSCRIBE INBOX",
        "APPEND INBOX {5}",
        "ENABLE UTF8=ACCEPT",
        "COMPRESS DEFLATE",
        "AUTHENTICATE PLAIN",
        "X",
    ] {
        let told = imap.imap(&format!("b {command}")).await;
        assert_eq!(told.trim_end(), "b NO [NOPERM] This app password is for reading only", "{command}");
    }
    let told = imap.imap("a3 UID FETCH 1:* (FLAGS)").await;
    assert!(told.contains("a3 OK") && !told.contains("\\Seen") && !told.contains("\\Deleted"), "{told}");
    imap.send("a4 IDLE\r\n").await;
    assert!(imap.line().await.starts_with("+ "));
    world.sandbox.deliver(ALICE, "INBOX", message);
    assert!(imap.line().await.contains("2 EXISTS"));
    imap.send("DONE\r\na5 CLOSE\r\na6 LOGOUT\r\n").await;
    let rest = imap.rest().await;
    assert!(
        rest.contains("a4 OK") && rest.contains("a5 OK") && rest.contains("* BYE") && rest.contains("a6 OK"),
        "{rest}"
    );
    let kept = world.sandbox.messages(ALICE, "INBOX");
    assert_eq!(kept, [message.to_vec(), message.to_vec()]);
    // The same messages of one for everything are changed.
    let (mut imap, _) = world.imap(ALICE, &world.issue(ALICE).await).await;
    imap.imap("a1 SELECT INBOX").await;
    let told = imap.imap("a2 FETCH 1 FLAGS").await;
    assert!(told.contains("FLAGS (") && !told.contains("\\Seen"), "{told}");
    imap.imap("a3 STORE 1 +FLAGS (\\Deleted)").await;
    imap.imap("a4 EXPUNGE").await;
    assert_eq!(world.sandbox.messages(ALICE, "INBOX").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_for_reading_reads_by_pop3_and_sends_nothing() {
    let world = World::start().await;
    let message = b"From: bob@contoso.test\r\nSubject: keep me\r\n\r\n..text\r\n";
    world.sandbox.deliver(ALICE, "INBOX", message);
    let (id, password) = issue(&world, UseScope { read_only: true, ..UseScope::default() }).await;
    let (mut pop3, told) = world.pop3(ALICE, &password).await;
    assert!(told.starts_with("+OK"), "{told}");
    pop3.send("DELE 1\r\nRETR 1\r\nDELE 1\r\nXYZZY\r\nSTAT\r\nQUIT\r\n").await;
    let told = pop3.rest().await;
    let refused = "-ERR This app password is for reading only\r\n";
    assert!(told.starts_with(refused) && told.contains(&format!("\r\n.\r\n{refused}{refused}+OK 1 ")), "{told}");
    assert_eq!(world.sandbox.messages(ALICE, "INBOX").len(), 1);
    let mut smtp = world.connect(Protocol::Smtp, "starttls").await;
    smtp.reply().await;
    smtp.smtp("EHLO client").await;
    let told = smtp.smtp(&format!("AUTH PLAIN {}", crate::common::plain(ALICE, &password))).await;
    assert!(told.starts_with("535 5.7.8 "), "{told}");
    let row = world.ops.password(&id).await.unwrap();
    assert_eq!(row.protocols, [Protocol::Imap, Protocol::Pop3]);
    // Revoked, the session ends.
    let (mut imap, _) = world.imap(ALICE, &password).await;
    world.ops.revoke_password(&id).await.unwrap();
    world.upkeep().await;
    assert!(imap.rest().await.starts_with("* BYE The login is no longer valid"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_for_certain_recipients_sends_to_nobody_else() {
    let world = World::start().await;
    let recipients = vec![BOB.to_owned(), "@partner.example".to_owned()];
    let (_, password) = issue(&world, UseScope { recipients, ..UseScope::default() }).await;
    let mut smtp = world.smtp(ALICE, &password).await;
    for (to, code) in [
        ("BOB@contoso.test", "250 2."),
        ("carol@partner.example", "250 2."),
        ("carol@contoso.test", "550 5.7.1 This password may not send to that recipient, ref "),
        ("bob@contoso.test.evil.example", "550 5.7.1 "),
        ("x@sub.partner.example", "550 5.7.1 "),
        ("postmaster", "550 5.7.1 "),
        ("IMCEASMTP-x+40evil+2Eexample@partner.example", "550 5.7.1 "),
        ("\"imceasmtp-x+40evil+2Eexample\"@partner.example", "550 5.7.1 "),
        ("\"\\imc\\easmtp-x+40evil+2Eexample\"@partner.example", "550 5.7.1 "),
    ] {
        let told = mail(&mut smtp, to).await;
        assert!(told.starts_with(code), "{to}: {told}");
    }
    assert_eq!(world.sandbox.submissions().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_messages_is_counted_over_all_sessions_and_over_a_restart() {
    let (mut world, clock) = by_hand().await;
    let scope = UseScope { max_per_minute: Some(2), max_per_day: Some(4), ..UseScope::default() };
    let (_, password) = issue(&world, scope).await;
    let mut first = world.smtp(ALICE, &password).await;
    let mut second = world.smtp(ALICE, &password).await;
    let too_many = "450 4.7.1 Too many messages with this password, try again later, ref ";
    // What is refused or taken back counts for nothing.
    world.fault("smtp-reject-recipient=nobody@contoso.test");
    for _ in 0..5 {
        assert!(mail(&mut first, "nobody@contoso.test").await.starts_with("550 "));
    }
    assert!(mail(&mut first, BOB).await.starts_with("250 "));
    assert!(mail(&mut second, BOB).await.starts_with("250 "));
    let told = mail(&mut first, BOB).await;
    assert!(told.starts_with(too_many), "{told}");
    clock.turn(Duration::seconds(60));
    let told = mail(&mut first, BOB).await;
    assert!(told.starts_with("250 "), "{told}");
    // What waits in the queue counts as well.
    world.fault("smtp-message-reply=451 4.4.0 Not now");
    let told = mail(&mut second, BOB).await;
    assert!(told.contains("queued as"), "{told}");
    clock.turn(Duration::seconds(60));
    assert!(mail(&mut first, BOB).await.starts_with(too_many), "the day is used up");
    world.upkeep().await;
    drop((first, second));
    world.stop_serving().await;
    world.serve().await;
    let mut smtp = world.smtp(ALICE, &password).await;
    assert!(mail(&mut smtp, BOB).await.starts_with(too_many), "after a restart, too");
    clock.turn(Duration::hours(24));
    assert!(mail(&mut smtp, BOB).await.starts_with("250 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_sessions_at_once_and_a_place_is_free_again_when_one_ends() {
    let world = World::start().await;
    let (_, password) = issue(&world, UseScope { max_sessions: Some(1), ..UseScope::default() }).await;
    let (imap, told) = world.imap(ALICE, &password).await;
    assert!(told.starts_with("in OK "), "{told}");
    let (_, told) = world.imap(ALICE, &password).await;
    assert!(told.starts_with("in NO [LIMIT] Too many sessions with this password"), "{told}");
    let (_, told) = world.pop3(ALICE, &password).await;
    assert!(told.starts_with("-ERR [IN-USE] "), "{told}");
    let mut smtp = world.connect(Protocol::Smtp, "starttls").await;
    smtp.reply().await;
    smtp.smtp("EHLO client").await;
    let told = smtp.smtp(&format!("AUTH PLAIN {}", crate::common::plain(ALICE, &password))).await;
    assert!(told.starts_with("421 4.7.0 "), "{told}");
    drop(imap);
    eventually("the place", async || world.imap(ALICE, &password).await.1.starts_with("in OK ")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_its_time_it_is_as_a_wrong_password_and_lapses_where_it_is_not_used() {
    let (world, clock) = by_hand().await;
    let wrong = "in NO [AUTHENTICATIONFAILED] ";
    let scope = UseScope { starts_at: Some(clock.now() + Duration::hours(1)), ..UseScope::default() };
    let (_, later) = issue(&world, scope).await;
    let by = Some(clock.now() + Duration::hours(24));
    let (lapses, unused) = issue(&world, UseScope { activate_by: by, ..UseScope::default() }).await;
    let (_, used) = issue(&world, UseScope { activate_by: by, ..UseScope::default() }).await;
    assert!(world.imap(ALICE, &later).await.1.starts_with(wrong));
    assert!(world.imap(ALICE, &used).await.1.starts_with("in OK "));
    clock.turn(Duration::hours(1));
    let (_, told) = world.imap(ALICE, &later).await;
    assert!(told.starts_with("in OK "), "{told}");
    clock.turn(Duration::hours(23));
    assert!(world.imap(ALICE, &unused).await.1.starts_with(wrong));
    assert!(world.imap(ALICE, &used).await.1.starts_with("in OK "), "it was used in time");
    let row = world.ops.password(&lapses).await.unwrap();
    assert_eq!(row.first_use, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_binds_itself_to_the_place_of_its_first_login() {
    let world = World::start().await;
    let scope = UseScope { binds_network: true, binds_protocol: true, ..UseScope::default() };
    let (id, password) = issue(&world, scope.clone()).await;
    assert!(world.pop3(ALICE, &password).await.1.starts_with("+OK"));
    let (_, told) = world.imap(ALICE, &password).await;
    assert!(told.starts_with("in NO [AUTHENTICATIONFAILED] "), "another protocol: {told}");
    assert!(world.pop3(ALICE, &password).await.1.starts_with("+OK"));
    let first = world.ops.password(&id).await.unwrap().first_use.unwrap();
    assert_eq!((first.network.to_string().as_str(), first.protocol), ("127.0.0.0/8", Protocol::Pop3));
    // Bound to another place by somebody else.
    let (id, password) = issue(&world, UseScope { binds_network: true, ..UseScope::default() }).await;
    let store = postern::store::SqliteStore::open(&world.config.data_dir).await.unwrap();
    let elsewhere = FirstUse {
        at: chrono::DateTime::UNIX_EPOCH,
        network: "192.0.2.0/24".parse().unwrap(),
        protocol: Protocol::Imap,
    };
    assert_eq!(store.note_first_use(&id, &elsewhere).await.unwrap(), Some(elsewhere.clone()));
    let (_, told) = world.imap(ALICE, &password).await;
    assert!(told.starts_with("in NO [AUTHENTICATIONFAILED] "), "{told}");
    let here = FirstUse { network: "127.0.0.0/8".parse().unwrap(), ..elsewhere.clone() };
    assert_eq!(store.note_first_use(&id, &here).await.unwrap(), Some(elsewhere), "the first one holds");
    // Of many first logins at once from one place all are let in.
    let (_, password) = issue(&world, scope).await;
    let told = futures::future::join_all((0..8).map(|_| world.pop3(ALICE, &password))).await;
    assert!(told.iter().all(|(_, told)| told.starts_with("+OK")));
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_load_balancer_it_is_the_clients_own_address_that_counts() {
    use tokio::io::AsyncWriteExt;

    let edit: fn(String) -> String = |text| {
        let more = "\ntls = \"starttls\"\nplaintext_from = [\"0.0.0.0/1\", \"128.0.0.0/1\"]\nproxy_protocol_from = [\"127.0.0.0/8\"]\n";
        text.replace("\ntls = \"starttls\"\n", more)
    };
    let world = World::planned(Plan { edit, ..Plan::default() }).await;
    let issued = world.issue_with(ALICE, |request| request.networks = vec!["192.0.2.0/24".parse().unwrap()]).await;
    let password = issued.password.expose().clone();
    let login = async |header: &[u8]| {
        let mut stream = tokio::net::TcpStream::connect(world.address(Protocol::Imap, "starttls")).await.unwrap();
        stream.write_all(header).await.unwrap();
        let mut imap = crate::common::Peer::new(stream);
        if !imap.line().await.starts_with("* OK ") {
            return String::new();
        }
        imap.imap(&format!("a LOGIN {ALICE} {password}")).await
    };
    assert!(login(b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 143\r\n").await.starts_with("a OK "));
    let second = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[192, 0, 2, 9, 10, 0, 0, 1, 1, 1, 1, 1]].concat();
    assert!(login(&second).await.starts_with("a OK "));
    let told = login(b"PROXY TCP4 198.51.100.7 10.0.0.1 4660 143\r\n").await;
    assert!(told.starts_with("a NO [AUTHENTICATIONFAILED] "), "{told}");
    assert!(
        login(b"PROXY UNKNOWN\r\n").await.starts_with("a NO [AUTHENTICATIONFAILED] "),
        "that is the balancer itself"
    );
    assert_eq!(login(b"a1 CAPABILITY\r\n").await, "", "without a header nobody is greeted");
    // A listener without one takes no header.
    let stream = tokio::net::TcpStream::connect(world.address(Protocol::Imap, "implicit")).await.unwrap();
    let mut peer = crate::common::Peer::new(stream);
    peer.send("PROXY TCP4 192.0.2.7 10.0.0.1 4660 143\r\n").await;
    assert!(!peer.rest().await.contains("OK"));
    let filter = postern::store::AuditFilter { password_id: Some(issued.row.id), ..Default::default() };
    eventually("it to be noted", async || {
        let records = world.ops.audit(&filter, 10).await.unwrap();
        records.iter().any(|record| record.entry.details.contains("192.0.2.7"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_speaks_to_a_listener_behind_a_load_balancer_of_this_machine_as_that_one_does() {
    let edit: fn(String) -> String = |text| {
        text.replace("\ntls = \"starttls\"\n", "\ntls = \"starttls\"\nproxy_protocol_from = [\"127.0.0.0/8\"]\n")
    };
    let mut world = World::planned(Plan { edit, ..Plan::default() }).await;
    let serving = crate::common::child::Serving::instead_of(&mut world, &[]).await;
    let status = world.ops.status().await.unwrap();
    assert!(!status.listeners.is_empty() && status.listeners.iter().all(|one| one.answers), "{:?}", status.listeners);
    assert!(!serving.said().contains("does not begin with a header"), "{}", serving.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_is_turned_away_until_the_ban_is_lifted_and_nobody_else_is() {
    use tokio::io::AsyncWriteExt;

    const GUESSER: &str = "PROXY TCP4 203.0.113.7 10.0.0.1 4660 143\r\n";
    const OWNER: &str = "PROXY TCP4 192.0.2.7 10.0.0.1 4660 143\r\n";
    let edit: fn(String) -> String = |text| {
        let more = "\ntls = \"starttls\"\nplaintext_from = [\"0.0.0.0/1\", \"128.0.0.0/1\"]\nproxy_protocol_from = [\"127.0.0.0/8\"]\n";
        text.replace("\ntls = \"starttls\"\n", more)
    };
    let world = World::planned(Plan { edit, ..Plan::default() }).await;
    let issued = world.issue_with(ALICE, |_| {}).await;
    let password = issued.password.expose().clone();
    let connect = async |header: &str| {
        let mut stream = tokio::net::TcpStream::connect(world.address(Protocol::Imap, "starttls")).await.unwrap();
        stream.write_all(header.as_bytes()).await.unwrap();
        crate::common::Peer::new(stream)
    };
    let mut guessers = Vec::new();
    for number in 0..20 {
        let mut imap = connect(GUESSER).await;
        guessers.push(async move {
            assert!(imap.line().await.starts_with("* OK "));
            for guess in 0..5 {
                // Each login name by itself, so that none has to wait long.
                let told = imap.imap(&format!("a LOGIN user{number}.{guess}@contoso.test wrong")).await;
                assert!(told.starts_with("a NO "), "{told}");
            }
        });
    }
    futures::future::join_all(guessers).await;
    let told = connect(GUESSER).await.rest().await;
    assert_eq!(told, "* BYE Too many failed logins, try again later\r\n");
    let mut owner = connect(OWNER).await;
    owner.line().await;
    assert!(owner.imap(&format!("a LOGIN {ALICE} {password}")).await.starts_with("a OK "));
    let bans = world.ops.bans().await.unwrap();
    assert_eq!((bans.len(), bans[0].network.to_string(), bans[0].tries), (1, "203.0.113.7/32".to_owned(), 100));
    let noted = async |act: &str| {
        let filter = postern::store::AuditFilter { kind: Some(postern::store::AuditKind::Act), ..Default::default() };
        let records = world.ops.audit(&filter, 10).await.unwrap();
        records.iter().any(|record| record.entry.details.contains(act) && record.entry.details.contains("203.0.113.7"))
    };
    eventually("it to be noted", async || noted("address banned").await).await;
    assert_eq!(world.ops.lift_bans(&"203.0.113.0/24".parse().unwrap()).await.unwrap().len(), 1);
    assert!(noted("ban lifted").await);
    eventually("it to be let in", async || connect(GUESSER).await.line().await.starts_with("* OK ")).await;
}
