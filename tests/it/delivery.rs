//! Sending in direct mode: Exchange's own answers, shortened, and nothing acknowledged that it has not accepted.

use postern::base::Protocol;
use tokio::net::TcpStream;

use crate::common::{Peer, World, as_handed_in, eventually, plain, reference, turn_clock};

const ALICE: &str = "alice@contoso.test";
const BOB: &str = "bob@contoso.test";
const MESSAGE: &str = "From: alice@contoso.test\r\nSubject: one\r\n\r\ntext\r\n";

type Smtp = Peer<TcpStream>;

async fn alice() -> (World, Smtp) {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    let smtp = world.smtp(ALICE, &password).await;
    (world, smtp)
}

/// MAIL, RCPT and DATA, which must succeed.
async fn open(smtp: &mut Smtp) {
    assert_eq!(&smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await[..9], "250 2.1.0");
    assert_eq!(&smtp.smtp(&format!("RCPT TO:<{BOB}>")).await[..9], "250 2.1.5");
    assert_eq!(&smtp.smtp("DATA").await[..4], "354 ");
}

/// A whole transaction; the answer to its message.
async fn send(smtp: &mut Smtp, message: impl AsRef<[u8]>) -> String {
    open(smtp).await;
    smtp.send([message.as_ref(), b".\r\n"].concat()).await;
    smtp.reply().await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_recipient_hears_its_own_answer_and_the_others_get_the_message() {
    let (world, mut smtp) = alice().await;
    world.fault("smtp-reject-recipient=nobody@contoso.test");
    assert_eq!(&smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await[..3], "250");
    let told = smtp.smtp("RCPT TO:<nobody@contoso.test>").await;
    assert!(told.starts_with("550 5.1.10 RESOLVER.ADR.RecipientNotFound, ref "), "{told}");
    reference(&told);
    assert_eq!(&smtp.smtp(&format!("RCPT TO:<{BOB}>")).await[..9], "250 2.1.5");
    assert_eq!(&smtp.smtp("DATA").await[..4], "354 ");
    smtp.send(format!("{MESSAGE}.\r\n")).await;
    assert_eq!(&smtp.reply().await[..9], "250 2.0.0");
    assert_eq!(world.sandbox.submissions()[0].recipients, [BOB]);

    // With nobody left there is nothing to send, and the connection goes on.
    assert_eq!(&smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await[..3], "250");
    assert_eq!(&smtp.smtp("RCPT TO:<nobody@contoso.test>").await[..3], "550");
    let told = smtp.smtp("DATA").await;
    assert!(told.starts_with("503 ") || told.starts_with("554 "), "{told}");
    assert_eq!(&smtp.smtp("RSET").await[..3], "250");
    assert_eq!(&send(&mut smtp, MESSAGE).await[..3], "250");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exchange_says_of_a_message_is_passed_on_short_and_referenced() {
    let (world, mut smtp) = alice().await;
    for (fault, beginning) in [
        ("smtp-send-as-denied=1", "554 5.2.252 SendAsDenied, ref "),
        ("smtp-quota=1", "451 4.7.1 "),
        ("smtp-daily-limit=1", "451 4.7.1 "),
        ("smtp-mailbox-full=1", "554 5.2.2 mailbox full, ref "),
        ("smtp-concurrent-432=1", "432 4.3.2 Concurrent connections limit exceeded. "),
        ("smtp-size-limit=10", "552 5.3.4 Message size exceeds fixed maximum message size, ref "),
    ] {
        world.fault(fault);
        let told = send(&mut smtp, MESSAGE).await;
        world.sandbox.faults().clear_all();
        assert!(told.starts_with(beginning), "{fault}: {told}");
        assert!(!told.contains('\n') && told.len() < 510, "{fault}: {told}");
        for hidden in ["STOREDRV", "Hostname", "outlook", "Lid:", "contoso"] {
            assert!(!told.contains(hidden), "{fault}: {told}");
        }
        reference(&told);
    }
    assert_eq!(world.sandbox.submissions().len(), 0, "nothing refused was kept");
    // The session is as good as new after each of them.
    assert_eq!(&send(&mut smtp, MESSAGE).await[..9], "250 2.0.0");
    assert_eq!(world.sandbox.submissions().len(), 1);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_full_reason_of_a_refusal_stands_in_the_log_under_its_reference() {
    let mut world = World::start().await;
    let password = world.issue(ALICE).await;
    let serving = crate::common::child::Serving::instead_of(&mut world, &[]).await;
    let mut smtp = world.smtp(ALICE, &password).await;
    let told = send(&mut smtp, MESSAGE.replace(ALICE, BOB)).await;
    let reference = reference(&told);
    serving.says(&reference).await;
    let log = serving.said();
    let line = log.lines().find(|line| line.contains(&reference)).unwrap();
    let id = &world.ops.passwords().await.unwrap()[0].id;
    for expected in [
        "WARN",
        "not allowed to send as",
        "BeginDiagnosticData",
        "mailbox.id=alice@contoso.test",
        &format!("password.id=\"{id}\""),
        "code=\"smtp-send-as-denied\"",
        "`Add-RecipientPermission -Identity bob@contoso.test -Trustee alice@contoso.test -AccessRights SendAs`",
    ] {
        assert!(line.contains(expected), "{expected} is missing: {line}");
    }
    assert!(!told.contains("not allowed"), "{told}");
    serving.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(serving.ended().await.0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_at_mail_is_temporary_and_over_with_its_cause() {
    for (fault, beginning) in [
        ("smtp-mail-451=1", "451 4.7.0 Temporary server error. Please try again later. PRX2, ref "),
        ("smtp-banner-421", "451 4.3.0 "),
        ("smtp-no-starttls", "451 4.3.0 "),
        ("smtp-starttls-454", "451 4.3.0 "),
        ("smtp-starttls-inject", "451 4.3.0 "),
        ("tls-untrusted", "451 4.3.0 "),
        ("tls-expired", "451 4.3.0 "),
        ("tls-wrong-name", "451 4.3.0 "),
        ("mail-unreachable", "451 4.3.0 "),
        ("smtp-auth-disabled", "451 4.7.0 "),
        ("smtp-mailbox-auth-disabled=alice@contoso.test", "451 4.7.0 "),
        ("smtp-security-defaults", "451 4.7.0 "),
        ("smtp-auth-reject", "451 4.7.0 "),
        ("smtp-challenge-json", "451 4.7.0 "),
        ("mailbox-no-permission=alice@contoso.test", "451 4.7.0 "),
    ] {
        // AUTH has been answered from the app password alone, whatever Exchange will say.
        let (world, mut smtp) = alice().await;
        assert_eq!(world.sandbox.tally().connections, 0, "{fault}");
        world.fault(fault);
        let told = smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
        assert!(told.starts_with(beginning), "{fault}: {told}");
        reference(&told);
        let tally = world.sandbox.tally();
        let clear = String::from_utf8_lossy(&tally.clear_octets);
        assert!(!clear.to_ascii_uppercase().contains("AUTH"), "{fault}: {clear}");
        assert!(!tally.access_tokens.iter().any(|token| clear.contains(token)), "{fault}");
        assert!(tally.connections <= 2, "{fault}: {} connections for one MAIL", tally.connections);
        let told = smtp.smtp(&format!("RCPT TO:<{BOB}>")).await;
        assert!(told.starts_with("503 "), "{fault}: {told}");

        world.sandbox.faults().clear_all();
        assert_eq!(&send(&mut smtp, MESSAGE).await[..9], "250 2.0.0", "{fault}");
        assert_eq!(world.sandbox.submissions().len(), 1, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_within_a_message_is_told_as_temporary_at_its_end() {
    let (world, mut smtp) = alice().await;
    let long = format!("{MESSAGE}{}", "0123456789\r\n".repeat(200_000));

    world.fault("smtp-drop-mid-data=1");
    let told = send(&mut smtp, &long).await;
    assert!(told.starts_with("451 4.3.0 "), "{told}");
    assert_eq!(world.sandbox.submissions().len(), 0);

    // Whether this one has arrived cannot be known, so it is not acknowledged.
    world.fault("smtp-drop-after-data=1");
    let told = send(&mut smtp, &long).await;
    assert!(told.starts_with("451 4.3.0 "), "{told}");
    assert_eq!(world.sandbox.submissions().len(), 1);

    // All of it was read, so what comes next is a command again.
    assert_eq!(&smtp.smtp("NOOP").await[..3], "250");
    assert_eq!(&send(&mut smtp, MESSAGE).await[..9], "250 2.0.0");
    assert_eq!(world.sandbox.submissions().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_within_a_message_has_sent_nothing() {
    let (world, mut smtp) = alice().await;
    open(&mut smtp).await;
    smtp.send(MESSAGE).await;
    drop(smtp);
    eventually("the connection to Exchange to end", async || world.sandbox.tally().open_connections == 0).await;
    assert_eq!(world.sandbox.submissions().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_a_nul_is_refused_and_never_completed() {
    let (world, mut smtp) = alice().await;
    let told = send(&mut smtp, b"Subject: x\r\n\r\nbe\0fore\r\nafter\r\n").await;
    assert!(told.starts_with("554 5.6.0 "), "{told}");
    assert_eq!(&smtp.smtp("NOOP").await[..3], "250");
    assert_eq!(&send(&mut smtp, MESSAGE).await[..9], "250 2.0.0");
    let submitted = world.sandbox.submissions();
    assert_eq!(submitted.len(), 1);
    assert!(submitted[0].content.ends_with(b"\r\n\r\ntext\r\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_four_ends_of_data_that_are_none_smuggle_nothing() {
    let (world, mut smtp) = alice().await;
    let forms = [
        "\n.\n",
        "\n.\r\n",
        "\r\n.\n",
        "\r.\r",
        "\r.\r\n",
        "\r\n.\r",
        "\n.\r",
        "\r.\n",
        "\r\n.\r\r\n",
        "\r\n.\r\r\r\n",
        "\r\n\0.\r\n",
        "\r\n.\0\r\n",
        "\r\n.\r\0\n",
        "\r\n\0.\n",
        "\r\n .\r\n",
        "\r\n. \r\n",
        "\r\n.\t\r\n",
        "\r\n..\r\n",
        "\u{85}.\u{85}",
        "\r\n.\u{85}",
        "\u{2028}.\u{2028}",
        "\r\n.\x0b\r\n",
        "\x0c.\x0c",
        "\n\n.\n\n",
    ];
    assert_eq!(forms.len(), 24);
    let mut accepted = 0;
    for form in forms {
        let smuggled =
            format!("MAIL FROM:<{ALICE}>\r\nRCPT TO:<scanner@contoso.test>\r\nDATA\r\nSubject: two\r\n\r\nevil\r\n");
        let message = format!("From: {ALICE}\r\nSubject: one\r\n\r\ngood{form}{smuggled}");
        let told = send(&mut smtp, &message).await;
        // Exactly one answer: the next one belongs to the next command.
        assert_eq!(smtp.smtp("NOOP").await.get(..3), Some("250"), "{form:?}");
        if form.contains('\0') {
            assert!(told.starts_with("554 5.6.0 "), "{form:?}: {told}");
        } else {
            assert!(told.starts_with("250 2.0.0 "), "{form:?}: {told}");
            accepted += 1;
            let submitted = world.sandbox.submissions();
            let last = submitted.last().unwrap();
            let words =
                |octets: &[u8]| octets.iter().copied().filter(|octet| !b"\r\n.".contains(octet)).collect::<Vec<u8>>();
            let added = words(&last.content).len().saturating_sub(words(message.as_bytes()).len());
            assert!(
                words(&last.content)[added..] == words(message.as_bytes()),
                "{form:?}: some of the text is missing"
            );
            assert!(last.content.starts_with(b"Received: by "), "{form:?}");
            assert_eq!(last.recipients, [BOB], "{form:?}");
        }
        let submitted = world.sandbox.submissions();
        assert_eq!(submitted.len(), accepted, "{form:?}");
        for submission in &submitted {
            let raw = String::from_utf8_lossy(&submission.raw).replace("\r\n", "");
            assert!(!raw.contains(['\r', '\n', '\0']), "{form:?}: {raw:?}");
        }
    }
    assert_eq!(accepted, 20);
    assert!(world.sandbox.messages("scanner@contoso.test", "INBOX").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn dots_and_empty_lines_arrive_as_they_were_meant() {
    let (world, mut smtp) = alice().await;
    let lines = ["", ".", "..", "...", ".x", "x.", "", "\u{e4}\u{20ac}", " .", "end"];
    let content: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let stuffed: String =
        lines.iter().map(|line| format!("{}{line}\r\n", if line.starts_with('.') { "." } else { "" })).collect();
    for piece in [1, 2, 3, 7, 4096] {
        open(&mut smtp).await;
        let whole = format!("Subject: dots\r\n\r\n{stuffed}.\r\n");
        for octets in whole.as_bytes().chunks(piece) {
            smtp.send(octets).await;
        }
        assert_eq!(&smtp.reply().await[..9], "250 2.0.0");
        let last = world.sandbox.submissions().pop().unwrap();
        let message = format!("Subject: dots\r\n\r\n{content}");
        let arrived = as_handed_in(&last.content, message.as_bytes());
        assert_eq!(String::from_utf8_lossy(arrived), message, "in pieces of {piece}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_to_exchange_is_kept_for_the_next_message_and_for_no_other_client() {
    let (world, mut smtp) = alice().await;
    for number in 1..=3 {
        assert_eq!(&send(&mut smtp, MESSAGE).await[..9], "250 2.0.0");
        assert_eq!((world.sandbox.submissions().len(), world.sandbox.tally().connections), (number, 1));
    }
    assert_eq!(&smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await[..3], "250");
    assert_eq!(&smtp.smtp("RSET").await[..3], "250");
    assert_eq!(&send(&mut smtp, MESSAGE).await[..9], "250 2.0.0");
    assert_eq!(world.sandbox.tally().connections, 1);
    let bobs = world.issue(BOB).await;
    let mut bob = world.smtp(BOB, &bobs).await;
    assert_eq!(&bob.smtp(&format!("MAIL FROM:<{BOB}>")).await[..3], "250");
    assert_eq!(world.sandbox.tally().connections, 2);
    assert_eq!(&smtp.smtp("QUIT").await[..3], "221");
    assert_eq!(smtp.rest().await, "");
    eventually("Alice's connection to end", async || world.sandbox.tally().open_connections == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_commands_are_answered_in_order() {
    let (world, mut smtp) = alice().await;
    world.fault("smtp-reject-recipient=nobody@contoso.test");
    smtp.send(format!(
        "MAIL FROM:<{ALICE}>\r\nRCPT TO:<nobody@contoso.test>\r\nRCPT TO:<{BOB}>\r\nRCPT TO:<scanner@contoso.test>\r\nDATA\r\n"
    ))
    .await;
    for expected in ["250 2.1.0", "550 5.1.1", "250 2.1.5", "250 2.1.5", "354 Start"] {
        let told = smtp.reply().await;
        assert!(told.starts_with(expected), "{told} instead of {expected}");
    }
    smtp.send(format!("{MESSAGE}.\r\nMAIL FROM:<{ALICE}>\r\nRSET\r\nNOOP\r\nQUIT\r\n")).await;
    for expected in ["250 2.0.0 OK", "250 2.1.0", "250 2.0.0", "250 2.0.0", "221 2.0.0"] {
        let told = smtp.reply().await;
        assert!(told.starts_with(expected), "{told} instead of {expected}");
    }
    assert_eq!(world.sandbox.submissions()[0].recipients, [BOB, "scanner@contoso.test"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_of_the_envelope_arrive() {
    let (world, mut smtp) = alice().await;
    let told = smtp.smtp(&format!("mail from: <{ALICE}> SIZE=120 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb")).await;
    assert_eq!(&told[..9], "250 2.1.0");
    let told = smtp.smtp(&format!("RCPT TO:<{BOB}> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@contoso.test")).await;
    assert_eq!(&told[..9], "250 2.1.5");
    assert_eq!(&smtp.smtp("RCPT TO:<j\u{f6}rg@contoso.test>").await[..9], "250 2.1.5");
    assert_eq!(&smtp.smtp("DATA").await[..4], "354 ");
    smtp.send(format!("{MESSAGE}\u{e4}\r\n.\r\n")).await;
    assert_eq!(&smtp.reply().await[..9], "250 2.0.0");
    let submission = world.sandbox.submissions().pop().unwrap();
    for parameter in ["SIZE=2168", "BODY=8BITMIME", "SMTPUTF8", "RET=HDRS", "ENVID=a+2Bb"] {
        assert!(
            submission.mail_parameters.iter().any(|sent| sent == parameter),
            "{parameter}: {:?}",
            submission.mail_parameters
        );
    }
    assert_eq!(submission.recipients, [BOB, "j\u{f6}rg@contoso.test"]);
    for parameter in ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;bob@contoso.test"] {
        assert!(
            submission.recipient_parameters[0].iter().any(|sent| sent == parameter),
            "{:?}",
            submission.recipient_parameters
        );
    }
    assert!(submission.content.ends_with("\u{e4}\r\n".as_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_announced_as_too_large_is_refused_before_it_comes() {
    let (world, mut smtp) = alice().await;
    let told = smtp.smtp(&format!("MAIL FROM:<{ALICE}> SIZE=157286401")).await;
    assert!(told.starts_with("552 5.3.4 "), "{told}");
    for wrong in ["-1", "many", "99999999999999999999999"] {
        let told = smtp.smtp(&format!("MAIL FROM:<{ALICE}> SIZE={wrong}")).await;
        assert!(told.starts_with("501 5.5.4 ") || told.starts_with("552 5.3.4 "), "{wrong}: {told}");
    }
    assert_eq!(world.sandbox.tally().connections, 0);
    assert_eq!(&smtp.smtp(&format!("MAIL FROM:<{ALICE}> SIZE=157286400")).await[..3], "250");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_arrives_octet_for_octet() {
    let (world, mut smtp) = alice().await;
    // Lines of every length, dots at their starts, all octets but CR, LF and NUL.
    let mut content = Vec::with_capacity(20 << 20);
    content.extend_from_slice(MESSAGE.as_bytes());
    let mut random: u32 = 7;
    while content.len() < 20 << 20 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if random & 3 == 0 {
            content.push(b'.');
        }
        let length = (random >> 8) as usize % 900;
        content.extend((0..length).map(
            |place| match (place as u8).wrapping_mul(31).wrapping_add((random >> 16) as u8) {
                b'\r' | b'\n' | 0 => b'x',
                octet => octet,
            },
        ));
        content.extend_from_slice(b"\r\n");
    }
    let mut stuffed = Vec::with_capacity(content.len() + 100_000);
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    assert_eq!(&send(&mut smtp, &stuffed).await[..9], "250 2.0.0");
    let arrived = world.sandbox.submissions().pop().unwrap().content;
    assert!(as_handed_in(&arrived, &content) == content, "the octets differ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_mailbox_is_let_in_and_told_at_mail() {
    let (world, mut smtp) = alice().await;
    world.ops.disable_mailbox(&ALICE.parse().unwrap()).await.unwrap();
    eventually("the mailbox to be disabled", async || {
        let told = smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
        let refused = told.starts_with("451 4.7.0 ");
        assert!(refused || told.starts_with("250 "), "{told}");
        assert_eq!(&smtp.smtp("RSET").await[..3], "250");
        refused
    })
    .await;
    world.ops.enable_mailbox(&ALICE.parse().unwrap()).await.unwrap();
    eventually("the mailbox to be enabled", async || {
        smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await.starts_with("250")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_is_disabled_within_a_transaction_gets_no_further_in_it() {
    let (world, mut smtp) = alice().await;
    let alice = ALICE.parse().unwrap();
    assert_eq!(&smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await[..9], "250 2.1.0");
    assert_eq!(&smtp.smtp(&format!("RCPT TO:<{BOB}>")).await[..9], "250 2.1.5");
    world.ops.disable_mailbox(&alice).await.unwrap();
    world.upkeep().await;
    for command in ["RCPT TO:<scanner@contoso.test>", "DATA"] {
        let told = smtp.smtp(command).await;
        assert!(told.starts_with("451 4.7.0 The mailbox needs your administrator, ref "), "{command}: {told}");
    }
    // What was said of the envelope so far still stands when it is enabled again.
    world.ops.enable_mailbox(&alice).await.unwrap();
    world.upkeep().await;
    assert_eq!(&smtp.smtp("DATA").await[..4], "354 ");
    smtp.send(format!("{MESSAGE}.\r\n")).await;
    assert_eq!(&smtp.reply().await[..9], "250 2.0.0");
    assert_eq!(world.sandbox.submissions()[0].recipients, [BOB]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_on_its_way_when_its_mailbox_is_disabled_is_not_completed() {
    let (world, mut smtp) = alice().await;
    open(&mut smtp).await;
    smtp.send(MESSAGE).await;
    world.ops.disable_mailbox(&ALICE.parse().unwrap()).await.unwrap();
    world.upkeep().await;
    smtp.send(".\r\n").await;
    let told = smtp.reply().await;
    assert!(told.starts_with("451 4.7.0 The mailbox needs your administrator, ref "), "{told}");
    let told = smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
    assert!(told.starts_with("451 4.7.0 "), "{told}");
    assert_eq!(world.sandbox.submissions().len(), 0);
    // The client still has it, and the session goes on.
    world.ops.enable_mailbox(&ALICE.parse().unwrap()).await.unwrap();
    world.upkeep().await;
    open(&mut smtp).await;
    smtp.send(format!("{MESSAGE}.\r\n")).await;
    assert_eq!(&smtp.reply().await[..9], "250 2.0.0");
    assert_eq!(world.sandbox.submissions().len(), 1);
}

#[tokio::test]
async fn the_rest_of_a_message_that_is_refused_already_may_not_dawdle_either() {
    for (silence, last) in [(61, "x"), (181, "")] {
        let (world, mut smtp) = alice().await;
        open(&mut smtp).await;
        smtp.send("Subject: x\r\n\r\nbe\0fore\r\n").await;
        eventually("the message to be given up", async || world.sandbox.tally().open_connections == 0).await;
        turn_clock(std::time::Duration::from_secs(silence)).await;
        smtp.send(last).await;
        let told = smtp.rest().await;
        assert_eq!(told, "421 4.4.2 Closing the connection\r\n", "after {silence} s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_ends_the_session_with_421_and_a_message_under_way_is_not_completed() {
    let world = World::start().await;
    let issued = world.issue_with(ALICE, |_| {}).await;
    let password = issued.password.expose().clone();
    let mut idle = world.smtp(ALICE, &password).await;
    let mut sending = world.smtp(ALICE, &password).await;
    open(&mut sending).await;
    sending.send(MESSAGE).await;
    let began = std::time::Instant::now();
    world.ops.revoke_password(&issued.row.id).await.unwrap();
    for told in [idle.rest().await, sending.rest().await] {
        assert_eq!(told, "421 4.3.2 The login is no longer valid, log in again\r\n");
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(world.sandbox.submissions().len(), 0);
    let mut again = world.connect(Protocol::Smtp, "none").await;
    again.reply().await;
    again.smtp("EHLO pc").await;
    assert_eq!(&again.smtp(&format!("AUTH PLAIN {}", plain(ALICE, &password))).await[..9], "535 5.7.8");
}
