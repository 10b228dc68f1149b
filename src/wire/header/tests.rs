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
        pinned: None,
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
        "From: alice@contoso.test <alice@contoso.test>",
        "From: (bob@contoso.test \\( <bob@contoso.test>) Alice <alice@contoso.test>",
        "From: \"x\\\" <bob@contoso.test>\" <alice@contoso.test>",
        "From: =?utf-8?q?bob=40contoso.test?= <alice@contoso.test>",
        "From: a group: alice@contoso.test;",
        "From: alice@contoso.test\r\nFrom: alice@contoso.test",
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
        // The name of one who may not, without quotes: another reader may take it for the address.
        ("From: bob@contoso.test <alice@contoso.test>", Unfit::Sender("bob@contoso.test".to_owned())),
        ("From: alice@contoso.test <bob@contoso.test>", Unfit::Sender("bob@contoso.test".to_owned())),
        ("From: <alice@contoso.test> bob@contoso.test", Unfit::Sender("bob@contoso.test".to_owned())),
        ("From: a@sales.contoso.test <b@sales.contoso.test>, c@sales.contoso.test", Unfit::UnclearSender),
        ("From: \"bob@evil.test\"@sales.contoso.test", Unfit::UnclearSender),
        ("From: bob@evil.test(alice@contoso.test)", Unfit::Sender("bob@evil.test".to_owned())),
        ("From: a\\@evil.test@sales.contoso.test", Unfit::UnclearSender),
        ("From: =?utf-8?q?bob=40evil.test?=", Unfit::UnclearSender),
        ("From: nobody:;", Unfit::UnclearSender),
        ("Resent-Sender: bob@contoso.test\r\nFrom: alice@contoso.test", Unfit::Sender("bob@contoso.test".to_owned())),
        ("From: <@evil.test:alice@contoso.test>", Unfit::UnclearSender),
        ("From: \"alice@contoso.test", Unfit::UnclearSender),
        ("From: (alice@contoso.test", Unfit::UnclearSender),
    ] {
        let told = edited(&format!("{refused}\r\n\r\n"), restricted());
        assert!(told.is_err(), "{refused}: {told:?}");
        assert!(told == Err(named.clone()) || told == Err(Unfit::UnclearSender), "{refused}: {told:?}, not {named:?}");
    }
    // What is added where From is missing is looked at as what is there.
    let others = Rules { senders: Senders(vec!["@sales.contoso.test".to_owned()]), ..rules() };
    assert_eq!(edited("Subject: s\r\n\r\n", others), Err(Unfit::Sender("alice@contoso.test".to_owned())));
}

#[test]
fn a_header_that_is_too_long_to_be_looked_through_passes_as_it_is_however_it_comes() {
    let long = |octets: usize| {
        let end = "\r\n\r\nbody\r\n";
        let begin = "Message-ID: <own@x>\r\nX: ";
        let filler = "a".repeat(octets + "body\r\n".len() - begin.len() - end.len());
        format!("{begin}{filler}{end}")
    };
    let in_pieces = |message: &str, rules: &Rules, octets: usize| {
        edited_in(message.as_bytes(), rules.clone(), &vec![octets; message.len() / octets + 1])
    };
    for (octets, is_read) in
        [(-3, true), (-2, true), (-1, true), (0, true), (1, false), (2, false), (3, false), (5000, false)]
    {
        let message = long(LONGEST_HEADER_OCTETS.checked_add_signed(octets).unwrap());
        let restricted = Rules { senders: Senders(vec!["@contoso.test".to_owned()]), ..rules() };
        for piece in [1, 2, 3, 5000, message.len()] {
            let (text, id) = in_pieces(&message, &rules(), piece).unwrap();
            assert_eq!(text.strip_suffix(&message).is_some_and(|added| added.contains("From: ")), is_read, "{octets}");
            assert_eq!(id.as_deref(), Some("own@x"));
            assert!(is_read || text == format!("{RECEIVED}{message}"));
            assert_eq!(in_pieces(&message, &restricted, piece).err(), (!is_read).then_some(Unfit::UnclearSender));
        }
    }
    let looping = format!("{}{}", "Received: x\r\n".repeat(50), long(LONGEST_HEADER_OCTETS));
    assert_eq!(in_pieces(&looping, &rules(), 7000), Err(Unfit::Loop));
    // Nor is one found where a field is cut, and one line without end is no header.
    let cut = format!("X: {}\r\nMessage-ID: <cut@x>\r\n", "a".repeat(LONGEST_HEADER_OCTETS - 20));
    assert_eq!(in_pieces(&cut, &rules(), 7000).unwrap(), (format!("{RECEIVED}{cut}"), None));
    let line = format!("{}\r\n", "no field ".repeat(LONGEST_HEADER_OCTETS / 9 + 1));
    let whole = in_pieces(&line, &rules(), line.len()).unwrap();
    assert_eq!(whole, in_pieces(&line, &rules(), 1).unwrap());
    assert!(whole.0.ends_with(&format!("\r\n\r\n{line}")));
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
        ("From: Alice <ALICE@contoso.test>\r\nSender: s@x", "From: Alice <ALICE@contoso.test>"),
        // Brackets in a comment are none, and of a group only the address is taken.
        ("From: (a <b) Bob <b@x>", "From: (a <b) Bob <alice@contoso.test>\r\nReply-To: (a <b) Bob <b@x>"),
        ("From: crew: Bob <b@x>;", "From: alice@contoso.test\r\nReply-To: crew: Bob <b@x>;"),
        ("From: crm@x <crm@x>", "From: alice@contoso.test\r\nReply-To: crm@x <crm@x>"),
        ("From: \"a, b\" <b@x>", "From: \"a, b\" <alice@contoso.test>\r\nReply-To: \"a, b\" <b@x>"),
        // Whom nobody could answer is not put into Reply-To.
        ("From: root (Cron Daemon)", "From: alice@contoso.test"),
        ("From: ", "From: alice@contoso.test"),
        (
            "From: =?utf-8?b?w4Q=?=\r\n <crm@x>",
            "From: =?utf-8?b?w4Q=?= <alice@contoso.test>\r\nReply-To: =?utf-8?b?w4Q=?=\r\n <crm@x>",
        ),
        ("Subject: s", "From: alice@contoso.test\r\nSubject: s"),
        ("Sender: s@x\r\nSubject: s", "From: alice@contoso.test\r\nSubject: s"),
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

    /// Whatever way to write a header: what goes on under a pin is the mailbox's for whoever reads it.
    #[test]
    fn under_a_pin_nobody_else_stands_in_what_goes_on(
        lines in prop::collection::vec(
            "From: (alice@contoso.test|<alice@contoso.test>|b@x|A <b@x>|\"b@x\" <alice@contoso.test>|b@x <alice@contoso.test>|)\
             |Sender ?: (alice@contoso.test|b@x)|Resent-From: (b@x|alice@contoso.test)|[\t ](b@x|<b@x>)|X: y",
            0..5,
        ),
        forces in any::<bool>(),
        pieces in prop::collection::vec(1..40_usize, 0..20),
    ) {
        let alice = "alice@contoso.test".to_owned();
        let message = format!("{}\r\n\r\ntext\r\n", lines.join("\r\n"));
        let rules = Rules { pinned: Some(alice.clone()), force_from: forces.then(|| alice.clone()), ..rules() };
        if let Ok((text, _)) = edited_in(message.as_bytes(), rules, &pieces) {
            prop_assert!(is_of(header_of(text.as_bytes()), &alice), "{}", text);
            let header = text.split_once("\r\n\r\n").unwrap().0;
            let foreign = header.lines().any(|line| line.starts_with("From: b@x") || line.starts_with("Resent-From: b@x"));
            prop_assert!(!foreign, "{}", text);
        }
    }

    #[test]
    fn whatever_stands_in_from_the_mailbox_alone_stands_there_afterwards(
        from in "([ -~]|@|<|>|\\(|\\)|\"|,|:|;|\r\n |b@x|<b@x>|é){0,12}",
        others in prop::collection::vec("X-[a-z]: [ -~]{0,20}|Sender: [a-z]@x|From: [a-z]@x|Reply-To: r@x|To: [a-z]@y", 0..6),
        place in 0..6_usize,
        body in "[ -~\r\n]{0,60}",
        pieces in prop::collection::vec(1..40_usize, 0..40),
    ) {
        let mut lines = others;
        lines.insert(place.min(lines.len()), format!("From: {from}"));
        let message = format!("{}\r\n\r\n{body}", lines.join("\r\n"));
        let rules = Rules { force_from: Some("alice@contoso.test".to_owned()), ..rules() };
        let (text, _) = edited_in(message.as_bytes(), rules, &pieces).unwrap();
        let (header, kept_body) = text.split_once("\r\n\r\n").unwrap();
        prop_assert_eq!(kept_body, message.split_once("\r\n\r\n").unwrap().1);
        let header = format!("{header}\r\n");
        let fields = fields(header.as_bytes());
        let froms: Vec<_> = fields.iter().filter(|field| field.is("from")).collect();
        prop_assert_eq!(froms.len(), 1);
        prop_assert_eq!(fields::addresses(froms[0]), Some(vec!["alice@contoso.test".to_owned()]), "{}", header);
        prop_assert!(!fields.iter().any(|field| field.is("sender")));
        // The other fields are there in their order, octet for octet.
        let named = |field: &&str| !["From:", "Sender:", "Reply-To:", "Received:", "Date:", "Message-ID:"].iter().any(|name| field.starts_with(name));
        let kept: Vec<&str> = header.split("\r\n").filter(|line| !line.is_empty() && !line.starts_with([' ', '\t'])).filter(named).collect();
        let given: Vec<&str> = lines.iter().map(String::as_str).filter(named).collect();
        prop_assert_eq!(kept, given);
    }
}

#[test]
fn whom_a_header_names_is_read_or_said_to_be_unclear() {
    let header = "To: A <a@x.test>,\r\n \"b@not.test\" <b@x.test>\r\nCC: undisclosed-recipients:;\r\nBcc:\r\nbcc: c@x.test (and d@not.test)\r\nSubject: e@not.test\r\n";
    assert_eq!(recipients(header.as_bytes()).unwrap(), ["a@x.test", "b@x.test", "c@x.test"]);
    assert_eq!(recipients(b"Subject: s\r\n").unwrap(), Vec::<String>::new());
    for unclear in [
        "To: a@x.test b@x.test\r\n",
        "To: \"a@x.test\r\n",
        "Resent-To: a@x.test\r\n",
        "Cc: <@r:a@x.test>\r\n",
        // One of the two is a name only, and would not get it.
        "To: a@x.test <b@x.test>\r\n",
        "Cc: \"a b\"@x.test\r\n",
        // Somebody may take quotes and encoded words off first.
        "To: \"x@evil.test\"\r\n",
        "Cc: =?utf-8?Q?x=40evil.test?=\r\n",
    ] {
        assert_eq!(recipients(unclear.as_bytes()), None, "{unclear}");
    }
    assert_eq!(authors(b"From: A <a@x.test>\r\n").unwrap(), ["a@x.test"]);
    assert_eq!(header_of(b"A: b\r\nC: d\r\n\r\nE: f\r\n\r\n"), b"A: b\r\nC: d\r\n");
    assert_eq!((header_of(b"\r\ntext"), header_of(b"A: b\r\n")), (&b""[..], &b"A: b\r\n"[..]));
    assert_eq!(bcc(&["a@x.test".to_owned(), "b@x.test".to_owned()]), b"Bcc: a@x.test,\r\n b@x.test\r\n");
}
