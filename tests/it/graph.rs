//! Microsoft Graph as a way for mail: which messages go by it, and when.

use postern::base::{Clock, Protocol};
use postern::store::{DeliveryMode, JournalFilter, QueueState, Route};

use crate::common::{Plan, World, eventually, reference};

const ALICE: &str = "alice@contoso.test";
const BOB: &str = "bob@contoso.test";
const CAROL: &str = "carol@elsewhere.test";

async fn world(routes: &'static str) -> World {
    let edit: fn(String) -> String = match routes {
        "smtp, graph" => |text| text.replace("grant = ", "routes = [\"smtp\", \"graph\"]\ngrant = "),
        "graph, smtp" => |text| text.replace("grant = ", "routes = [\"graph\", \"smtp\"]\ngrant = "),
        _ => |text| text.replace("grant = ", "routes = [\"graph\"]\ngrant = "),
    };
    World::planned(Plan { edit, clock: Clock::fast(60), ..Plan::default() }).await
}

async fn send(world: &World, mode: DeliveryMode, to: &str, recipients: &[&str], text: &str) -> String {
    let issued = world.issue_with(ALICE, |request| request.delivery = mode).await;
    let mut smtp = world.smtp(ALICE, issued.password.expose()).await;
    let told = smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
    if !told.starts_with("250 ") {
        return told;
    }
    for recipient in recipients {
        assert!(smtp.smtp(&format!("RCPT TO:<{recipient}>")).await.starts_with("250 "));
    }
    assert!(smtp.smtp("DATA").await.starts_with("354 "));
    smtp.send(format!("From: {ALICE}\r\nTo: {to}\r\nMessage-ID: <1@contoso.test>\r\n\r\n{text}\r\n.\r\n")).await;
    let told = smtp.reply().await;
    assert!(smtp.smtp("NOOP").await.starts_with("250 "), "the session goes on");
    told
}

/// By which way each message went, and to whom.
fn went(world: &World) -> Vec<(Route, Vec<String>)> {
    let route = |by_graph| if by_graph { Route::Graph } else { Route::Smtp };
    world.sandbox.submissions().into_iter().map(|one| (route(one.by_graph), one.recipients)).collect()
}

async fn goes_out(world: &World) {
    eventually("the queue to be empty", async || {
        world.ops.retry_all_queued().await.unwrap();
        world.ops.queue().await.unwrap().is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_smtp_is_switched_off_mail_goes_by_graph_and_back_when_it_is_on_again() {
    for mode in [DeliveryMode::Assured, DeliveryMode::Direct] {
        let world = world("smtp, graph").await;
        assert!(send(&world, mode, BOB, &[BOB], "one").await.starts_with("250 2.0.0 OK"));
        world.fault("smtp-auth-disabled");
        let told = send(&world, mode, BOB, &[CAROL, BOB], "two").await;
        if mode == DeliveryMode::Direct {
            // Nothing is gathered for it, so the first message finds out.
            assert!(told.starts_with("451 4.7.0 "), "{told}");
            continue;
        }
        assert_eq!(told, "250 2.0.0 OK", "the program does not notice");
        // Not asked again at once.
        let refused = world.sandbox.tally().refused_logins[&Protocol::Smtp];
        assert_eq!(send(&world, mode, BOB, &[BOB], "three").await, "250 2.0.0 OK");
        assert_eq!(world.sandbox.tally().refused_logins[&Protocol::Smtp], refused);
        assert_eq!(
            went(&world),
            [
                (Route::Smtp, vec![BOB.to_owned()]),
                (Route::Graph, vec![BOB.to_owned(), CAROL.to_owned()]),
                (Route::Graph, vec![BOB.to_owned()]),
            ]
        );
        let content = String::from_utf8(world.sandbox.submissions()[1].content.clone()).unwrap();
        assert!(!content.to_ascii_lowercase().contains("bcc:"), "{content}");
        assert!(content.ends_with("\r\n\r\ntwo\r\n"), "{content}");
        assert!(world.ops.queue().await.unwrap().is_empty());
        eventually("the journal", async || {
            let entries = world.ops.journal(&JournalFilter::default(), 9).await.unwrap();
            let routes: Vec<_> = entries.iter().rev().map(|entry| entry.route).collect();
            routes == [Some(Route::Smtp), Some(Route::Graph), Some(Route::Graph)]
        })
        .await;
        // A new process has forgotten it, as five minutes would.
        let mut world = world;
        world.sandbox.faults().clear_all();
        world.stop_serving().await;
        world.serve().await;
        assert!(send(&world, mode, BOB, &[BOB], "four").await.starts_with("250 2.0.0 OK"));
        assert_eq!(went(&world)[3].0, Route::Smtp);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn graph_alone_serves_a_tenant_that_never_had_smtp_auth() {
    let world = world("graph").await;
    world.fault("smtp-auth-disabled");
    for mode in [DeliveryMode::Assured, DeliveryMode::Direct] {
        assert_eq!(send(&world, mode, BOB, &[BOB, CAROL], "one").await, "250 2.0.0 OK");
    }
    assert_eq!(went(&world).len(), 2);
    assert!(!world.sandbox.tally().refused_logins.contains_key(&Protocol::Smtp), "SMTP is not asked at all");
    // What Graph would send to others, or not at all, is refused with the reason.
    for (to, recipients, text) in [
        (format!("{BOB}, {CAROL}"), &[BOB][..], "text".to_owned()),
        (BOB.to_owned(), &[BOB], "x".repeat(78).repeat(39_000)),
    ] {
        let told = send(&world, DeliveryMode::Assured, &to, recipients, &text).await;
        assert!(told.starts_with("554 5.6.0 The message cannot be sent by Microsoft Graph: "), "{told}");
        reference(&told);
    }
    assert_eq!(went(&world).len(), 2);
    assert!(world.ops.queue().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_go_by_graph_goes_by_smtp() {
    let world = world("graph, smtp").await;
    assert_eq!(send(&world, DeliveryMode::Assured, BOB, &[BOB], "one").await, "250 2.0.0 OK");
    let told = send(&world, DeliveryMode::Assured, &format!("{BOB}, {CAROL}"), &[BOB], "two").await;
    assert!(told.contains("queued as"), "{told}");
    goes_out(&world).await;
    assert_eq!(went(&world), [(Route::Graph, vec![BOB.to_owned()]), (Route::Smtp, vec![BOB.to_owned()])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_graph_cannot_take_now_waits_and_what_it_refuses_is_refused() {
    for fault in ["graph-throttle=2", "graph-reply=503 ServiceUnavailable", "graph-denied", "token-status=503"] {
        let world = world("graph").await;
        world.fault(fault);
        let told = send(&world, DeliveryMode::Assured, BOB, &[BOB], "one").await;
        assert!(told.contains("queued as"), "{fault}: {told}");
        let told = send(&world, DeliveryMode::Direct, BOB, &[BOB], "two").await;
        let expected = if fault == "graph-denied" { "451 4.7.0 " } else { "451 4.3.0 " };
        assert!(told.starts_with(expected), "{fault}: {told}");
        let kept = world.ops.queue().await.unwrap();
        assert_eq!(kept.len(), 1, "{fault}");
        assert_eq!(kept[0].state == QueueState::HeldForSetup, fault == "graph-denied", "{fault}: {kept:?}");
        world.sandbox.faults().clear_all();
        goes_out(&world).await;
        assert_eq!(went(&world), [(Route::Graph, vec![BOB.to_owned()])], "{fault}");
    }
    for fault in ["graph-reply=500 InternalServerError", "graph-reply=502 BadGateway", "graph-reply=504 Timeout"] {
        let world = world("graph").await;
        world.fault(fault);
        let told = send(&world, DeliveryMode::Assured, BOB, &[BOB], "one").await;
        assert!(told.contains("queued as"), "{fault}: {told}");
        let kept = world.ops.queue().await.unwrap();
        assert!(kept[0].is_unknown() && kept[0].doubts[0].places == [0], "it may be through, {fault}: {kept:?}");
    }
    let world = world("graph").await;
    world.fault("graph-reply=403 ErrorSendAsDenied");
    let told = send(&world, DeliveryMode::Assured, BOB, &[BOB], "one").await;
    assert!(told.starts_with("550 5.7.60 "), "{told}");
    world.fault("graph-reply=400 ErrorInvalidRecipients");
    let told = send(&world, DeliveryMode::Assured, BOB, &[BOB], "one").await;
    assert!(told.starts_with("554 5.6.0 The message was refused, ref "), "{told}");
    assert!(world.ops.queue().await.unwrap().is_empty() && went(&world).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_signs_in_sends_by_graph_as_well() {
    let edit: fn(String) -> String = |text| text.replace("grant = ", "routes = [\"graph\"]\ngrant = ");
    let world = World::planned(Plan { grant: "authorization_code", edit, ..Plan::default() }).await;
    let token = postern::base::Secret::new(world.sandbox.refresh_token_for(ALICE));
    world.ops.connect_with_refresh_token(&ALICE.parse().unwrap(), token).await.unwrap();
    assert_eq!(send(&world, DeliveryMode::Assured, BOB, &[BOB], "one").await, "250 2.0.0 OK");
    assert_eq!(went(&world), [(Route::Graph, vec![BOB.to_owned()])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_graph_finds_fault_with_goes_by_smtp_where_that_is_a_way() {
    let world = world("graph, smtp").await;
    for reply in ["400 ErrorMimeContentInvalid", "413 RequestEntityTooLarge"] {
        world.fault(&format!("graph-reply={reply}"));
        let told = send(&world, DeliveryMode::Assured, BOB, &[BOB], "one").await;
        assert!(told.starts_with("250 2.0.0 OK"), "{told}");
        goes_out(&world).await;
    }
    assert_eq!(went(&world), [(Route::Smtp, vec![BOB.to_owned()]), (Route::Smtp, vec![BOB.to_owned()])]);
    // For another process, or the application, to let go of it.
    world.fault("graph-reply=409 ErrorIrresolvableConflict");
    let told = send(&world, DeliveryMode::Assured, BOB, &[BOB], "two").await;
    assert!(told.contains("queued as"), "{told}");
    world.sandbox.faults().clear_all();
    goes_out(&world).await;
    assert_eq!(went(&world).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_graph_refuses_is_refused_where_smtp_is_switched_off() {
    let world = world("smtp, graph").await;
    world.fault("smtp-auth-disabled");
    world.fault("graph-reply=400 ErrorInvalidRecipients");
    let told = send(&world, DeliveryMode::Assured, BOB, &[BOB], "one").await;
    assert!(told.starts_with("554 5.6.0 "), "{told}");
    // From the queue its sender is told.
    world.fault("mail-unreachable");
    let told = send(&world, DeliveryMode::Assured, BOB, &[BOB], "two").await;
    assert!(told.contains("queued as"), "{told}");
    world.sandbox.faults().clear_all();
    world.fault("smtp-auth-disabled");
    world.fault("graph-reply=400 ErrorInvalidRecipients");
    eventually("its end", async || {
        world.ops.retry_all_queued().await.unwrap();
        world.ops.queue().await.unwrap().iter().all(|one| one.is_report)
    })
    .await;
    world.sandbox.faults().clear_all();
    // The report may have been refused in the same way, and is held then.
    eventually("the report", async || {
        for one in world.ops.queue().await.unwrap() {
            drop(world.ops.release_queued(&one.id).await);
        }
        world.sandbox.messages(ALICE, "INBOX").len() == 1
    })
    .await;
    let report = String::from_utf8_lossy(&world.sandbox.messages(ALICE, "INBOX")[0]).into_owned();
    let diagnosis = "\r\nDiagnostic-Code: smtp; 554 5.6.0 The message was refused; Graph 400 ErrorInvalidRecipients";
    assert!(report.contains(diagnosis), "in one line: {report}");
    // A program whose mail is not kept hears it at once.
    let world = self::world("graph, smtp").await;
    world.fault("graph-reply=400 ErrorMimeContentInvalid");
    let told = send(&world, DeliveryMode::Direct, BOB, &[BOB], "one").await;
    assert!(told.starts_with("554 5.6.0 "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_graph_refuses_waits_for_smtp_where_that_is_not_switched_off() {
    let world = world("smtp, graph").await;
    world.fault("smtp-auth-reject=1000");
    world.fault("graph-reply=400 ErrorMimeContentInvalid");
    let told = send(&world, DeliveryMode::Assured, BOB, &[BOB], "one").await;
    assert!(told.contains("queued as"), "{told}");
    let attempted = async || world.ops.queue().await.unwrap()[0].attempts > 0;
    eventually("an attempt from the queue", async || {
        world.ops.retry_all_queued().await.unwrap();
        attempted().await
    })
    .await;
    world.sandbox.faults().clear(postern::sandbox::read_fault("smtp-auth-reject=1").unwrap().0);
    goes_out(&world).await;
    assert_eq!(went(&world), [(Route::Smtp, vec![BOB.to_owned()])]);
}
