//! Proxies as they answer, cut in every way; what stands behind an answer is never taken.

use proptest::prelude::*;

use super::*;

const BEHIND: &[u8] = b"220 smtp.office365.com ready\r\n";

fn host() -> HostPort {
    "outlook.office365.com:993".parse().unwrap()
}

/// Plays the answers of a proxy: each is fed once we have to read, in pieces of this size, with what the host says first glued to the
/// last one. What was sent, and how it ended.
fn play(proxy: &str, host: &HostPort, answers: &[&[u8]], piece: usize) -> (Vec<Vec<u8>>, Option<Refusal>) {
    let proxy = Proxy::parse(proxy).unwrap();
    let mut request = Request::new(&proxy, host);
    let mut sent = Vec::new();
    let mut coming: Vec<u8> = Vec::new();
    let mut answers = answers.iter();
    loop {
        match request.step() {
            Step::Send(octets) => {
                sent.push(octets.expose().clone());
                coming.extend_from_slice(answers.next().unwrap_or_else(|| panic!("no answer to {sent:?}")));
                if answers.len() == 0 {
                    coming.extend_from_slice(BEHIND);
                }
            }
            Step::Read => {
                assert_ne!(coming, BEHIND, "it would take what is the host's");
                let taken = request.take(&coming[..piece.min(coming.len())]);
                assert!(taken > 0);
                coming.drain(..taken);
            }
            Step::Open => {
                assert_eq!(coming, BEHIND, "piece {piece}");
                assert_eq!(request.take(&coming), 0);
                return (sent, None);
            }
            Step::Refused(refusal) => return (sent, Some(refusal)),
        }
    }
}

fn forbidden(said: &str) -> Option<Refusal> {
    Some(Refusal::Forbidden { said: said.to_owned() })
}

fn not_reached(said: &str) -> Option<Refusal> {
    Some(Refusal::NotReached { said: said.to_owned() })
}

#[test]
fn connect_names_the_host_and_logs_in_by_basic() {
    let ok: &[&[u8]] = &[b"HTTP/1.1 200 Connection established\r\n\r\n"];
    let (sent, refusal) = play("http://proxy:3128", &host(), ok, 1);
    assert_eq!(refusal, None);
    assert_eq!(sent, [b"CONNECT outlook.office365.com:993 HTTP/1.1\r\nHost: outlook.office365.com:993\r\n\r\n"]);
    let (sent, refusal) = play("http://Aladdin:open%20sesame@proxy", &"[2001:db8::1]:25".parse().unwrap(), ok, 1);
    assert_eq!(refusal, None);
    // The example of RFC 7617, section 2.
    let expected = "CONNECT [2001:db8::1]:25 HTTP/1.1\r\nHost: [2001:db8::1]:25\r\n\
                    Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n";
    assert_eq!(String::from_utf8_lossy(&sent[0]), expected);
}

#[test]
fn the_answers_to_connect_are_told_apart() {
    for (answer, with_login, without) in [
        ("HTTP/1.1 200 OK\r\n\r\n", None, None),
        ("HTTP/1.0 200 Connection established\r\nProxy-Agent: x\r\n\r\n", None, None),
        ("HTTP/1.1 200\r\n\r\n", None, None),
        // A content is never there, whatever the fields say (RFC 9110, section 9.3.6).
        ("HTTP/1.1 204 No\r\nContent-Length: 30\r\n\r\n", None, None),
        ("HTTP/1.1 200 OK\nVia: bare line feeds\n\n", None, None),
        ("HTTP/1.1 200 OK\r\nbad field\r\n\r\n", None, None),
        ("HTTP/1.1 102 Wait\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", None, None),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", forbidden("403 Forbidden"), forbidden("403 Forbidden")),
        ("HTTP/1.1 302 Found\r\nLocation: x\r\n\r\n", forbidden("302 Found"), forbidden("302 Found")),
        ("HTTP/1.1 501 No\r\n\r\n", forbidden("501 No"), forbidden("501 No")),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", not_reached("502 Bad Gateway"), not_reached("502 Bad Gateway")),
        ("HTTP/1.1 504\r\n\r\n", not_reached("504"), not_reached("504")),
        ("HTTP/1.1 429 Slow\r\n\r\n", not_reached("429 Slow"), not_reached("429 Slow")),
        (
            "HTTP/1.1 503 Service Unavailable\r\nX-Squid-Error: ERR_DNS_FAIL 0\r\n\r\n",
            not_reached("503 Service Unavailable (ERR_DNS_FAIL 0)"),
            not_reached("503 Service Unavailable (ERR_DNS_FAIL 0)"),
        ),
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n",
            Some(Refusal::LoginRefused),
            Some(Refusal::LoginWanted),
        ),
        ("HTTP/1.1 407 No\r\n\r\n", Some(Refusal::LoginRefused), Some(Refusal::LoginWanted)),
        (
            "HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nproxy-authenticate: NTLM\r\n\r\n",
            Some(Refusal::LoginUnknown { offered: vec!["Negotiate".into(), "NTLM".into()] }),
            Some(Refusal::LoginUnknown { offered: vec!["Negotiate".into(), "NTLM".into()] }),
        ),
        (
            "HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM, basic realm=x\r\n\r\n",
            Some(Refusal::LoginRefused),
            Some(Refusal::LoginWanted),
        ),
    ] {
        for piece in [1, 2, 7, 4096] {
            let with = play("http://a:b@proxy", &host(), &[answer.as_bytes()], piece).1;
            assert_eq!(with, with_login, "{answer:?}");
            assert_eq!(play("http://proxy", &host(), &[answer.as_bytes()], piece).1, without, "{answer:?}");
        }
    }
}

#[test]
fn what_is_no_http_proxy_is_told_from_its_first_octets_and_no_head_is_endless() {
    for answer in [&b"220 smtp ready\r\n"[..], b"SSH-2.0-x\r\n", b"\x15\x03\x01\x00\x02\x02\x46", b"\x05\xff", b"\r\n"]
    {
        let refusal = play("http://proxy", &host(), &[answer], 1).1;
        assert!(matches!(refusal, Some(Refusal::NotThatKind { .. })), "{answer:?}: {refusal:?}");
    }
    for answer in ["HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 OK\r\n\r\n", "HTTP/1.1\r\n\r\n"] {
        let refusal = play("http://proxy", &host(), &[answer.as_bytes()], 100).1;
        assert!(matches!(refusal, Some(Refusal::NotThatKind { .. })), "{answer:?}: {refusal:?}");
    }
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(2000);
    let fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(101));
    let endless = format!("HTTP/1.1 200 {}", "x".repeat(20_000));
    for answer in [interim, fields, endless] {
        let refusal = play("http://proxy", &host(), &[answer.as_bytes()], 512).1;
        assert!(matches!(refusal, Some(Refusal::NotThatKind { .. })), "{refusal:?}");
    }
}

#[test]
fn socks_offers_a_login_only_where_there_is_one_and_leaves_names_to_the_proxy() {
    let reply: &[u8] = &[5, 0, 0, 1, 127, 0, 0, 1, 0, 80];
    for piece in [1, 3, 100] {
        let (sent, refusal) = play("socks5://proxy", &"mail.test:993".parse().unwrap(), &[&[5, 0], reply], piece);
        assert_eq!(refusal, None);
        let ask = [&[5, 1, 0, 3, 9][..], b"mail.test", &[0x03, 0xe1]].concat();
        assert_eq!(sent, [vec![5, 1, 0], ask.clone()]);

        let login = [&[1, 3][..], b"svc", &[2], b"pw"].concat();
        let (sent, refusal) =
            play("socks5://svc:pw@proxy", &"mail.test:993".parse().unwrap(), &[&[5, 2], &[1, 0], reply], piece);
        assert_eq!((sent, refusal), (vec![vec![5, 2, 0, 2], login, ask], None));
    }
    // A proxy that wants no login is not told one.
    let (sent, refusal) = play("socks5://svc:pw@proxy", &host(), &[&[5, 0], reply], 1);
    assert_eq!((sent.len(), refusal), (2, None));
    for (host, expected) in [
        ("192.0.2.1:25", vec![5, 1, 0, 1, 192, 0, 2, 1, 0, 25]),
        ("[::1]:25", [&[5, 1, 0, 4][..], &[0; 15], &[1, 0, 25]].concat()),
    ] {
        let (sent, _) = play("socks5://proxy", &host.parse().unwrap(), &[&[5, 0], reply], 100);
        assert_eq!(sent[1], expected, "{host}");
    }
}

#[test]
fn the_answers_of_socks_are_told_apart() {
    let name = [&[5, 0, 0, 3, 2][..], b"xy", &[0, 80]].concat();
    let v6 = [&[5, 0, 0, 4][..], &[0; 16], &[0, 80]].concat();
    for reply in [name, v6] {
        for piece in [1, 5, 100] {
            assert_eq!(play("socks5://proxy", &host(), &[&[5, 0], &reply], piece).1, None, "{reply:?}");
        }
    }
    let said = |code: u8| match play("socks5://proxy", &host(), &[&[5, 0], &[5, code]], 1).1 {
        Some(Refusal::Forbidden { said }) => format!("forbidden: {said}"),
        Some(Refusal::NotReached { said }) => format!("not reached: {said}"),
        other => panic!("{other:?}"),
    };
    assert_eq!(said(2), "forbidden: not allowed by its rules (SOCKS reply 2)");
    assert_eq!(said(5), "not reached: connection refused (SOCKS reply 5)");
    assert_eq!(said(7), "forbidden: command not supported (SOCKS reply 7)");
    assert_eq!(said(0x5b), "not reached: error (SOCKS reply 91)");
    for (proxy, answers, expected) in [
        ("socks5://proxy", &[&[5, 0xff][..]][..], Refusal::LoginWanted),
        ("socks5://a:b@proxy", &[&[5, 0xff]], Refusal::LoginUnknown { offered: Vec::new() }),
        ("socks5://a:b@proxy", &[&[5, 2], &[1, 1]], Refusal::LoginRefused),
        ("socks5://a:b@proxy", &[&[5, 2], &[5, 0], &[5, 2]], refusal_of_rules()),
    ] {
        assert_eq!(play(proxy, &host(), answers, 1).1, Some(expected), "{answers:?}");
    }
    for answers in [&[&b"HTTP/1.1 400 Bad\r\n"[..]][..], &[&[4, 0]], &[&[5, 2]], &[&[5, 1]], &[&[5, 0], &[5, 0, 0, 9]]]
    {
        let refusal = play("socks5://proxy", &host(), answers, 1).1;
        assert!(matches!(refusal, Some(Refusal::NotThatKind { .. })), "{answers:?}: {refusal:?}");
    }
}

fn refusal_of_rules() -> Refusal {
    Refusal::Forbidden { said: "not allowed by its rules (SOCKS reply 2)".to_owned() }
}

#[test]
fn neither_the_request_nor_a_refusal_shows_the_password() {
    for proxy in ["http://svc:hunter2@proxy", "socks5://svc:hunter2@proxy"] {
        let (proxy, host) = (Proxy::parse(proxy).unwrap(), host());
        let mut request = Request::new(&proxy, &host);
        let mut shown = format!("{request:?}");
        shown.push_str(&format!("{:?}", request.step()));
        request.take(&[5, 2]);
        shown.push_str(&format!("{request:?} {:?}", request.step()));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

proptest! {
    #[test]
    fn an_answer_means_the_same_however_it_is_cut(
        answer in prop_oneof![
            "HTTP/1\\.1 [1-5][0-9]{2} [a-z]{0,5}\r?\n([a-zA-Z-]{1,9}: [ -~]{0,9}\r?\n){0,3}\r?\n".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..80),
        ],
        piece in 1_usize..20,
        socks: bool,
    ) {
        let proxy = Proxy::parse(if socks { "socks5://a:b@proxy" } else { "http://proxy" }).unwrap();
        let host = host();
        let play = |piece: usize| {
            let mut request = Request::new(&proxy, &host);
            let mut rest = answer.as_slice();
            loop {
                match request.step() {
                    Step::Send(_) => {}
                    Step::Read if rest.is_empty() => return (rest.len(), "reading".to_owned()),
                    Step::Read => {
                        let taken = request.take(&rest[..piece.min(rest.len())]);
                        assert!(taken > 0);
                        rest = &rest[taken..];
                    }
                    end => return (rest.len(), format!("{end:?}")),
                }
            }
        };
        prop_assert_eq!(play(piece), play(usize::MAX));
    }
}
