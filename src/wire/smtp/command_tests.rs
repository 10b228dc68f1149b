use proptest::prelude::*;

use super::*;

fn mail(arguments: &str) -> Result<String, Refusal> {
    MailFrom::parse(arguments.as_bytes()).map(|mail| String::from_utf8(mail.command()).unwrap())
}

fn rcpt(arguments: &str) -> Result<String, Refusal> {
    RcptTo::parse(arguments.as_bytes()).map(|rcpt| String::from_utf8(rcpt.command()).unwrap())
}

#[test]
fn mail_is_read_and_written_anew() {
    for (arguments, expected) in [
        ("FROM:<ann@x.test>", "MAIL FROM:<ann@x.test>\r\n"),
        ("from: <ann@x.test>  size=5 ", "MAIL FROM:<ann@x.test> SIZE=5\r\n"),
        ("FROM:<>", "MAIL FROM:<>\r\n"),
        ("FROM:<ann@x.test> AUTH=<>", "MAIL FROM:<ann@x.test>\r\n"),
        ("FROM:<ann@x.test> AUTH=ceo@x.test BODY=8bitmime", "MAIL FROM:<ann@x.test> BODY=8BITMIME\r\n"),
        ("FROM:<ann@x.test> RET=hdrs ENVID=QQ+2B314", "MAIL FROM:<ann@x.test> RET=HDRS ENVID=QQ+2B314\r\n"),
        ("FROM:<jörg@x.test> SMTPUTF8", "MAIL FROM:<jörg@x.test> SMTPUTF8\r\n"),
        ("FROM:<ann@x.test> SIZE=18446744073709551615", "MAIL FROM:<ann@x.test> SIZE=18446744073709551615\r\n"),
    ] {
        assert_eq!(mail(arguments).as_deref(), Ok(expected), "{arguments}");
    }
}

#[test]
fn mail_with_a_fault_is_refused_and_no_parameter_is_ignored() {
    for (arguments, expected) in [
        ("", Refusal::Syntax),
        ("TO:<ann@x.test>", Refusal::Syntax),
        ("FROM <ann@x.test>", Refusal::Syntax),
        ("FROM:", Refusal::Path),
        ("FROM:<ann@x.test>SIZE=5", Refusal::Path),
        ("FROM:<ann@x.test> SIZE=-1", Refusal::Value),
        ("FROM:<ann@x.test> SIZE=five", Refusal::Value),
        ("FROM:<ann@x.test> SIZE=", Refusal::Value),
        ("FROM:<ann@x.test> SIZE", Refusal::Value),
        ("FROM:<ann@x.test> SIZE=18446744073709551616", Refusal::Value),
        ("FROM:<ann@x.test> SIZE=000000000000000000000", Refusal::Value),
        ("FROM:<ann@x.test> SIZE=1 SIZE=2", Refusal::Value),
        ("FROM:<ann@x.test> SMTPUTF8=1", Refusal::Value),
        ("FROM:<ann@x.test> SMTPUTF8 SMTPUTF8", Refusal::Value),
        ("FROM:<ann@x.test> BODY=9BIT", Refusal::Value),
        ("FROM:<ann@x.test> BODY=BINARYMIME", Refusal::UnknownParameter),
        ("FROM:<ann@x.test> RET=ALL", Refusal::Value),
        ("FROM:<ann@x.test> ENVID=a+2b", Refusal::Value),
        ("FROM:<ann@x.test> ENVID=a=b", Refusal::Value),
        ("FROM:<ann@x.test> HOLDFOR=5", Refusal::UnknownParameter),
        ("FROM:<ann@x.test> X", Refusal::UnknownParameter),
        ("FROM:<ann@x.test> =5", Refusal::Value),
        ("FROM:<ann@x.test> SIZE=5\t6", Refusal::Value),
        ("FROM:<jörg@x.test>", Refusal::NeedsSmtpUtf8),
    ] {
        assert_eq!(mail(arguments), Err(expected), "{arguments}");
    }
    assert_eq!(mail(&format!("FROM:<a@x> ENVID={}", "a".repeat(101))), Err(Refusal::Value));
}

#[test]
fn rcpt_is_read_and_written_anew_or_refused() {
    for (arguments, expected) in [
        ("TO:<bob@x.test>", Ok("RCPT TO:<bob@x.test>\r\n")),
        ("TO:<Postmaster>", Ok("RCPT TO:<Postmaster>\r\n")),
        ("TO:<b@x.test> NOTIFY=never", Ok("RCPT TO:<b@x.test> NOTIFY=NEVER\r\n")),
        ("TO:<b@x.test> NOTIFY=DELAY,FAILURE", Ok("RCPT TO:<b@x.test> NOTIFY=FAILURE,DELAY\r\n")),
        ("TO:<b@x.test> ORCPT=rfc822;b+2Bc@x.test", Ok("RCPT TO:<b@x.test> ORCPT=rfc822;b+2Bc@x.test\r\n")),
        ("TO:<b@x.test> NOTIFY=NEVER,DELAY", Err(Refusal::Value)),
        ("TO:<b@x.test> NOTIFY=", Err(Refusal::Value)),
        ("TO:<b@x.test> ORCPT=b@x.test", Err(Refusal::Value)),
        ("TO:<b@x.test> ORCPT=rfc822;", Err(Refusal::Value)),
        ("TO:<b@x.test> ORCPT=;b", Err(Refusal::Value)),
        ("TO:<b@x.test> SIZE=5", Err(Refusal::UnknownParameter)),
        ("TO:<>", Err(Refusal::NoRecipient)),
        ("FROM:<b@x.test>", Err(Refusal::Syntax)),
    ] {
        assert_eq!(rcpt(arguments).as_deref(), expected.as_ref().map(|s| *s), "{arguments}");
    }
}

#[test]
fn what_the_server_does_not_offer_is_left_out_and_smtputf8_cannot_be() {
    let plain = Extensions::default();
    let mut out = Vec::new();
    let mail = MailFrom::parse(b"FROM:<a@x.test> SIZE=5 BODY=8BITMIME RET=FULL ENVID=a").unwrap();
    mail.write_command(&plain, &mut out).unwrap();
    RcptTo::parse(b"TO:<b@x.test> NOTIFY=NEVER ORCPT=rfc822;b").unwrap().write_command(&plain, &mut out).unwrap();
    assert_eq!(out, b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\n");
    let mail = MailFrom::parse(b"FROM:<a@x.test> SMTPUTF8").unwrap();
    assert_eq!(mail.write_command(&plain, &mut out), Err(SmtpUtf8Missing));
    let rcpt = RcptTo::parse("TO:<jörg@x.test>".as_bytes()).unwrap();
    assert_eq!(rcpt.write_command(&plain, &mut out), Err(SmtpUtf8Missing));
}

fn assert_one_clean_line(line: &[u8]) {
    let body = line.strip_suffix(b"\r\n").expect("it ends in CRLF");
    assert!(!body.iter().any(|octet| *octet < b' ' || *octet == 0x7f), "{line:?}");
}

/// Octets that matter to the grammar more often than others.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[a-z@.<>\" ]{0,6}".prop_map(String::into_bytes),
        2 => prop_oneof![Just("\r\n"), Just("\0"), Just("\\"), Just("ö"), Just("<a@x>"), Just(" SIZE=5"), Just(" SMTPUTF8"), Just(" NOTIFY=NEVER")]
            .prop_map(|s| s.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|octet| vec![octet]),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn every_command_line_is_clean_and_reads_back_the_same(arguments in hostile()) {
        if let Ok(mail) = MailFrom::parse(&[b"FROM:<", arguments.as_slice()].concat()) {
            let line = mail.command();
            assert_one_clean_line(&line);
            prop_assert_eq!(MailFrom::parse(&line[5..line.len() - 2]), Ok(mail));
        }
        if let Ok(rcpt) = RcptTo::parse(&[b"TO:", arguments.as_slice()].concat()) {
            let line = rcpt.command();
            assert_one_clean_line(&line);
            prop_assert_eq!(RcptTo::parse(&line[5..line.len() - 2]), Ok(rcpt));
        }
    }

    #[test]
    fn every_envelope_reads_back_the_same(
        local in "[a-zA-Z0-9.+'_-]{1,20}",
        size in proptest::option::of(any::<u64>()),
        envid in proptest::option::of("[!-*,-<>-~]{1,60}"),
        flags in any::<[bool; 4]>(),
    ) {
        let mut text = format!("FROM:<{local}@x.test>");
        if let Some(size) = size { text += &format!(" SIZE={size}"); }
        if let Some(envid) = &envid { text += &format!(" ENVID={envid}"); }
        if flags[0] { text += " BODY=8BITMIME"; }
        if flags[1] { text += " SMTPUTF8"; }
        let mail = MailFrom::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(mail.size, size);
        prop_assert_eq!(mail.envid.as_ref().map(Xtext::as_str), envid.as_deref());
        let line = mail.command();
        prop_assert_eq!(MailFrom::parse(&line[5..line.len() - 2]), Ok(mail));
    }
}
