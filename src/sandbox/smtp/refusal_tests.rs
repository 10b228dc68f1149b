//! Logins and messages that some tenants refuse although the token is good.

use crate::sandbox::smtp::tests::{secured, submit};
use crate::sandbox::tests::{ALICE, BOB, app_token, start, start_with, user_token, xoauth2};
use crate::sandbox::{FaultName, Sandbox};

const SHARED: &str = "shared@contoso.test";
const WELCOME: &str = "235 2.7.0 Authentication successful";

/// What a login hears.
async fn login(sandbox: &Sandbox, user: &str, token: &str) -> String {
    let mut peer = secured(sandbox).await;
    peer.ask(&format!("AUTH XOAUTH2 {}", xoauth2(user, token))).await
}

#[tokio::test]
async fn each_reason_why_a_good_token_is_refused_has_its_words() {
    let sandbox = start().await;
    let token = app_token(&sandbox).await;
    for (fault, value, words) in [
        (
            FaultName::SmtpAuthDisabled,
            None,
            "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. ",
        ),
        (
            FaultName::SmtpMailboxAuthDisabled,
            Some(ALICE),
            "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. ",
        ),
        (
            FaultName::SmtpSecurityDefaults,
            None,
            "535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy. ",
        ),
        (
            FaultName::SmtpConditionalAccess,
            None,
            "535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated \
             successfully. Contact your administrator. [",
        ),
        (FaultName::SmtpAuth451, Some("1"), "451 4.7.0 Temporary server error. Please try again later. PRX2 ["),
        (FaultName::SmtpAuthReject, Some("1"), "535 5.7.3 Authentication unsuccessful ["),
    ] {
        sandbox.faults().set(fault, value).unwrap();
        let told = login(&sandbox, ALICE, &token).await;
        assert!(told.starts_with(words), "{fault}: {told}");
        sandbox.faults().clear_all();
    }
    assert_eq!(login(&sandbox, ALICE, &token).await, WELCOME);
}

#[tokio::test]
async fn a_tenant_that_refuses_a_delegate_at_the_shared_mailbox_lets_her_send_as_it_from_her_own() {
    let sandbox = start().await;
    let token = user_token(&sandbox, ALICE, "SMTP.Send").await;
    assert_eq!(login(&sandbox, SHARED, &token).await, WELCOME);
    sandbox.faults().set(FaultName::SmtpSharedRefused, None).unwrap();
    let told = login(&sandbox, SHARED, &token).await;
    assert!(told.starts_with("535 5.7.3 Authentication unsuccessful ["), "{told}");

    let mut peer = secured(&sandbox).await;
    assert_eq!(peer.ask(&format!("AUTH XOAUTH2 {}", xoauth2(ALICE, &token))).await, WELCOME);
    assert_eq!(peer.ask(&format!("MAIL FROM:<{SHARED}>")).await, "250 2.1.0 Sender OK");
    peer.ask(&format!("RCPT TO:<{BOB}>")).await;
    peer.ask("DATA").await;
    let told = peer.ask(&format!("From: {SHARED}\r\n\r\nHello.\r\n.")).await;
    assert!(told.starts_with("250 2.0.0 OK"), "{told}");
    let submission = sandbox.submissions().pop().unwrap();
    assert_eq!((submission.mailbox.as_str(), submission.mail_from.as_str()), (ALICE, SHARED));
}

#[tokio::test]
async fn a_restricted_sender_and_one_without_a_right_hear_it_when_the_message_is_complete() {
    let sandbox = start().await;
    let token = app_token(&sandbox).await;
    let mut peer = secured(&sandbox).await;
    assert_eq!(peer.ask(&format!("AUTH XOAUTH2 {}", xoauth2(ALICE, &token))).await, WELCOME);
    for (fault, words) in [
        (FaultName::SmtpBadSender, "550 5.1.8 Access denied, bad outbound sender"),
        (FaultName::SmtpNoSendPermission, "550 5.7.60 SMTP; Client does not have permissions to send as this sender"),
    ] {
        sandbox.faults().set(fault, Some("1")).unwrap();
        let told = submit(&mut peer, "Subject: x\r\n\r\nx").await;
        assert!(told.starts_with(words), "{fault}: {told}");
    }
    assert!(submit(&mut peer, "Subject: x\r\n\r\nx").await.starts_with("250 2.0.0 OK"));
}

#[tokio::test]
async fn high_volume_email_wants_fresh_tokens_known_users_and_recipients_inside() {
    let sandbox = start_with(&[(FaultName::SmtpHve, None), (FaultName::TokenExpiresIn, Some("590"))]).await;
    let stale = app_token(&sandbox).await;
    let told = login(&sandbox, ALICE, &stale).await;
    assert!(told.starts_with("501 5.5.127 Invalid XOAUTH2 auth data - Token will expire soon ["), "{told}");
    sandbox.faults().set(FaultName::TokenExpiresIn, Some("700")).unwrap();
    let token = app_token(&sandbox).await;
    let told = login(&sandbox, "nobody@contoso.test", &token).await;
    assert!(told.starts_with("501 5.5.124 Invalid XOAUTH2 auth data - User address provided is not valid"), "{told}");
    let told = login(&sandbox, ALICE, "made-up").await;
    assert!(told.starts_with("535 5.7.3 "), "{told}");

    let mut peer = secured(&sandbox).await;
    assert_eq!(peer.ask(&format!("AUTH XOAUTH2 {}", xoauth2(ALICE, &token))).await, WELCOME);
    peer.ask(&format!("MAIL FROM:<{ALICE}>")).await;
    let told = peer.ask("RCPT TO:<someone@elsewhere.test>").await;
    assert!(told.starts_with("550 5.5.105 External sending is not supported"), "{told}");
    peer.ask("RSET").await;
    assert!(submit(&mut peer, "Subject: x\r\n\r\nx").await.starts_with("250 2.0.0 OK"));
    assert_eq!((sandbox.messages(BOB, "INBOX").len(), sandbox.messages(ALICE, "Sent Items").len()), (1, 0));
}
