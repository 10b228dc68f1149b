//! The journal: what became of messages.

use postern::store::{DeliveryMode, JournalEntry, JournalFilter, JournalOutcome};

use crate::common::{World, eventually};

const ALICE: &str = "alice@contoso.test";
const BOB: &str = "bob@contoso.test";

/// Outcome, recipients and reply's beginning of each entry, the oldest first.
async fn told(world: &World) -> Vec<(JournalOutcome, Vec<String>, String)> {
    let mut entries = world.ops.journal(&JournalFilter::default(), 100).await.unwrap();
    entries.reverse();
    let short = |reply: Option<String>| reply.unwrap_or_default().chars().take(9).collect();
    entries.into_iter().map(|entry: JournalEntry| (entry.outcome, entry.recipients, short(entry.reply))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_tells_what_became_of_each_recipient_and_nothing_of_the_content() {
    for mode in [DeliveryMode::Direct, DeliveryMode::Assured] {
        let world = World::start().await;
        let issued = world.issue_with(ALICE, |request| request.delivery = mode).await;
        let mut smtp = world.smtp(ALICE, issued.password.expose()).await;
        world.fault("smtp-reject-recipient=gone@contoso.test");
        smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
        assert!(smtp.smtp("RCPT TO:<gone@contoso.test>").await.starts_with("550 "));
        for recipient in [BOB, "Carol@elsewhere.test"] {
            assert!(smtp.smtp(&format!("RCPT TO:<{recipient}>")).await.starts_with("250 "));
        }
        smtp.smtp("DATA").await;
        smtp.send("From: alice@contoso.test\r\nSubject: secret plan\r\n\r\nsecret text\r\n.\r\n").await;
        assert!(smtp.reply().await.starts_with("250 2.0.0 "));
        eventually("the journal", async || told(&world).await.len() == 2).await;
        let recipients = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
        assert_eq!(
            told(&world).await,
            [
                (JournalOutcome::Refused, recipients(&["gone@contoso.test"]), "550 5.1.1".to_owned()),
                (JournalOutcome::Delivered, recipients(&[BOB, "Carol@elsewhere.test"]), "250 2.0.0".to_owned()),
            ],
            "{mode:?}"
        );
        let entry = world.ops.journal(&JournalFilter::default(), 1).await.unwrap().remove(0);
        assert_eq!((entry.mailbox.as_str(), entry.sender.as_str()), (ALICE, ALICE));
        assert_eq!(entry.password_id, issued.row.id);
        assert!(entry.size_octets > 60, "{entry:?}");
        let store = std::fs::read(world.config.data_dir.join("postern.db")).unwrap();
        assert!(memchr::memmem::find(&store, b"secret").is_none(), "nothing of the content is kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_has_what_waited_and_how_it_ended() {
    let world = World::start().await;
    let issued = world.issue_with(ALICE, |request| request.delivery = DeliveryMode::Assured).await;
    let mut smtp = world.smtp(ALICE, issued.password.expose()).await;
    world.fault("mail-unreachable");
    let mut ids = Vec::new();
    for _ in 0..2 {
        smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
        smtp.smtp(&format!("RCPT TO:<{BOB}>")).await;
        smtp.smtp("DATA").await;
        smtp.send("From: alice@contoso.test\r\n\r\ntext\r\n.\r\n").await;
        ids.push(smtp.reply().await.rsplit_once("queued as ").unwrap().1.to_owned());
    }
    world.sandbox.faults().clear_all();
    world.ops.drop_queued(&ids[0]).await.unwrap();
    eventually("the other to go out", async || {
        drop(world.ops.retry_queued(&ids[1]).await);
        world.ops.queue().await.unwrap().is_empty()
    })
    .await;
    let outcomes = async |id: &str| {
        let filter = JournalFilter { with: Some(id.to_owned()), ..JournalFilter::default() };
        let found = world.ops.journal(&filter, 9).await.unwrap();
        found.into_iter().map(|entry| entry.outcome).rev().collect::<Vec<_>>()
    };
    let expected = [JournalOutcome::Queued, JournalOutcome::Delivered];
    eventually("its end", async || outcomes(&ids[1]).await == expected).await;
    let mut dropped = outcomes(&ids[0]).await;
    dropped.sort_by_key(|outcome| outcome.name());
    assert_eq!(dropped, [JournalOutcome::Dropped, JournalOutcome::Queued]);
    let unknown = world.ops.queued(&ids[1]).await.unwrap_err();
    let remedy = postern::base::Fault::remedy(&unknown).unwrap();
    assert!(remedy.contains(&format!("postern queue journal --with {}", ids[1])), "{remedy}");
}
