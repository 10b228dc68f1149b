use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::command::CommandBody;
use proptest::prelude::*;

use super::*;
use crate::front::imap::Imap;
use crate::front::{Front, Setting, Step};

/// The login that our front reads from this input, if any.
fn ours(input: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let setting = Setting { hostname: "mail.local".into(), secured: true, starttls: false, plaintext_login: false };
    let mut front = Imap::new(setting);
    let mut fed = false;
    loop {
        match front.step() {
            Step::Check(claim) => return Some((claim.login, claim.password.expose().clone())),
            Step::Read if !fed => {
                fed = true;
                front.feed(input);
            }
            Step::Write(_) => {}
            _ => return None,
        }
    }
}

/// The same by an independent parser.
fn theirs(input: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (_, command) = CommandCodec::default().decode(input).ok()?;
    match command.body {
        CommandBody::Login { username, password } => {
            Some((username.as_ref().to_vec(), password.declassify().as_ref().to_vec()))
        }
        _ => None,
    }
}

/// A string in one of its forms, mostly right.
fn string() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-zA-Z0-9@.\\]+=]{1,6}",
        3 => "[ -~]{0,6}".prop_map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))),
        1 => "[ -~]{0,6}".prop_map(|text| format!("\"{text}\"")),
        3 => ("[ -~]{1,6}", any::<bool>())
            .prop_map(|(text, waits)| format!("{{{}{}}}\r\n{text}", text.len(), if waits { "" } else { "+" })),
        1 => "[ -~]{0,4}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn every_login_that_is_taken_is_the_same_to_an_independent_parser(
        tag in "[A-Za-z0-9.*+%{]{1,3}", login in string(), gap in prop_oneof![9 => Just(" "), 1 => Just("  "), 1 => Just("")],
        password in string(), tail in prop_oneof![9 => Just(""), 1 => Just(" "), 1 => Just(" x")],
    ) {
        let input = format!("{tag} LOGIN {login}{gap}{password}{tail}\r\n");
        // The one form that we take and the grammar does not.
        let bare = |text: &str| !text.starts_with(['"', '{']) && text.contains('\\');
        if let (Some(ours), false) = (ours(input.as_bytes()), bare(&login) || bare(&password)) {
            prop_assert_eq!(Some(ours), theirs(input.as_bytes()), "{:?}", input);
        }
    }

    #[test]
    fn what_an_independent_parser_takes_is_taken_or_holds_something_refused_on_purpose(login in string(), password in string()) {
        let input = format!("a1 LOGIN {login} {password}\r\n");
        if let Some((name, word)) = theirs(input.as_bytes()) {
            let expected = (!name.is_empty() && !word.is_empty()).then_some((name, word));
            prop_assert_eq!(ours(input.as_bytes()), expected, "{:?}", input);
        }
    }
}

#[test]
fn an_announcement_is_digits_in_braces_and_too_many_of_them_are_too_much() {
    for (line, expected) in [
        ("x {5}", Some((5, true))),
        ("x {5+}", Some((5, false))),
        ("x {0}", Some((0, true))),
        ("x {99999999999999999999999999}", Some((u64::MAX, true))),
        ("x {}", None),
        ("x {-1}", None),
        ("x {+}", None),
        ("x {5", None),
        ("x {5} ", None),
        ("x 5}", None),
    ] {
        let (before, announced) = Announced::split_from(line.as_bytes());
        assert_eq!(announced.map(|announced| (announced.octets, announced.waits)), expected, "{line}");
        assert_eq!(before, if expected.is_some() { b"x " } else { line.as_bytes() });
    }
}

#[test]
fn literals_share_one_room_and_nothing_is_reserved_beyond_it() {
    let mut command = Gathered::begin(b"a LOGIN ");
    let announced = |octets| Announced { octets, waits: true };
    assert_eq!(command.expect(announced(65_000)), Ok(65_000));
    assert_eq!(command.expect(announced(537)), Err(TooLong));
    assert_eq!(command.expect(announced(536)), Ok(536));
    assert_eq!(command.expect(announced(u64::MAX)), Err(TooLong));
}

#[test]
fn a_backslash_may_stand_in_a_bare_login_name_as_imaplib_sends_it() {
    let expected = Some((b"alice@contoso.test\\shared".to_vec(), b"p\\w".to_vec()));
    assert_eq!(ours(b"a1 LOGIN alice@contoso.test\\shared p\\w\r\n"), expected);
    assert_eq!(ours(b"a1 LOGIN alice@contoso.test\\shared \"p\\\\w\"\r\n"), expected);
    assert_eq!(ours(b"a\\1 LOGIN alice@contoso.test\\shared pw\r\n"), None, "a tag has none");
}

#[test]
fn both_parsers_read_the_forms_that_clients_use() {
    for (input, login, password) in [
        ("a LOGIN ann pw\r\n", "ann", "pw"),
        ("a login \"ann\" \"p\\\\w \\\"\"\r\n", "ann", "p\\w \""),
        ("a LOGIN {3}\r\nann {4+}\r\np w!\r\n", "ann", "p w!"),
        ("a LOGIN \"ann\" {2}\r\n\" \r\n", "ann", "\" "),
    ] {
        let expected = Some((login.as_bytes().to_vec(), password.as_bytes().to_vec()));
        assert_eq!(ours(input.as_bytes()), expected, "{input}");
        assert_eq!(theirs(input.as_bytes()), expected, "{input}");
    }
}

#[test]
fn a_password_without_quotes_is_as_secret_as_one_with_them() {
    for line in [&b"a LOGIN ann hunter2"[..], b"a LOGIN ann \"hunter2\""] {
        let command = Gathered::begin(line);
        assert_eq!(command.two_strings().unwrap().1, b"hunter2");
        assert!(!format!("{command:?}").contains("104, 117, 110, 116"), "{command:?}");
    }
}
