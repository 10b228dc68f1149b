//! Connections that are lost behind the final dot: the message is looked for before it is sent again.

use chrono::Duration;
use postern::base::{Clock, Protocol};
use postern::store::{DeliveryMode, QueueState, QueuedMessage, RecipientState};
use tokio::net::TcpStream;

use crate::common::{Peer, Plan, World, eventually};

const ALICE: &str = "alice@contoso.test";
const BOB: &str = "bob@contoso.test";

/// A world whose queue goes by a clock that is turned by hand, ahead of the command line's.
async fn world(more: &str, edit: fn(String) -> String) -> (World, Clock, Peer<TcpStream>) {
    let clock = Clock::by_hand(chrono::Utc::now() + Duration::minutes(30));
    let world = World::planned(Plan { clock: clock.clone(), more: more.to_owned(), edit, ..Plan::default() }).await;
    let issued = world.issue_with(ALICE, |request| request.delivery = DeliveryMode::Assured).await;
    let smtp = world.smtp(ALICE, issued.password.expose()).await;
    (world, clock, smtp)
}

async fn send(smtp: &mut Peer<TcpStream>, number: u32, recipients: &[&str]) -> String {
    assert!(smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await.starts_with("250 "));
    for recipient in recipients {
        assert!(smtp.smtp(&format!("RCPT TO:<{recipient}>")).await.starts_with("250 "));
    }
    assert!(smtp.smtp("DATA").await.starts_with("354 "));
    smtp.send(format!("From: {ALICE}\r\nMessage-ID: <{number}@contoso.test>\r\n\r\ntext\r\n.\r\n")).await;
    let told = smtp.reply().await;
    assert!(told.starts_with("250 2.0.0 "), "{told}");
    told.rsplit_once("queued as ").map(|(_, id)| id.to_owned()).unwrap_or_default()
}

/// Lets everything be tried until nothing waits any more but what is held.
async fn settled(world: &World) {
    eventually("the queue to be settled", async || {
        world.ops.retry_all_queued().await.unwrap();
        world.ops.queue().await.unwrap().iter().all(|message| message.state == QueueState::Held)
    })
    .await;
}

/// Exchange files the copies of all that it has taken, late.
fn file_copies(world: &World) {
    for submission in world.sandbox.submissions() {
        world.sandbox.deliver(ALICE, "Sent Items", &submission.content);
    }
}

/// Lets time go by, from one look or attempt to the next, until the message is like this and put off.
async fn until_put_off(world: &World, clock: &Clock, id: &str, is_so: impl Fn(&QueuedMessage) -> bool) {
    eventually("an attempt to be put off", async || {
        let left = world.ops.queued(id).await.unwrap();
        let is_put_off = left.next_at > clock.now();
        if is_put_off && !is_so(&left) {
            clock.turn(Duration::minutes(8));
            world.ops.retry_queued(id).await.unwrap();
        }
        is_put_off && is_so(&left)
    })
    .await;
}

async fn waits(world: &World, id: &str) -> bool {
    world.ops.queued(id).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_found_among_the_sent_ones_is_not_sent_again() {
    for folder in [None, Some("Gesendete Elemente"), Some("Elementy wys&AUI-ane")] {
        let (world, clock, mut smtp) = world("", |text| text).await;
        if let Some(folder) = folder {
            world.fault(&format!("smtp-sent-folder={folder}"));
        }
        world.fault("smtp-drop-after-data=1");
        let id = send(&mut smtp, 1, &[BOB, "carol@elsewhere.test"]).await;
        assert!(world.ops.queued(&id).await.unwrap().is_unknown());
        // Not before Exchange has had the time to file it.
        clock.turn(Duration::seconds(90));
        world.ops.retry_queued(&id).await.unwrap();
        eventually("it to be put off", async || world.ops.queued(&id).await.unwrap().next_at > clock.now()).await;
        assert_eq!(world.sandbox.submissions().len(), 1);
        clock.turn(Duration::minutes(2));
        settled(&world).await;
        assert_eq!(world.sandbox.submissions().len(), 1, "{folder:?}: once is enough");
        assert!(!waits(&world, &id).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_missing_where_earlier_ones_are_is_sent_again() {
    let (world, clock, mut smtp) = world("\n[delivery]\nunknown_outcome = \"hold\"\n", |text| text).await;
    assert_eq!(send(&mut smtp, 1, &[BOB]).await, "", "it went at once");
    clock.turn(Duration::seconds(1));
    world.fault("smtp-drop-lost=1");
    let id = send(&mut smtp, 2, &[BOB]).await;
    clock.turn(Duration::minutes(3));
    settled(&world).await;
    assert!(!waits(&world, &id).await);
    assert_eq!(world.sandbox.messages(BOB, "INBOX").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exchange_does_not_look_for_is_not_missing() {
    let (world, clock, mut smtp) = world("", |text| text).await;
    assert_eq!(send(&mut smtp, 1, &[BOB]).await, "", "it went at once");
    clock.turn(Duration::seconds(1));
    world.fault("smtp-drop-after-data=1");
    let id = send(&mut smtp, 2, &[BOB]).await;
    // The first SEARCH only; the earlier message is found.
    world.fault("imap-search-refused=1");
    clock.turn(Duration::minutes(3));
    eventually("a look in vain", async || world.ops.queued(&id).await.unwrap().next_at > clock.now()).await;
    assert!(world.ops.queued(&id).await.unwrap().is_unknown(), "it is looked for again");
    settled(&world).await;
    assert!(!waits(&world, &id).await, "it was found");
    assert_eq!(world.sandbox.messages(BOB, "INBOX").len(), 2, "and is not sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_be_told_the_configuration_decides() {
    let hold = "\n[delivery]\nunknown_outcome = \"hold\"\n";
    let without_imap: fn(String) -> String = |text| {
        let listeners: Vec<&str> =
            text.split("[[listener]]").filter(|part| !part.contains("protocol = \"imap\"")).collect();
        listeners.join("[[listener]]")
    };
    for (more, edit, fault, sent) in [
        // No copy is kept of anything, as far as is known.
        (hold, (|text| text) as fn(String) -> String, "smtp-no-copy", 1),
        ("", |text| text, "smtp-no-copy", 2),
        (hold, without_imap, "smtp-per-minute=1000", 1),
        ("", without_imap, "smtp-per-minute=1000", 2),
        (
            "\n[delivery]\nunknown_outcome = \"hold\"\n",
            |text| text.replace("grant = ", "sent_folder = \"Elsewhere\"\ngrant = "),
            "smtp-per-minute=1000",
            1,
        ),
    ] {
        let (world, clock, mut smtp) = world(more, edit).await;
        world.fault(fault);
        world.fault("smtp-drop-after-data=1");
        let id = send(&mut smtp, 1, &[BOB]).await;
        clock.turn(Duration::minutes(3));
        settled(&world).await;
        assert_eq!(world.sandbox.submissions().len(), sent, "{more} {fault}");
        if sent > 1 {
            assert!(!waits(&world, &id).await);
            continue;
        }
        let held = world.ops.queued(&id).await.unwrap();
        let obstacle = held.obstacle.unwrap();
        assert_eq!((held.state, obstacle.code.as_str()), (QueueState::Held, "outcome-unknown"));
        let troubles = world.ops.status().await.unwrap().troubles;
        assert!(troubles.iter().any(|trouble| trouble.said.contains("may have arrived")), "{troubles:?}");
        // Released by somebody who knows, it goes.
        world.ops.release_queued(&id).await.unwrap();
        settled(&world).await;
        assert_eq!(world.sandbox.submissions().len(), 2);
    }
}

/// Hands a message for two in, of whom Exchange takes Bob alone, and with this fault at its end.
async fn send_partly(world: &World, smtp: &mut Peer<TcpStream>, fault: Option<&str>) -> String {
    assert!(smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await.starts_with("250 "));
    assert!(smtp.smtp(&format!("RCPT TO:<{BOB}>")).await.starts_with("250 "));
    world.fault("smtp-recipient-reply=452 4.5.3 Too many recipients");
    assert!(smtp.smtp("RCPT TO:<shared@contoso.test>").await.starts_with("250 "));
    world.sandbox.faults().clear_all();
    if let Some(fault) = fault {
        world.fault(fault);
    }
    assert!(smtp.smtp("DATA").await.starts_with("354 "));
    smtp.send(format!("From: {ALICE}\r\nMessage-ID: <1@contoso.test>\r\n\r\ntext\r\n.\r\n")).await;
    let told = smtp.reply().await;
    told.rsplit_once("queued as ").unwrap().1.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_not_in_the_lost_transaction_still_gets_the_message() {
    let (world, clock, mut smtp) = world("", |text| text).await;
    let id = send_partly(&world, &mut smtp, Some("smtp-drop-after-data=1")).await;
    clock.turn(Duration::minutes(3));
    world.ops.retry_queued(&id).await.unwrap();
    eventually("it to be found", async || {
        let kept = world.ops.queue().await.unwrap();
        kept.first().is_none_or(|one| one.recipients[0].state == RecipientState::Delivered)
    })
    .await;
    clock.turn(Duration::minutes(3));
    settled(&world).await;
    let submitted: Vec<Vec<String>> = world.sandbox.submissions().into_iter().map(|one| one.recipients).collect();
    assert_eq!(submitted, [vec![BOB.to_owned()], vec!["shared@contoso.test".to_owned()]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_of_an_earlier_transaction_says_nothing_of_who_was_not_in_it_and_a_further_one_does() {
    // Bob has it, and its copy is there; the attempt for the other is lost, and Exchange has that one or has not.
    for fault in ["smtp-drop-lost=1", "smtp-drop-after-data=1"] {
        let (world, clock, mut smtp) = world("", |text| text).await;
        let id = send_partly(&world, &mut smtp, None).await;
        world.fault(fault);
        clock.turn(Duration::minutes(3));
        eventually("the attempt to be lost", async || world.ops.queued(&id).await.unwrap().unknown_at().is_some())
            .await;
        clock.turn(Duration::minutes(3));
        settled(&world).await;
        assert!(!waits(&world, &id).await);
        let submitted: Vec<Vec<String>> = world.sandbox.submissions().into_iter().map(|one| one.recipients).collect();
        assert_eq!(submitted, [vec![BOB.to_owned()], vec!["shared@contoso.test".to_owned()]], "{fault}: once each");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_that_a_mail_program_files_itself_is_no_delivery() {
    let (world, clock, mut smtp) = world("", |text| text).await;
    world.fault("smtp-drop-lost=1");
    let id = send(&mut smtp, 1, &[BOB]).await;
    assert!(!id.is_empty());
    // As mail programs do as soon as they hear 250.
    let copy = format!("From: {ALICE}\r\nMessage-ID: <1@contoso.test>\r\n\r\ntext\r\n");
    world.sandbox.deliver(ALICE, "Sent Items", copy.as_bytes());
    clock.turn(Duration::minutes(3));
    settled(&world).await;
    assert!(!waits(&world, &id).await);
    assert_eq!(world.sandbox.messages(BOB, "INBOX").len(), 1, "Exchange had not got it before");
}

#[tokio::test(flavor = "multi_thread")]
async fn high_volume_email_keeps_no_copies_so_that_nothing_is_looked_for() {
    for (more, sent) in [("\n[delivery]\nunknown_outcome = \"hold\"\n", 1), ("", 2)] {
        let (world, clock, mut smtp) =
            world(more, |text| text.replace("grant = ", "smtp_service = \"high-volume\"\ngrant = ")).await;
        world.fault("smtp-hve");
        assert!(smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await.starts_with("250 "));
        let told = smtp.smtp("RCPT TO:<carol@elsewhere.test>").await;
        assert!(told.starts_with("550 5.5.105 External sending is not supported "), "{told}");
        smtp.smtp("RSET").await;
        world.fault("smtp-drop-after-data=1");
        let id = send(&mut smtp, 1, &[BOB]).await;
        clock.turn(Duration::minutes(3));
        settled(&world).await;
        assert_eq!(world.sandbox.submissions().len(), sent);
        assert_eq!(waits(&world, &id).await, sent == 1);
        assert!(!world.sandbox.tally().logins.contains_key(&postern::base::Protocol::Imap), "there is no mailbox");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_arrived_is_looked_for_also_after_an_outage_of_hours() {
    let (world, clock, mut smtp) = world("", |text| text).await;
    world.fault("smtp-drop-after-data=1");
    let id = send(&mut smtp, 1, &[BOB]).await;
    world.fault("mail-unreachable");
    // For an hour nothing is sent, as it could not be looked for; then attempts fail without having come so far.
    eventually("an attempt in vain", async || {
        let left = world.ops.queued(&id).await.unwrap();
        // No sooner than it was put off again: a look takes its time.
        if left.next_at > clock.now() {
            clock.turn(Duration::minutes(8));
            world.ops.retry_queued(&id).await.unwrap();
        }
        left.attempts > 1
    })
    .await;
    assert!(world.ops.queued(&id).await.unwrap().is_unknown(), "it still may have arrived");
    world.sandbox.faults().clear_all();
    settled(&world).await;
    assert!(!waits(&world, &id).await);
    assert_eq!(world.sandbox.submissions().len(), 1, "it was found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exchange_says_when_it_is_sent_again_says_nothing_of_the_time_before() {
    async fn lost_and_refused(edit: fn(String) -> String, lost: &str, refused: &str) {
        let (world, clock, mut smtp) = world("", edit).await;
        world.fault(lost);
        world.fault("smtp-no-copy");
        let id = send(&mut smtp, 1, &[BOB]).await;
        let before = world.ops.queued(&id).await.unwrap().doubts;
        assert_eq!(before.len(), 1);
        world.sandbox.faults().clear_all();
        // Nothing can be told, as no copy is there, and it is sent again.
        world.fault(refused);
        until_put_off(&world, &clock, &id, |left| left.attempts > 0).await;
        eventually("it to be as before", async || {
            let left = world.ops.queued(&id).await.unwrap();
            // Not while another attempt is under way, which might find the faults gone in its middle.
            left.doubts == before && left.next_at > clock.now()
        })
        .await;
        // What SMTP lost is found at last; what Graph lost never came.
        world.sandbox.faults().clear_all();
        file_copies(&world);
        settled(&world).await;
        assert!(!waits(&world, &id).await, "{refused}");
        assert_eq!(world.sandbox.submissions().len(), 1, "{refused}");
    }
    let graph = |text: String| text.replace("grant = ", "routes = [\"graph\"]\ngrant = ");
    tokio::join!(
        lost_and_refused(|text| text, "smtp-drop-after-data=1", "smtp-message-reply=451 4.3.0 Not now"),
        lost_and_refused(|text| text, "smtp-drop-after-data=1", "smtp-recipient-reply=451 4.3.0 Not now"),
        lost_and_refused(graph, "graph-reply=500 InternalServerError", "graph-reply=503 ServiceUnavailable"),
        lost_and_refused(graph, "graph-reply=500 InternalServerError", "graph-denied"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_lost_transaction_is_looked_for_with_those_who_were_in_it() {
    const CAROL: &str = "carol@elsewhere.test";
    for (lost, expected) in [
        ("smtp-drop-after-data=1", vec![vec![BOB], vec![BOB, CAROL], vec![BOB]]),
        ("smtp-drop-lost=1", vec![vec![BOB], vec![BOB, CAROL]]),
    ] {
        let (world, clock, mut smtp) = world("", |text| text).await;
        world.fault("smtp-no-copy");
        assert_eq!(send(&mut smtp, 1, &[BOB]).await, "", "it went at once");
        world.fault(lost);
        let id = send(&mut smtp, 2, &[BOB, CAROL]).await;
        // Nothing can be told, and it is sent again: Exchange takes Bob alone, and that is lost as well.
        world.fault("smtp-recipient-every=2");
        world.fault(lost);
        until_put_off(&world, &clock, &id, |left| left.doubts.len() == 2).await;
        let left = world.ops.queued(&id).await.unwrap();
        let places: Vec<_> = left.doubts.iter().map(|doubt| (doubt.attempt, doubt.places.clone())).collect();
        assert_eq!(places, [(0, vec![0, 1]), (1, vec![0])]);
        world.sandbox.faults().clear_all();
        file_copies(&world);
        clock.turn(Duration::minutes(3));
        settled(&world).await;
        assert!(!waits(&world, &id).await);
        let submitted: Vec<Vec<String>> = world.sandbox.submissions().into_iter().map(|one| one.recipients).collect();
        assert_eq!(submitted, expected, "{lost}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_in_no_lost_transaction_is_given_up_in_time_and_its_sender_told() {
    let (world, clock, mut smtp) = world("", |text| text).await;
    world.fault("smtp-no-copy");
    world.fault("smtp-drop-after-data=1");
    world.fault("smtp-recipient-every=2");
    let id = send(&mut smtp, 1, &[BOB, "carol@elsewhere.test"]).await;
    world.sandbox.faults().clear_all();
    // Nothing can be told; when it is sent again Exchange has no Bob any more, and Carol has to wait.
    world.fault("smtp-reject-recipient=bob@contoso.test");
    world.fault("smtp-recipient-every=2");
    until_put_off(&world, &clock, &id, |left| left.attempts == 1).await;
    let left = world.ops.queued(&id).await.unwrap();
    assert!(!left.is_unknown(), "nobody who waits was in it: {left:?}");
    clock.turn(Duration::days(9));
    eventually("it to be given up", async || !waits(&world, &id).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_arrived_waits_for_the_end_of_a_halt() {
    let (world, clock, mut smtp) = world("\n[delivery]\nunknown_outcome = \"hold\"\n", |text| text).await;
    world.fault("smtp-drop-after-data=1");
    let id = send(&mut smtp, 1, &[BOB]).await;
    world.ops.halt(None, None).await.unwrap();
    clock.turn(Duration::minutes(3));
    eventually("an attempt to be refused", async || {
        drop(world.ops.retry_queued(&id).await);
        world.ops.queued(&id).await.unwrap().state != QueueState::Waiting
    })
    .await;
    let waiting = world.ops.queued(&id).await.unwrap();
    assert_eq!((waiting.state, waiting.is_unknown()), (QueueState::HeldForSetup, true));
    assert!(world.ops.resume(None).await.unwrap());
    settled(&world).await;
    assert!(!waits(&world, &id).await, "it was found, and nobody had to release it");
    assert_eq!(world.sandbox.submissions().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_of_hours_a_look_is_worth_more_than_one_try() {
    let (world, clock, mut smtp) = world("", |text| text).await;
    world.fault("smtp-drop-after-data=1");
    let id = send(&mut smtp, 1, &[BOB]).await;
    // As after a night without power: the network is there a moment later than Postern.
    world.fault("mail-unreachable");
    clock.turn(Duration::hours(9));
    eventually("a look in vain", async || world.ops.queued(&id).await.unwrap().next_at > clock.now()).await;
    let left = world.ops.queued(&id).await.unwrap();
    assert_eq!((left.attempts, left.resent), (0, 0), "it is looked for again before it is sent");
    world.sandbox.faults().clear_all();
    settled(&world).await;
    assert_eq!(world.sandbox.submissions().len(), 1, "it was found");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hour_of_looks_begins_anew_where_nobody_looked_for_a_while() {
    let (world, clock, mut smtp) = world("\n[delivery]\nunknown_outcome = \"hold\"\n", |text| text).await;
    world.fault("smtp-drop-after-data=1");
    let id = send(&mut smtp, 1, &[BOB]).await;
    world.fault("imap-reply=NO Server Unavailable. 15");
    clock.turn(Duration::minutes(3));
    let looks_in_vain = async || {
        eventually("a look in vain", async || {
            let left = world.ops.queued(&id).await.unwrap();
            left.state != QueueState::Waiting || left.next_at > clock.now()
        })
        .await;
        world.ops.queued(&id).await.unwrap().state
    };
    assert_eq!(looks_in_vain().await, QueueState::Waiting);
    // A night in which nobody looks.
    clock.turn(Duration::hours(9));
    assert_eq!(looks_in_vain().await, QueueState::Waiting, "another hour");
    world.sandbox.faults().clear_all();
    settled(&world).await;
    assert!(!waits(&world, &id).await, "it was found");
    assert_eq!(world.sandbox.submissions().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_disabled_while_it_is_looked_for_is_not_sent() {
    let (world, clock, mut smtp) = world("", |text| text).await;
    assert_eq!(send(&mut smtp, 1, &[BOB]).await, "", "it went at once");
    world.fault("smtp-drop-lost=1");
    let id = send(&mut smtp, 2, &[BOB]).await;
    world.fault("imap-slow-answers=600000");
    let logins = || world.sandbox.tally().logins.get(&Protocol::Imap).copied().unwrap_or_default();
    let before = logins();
    clock.turn(Duration::minutes(3));
    eventually("a look to begin", async || {
        drop(world.ops.retry_queued(&id).await);
        logins() > before
    })
    .await;
    let alice = ALICE.parse().unwrap();
    world.ops.disable_mailbox(&alice).await.unwrap();
    world.sandbox.faults().clear_all();
    eventually("it to be known that it is missing", async || !world.ops.queued(&id).await.unwrap().is_unknown()).await;
    eventually("it to be held", async || {
        drop(world.ops.retry_queued(&id).await);
        world.ops.queued(&id).await.unwrap().state == QueueState::HeldForSetup
    })
    .await;
    assert_eq!(world.sandbox.messages(BOB, "INBOX").len(), 1, "it was not sent");
    world.ops.enable_mailbox(&alice).await.unwrap();
    settled(&world).await;
    assert!(!waits(&world, &id).await);
    assert_eq!(world.sandbox.messages(BOB, "INBOX").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_each_time_is_not_sent_for_ever() {
    let (world, clock, mut smtp) = world("", |text| text).await;
    world.fault("smtp-no-copy");
    world.fault("smtp-drop-after-data=100");
    let id = send(&mut smtp, 1, &[BOB]).await;
    eventually("it to be held", async || {
        clock.turn(Duration::minutes(1));
        drop(world.ops.retry_queued(&id).await);
        world.ops.queued(&id).await.unwrap().state == QueueState::Held
    })
    .await;
    assert_eq!(world.ops.queued(&id).await.unwrap().obstacle.unwrap().code, "outcome-unknown");
    assert_eq!(world.sandbox.submissions().len(), 4);
    // Somebody who knows may have it sent once more.
    world.sandbox.faults().clear_all();
    world.ops.release_queued(&id).await.unwrap();
    settled(&world).await;
    assert!(!waits(&world, &id).await);
    assert_eq!(world.sandbox.submissions().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_look_has_found_missing_is_given_up_in_the_end_and_its_sender_told() {
    let (world, clock, mut smtp) = world("\n[delivery]\nunknown_outcome = \"hold\"\n", |text| text).await;
    assert_eq!(send(&mut smtp, 1, &[BOB]).await, "", "it went at once");
    clock.turn(Duration::seconds(1));
    world.fault("smtp-drop-lost=1");
    let id = send(&mut smtp, 2, &[BOB]).await;
    world.fault("smtp-recipient-reply=451 4.4.0 Not now");
    clock.turn(Duration::minutes(3));
    eventually("an attempt in vain", async || {
        let left = world.ops.queued(&id).await.unwrap();
        left.attempts == 1 && left.next_at > clock.now()
    })
    .await;
    assert!(!world.ops.queued(&id).await.unwrap().is_unknown(), "it is missing, and that is noted");
    clock.turn(Duration::days(9));
    eventually("it to be given up", async || !waits(&world, &id).await).await;
    world.sandbox.faults().clear_all();
    settled(&world).await;
    let report = world.sandbox.messages(ALICE, "INBOX");
    assert!(String::from_utf8_lossy(&report[0]).contains("Status: 4.4.7"), "{report:?}");
    assert_eq!(world.sandbox.messages(BOB, "INBOX").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_found_for_the_one_and_is_held_for_the_other_has_not_arrived_for_that_one() {
    let (world, clock, mut smtp) = world("", |text| text).await;
    world.fault("mail-unreachable");
    for command in ["MAIL FROM:<>", "RCPT TO:<bob@contoso.test>", "RCPT TO:<carol@elsewhere.test>", "DATA"] {
        smtp.smtp(command).await;
    }
    smtp.send(format!("From: {ALICE}\r\nMessage-ID: <1@contoso.test>\r\n\r\ntext\r\n.\r\n")).await;
    assert!(smtp.reply().await.contains("queued as"));
    world.sandbox.faults().clear_all();
    world.fault("smtp-reject-recipient=bob@contoso.test");
    world.fault("smtp-drop-after-data=1");
    clock.turn(Duration::minutes(2));
    eventually("the attempt to be lost", async || world.ops.queue().await.unwrap()[0].unknown_at().is_some()).await;
    clock.turn(Duration::minutes(3));
    settled(&world).await;
    let held = world.ops.queue().await.unwrap().remove(0);
    assert_eq!(held.obstacle.as_ref().unwrap().code, "report-undeliverable");
    assert!(!held.is_unknown(), "Carol has it, and Bob has not");
    world.sandbox.faults().clear_all();
    world.ops.release_queued(&held.id).await.unwrap();
    settled(&world).await;
    let submitted: Vec<Vec<String>> = world.sandbox.submissions().into_iter().map(|one| one.recipients).collect();
    assert_eq!(submitted, [vec!["carol@elsewhere.test".to_owned()], vec![BOB.to_owned()]]);
}
