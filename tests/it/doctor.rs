//! `postern doctor` over the simulated tenant: each thing that can be wrong is found at its step, with a remedy that helps.

use std::time::Duration;

use postern::admin::ops::{Check, Examination, Step, StepEvent, StepState, examine};
use postern::base::{Mailbox, Protocol, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::common::proxy::{Manner, Spoken, TestProxy};
use crate::common::{Plan, World, eventually, turn_clock, within};

const ALICE: &str = "alice@contoso.test";
const ALL: Option<Protocol> = None;

fn examination(mailbox: &str, send_test: Option<&str>) -> Examination {
    let address = |text: &str| text.parse::<Mailbox>().unwrap();
    Examination { mailbox: Some(address(mailbox)), send_test: send_test.map(address) }
}

async fn steps(world: &World, examination: &Examination) -> Vec<Step> {
    within("the examination", steps_in_their_time(world, examination)).await
}

async fn steps_in_their_time(world: &World, examination: &Examination) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut tell = |event| {
        if let StepEvent::Ended(step) = event {
            steps.push(*step);
        }
    };
    examine(&world.config, &[], examination, &mut tell).await.unwrap();
    steps
}

async fn steps_of(world: &World, mailbox: &str) -> Vec<Step> {
    steps(world, &examination(mailbox, None)).await
}

fn found(steps: &[Step], check: Check, protocol: Option<Protocol>) -> &Step {
    let found = steps.iter().find(|step| step.check == check && step.protocol == protocol);
    found.unwrap_or_else(|| panic!("no step {} {protocol:?}: {steps:#?}", check.name()))
}

fn failed(steps: &[Step]) -> Vec<(&'static str, Option<Protocol>)> {
    steps.iter().filter(|step| step.state == StepState::Failed).map(|step| (step.check.name(), step.protocol)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_everything_is_right_each_step_says_so_and_no_secret_is_told() {
    let world = World::start().await;
    world.sandbox.deliver(ALICE, "INBOX", b"Subject: one\r\n\r\ntext\r\n");
    let steps = steps_of(&world, ALICE).await;
    assert!(steps.iter().all(|step| step.state == StepState::Ok), "{steps:#?}");
    for (check, protocol, said) in [
        (Check::Configuration, ALL, "contoso"),
        (Check::Store, ALL, "mailboxes on the list: 3"),
        (Check::TokenServiceTcp, ALL, "127.0.0.1"),
        (Check::Clock, ALL, "it agrees"),
        (Check::Tls, Some(Protocol::Smtp), "TLS 1.3"),
        (Check::Tls, Some(Protocol::Imap), "throw-away authority"),
        (Check::Token, ALL, "the application's own"),
        (Check::TokenAudience, ALL, "Exchange"),
        (Check::TokenPermission, Some(Protocol::Pop3), "POP.AccessAsApp"),
        (Check::Login, Some(Protocol::Smtp), "let in as alice@contoso.test"),
        (Check::Sending, Some(Protocol::Smtp), "SIZE 157286400"),
        (Check::Inbox, Some(Protocol::Imap), "1 messages"),
        (Check::Inbox, Some(Protocol::Pop3), "1 messages"),
    ] {
        let step = found(&steps, check, protocol);
        assert!(step.said.contains(said), "{step:?}");
    }
    // The line that most set-ups fail for: the object ID that the token names, ready to be pasted.
    let application = found(&steps, Check::TokenApplication, ALL);
    let (client, principal) = (world.sandbox.client_id(), world.sandbox.principal_id());
    let command = format!("    New-ServicePrincipal -AppId {client} -ObjectId {principal} -DisplayName \"Postern\"");
    assert_eq!(application.said.lines().last(), Some(command.as_str()));
    // The running proxy answers at each of its ports.
    assert_eq!(steps.iter().filter(|step| step.check == Check::Listener).count(), world.bound.len());

    let told = format!("{steps:?}");
    let tokens = world.sandbox.tally().access_tokens;
    assert!(!tokens.is_empty());
    assert!(tokens.iter().all(|token| !told.contains(&token[token.len() - 24..])));
    assert!(!told.contains(world.sandbox.client_secret()));
    assert!(world.sandbox.submissions().is_empty(), "nothing was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_thing_that_is_wrong_is_found_at_its_step_with_what_to_do() {
    let world = World::start().await;
    let (client, principal) = (world.sandbox.client_id().to_owned(), world.sandbox.principal_id().to_owned());
    let principal_command = format!("New-ServicePrincipal -AppId {client} -ObjectId {principal}");
    let rights = format!("Add-MailboxPermission -Identity {ALICE} -User {principal} -AccessRights FullAccess");
    let switch = format!("Set-CASMailbox -Identity {ALICE} -SmtpClientAuthenticationDisabled $false");
    let (smtp, imap, pop3) = (Some(Protocol::Smtp), Some(Protocol::Imap), Some(Protocol::Pop3));
    let no_permission = format!("mailbox-no-permission={ALICE}");
    let mailbox_off = format!("smtp-mailbox-auth-disabled={ALICE}");
    for (fault, check, protocol, remedy) in [
        ("token-error=7000222", Check::Token, ALL, "New client secret"),
        ("secret-expired", Check::Token, ALL, "New client secret"),
        ("token-error=700016", Check::Token, ALL, "client_id"),
        ("token-status=503", Check::Token, ALL, "Service health"),
        ("token-html", Check::Token, ALL, "token_url"),
        ("token-close", Check::Token, ALL, "way to the internet"),
        ("token-wrong-audience", Check::TokenAudience, ALL, "Leave `scopes` out"),
        ("token-roleless", Check::TokenPermission, imap, "IMAP.AccessAsApp"),
        ("token-roleless", Check::TokenPermission, pop3, "POP.AccessAsApp"),
        ("token-roleless", Check::Login, smtp, "RBAC for Applications"),
        (&no_permission, Check::Login, imap, &rights),
        (&no_permission, Check::Login, smtp, &rights),
        (&no_permission, Check::Login, pop3, &rights),
        ("smtp-auth-reject", Check::Login, smtp, &principal_command),
        ("imap-auth-reject", Check::Login, imap, &principal_command),
        ("imap-challenge-json", Check::Login, imap, &principal_command),
        ("pop-auth-reject", Check::Login, pop3, &principal_command),
        ("smtp-auth-disabled", Check::Login, smtp, &switch),
        (&mailbox_off, Check::Login, smtp, &switch),
        ("smtp-security-defaults", Check::Login, smtp, "Manage security defaults"),
        ("smtp-conditional-access", Check::Login, smtp, "Conditional Access"),
        ("imap-not-connected", Check::Login, imap, "-ImapEnabled $true"),
        ("imap-throttle", Check::Login, imap, "pass"),
        ("tls-wrong-name", Check::Tls, imap, "not for 127.0.0.1"),
        ("tls-untrusted", Check::Tls, pop3, "`ca_file`"),
        ("tls-untrusted", Check::Tls, smtp, "`ca_file`"),
        ("tls-expired", Check::Tls, smtp, "clock"),
        ("smtp-no-starttls", Check::Tls, smtp, "`smtp_tls`"),
        ("mail-unreachable", Check::Tls, imap, "firewall"),
    ] {
        world.fault(fault);
        let steps = steps_of(&world, ALICE).await;
        let step = found(&steps, check, protocol);
        assert_eq!(step.state, StepState::Failed, "{fault} {step:?}");
        assert!(step.remedy.as_ref().is_some_and(|told| told.contains(remedy)), "{fault}: {step:#?}");
        // What does not depend on it goes on, and what does is told as not tried.
        assert_eq!(found(&steps, Check::Clock, ALL).state, StepState::Ok, "{fault}");
        let skipped = |check, protocol| found(&steps, check, protocol).state == StepState::Skipped;
        match check {
            Check::Token | Check::TokenAudience => {
                assert!(skipped(Check::Login, imap) && skipped(Check::Login, smtp), "{fault}")
            }
            Check::TokenPermission | Check::Tls => assert!(skipped(Check::Login, protocol), "{fault}"),
            _ => {
                let next = if protocol == smtp { Check::Sending } else { Check::Inbox };
                assert!(skipped(next, protocol), "{fault}");
            }
        }
        world.sandbox.faults().clear_all();
    }
    let steps = steps_of(&world, ALICE).await;
    assert_eq!(failed(&steps), [], "a doctor leaves nothing behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_still_works_but_not_for_long_is_a_warning() {
    let world = World::start().await;
    for (fault, remedy, then) in [
        ("token-expires-in=300", "token lifetime policy", None),
        ("token-size=5000", "4,096 characters", None),
        ("pop-long-token", "4,096 characters", Some(Protocol::Pop3)),
    ] {
        world.fault(fault);
        let steps = steps_of(&world, ALICE).await;
        let token = found(&steps, Check::Token, ALL);
        assert_eq!(token.state, StepState::Warning, "{fault} {token:?}");
        assert!(token.remedy.as_ref().unwrap().contains(remedy), "{fault} {token:?}");
        let expected: Vec<_> = then.map(|protocol| ("login", Some(protocol))).into_iter().collect();
        assert_eq!(failed(&steps), expected, "{fault}");
        world.sandbox.faults().clear(postern::sandbox::FaultName::TokenExpiresIn);
    }
}

#[tokio::test]
async fn a_token_service_that_never_answers_does_not_keep_the_doctor_for_ever() {
    let world = World::start().await;
    world.fault("token-hang");
    let examination = examination(ALICE, None);
    let mut ended = Vec::new();
    let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let mut tell = |event| match event {
        StepEvent::Begins { check: Check::Token, .. } => began.send(()).unwrap(),
        StepEvent::Begins { .. } => {}
        StepEvent::Ended(step) => ended.push(*step),
    };
    let turn = async {
        begun.recv().await;
        eventually("the request to arrive", async || !world.sandbox.tally().token_requests.is_empty()).await;
        turn_clock(Duration::from_secs(31)).await;
    };
    let (done, ()) = tokio::join!(within("the end", examine(&world.config, &[], &examination, &mut tell)), turn);
    done.unwrap();
    let token = found(&ended, Check::Token, ALL);
    assert_eq!(token.state, StepState::Failed);
    assert!(token.said.contains("cannot be reached"), "{token:?}");
    assert_eq!(found(&ended, Check::Login, Some(Protocol::Imap)).said, "not tried: there is no token");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_has_signed_in_and_somebody_without_rights_are_told_apart() {
    let plan = || Plan { grant: "authorization_code", ..Plan::default() };
    let world = World::planned(plan()).await;
    let steps = steps_of(&world, ALICE).await;
    let token = found(&steps, Check::Token, ALL);
    assert_eq!((token.state, token.said.as_str()), (StepState::Failed, "nobody has signed in for alice@contoso.test"));
    assert!(token.remedy.as_ref().unwrap().contains("postern mailbox connect alice@contoso.test"), "{token:?}");

    let scanner: Mailbox = "scanner@contoso.test".parse().unwrap();
    let bob: Mailbox = "bob@contoso.test".parse().unwrap();
    world.ops.add_mailbox(&scanner, None, &[], Some(&bob)).await.unwrap();
    let token = steps_of(&world, scanner.as_str()).await;
    let remedy = found(&token, Check::Token, ALL).remedy.clone().unwrap();
    assert!(remedy.contains("Sign in as bob@contoso.test: `postern mailbox connect scanner@contoso.test`"), "{remedy}");

    // Bob signs in, and has no right on that mailbox.
    let refresh = Secret::new(world.sandbox.refresh_token_for(bob.as_str()));
    world.ops.connect_with_refresh_token(&scanner, refresh).await.unwrap();
    let steps = steps_of(&world, scanner.as_str()).await;
    assert!(found(&steps, Check::Token, ALL).said.starts_with("by the sign-in of bob@contoso.test"));
    assert_eq!(found(&steps, Check::TokenAccount, ALL).state, StepState::Ok);
    for protocol in [Protocol::Imap, Protocol::Pop3] {
        let login = found(&steps, Check::Login, Some(protocol));
        assert_eq!(login.state, StepState::Failed, "{login:?}");
        let rights =
            "Add-MailboxPermission -Identity scanner@contoso.test -User bob@contoso.test -AccessRights FullAccess";
        assert!(login.remedy.as_ref().unwrap().contains(rights), "{login:#?}");
    }
    // By SMTP Exchange lets him in as himself, and judges the sender only when there is a message.
    let sending = found(&steps, Check::Sending, Some(Protocol::Smtp));
    assert!(sending.said.contains("--send-test"), "{sending:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delegate_is_let_in_under_the_name_that_exchange_takes() {
    let world = World::planned(Plan { grant: "authorization_code", ..Plan::default() }).await;
    let shared: Mailbox = "team@contoso.test".parse().unwrap();
    assert!(world.ops.mailbox(&shared).await.is_err());
    let shared: Mailbox = "shared@contoso.test".parse().unwrap();
    world.ops.remove_mailbox(&shared).await.unwrap();
    world.ops.add_mailbox(&shared, None, &[], Some(&ALICE.parse().unwrap())).await.unwrap();
    let refresh = Secret::new(world.sandbox.refresh_token_for(ALICE));
    world.ops.connect_with_refresh_token(&shared, refresh).await.unwrap();
    world.fault("smtp-shared-refused");
    let steps = steps_of(&world, shared.as_str()).await;
    assert_eq!(failed(&steps), []);
    assert_eq!(found(&steps, Check::Login, Some(Protocol::Smtp)).said, "let in as alice@contoso.test");
    let sending = found(&steps, Check::Sending, Some(Protocol::Smtp));
    assert!(sending.said.starts_with("MAIL FROM:<shared@contoso.test> is taken"), "{sending:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_a_person_did_not_consent_to_costs_that_protocol_alone() {
    let world = World::planned(Plan { grant: "device_code", ..Plan::default() }).await;
    let refresh = Secret::new(world.sandbox.refresh_token_for(ALICE));
    world.ops.connect_with_refresh_token(&ALICE.parse().unwrap(), refresh).await.unwrap();
    world.fault("consent-missing=POP.AccessAsUser.All");
    let steps = steps_of(&world, ALICE).await;
    assert_eq!(found(&steps, Check::Login, Some(Protocol::Imap)).state, StepState::Ok);
    assert_eq!(found(&steps, Check::Login, Some(Protocol::Smtp)).state, StepState::Ok);
    assert_eq!(failed(&steps), [("token", Some(Protocol::Pop3))]);
    let token = found(&steps, Check::Token, Some(Protocol::Pop3));
    assert!(token.said.contains("AADSTS65001"), "{token:?}");
    assert_eq!(found(&steps, Check::Login, Some(Protocol::Pop3)).state, StepState::Skipped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_mail_to_itself_is_found_timed_and_taken_away_again() {
    let world = World::start().await;
    world.sandbox.deliver(ALICE, "INBOX", b"Subject: other\r\n\r\nstays\r\n");
    let steps = steps(&world, &examination(ALICE, Some(ALICE))).await;
    assert_eq!(failed(&steps), []);
    let arrival = found(&steps, Check::Arrival, Some(Protocol::Imap));
    assert_eq!(arrival.state, StepState::Ok, "{arrival:?}");
    assert!(arrival.said.starts_with("found in INBOX after ") && arrival.said.contains("deleted there"), "{arrival:?}");
    let submitted = world.sandbox.submissions();
    assert_eq!(submitted.len(), 1);
    assert!(String::from_utf8_lossy(&submitted[0].content).contains("Subject: Test mail from Postern"));
    let inbox = world.sandbox.messages(ALICE, "INBOX");
    assert_eq!(inbox.len(), 1, "what was there before stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_mail_that_was_taken_for_junk_is_found_there_and_said_to_be() {
    let world = World::start().await;
    world.fault("smtp-junk");
    let steps = steps(&world, &examination(ALICE, Some(ALICE))).await;
    let arrival = found(&steps, Check::Arrival, Some(Protocol::Imap));
    assert_eq!(arrival.state, StepState::Warning, "{arrival:?}");
    assert!(
        arrival.said.starts_with("found in Junk Email after ") && arrival.said.contains("; deleted there"),
        "{arrival:?}"
    );
    assert!(arrival.remedy.as_deref().unwrap().contains("no junk"), "{arrival:?}");
    assert!(world.sandbox.messages(ALICE, "Junk Email").is_empty());
}

#[tokio::test]
async fn a_test_mail_that_never_arrives_is_looked_for_a_minute_and_no_longer() {
    for (fault, to, state, said) in [
        ("smtp-lost", ALICE, StepState::Failed, "not there after 60 s (looked in INBOX, Junk Email)"),
        ("smtp-no-copy", "bob@contoso.test", StepState::Warning, "no copy in Sent Items after 60 s"),
    ] {
        let world = World::start().await;
        world.fault(fault);
        let examination = examination(ALICE, Some(to));
        // Once it is sent, a second passes at each glance, and not so fast that the tenant has no time to answer.
        let time_flies = async {
            eventually("the test mail", async || world.sandbox.submissions().len() == 1).await;
            loop {
                turn_clock(Duration::from_secs(1)).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let began = tokio::time::Instant::now();
        let steps = tokio::select! {
            steps = steps_in_their_time(&world, &examination) => steps,
            () = time_flies => unreachable!("it has no end"),
        };
        let arrival = found(&steps, Check::Arrival, Some(Protocol::Imap));
        assert_eq!(arrival.state, state, "{arrival:?}");
        assert!(arrival.said.contains(said), "{arrival:?}");
        assert!(arrival.remedy.as_deref().unwrap().contains("Message trace"), "{arrival:?}");
        assert!(began.elapsed() >= Duration::from_secs(60), "it was given its time");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_mail_to_somebody_else_is_found_among_the_sent_ones_and_stays_there() {
    let world = World::start().await;
    let steps = steps(&world, &examination(ALICE, Some("someone@example.test"))).await;
    let arrival = found(&steps, Check::Arrival, Some(Protocol::Imap));
    assert_eq!(arrival.state, StepState::Ok, "{arrival:?}");
    assert!(arrival.said.starts_with("found in Sent Items after "), "{arrival:?}");
    assert_eq!(world.sandbox.messages(ALICE, "Sent Items").len(), 1);
    assert_eq!(world.sandbox.submissions()[0].recipients, ["someone@example.test"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_mail_that_exchange_refuses_is_told_in_its_words() {
    let world = World::start().await;
    for (fault, said, remedy) in [
        ("smtp-send-as-denied", "5.2.252", "Add-RecipientPermission"),
        ("smtp-reject-recipient=gone@contoso.test", "5.1.10", ""),
    ] {
        world.fault(fault);
        let steps = steps(&world, &examination(ALICE, Some("gone@contoso.test"))).await;
        let mail = found(&steps, Check::TestMail, Some(Protocol::Smtp));
        assert_eq!(mail.state, StepState::Failed, "{fault}");
        assert!(mail.said.contains(said), "{fault} {mail:?}");
        assert!(mail.remedy.as_ref().unwrap().contains(remedy), "{fault} {mail:#?}");
        assert_eq!(found(&steps, Check::Arrival, Some(Protocol::Imap)).said, "not tried: no test mail was sent");
        world.sandbox.faults().clear_all();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_mailboxes_are_looked_at_and_told_in_order_and_a_disabled_one_is_left_alone() {
    let world = World::start().await;
    world.ops.disable_mailbox(&"bob@contoso.test".parse().unwrap()).await.unwrap();
    world.fault(&format!("mailbox-no-permission={ALICE}"));
    let steps = steps(&world, &Examination::default()).await;
    let mut order: Vec<&str> = steps.iter().filter_map(|step| Some(step.mailbox.as_ref()?.as_str())).collect();
    order.dedup();
    assert_eq!(order, [ALICE, "bob@contoso.test", "shared@contoso.test"]);
    let of = |mailbox: &'static str| {
        steps.iter().filter(move |step| step.mailbox.as_ref().is_some_and(|one| one.as_str() == mailbox))
    };
    assert!(of(ALICE).any(|step| step.state == StepState::Failed));
    assert!(of("shared@contoso.test").all(|step| step.state == StepState::Ok));
    let bob: Vec<&Step> = of("bob@contoso.test").collect();
    assert_eq!((bob.len(), bob[0].check, bob[0].state), (1, Check::Mailbox, StepState::Skipped));
    assert!(bob[0].remedy.as_ref().unwrap().contains("postern mailbox enable bob@contoso.test"));
    // One token serves them all.
    assert_eq!(world.sandbox.tally().token_requests["client_credentials"], 1);
    // What is halted is left alone as well, also by a test mail.
    world.ops.halt(None, None).await.unwrap();
    let examination =
        Examination { mailbox: Some(ALICE.parse().unwrap()), send_test: Some("bob@contoso.test".parse().unwrap()) };
    let halted = self::steps(&world, &examination).await;
    let of_alice: Vec<&Step> = halted.iter().filter(|step| step.check == Check::Mailbox).collect();
    assert_eq!((of_alice.len(), of_alice[0].state), (1, StepState::Skipped));
    assert!(of_alice[0].remedy.as_ref().unwrap().contains("postern resume"), "{of_alice:?}");
    assert!(world.sandbox.submissions().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_somebody_else_holds_is_named_with_its_holder() {
    let mut world = World::start().await;
    world.stop_serving().await;
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = holder.local_addr().unwrap();
    let file = world.config_file();
    let text = std::fs::read_to_string(&file).unwrap().replacen("127.0.0.1:0", &taken.to_string(), 1);
    std::fs::write(&file, text).unwrap();
    world.read_configuration();
    let steps = steps_of(&world, ALICE).await;
    let failures: Vec<&Step> = steps.iter().filter(|step| step.state == StepState::Failed).collect();
    assert_eq!(failures.len(), 1, "{failures:#?}");
    let (said, remedy) = (&failures[0].said, failures[0].remedy.as_ref().unwrap());
    assert_eq!(failures[0].check, Check::Listener);
    assert!(said.contains(&format!("{taken} is taken by ")), "{said}");
    if cfg!(target_os = "linux") {
        assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
    }
    assert!(remedy.contains("app passwords"), "{remedy}");
}

/// A service that refuses every request and has a clock of its own.
async fn service_with_clock_ahead_by(seconds: i64) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let date = (chrono::Utc::now() + chrono::Duration::seconds(seconds)).format("%a, %d %b %Y %H:%M:%S GMT");
            let answer = format!("HTTP/1.1 405 x\r\nDate: {date}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let mut request = [0; 4096];
            if let Ok(1..) = stream.read(&mut request).await {
                drop(stream.write_all(answer.as_bytes()).await);
            }
        }
    });
    (format!("http://{address}/token"), task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_a_warning_beyond_two_minutes_and_a_failure_beyond_five() {
    let mut world = World::start().await;
    let token_url = world.sandbox.token_url();
    for (ahead, state, said) in [
        (60, StepState::Ok, "behind"),
        (200, StepState::Warning, "behind"),
        (-200, StepState::Warning, "ahead of"),
        (-400, StepState::Failed, "ahead of"),
    ] {
        let (url, task) = service_with_clock_ahead_by(ahead).await;
        let file = world.config_file();
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace(&token_url, &url)).unwrap();
        world.read_configuration();
        std::fs::write(&file, text).unwrap();
        let steps = steps_of(&world, ALICE).await;
        let clock = found(&steps, Check::Clock, ALL);
        assert_eq!(clock.state, state, "{ahead} {clock:?}");
        assert!(clock.said.contains(said), "{ahead} {clock:?}");
        assert_eq!(clock.remedy.is_some(), state != StepState::Ok, "{clock:?}");
        // The token is asked for all the same; only this service never gives one.
        assert_eq!(found(&steps, Check::Token, ALL).state, StepState::Failed);
        task.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_through_a_proxy_is_named_and_one_that_forbids_it_is_found() {
    let proxy = TestProxy::start(Spoken::Http, None).await;
    let world = crate::proxy::world(&proxy, &format!("proxy = \"{}\"", proxy.url(None))).await;
    let steps = steps_of(&world, ALICE).await;
    assert_eq!(failed(&steps), []);
    let tcp = found(&steps, Check::Tcp, Some(Protocol::Imap));
    assert!(tcp.said.contains("through the proxy http://127.0.0.1:"), "{tcp:?}");

    proxy.be(Manner::Says(b"HTTP/1.1 403 Forbidden\r\n\r\n"));
    let steps = steps_of(&world, ALICE).await;
    let tcp = found(&steps, Check::Tcp, Some(Protocol::Imap));
    assert_eq!(tcp.state, StepState::Failed);
    assert!(tcp.remedy.as_ref().unwrap().contains("Ask whoever runs the proxy"), "{tcp:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_is_not_on_the_list_is_said_at_once() {
    let world = World::start().await;
    let mut tell = |event| panic!("nothing is begun: {event:?}");
    let error = examine(&world.config, &[], &examination("alcie@contoso.test", None), &mut tell).await.unwrap_err();
    assert!(postern::base::Fault::remedy(&error).unwrap().contains("Did you mean alice@contoso.test?"), "{error}");
}

fn routes(names: &'static str) -> Plan {
    let edit: fn(String) -> String = match names {
        "graph" => |text| text.replace("grant = ", "routes = [\"graph\"]\ngrant = "),
        _ => |text| text.replace("grant = ", "routes = [\"smtp\", \"graph\"]\ngrant = "),
    };
    Plan { edit, ..Plan::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_mail_goes_by_graph_alone_that_is_looked_at_and_smtp_is_not() {
    let world = World::planned(routes("graph")).await;
    world.fault("smtp-auth-disabled");
    let steps = steps(&world, &examination(ALICE, Some(ALICE))).await;
    assert_eq!(failed(&steps), []);
    for (check, said) in [
        (Check::GraphToken, "the application's own"),
        (Check::GraphPermission, "Mail.Send, for every mailbox of the tenant"),
        (Check::Graph, "reached, and lets the token in"),
    ] {
        let step = found(&steps, check, ALL);
        assert!(step.state == StepState::Ok && step.said.contains(said), "{step:?}");
    }
    let login = found(&steps, Check::Login, Some(Protocol::Smtp));
    assert!(login.state == StepState::Skipped && login.said.contains("Graph alone"), "{login:?}");
    assert!(found(&steps, Check::TestMail, Some(Protocol::Smtp)).said.contains("taken by Graph"));
    let arrival = found(&steps, Check::Arrival, Some(Protocol::Imap));
    assert!(arrival.said.starts_with("found in INBOX after "), "{arrival:?}");
    assert_eq!(world.sandbox.submissions().len(), 1);
    assert!(world.sandbox.submissions()[0].by_graph);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_graph_is_found_at_its_step_with_what_to_do() {
    let world = World::planned(routes("graph")).await;
    for (fault, remedy) in [
        ("graph-denied", "Mail.Send for alice@contoso.test"),
        ("graph-throttle=10", "It should pass by itself"),
        ("graph-reply=503 ServiceUnavailable", "It should pass by itself"),
        ("graph-reply=401 InvalidAuthenticationToken", "It should pass by itself"),
    ] {
        world.fault(fault);
        let steps = steps_of(&world, ALICE).await;
        let step = found(&steps, Check::Graph, ALL);
        assert_eq!(step.state, StepState::Failed, "{fault} {step:?}");
        assert!(step.remedy.as_ref().is_some_and(|told| told.contains(remedy)), "{fault}: {step:#?}");
        assert!(world.sandbox.submissions().is_empty(), "nothing was sent");
        world.sandbox.faults().clear_all();
    }
    world.fault("token-status=503");
    let steps = steps_of(&world, ALICE).await;
    assert_eq!(found(&steps, Check::GraphToken, ALL).state, StepState::Failed);
    assert_eq!(found(&steps, Check::Graph, ALL).state, StepState::Skipped);
}

#[tokio::test(flavor = "multi_thread")]
async fn smtp_that_is_switched_off_is_a_warning_where_mail_goes_by_graph_meanwhile() {
    let world = World::planned(routes("smtp, graph")).await;
    world.fault("smtp-auth-disabled");
    let seen = steps_of(&world, ALICE).await;
    assert_eq!(failed(&seen), []);
    let login = found(&seen, Check::Login, Some(Protocol::Smtp));
    assert!(
        login.state == StepState::Warning && login.said.contains("(mail may go by Graph meanwhile, but for "),
        "{login:?}"
    );
    // Graph does not work either.
    world.fault("graph-denied");
    let seen = steps_of(&world, ALICE).await;
    assert_eq!(failed(&seen), [("graph", None), ("login", Some(Protocol::Smtp))]);
}
