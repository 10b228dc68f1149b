use std::time::Duration;

use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use crate::sandbox::tests::{ALICE, BOB, Peer, app_token, client_config, start, start_with, user_token, xoauth2};
use crate::sandbox::{FaultName, Sandbox};

pub(super) async fn secured(sandbox: &Sandbox) -> Peer {
    let mut peer = Peer::clear(sandbox.smtp_address()).await;
    peer.line().await;
    peer.send("EHLO client.test\r\n").await;
    peer.until("250 SMTPUTF8\r\n").await;
    assert_eq!(peer.ask("STARTTLS").await, "220 2.0.0 SMTP server ready");
    let mut peer = peer.secured(client_config(sandbox)).await;
    peer.send("EHLO client.test\r\n").await;
    peer.until("250 SMTPUTF8\r\n").await;
    peer
}

async fn logged_in(sandbox: &Sandbox) -> Peer {
    let token = app_token(sandbox).await;
    let mut peer = secured(sandbox).await;
    assert_eq!(peer.ask("AUTH XOAUTH2").await, "334 ");
    assert_eq!(peer.ask(&xoauth2(ALICE, &token)).await, "235 2.7.0 Authentication successful");
    peer
}

/// Sends a message from Alice to Bob; the answer to the final dot.
pub(super) async fn submit(peer: &mut Peer, message: &str) -> String {
    assert_eq!(peer.ask("MAIL FROM:<alice@contoso.test>").await, "250 2.1.0 Sender OK");
    assert_eq!(peer.ask("RCPT TO:<bob@contoso.test>").await, "250 2.1.5 Recipient OK");
    assert_eq!(peer.ask("DATA").await, "354 Start mail input; end with <CRLF>.<CRLF>");
    peer.ask(&format!("{message}\r\n.")).await
}

#[tokio::test]
async fn a_foreign_client_sends_a_message_that_arrives_and_is_filed() {
    let sandbox = start().await;
    let token = user_token(&sandbox, ALICE, "SMTP.Send").await;
    let ca = Certificate::from_pem(sandbox.ca_pem().as_bytes()).unwrap();
    let tls = TlsParameters::builder("localhost".into()).add_root_certificate(ca).build().unwrap();
    let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
        .port(sandbox.smtp_address().port())
        .tls(Tls::Required(tls))
        .authentication(vec![Mechanism::Xoauth2])
        .credentials(Credentials::new(ALICE.into(), token))
        .build();
    let message = Message::builder()
        .from("Alice <alice@contoso.test>".parse().unwrap())
        .to("bob@contoso.test".parse().unwrap())
        .subject("Hello")
        .body(".a dot\r\nand more\r\n".to_owned())
        .unwrap();
    transport.send(message).await.unwrap();

    let submissions = sandbox.submissions();
    assert_eq!(submissions.len(), 1);
    let submission = &submissions[0];
    assert_eq!((submission.mailbox.as_str(), submission.mail_from.as_str()), (ALICE, ALICE));
    assert_eq!(submission.recipients, [BOB]);
    let content = String::from_utf8(submission.content.clone()).unwrap();
    let raw = String::from_utf8(submission.raw.clone()).unwrap();
    // This client ends every message with an empty line of its own.
    assert!(content.ends_with("\r\n\r\n.a dot\r\nand more\r\n\r\n"), "{content:?}");
    assert!(raw.ends_with("\r\n\r\n..a dot\r\nand more\r\n\r\n.\r\n"), "{raw:?}");
    assert_eq!(sandbox.messages(BOB, "INBOX"), [submission.content.as_slice()]);
    assert_eq!(sandbox.messages(ALICE, "Sent Items"), [submission.content.as_slice()]);
    let tally = sandbox.tally();
    let clear = String::from_utf8(tally.clear_octets).unwrap();
    assert!(clear.ends_with("STARTTLS\r\n"), "{clear:?}");
}

#[tokio::test]
async fn the_lists_of_ehlo_are_those_of_exchange_in_their_order() {
    let sandbox = start().await;
    let mut peer = Peer::clear(sandbox.smtp_address()).await;
    let banner = peer.line().await;
    assert!(
        banner.starts_with("220 SY5P282CA0097.outlook.office365.com Microsoft ESMTP MAIL Service ready at "),
        "{banner}"
    );
    peer.send("EHLO x\r\n").await;
    let keywords = |text: String| -> Vec<String> {
        text.lines().skip(1).map(|line| line.get(4..).unwrap_or_default().to_owned()).collect()
    };
    let before = keywords(peer.until("250 SMTPUTF8\r\n").await);
    let list = |fifth| {
        [
            "SIZE 157286400",
            "PIPELINING",
            "DSN",
            "ENHANCEDSTATUSCODES",
            fifth,
            "8BITMIME",
            "BINARYMIME",
            "CHUNKING",
            "SMTPUTF8",
        ]
    };
    assert_eq!(before, list("STARTTLS"));
    assert_eq!(peer.ask("HELO x").await, "250 SY5P282CA0097.outlook.office365.com Hello [127.0.0.1]");
    peer.ask("STARTTLS").await;
    let mut peer = peer.secured(client_config(&sandbox)).await;
    assert_eq!(peer.ask("AUTH XOAUTH2").await, "503 5.5.2 Send hello first");
    peer.send("EHLO x\r\n").await;
    assert_eq!(keywords(peer.until("250 SMTPUTF8\r\n").await), list("AUTH LOGIN XOAUTH2"));
}

#[tokio::test]
async fn commands_out_of_order_are_refused_in_the_words_of_exchange() {
    let sandbox = start().await;
    let mut peer = Peer::clear(sandbox.smtp_address()).await;
    peer.line().await;
    assert!(
        peer.ask("MAIL FROM:<alice@contoso.test>").await.starts_with("451 5.7.3 STARTTLS is required to send mail [")
    );
    peer.ask("HELO x").await;
    assert!(peer.ask("AUTH XOAUTH2").await.starts_with("500 5.3.3 Unrecognized command 'AUTH' ["));
    let mut peer = secured(&sandbox).await;
    assert!(
        peer.ask("MAIL FROM:<alice@contoso.test>")
            .await
            .starts_with("530 5.7.57 Client not authenticated to send mail. [")
    );
    assert!(peer.ask("unknown").await.starts_with("500 5.3.3 Unrecognized command 'unknown' ["));
    assert!(peer.ask("STARTTLS").await.starts_with("500 5.3.3 "));
    let mut peer = logged_in(&sandbox).await;
    assert_eq!(peer.ask("AUTH XOAUTH2").await, "503 5.5.2 Bad sequence of commands");
    assert_eq!(peer.ask("RCPT TO:<bob@contoso.test>").await, "503 5.5.2 Need mail command");
    peer.ask("MAIL FROM:<alice@contoso.test> SIZE=10 BODY=8BITMIME").await;
    assert_eq!(peer.ask("DATA").await, "503 5.5.2 Need rcpt command");
    assert_eq!(peer.ask("RSET").await, "250 2.0.0 Resetting");
    assert_eq!(
        peer.ask("MAIL FROM:<alice@contoso.test> SIZE=157286401").await,
        "552 5.3.4 Message size exceeds fixed maximum message size"
    );
    assert_eq!(peer.ask("QUIT").await, "221 2.0.0 Service closing transmission channel");
}

#[tokio::test]
async fn a_login_is_refused_whatever_is_wrong_with_it() {
    let sandbox = start().await;
    let app = app_token(&sandbox).await;
    let bob = user_token(&sandbox, BOB, "SMTP.Send").await;
    let for_imap = user_token(&sandbox, ALICE, "IMAP.AccessAsUser.All").await;
    sandbox.faults().set(FaultName::MailboxNoPermission, Some("scanner@contoso.test")).unwrap();
    let mut peer = secured(&sandbox).await;
    for (user, token) in [
        (ALICE, "made-up"),
        (ALICE, bob.as_str()),
        (ALICE, for_imap.as_str()),
        ("nobody@contoso.test", app.as_str()),
        ("scanner@contoso.test", app.as_str()),
    ] {
        let answer = peer.ask(&format!("AUTH XOAUTH2 {}", xoauth2(user, token))).await;
        assert!(answer.starts_with("535 5.7.3 Authentication unsuccessful [SY5P"), "{user}: {answer}");
    }
    assert!(peer.ask("AUTH PLAIN AGEAYg==").await.starts_with("504 5.7.4 Unrecognized authentication type ["));
    peer.ask("AUTH XOAUTH2").await;
    assert!(peer.ask("*").await.starts_with("535 5.7.3 "));
    assert_eq!(peer.ask("AUTH LOGIN").await, "334 VXNlcm5hbWU6");
    assert_eq!(peer.ask("YQ==").await, "334 UGFzc3dvcmQ6");
    assert!(
        peer.ask("Yg==")
            .await
            .starts_with("535 5.7.139 Authentication unsuccessful, basic authentication is disabled. [")
    );
    let answer = peer.ask(&format!("AUTH XOAUTH2 {}", xoauth2(ALICE, &app))).await;
    assert_eq!(answer, "235 2.7.0 Authentication successful");
}

#[tokio::test]
async fn who_may_not_send_as_the_sender_hears_it_only_when_the_message_is_complete() {
    let sandbox = start().await;
    let mut peer = logged_in(&sandbox).await;
    let answer = submit(&mut peer, "From: bob@contoso.test\r\n\r\n").await;
    assert!(
        answer.starts_with("554 5.2.252 SendAsDenied; alice@contoso.test not allowed to send as bob@contoso.test; ")
    );
    assert!(answer.len() > 1000, "{}", answer.len());
    let answer = submit(&mut peer, "From: Shared <shared@contoso.test>\r\n\r\n").await;
    assert!(answer.starts_with("250 2.0.0 OK <"), "{answer}");
    assert_eq!(peer.ask("MAIL FROM:<bob@contoso.test>").await, "250 2.1.0 Sender OK");
    peer.ask("RCPT TO:<x@elsewhere.test>").await;
    peer.ask("DATA").await;
    assert!(peer.ask("Subject: x\r\n\r\n.").await.starts_with("554 5.2.252 "));
    assert_eq!(sandbox.submissions().len(), 1);
}

#[tokio::test]
async fn bare_line_ends_neither_end_nor_change_a_message() {
    let sandbox = start().await;
    let mut peer = logged_in(&sandbox).await;
    let message = "Subject: x\r\n\r\na\n.\nb\r\n.\nc\n.\r\nd\r.\r\r\n\0.\r\n..e";
    let answer = submit(&mut peer, message).await;
    assert!(answer.starts_with("250 2.0.0 OK <"), "{answer}");
    let submission = &sandbox.submissions()[0];
    assert_eq!(submission.raw, format!("{message}\r\n.\r\n").as_bytes());
    // Of a dot behind a CRLF only: those in front of `LF c` and of `.e`.
    let content = "Subject: x\r\n\r\na\n.\nb\r\n\nc\n.\r\nd\r.\r\r\n\0.\r\n.e\r\n";
    assert_eq!(submission.content, content.as_bytes());
}

#[tokio::test]
async fn the_end_of_a_message_is_found_wherever_it_is_cut_and_what_follows_is_a_command() {
    let sandbox = start().await;
    let mut peer = logged_in(&sandbox).await;
    let text = b"Subject: x\r\n\r\nbody\r\n.\r\nRSET\r\n";
    for cut in 0..=text.len() {
        peer.send("MAIL FROM:<alice@contoso.test>\r\nRCPT TO:<bob@contoso.test>\r\nDATA\r\n").await;
        peer.until("354 Start mail input; end with <CRLF>.<CRLF>\r\n").await;
        peer.send(&text[..cut]).await;
        tokio::task::yield_now().await;
        peer.send(&text[cut..]).await;
        assert!(peer.line().await.starts_with("250 2.0.0 OK <"), "{cut}");
        assert_eq!(peer.line().await, "250 2.0.0 Resetting", "{cut}");
    }
    assert!(sandbox.submissions().iter().all(|submission| submission.content == b"Subject: x\r\n\r\nbody\r\n"));
}

#[tokio::test]
async fn the_fourth_message_at_once_is_refused_after_its_data() {
    let sandbox = start_with(&[(FaultName::SmtpSlowData, Some("300"))]).await;
    let mut peers = Vec::new();
    for _ in 0..4 {
        peers.push(logged_in(&sandbox).await);
    }
    let sent = peers.iter_mut().map(|peer| submit(peer, "Subject: x\r\n"));
    let answers = futures::future::join_all(sent).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.starts_with("432 4.3.2 Concurrent ")).collect();
    assert_eq!(refused.len(), 1, "{answers:?}");
    assert_eq!(sandbox.submissions().len(), 3);
}

#[tokio::test]
async fn every_fault_of_a_message_shows() {
    let sandbox = start().await;
    let set = |name, value| sandbox.faults().set(name, value).unwrap();
    let mut peer = logged_in(&sandbox).await;
    for (fault, value, answer) in [
        (FaultName::SmtpConcurrent432, Some("1"), "432 4.3.2 Concurrent connections limit exceeded. "),
        (FaultName::SmtpQuota, Some("1"), "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException"),
        (FaultName::SmtpMailboxFull, Some("1"), "554 5.2.2 mailbox full; "),
        (FaultName::SmtpDailyLimit, Some("1"), "550 5.1.90 "),
        (FaultName::SmtpSendAsDenied, Some("1"), "554 5.2.252 SendAsDenied; "),
        (FaultName::SmtpSizeLimit, Some("5"), "552 5.3.4 "),
    ] {
        set(fault, value);
        let heard = submit(&mut peer, "Subject: too long").await;
        assert!(heard.starts_with(answer), "{fault}: {heard}");
    }
    sandbox.faults().clear_all();
    set(FaultName::SmtpMail451, Some("1"));
    let heard = peer.ask("MAIL FROM:<alice@contoso.test>").await;
    assert!(heard.starts_with("451 4.7.0 Temporary server error. Please try again later. PRX2 ["), "{heard}");
    set(FaultName::SmtpRejectRecipient, Some(BOB));
    peer.ask("MAIL FROM:<alice@contoso.test>").await;
    assert!(peer.ask("RCPT TO:<bob@contoso.test>").await.starts_with("550 5.1.10 "));
    assert_eq!(peer.ask("RCPT TO:<x@elsewhere.test>").await, "250 2.1.5 Recipient OK");
    assert_eq!(sandbox.submissions().len(), 0);
    sandbox.faults().clear_all();

    for (fault, kept) in [(FaultName::SmtpDropMidData, 0), (FaultName::SmtpDropAfterData, 1)] {
        set(fault, Some("1"));
        let mut peer = logged_in(&sandbox).await;
        peer.send("MAIL FROM:<alice@contoso.test>\r\nRCPT TO:<bob@contoso.test>\r\nDATA\r\n").await;
        peer.until("354 Start mail input; end with <CRLF>.<CRLF>\r\n").await;
        peer.send("Subject: x\r\n\r\n.\r\n").await;
        assert_eq!(peer.until_closed().await, "", "{fault}");
        assert_eq!(sandbox.submissions().len(), kept, "{fault}");
    }
}

#[tokio::test]
async fn every_fault_of_a_connection_or_login_shows() {
    let sandbox = start().await;
    let set = |name, value| sandbox.faults().set(name, value).unwrap();
    let token = app_token(&sandbox).await;
    let login = format!("AUTH XOAUTH2 {}", xoauth2(ALICE, &token));
    let visit = "Visit https://aka.ms/smtp_auth_disabled for more information. [";
    for (fault, value, answer) in [
        (FaultName::SmtpAuthDisabled, None, format!("535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. {visit}")),
        (FaultName::SmtpMailboxAuthDisabled, Some(ALICE), format!("535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. {visit}")),
        (FaultName::SmtpMailboxAuthDisabled, Some(BOB), "235 2.7.0 ".to_owned()),
        (FaultName::SmtpSecurityDefaults, None, "535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy. Contact your administrator. [".to_owned()),
        (FaultName::SmtpAuthReject, None, "535 5.7.3 Authentication unsuccessful [".to_owned()),
    ] {
        sandbox.faults().clear_all();
        set(fault, value);
        let heard = secured(&sandbox).await.ask(&login).await;
        assert!(heard.starts_with(&answer), "{fault}: {heard}");
    }
    sandbox.faults().clear_all();
    set(FaultName::SmtpChallengeJson, Some("1"));
    let mut peer = secured(&sandbox).await;
    assert!(peer.ask(&login).await.starts_with("334 eyJ"));
    assert!(peer.ask("").await.starts_with("535 5.7.3 "));

    set(FaultName::SmtpBanner421, Some("1"));
    let heard = Peer::clear(sandbox.smtp_address()).await.until_closed().await;
    assert!(heard.starts_with("421 4.3.2 Service not active ["), "{heard}");

    set(FaultName::SmtpStarttls454, Some("1"));
    let mut peer = Peer::clear(sandbox.smtp_address()).await;
    peer.line().await;
    assert!(peer.ask("STARTTLS").await.starts_with("454 4.7.0 "));
    set(FaultName::SmtpStarttlsInject, None);
    peer.send("STARTTLS\r\n").await;
    let clear = peer.until("235 2.7.0 Authentication successful\r\n").await;
    assert!(clear.starts_with("220 2.0.0 SMTP server ready\r\n250-"), "{clear}");

    set(FaultName::SmtpNoStarttls, None);
    let mut peer = Peer::clear(sandbox.smtp_address()).await;
    peer.line().await;
    peer.send("EHLO x\r\n").await;
    assert!(!peer.until("250 SMTPUTF8\r\n").await.contains("STARTTLS"));
    assert!(peer.ask("STARTTLS").await.starts_with("500 5.3.3 "));

    set(FaultName::SmtpSilent, None);
    let mut peer = Peer::clear(sandbox.smtp_address()).await;
    let silence = tokio::time::timeout(Duration::from_millis(100), peer.line()).await;
    assert!(silence.is_err(), "it spoke");
}

#[tokio::test]
async fn chunks_are_read_and_refused() {
    let sandbox = start().await;
    let mut peer = logged_in(&sandbox).await;
    peer.ask("MAIL FROM:<alice@contoso.test>").await;
    peer.ask("RCPT TO:<bob@contoso.test>").await;
    peer.send("BDAT 6 LAST\r\nQUIT\r\n").await;
    assert_eq!(peer.line().await, "552 5.3.4 Header size exceeds fixed maximum size");
    assert_eq!(peer.ask("NOOP").await, "250 2.0.0 OK");
}
