//! How long a client waits for Exchange before its message is kept.

use std::time::{Duration, Instant};

use postern::base::{Clock, Protocol};
use postern::sandbox::read_fault;
use postern::store::DeliveryMode;
use tokio::net::TcpStream;

use crate::common::{Peer, Plan, World, eventually};

const ALICE: &str = "alice@contoso.test";
const BOB: &str = "bob@contoso.test";

async fn assured(world: &World) -> Peer<TcpStream> {
    let issued = world.issue_with(ALICE, |request| request.delivery = DeliveryMode::Assured).await;
    world.smtp(ALICE, issued.password.expose()).await
}

async fn send(smtp: &mut Peer<TcpStream>, number: u32) -> String {
    for command in [format!("MAIL FROM:<{ALICE}>"), format!("RCPT TO:<{BOB}>")] {
        let told = smtp.smtp(&command).await;
        assert!(told.starts_with("250 "), "{told}");
    }
    assert!(smtp.smtp("DATA").await.starts_with("354 "));
    smtp.send(format!("From: {ALICE}\r\nMessage-ID: <{number}@contoso.test>\r\n\r\ntext\r\n.\r\n")).await;
    smtp.reply().await
}

/// Without parting from the connections that wait.
fn fault(world: &World, fault: &str) {
    let (name, value) = read_fault(fault).unwrap();
    world.sandbox.faults().set(name, value.as_deref()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_a_message_that_takes_longer_than_mail_programs_wait_keeps_it_and_it_arrives_once() {
    let world = World::planned(Plan { clock: Clock::fast(60), ..Plan::default() }).await;
    let mut smtp = assured(&world).await;
    // 90 seconds of that clock.
    fault(&world, "smtp-slow-data=1500");
    let told = send(&mut smtp, 1).await;
    assert!(told.contains("queued as"), "{told}");
    let kept = world.ops.queue().await.unwrap();
    assert!(kept[0].is_unknown(), "{kept:?}");
    assert!(kept[0].obstacle.as_ref().unwrap().reason.contains("within 55 s"), "{kept:?}");
    // The answer still comes, and nothing has to be looked for.
    eventually("the answer", async || world.ops.queue().await.unwrap().is_empty()).await;
    assert_eq!(world.sandbox.submissions().len(), 1);
    assert!(!world.sandbox.tally().logins.contains_key(&Protocol::Imap));
    // A refusal that comes so late is told to the sender.
    fault(&world, "smtp-no-send-permission=1");
    let told = send(&mut smtp, 2).await;
    assert!(told.contains("queued as"), "{told}");
    eventually("the report", async || world.sandbox.messages(ALICE, "INBOX").len() == 1).await;
    let report = String::from_utf8_lossy(&world.sandbox.messages(ALICE, "INBOX")[0]).into_owned();
    assert!(report.contains("Status: 5.7.60"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_has_gone_silent_while_it_waited_costs_the_client_no_more_than_its_patience() {
    let more = "\n[delivery]\npatience = \"1s\"\n";
    let world = World::planned(Plan { more: more.to_owned(), ..Plan::default() }).await;
    let mut smtp = assured(&world).await;
    let told = send(&mut smtp, 1).await;
    assert!(told.starts_with("250 2.0.0 OK") && !told.contains("queued"), "{told}");
    fault(&world, "smtp-slow-answers=600000");
    let began = Instant::now();
    let told = send(&mut smtp, 2).await;
    assert!(told.contains("queued as"), "{told}");
    // An answer may take 30 seconds once it is waited for without end.
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
}

/// A message whose answer is still awaited when its client hears that it is kept; its ID. A minute of the world's clock is a second.
async fn kept_and_awaited(world: &World, smtp: &mut Peer<TcpStream>) -> String {
    fault(world, "smtp-slow-data=5000");
    let told = send(smtp, 1).await;
    let Some((_, id)) = told.rsplit_once("queued as ") else { panic!("{told}") };
    id.to_owned()
}

fn fast() -> Plan {
    Plan { clock: Clock::fast(60), ..Plan::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_beside_a_transaction_whose_answer_is_awaited_whoever_wants_that() {
    let world = World::planned(fast()).await;
    let mut smtp = assured(&world).await;
    kept_and_awaited(&world, &mut smtp).await;
    // Also when it has been as long as it takes until other messages are looked for.
    eventually("the answer", async || {
        world.ops.retry_all_queued().await.unwrap();
        world.ops.queue().await.unwrap().is_empty()
    })
    .await;
    assert_eq!(world.sandbox.submissions().len(), 1);
    assert!(!world.sandbox.tally().logins.contains_key(&Protocol::Imap));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_connection_breaks_nobody_waits_for_its_answer_any_longer() {
    let world = World::planned(fast()).await;
    let mut smtp = assured(&world).await;
    fault(&world, "smtp-drop-lost=1");
    let id = kept_and_awaited(&world, &mut smtp).await;
    let kept = world.ops.queued(&id).await.unwrap();
    let kept_at = kept.unknown_at().unwrap();
    assert_eq!(kept.next_at, kept_at + chrono::Duration::minutes(11));
    eventually("it to be looked for sooner", async || {
        world.ops.queued(&id).await.unwrap().next_at < kept_at + chrono::Duration::minutes(11)
    })
    .await;
    // Exchange had it for so long, and may have taken it at the last moment.
    let broken = world.ops.queued(&id).await.unwrap();
    let broke_at = broken.unknown_at().unwrap();
    assert!(broke_at > kept_at + chrono::Duration::minutes(2), "{broke_at} {kept_at}");
    assert_eq!(broken.next_at, broke_at + chrono::Duration::minutes(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_while_the_process_ends_is_taken_up() {
    let mut world = World::planned(fast()).await;
    let mut smtp = assured(&world).await;
    kept_and_awaited(&world, &mut smtp).await;
    // Nothing else is under way, and the session that handed it in has gone.
    drop(smtp);
    world.stop_serving().await;
    assert!(world.ops.queue().await.unwrap().is_empty(), "its acceptance was heard");
    assert_eq!(world.sandbox.submissions().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_while_the_mailbox_is_being_served_is_not_forgotten() {
    for stops in [false, true] {
        let mut world = World::planned(fast()).await;
        let mut smtp = assured(&world).await;
        let mut other = assured(&world).await;
        let id = kept_and_awaited(&world, &mut smtp).await;
        fault(&world, "mail-unreachable");
        assert!(send(&mut other, 2).await.contains("queued as"));
        world.sandbox.faults().clear(read_fault("mail-unreachable").unwrap().0);
        eventually("the attempt at the second", async || {
            world.ops.queue().await.unwrap().iter().any(|one| one.attempts == 1 && one.is_unknown())
        })
        .await;
        // Its answer comes before that of the second, and the mailbox is being served so long.
        if stops {
            world.stop_serving().await;
        } else {
            world.ops.retry_queued(&id).await.unwrap();
        }
        eventually("both to go", async || world.ops.queue().await.unwrap().is_empty()).await;
        assert_eq!(world.sandbox.submissions().len(), 2);
        assert!(!world.sandbox.tally().logins.contains_key(&Protocol::Imap), "nothing had to be looked for");
    }
}
