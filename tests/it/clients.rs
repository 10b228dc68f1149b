//! Mail programs of others in this process: lettre sends, async-imap reads. More of them, as programs, are in `tests/e2e`.

use std::time::Duration;

use async_imap::extensions::idle::IdleResponse;
use async_imap::imap_proto::{MailboxDatum, Response};
use futures::TryStreamExt as _;
use lettre::address::Envelope;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use postern::base::Protocol;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::common::{World, as_handed_in, patience, within};

const ALICE: &str = "alice@contoso.test";
const BOB: &str = "bob@contoso.test";

type Lettre = AsyncSmtpTransport<Tokio1Executor>;
type Session = async_imap::Session<TlsStream<TcpStream>>;

/// A lettre that logs in with this mechanism on a listener with this TLS; it trusts the CA given and nothing else of ours.
fn lettre(world: &World, tls: &str, ca_pem: &str, mechanism: Mechanism, password: &str) -> Lettre {
    let parameters = || {
        let certificate = Certificate::from_pem(ca_pem.as_bytes()).unwrap();
        TlsParameters::builder("localhost".to_owned()).add_root_certificate(certificate).build_rustls().unwrap()
    };
    let address = world.address(Protocol::Smtp, tls);
    Lettre::builder_dangerous(address.ip().to_string())
        .port(address.port())
        .tls(match tls {
            "starttls" => Tls::Required(parameters()),
            "implicit" => Tls::Wrapper(parameters()),
            _ => Tls::None,
        })
        .credentials(Credentials::new(ALICE.to_owned(), password.to_owned()))
        .authentication(vec![mechanism])
        .timeout(Some(patience()))
        .build()
}

fn envelope() -> Envelope {
    Envelope::new(Some(ALICE.parse().unwrap()), vec![BOB.parse().unwrap()]).unwrap()
}

fn message(subject: &str) -> Vec<u8> {
    format!("From: <{ALICE}>\r\nTo: <{BOB}>\r\nSubject: {subject}\r\n\r\n.\r\n..two dots, ä\r\n").into_bytes()
}

async fn async_imap(world: &World) -> async_imap::Client<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(world.address(Protocol::Imap, "implicit")).await.unwrap();
    let mut client = async_imap::Client::new(world.handshake(stream).await);
    within("the greeting", client.read_response()).await.unwrap().unwrap();
    client
}

async fn logged_in(world: &World, password: &str) -> Session {
    let client = async_imap(world).await;
    within("the login", client.login(BOB, password)).await.map_err(|(error, _)| error).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn lettre_sends_by_both_mechanisms_in_all_three_tls_modes() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    let mut expected = Vec::new();
    for tls in ["none", "starttls", "implicit"] {
        for mechanism in [Mechanism::Plain, Mechanism::Login] {
            let subject = format!("{mechanism} {tls}");
            let sender = lettre(&world, tls, &world.ca_pem, mechanism, &password);
            for _ in 0..2 {
                // Twice by one of them: it keeps its connection.
                let answer = within(&subject, sender.send_raw(&envelope(), &message(&subject))).await.unwrap();
                assert_eq!(answer.code().to_string(), "250", "{answer:?}");
                // lettre writes an empty line behind a message that ends in CRLF already; what it wrote is what arrives.
                expected.push([message(&subject), b"\r\n".to_vec()].concat());
            }
        }
    }
    let submitted = world.sandbox.submissions();
    assert_eq!(submitted.len(), expected.len());
    for (submission, expected) in submitted.iter().zip(&expected) {
        assert!(as_handed_in(&submission.content, expected) == expected, "what was submitted is not what lettre sent");
    }
    assert_eq!(world.sandbox.messages(BOB, "INBOX").len(), expected.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn lettre_takes_a_wrong_password_for_a_permanent_refusal_and_an_outage_for_a_passing_one() {
    let world = World::start().await;
    for (tls, mechanism) in [("starttls", Mechanism::Plain), ("implicit", Mechanism::Login)] {
        let sender = lettre(&world, tls, &world.ca_pem, mechanism, "wrong");
        let error = within(tls, sender.send_raw(&envelope(), &message("wrong"))).await.unwrap_err();
        assert_eq!(error.status().map(|code| code.to_string()).as_deref(), Some("535"), "{error:?}");
        assert!(error.is_permanent(), "{error:?}");
    }
    let password = world.issue(ALICE).await;
    world.fault("mail-unreachable");
    let sender = lettre(&world, "starttls", &world.ca_pem, Mechanism::Plain, &password);
    let error = within("an outage", sender.send_raw(&envelope(), &message("outage"))).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(world.sandbox.submissions().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn lettre_sends_nothing_to_a_proxy_whose_authority_it_does_not_trust() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    for tls in ["starttls", "implicit"] {
        let sender = lettre(&world, tls, world.sandbox.ca_pem(), Mechanism::Plain, &password);
        let error = within(tls, sender.send_raw(&envelope(), &message("stranger"))).await.unwrap_err();
        assert_eq!(error.status(), None, "it did not come to a reply: {error:?}");
    }
    assert!(world.sandbox.submissions().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn async_imap_reads_what_it_appends_octet_for_octet() {
    let world = World::start().await;
    let password = world.issue(BOB).await;
    let mut session = logged_in(&world, &password).await;
    let capabilities = within("CAPABILITY", session.capabilities()).await.unwrap();
    assert!(capabilities.has_str("IDLE") && capabilities.has_str("MOVE"), "those of the far side");

    let large: Vec<u8> = [message("large"), b"0123456789abcdef\r\n".repeat(100_000)].concat();
    for content in [message("small"), large.clone()] {
        within("APPEND", session.append("Archive", Some("(\\Seen)"), None, &content)).await.unwrap();
    }
    assert_eq!(world.sandbox.messages(BOB, "Archive"), [message("small"), large.clone()]);
    assert_eq!(within("SELECT", session.select("Archive")).await.unwrap().exists, 2);
    let fetched: Vec<_> = within("FETCH", async {
        session.fetch("1:2", "(UID FLAGS BODY.PEEK[])").await.unwrap().try_collect().await.unwrap()
    })
    .await;
    let bodies: Vec<&[u8]> = fetched.iter().filter_map(async_imap::types::Fetch::body).collect();
    assert!(bodies == [&message("small")[..], &large], "what was fetched is not what was appended");
    let found = within("SEARCH", session.search("SUBJECT large")).await.unwrap();
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [2]);
    within("LOGOUT", session.logout()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn async_imap_in_idle_hears_of_a_message_that_lettre_sends() {
    let world = World::start().await;
    let (alices, bobs) = (world.issue(ALICE).await, world.issue(BOB).await);
    let mut session = logged_in(&world, &bobs).await;
    within("SELECT", session.select("INBOX")).await.unwrap();
    let mut idle = session.idle();
    within("IDLE", idle.init()).await.unwrap();
    let sender = lettre(&world, "starttls", &world.ca_pem, Mechanism::Plain, &alices);
    within("a message", sender.send_raw(&envelope(), &message("news"))).await.unwrap();
    let (news, _stop) = idle.wait_with_timeout(patience());
    match within("news", news).await.unwrap() {
        IdleResponse::NewData(data) => {
            let told = matches!(data.parsed(), Response::MailboxData(MailboxDatum::Exists(1)));
            assert!(told, "{:?}", data.parsed());
        }
        other => panic!("{other:?}"),
    }
    let mut session = within("DONE", idle.done()).await.unwrap();
    within("NOOP", session.noop()).await.unwrap();
    let subjects: Vec<_> = within("FETCH", async {
        session.fetch("1", "BODY.PEEK[HEADER.FIELDS (SUBJECT)]").await.unwrap().try_collect().await.unwrap()
    })
    .await;
    let header = subjects.first().and_then(async_imap::types::Fetch::header).unwrap();
    assert!(header.starts_with(b"Subject: news"), "{}", String::from_utf8_lossy(header));
}

/// SASL PLAIN as async-imap wants it (RFC 4616).
struct Plain(String);

impl async_imap::Authenticator for Plain {
    type Response = Vec<u8>;

    fn process(&mut self, challenge: &[u8]) -> Vec<u8> {
        assert_eq!(challenge, b"", "PLAIN has no challenge");
        format!("\0{BOB}\0{}", self.0).into_bytes()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn async_imap_is_let_in_by_authenticate_and_tries_again_after_a_wrong_password() {
    let world = World::start().await;
    let password = world.issue(BOB).await;
    let client = async_imap(&world).await;
    let Err((error, client)) = within("a refusal", client.login(BOB, "wrong")).await else { panic!("it was let in") };
    assert!(
        matches!(&error, async_imap::error::Error::No(told) if told.contains("uthenticationFailed")
        || told.contains("AUTHENTICATIONFAILED")),
        "{error:?}"
    );
    let session = within("the login", client.authenticate("PLAIN", Plain(password))).await;
    let mut session = session.map_err(|(error, _)| error).unwrap();
    let folders: Vec<_> =
        within("LIST", async { session.list(Some(""), Some("*")).await.unwrap().try_collect().await.unwrap() }).await;
    assert!(folders.iter().any(|folder| folder.name() == "Sent Items"), "{folders:?}");
    // Many at once on one session, as its users do to fetch folder by folder.
    for _ in 0..20 {
        assert_eq!(within("EXAMINE", session.examine("INBOX")).await.unwrap().exists, 0);
    }
    within("a timeout of IDLE", async {
        let mut idle = session.idle();
        idle.init().await.unwrap();
        let (nothing, _stop) = idle.wait_with_timeout(Duration::from_millis(50));
        assert!(matches!(nothing.await.unwrap(), IdleResponse::Timeout));
        idle.done().await.unwrap().logout().await.unwrap();
    })
    .await;
}
