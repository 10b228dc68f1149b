//! What the sender of a message is told of it: reports of failures and of delays.

use postern::base::Clock;
use postern::store::{QueueState, QueuedMessage, RecipientState};
use tokio::net::TcpStream;

use crate::common::{Peer, Plan, World, eventually};
use crate::queue::{ALICE, BOB, MESSAGE, assured, id, waiting};

/// A world whose queue goes by a clock that stands until it is turned.
pub async fn by_hand() -> (World, Clock) {
    // Ahead of the command line, whose "at once" is by the system's clock.
    let clock = Clock::by_hand(chrono::Utc::now() + chrono::Duration::minutes(30));
    (World::planned(Plan { clock: clock.clone(), ..Plan::default() }).await, clock)
}

fn reports(world: &World) -> Vec<String> {
    world.sandbox.messages(ALICE, "INBOX").iter().map(|mail| String::from_utf8_lossy(mail).into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_hears_of_each_failure_when_it_is_certain_and_of_none_that_it_does_not_want_to_hear_of() {
    let (world, clock) = by_hand().await;
    let mut smtp = assured(&world).await;
    world.fault("mail-unreachable");
    let recipients = ["gone@contoso.test", BOB, "never@contoso.test> NOTIFY=NEVER", "late@contoso.test> NOTIFY=DELAY"];
    smtp.smtp(&format!("MAIL FROM:<{ALICE}> ENVID=e1")).await;
    for recipient in recipients {
        let recipient = if recipient.contains('>') { recipient.to_owned() } else { format!("{recipient}>") };
        assert!(smtp.smtp(&format!("RCPT TO:<{recipient}")).await.starts_with("250 "));
    }
    smtp.smtp("DATA").await;
    smtp.send(MESSAGE.replace("\r\n.dot", "\r\n..dot") + ".\r\n").await;
    let id = id(&smtp.reply().await);
    world.sandbox.faults().clear_all();
    world.fault("smtp-reject-recipient=gone@contoso.test,never@contoso.test,late@contoso.test");
    world.fault("smtp-message-reply=451 4.4.0 Not now");
    eventually("the failures to be noted", async || {
        world.ops.retry_queued(&id).await.unwrap();
        let kept = waiting(&world).await;
        let states = |message: &QueuedMessage| message.recipients.iter().map(|one| one.state).collect::<Vec<_>>();
        let returned = RecipientState::Returned;
        kept.iter().any(|one| one.id == id && states(one) == [returned, RecipientState::Waiting, returned, returned])
    })
    .await;
    world.sandbox.faults().clear_all();
    eventually("the report", async || {
        world.ops.retry_all_queued().await.unwrap();
        waiting(&world).await.is_empty()
    })
    .await;
    let reports = reports(&world);
    assert_eq!(reports.len(), 1, "{reports:#?}");
    assert!(reports[0].contains("Final-Recipient: rfc822; gone@contoso.test"), "{}", reports[0]);
    assert!(reports[0].contains("Original-Envelope-Id: e1"), "{}", reports[0]);
    assert!(!reports[0].contains("never@contoso.test") && !reports[0].contains("late@contoso.test"), "{}", reports[0]);
    drop(clock);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_it_is_warned_once_after_four_hours() {
    let (world, clock) = by_hand().await;
    let mut smtp = assured(&world).await;
    world.fault("smtp-message-reply=451 4.4.0 Not now");
    smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
    smtp.smtp(&format!("RCPT TO:<{BOB}> NOTIFY=DELAY,FAILURE ORCPT=rfc822;robert@contoso.test")).await;
    smtp.smtp("RCPT TO:<carol@elsewhere.test>").await;
    smtp.smtp("DATA").await;
    smtp.send(MESSAGE.replace("\r\n.dot", "\r\n..dot") + ".\r\n").await;
    let id = id(&smtp.reply().await);
    let attempts = async || waiting(&world).await.iter().find(|one| one.id == id).map_or(0, |one| one.attempts);
    for hours in [3, 2, 2] {
        clock.turn(chrono::Duration::hours(hours));
        let before = attempts().await;
        eventually("an attempt", async || {
            // Again, as the end of the attempt before puts it off.
            world.ops.retry_queued(&id).await.unwrap();
            attempts().await > before
        })
        .await;
    }
    let kept = waiting(&world).await;
    let reports_waiting: Vec<&QueuedMessage> = kept.iter().filter(|one| one.is_report).collect();
    assert_eq!(reports_waiting.len(), 1, "{kept:#?}");
    world.sandbox.faults().clear_all();
    eventually("all to go out", async || {
        world.ops.retry_all_queued().await.unwrap();
        waiting(&world).await.is_empty()
    })
    .await;
    let reports = reports(&world);
    assert_eq!(reports.len(), 1);
    for part in [
        "Subject: Your mail is delayed\r\n",
        "\r\n\r\nOriginal-Recipient: rfc822;robert@contoso.test\r\nFinal-Recipient: rfc822; bob@contoso.test\r\nAction: delayed\r\nStatus: 4.4.0\r\n",
        "Will-Retry-Until: ",
    ] {
        assert!(reports[0].contains(part), "{part}\n{}", reports[0]);
    }
    assert!(!reports[0].contains("carol@"), "it did not ask for that: {}", reports[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_be_told_of_is_held_however_old_it_becomes() {
    let (world, clock) = by_hand().await;
    let mut smtp = assured(&world).await;
    world.fault("mail-unreachable");
    let of_nobody = async |smtp: &mut Peer<TcpStream>, to: &str| {
        smtp.smtp("MAIL FROM:<>").await;
        smtp.smtp(&format!("RCPT TO:<{to}>")).await;
        smtp.smtp("DATA").await;
        smtp.send("From: alice@contoso.test\r\n\r\nread\r\n.\r\n").await;
        id(&smtp.reply().await)
    };
    let (refused, old) = (of_nobody(&mut smtp, "gone@contoso.test").await, of_nobody(&mut smtp, BOB).await);
    let state = async |id: &str| world.ops.queued(id).await.unwrap().state;
    world.ops.retry_all_queued().await.unwrap();
    eventually("an attempt", async || {
        world.ops.retry_queued(&old).await.unwrap();
        world.ops.queued(&old).await.unwrap().attempts > 0
    })
    .await;
    eventually("its end", async || waiting(&world).await.iter().all(|one| one.next_at > clock.now())).await;
    world.sandbox.faults().clear_all();
    world.fault("smtp-reject-recipient=gone@contoso.test");
    world.ops.hold_queued(&old).await.unwrap();
    world.ops.retry_queued(&refused).await.unwrap();
    eventually("it to be held", async || state(&refused).await == QueueState::Held).await;
    world.ops.release_queued(&old).await.unwrap();
    clock.turn(chrono::Duration::days(30));
    world.fault("mail-unreachable");
    world.ops.retry_queued(&old).await.unwrap();
    eventually("the old one to be held", async || state(&old).await == QueueState::Held).await;
    assert!(reports(&world).is_empty() && world.sandbox.submissions().is_empty());
    for id in [&refused, &old] {
        assert_eq!(world.ops.queued(id).await.unwrap().obstacle.unwrap().code, "report-undeliverable");
    }
}
