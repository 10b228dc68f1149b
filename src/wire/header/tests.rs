use proptest::prelude::*;

use super::*;

fn rules() -> Rules {
    Rules {
        received: "by mail.test (Postern)\r\n\twith ESMTPA id 1; now".to_owned(),
        date: "today".to_owned(),
        message_id: "made@contoso.test".to_owned(),
        from: "alice@contoso.test".to_owned(),
        senders: Senders::default(),
        force_from: None,
    }
}

const RECEIVED: &str = "Received: by mail.test (Postern)\r\n\twith ESMTPA id 1; now\r\n";

fn edited_in(message: &[u8], rules: Rules, pieces: &[usize]) -> Result<(String, Option<String>), Unfit> {
    let mut editor = HeaderEditor::new(rules);
    let mut out = Vec::new();
    let mut rest = message;
    for octets in pieces.iter().chain(std::iter::repeat(&usize::MAX)) {
        if rest.is_empty() {
            break;
        }
        let (piece, others) = rest.split_at((*octets).clamp(1, rest.len()));
        editor.push(piece, &mut out)?;
        rest = others;
    }
    editor.finish(&mut out)?;
    Ok((String::from_utf8_lossy(&out).into_owned(), editor.message_id().map(str::to_owned)))
}

fn edited(message: &str, rules: Rules) -> Result<String, Unfit> {
    let whole = edited_in(message.as_bytes(), rules.clone(), &[]);
    let by_octet = edited_in(message.as_bytes(), rules, &vec![1; message.len()]);
    assert_eq!(whole, by_octet, "{message:?}");
    whole.map(|(text, _)| text)
}

#[test]
fn a_whole_header_gets_one_line_and_keeps_every_octet() {
    let message = "From: Alice <alice@contoso.test>\r\nDATE : yesterday\r\nmessage-id: <own@x>\r\nX-Odd:\r\n folded\r\n\tmore\r\nSubject:  two  spaces \r\n\r\nbody\r\n\r\nFrom: not a field\r\n";
    assert_eq!(edited(message, rules()).unwrap(), format!("{RECEIVED}{message}"));
    let (_, id) = edited_in(message.as_bytes(), rules(), &[]).unwrap();
    assert_eq!(id.as_deref(), Some("own@x"));
}

#[test]
fn what_a_script_leaves_out_is_added() {
    let added = "From: alice@contoso.test\r\nDate: today\r\nMessage-ID: <made@contoso.test>\r\n";
    for (message, expected) in [
        ("Subject: one\r\n\r\ntext\r\n", format!("{RECEIVED}{added}Subject: one\r\n\r\ntext\r\n")),
        // No header, but a body.
        ("\r\ntext\r\n", format!("{RECEIVED}{added}\r\ntext\r\n")),
        (
            "text without a header\r\nmore: of it\r\n\r\nend\r\n",
            format!("{RECEIVED}{added}\r\ntext without a header\r\nmore: of it\r\n\r\nend\r\n"),
        ),
        // A header, and no body.
        ("Subject: one\r\n", format!("{RECEIVED}{added}Subject: one\r\n")),
        ("", format!("{RECEIVED}{added}\r\n")),
        // The line of a mailbox file, and one that is no field, are left alone.
        (
            "From alice Thu Nov 26\r\nDate: d\r\nodd line\r\nFrom: a@b\r\n\r\n",
            format!(
                "{RECEIVED}Message-ID: <made@contoso.test>\r\nFrom alice Thu Nov 26\r\nDate: d\r\nodd line\r\nFrom: a@b\r\n\r\n"
            ),
        ),
    ] {
        assert_eq!(edited(message, rules()).unwrap(), expected, "{message:?}");
    }
}

#[test]
fn fifty_received_are_a_loop() {
    let message = |count: usize| format!("{}Date: d\r\n\r\n", "Received: from x\r\n by y\r\n".repeat(count));
    assert!(edited(&message(49), rules()).is_ok());
    assert_eq!(edited(&message(50), rules()), Err(Unfit::Loop));
    let in_body = format!("From: a@b\r\n\r\n{}", "Received: x\r\n".repeat(60));
    assert!(edited(&in_body, rules()).is_ok());
}

#[test]
fn only_those_may_send_who_are_named() {
    let senders = Senders(vec!["alice@contoso.test".to_owned(), "@Sales.contoso.test".to_owned()]);
    let restricted = || Rules { senders: senders.clone(), ..rules() };
    for allowed in [
        "From: alice@contoso.test",
        "From: \"bob@contoso.test\" <ALICE@Contoso.test>",
        "From: anybody@sales.contoso.test (not bob@contoso.test)\r\nSender: alice@contoso.test",
        "From:\r\n Alice <alice@contoso.test>,\r\n =?utf-8?q?B=C3=B6b?= <x@sales.contoso.test>",
        "Subject: no From",
    ] {
        assert!(edited(&format!("{allowed}\r\n\r\n"), restricted()).is_ok(), "{allowed}");
    }
    for (refused, named) in [
        ("From: bob@contoso.test", Unfit::Sender("bob@contoso.test".to_owned())),
        ("From: alice@contoso.test, bob@contoso.test", Unfit::Sender("bob@contoso.test".to_owned())),
        ("From: alice@contoso.test\r\nFrom: bob@contoso.test", Unfit::Sender("bob@contoso.test".to_owned())),
        ("From: alice@contoso.test\r\nSender: bob@contoso.test", Unfit::Sender("bob@contoso.test".to_owned())),
        ("from : x@sub.sales.contoso.test", Unfit::Sender("x@sub.sales.contoso.test".to_owned())),
        ("Resent-From: x@sales.contoso.test.evil.test", Unfit::Sender("x@sales.contoso.test.evil.test".to_owned())),
        ("From: group: alice@contoso.test, bob@contoso.test;", Unfit::Sender("bob@contoso.test".to_owned())),
        ("From: ", Unfit::UnclearSender),
        ("From: alice", Unfit::UnclearSender),
        ("From: bob@contoso.test <alice@contoso.test>", Unfit::UnclearSender),
        ("From: <@evil.test:alice@contoso.test>", Unfit::UnclearSender),
        ("From: \"alice@contoso.test", Unfit::UnclearSender),
        ("From: (alice@contoso.test", Unfit::UnclearSender),
    ] {
        let told = edited(&format!("{refused}\r\n\r\n"), restricted());
        assert!(told.is_err(), "{refused}: {told:?}");
        assert!(told == Err(named.clone()) || told == Err(Unfit::UnclearSender), "{refused}: {told:?}, not {named:?}");
    }
    let long = format!("X: {}\r\n", "a".repeat(900)).repeat(400);
    assert_eq!(edited_in(long.as_bytes(), restricted(), &[5000; 99]), Err(Unfit::UnclearSender));
    let (passed, id) = edited_in(long.as_bytes(), rules(), &[5000; 99]).unwrap();
    assert_eq!((passed, id), (format!("{RECEIVED}{long}"), None), "what is too long to be read passes");
}

#[test]
fn a_sender_is_put_in_its_place_and_can_still_be_answered() {
    let forced = |message: &str| {
        let rules = Rules { force_from: Some("alice@contoso.test".to_owned()), ..rules() };
        let text = edited(&format!("Date: d\r\nMessage-ID: <i@x>\r\n{message}\r\n\r\nbody\r\n"), rules).unwrap();
        let text = text.strip_prefix(RECEIVED).unwrap().replacen("Date: d\r\nMessage-ID: <i@x>\r\n", "", 1);
        text.strip_suffix("\r\n\r\nbody\r\n").unwrap().to_owned()
    };
    for (message, expected) in [
        ("From: CRM <crm@contoso.test>", "From: CRM <alice@contoso.test>\r\nReply-To: CRM <crm@contoso.test>"),
        ("From: crm@contoso.test", "From: alice@contoso.test\r\nReply-To: crm@contoso.test"),
        (
            "From: \"A <b> c\" <crm@x>\r\nSender: s@x",
            "From: \"A <b> c\" <alice@contoso.test>\r\nReply-To: \"A <b> c\" <crm@x>",
        ),
        ("From: a@x, b@x\r\nReply-To: r@x\r\nSubject: s", "From: alice@contoso.test\r\nReply-To: r@x\r\nSubject: s"),
        ("From: a@x\r\nTo: t@x\r\nFrom: b@x", "From: alice@contoso.test\r\nReply-To: a@x\r\nTo: t@x"),
        ("From: Alice <ALICE@contoso.test>\r\nSender: s@x", "From: Alice <ALICE@contoso.test>\r\nSender: s@x"),
        (
            "From: =?utf-8?b?w4Q=?=\r\n <crm@x>",
            "From: =?utf-8?b?w4Q=?= <alice@contoso.test>\r\nReply-To: =?utf-8?b?w4Q=?=\r\n <crm@x>",
        ),
        ("Subject: s", "From: alice@contoso.test\r\nSubject: s"),
    ] {
        assert_eq!(forced(message), expected, "{message}");
    }
}

proptest! {
    #[test]
    fn any_message_in_any_pieces_keeps_its_octets(
        lines in prop::collection::vec("[ -~]{0,20}|From: [a-z]{1,3}@x|Received: y|\t?[a-z: ]{0,9}|", 0..30),
        pieces in prop::collection::vec(1..40_usize, 0..40),
    ) {
        let message = lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
        let whole = edited_in(message.as_bytes(), rules(), &[]).unwrap();
        prop_assert_eq!(&whole, &edited_in(message.as_bytes(), rules(), &pieces).unwrap());
        let (text, id) = whole;
        prop_assert!(text.starts_with(RECEIVED));
        prop_assert!(text.ends_with(&message), "nothing of it is changed, and what is added stands in front:\n{}", text);
        prop_assert!(text.len() - message.len() < 250);
        prop_assert!(id.is_some() || message.to_ascii_lowercase().contains("message-id"));
    }
}

#[test]
fn whom_a_header_names_is_read_or_said_to_be_unclear() {
    let header = "To: A <a@x.test>,\r\n \"b@not.test\" <b@x.test>\r\nCC: undisclosed-recipients:;\r\nBcc:\r\nbcc: c@x.test (and d@not.test)\r\nSubject: e@not.test\r\n";
    assert_eq!(recipients(header.as_bytes()).unwrap(), ["a@x.test", "b@x.test", "c@x.test"]);
    assert_eq!(recipients(b"Subject: s\r\n").unwrap(), Vec::<String>::new());
    for unclear in
        ["To: a@x.test b@x.test\r\n", "To: \"a@x.test\r\n", "Resent-To: a@x.test\r\n", "Cc: <@r:a@x.test>\r\n"]
    {
        assert_eq!(recipients(unclear.as_bytes()), None, "{unclear}");
    }
    assert_eq!(authors(b"From: A <a@x.test>\r\n").unwrap(), ["a@x.test"]);
    assert_eq!(header_of(b"A: b\r\nC: d\r\n\r\nE: f\r\n\r\n"), b"A: b\r\nC: d\r\n");
    assert_eq!((header_of(b"\r\ntext"), header_of(b"A: b\r\n")), (&b""[..], &b"A: b\r\n"[..]));
    assert_eq!(bcc(&["a@x.test".to_owned(), "b@x.test".to_owned()]), b"Bcc: a@x.test,\r\n b@x.test\r\n");
}
