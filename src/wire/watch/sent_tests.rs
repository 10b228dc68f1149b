//! Everything passes as it is, but a copy that somebody has said is one too many.

use proptest::prelude::*;

use super::tests::{play, step};
use super::*;

fn sent() -> Watch {
    Watch::Sent(Box::new(SentWatch::new(SentFolder::OneOf(&["Sent Items", "Éléments envoyés"]), true)))
}

/// With the octets of the message that is filed in it counted.
fn conversation(text: &str) -> String {
    text.replace("LENGTH", &"Message-ID: <1@x>\r\n\r\nbody\r\n".len().to_string())
}

#[test]
fn a_copy_that_is_filed_already_is_dropped_and_others_go_on() {
    let text = conversation(
        "
        C: a1 SELECT \"Sent Items\"
        > a1 SELECT \"Sent Items\"
        S: * 2 EXISTS
        C: a2 APPEND \"Sent Items\" (\\Seen) {LENGTH}
        S: a1 OK done
        < + Ready for the message
        C: Message-ID: <1@x>
        C: \\e
        ? 1@x LENGTH yes
        C: body
        C: \\e
        < a2 OK APPEND completed, with the copy that Exchange files
        C: a3 NOOP
        > a3 NOOP
        S: * 3 EXISTS
        S: a3 OK done
        C: a4 append &AMk-l&AOk-ments&- x {5}
        > a4 append &AMk-l&AOk-ments&- x {5}
        S: a4 NO there is no such folder
        C: a5 append \"&AMk-l&AOk-ments envoy&AOk-s\" \"01-Dec-2026 10:00:00 +0000\" {LENGTH}
        < + Ready for the message
        C: Message-ID: <1@x>
        C: \\e
        ? 1@x LENGTH no
        > a5 append \"&AMk-l&AOk-ments envoy&AOk-s\" \"01-Dec-2026 10:00:00 +0000\" {LENGTH+}
        > Message-ID: <1@x>
        > \\e
        C: body
        > body
        C: \\e
        > \\e
        S: a5 OK [APPENDUID 1 2] done
        C: a6 APPEND \"Sent Items\" {LENGTH+}
        C: Message-ID: <1@x>
        C: \\e
        ? 1@x LENGTH yes
        C: body
        C: \\e
        < a6 OK APPEND completed, with the copy that Exchange files
        C: a7 APPEND \"Sent Items\" {LENGTH+}
        C: Message-ID: <1@x>
        C: \\e
        ? 1@x LENGTH no
        > a7 APPEND \"Sent Items\" {LENGTH+}
        > Message-ID: <1@x>
        > \\e
        C: body
        C: \\e
        > body
        > \\e
        C: a8 APPEND Drafts {2}
        > a8 APPEND Drafts {2}
        S: a7 OK done
        S: + go on
        C: \\e
        C: \\e
        > \\e
        > \\e
        S: a8 OK done
        ",
    );
    for piece in [1, 2, 7, 4096] {
        play(sent(), &text, piece);
    }
}

#[test]
fn a_message_without_a_message_id_goes_on_and_so_does_one_that_is_looked_for() {
    for (header, name) in [
        ("Subject: hello\r\n\r\n", "none"),
        ("Message-ID: \r\n\r\n", "empty"),
        ("Message-ID: <1@x>\r\nMessage-ID: <2@x>\r\n\r\n", "two"),
        ("Message-ID: <1@x>\r\nX-TUID: abcdefghijkl\r\n\r\n", "mbsync"),
        ("Message-ID: <1@x>\r\nBcc: carol@contoso.test\r\n\r\n", "whom it went to stands nowhere else"),
        ("Subject: x\n\n> Message-ID: <1@x>\r\n\r\n", "LF alone"),
        ("Received: by mail.test (Postern)\r\n\tid 1\r\nMessage-ID: <1@x>\r\n\r\n", "edited"),
        ("Message-ID: <1@x>\r\nX-MS-Exchange-Organization-AuthAs: Internal\r\n\r\n", "of Exchange"),
        ("\r\nMessage-ID: <1@x>\r\n", "in the body"),
    ] {
        for piece in [1, 4096] {
            let (mut watch, mut onward) = (sent(), Vec::new());
            let command = format!("a1 APPEND \"Sent Items\" {{{}}}\r\n", header.len());
            step(&mut watch, &mut command.into_bytes(), &mut onward, piece);
            assert_eq!(watch.answer().as_deref(), Some(&b"+ Ready for the message\r\n"[..]), "{name}");
            step(&mut watch, &mut format!("{header}\r\n").into_bytes(), &mut onward, piece);
            assert_eq!(watch.question(), None, "{name}");
            let expected = format!("a1 APPEND \"Sent Items\" {{{}+}}\r\n{header}\r\n", header.len());
            assert_eq!(String::from_utf8(onward).unwrap(), expected, "{name}");
        }
    }
}

#[test]
fn a_header_that_does_not_end_goes_on() {
    let (mut watch, mut onward) = (sent(), Vec::new());
    let header = format!("Message-ID: <1@x>\r\n{}", "X: y\r\n".repeat(20_000));
    let command = format!("a1 APPEND \"Sent Items\" {{{}+}}\r\n{header}\r\n", header.len());
    step(&mut watch, &mut command.clone().into_bytes(), &mut onward, 1000);
    assert_eq!(watch.question(), None);
    assert_eq!(String::from_utf8(onward).unwrap(), command);
    // A short message may be a header alone.
    let (mut watch, mut onward) = (sent(), Vec::new());
    step(&mut watch, &mut b"a1 APPEND \"Sent Items\" {19+}\r\nMessage-ID: <1@x>\r\n".to_vec(), &mut onward, 1000);
    assert_eq!(watch.question(), Some(SentCopy { message_id: "1@x".to_owned(), octets: 19 }));
    watch.told(true);
    // More than a message is not understood here, and nothing of it is filed.
    step(&mut watch, &mut b" {3+}\r\nabc {5}\r\na2 NOOP\r\n".to_vec(), &mut onward, 1000);
    assert_eq!(watch.answer().as_deref(), Some(&b"a1 NO One message at a time\r\n"[..]));
    assert_eq!((onward.as_slice(), watch.dropped()), (&b""[..], 0));
    step(&mut watch, &mut b"a2 NOOP\r\n".to_vec(), &mut onward, 1000);
    assert_eq!(onward, b"a2 NOOP\r\n");
}

#[test]
fn what_cannot_be_followed_passes_and_everything_behind_it() {
    let filing = "a9 APPEND \"Sent Items\" {19}\r\n";
    for command in [
        "a1 COMPRESS DEFLATE\r\n",
        "a1 starttls\r\n",
        "a1 SEARCH SUBJECT \"x {5}\r\n",
        "a1 SEARCH SUBJECT x{5}\r\n",
        "a1 NOOP\ra2 NOOP\r\n",
        "a1 NOOP\n",
        "a1  {5}\r\n",
        "+ SEARCH {5}\r\n",
    ] {
        let (mut watch, mut onward) = (sent(), Vec::new());
        let said = format!("{command}{filing}");
        step(&mut watch, &mut said.clone().into_bytes(), &mut onward, 4096);
        watch.server(b"a1 OK done\r\n");
        assert_eq!((String::from_utf8(onward).unwrap(), watch.answer()), (said, None), "{command:?}");
    }
    // A long line.
    for piece in [1000, 100_000] {
        let (mut watch, mut onward) = (sent(), Vec::new());
        let said = format!("a1 FETCH {}\r\n{filing}", "1,".repeat(20_000));
        step(&mut watch, &mut said.clone().into_bytes(), &mut onward, piece);
        watch.server(b"a1 OK done\r\n");
        assert_eq!((String::from_utf8(onward).unwrap(), watch.answer()), (said, None));
        assert!(watch.has_given_up());
    }
    // A command that is answered before all of it was said.
    let (mut watch, mut onward) = (sent(), Vec::new());
    step(&mut watch, &mut b"a1 APPEND Drafts {300}\r\n".to_vec(), &mut onward, 4096);
    watch.server(b"+ go on\r\na1 NO that is too large\r\n");
    step(&mut watch, &mut filing.as_bytes().to_vec(), &mut onward, 4096);
    assert_eq!(String::from_utf8(onward).unwrap(), format!("a1 APPEND Drafts {{300}}\r\n{filing}"));
    // What is no copy of a sent message is not held back either, nor where the server would have to be asked.
    for said in [
        "a1 APPEND \"Sent Items\" {35000001}\r\n",
        "a1 APPEND \"Sent Items\" {0}\r\n",
        "a1 APPEND {10}\r\n",
        "a1 APPEND \"sent items\" {19}\r\n",
        "a1 APPEND Sent {19}\r\n",
        "a1 APPEND \"Sent Items\"x {19}\r\n",
        "a1 APPEND \"Sent Items\" (\\Seen)\r\n",
        "a1 APPEND\r\n",
    ] {
        let (mut watch, mut onward) = (sent(), Vec::new());
        step(&mut watch, &mut said.as_bytes().to_vec(), &mut onward, 4096);
        assert_eq!((String::from_utf8(onward).unwrap().as_str(), watch.answer()), (said, None));
    }
    let mut watch = Watch::Sent(Box::new(SentWatch::new(SentFolder::Named("Sent Items".to_owned()), false)));
    let mut onward = Vec::new();
    step(&mut watch, &mut filing.as_bytes().to_vec(), &mut onward, 4096);
    assert_eq!((String::from_utf8(onward).unwrap().as_str(), watch.answer()), (filing, None));
}

#[test]
fn nobody_waits_for_an_answer_that_does_not_come() {
    // The server ends the waiting of IDLE, and a program says APPEND where it should say DONE.
    let text = conversation(
        "
        C: a1 IDLE
        > a1 IDLE
        S: + idling
        C: DONE
        > DONE
        C: a2 APPEND \"Sent Items\" {LENGTH}
        S: * 3 EXISTS
        S: a1 OK done
        < + Ready for the message
        C: Message-ID: <1@x>
        C: \\e
        ? 1@x LENGTH yes
        C: body
        C: \\e
        < a2 OK APPEND completed, with the copy that Exchange files
        C: a3 IDLE
        > a3 IDLE
        S: + idling
        C: a4 APPEND \"Sent Items\" {LENGTH}
        > a4 APPEND \"Sent Items\" {LENGTH}
        S: a4 BAD Expected DONE
        S: a3 OK done
        C: DONE
        > DONE
        C: a5 NOOP
        > a5 NOOP
        ",
    );
    for piece in [1, 4096] {
        play(sent(), &text, piece);
    }
    // A command that has no answer of its own.
    for bad in ["* BAD what\r\n", "* bad Command Error. 12\r\n"] {
        let (mut watch, mut onward) = (sent(), Vec::new());
        let said = "a1 NOOP\r\na2 APPEND \"Sent Items\" {1}\r\n";
        step(&mut watch, &mut said.as_bytes().to_vec(), &mut onward, 4096);
        assert_eq!((onward.as_slice(), watch.answer()), (&b"a1 NOOP\r\n"[..], None));
        watch.server(bad.as_bytes());
        assert_eq!(watch.answer(), None);
        step(&mut watch, &mut b"x".to_vec(), &mut onward, 4096);
        assert_eq!(String::from_utf8(onward).unwrap(), format!("{said}x"));
    }
    // Nor is what was dropped left without one.
    let (mut watch, mut onward) = (sent(), Vec::new());
    let said = "a1 NOOP\r\na2 APPEND \"Sent Items\" {19+}\r\nMessage-ID: <1@x>\r\n";
    step(&mut watch, &mut said.as_bytes().to_vec(), &mut onward, 4096);
    assert!(watch.question().is_some());
    watch.told(true);
    step(&mut watch, &mut b"\r\n".to_vec(), &mut onward, 4096);
    assert_eq!(watch.answer(), None, "not before the one to a1");
    watch.server(b"* BAD what\r\n");
    assert!(watch.answer().unwrap().starts_with(b"a2 OK "));
    step(&mut watch, &mut said.as_bytes().to_vec(), &mut onward, 4096);
    assert_eq!(String::from_utf8(onward).unwrap(), format!("a1 NOOP\r\n{said}"), "and from then on everything passes");
    // Tags that are said twice.
    let (mut watch, mut onward) = (sent(), Vec::new());
    step(&mut watch, &mut b"a NOOP\r\na SEARCH {3}\r\n".to_vec(), &mut onward, 4096);
    watch.server(b"a OK first\r\n+ go on\r\n");
    step(&mut watch, &mut b"a1 APPEND \"Sent Items\" {1}\r\n".to_vec(), &mut onward, 4096);
    assert_eq!(onward, b"a NOOP\r\na SEARCH {3}\r\na1 APPEND \"Sent Items\" {1}\r\n");
}

/// A program, in commands of which the next comes when the last is answered or at once, and a server that reads every literal.
#[derive(Debug, Clone)]
enum Said {
    Line(&'static str),
    Search(Vec<u8>, bool),
    Append(&'static str, Vec<u8>, bool),
}

fn said() -> impl Strategy<Value = Said> {
    let octets = || prop::collection::vec(any::<u8>(), 1..60);
    let message = prop_oneof![
        octets(),
        octets().prop_map(|body| [&b"Message-ID: <1@x>\r\n\r\n"[..], &body].concat()),
        Just(b"Subject: x\r\nMessage-ID: <2@x>\r\n".to_vec()),
    ];
    prop_oneof![
        prop::sample::select(vec!["NOOP", "FETCH 1 BODY[]", "SELECT \"x {5}y\"", "LIST \"\" \"{3}\""])
            .prop_map(Said::Line),
        (octets(), any::<bool>()).prop_map(|(octets, unasked)| Said::Search(octets, unasked)),
        (prop::sample::select(vec!["Drafts", "\"Sent Items\"", "\"Sent\\ Items\""]), message, any::<bool>())
            .prop_map(|(folder, message, unasked)| Said::Append(folder, message, unasked)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn every_command_reaches_the_server_whole_or_is_answered_here_and_nothing_else_does(
        said in prop::collection::vec(said(), 1..12),
        piece in 1usize..40,
        verdicts: u64,
    ) {
        let (mut watch, mut onward) = (sent(), Vec::new());
        let (mut expected, mut dropped) = (Vec::new(), 0);
        for (number, said) in said.iter().enumerate() {
            let tag = format!("t{number}");
            let (line, literal) = match said {
                Said::Line(text) => (format!("{tag} {text}"), None),
                Said::Search(octets, unasked) => (format!("{tag} SEARCH TEXT"), Some((octets, *unasked))),
                Said::Append(folder, octets, unasked) => (format!("{tag} APPEND {folder} (\\Seen)"), Some((octets, *unasked))),
            };
            let Some((octets, unasked)) = literal else {
                step(&mut watch, &mut format!("{line}\r\n").into_bytes(), &mut onward, piece);
                expected.extend(format!("{line}\r\n").into_bytes());
                watch.server(format!("* 1 FETCH (BODY[] {{5}}\r\n+ x\r\n)\r\n{tag} OK {{7}}\r\n").as_bytes());
                continue;
            };
            let begin = format!("{line} {{{}{}}}\r\n", octets.len(), if unasked { "+" } else { "" });
            step(&mut watch, &mut begin.clone().into_bytes(), &mut onward, piece);
            let invited = watch.answer().is_some();
            let mut rest = [octets.as_slice(), b"\r\n"].concat();
            if !unasked && !invited {
                let mut early = rest.clone();
                step(&mut watch, &mut early, &mut onward, piece);
                prop_assert_eq!(early.len(), rest.len(), "nothing is taken before the server has said +");
                watch.server(b"+ go on\r\n");
            }
            step(&mut watch, &mut rest, &mut onward, piece);
            let question = watch.question();
            let is_dropped = question.is_some() && (verdicts >> (number % 64)) & 1 == 1;
            if let Some(copy) = question {
                prop_assert_eq!(copy.octets, octets.len() as u64);
                watch.told(is_dropped);
            }
            step(&mut watch, &mut rest, &mut onward, piece);
            prop_assert!(rest.is_empty());
            if is_dropped {
                dropped += 1;
                let told = watch.answer().unwrap();
                let begin = format!("{tag} OK ");
                prop_assert!(told.starts_with(begin.as_bytes()));
            } else {
                let begin = if invited { format!("{line} {{{}+}}\r\n", octets.len()) } else { begin };
                expected.extend([begin.as_bytes(), octets.as_slice(), b"\r\n"].concat());
                watch.server(format!("{tag} OK done\r\n").as_bytes());
            }
            prop_assert_eq!(watch.answer(), None);
            prop_assert!(!watch.is_behind());
        }
        prop_assert_eq!(String::from_utf8_lossy(&onward), String::from_utf8_lossy(&expected));
        prop_assert_eq!(watch.dropped(), dropped);
    }

    #[test]
    fn nothing_is_said_that_the_client_has_not_said(
        octets in prop::collection::vec(any::<u8>(), 0..300),
        server in prop::collection::vec(any::<u8>(), 0..100),
        commands in prop::collection::vec(prop::sample::select(vec![
            "a1 APPEND \"Sent Items\" {5}\r\n", "a1 APPEND \"Sent Items\" {30+}\r\n", "Message-ID: <1@x>\r\n\r\n", "a2 NOOP\r\n", "DONE\r\n",
            "a3 IDLE\r\n", "a4 SEARCH {3}\r\n", "a4 SEARCH {3+}\r\n", "\r\n", "xyz",
        ]), 0..12),
        verdict: bool,
        piece in 1usize..50,
        bad in 0usize..20,
    ) {
        let (mut watch, mut onward) = (sent(), Vec::new());
        let mut client = [commands.concat().into_bytes(), octets].concat();
        let said_by_client = client.clone();
        for said in [&server[..], b"+ go on\r\n", b"a1 OK\r\n", b"a4 OK\r\n+ x\r\n", b"a2 OK\r\na3 OK\r\n"].iter().cycle().take(40) {
            step(&mut watch, &mut client, &mut onward, piece);
            if watch.question().is_some() {
                watch.told(verdict);
            }
            watch.server(said);
            watch.answer();
            if said.starts_with(b"a4") && bad < commands.len() {
                watch.server(b"\r\n* BAD what\r\n");
            }
        }
        prop_assert!(watch.end().is_none());
        if verdict {
            prop_assert!(onward.len() <= said_by_client.len() + commands.len());
            return Ok(());
        }
        // Of an announcement the server may not be asked; else it gets what was said, in its order, as far as it has come.
        let asking = |octets: &[u8]| String::from_utf8_lossy(octets).replace("+}\r\n", "}\r\n");
        let (got, whole) = (asking(&onward), asking(&said_by_client));
        prop_assert!(whole.starts_with(got.trim_end_matches('\u{fffd}')), "{:?} {:?}", got, whole);
        // Once it is given up, nothing stays behind but a message that is not complete.
        if watch.has_given_up() && !commands.iter().any(|command| command.contains("APPEND")) {
            prop_assert_eq!((got.as_str(), client.len()), (whole.as_str(), 0));
        }
    }
}
