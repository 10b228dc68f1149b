//! With what the application proves itself, the whole road each time: a mail program logs in, and the sandbox tells how it was asked.

use postern::base::Protocol;
use postern::sandbox::ClientAuthentication::{self, CertificatePs256, CertificateRs256, Federated, Secret};

use crate::common::{Plan, World};

const ALICE: &str = "alice@contoso.test";

/// The line that the sandbox's configuration has for the secret, replaced by others.
fn with(lines: &str, text: &str) -> String {
    let secret = "client_secret_file = \"client-secret\"";
    assert_eq!(text.matches(secret).count(), 1, "{text}");
    text.replace(secret, lines)
}

fn certificate(text: String) -> String {
    with("certificate_file = \"client-certificate.pem\"\nkey_file = \"client-certificate.key\"", &text)
}

fn federated(text: String) -> String {
    with("federated_token_file = \"federated-token\"", &text)
}

async fn world(edit: fn(String) -> String) -> World {
    World::planned(Plan { edit, ..Plan::default() }).await
}

/// Logs in by all three protocols and sends one mail.
async fn is_served(world: &World, password: &str) {
    let mut smtp = world.smtp(ALICE, password).await;
    for (command, told) in [
        (format!("MAIL FROM:<{ALICE}>"), "250 "),
        ("RCPT TO:<bob@contoso.test>".to_owned(), "250 "),
        ("DATA".to_owned(), "354 "),
        ("Subject: by this grant\r\n\r\nhello\r\n.".to_owned(), "250 "),
    ] {
        let heard = smtp.smtp(&command).await;
        assert!(heard.starts_with(told), "{command}: {heard}");
    }
    let (_imap, told) = world.imap(ALICE, password).await;
    assert!(told.starts_with("in OK "), "{told}");
    let (_pop3, told) = world.pop3(ALICE, password).await;
    assert!(told.starts_with("+OK"), "{told}");
    assert_eq!(world.sandbox.messages("bob@contoso.test", "INBOX").len(), 1);
    let logins = world.sandbox.tally().logins;
    for protocol in Protocol::ALL {
        assert_eq!(logins.get(&protocol), Some(&1), "{protocol:?}");
    }
}

fn asked(world: &World) -> Vec<ClientAuthentication> {
    world.sandbox.tally().token_log.iter().map(|request| request.authentication).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_proves_itself_by_secret_certificate_or_federated_token() {
    for (edit, by) in
        [((|text| text) as fn(String) -> String, Secret), (certificate, CertificatePs256), (federated, Federated)]
    {
        let world = world(edit).await;
        let password = world.issue(ALICE).await;
        is_served(&world, &password).await;
        assert_eq!(asked(&world), [by], "one token serves all protocols");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_service_that_takes_only_rs256_is_asked_by_it_and_remembered() {
    let world = world(certificate).await;
    world.fault("assertion-rs256-only");
    world.fault("token-expires-in=0");
    let password = world.issue(ALICE).await;
    is_served(&world, &password).await;
    let asked = asked(&world);
    assert_eq!(asked[..2], [CertificatePs256, CertificateRs256]);
    assert!(asked.len() > 2 && asked[2..].iter().all(|by| *by == CertificateRs256), "it is remembered: {asked:?}");
}

/// The platform puts a new one there before the old one ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_federated_token_is_read_again_each_time() {
    let world = world(federated).await;
    world.fault("token-expires-in=0");
    let file = world.folder().join("federated-token");
    let good = std::fs::read_to_string(&file).unwrap();
    let password = world.issue(ALICE).await;
    std::fs::write(&file, world.sandbox.federated_token("system:serviceaccount:other").unwrap()).unwrap();
    let (_imap, told) = world.imap(ALICE, &password).await;
    assert!(told.starts_with("in NO [CONTACTADMIN] "), "that of another subject: {told}");
    std::fs::write(&file, good).unwrap();
    // What is presented has changed, so that the failure is not repeated from memory.
    is_served(&world, &password).await;
}
