//! Figures for Prometheus, and whether the process runs and is ready.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{Plan, World, within};

const ALICE: &str = "alice@contoso.test";

async fn get(world: &World, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(world.metrics.unwrap()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

/// The value of a figure, by its whole name with labels.
fn value(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{name} is missing: {text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

/// One test: the figures are those of the whole process, in which other tests log in as well.
#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted_and_told_where_somebody_has_asked_for_it() {
    let more = "\n[metrics]\naddress = \"127.0.0.1:0\"\n".to_owned();
    let mut world = World::planned(Plan { more, ..Plan::default() }).await;
    assert!(get(&world, "/healthz").await.starts_with("HTTP/1.1 200 "));
    assert!(get(&world, "/readyz").await.starts_with("HTTP/1.1 200 "));
    assert!(get(&world, "/secrets").await.starts_with("HTTP/1.1 404 "));
    let password = world.issue(ALICE).await;
    let (_open, told) = world.imap(ALICE, &password).await;
    assert!(told.starts_with("in OK "));
    assert!(world.imap(ALICE, "wrong-wrong-wrong-wrong").await.1.starts_with("in NO "));
    let mut smtp = world.smtp(ALICE, &password).await;
    for command in [&format!("MAIL FROM:<{ALICE}>"), "RCPT TO:<bob@contoso.test>", "DATA"] {
        smtp.smtp(command).await;
    }
    smtp.send("From: alice@contoso.test\r\n\r\ntext\r\n.\r\n").await;
    assert!(smtp.reply().await.starts_with("250 "));
    let text = get(&world, "/metrics").await;
    assert!(text.starts_with("HTTP/1.1 200 ") && text.contains("text/plain; version=0.0.4"), "{text}");
    for (name, least) in [
        ("postern_logins_total{protocol=\"imap\",outcome=\"ok\"}", 1.0),
        ("postern_logins_total{protocol=\"imap\",outcome=\"login-refused\"}", 1.0),
        ("postern_logins_total{protocol=\"smtp\",outcome=\"ok\"}", 1.0),
        ("postern_upstream_opens_total{protocol=\"imap\",outcome=\"ok\"}", 1.0),
        ("postern_upstream_opens_total{protocol=\"smtp\",outcome=\"ok\"}", 1.0),
        ("postern_upstream_open_seconds_count{protocol=\"imap\"}", 1.0),
        ("postern_messages_total{outcome=\"delivered\",route=\"smtp\"}", 1.0),
        ("postern_token_requests_total{tenant=\"contoso\",outcome=\"ok\"}", 1.0),
        ("postern_token_obtained_timestamp_seconds{tenant=\"contoso\"}", 1_700_000_000.0),
        ("postern_sessions{protocol=\"imap\"}", 1.0),
        ("postern_queue_messages{state=\"waiting\"}", 0.0),
        ("postern_ready", 1.0),
    ] {
        assert!(value(&text, name) >= least, "{name}: {text}");
    }
    assert!(!text.contains(ALICE) && !text.contains("127.0.0.1"), "no label is without end");
    drop(smtp);
    world.stop_serving().await;
    assert!(tokio::net::TcpStream::connect(world.metrics.unwrap()).await.is_err());
}
