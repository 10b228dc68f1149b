//! What mail programs file of messages that they have sent, beside the copies of Exchange (`--drop-sent-append`).

use chrono::Duration;
use postern::base::{Clock, Mailbox};
use postern::store::{DeliveryMode, UseScope};
use tokio::net::TcpStream;

use crate::common::{Peer, Plan, World, eventually};

const ALICE: &str = "alice@contoso.test";
const BOB: &str = "bob@contoso.test";

/// A message, and what is handed in of it by SMTP.
fn message(id: &str, body: &str) -> String {
    format!("Message-ID: <{id}>\r\nFrom: {ALICE}\r\nTo: {BOB}\r\nSubject: hello\r\n\r\n{body}\r\n")
}

async fn password(world: &World, delivery: DeliveryMode) -> String {
    let issued = world
        .issue_with(ALICE, |request| {
            request.delivery = delivery;
            request.scope = UseScope { drop_sent_append: true, ..UseScope::default() };
        })
        .await;
    issued.password.expose().clone()
}

async fn send(world: &World, password: &str, message: &str) -> String {
    let mut smtp = world.smtp(ALICE, password).await;
    assert!(smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await.starts_with("250 "));
    assert!(smtp.smtp(&format!("RCPT TO:<{BOB}>")).await.starts_with("250 "));
    assert!(smtp.smtp("DATA").await.starts_with("354 "));
    smtp.send(format!("{message}.\r\n")).await;
    smtp.reply().await
}

/// Files a message, waiting for the `+` or not, and returns what the client is told at the end.
async fn file(imap: &mut Peer<TcpStream>, folder: &str, message: &str, asks: bool) -> String {
    let plus = if asks { "" } else { "+" };
    imap.send(format!("f1 APPEND {folder} (\\Seen) {{{}{plus}}}\r\n", message.len())).await;
    if asks {
        let told = imap.line().await;
        assert!(told.starts_with("+ "), "{told}");
    }
    imap.send(format!("{message}\r\n")).await;
    loop {
        let told = imap.line().await;
        if told.starts_with("f1 ") {
            return told;
        }
    }
}

fn copies(world: &World, folder: &str) -> usize {
    world.sandbox.messages(ALICE, folder).len()
}

const DROPPED: &str = "f1 OK APPEND completed, with the copy that Exchange files";

#[tokio::test(flavor = "multi_thread")]
async fn what_exchange_has_filed_is_filed_once() {
    let clock = Clock::by_hand(chrono::Utc::now());
    let world = World::planned(Plan { clock: clock.clone(), ..Plan::default() }).await;
    for (number, delivery) in [DeliveryMode::Assured, DeliveryMode::Direct].into_iter().enumerate() {
        for asks in [true, false] {
            let (before, id) = (copies(&world, "Sent Items"), format!("{number}.{asks}@client.test"));
            let password = password(&world, delivery).await;
            let (mut imap, told) = world.imap(ALICE, &password).await;
            assert!(told.starts_with("in OK ") && !told.contains("COMPRESS"), "{told}");
            imap.imap("a1 SELECT \"Sent Items\"").await;
            let sent = message(&id, "text");
            assert!(send(&world, &password, &sent).await.starts_with("250 2.0.0 "));
            eventually("Exchange to have filed it", async || copies(&world, "Sent Items") == before + 1).await;
            // With what mail programs add to theirs.
            let copy = format!("X-Mozilla-Status: 0001\r\nBcc: \r\n{sent}");
            let told = file(&mut imap, "\"Sent Items\"", &copy, asks).await;
            assert_eq!(told, DROPPED);
            let told = imap.imap("a2 NOOP").await;
            assert!(told.contains("EXISTS") && told.contains("a2 OK"), "{told}");
            assert_eq!(copies(&world, "Sent Items"), before + 1);
            // Again: somebody may have edited it, and is about to delete the other.
            let told = file(&mut imap, "\"Sent Items\"", &copy, asks).await;
            assert!(told.starts_with("f1 OK [APPENDUID "), "{told}");
            assert_eq!(copies(&world, "Sent Items"), before + 2);
            assert_eq!(world.sandbox.messages(ALICE, "Sent Items")[before + 1], copy.as_bytes());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_the_only_copy_is_filed() {
    let clock = Clock::by_hand(chrono::Utc::now());
    let world = World::planned(Plan { clock: clock.clone(), ..Plan::default() }).await;
    let password = password(&world, DeliveryMode::Assured).await;
    let (mut imap, _) = world.imap(ALICE, &password).await;
    let mut filed = 0;
    let mut is_filed = async |imap: &mut Peer<TcpStream>, folder: &str, message: &str| {
        for asks in [true, false] {
            let told = file(imap, folder, message, asks).await;
            assert!(told.starts_with("f1 OK [APPENDUID "), "{told}");
        }
        filed += 2;
        filed
    };
    // It went another way, or nowhere.
    let other = message("other@client.test", "text");
    assert_eq!(is_filed(&mut imap, "\"Sent Items\"", &other).await, copies(&world, "Sent Items"));
    // Of a message of somebody else.
    let bobs = world.issue_with(BOB, |_| {}).await;
    let mut smtp = world.smtp(BOB, bobs.password.expose()).await;
    for (said, code) in
        [(format!("MAIL FROM:<{BOB}>"), "250"), (format!("RCPT TO:<{ALICE}>"), "250"), ("DATA".to_owned(), "354")]
    {
        assert!(smtp.smtp(&said).await.starts_with(code));
    }
    smtp.send(format!("{}.\r\n", other.replace(ALICE, BOB))).await;
    assert!(smtp.reply().await.starts_with("250 "));
    assert_eq!(is_filed(&mut imap, "\"Sent Items\"", &other).await, copies(&world, "Sent Items"));
    // To another folder; an attachment was taken off; Exchange has not had it; and the one of which nobody knows any more.
    let big = message("big@client.test", &"text\r\n".repeat(1000));
    assert!(send(&world, &password, &big).await.starts_with("250 2.0.0 "));
    eventually("Exchange to have filed it", async || copies(&world, "Sent Items") == 5).await;
    is_filed(&mut imap, "Drafts", &big).await;
    assert_eq!(copies(&world, "Drafts"), 2);
    is_filed(&mut imap, "\"Sent Items\"", &message("big@client.test", "text")).await;
    assert_eq!(copies(&world, "Sent Items"), 7);
    // One that was fetched and edited: the program deletes the other next.
    let fetched = String::from_utf8(world.sandbox.messages(ALICE, "Sent Items")[4].clone()).unwrap();
    assert!(fetched.contains("<big@client.test>"));
    is_filed(&mut imap, "\"Sent Items\"", &fetched.replace("Subject: hello", "Subject: hello again, edited")).await;
    assert_eq!(copies(&world, "Sent Items"), 9);
    // Whom it went to beside them stands in it alone; and what Exchange has of this one its sender may not be able to read.
    let hidden = message("hidden@client.test", "text");
    assert!(send(&world, &password, &hidden).await.starts_with("250 2.0.0 "));
    let secret = message("secret@client.test", "text");
    let encrypted =
        secret.replace("Subject: hello", "Content-Type: Multipart/Encrypted; protocol=\"application/pgp-encrypted\"");
    assert!(send(&world, &password, &encrypted).await.starts_with("250 2.0.0 "));
    eventually("Exchange to have filed them", async || copies(&world, "Sent Items") == 11).await;
    is_filed(&mut imap, "\"Sent Items\"", &format!("Bcc: carol@contoso.test\r\n{hidden}")).await;
    is_filed(&mut imap, "\"Sent Items\"", &secret).await;
    assert_eq!(copies(&world, "Sent Items"), 15);
    world.fault("smtp-message-reply=451 4.4.0 Not now");
    let waits = message("waits@client.test", "text");
    let told = send(&world, &password, &waits).await;
    assert!(told.starts_with("250 2.0.0 ") && told.contains("queued as"), "{told}");
    is_filed(&mut imap, "\"Sent Items\"", &waits).await;
    assert_eq!(copies(&world, "Sent Items"), 17);
    clock.turn(Duration::minutes(11));
    is_filed(&mut imap, "\"Sent Items\"", &big).await;
    assert_eq!(copies(&world, "Sent Items"), 19);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_is_the_one_that_is_configured() {
    let edit: fn(String) -> String = |text| text.replace("[[tenant]]\n", "[[tenant]]\nsent_folder = \"Élus\"\n");
    let world = World::planned(Plan { edit, ..Plan::default() }).await;
    let password = password(&world, DeliveryMode::Assured).await;
    let (mut imap, _) = world.imap(ALICE, &password).await;
    assert!(imap.imap("a1 CREATE &AMk-lus").await.contains("a1 OK"));
    let sent = message("1@client.test", "text");
    assert!(send(&world, &password, &sent).await.starts_with("250 2.0.0 "));
    assert!(file(&mut imap, "\"Sent Items\"", &sent, true).await.contains("APPENDUID"));
    assert_eq!(file(&mut imap, "&AMk-lus", &sent, true).await, DROPPED);
    // Without the option everything is filed.
    let issued = world.issue_with(ALICE, |_| {}).await;
    let (mut imap, _) = world.imap(ALICE, issued.password.expose()).await;
    let sent = message("2@client.test", "text");
    assert!(send(&world, &password, &sent).await.starts_with("250 2.0.0 "));
    assert!(file(&mut imap, "&AMk-lus", &sent, true).await.contains("APPENDUID"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_filed_in_another_mailbox_is_filed_here() {
    const SHARED: &str = "shared@contoso.test";
    let world = World::planned(Plan { grant: "authorization_code", ..Plan::default() }).await;
    let (alice, shared): (Mailbox, Mailbox) = (ALICE.parse().unwrap(), SHARED.parse().unwrap());
    let token = postern::base::Secret::new(world.sandbox.refresh_token_for(ALICE));
    world.ops.connect_with_refresh_token(&alice, token).await.unwrap();
    world.ops.remove_mailbox(&shared).await.unwrap();
    world.ops.add_mailbox(&shared, None, &[], Some(&alice)).await.unwrap();
    world.fault("smtp-shared-refused");
    let issued = world
        .issue_with(SHARED, |request| {
            request.scope = UseScope { drop_sent_append: true, ..UseScope::default() };
        })
        .await;
    let password = issued.password.expose();
    let sent = message("1@client.test", "text").replace(ALICE, SHARED);
    let mut smtp = world.smtp(SHARED, password).await;
    assert!(smtp.smtp(&format!("MAIL FROM:<{SHARED}>")).await.starts_with("250 "));
    assert!(smtp.smtp(&format!("RCPT TO:<{BOB}>")).await.starts_with("250 "));
    assert!(smtp.smtp("DATA").await.starts_with("354 "));
    smtp.send(format!("{sent}.\r\n")).await;
    assert!(smtp.reply().await.starts_with("250 2.0.0 "));
    assert_eq!(world.sandbox.submissions().len(), 1, "it was sent");
    let (mut imap, told) = world.imap(SHARED, password).await;
    assert!(told.starts_with("in OK "), "{told}");
    assert!(file(&mut imap, "\"Sent Items\"", &sent, true).await.contains("APPENDUID"));
    assert_eq!(world.sandbox.messages(SHARED, "Sent Items").len(), 1);
}

// On one thread, so that nothing goes on in the back of the one that goes away.
#[tokio::test]
async fn who_goes_away_while_the_journal_is_asked_takes_nothing_of_it_along() {
    use futures::FutureExt;
    use postern::store::{JournalEntry, JournalFilter, JournalOutcome, Journaled, SqliteStore};
    use std::sync::Arc;

    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path()).await.unwrap());
    let journal = Arc::new(postern::telemetry::Journal::new(Arc::clone(&store) as _));
    for _ in 0..50 {
        journal.note(JournalEntry {
            at: chrono::Utc::now(),
            mailbox: ALICE.parse().unwrap(),
            password_id: String::new(),
            queue_id: None,
            sender: ALICE.to_owned(),
            recipients: vec![BOB.to_owned()],
            size_octets: 1,
            message_id: None,
            route: None,
            outcome: JournalOutcome::Delivered,
            reply: None,
        });
        assert!(journal.upkeep().now_or_never().is_none(), "it does not end at once");
        tokio::task::yield_now().await;
    }
    journal.upkeep().await.unwrap();
    assert_eq!(store.journal(&JournalFilter::default(), 100).await.unwrap().len(), 50);
}
