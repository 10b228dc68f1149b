use std::collections::HashSet;
use std::time::Duration;

use super::*;

fn codes(text: &str) -> Vec<&'static str> {
    search(text).found.into_iter().map(|found| found.entry.code).collect()
}

#[test]
fn every_entry_is_whole_and_every_name_is_given_once() {
    let mut names = HashSet::new();
    for entry in entries() {
        let code = entry.code;
        assert!(names.insert(code.to_ascii_lowercase()), "{code} is there twice");
        assert!(code.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{code} is no anchor");
        assert!(entry.title.len() > 10 && !entry.title.ends_with('.'), "{code}: {}", entry.title);
        assert!(entry.what.ends_with('.') && !entry.what.contains("  "), "{code}: {}", entry.what);
        assert!(!entry.source.is_empty() && !entry.remedy.is_empty(), "{code}");
        assert_eq!(entry.certainty == Certainty::Own, matches!(entry.area, Area::Own | Area::Answer), "{code}");
        assert!(!entry.words_decide || !entry.marks.is_empty(), "{code}");
        if entry.area == Area::Entra {
            assert!(code.strip_prefix("AADSTS").is_some_and(|digits| digits.parse::<u64>().is_ok()), "{code}");
        }
    }
    assert!(names.len() > 200, "{}", names.len());
}

#[test]
fn remedies_are_sentences_and_commands_with_known_places() {
    const SHELL: [&str; 8] = ["postern", "journalctl", "sudo", "ss", "df", "getent", "openssl", "(umask"];
    const VERBS: [&str; 5] = ["Get-", "Set-", "Add-", "New-", "Remove-"];
    let mut wrong = Vec::new();
    let lists = [("application", APPLICATION_NOT_LET_IN), ("person", PERSON_NOT_LET_IN)];
    for (code, remedy) in entries().map(|entry| (entry.code, entry.remedy)).chain(lists) {
        for (place, step) in remedy.iter().enumerate() {
            let text = step.template();
            let places: Vec<&str> = text.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
            let leads = remedy.get(place + 1).is_some_and(|next| next.is_command());
            let in_order = match step {
                Step::Do(_) => text.ends_with(if leads { &[':', '.'][..] } else { &['.'] }),
                Step::Note(_) => text.ends_with('.'),
                Step::Run(_) => SHELL.contains(&text.split(' ').next().unwrap()),
                Step::PowerShell(_) => VERBS.iter().any(|verb| text.starts_with(verb)),
            } && !text.contains("  ")
                && text.starts_with(|c: char| c.is_uppercase() || step.is_command())
                && (place > 0 || !step.is_command())
                && places.iter().all(|place| Places::NAMES.contains(place));
            if !in_order {
                wrong.push(format!("{code}: {text}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_told_and_when_to_try_again_agree_with_whose_move_it_is() {
    for entry in entries().filter(|entry| !matches!(entry.area, Area::Own | Area::Answer)) {
        let passes = matches!(entry.retry, Retry::BackOff { .. } | Retry::RetryAfter { .. } | Retry::Named { .. });
        match entry.whose {
            Whose::Nobody => assert!(passes || entry.retry == Retry::OnceWithNewToken, "{}", entry.code),
            Whose::Administrator | Whose::User => assert!(!passes, "{}", entry.code),
        }
    }
}

#[test]
fn every_known_text_of_exchange_leads_to_its_entry_before_all_others() {
    for entry in entries().filter(|entry| !entry.example.is_empty()) {
        let found = search(entry.example).found;
        let first = found.first().map(|found| found.entry.code);
        assert_eq!(first, Some(entry.code), "{}", entry.example);
        assert!(found[0].how <= Match::Code, "{}", entry.example);
        if entry.area == Area::Smtp {
            let (code, text) = entry.example.split_once(' ').unwrap();
            let reply = exchange_reply(code.parse().unwrap(), text);
            assert_eq!(reply.map(|entry| entry.code), Some(entry.code), "{}", entry.example);
        }
        if matches!(entry.area, Area::Imap | Area::Pop3) {
            assert_eq!(mailbox_answer(entry.example).map(|entry| entry.code), Some(entry.code), "{}", entry.example);
        }
    }
}

#[test]
fn a_number_is_found_however_it_is_written() {
    for text in [
        "7000222",
        "AADSTS7000222",
        "aadsts7000222.",
        " AADSTS7000222: The provided client secret keys for app are expired.",
        r#"{"error":"invalid_client","error_codes":[7000222],"timestamp":"2026-11-24 00:26:13Z"}"#,
        "https://login.microsoftonline.com/error?code=7000222",
        "Sign-in error code: 7000222",
        "WARN no access token: the token service of the tenant `contoso` said no: AADSTS7000222 (invalid_client): x",
    ] {
        assert_eq!(codes(text).first(), Some(&"AADSTS7000222"), "{text}");
    }
    assert_eq!(aadsts(50_196).map(|entry| entry.whose), Some(Whose::Nobody));
    assert!(aadsts(1).is_none());
    let search = search("AADSTS9999999: Something new. AADSTS9999999 invalid_grant");
    assert_eq!(search.unknown_numbers, [9_999_999]);
    assert_eq!(search.found[0].entry.code, "invalid_grant", "the class helps where the number does not");
}

#[test]
fn a_reply_is_found_by_its_code_and_told_apart_by_its_words() {
    assert_eq!(codes("5.7.60"), ["smtp-send-as-not-permitted"]);
    assert_eq!(codes("550 5.7.60"), ["smtp-send-as-not-permitted"]);
    assert_eq!(codes("554-5.2.252"), ["smtp-send-as-denied"]);
    assert_eq!(codes("501 5.5.127"), ["hve-token-expires-soon"]);
    assert_eq!(codes("550 5.7.502 Access denied, banned sender"), ["smtp-banned-sender"]);
    assert_eq!(codes("550 5.7.520 Access denied, something"), ["smtp-filter"]);
    assert_eq!(codes("451 4.7.651 Access denied"), ["smtp-suspicious-traffic"]);
    let seven = search("535 5.7.139").found;
    assert_eq!(seven.len(), 7);
    assert!(seven.iter().all(|found| found.how == Match::OneOf && found.entry.seen == "535 5.7.139"));
    assert_eq!(search("535 5.7.139 Authentication unsuccessful, in new words").found.len(), 7);
    assert_eq!(
        codes("535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant."),
        ["smtp-auth-off-in-tenant"]
    );
    let all = codes("535");
    assert!(
        all.len() == 9 && all.contains(&"smtp-token-rejected") && all.contains(&"answer-wrong-password"),
        "{all:?}"
    );
    assert_eq!(search("554 5.2.0 Other thing").found[0].how, Match::OneOf, "the quota is only a guess");
    assert!(exchange_reply(554, "5.2.0 Other thing").is_none());
    assert!(exchange_reply(535, "5.7.139 Authentication unsuccessful, in new words").is_none());
    assert!(exchange_reply(550, "5.4.1 Recipient address rejected").is_none());
    assert_eq!(search("550 5.4.1 Recipient address rejected").unknown_replies, ["550 5.4.1"]);
}

#[test]
fn what_only_looks_like_a_code_is_none() {
    for text in [
        "",
        "   ",
        "hello",
        "12",
        "port 587 of 10.5.7.139 and 5.7.139.1",
        "version 15.20.9137.005",
        "5.7.139a",
        "550",
        "2026-11-24T00:26:13",
    ] {
        let found = search(text).found;
        assert!(text == "550" || found.is_empty(), "{text}: {found:?}");
    }
}

#[test]
fn an_error_mail_is_read_with_its_folded_and_encoded_lines() {
    let mail = "Delivery has failed to these recipients or groups:\r\nbob@contoso.com\r\n\r\nRemote server returned '554 5.2.252 SendAs=\r\n\
                Denied; scanner@contoso.com not allowed to send as\r\n boss@contoso.com; STOREDRV.Submission.Exception'";
    let search = search(mail);
    assert_eq!(search.found[0].entry.code, "smtp-send-as-denied");
    let line = search.found[0].entry.remedy_line(&search.places());
    assert!(
        line.contains(
            "Add-RecipientPermission -Identity boss@contoso.com -Trustee scanner@contoso.com -AccessRights SendAs"
        ),
        "{line}"
    );
}

#[test]
fn a_line_of_our_log_leads_to_the_cause_before_our_own_name_for_it() {
    let line = "2026-11-24T00:26:13Z WARN conn{conn.id=14}: the mailbox cannot be opened: smtp.office365.com:587 refused the login of \
                alice@contoso.test: 535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. \
                reference=7F3K2Q code=\"exchange-denied\"";
    let search = search(line);
    let found: Vec<&str> = search.found.iter().map(|found| found.entry.code).collect();
    assert_eq!(found, ["smtp-auth-off-for-mailbox", "exchange-denied"]);
    assert_eq!(search.references, ["7F3K2Q"]);
    assert_eq!(search.places().mailbox, Some("alice@contoso.test"));
    let id = "11111111-2222-3333-4444-555555555555";
    let entra =
        super::search(&format!("AADSTS700016: Application with identifier '{id}' was not found in the directory 'X'."));
    assert_eq!(entra.places().client_id, Some(id));
}

#[test]
fn a_reference_alone_or_behind_ref_is_one() {
    for (text, references) in [
        ("7F3K2Q", &["7F3K2Q"][..]),
        ("7f3k2q", &["7F3K2Q"]),
        ("ref 7F3K2Q", &["7F3K2Q"]),
        ("451 4.7.0 The mailbox needs your administrator, ref 7F3K2Q", &["7F3K2Q"]),
        ("7F3K2O", &[]),
        ("7F3K2", &[]),
        ("a word of letters", &[]),
    ] {
        assert_eq!(search(text).references, references, "{text}");
    }
}

#[test]
fn the_named_pause_is_read_and_kept_within_bounds() {
    for (text, pause_millis) in [
        ("P1 NO Request is throttled. Suggested Backoff Time: 299609 milliseconds", Some(299_609)),
        ("BAD Request is throttled. suggested backoff time:89117 Milliseconds", Some(89_117)),
        ("Suggested Backoff Time: 0 milliseconds", Some(1_000)),
        ("Suggested Backoff Time: 86400000 milliseconds", Some(3_600_000)),
        ("Suggested Backoff Time: 99999999999999999999999999 milliseconds", Some(3_600_000)),
        ("Suggested Backoff Time: 5 minutes", None),
        ("Suggested Backoff Time: milliseconds", None),
        ("Request is throttled.", None),
    ] {
        assert_eq!(pause(text), pause_millis.map(Duration::from_millis), "{text}");
    }
}

#[test]
fn a_long_text_and_one_that_is_not_plain_do_no_harm() {
    let long = "5.7.139 aadsts ".repeat(200_000);
    assert_eq!(search(&long).found.len(), 7);
    assert!(search("AADSTS99999999999999999999999").found.is_empty());
    assert_eq!(codes("\u{1b}[31m535\u{0} 5.7.3\u{2019}é"), ["smtp-token-rejected"]);
}
