//! The whole road against the simulated tenant: app password in, XOAUTH2 out, mail through.

use postern::base::Protocol;

use crate::common::{World, plain};

const ALICE: &str = "alice@contoso.test";

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_sent_by_smtp_and_read_by_imap_and_pop3() {
    let mut world = World::start().await;
    let password = world.issue(ALICE).await;

    let mut smtp = world.connect_tls(Protocol::Smtp).await;
    assert!(smtp.reply().await.starts_with("220 "));
    assert!(smtp.smtp("EHLO backup").await.contains("AUTH=LOGIN"));
    assert_eq!(&smtp.smtp(&format!("AUTH PLAIN {}", plain(ALICE, &password))).await[..9], "235 2.7.0");
    assert_eq!(&smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await[..9], "250 2.1.0");
    assert_eq!(&smtp.smtp("RCPT TO:<bob@contoso.test>").await[..9], "250 2.1.5");
    assert_eq!(&smtp.smtp("DATA").await[..4], "354 ");
    smtp.send("Subject: report\r\nMessage-ID: <1@backup>\r\n\r\n..dot\r\nbare\nlf\r\n.\r\n").await;
    let reply = smtp.reply().await;
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
    assert!(!reply.contains("Hostname"), "{reply}");
    assert_eq!(&smtp.smtp("QUIT").await[..3], "221");

    let submitted = world.sandbox.submissions();
    assert_eq!(submitted.len(), 1);
    assert!(submitted[0].content.ends_with(b"\r\n\r\n.dot\r\nbare\r\nlf\r\n"), "{:?}", submitted[0]);

    let bobs = world.issue("bob@contoso.test").await;
    let mut imap = world.connect_tls(Protocol::Imap).await;
    assert!(imap.line().await.contains("The Microsoft Exchange IMAP4 service is ready."));
    let welcome = imap.imap(&format!("a1 LOGIN bob@contoso.test {bobs}")).await;
    assert!(welcome.starts_with("a1 OK [CAPABILITY IMAP4"), "{welcome}");
    assert!(!welcome.contains("AUTH="), "{welcome}");
    assert!(imap.imap("a2 SELECT INBOX").await.contains("* 1 EXISTS"));
    assert!(imap.imap("a3 FETCH 1 BODY[HEADER.FIELDS (SUBJECT)]").await.contains("Subject: report"));
    assert!(imap.imap("a4 LOGOUT").await.contains("* BYE"));

    let mut pop = world.connect(Protocol::Pop3, "none").await;
    assert_eq!(pop.line().await, "+OK The Microsoft Exchange POP3 service is ready.");
    assert!(pop.ask("USER Bob@Contoso.TEST").await.starts_with("+OK"));
    assert!(pop.ask(&format!("PASS {bobs}")).await.starts_with("+OK"));
    assert!(pop.ask("STAT").await.starts_with("+OK 1 "));
    assert!(pop.ask("QUIT").await.starts_with("+OK"));

    let tally = world.sandbox.tally();
    world.stop_serving().await;
    println!("{tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_exchange_refuses_shows_it_with_the_remedy_until_it_is_let_in_again() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    let state = async || {
        let row = world.ops.mailbox(&ALICE.parse().unwrap()).await.unwrap();
        (row.state.name(), row.whole_reason().unwrap_or_default())
    };
    assert_eq!(state().await.0, "ready");

    world.sandbox.faults().set("smtp-auth-disabled".parse().unwrap(), None).unwrap();
    for (answer, shown) in [("451 4.7.0", "needs-administrator"), ("250 2.1.0", "ready")] {
        let mut smtp = world.connect_tls(Protocol::Smtp).await;
        smtp.reply().await;
        smtp.smtp("EHLO script").await;
        // AUTH is answered from the app password alone.
        assert!(smtp.smtp(&format!("AUTH PLAIN {}", plain(ALICE, &password))).await.starts_with("235 "));
        let reply = smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
        assert!(reply.starts_with(answer), "{reply}");
        let (state, reason) = state().await;
        assert_eq!(state, shown);
        assert_eq!(reason.contains("Set-CASMailbox"), shown == "needs-administrator", "{reason}");
        world.sandbox.faults().clear_all();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_exchange_resume_an_earlier_tls_session() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    for _ in 0..3 {
        let mut imap = world.connect(Protocol::Imap, "none").await;
        imap.line().await;
        assert!(imap.imap(&format!("a1 LOGIN {ALICE} {password}")).await.starts_with("a1 OK"));
        assert!(imap.imap("a2 LOGOUT").await.contains("a2 OK"));
    }
    let tally = world.sandbox.tally();
    assert_eq!((tally.tls_handshakes, tally.tls_resumptions), (3, 2));
}
