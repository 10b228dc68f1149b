//! Exchange's limits: what Postern keeps to, so that nobody is refused.

use futures::future::join_all;
use postern::base::{Clock, Protocol};
use postern::sandbox::Options;
use postern::store::{DeliveryMode, JournalFilter, JournalOutcome};

use crate::common::{Plan, World, eventually};

const ALICE: &str = "alice@contoso.test";
const BOB: &str = "bob@contoso.test";

/// How much faster the clock runs that Exchange, Postern's limits and the queue go by.
const PACE: u32 = 60;

async fn strict(faults: &[&str], more: &str) -> World {
    let clock = Clock::fast(PACE);
    let sandbox = Options { clock: clock.clone(), ..Options::default() };
    let world = World::planned(Plan { sandbox, clock, more: more.to_owned(), ..Plan::default() }).await;
    for fault in faults {
        world.fault(fault);
    }
    world
}

/// Sends so many messages one after the other on one connection; each must be taken.
async fn sends(world: &World, password: &str, client: usize, messages: usize) {
    let mut smtp = world.smtp(ALICE, password).await;
    for number in 0..messages {
        let told = smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
        assert!(told.starts_with("250 "), "{client}/{number}: {told}");
        let told = smtp.smtp(&format!("RCPT TO:<{BOB}>")).await;
        assert!(told.starts_with("250 "), "{client}/{number}: {told}");
        assert!(smtp.smtp("DATA").await.starts_with("354 "));
        smtp.send(format!("From: {ALICE}\r\nSubject: {client}/{number}\r\n\r\ntext\r\n.\r\n")).await;
        let told = smtp.reply().await;
        assert!(told.starts_with("250 2.0.0 "), "{client}/{number}: {told}");
    }
}

fn subject(content: &[u8]) -> String {
    let text = String::from_utf8_lossy(content).into_owned();
    text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_mails_of_twenty_clients_all_arrive_and_exchange_never_has_to_refuse() {
    let world = strict(&["smtp-per-minute=30", "smtp-recipients-per-day=10000"], "").await;
    let issued = world.issue_with(ALICE, |request| request.delivery = DeliveryMode::Assured).await;
    let password = issued.password.expose();
    join_all((0..20).map(|client| sends(&world, password, client, 25))).await;
    eventually("all of them", async || world.sandbox.submissions().len() >= 500).await;
    let submitted = world.sandbox.submissions();
    let mut subjects: Vec<String> = submitted.iter().map(|one| subject(&one.content)).collect();
    // Each client's own come in their order.
    for client in 0..20 {
        let own: Vec<usize> = subjects
            .iter()
            .filter_map(|subject| subject.split_once('/'))
            .filter(|(name, _)| *name == client.to_string())
            .map(|(_, number)| number.parse().unwrap())
            .collect();
        assert_eq!(own, (0..25).collect::<Vec<_>>(), "client {client}");
    }
    subjects.sort();
    subjects.dedup();
    assert_eq!(subjects.len(), 500, "none is missing, none came twice");
    assert_eq!(world.sandbox.tally().over_limits, 0, "not one was one too many");
    assert!(world.sandbox.tally().logins[&Protocol::Smtp] < 100, "connections are used again");
    assert!(world.ops.queue().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recipients_of_a_day_are_kept_to_also_after_a_restart() {
    let more = "\n[tenant.limits]\nrecipients_per_day = 5\n";
    let mut world = strict(&["smtp-recipients-per-day=5"], more).await;
    let issued = world.issue_with(ALICE, |request| request.delivery = DeliveryMode::Assured).await;
    let password = issued.password.expose();
    sends(&world, password, 1, 4).await;
    eventually("the journal", async || {
        let filter = JournalFilter { outcome: Some(JournalOutcome::Delivered), ..JournalFilter::default() };
        world.ops.journal(&filter, 9).await.unwrap().len() == 4
    })
    .await;
    world.stop_serving().await;
    world.serve().await;
    sends(&world, password, 2, 3).await;
    assert_eq!(world.sandbox.submissions().len(), 5);
    let waiting = world.ops.queue().await.unwrap();
    assert_eq!(waiting.len(), 2);
    assert_eq!(waiting[0].obstacle.as_ref().unwrap().code, "exchange-limits");
    assert_eq!(world.sandbox.tally().over_limits, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_client_waits_its_turn_and_hears_that_it_may_try_again_when_that_takes_too_long() {
    let more = "\n[tenant.limits]\nat_once = 1\nper_minute = 2\n[delivery]\npatience = \"1s\"\n";
    let world = strict(&[], more).await;
    let password = world.issue(ALICE).await;
    sends(&world, &password, 1, 2).await;
    let mut smtp = world.smtp(ALICE, &password).await;
    let told = smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
    assert!(told.starts_with("451 4.3.0 "), "{told}");
    let mut again = async || smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
    eventually("room again", async || again().await.starts_with("250 ")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exchange_delays_or_fails_now_and_then_arrives_once() {
    for fault in ["smtp-per-minute-delay=5", "smtp-prx-every=3"] {
        let world = strict(&[fault], "\n[tenant.limits]\nper_minute = 1000\n").await;
        let issued = world.issue_with(ALICE, |request| request.delivery = DeliveryMode::Assured).await;
        sends(&world, issued.password.expose(), 1, 12).await;
        eventually("all of them", async || {
            world.ops.retry_all_queued().await.unwrap();
            world.ops.queue().await.unwrap().is_empty()
        })
        .await;
        assert_eq!(world.sandbox.submissions().len(), 12, "{fault}");
    }
}
