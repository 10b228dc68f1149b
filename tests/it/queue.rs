//! Mail that is kept when Exchange cannot take it at once, and what becomes of it: delivered, returned, or held.

use futures::future::join_all;
use postern::base::Clock;
use postern::store::{DeliveryMode, QueueState, QueuedMessage, RecipientState};
use tokio::net::TcpStream;

use crate::common::{Peer, Plan, World, as_handed_in, eventually, within};
use crate::reports::by_hand;

pub const ALICE: &str = "alice@contoso.test";
pub const BOB: &str = "bob@contoso.test";
pub const MESSAGE: &str =
    "From: alice@contoso.test\r\nMessage-ID: <one@contoso.test>\r\nSubject: one\r\n\r\n.dot\r\ntext\r\n";

pub async fn assured(world: &World) -> Peer<TcpStream> {
    let issued = world.issue_with(ALICE, |request| request.delivery = DeliveryMode::Assured).await;
    world.smtp(ALICE, issued.password.expose()).await
}

/// A whole transaction; the answer to its message.
async fn send(smtp: &mut Peer<TcpStream>, recipients: &[&str]) -> String {
    let told = smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
    assert!(told.starts_with("250 2.1.0"), "{told}");
    for recipient in recipients {
        let told = smtp.smtp(&format!("RCPT TO:<{recipient}>")).await;
        assert!(told.starts_with("250 2.1.5"), "{told}");
    }
    assert!(smtp.smtp("DATA").await.starts_with("354 "));
    smtp.send(MESSAGE.replace("\r\n.dot", "\r\n..dot") + ".\r\n").await;
    smtp.reply().await
}

/// The first message that arrived is the one that was handed in.
fn arrived_as_handed_in(world: &World, when: &str) {
    let submitted = world.sandbox.submissions();
    let content = as_handed_in(&submitted[0].content, MESSAGE.as_bytes());
    assert_eq!(String::from_utf8_lossy(content), MESSAGE, "{when}");
}

/// The ID in `250 2.0.0 OK, queued as ID`.
pub fn id(told: &str) -> String {
    assert!(told.starts_with("250 2.0.0 "), "{told}");
    let (_, id) = told.rsplit_once("queued as ").unwrap_or_else(|| panic!("it is kept: {told}"));
    id.to_owned()
}

pub async fn waiting(world: &World) -> Vec<QueuedMessage> {
    world.ops.queue().await.unwrap()
}

/// Lets a message be tried, and waits until the queue is empty.
async fn goes_out(world: &World, id: &str) {
    eventually("the message to go out", async || {
        // What was remembered of the trouble may stand in the way for some seconds.
        drop(world.ops.retry_queued(id).await);
        waiting(world).await.is_empty()
    })
    .await;
    let spool = world.config.data_dir.join("spool");
    eventually("its file to go", async || !spool.join(format!("{id}.eml")).exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exchange_takes_at_once_is_passed_on_and_nothing_is_kept() {
    let world = World::start().await;
    let mut smtp = assured(&world).await;
    let told = send(&mut smtp, &[BOB]).await;
    assert!(told.starts_with("250 2.0.0 OK") && !told.contains("queued"), "{told}");
    for (fault, beginning) in [
        ("smtp-send-as-denied=1", "554 5.2.252 SendAsDenied, ref "),
        ("smtp-mailbox-full=1", "554 5.2.2 mailbox full, ref "),
        ("smtp-no-send-permission=1", "550 5.7.60 "),
    ] {
        world.fault(fault);
        let told = send(&mut smtp, &[BOB]).await;
        assert!(told.starts_with(beginning), "{fault}: {told}");
    }
    world.fault("smtp-reject-recipient=gone@contoso.test");
    smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
    assert!(smtp.smtp("RCPT TO:<gone@contoso.test>").await.starts_with("550 5.1.10 "));
    assert!(smtp.smtp("RSET").await.starts_with("250 "));
    assert_eq!(waiting(&world).await, []);
    assert_eq!(world.sandbox.submissions().len(), 1);
    assert_eq!(std::fs::read_dir(world.config.data_dir.join("spool")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_by_itself_is_kept_and_delivered_whole_when_it_has_passed() {
    join_all(
        [
            "token-status=503",
            "mail-unreachable",
            "smtp-banner-421",
            "smtp-mail-451",
            "smtp-concurrent-432",
            "smtp-quota",
            "smtp-daily-limit",
            "smtp-drop-mid-data",
            "smtp-recipient-reply=451 4.4.0 Not now",
            "smtp-message-reply=452 4.3.1 Insufficient system resources",
            "smtp-starttls-454",
        ]
        .map(async |fault| {
            // What may have arrived is looked for after two minutes.
            let world = World::planned(Plan { clock: Clock::fast(60), ..Plan::default() }).await;
            let mut smtp = assured(&world).await;
            world.fault(fault);
            let id = id(&send(&mut smtp, &[BOB, "carol@elsewhere.test"]).await);
            let kept = waiting(&world).await;
            assert_eq!(kept.len(), 1, "{fault}");
            let kept = &kept[0];
            assert_eq!((kept.id.as_str(), kept.state), (id.as_str(), QueueState::Waiting), "{fault}");
            // Nobody knows whether the last octets were still heard when the connection went.
            assert_eq!(kept.is_unknown(), fault == "smtp-drop-mid-data", "{fault}");
            let file = world.config.data_dir.join("spool").join(format!("{id}.eml"));
            assert_eq!(kept.size_octets, std::fs::metadata(file).unwrap().len(), "{fault}");
            assert_eq!(kept.message_id.as_deref(), Some("one@contoso.test"), "{fault}");
            assert!(kept.obstacle.is_some(), "{fault}");
            // The session goes on, and its next message waits as well.
            assert!(smtp.smtp("NOOP").await.starts_with("250 "), "{fault}");
            world.sandbox.faults().clear_all();
            goes_out(&world, &id).await;
            let submitted = world.sandbox.submissions();
            assert_eq!(submitted.len(), 1, "{fault}");
            assert_eq!(submitted[0].recipients, [BOB, "carol@elsewhere.test"], "{fault}");
            arrived_as_handed_in(&world, fault);
        }),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_has_to_mend_holds_the_message_and_it_goes_out_by_itself_afterwards() {
    join_all(
        [
            "smtp-auth-disabled",
            "token-error=7000222",
            "mailbox-no-permission=alice@contoso.test",
            "smtp-message-reply=430 4.2.0 STOREDRV; mailbox logon failure",
        ]
        .map(async |fault| {
            let mut world = World::start().await;
            let mut smtp = assured(&world).await;
            world.fault(fault);
            let id = id(&send(&mut smtp, &[BOB]).await);
            drop(smtp);
            let kept = waiting(&world).await;
            assert_eq!(kept[0].state, QueueState::HeldForSetup, "{fault}: {:?}", kept[0].obstacle);
            let obstacle = kept[0].obstacle.clone().unwrap();
            assert!(obstacle.remedy.is_some(), "{fault}: {obstacle:?}");
            // Tried in vain it is held on.
            world.ops.retry_queued(&id).await.unwrap();
            eventually("an attempt", async || waiting(&world).await[0].attempts == 1).await;
            eventually("its end", async || waiting(&world).await[0].state == QueueState::HeldForSetup).await;
            world.sandbox.faults().clear_all();
            if fault.starts_with("token-error") {
                // The same credential is presented again after five minutes, or by a new process.
                world.stop_serving().await;
                world.serve().await;
            }
            goes_out(&world, &id).await;
            assert_eq!(world.sandbox.submissions().len(), 1, "{fault}");
        }),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_that_has_to_wait_keeps_no_other_waiting_and_is_not_served_twice() {
    let world = World::start().await;
    let mut smtp = assured(&world).await;
    smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
    assert!(smtp.smtp(&format!("RCPT TO:<{BOB}>")).await.starts_with("250 "));
    world.fault("smtp-recipient-reply=452 4.5.3 Too many recipients");
    let told = smtp.smtp("RCPT TO:<carol@elsewhere.test> NOTIFY=FAILURE,DELAY").await;
    assert!(told.starts_with("250 2.1.5 "), "{told}");
    world.sandbox.faults().clear_all();
    assert!(smtp.smtp("DATA").await.starts_with("354 "));
    smtp.send(format!("{MESSAGE}.\r\n").replace("\r\n.dot", "\r\n..dot")).await;
    let id = id(&smtp.reply().await);
    assert_eq!(world.sandbox.submissions()[0].recipients, [BOB]);
    let kept = &waiting(&world).await[0];
    let states: Vec<RecipientState> = kept.recipients.iter().map(|recipient| recipient.state).collect();
    assert_eq!(states, [RecipientState::Delivered, RecipientState::Waiting]);
    goes_out(&world, &id).await;
    let submitted = world.sandbox.submissions();
    assert_eq!(submitted[1].recipients, ["carol@elsewhere.test"]);
    assert_eq!(submitted[1].recipient_parameters[0], ["NOTIFY=FAILURE,DELAY"]);
    // But for the number of the attempt.
    let [live, from_queue] = [0, 1].map(|place: usize| String::from_utf8_lossy(&submitted[place].content).into_owned());
    assert!(from_queue.lines().nth(1).unwrap().ends_with(".1;"), "{from_queue}");
    assert_eq!(from_queue.replacen(".1;", ";", 1), live);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_delivered_is_returned_to_its_sender_once_and_a_report_never_is() {
    let world = World::start().await;
    let mut smtp = assured(&world).await;
    world.fault("mail-unreachable");
    let id = id(&send(&mut smtp, &[BOB, "gone@contoso.test"]).await);
    world.sandbox.faults().clear_all();
    world.fault("smtp-reject-recipient=gone@contoso.test");
    goes_out(&world, &id).await;
    assert_eq!(world.sandbox.submissions()[0].recipients, [BOB]);
    let inbox = world.sandbox.messages(ALICE, "INBOX");
    assert_eq!(inbox.len(), 1);
    let report = String::from_utf8_lossy(&inbox[0]).into_owned();
    for part in [
        "Content-Type: multipart/report; report-type=delivery-status;",
        "Auto-Submitted: auto-replied\r\n",
        "To: alice@contoso.test\r\n",
        "Final-Recipient: rfc822; gone@contoso.test\r\nAction: failed\r\nStatus: 5.1.10\r\n",
        "Diagnostic-Code: smtp; 550 5.1.10 RESOLVER.ADR.RecipientNotFound",
        "Content-Type: message/delivery-status\r\n",
        "Subject: one\r\n",
    ] {
        assert!(report.contains(part), "{part}\n{report}");
    }
    assert!(!report.contains("\r\ntext\r\n"), "the mail itself is not returned");

    // A report that is refused is the administrator's, and no report is made of it.
    world.fault("mail-unreachable");
    let second = self::id(&send(&mut smtp, &["gone@contoso.test"]).await);
    world.sandbox.faults().clear_all();
    world.fault("smtp-reject-recipient=gone@contoso.test,alice@contoso.test");
    world.ops.retry_queued(&second).await.unwrap();
    eventually("the report to be held", async || {
        let kept = waiting(&world).await;
        kept.len() == 1 && kept[0].is_report && kept[0].state == QueueState::Held
    })
    .await;
    let held = waiting(&world).await.remove(0);
    assert_eq!(held.obstacle.as_ref().unwrap().code, "report-undeliverable");
    let troubles = world.ops.status().await.unwrap().troubles;
    assert!(troubles.iter().any(|trouble| trouble.said.contains("reports that cannot be delivered")), "{troubles:?}");
    assert_eq!(held.recipients[0].state, RecipientState::Waiting);
    world.sandbox.faults().clear_all();
    world.ops.release_queued(&held.id).await.unwrap();
    eventually("the report to arrive", async || world.sandbox.messages(ALICE, "INBOX").len() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_administrator_holds_releases_and_drops() {
    let world = World::start().await;
    let mut smtp = assured(&world).await;
    world.fault("mail-unreachable");
    let first = id(&send(&mut smtp, &[BOB]).await);
    let second = id(&send(&mut smtp, &[BOB]).await);
    world.ops.hold_queued(&first).await.unwrap();
    world.sandbox.faults().clear_all();
    let error = world.ops.retry_queued(&first).await.unwrap_err();
    assert_eq!(postern::base::Fault::code(&error), "queue-message-held");
    world.ops.drop_queued(&second).await.unwrap();
    assert_eq!(waiting(&world).await.iter().map(|message| message.state).collect::<Vec<_>>(), [QueueState::Held]);
    assert_eq!(std::fs::read_dir(world.config.data_dir.join("spool")).unwrap().count(), 1);
    world.ops.release_queued(&first).await.unwrap();
    eventually("it to go out", async || waiting(&world).await.is_empty()).await;
    assert_eq!(world.sandbox.submissions().len(), 1);
    let error = world.ops.drop_queued(&second).await.unwrap_err();
    assert_eq!(postern::base::Fault::code(&error), "queue-message-unknown");

    // What is taken off the list takes nothing with it: its mail is held, and goes out when it is back.
    world.fault("mail-unreachable");
    let third = id(&send(&mut smtp, &[BOB]).await);
    let removed = world.ops.remove_mailbox(&ALICE.parse().unwrap()).await.unwrap();
    assert_eq!((removed.revoked_passwords, removed.held_messages), (1, 1));
    world.sandbox.faults().clear_all();
    world.ops.release_queued(&third).await.unwrap();
    eventually("the attempt", async || waiting(&world).await[0].attempts == 1).await;
    eventually("it to wait for the list", async || {
        let kept = waiting(&world).await.remove(0);
        kept.state == QueueState::HeldForSetup && kept.obstacle.is_some_and(|one| one.code == "mailbox-not-listed")
    })
    .await;
    world.ops.add_mailbox(&ALICE.parse().unwrap(), None, &[], None).await.unwrap();
    goes_out(&world, &third).await;
    assert_eq!(world.sandbox.submissions().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_outlives_the_process_and_what_nobody_was_promised_does_not() {
    let mut world = World::start().await;
    let mut smtp = assured(&world).await;
    world.fault("mail-unreachable");
    let id = id(&send(&mut smtp, &[BOB]).await);
    drop(smtp);
    world.stop_serving().await;
    let spool = world.config.data_dir.join("spool");
    std::fs::write(spool.join("half.part"), b"half").unwrap();
    std::fs::write(spool.join("orphan1234.eml"), b"nobody was told").unwrap();
    world.sandbox.faults().clear_all();
    world.serve().await;
    let files: Vec<_> = std::fs::read_dir(&spool).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let mut files: Vec<_> = files.iter().filter_map(|name| name.to_str()).collect();
    files.sort_unstable();
    let mut expected = vec![format!("{id}.eml"), "left-over".to_owned()];
    expected.sort_unstable();
    assert_eq!(files, expected);
    assert!(spool.join("left-over/orphan1234.eml").exists(), "a restored store may have forgotten it");
    goes_out(&world, &id).await;
    arrived_as_handed_in(&world, "afterwards");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_not_complete_or_taken_back_is_not_kept() {
    let world = World::start().await;
    let issued = world.issue_with(ALICE, |request| request.delivery = DeliveryMode::Assured).await;
    world.fault("mail-unreachable");
    for how in ["gone", "reset", "nul"] {
        let mut smtp = world.smtp(ALICE, issued.password.expose()).await;
        smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
        smtp.smtp(&format!("RCPT TO:<{BOB}>")).await;
        match how {
            "reset" => assert!(smtp.smtp("RSET").await.starts_with("250 ")),
            _ => {
                assert!(smtp.smtp("DATA").await.starts_with("354 "));
                smtp.send("Subject: x\r\n\r\nhalf\r\n").await;
            }
        }
        if how == "nul" {
            smtp.send(b"a\0b\r\n.\r\n").await;
            assert!(smtp.reply().await.starts_with("554 5.6.0 "));
        }
        drop(smtp);
    }
    let spool = world.config.data_dir.join("spool");
    eventually("the drafts to go", async || std::fs::read_dir(&spool).unwrap().next().is_none()).await;
    assert_eq!(waiting(&world).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_shows_what_waits_for_people_and_for_programs() {
    let world = World::start().await;
    let mut smtp = assured(&world).await;
    world.fault("smtp-auth-disabled");
    let id = id(&send(&mut smtp, &[BOB, "carol@elsewhere.test"]).await);
    let run = async |args: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_postern"));
        command.arg("--config").arg(world.config_file()).args(args).env_remove("POSTERN_CONFIG").env("NO_COLOR", "1");
        let output = within("the command", command.stdin(std::process::Stdio::null()).output()).await.unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (status, told) = run(&["queue", "list", "--json"]).await;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(status, 0);
    let message = &told[0];
    let keys: Vec<&str> = message.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "accepted_at",
            "attempts",
            "code",
            "from",
            "id",
            "mailbox",
            "may_have_arrived",
            "next_at",
            "password_id",
            "reason",
            "recipients",
            "remedy",
            "report",
            "size",
            "state"
        ]
    );
    assert_eq!((&message["id"], &message["state"]), (&id.as_str().into(), &"held-for-setup".into()));
    assert_eq!((&message["from"], &message["code"]), (&ALICE.into(), &"exchange-denied".into()));
    assert_eq!(
        message["recipients"][1],
        serde_json::json!({"address": "carol@elsewhere.test", "state": "waiting", "reply": null})
    );
    let (_, told) = run(&["queue", "list"]).await;
    for part in [id.as_str(), ALICE, "held-for-setup", "bob@contoso.test and 1 more"] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    let (_, told) = run(&["queue", "show", &id]).await;
    assert!(
        told.contains("Set-CASMailbox -Identity alice@contoso.test -SmtpClientAuthenticationDisabled $false"),
        "{told}"
    );
    let (status, told) = run(&["status"]).await;
    assert!(status == 1 && told.contains("mail waiting") && told.contains("1, the oldest since "), "{told}");
    assert_eq!(run(&["queue", "hold", &id, "--json"]).await.0, 0);
    assert_eq!(waiting(&world).await[0].state, QueueState::Held);
    let (status, told) = run(&["queue", "drop", &id, "--json"]).await;
    assert_eq!((status, told.trim_end()), (0, format!("{{\"dropped\":[\"{id}\"]}}").as_str()));
    assert_eq!(run(&["password", "revoke", &world.ops.passwords().await.unwrap()[0].id, "--hold-mail"]).await.0, 0);
}

/// A tenant may let the session in as the account behind a shared mailbox only, and that account may send as itself.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_goes_out_as_its_own_mailbox_and_as_nobody_else() {
    use crate::common::Plan;

    let world = World::planned(Plan { grant: "authorization_code", ..Plan::default() }).await;
    let (alice, shared) = (ALICE.parse().unwrap(), "shared@contoso.test".parse().unwrap());
    let token = postern::base::Secret::new(world.sandbox.refresh_token_for(ALICE));
    world.ops.connect_with_refresh_token(&alice, token).await.unwrap();
    world.ops.remove_mailbox(&shared).await.unwrap();
    world.ops.add_mailbox(&shared, None, &[], Some(&alice)).await.unwrap();
    let issued = world.issue_with(shared.as_str(), |request| request.delivery = DeliveryMode::Assured).await;
    let mut smtp = world.smtp(shared.as_str(), issued.password.expose()).await;
    world.fault("mail-unreachable");
    // Nobody knows yet as whom Exchange will let the session in.
    let id = id(&send(&mut smtp, &[BOB]).await);
    world.sandbox.faults().clear_all();
    world.fault("smtp-shared-refused");
    goes_out(&world, &id).await;
    assert!(world.sandbox.messages(BOB, "INBOX").is_empty(), "it names Alice as its sender");
    let inbox = world.sandbox.messages(shared.as_str(), "INBOX");
    assert_eq!(inbox.len(), 1);
    assert!(String::from_utf8_lossy(&inbox[0]).contains("Status: 5.7.60"), "its owner is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_waited_too_long_is_given_up_and_its_sender_told_but_not_what_was_held() {
    use postern::store::{Queue, SqliteStore, Store};

    let world = World::start().await;
    let mut smtp = assured(&world).await;
    world.fault("mail-unreachable");
    let (old, held) = (id(&send(&mut smtp, &[BOB]).await), id(&send(&mut smtp, &["carol@elsewhere.test"]).await));
    // Five days pass, in which one of them was held.
    let store = SqliteStore::open(&world.config.data_dir).await.unwrap();
    let days = chrono::Duration::days;
    for (id, held) in [(&old, days(0)), (&held, days(3))] {
        let message = store.queued_message(id).await.unwrap().unwrap();
        let accepted_at = message.accepted_at - days(5);
        assert!(store.dequeue(id, None).await.unwrap());
        store.enqueue(&QueuedMessage { accepted_at, attempts: 1, held, ..message }).await.unwrap();
    }
    store.close().await;
    world.ops.retry_queued(&old).await.unwrap();
    eventually("it to be given up", async || waiting(&world).await.iter().all(|message| message.id != old)).await;
    world.sandbox.faults().clear_all();
    eventually("everything else to go out", async || world.ops.retry_all_queued().await.unwrap() == 0).await;
    let recipients: Vec<Vec<String>> = world.sandbox.submissions().into_iter().map(|one| one.recipients).collect();
    assert!(recipients.contains(&vec!["carol@elsewhere.test".to_owned()]) && recipients.len() == 2, "{recipients:?}");
    let report = String::from_utf8_lossy(&world.sandbox.messages(ALICE, "INBOX")[0]).into_owned();
    assert!(
        report.contains("Final-Recipient: rfc822; bob@contoso.test\r\nAction: failed\r\nStatus: 4.4.7\r\n"),
        "{report}"
    );
    assert!(world.sandbox.messages(BOB, "INBOX").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mailbox_sends_goes_out_in_the_order_in_which_it_came() {
    let world = World::start().await;
    let mut smtp = assured(&world).await;
    world.fault("mail-unreachable");
    let mut expected = Vec::new();
    for number in 0..12 {
        let recipient = format!("r{number}@elsewhere.test");
        id(&send(&mut smtp, &[&recipient]).await);
        expected.push(vec![recipient]);
    }
    let kept = waiting(&world).await;
    assert!(kept.windows(2).all(|pair| pair[0].next_at <= pair[1].next_at), "{kept:#?}");
    // In vain at first, which puts off all of them together.
    world.ops.retry_all_queued().await.unwrap();
    eventually("an attempt", async || waiting(&world).await[0].attempts == 1).await;
    eventually("the others to be put off", async || {
        let kept = waiting(&world).await;
        kept.iter().all(|message| message.next_at >= kept[0].next_at)
    })
    .await;
    world.sandbox.faults().clear_all();
    world.ops.retry_all_queued().await.unwrap();
    eventually("all to go out", async || waiting(&world).await.is_empty()).await;
    let sent: Vec<Vec<String>> = world.sandbox.submissions().into_iter().map(|one| one.recipients).collect();
    assert_eq!(sent, expected);
}

/// A reply that is none to what was asked says nothing about the message, least of all that it was taken.
#[tokio::test(flavor = "multi_thread")]
async fn an_acceptance_where_nothing_was_sent_is_none() {
    join_all(
        [
            "smtp-recipient-reply=354 Go on",
            "smtp-data-reply=250 2.0.0 OK",
            "smtp-data-reply=334 Go on",
            "smtp-message-reply=354 Go on",
        ]
        .map(async |fault| {
            let (world, clock) = by_hand().await;
            let mut smtp = assured(&world).await;
            world.fault(fault);
            let id = id(&send(&mut smtp, &[BOB]).await);
            clock.turn(chrono::Duration::minutes(3));
            world.ops.retry_queued(&id).await.unwrap();
            eventually("an attempt", async || {
                waiting(&world).await.first().is_none_or(|message| message.attempts == 1)
            })
            .await;
            eventually("its end", async || {
                waiting(&world).await.first().is_none_or(|message| message.next_at > clock.now())
            })
            .await;
            let kept = waiting(&world).await;
            assert_eq!(kept.len(), 1, "{fault}: it is still there");
            assert_eq!(kept[0].recipients[0].state, RecipientState::Waiting, "{fault}");
            assert!(world.sandbox.submissions().is_empty(), "{fault}");
            world.sandbox.faults().clear_all();
            clock.turn(chrono::Duration::minutes(3));
            goes_out(&world, &id).await;
            assert_eq!(world.sandbox.submissions().len(), 1, "{fault}");
            arrived_as_handed_in(&world, fault);
        }),
    )
    .await;
}
