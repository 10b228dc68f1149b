//! Who may stand as the sender of a message, and what is mended in its header.

use postern::base::Protocol;
use postern::store::{DeliveryMode, JournalFilter, JournalOutcome, SenderScope};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::common::{Peer, World, eventually, plain, reference};

const ALICE: &str = "alice@contoso.test";
const BOB: &str = "bob@contoso.test";

const BOTH: [DeliveryMode; 2] = [DeliveryMode::Direct, DeliveryMode::Assured];

fn scope(allowed: &[&str], force_from: bool) -> SenderScope {
    SenderScope { allowed: allowed.iter().map(|&one| one.to_owned()).collect(), force_from }
}

/// Sends a message from this sender of the envelope; the reply to MAIL or to the message.
async fn send(world: &World, mode: DeliveryMode, senders: SenderScope, from: &str, message: &str) -> String {
    let issued = world.issue_with(ALICE, |request| (request.delivery, request.senders) = (mode, senders)).await;
    let mut smtp = world.smtp(ALICE, issued.password.expose()).await;
    hand_in(&mut smtp, &format!("<{from}> SIZE=100"), message).await
}

/// The same in a session that has logged in.
async fn hand_in<S: AsyncRead + AsyncWrite + Unpin>(smtp: &mut Peer<S>, from: &str, message: &str) -> String {
    let told = smtp.smtp(&format!("MAIL FROM:{from}")).await;
    if !told.starts_with("250 ") {
        return told;
    }
    assert!(smtp.smtp(&format!("RCPT TO:<{BOB}>")).await.starts_with("250 "));
    assert!(smtp.smtp("DATA").await.starts_with("354 "));
    smtp.send(format!("{message}.\r\n")).await;
    let told = smtp.reply().await;
    assert!(smtp.smtp("NOOP").await.starts_with("250 "), "the session goes on");
    told
}

/// The Message-ID in the header of a message, without angle brackets.
fn message_id(message: &str) -> &str {
    message.split_once("\r\nMessage-ID: <").unwrap().1.split_once('>').unwrap().0
}

/// What arrived last.
fn arrived(world: &World) -> String {
    let submissions = world.sandbox.submissions();
    String::from_utf8_lossy(&submissions.last().unwrap().content).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_script_leaves_out_is_added_and_nothing_else_is_changed() {
    let world = World::start().await;
    for mode in BOTH {
        let told = send(&world, mode, SenderScope::default(), ALICE, "Subject: backup\r\n\r\n..all well\r\n").await;
        assert!(told.starts_with("250 2.0.0 "), "{told}");
        let message = arrived(&world);
        let (header, body) = message.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, ".all well\r\n");
        assert!(header.starts_with("Received: by "), "{header}");
        assert!(header.contains("\r\nFrom: alice@contoso.test\r\nDate: "), "{header}");
        assert!(header.ends_with("@contoso.test>\r\nSubject: backup"), "{header}");
        assert_eq!(header.matches("Message-ID: <").count(), 1, "{header}");
        assert!(!header.contains("127.0.0.1"), "nothing of where the client is: {header}");
        let parameters = world.sandbox.submissions().pop().unwrap().mail_parameters;
        assert!(parameters.contains(&"SIZE=2148".to_owned()), "{parameters:?}");

        let whole =
            "From: alice@contoso.test\r\nDate: Thu, 26 Nov 2026 12:00:00 +0000\r\nMessage-ID: <own@x>\r\n\r\nb\r\n";
        send(&world, mode, SenderScope::default(), ALICE, whole).await;
        let message = arrived(&world);
        assert!(
            message.ends_with(whole) && message.matches("\r\n").count() == whole.matches("\r\n").count() + 3,
            "{message}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_received_line_says_how_the_message_came_and_not_from_where() {
    let world = World::start().await;
    let issued = world.issue(ALICE).await;
    let mut smtp = world.smtp(ALICE, &issued).await;
    let whole = "From: alice@contoso.test\r\n\r\n\r\n";
    for (sender, protocol) in [("<alice@contoso.test>", "ESMTPA"), ("<alice@contoso.test> SMTPUTF8", "UTF8SMTPA")] {
        assert!(hand_in(&mut smtp, sender, whole).await.starts_with("250 2.0.0 "));
        assert!(arrived(&world).contains(&format!(" (Postern)\r\n\twith {protocol} id ")), "{}", arrived(&world));
    }
    let mut smtp = world.connect_tls(Protocol::Smtp).await;
    smtp.reply().await;
    assert!(smtp.smtp("EHLO secret-name.test").await.starts_with("250-"));
    assert!(smtp.smtp(&format!("AUTH PLAIN {}", plain(ALICE, &issued))).await.starts_with("235 "));
    assert!(hand_in(&mut smtp, "<alice@contoso.test>", whole).await.starts_with("250 2.0.0 "));
    let message = arrived(&world);
    assert!(message.contains(" (Postern)\r\n\twith ESMTPSA id "), "{message}");
    assert!(!message.contains("secret-name") && !message.contains("127.0.0.1"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_message_id_that_goes_out_is_the_one_that_is_known_here() {
    let world = World::start().await;
    for message in ["Subject: made\r\n\r\n", "Subject: given\r\nMessage-ID: <own@script.test>\r\n\r\n"] {
        for mode in BOTH {
            send(&world, mode, SenderScope::default(), ALICE, message).await;
            let sent = message_id(&arrived(&world)).to_owned();
            eventually("the journal", async || {
                let newest = world.ops.journal(&JournalFilter::default(), 1).await.unwrap();
                newest.first().is_some_and(|entry| entry.message_id.as_ref() == Some(&sent))
            })
            .await;
        }
        world.fault("mail-unreachable");
        let told = send(&world, DeliveryMode::Assured, SenderScope::default(), ALICE, message).await;
        assert!(told.contains("queued as"), "{told}");
        let queued = world.ops.queue().await.unwrap().remove(0);
        let spool = world.config.data_dir.join("spool");
        let kept = std::fs::read_dir(spool).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
        let kept = String::from_utf8(kept.last().unwrap()).unwrap();
        assert_eq!(queued.message_id.as_deref(), Some(message_id(&kept)));
        assert!(message_id(&kept).ends_with(if message.contains("own@") {
            "own@script.test"
        } else {
            "@contoso.test"
        }));
        world.sandbox.faults().clear_all();
        eventually("it to go out", async || {
            world.ops.retry_all_queued().await.unwrap();
            world.ops.queue().await.unwrap().is_empty()
        })
        .await;
        // But for the number of the attempt.
        let went = arrived(&world);
        let attempt = went.lines().nth(1).unwrap().rsplit_once('.').unwrap().1.to_owned();
        assert_eq!(went.replacen(&format!(".{attempt}"), ";", 1), kept, "what was kept is what goes out");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_in_many_pieces_keeps_its_body_octet_for_octet() {
    let world = World::start().await;
    let body: String = (0..20_000).map(|line| format!("{line} Grüße\tand  more \r\n")).collect();
    let given = "Subject:  Gr\u{fc}\u{df}e\r\n folded\r\nX-Odd : kept\r\nfrom: alice@contoso.test\r\n";
    for mode in BOTH {
        let message = format!("{given}\r\n{body}");
        assert!(send(&world, mode, SenderScope::default(), ALICE, &message).await.starts_with("250 2.0.0 "));
        assert!(arrived(&world).ends_with(&message), "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_goes_in_circles_is_refused() {
    let world = World::start().await;
    for mode in BOTH {
        let message = format!("{}From: {ALICE}\r\n\r\ntext\r\n", "Received: from a by b; now\r\n".repeat(50));
        let told = send(&world, mode, SenderScope::default(), ALICE, &message).await;
        assert!(told.starts_with("554 5.4.6 The message goes round in circles, ref "), "{told}");
        reference(&told);
    }
    assert_eq!(world.sandbox.submissions().len(), 0);
    assert_eq!(std::fs::read_dir(world.config.data_dir.join("spool")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_for_certain_senders_sends_for_them_only() {
    let world = World::start().await;
    let text = |from: &str| format!("From: {from}\r\n\r\ntext\r\n");
    for mode in BOTH {
        for (allowed, envelope, from) in
            [(&[ALICE][..], ALICE, ALICE), (&["@contoso.test"], "shared@contoso.test", "Shared <SHARED@contoso.test>")]
        {
            let told = send(&world, mode, scope(allowed, false), envelope, &text(from)).await;
            assert!(told.starts_with("250 2.0.0 "), "{from}: {told}");
        }
        let before = world.sandbox.submissions().len();
        for (allowed, envelope, from) in [
            (&[ALICE][..], "shared@contoso.test", ALICE),
            (&[ALICE], ALICE, "shared@contoso.test"),
            (&[ALICE], "", "shared@contoso.test"),
            (&["@contoso.test"], ALICE, "alice@sub.contoso.test"),
            (&[ALICE], ALICE, "alice@contoso.test, shared@contoso.test"),
            (&[ALICE], ALICE, "alice@contoso.test\r\nSender: shared@contoso.test"),
            (&[ALICE], ALICE, "shared@contoso.test <alice@contoso.test>"),
            // Two addresses, or one? Nobody knows what the next reader sees.
            (&[ALICE], ALICE, "<@shared.contoso.test:alice@contoso.test>"),
        ] {
            let told = send(&world, mode, scope(allowed, false), envelope, &text(from)).await;
            assert!(told.starts_with("550 5.7.1 This password may not send as that sender, ref "), "{from}: {told}");
            reference(&told);
        }
        // What would be added where From is missing is looked at as well; a report has no sender in its envelope.
        let bare = "Subject: s\r\n\r\n";
        let told = send(&world, mode, scope(&["@sales.contoso.test"], false), "", bare).await;
        assert!(told.starts_with("550 5.7.1 "), "{told}");
        assert_eq!(world.sandbox.submissions().len(), before, "nothing of it went out");
        let told = send(&world, mode, scope(&["@contoso.test"], false), "shared@contoso.test", bare).await;
        assert!(told.starts_with("250 2.0.0 "), "{told}");
        assert!(arrived(&world).contains("\r\nFrom: shared@contoso.test\r\n"), "{}", arrived(&world));
        eventually("the journal", async || {
            let filter = JournalFilter { outcome: Some(JournalOutcome::Refused), ..JournalFilter::default() };
            let refused = world.ops.journal(&filter, 100).await.unwrap();
            refused
                .iter()
                .any(|entry| entry.reply.as_deref() == Some("the app password may not send as shared@contoso.test"))
        })
        .await;
    }
    // Nor is it kept where Exchange is away.
    world.fault("mail-unreachable");
    for from in ["shared@contoso.test", "alice@contoso.test <shared@contoso.test>"] {
        let told = send(&world, DeliveryMode::Assured, scope(&[ALICE], false), ALICE, &text(from)).await;
        assert!(told.starts_with("550 5.7.1 This password may not send as that sender, ref "), "{told}");
    }
    assert!(world.ops.queue().await.unwrap().is_empty());
    assert_eq!(std::fs::read_dir(world.config.data_dir.join("spool")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_cannot_be_changed_in_the_program_is_changed_on_the_way() {
    let world = World::start().await;
    let message = "Date: d\r\nMessage-ID: <i@x>\r\nFrom: \"CRM 2009\" <crm@old.test>\r\nSubject: s\r\n\r\ntext\r\n";
    for mode in BOTH {
        let told = send(&world, mode, scope(&[], true), "crm@old.test", message).await;
        assert!(told.starts_with("250 2.0.0 "), "{told}");
        let submission = world.sandbox.submissions().pop().unwrap();
        assert_eq!(submission.mail_from, ALICE);
        let arrived = arrived(&world);
        assert!(
            arrived.contains(
                "\r\nFrom: \"CRM 2009\" <alice@contoso.test>\r\nReply-To: \"CRM 2009\" <crm@old.test>\r\nSubject: s\r\n"
            ),
            "{arrived}"
        );
        // With both, what the program names is looked at first.
        let told = send(&world, mode, scope(&["@contoso.test"], true), "crm@old.test", message).await;
        assert!(told.starts_with("550 5.7.1 "), "{told}");
    }
    world.fault("mail-unreachable");
    let told = send(&world, DeliveryMode::Assured, scope(&[], true), "crm@old.test", message).await;
    assert!(told.contains("queued as"), "{told}");
    world.sandbox.faults().clear_all();
    eventually("it to go out", async || {
        world.ops.retry_all_queued().await.unwrap();
        world.ops.queue().await.unwrap().is_empty()
    })
    .await;
    assert!(arrived(&world).contains("From: \"CRM 2009\" <alice@contoso.test>\r\n"), "{}", arrived(&world));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_exchange_takes_the_session_for_the_account_nobody_else_stands_in_the_header() {
    use crate::common::Plan;
    use postern::base::Mailbox;

    let world = World::planned(Plan { grant: "authorization_code", ..Plan::default() }).await;
    let (alice, shared): (Mailbox, Mailbox) = (ALICE.parse().unwrap(), "shared@contoso.test".parse().unwrap());
    let token = postern::base::Secret::new(world.sandbox.refresh_token_for(ALICE));
    world.ops.connect_with_refresh_token(&alice, token).await.unwrap();
    world.ops.remove_mailbox(&shared).await.unwrap();
    world.ops.add_mailbox(&shared, None, &[], Some(&alice)).await.unwrap();
    world.fault("smtp-shared-refused");
    let as_alice = "From: alice@contoso.test\r\n\r\ntext\r\n";
    let by_alice = "From: shared@contoso.test\r\nSender: alice@contoso.test\r\n\r\ntext\r\n";
    let as_shared = "From: Shared <shared@contoso.test>\r\n\r\ntext\r\n";
    let envelope = format!("<{shared}>");
    for mode in BOTH {
        let issued = world.issue_with(shared.as_str(), |request| request.delivery = mode).await;
        let mut smtp = world.smtp(shared.as_str(), issued.password.expose()).await;
        for message in [as_alice, by_alice] {
            let told = hand_in(&mut smtp, &envelope, message).await;
            assert!(told.starts_with("550 5.7.60 "), "{mode:?} {message}: {told}");
        }
        let told = hand_in(&mut smtp, &envelope, as_shared).await;
        assert!(told.starts_with("250 2.0.0 "), "{told}");
    }
    assert_eq!(world.sandbox.submissions().len(), 2);
    // What is put in the sender's place is the mailbox.
    for mode in BOTH {
        let issued = world.issue_with(shared.as_str(), |request| {
            (request.delivery, request.senders) = (mode, scope(&[], true));
        });
        let mut smtp = world.smtp(shared.as_str(), issued.await.password.expose()).await;
        let told = hand_in(&mut smtp, "<scanner@device.test>", "From: scanner@device.test\r\n\r\ntext\r\n").await;
        assert!(told.starts_with("250 2.0.0 "), "{told}");
        let told = hand_in(&mut smtp, &envelope, &format!("Resent-From: {ALICE}\r\n{as_shared}")).await;
        assert!(told.starts_with("550 5.7.60 "), "{told}");
    }
    assert_eq!(world.sandbox.submissions().len(), 4);

    // From the queue as well: when the message came, nobody knew as whom the session would be let in.
    let issued = world.issue_with(shared.as_str(), |request| request.delivery = DeliveryMode::Assured).await;
    let mut smtp = world.smtp(shared.as_str(), issued.password.expose()).await;
    world.fault("mail-unreachable");
    let folded = "X-Pad: x\r\n".to_owned() + &"\tpadding\r\n".repeat(9000);
    let padded = format!("{folded}{as_alice}");
    let too_long = format!("{}{as_alice}", folded.repeat(9));
    let doubled = "From: shared@contoso.test <shared@contoso.test>\r\n\r\ntext\r\n";
    for message in [as_alice, &padded, &too_long, as_shared, doubled] {
        let told = hand_in(&mut smtp, &envelope, message).await;
        assert!(told.contains("queued as"), "{told}");
    }
    world.sandbox.faults().clear_all();
    world.fault("smtp-shared-refused");
    eventually("the queue to be empty", async || world.ops.retry_all_queued().await.unwrap() == 0).await;
    let sent = world.sandbox.submissions();
    let to_bob = sent.iter().filter(|one| one.recipients == [BOB]).count();
    assert_eq!((sent.len(), to_bob), (9, 6), "two messages, and the reports about the others");
    let report = String::from_utf8_lossy(&world.sandbox.messages(shared.as_str(), "INBOX")[0]).into_owned();
    assert!(report.contains("Status: 5.7.60"), "{report}");
}
