//! What holds for every front, and the faults of the closest peer (F5 to F28), each of which must be impossible here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;
use crate::base::Protocol;

fn setting() -> Setting {
    Setting { hostname: "mail.local".into(), secured: false, starttls: true, plaintext_login: true }
}

fn front(protocol: Protocol) -> Box<dyn Front> {
    match protocol {
        Protocol::Imap => Box::new(imap::Imap::new(setting())),
        Protocol::Pop3 => Box::new(pop3::Pop3::new(setting())),
        Protocol::Smtp => Box::new(smtp::Smtp::new(setting())),
    }
}

/// What a front did, in words; consecutive writes and pieces of content are one.
#[derive(Debug, PartialEq, Eq)]
enum Did {
    Said(Vec<u8>),
    Checked(Vec<u8>, Vec<u8>),
    Content(Vec<u8>),
    HandedOver(Vec<u8>),
    Other(String),
}

/// Feeds the pieces and does what the front asks for: claims with the password `pw` hold, all mail is taken, except from and
/// to addresses that begin with `no`.
fn converse(front: &mut dyn Front, pieces: &[&[u8]]) -> Vec<Did> {
    let mut done: Vec<Did> = Vec::new();
    let mut pieces = pieces.iter();
    loop {
        match front.step() {
            Step::Read => match pieces.next() {
                Some(piece) => front.feed(piece),
                None => return done,
            },
            Step::Write(words) => match done.last_mut() {
                Some(Did::Said(said)) => said.extend(words),
                _ => done.push(Did::Said(words)),
            },
            Step::Check(claim) => {
                let holds = claim.password.expose() == b"pw";
                done.push(Did::Checked(claim.login, claim.password.expose().clone()));
                front.judge(if holds { Ok(Welcome::default()) } else { Err(Answer::WrongPassword) });
            }
            Step::HandOver(mut rest) => {
                pieces.for_each(|piece| rest.extend_from_slice(piece));
                done.push(Did::HandedOver(rest));
                return done;
            }
            Step::StartTls => {
                done.push(Did::Other("starts TLS".into()));
                return done;
            }
            Step::Close => {
                done.push(Did::Other("closes".into()));
                return done;
            }
            Step::Transact(Transact::Content(piece)) => match done.last_mut() {
                Some(Did::Content(content)) => content.extend(piece),
                _ => done.push(Did::Content(piece)),
            },
            Step::Transact(transact) => {
                done.push(Did::Other(format!("{transact:?}")));
                let refused = |address: Option<&str>| address.is_some_and(|address| address.starts_with("no"));
                match transact {
                    Transact::Mail(mail) if refused(mail.address()) => front.reply(Reply::new(550, "5.7.60 No")),
                    Transact::Recipient(rcpt) if refused(rcpt.address()) => front.reply(Reply::new(550, "5.1.1 No")),
                    Transact::Mail(_) | Transact::Recipient(_) | Transact::End => {
                        front.reply(Reply::new(250, "2.0.0 OK"))
                    }
                    Transact::Data => front.reply(Reply::new(354, "Go on")),
                    Transact::Content(_) | Transact::Abandon | Transact::Reset => {}
                }
            }
        }
    }
}

fn said(done: &[Did]) -> String {
    let words = done.iter().filter_map(|did| if let Did::Said(words) = did { Some(words.as_slice()) } else { None });
    String::from_utf8(words.collect::<Vec<_>>().concat()).unwrap()
}

fn checked(done: &[Did]) -> Vec<(&[u8], &[u8])> {
    let claims = done.iter().filter_map(|did| {
        if let Did::Checked(login, pw) = did { Some((login.as_slice(), pw.as_slice())) } else { None }
    });
    claims.collect()
}

fn handed_over(done: &[Did]) -> Option<&[u8]> {
    if let Some(Did::HandedOver(rest)) = done.last() { Some(rest) } else { None }
}

fn plain(login: &[u8], password: &[u8]) -> String {
    STANDARD.encode([b"\0", login, b"\0", password].concat())
}

#[test]
fn f05_no_octet_is_lost_at_the_switch_however_the_lines_are_split() {
    for (protocol, login, rest) in [
        (Protocol::Imap, &b"a1 LOGIN ann {2+}\r\npw\r\n"[..], &b"a2 SELECT INBOX\r\na3 ID"[..]),
        (Protocol::Pop3, b"USER ann\r\nPASS pw\r\n", b"STAT\r\nRET\0\xff"),
    ] {
        let whole = [login, rest].concat();
        for first in 0..whole.len() {
            for second in first..whole.len().min(first + 9) {
                let pieces = [&whole[..first], &whole[first..second], &whole[second..]];
                assert_eq!(
                    handed_over(&converse(&mut *front(protocol), &pieces)),
                    Some(rest),
                    "{protocol} at {first}, {second}"
                );
            }
        }
    }
}

#[test]
fn f06_f07_a_password_is_given_out_as_a_claim_only_and_not_before_ehlo() {
    let auth = format!("AUTH PLAIN {}\r\n", plain(b"ann", b"pw"));
    let done = converse(&mut *front(Protocol::Smtp), &[b"EHLO pc\r\n", auth.as_bytes()]);
    assert_eq!(checked(&done), [(&b"ann"[..], &b"pw"[..])]);
    assert!(!said(&done).contains(&plain(b"ann", b"pw")));
    let done = converse(&mut *front(Protocol::Smtp), &[auth.as_bytes()]);
    assert_eq!(checked(&done), []);
}

#[test]
fn f09_what_follows_starttls_in_the_clear_is_not_executed_inside() {
    for (protocol, clear, inside) in [
        (Protocol::Imap, "a1 STARTTLS\r\na2 LOGIN ann pw\r\na3 LOG", "a4 NOOP\r\n"),
        (Protocol::Pop3, "USER ann\r\nSTLS\r\nUSER bob\r\nPASS pw\r\nUS", "PASS pw\r\n"),
        (
            Protocol::Smtp,
            "EHLO pc\r\nSTARTTLS\r\nEHLO pc\r\nAUTH PLAIN AGFubgBwdw==\r\nMA",
            "AUTH PLAIN AGFubgBwdw==\r\n",
        ),
    ] {
        let mut front = front(protocol);
        let done = converse(&mut *front, &[clear.as_bytes()]);
        assert_eq!(done.last(), Some(&Did::Other("starts TLS".into())), "{protocol}");
        front.feed(b"a9 LOGIN ann pw\r\nUSER ann\r\nPASS pw\r\nAUTH PLAIN AGFubgBwdw==\r\n");
        front.secured();
        let done = converse(&mut *front, &[inside.as_bytes()]);
        assert_eq!((checked(&done), said(&done).lines().count()), (vec![], 1), "{protocol}: {done:?}");
        assert_eq!(front.client_name(), None);
    }
}

#[test]
fn f19_no_endless_line_is_buffered() {
    for protocol in Protocol::ALL {
        let mut front = front(protocol);
        let piece = [b'a'; 1000];
        let done = converse(&mut *front, &[&piece[..]; 24]);
        assert_eq!(done.last(), Some(&Did::Other("closes".into())), "{protocol}");
    }
}

#[test]
fn f22_a_client_that_speaks_before_the_greeting_is_served() {
    for (protocol, early, answer) in [
        (Protocol::Imap, "a1 NOOP\r\n", "a1 OK"),
        (Protocol::Pop3, "USER ann\r\n", "+OK\r\n"),
        (Protocol::Smtp, "EHLO pc\r\n", "250-mail.local"),
    ] {
        let mut front = front(protocol);
        front.feed(early.as_bytes());
        let said = said(&converse(&mut *front, &[]));
        let (greeting, rest) = said.split_once("\r\n").unwrap();
        assert!(greeting.contains("Postern") || greeting.ends_with("service is ready."), "{greeting}");
        assert!(rest.starts_with(answer), "{rest}");
    }
}

#[test]
fn f23_a_password_that_is_not_utf_8_is_a_wrong_one_in_every_form() {
    let sasl = plain(b"ann", b"p\xff");
    let login = STANDARD.encode(b"p\xff");
    for (protocol, words) in [
        (Protocol::Imap, b"a1 LOGIN ann \"p\xff\"\r\n".to_vec()),
        (Protocol::Imap, b"a1 LOGIN ann {2+}\r\np\xff\r\n".to_vec()),
        (Protocol::Imap, format!("a1 AUTHENTICATE PLAIN {sasl}\r\n").into_bytes()),
        (Protocol::Pop3, b"USER ann\r\nPASS p\xff\r\n".to_vec()),
        (Protocol::Pop3, format!("AUTH LOGIN YW5u\r\n{login}\r\n").into_bytes()),
        (Protocol::Smtp, format!("EHLO pc\r\nAUTH PLAIN {sasl}\r\n").into_bytes()),
        (Protocol::Smtp, format!("EHLO pc\r\nAUTH LOGIN\r\nYW5u\r\n{login}\r\n").into_bytes()),
    ] {
        let done = converse(&mut *front(protocol), &[&words]);
        assert_eq!(checked(&done), [(&b"ann"[..], &b"p\xff"[..])], "{}", words.escape_ascii());
        assert!(said(&done).ends_with("Login name or password is wrong\r\n"));
    }
}

#[test]
fn f24_a_cancelled_login_is_no_user_name() {
    for (protocol, words) in [
        (Protocol::Imap, "a1 AUTHENTICATE LOGIN\r\n*\r\n"),
        (Protocol::Pop3, "AUTH LOGIN\r\n*\r\n"),
        (Protocol::Smtp, "EHLO pc\r\nAUTH LOGIN\r\n*\r\n"),
    ] {
        let done = converse(&mut *front(protocol), &[words.as_bytes()]);
        assert_eq!(checked(&done), [], "{protocol}");
        assert!(said(&done).ends_with("Login cancelled\r\n"), "{protocol}");
    }
}

#[test]
fn f25_a_password_is_the_same_in_every_form_and_protocol() {
    let password = br#"p\w" {3}"#;
    let sasl = plain(b"ann", password);
    let encoded = STANDARD.encode(password);
    for (protocol, words) in [
        (Protocol::Imap, r#"a1 LOGIN ann "p\\w\" {3}""#.to_owned() + "\r\n"),
        (Protocol::Imap, "a1 LOGIN \"ann\" {8}\r\np\\w\" {3}\r\n".to_owned()),
        (Protocol::Imap, format!("a1 AUTHENTICATE PLAIN\r\n{sasl}\r\n")),
        (Protocol::Pop3, "USER ann\r\nPASS p\\w\" {3}\r\n".to_owned()),
        (Protocol::Pop3, format!("AUTH PLAIN {sasl}\r\n")),
        (Protocol::Smtp, format!("EHLO pc\r\nAUTH LOGIN YW5u\r\n{encoded}\r\n")),
    ] {
        let done = converse(&mut *front(protocol), &[words.as_bytes()]);
        assert_eq!(checked(&done), [(&b"ann"[..], &password[..])], "{words}");
    }
}

#[test]
fn f26_no_mechanism_of_a_client_goes_on_to_exchange() {
    for mechanism in
        ["XOAUTH2", "OAUTHBEARER", "EXTERNAL", "ANONYMOUS", "CRAM-MD5", "GSSAPI", "NTLM", "PLAIN-CLIENTTOKEN", ""]
    {
        for (protocol, words) in [
            (Protocol::Imap, format!("a1 AUTHENTICATE {mechanism} YQ==\r\n")),
            (Protocol::Pop3, format!("AUTH {mechanism} YQ==\r\n")),
            (Protocol::Smtp, format!("EHLO pc\r\nAUTH {mechanism} YQ==\r\n")),
        ] {
            let done = converse(&mut *front(protocol), &[words.as_bytes()]);
            assert!(done.iter().all(|did| matches!(did, Did::Said(_))), "{words}: {done:?}");
        }
    }
}

#[test]
fn f28_user_and_pass_in_one_packet_are_two_commands() {
    let done = converse(&mut *front(Protocol::Pop3), &[b"USER ann\r\nPASS pw\r\n"]);
    assert_eq!(checked(&done), [(&b"ann"[..], &b"pw"[..])]);
    assert_eq!(handed_over(&done), Some(&b""[..]));
}

#[test]
fn the_client_is_known_by_the_name_it_gives() {
    let mut imap = front(Protocol::Imap);
    converse(&mut *imap, &[b"a1 ID (\"version\" \"1.0\" \"Name\" \"Old\x1bMail\")\r\n"]);
    assert_eq!(imap.client_name(), Some("Old?Mail 1.0"));
    let mut smtp = front(Protocol::Smtp);
    converse(&mut *smtp, &[b"EHLO [192.0.2.1]\r\n"]);
    assert_eq!(smtp.client_name(), Some("[192.0.2.1]"));
    assert_eq!(front(Protocol::Pop3).client_name(), None);
}

const LOGIN: &str = "EHLO pc\r\nAUTH PLAIN AGFubgBwdw==\r\nMAIL FROM:<ann@x.test>\r\n";

#[test]
fn a_thousand_recipients_are_taken_and_the_next_one_is_put_off() {
    let mut words = LOGIN.to_owned();
    for number in 0..1001 {
        words.push_str(&format!("RCPT TO:<{number}@x.test>\r\n"));
    }
    let done = converse(&mut *front(Protocol::Smtp), &[words.as_bytes()]);
    assert_eq!(
        done.iter().filter(|did| matches!(did, Did::Other(what) if what.starts_with("Recipient"))).count(),
        1000
    );
    assert!(said(&done).ends_with("452 4.5.3 Too many recipients, send the rest in another transaction\r\n"));
}

#[test]
fn a_message_over_the_limit_is_read_to_its_end_and_refused_without_being_kept() {
    let start = format!("{LOGIN}RCPT TO:<b@x.test>\r\nDATA\r\n");
    let mut front = front(Protocol::Smtp);
    converse(&mut *front, &[start.as_bytes()]);
    let piece = vec![b'x'; 1 << 20];
    let mut given = 0;
    let mut abandoned = false;
    for _ in 0..151 {
        front.feed(&piece);
        loop {
            match front.step() {
                Step::Transact(Transact::Content(content)) => given += content.len(),
                Step::Transact(Transact::Abandon) => abandoned = true,
                Step::Read => break,
                step => panic!("{step:?}"),
            }
        }
    }
    assert_eq!((given, abandoned), (157_286_400, true));
    let done = converse(&mut *front, &[b"\r\n.\r\nRCPT TO:<b@x.test>\r\n"]);
    assert_eq!(said(&done), "552 5.3.4 The message is too large\r\n503 5.5.1 Say MAIL first\r\n");
}

#[test]
fn many_tiny_literals_cost_little_and_end_in_bad() {
    let words = format!("a1 LOGIN {}\r\n", "{1+}\r\nx ".repeat(5000));
    let done = converse(&mut *front(Protocol::Imap), &[words.as_bytes()]);
    assert_eq!(checked(&done), []);
    assert!(said(&done).ends_with("* BAD The command is too long\r\n* BYE Closing the connection\r\n"));
}

/// Words of all three languages, whole and broken, and octets that decide.
fn script() -> impl Strategy<Value = Vec<u8>> {
    let words = prop_oneof![
        Just("a1 LOGIN ann pw\r\n"),
        Just("a2 LOGIN ann {2}\r\n"),
        Just("a3 LOGIN {3+}\r\nann \"no\"\r\n"),
        Just("a4 AUTHENTICATE PLAIN\r\n"),
        Just("a5 ID (\"name\" {2+}\r\nxx)\r\n"),
        Just("a6 STARTTLS\r\n"),
        Just("USER ann\r\n"),
        Just("PASS no\r\n"),
        Just("PASS pw\r\n"),
        Just("AUTH LOGIN\r\n"),
        Just("YW5u\r\n"),
        Just("bm8=\r\n"),
        Just("EHLO pc\r\n"),
        Just("AUTH PLAIN AGFubgBwdw==\r\n"),
        Just("EHLO pc\r\nAUTH PLAIN AGFubgBwdw==\r\n"),
        Just("MAIL FROM:<ann@x.test>\r\n"),
        Just("MAIL FROM:<no@x.test>\r\n"),
        Just("RCPT TO:<bob@x.test>\r\n"),
        Just("RCPT TO:<no@x.test>\r\n"),
        Just("DATA\r\n"),
        Just("hi\r\n.\r\n"),
        Just("..\n.\r\n"),
        Just("BDAT 5\r\n"),
        Just("RSET\r\n"),
        Just("*\r\n"),
        Just("QUIT\r\n"),
        Just("\r"),
        Just("\n"),
        Just(" "),
        Just("\0"),
    ];
    let noise = proptest::collection::vec(any::<u8>(), 0..6);
    let piece = prop_oneof![12 => words.prop_map(|words| words.as_bytes().to_vec()), 1 => noise];
    proptest::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_split_gives_the_same_steps(script in script(), step in 1usize..12) {
        for protocol in Protocol::ALL {
            // Handing over differs only in how much had been read.
            let whole = converse(&mut *front(protocol), &[&script]);
            let pieces: Vec<&[u8]> = script.chunks(step).collect();
            let split = converse(&mut *front(protocol), &pieces);
            prop_assert_eq!(whole, split, "{}", protocol);
        }
    }

    #[test]
    fn nothing_the_client_sent_is_said_back(secret in "[a-zA-Z0-9]{8}", shape in 0usize..6) {
        let words = match shape {
            0 => format!("{secret}\r\n"),
            1 => format!("{secret} {secret}\r\n"),
            2 => format!("a1 LOGIN {secret} {secret} {secret}\r\n"),
            3 => format!("EHLO {secret}\r\nVRFY {secret}\r\nMAIL FROM:<{secret}@x.test> {secret}\r\n"),
            4 => format!("USER {secret}\r\nPASS {secret}\r\n"),
            _ => format!("AUTH {secret} {secret}\r\na1 AUTHENTICATE {secret} {secret}\r\n"),
        };
        for protocol in Protocol::ALL {
            let done = converse(&mut *front(protocol), &[words.as_bytes()]);
            prop_assert!(!said(&done).to_ascii_lowercase().contains(&secret.to_ascii_lowercase()), "{}", said(&done));
        }
    }
}
