//! Two duplex pipes stand for the client's and the far side's connection; small buffers make back-pressure real.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::wire::watch::Watch;

struct Ends {
    client: DuplexStream,
    server: DuplexStream,
    relay: tokio::task::JoinHandle<Outcome>,
    stop: CancellationToken,
}

fn relay(protocol: Protocol, buffer: usize, from_client: &[u8], from_server: &[u8]) -> Ends {
    let (client, client_end) = duplex(buffer);
    let (server, server_end) = duplex(buffer);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let (early_up, early_down) = (from_client.to_vec(), from_server.to_vec());
    let relay = tokio::spawn(async move {
        join(
            End { stream: client_end, already_read: early_up },
            End { stream: server_end, already_read: early_down },
            Settings::of(protocol),
            async {
                stopped.cancelled().await;
                Answer::Ended
            },
        )
        .await
    });
    Ends { client, server, relay, stop }
}

#[tokio::test]
async fn octets_that_came_early_go_first_and_none_is_lost() {
    let mut ends = relay(Protocol::Imap, 32, b"a2 SELECT INBOX\r\n", b"* OK hello\r\n");
    ends.client.write_all(b"a3 NOOP\r\n").await.unwrap();
    let mut seen = vec![0; 26];
    ends.server.read_exact(&mut seen).await.unwrap();
    assert_eq!(seen, b"a2 SELECT INBOX\r\na3 NOOP\r\n");
    let mut seen = vec![0; 12];
    ends.client.read_exact(&mut seen).await.unwrap();
    assert_eq!(seen, b"* OK hello\r\n");
    drop(ends.client);
    drop(ends.server);
    let outcome = ends.relay.await.unwrap();
    assert_eq!((outcome.up_octets, outcome.down_octets), (26, 12));
}

#[tokio::test]
async fn a_client_that_finishes_still_hears_the_rest() {
    let mut ends = relay(Protocol::Pop3, 64, b"", b"");
    ends.client.write_all(b"QUIT\r\n").await.unwrap();
    ends.client.shutdown().await.unwrap();
    let mut seen = Vec::new();
    ends.server.read_to_end(&mut seen).await.unwrap();
    assert_eq!(seen, b"QUIT\r\n");
    ends.server.write_all(b"+OK bye\r\n").await.unwrap();
    ends.server.shutdown().await.unwrap();
    let mut heard = Vec::new();
    ends.client.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"+OK bye\r\n");
    assert_eq!(ends.relay.await.unwrap().why, Why::ClientClosed);
}

#[tokio::test]
async fn a_far_side_that_finishes_ends_the_session_after_its_last_words() {
    let mut ends = relay(Protocol::Imap, 64, b"", b"");
    ends.server.write_all(b"* BYE Session invalidated - AccessTokenExpired\r\n").await.unwrap();
    ends.server.shutdown().await.unwrap();
    let mut heard = Vec::new();
    ends.client.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"* BYE Session invalidated - AccessTokenExpired\r\n");
    assert_eq!(ends.relay.await.unwrap().why, Why::ServerClosed);
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_reading_from_the_far_side() {
    let mut ends = relay(Protocol::Imap, 1024, b"", b"");
    let flood = vec![b'x'; 1 << 20];
    let sent = timeout(Duration::from_millis(200), ends.server.write_all(&flood)).await;
    assert!(sent.is_err(), "the relay took a megabyte that nobody reads");
    let mut heard = vec![0; 2048];
    ends.client.read_exact(&mut heard).await.unwrap();
    drop(ends.client);
    drop(ends.server);
    let outcome = ends.relay.await.unwrap();
    assert!(outcome.down_octets < 64 * 1024, "{outcome:?}");
}

#[tokio::test]
async fn stopping_says_bye_between_two_responses_and_only_there() {
    for (protocol, said, bye) in [
        (Protocol::Imap, &b"* 1 EXISTS\r\n"[..], true),
        (Protocol::Imap, b"", true),
        (Protocol::Imap, b"* 1 FETCH (BODY[] {100}\r\nhalf", false),
        (Protocol::Imap, b"* 1 EXI", false),
        (Protocol::Pop3, b"+OK\r\n", false),
    ] {
        let mut ends = relay(protocol, 1024, b"", said);
        let mut heard = vec![0; said.len()];
        ends.client.read_exact(&mut heard).await.unwrap();
        ends.stop.cancel();
        let mut rest = Vec::new();
        ends.client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest.starts_with(b"* BYE The login is no longer valid"), bye, "{said:?}");
        assert_eq!(rest.is_empty(), !bye, "{said:?}");
        assert_eq!(ends.relay.await.unwrap().why, Why::Stopped);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_client_sends_behind_the_goodbye_is_taken_for_a_second_so_that_no_reset_takes_the_goodbye_back() {
    let mut ends = relay(Protocol::Imap, 64, b"", b"");
    ends.stop.cancel();
    let mut heard = Vec::new();
    ends.client.read_to_end(&mut heard).await.unwrap();
    assert!(heard.starts_with(b"* BYE "));
    // More than any buffer holds: somebody has to read it.
    ends.client.write_all(&[b'x'; 1000]).await.unwrap();
    assert!(!ends.relay.is_finished());
    // Exchange is not kept waiting for it.
    let mut last = Vec::new();
    ends.server.read_to_end(&mut last).await.unwrap();
    assert_eq!(last, b"");
    let began = Instant::now();
    while ends.client.write_all(&[b'x'; 64]).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(began.elapsed() <= Duration::from_millis(1100), "{:?}", began.elapsed());
    assert_eq!(ends.relay.await.unwrap().why, Why::Stopped);
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_outlives_half_an_hour_and_ends_after_its_limit() {
    let mut ends = relay(Protocol::Imap, 1024, b"", b"");
    tokio::time::sleep(Duration::from_secs(60 * 34)).await;
    ends.server.write_all(b"* OK Still here\r\n").await.unwrap();
    let mut heard = vec![0; 17];
    ends.client.read_exact(&mut heard).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60 * 34)).await;
    assert!(!ends.relay.is_finished());
    tokio::time::sleep(Duration::from_secs(60 * 2)).await;
    assert_eq!(ends.relay.await.unwrap().why, Why::Idle);
}

#[tokio::test(start_paused = true)]
async fn a_far_side_that_ignores_the_clients_end_is_not_waited_for_long() {
    let mut ends = relay(Protocol::Imap, 1024, b"", b"");
    ends.client.shutdown().await.unwrap();
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(ends.relay.await.unwrap().why, Why::ClientClosed);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_octet_passes_once_and_in_order_whatever_the_pieces(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 0..20),
        buffer in 1usize..2000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let expected: Vec<u8> = pieces.concat();
        let heard = runtime.block_on(async {
            let mut ends = relay(Protocol::Imap, buffer, b"", b"");
            let mut server = ends.server;
            let writer = tokio::spawn(async move {
                for piece in pieces {
                    server.write_all(&piece).await.unwrap();
                }
                server.shutdown().await.unwrap();
            });
            let mut heard = Vec::new();
            ends.client.read_to_end(&mut heard).await.unwrap();
            writer.await.unwrap();
            heard
        });
        prop_assert_eq!(heard, expected);
    }
}

fn watched(protocol: Protocol, from_client: &[u8], from_server: &[u8]) -> Ends {
    let (client, client_end) = duplex(64);
    let (server, server_end) = duplex(64);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let (early_up, early_down) = (from_client.to_vec(), from_server.to_vec());
    let watch = Watch::of(protocol).unwrap();
    let relay = tokio::spawn(async move {
        let (outcome, watch) = join_watched(
            End { stream: client_end, already_read: early_up },
            End { stream: server_end, already_read: early_down },
            watch,
            |_| std::future::ready(false),
            Settings::of(protocol),
            async {
                stopped.cancelled().await;
                Answer::Ended
            },
        )
        .await;
        assert!(watch.refused() <= 1, "{}", watch.refused());
        outcome
    });
    Ends { client, server, relay, stop }
}

async fn hears(stream: &mut DuplexStream, expected: &[u8]) {
    let mut heard = vec![0; expected.len()];
    timeout(Duration::from_secs(10), stream.read_exact(&mut heard)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), String::from_utf8_lossy(expected));
}

#[tokio::test]
async fn a_watched_session_passes_what_reads_and_answers_the_rest_between_two_responses() {
    let mut ends = watched(Protocol::Imap, b"a1 NOOP\r\na2 STORE 1 FLAGS x\r\n", b"* OK early\r\n");
    hears(&mut ends.client, b"* OK early\r\n").await;
    hears(&mut ends.server, b"a1 NOOP\r\n").await;
    // Larger than every buffer here, and the answer comes behind it.
    let body = [&b"* 1 FETCH (BODY[] {1000}\r\n"[..], &[b'x'; 1000], b")\r\n"].concat();
    let (mut server, said) = (ends.server, body.clone());
    let writing = tokio::spawn(async move {
        server.write_all(&said).await.unwrap();
        server.write_all(b"a1 OK done\r\n").await.unwrap();
        server
    });
    hears(&mut ends.client, &body).await;
    hears(&mut ends.client, b"a1 OK done\r\na2 NO [NOPERM] This app password is for reading only\r\n").await;
    let mut server = writing.await.unwrap();
    ends.stop.cancel();
    hears(&mut ends.client, b"* BYE The login is no longer valid").await;
    drop(ends.client);
    let mut rest = Vec::new();
    server.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"", "the command of the client did not go on");
    let outcome = ends.relay.await.unwrap();
    assert_eq!((outcome.up_octets, outcome.why), (9, Why::Stopped));
}

#[tokio::test]
async fn a_watched_client_that_finishes_still_hears_the_rest() {
    let mut ends = watched(Protocol::Pop3, b"", b"");
    ends.client.write_all(b"DELE 1\r\nNOOP\r\nQUIT\r\n").await.unwrap();
    ends.client.shutdown().await.unwrap();
    hears(&mut ends.client, b"-ERR This app password is for reading only\r\n").await;
    hears(&mut ends.server, b"NOOP\r\n").await;
    ends.server.write_all(b"+OK\r\n").await.unwrap();
    let mut heard = Vec::new();
    ends.client.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"+OK\r\n+OK Goodbye\r\n");
    let mut seen = Vec::new();
    ends.server.read_to_end(&mut seen).await.unwrap();
    assert_eq!(seen, b"", "and that is all: not even QUIT, which would mark what was read");
    assert_eq!(ends.relay.await.unwrap().why, Why::ClientClosed);
}

#[tokio::test]
async fn a_client_that_breaks_a_command_off_is_parted_with() {
    let mut ends = watched(Protocol::Imap, b"", b"");
    ends.client.write_all(b"a1 SEARCH TEXT {1}\r\nxa2 EXPUNGE\r\n").await.unwrap();
    hears(&mut ends.server, b"a1 SEARCH TEXT {1}\r\n").await;
    ends.server.write_all(b"+ go on\r\n").await.unwrap();
    hears(&mut ends.client, b"+ go on\r\n").await;
    let mut got = Vec::new();
    ends.server.read_to_end(&mut got).await.unwrap();
    assert!(!String::from_utf8_lossy(&got).contains("EXPUNGE"));
    hears(&mut ends.client, b"* BYE ").await;
    drop(ends.client);
    assert_eq!(ends.relay.await.unwrap().why, Why::Refused);
}

#[tokio::test]
async fn while_somebody_is_asked_about_a_message_the_server_is_heard_and_the_client_waits() {
    use crate::wire::watch::{SentFolder, SentWatch};

    let (mut client, client_end) = duplex(64);
    let (mut server, server_end) = duplex(64);
    let (tell, told) = tokio::sync::watch::channel(None);
    let watch = Watch::Sent(Box::new(SentWatch::new(SentFolder::Named("Sent".to_owned()), true)));
    let relay = tokio::spawn(async move {
        join_watched(
            End { stream: client_end, already_read: b"a1 APPEND Sent {24}\r\n".to_vec() },
            End { stream: server_end, already_read: Vec::new() },
            watch,
            |copy| {
                let mut told = told.clone();
                async move {
                    assert_eq!((copy.message_id.as_str(), copy.octets), ("1@x", 24));
                    told.wait_for(Option::is_some).await.unwrap().unwrap()
                }
            },
            Settings::of(Protocol::Imap),
            std::future::pending(),
        )
        .await
    });
    let message = b"Message-ID: <1@x>\r\n\r\nbod\r\n";
    hears(&mut client, b"+ Ready for the message\r\n").await;
    client.write_all(message).await.unwrap();
    client.write_all(b"a2 NOOP\r\n").await.unwrap();
    server.write_all(b"* 7 EXISTS\r\n").await.unwrap();
    hears(&mut client, b"* 7 EXISTS\r\n").await;
    tell.send(Some(true)).unwrap();
    hears(&mut client, b"a1 OK APPEND completed, with the copy that Exchange files\r\n").await;
    hears(&mut server, b"a2 NOOP\r\n").await;
    server.write_all(b"a2 OK done\r\n").await.unwrap();
    hears(&mut client, b"a2 OK done\r\n").await;
    // Now one that is not filed.
    tell.send(None).unwrap();
    client.write_all(&[&b"a3 APPEND Sent {24+}\r\n"[..], message].concat()).await.unwrap();
    server.write_all(b"* 8 EXISTS\r\n").await.unwrap();
    hears(&mut client, b"* 8 EXISTS\r\n").await;
    tell.send(Some(false)).unwrap();
    hears(&mut server, &[&b"a3 APPEND Sent {24+}\r\n"[..], message].concat()).await;
    drop(client);
    let mut rest = Vec::new();
    server.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
    drop(server);
    let (outcome, watch) = relay.await.unwrap();
    assert_eq!((outcome.why, watch.dropped()), (Why::ClientClosed, 1));
}
