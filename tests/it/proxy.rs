//! The way out through a proxy: the whole road, what a proxy that does not lead sounds like, and that nothing goes around it.

use postern::admin::ops::MailboxState;
use postern::base::Proxy;

use crate::common::proxy::{Asked, Manner, Spoken, TestProxy, impostor};
use crate::common::{Plan, World, client_tls, eventually, reference, within};

const ALICE: &str = "alice@contoso.test";
const BOTH: [Spoken; 2] = [Spoken::Http, Spoken::Socks5];

/// A world that knows its mail servers as `localhost` on ports where nobody listens: only the proxy leads from there to the
/// simulated tenant. `upstream` is what stands in `[upstream]`.
pub(crate) async fn world(proxy: &TestProxy, upstream: &str) -> World {
    let edit = |text: String| {
        let endpoint = |line: &str| match line.split(" = \"127.0.0.1:").next() {
            Some(protocol @ ("imap" | "pop3" | "smtp")) => format!("{protocol} = \"localhost:{}\"\n", port(protocol)),
            _ => format!("{line}\n"),
        };
        text.lines().map(endpoint).collect()
    };
    // The token service of the simulated tenant is on 127.0.0.1.
    let more = format!("\n[upstream]\n{upstream}\nno_proxy = [\"127.0.0.1\"]\n");
    let world = World::planned(Plan { more, edit, ..Plan::default() }).await;
    proxy.route(port("imap"), world.sandbox.imap_address());
    proxy.route(port("pop3"), world.sandbox.pop3_address());
    proxy.route(port("smtp"), world.sandbox.smtp_address());
    world
}

fn port(protocol: &str) -> u16 {
    match protocol {
        "imap" => 993,
        "pop3" => 995,
        _ => 587,
    }
}

fn asked(protocol: &str, login: Option<&str>) -> Asked {
    Asked { host: "localhost".to_owned(), port: port(protocol), login: login.map(str::to_owned) }
}

/// Sends a mail to Bob, who reads it by IMAP and POP3.
async fn use_the_road(world: &World) {
    let password = world.issue(ALICE).await;
    let mut smtp = world.smtp(ALICE, &password).await;
    assert_eq!(&smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await[..9], "250 2.1.0");
    assert_eq!(&smtp.smtp("RCPT TO:<bob@contoso.test>").await[..9], "250 2.1.5");
    assert_eq!(&smtp.smtp("DATA").await[..4], "354 ");
    let told = smtp.smtp("Subject: by proxy\r\n\r\ntext\r\n.").await;
    assert!(told.starts_with("250 2.0.0"), "{told}");
    assert_eq!(&smtp.smtp("QUIT").await[..3], "221");

    let bobs = world.issue("bob@contoso.test").await;
    let (mut imap, told) = world.imap("bob@contoso.test", &bobs).await;
    assert!(told.starts_with("in OK"), "{told}");
    assert!(imap.imap("a2 SELECT INBOX").await.contains("* 1 EXISTS"));
    assert!(imap.imap("a3 FETCH 1 BODY[HEADER.FIELDS (SUBJECT)]").await.contains("Subject: by proxy"));
    imap.imap("a4 LOGOUT").await;

    let (mut pop3, told) = world.pop3("bob@contoso.test", &bobs).await;
    assert!(told.starts_with("+OK"), "{told}");
    assert!(pop3.ask("STAT").await.starts_with("+OK 1 "));
    assert!(pop3.ask("QUIT").await.starts_with("+OK"));
}

/// What a mail program hears by SMTP (to MAIL), IMAP and POP3.
async fn hear(world: &World, password: &str) -> [String; 3] {
    let mut smtp = world.smtp(ALICE, password).await;
    let by_smtp = smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
    let (_imap, by_imap) = world.imap(ALICE, password).await;
    let (_pop3, by_pop3) = world.pop3(ALICE, password).await;
    [by_smtp, by_imap, by_pop3]
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_out_and_comes_in_through_a_proxy_and_nothing_goes_around_it() {
    for spoken in BOTH {
        for (login, written) in [(None, None), (Some("CONTOSO\\svc:p@ss:w/rd"), Some("CONTOSO%5Csvc:p%40ss%3Aw%2Frd"))]
        {
            let proxy = TestProxy::start(spoken, login).await;
            let world = world(&proxy, &format!("proxy = '{}'", proxy.url(written))).await;
            use_the_road(&world).await;
            let expected = ["smtp", "imap", "pop3"].map(|protocol| asked(protocol, login));
            assert_eq!(proxy.asked(), expected, "{spoken:?}");
            assert_eq!(world.sandbox.tally().connections, 3, "{spoken:?}");
            assert_eq!(world.sandbox.tally().tls_handshakes, 3, "{spoken:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_octet_by_octet_or_glued_to_the_greeting_opens_the_way_too() {
    for spoken in BOTH {
        let proxy = TestProxy::start(spoken, None).await;
        let world = world(&proxy, &format!("proxy = \"{}\"", proxy.url(None))).await;
        proxy.be(Manner::LeadsSlowly);
        use_the_road(&world).await;
        // SMTP is the one whose server speaks first in clear.
        proxy.be(Manner::LeadsGlued);
        let password = world.issue(ALICE).await;
        let mut smtp = world.smtp(ALICE, &password).await;
        let told = smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
        assert!(told.starts_with("250 2.1.0"), "{spoken:?} {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_does_not_lead_is_told_from_a_wrong_password_and_shows_who_has_to_act() {
    const MUST_ACT: [&str; 3] = ["451 4.7.0 ", "in NO [CONTACTADMIN] ", "-ERR [SYS/PERM] "];
    const TRY_LATER: [&str; 3] = ["451 4.3.0 ", "in NO [UNAVAILABLE] ", "-ERR [SYS/TEMP] "];
    let cases = [
        (Spoken::Http, None, Manner::Leads, MUST_ACT, "proxy_file"),
        (Spoken::Http, Some("svc:wrong"), Manner::Leads, MUST_ACT, "Correct the user name"),
        (Spoken::Http, Some("svc:right"), Manner::Says(b"HTTP/1.1 403 Forbidden\r\n\r\n"), MUST_ACT, "localhost:"),
        (Spoken::Http, Some("svc:right"), Manner::Says(b"+OK ready\r\n"), MUST_ACT, "Check kind"),
        (Spoken::Http, Some("svc:right"), Manner::Says(b"HTTP/1.1 503 No\r\n\r\n"), TRY_LATER, ""),
        (Spoken::Http, Some("svc:right"), Manner::Says(b"HTTP/1.1 2"), TRY_LATER, ""),
        (Spoken::Http, Some("svc:right"), Manner::Says(b"HTTP/1.1 200 Go\r\n\r\n"), TRY_LATER, ""),
        (Spoken::Socks5, None, Manner::Leads, MUST_ACT, "proxy_file"),
        (Spoken::Socks5, Some("svc:wrong"), Manner::Leads, MUST_ACT, "Correct the user name"),
        (Spoken::Socks5, Some("svc:right"), Manner::Says(&[5, 2, 0, 1, 0, 0, 0, 0, 0, 0]), MUST_ACT, "localhost:"),
        (Spoken::Socks5, Some("svc:right"), Manner::Says(&[5, 4, 0, 1, 0, 0, 0, 0, 0, 0]), TRY_LATER, ""),
        (Spoken::Socks5, Some("svc:right"), Manner::Says(b""), TRY_LATER, ""),
    ];
    for (number, (spoken, login, manner, expected, remedy)) in cases.into_iter().enumerate() {
        let proxy = TestProxy::start(spoken, Some("svc:right")).await;
        let world = world(&proxy, &format!("proxy = \"{}\"", proxy.url(login))).await;
        let password = world.issue(ALICE).await;
        proxy.be(manner);
        for (heard, expected) in hear(&world, &password).await.into_iter().zip(expected) {
            assert!(heard.starts_with(expected), "case {number}: {heard}");
            reference(&heard);
            for hidden in ["proxy", "127.0.0.1", "localhost", "svc", "right", "407"] {
                assert!(!heard.contains(hidden), "case {number}: {heard}");
            }
        }
        let row = world.ops.mailbox(&ALICE.parse().unwrap()).await.unwrap();
        let reason = row.whole_reason().unwrap_or_default();
        assert_eq!(row.state == MailboxState::Ready, expected == TRY_LATER, "case {number}: {reason}");
        assert!(reason.contains(remedy), "case {number}: {reason}");
        assert!(!reason.contains("wrong") && !reason.contains("right"), "case {number}: {reason}");
        assert_eq!(world.sandbox.tally().connections, 0, "case {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_poses_as_the_host_gets_no_token() {
    for spoken in BOTH {
        let proxy = TestProxy::start(spoken, None).await;
        let world = world(&proxy, &format!("proxy = \"{}\"", proxy.url(None))).await;
        let password = world.issue(ALICE).await;
        proxy.be(Manner::Impersonates(impostor()));
        let (_imap, told) = world.imap(ALICE, &password).await;
        assert!(told.starts_with("in NO [UNAVAILABLE] "), "{told}");
        let (_pop3, told) = world.pop3(ALICE, &password).await;
        assert!(told.starts_with("-ERR [SYS/TEMP] "), "{told}");
        eventually("both handshakes to be over", async || proxy.overheard().len() == 2).await;
        // TLS 1.3 lets the server think that it is done before the client has judged it; then the alert is what it reads.
        for overheard in proxy.overheard() {
            assert!(overheard.as_ref().is_err() || overheard.as_ref().is_ok_and(Vec::is_empty), "{overheard:?}");
        }
        assert_eq!(world.sandbox.tally().connections, 0);
        // And it is the certificate that it hung on.
        proxy.be(Manner::Leads);
        assert!(world.imap(ALICE, &password).await.1.starts_with("in OK"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_proxy_names_is_reached_directly() {
    // Here all servers are 127.0.0.1 and their real ports, this machine itself: the proxy is used for it like for any other.
    for (no_proxy, through_proxy) in [("[]", 3), ("[\"127.0.0.0/8\"]", 0)] {
        let proxy = TestProxy::start(Spoken::Socks5, None).await;
        let more = format!("\n[upstream]\nproxy = \"{}\"\nno_proxy = {no_proxy}\n", proxy.url(None));
        let world = World::planned(Plan { more, ..Plan::default() }).await;
        let password = world.issue(ALICE).await;
        let [smtp, imap, pop3] = hear(&world, &password).await;
        assert!(
            smtp.starts_with("250 ") && imap.starts_with("in OK") && pop3.starts_with("+OK"),
            "{smtp} {imap} {pop3}"
        );
        let servers = [world.sandbox.imap_address(), world.sandbox.pop3_address(), world.sandbox.smtp_address()];
        let asked = proxy.asked();
        let of_these = |asked: &&Asked| asked.host == "127.0.0.1" && servers.iter().any(|s| s.port() == asked.port);
        assert_eq!(asked.iter().filter(of_these).count(), through_proxy, "{no_proxy}: {asked:?}");
        let token_port = url::Url::parse(&world.sandbox.token_url()).unwrap().port().unwrap();
        let token_by_proxy = asked.iter().any(|asked| asked.port == token_port);
        assert!(!token_by_proxy, "what is not encrypted never leaves this machine: {asked:?}");
        assert_eq!(world.sandbox.tally().connections, 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_has_gone_is_not_gone_around_and_found_again() {
    let proxy = TestProxy::start(Spoken::Socks5, None).await;
    let url = proxy.url(None);
    let world = world(&proxy, &format!("proxy = \"{url}\"")).await;
    let password = world.issue(ALICE).await;
    proxy.stop().await;
    let [smtp, imap, pop3] = hear(&world, &password).await;
    assert!(smtp.starts_with("451 4.3.0 "), "{smtp}");
    assert!(imap.starts_with("in NO [UNAVAILABLE] ") && pop3.starts_with("-ERR [SYS/TEMP] "), "{imap} {pop3}");
    assert_eq!(world.sandbox.tally().connections, 0);
}

/// What `Proxy::url` gives is what the client of the token service takes: names are left to the proxy there too.
#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_a_proxy_serves_an_http_client_as_it_is() {
    let world = World::start().await;
    for spoken in BOTH {
        for (login, written) in [(None, None), (Some("svc:p@ss:w/rd"), Some("svc:p%40ss%3Aw%2Frd"))] {
            let server = TestProxy::start(spoken, login).await;
            server.route(443, world.sandbox.imap_address());
            let proxy = Proxy::parse(&server.url(written)).unwrap();
            let client = reqwest::Client::builder()
                .tls_backend_preconfigured((*client_tls(world.sandbox.ca_pem())).clone())
                .proxy(reqwest::Proxy::all(proxy.url().expose().as_str()).unwrap())
                .build()
                .unwrap();
            // An IMAP server is no HTTP server; the way there is what counts.
            drop(within("an answer", client.get("https://localhost/").send()).await);
            let expected = Asked { host: "localhost".to_owned(), port: 443, login: login.map(str::to_owned) };
            assert_eq!(server.asked(), [expected], "{spoken:?}");
        }
    }
    assert_eq!(world.sandbox.tally().tls_handshakes, 4);

    // And its errors, which go into the log, do not repeat the login.
    for spoken in BOTH {
        let server = TestProxy::start(spoken, Some("svc:right")).await;
        for gone in [false, true] {
            let proxy = Proxy::parse(&server.url(Some("svc-key:hunter2"))).unwrap();
            if gone {
                server.stop().await;
            }
            let client = reqwest::Client::builder()
                .tls_backend_preconfigured((*client_tls(world.sandbox.ca_pem())).clone())
                .proxy(reqwest::Proxy::all(proxy.url().expose().as_str()).unwrap())
                .build()
                .unwrap();
            let error = within("an error", client.get("https://localhost/").send()).await.unwrap_err();
            let shown = format!("{error} {error:?} {client:?}");
            assert!(!shown.contains("hunter2") && !shown.contains("svc-key"), "{spoken:?} {gone}: {shown}");
        }
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_the_proxy_and_the_reason_and_never_its_login() {
    use crate::common::child::Serving;

    let proxy = TestProxy::start(Spoken::Http, Some("svc-key:right")).await;
    let secrets = tempfile::tempdir().unwrap();
    let file = secrets.path().join("proxy");
    std::fs::write(&file, format!("{}\n", proxy.url(Some("svc-key:hunter2")))).unwrap();
    let mut world = world(&proxy, &format!("proxy_file = \"{}\"", file.display())).await;
    let serving = Serving::instead_of(&mut world, &["-vv"]).await;
    let password = world.issue(ALICE).await;
    let (_imap, told) = world.imap(ALICE, &password).await;
    assert!(told.starts_with("in NO [CONTACTADMIN] "), "{told}");
    serving.says(&reference(&told)).await;
    let said = serving.said();
    assert!(
        said.contains(&format!("Exchange is reached through a proxy proxy=http://***@{}", proxy.address)),
        "{said}"
    );
    let reason = format!(
        "the proxy {} does not lead to localhost:993: it does not accept the user name and the password",
        proxy.address
    );
    assert!(said.contains(&reason), "{said}");
    assert!(said.contains("proxy-login"), "{said}");
    for hidden in ["hunter2", "svc-key", "c3ZjLWtleTpodW50ZXIy"] {
        assert!(!said.contains(hidden), "{hidden}: {said}");
    }

    // The file is read when `serve` starts.
    std::fs::write(&file, proxy.url(Some("svc-key:right"))).unwrap();
    serving.signal(nix::sys::signal::Signal::SIGTERM);
    serving.ended().await;
    let serving = Serving::instead_of(&mut world, &["-vv"]).await;
    assert!(world.imap(ALICE, &password).await.1.starts_with("in OK"), "{}", serving.said());
}
