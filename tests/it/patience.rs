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
    assert!(kept[0].is_unknown, "{kept:?}");
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
