//! Why a mailbox cannot be used, in short: lists have no room for the whole, which `mailbox show` has.

/// What begins as an answer of Exchange or Entra ID does. Answers say more than the sentence around them.
const ANSWERS: [&str; 6] = ["AADSTS", "NO ", "BAD ", "P1 NO ", "P1 BAD ", "-ERR"];

/// The most that stands in a list.
const LONGEST: usize = 110;

/// The first sentence of `reason`; of one that quotes an answer, the protocol and the answer alone.
pub(in crate::admin) fn short(reason: &str) -> String {
    let sentence = first_sentence(reason);
    let protocol =
        ["smtp: ", "imap: ", "pop3: "].into_iter().find(|name| sentence.starts_with(name)).unwrap_or_default();
    let answer = sentence
        .match_indices(": ")
        .filter_map(|(at, separator)| sentence.get(at + separator.len()..))
        .filter(|rest| is_answer(rest))
        .last();
    let text = match answer {
        // Entra ID may say a number and nothing more.
        Some(answer) => {
            format!("{protocol}{}", answer.strip_prefix("P1 ").unwrap_or(answer).trim_end_matches([':', ' ']))
        }
        None => sentence.to_owned(),
    };
    if text.chars().count() <= LONGEST {
        return text;
    }
    let cut: String = text.chars().take(LONGEST).collect();
    format!("{}…", cut.rsplit_once(' ').map_or(cut.as_str(), |(whole_words, _)| whole_words).trim_end_matches(','))
}

fn first_sentence(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    line.split(". ").next().unwrap_or(line).trim_end_matches('.')
}

fn is_answer(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    (digits == 3 && matches!(text.as_bytes().get(3), Some(b' ' | b'-')))
        || ANSWERS.iter().any(|begins| text.starts_with(begins))
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn a_list_says_what_the_other_side_said_or_else_the_first_sentence() {
        for (reason, expected) in [
            ("nobody has signed in for bob@contoso.com", "nobody has signed in for bob@contoso.com"),
            (
                "smtp: smtp.office365.com:587 refused the login of a@contoso.com: 535 5.7.139 Authentication unsuccessful, \
                 SmtpClientAuthentication is disabled for the Tenant. Visit https://aka.ms/smtp_auth_disabled. Switch it on.",
                "smtp: 535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant",
            ),
            (
                "imap: outlook.office365.com:993 did not accept the token for a@contoso.com: P1 NO AUTHENTICATE failed.. Check in \
                 this order: the application's permissions.",
                "imap: NO AUTHENTICATE failed",
            ),
            (
                "pop3: outlook.office365.com:995 did not accept the token for a@contoso.com: -ERR Authentication failure: unknown \
                 user name or bad password.. Check in this order: x.",
                "pop3: -ERR Authentication failure: unknown user name or bad password",
            ),
            (
                "the token service of the tenant `contoso` said no: AADSTS7000215 (invalid_client): AADSTS7000215: Invalid client \
                 secret provided. Ensure the secret being sent is right.",
                "AADSTS7000215: Invalid client secret provided",
            ),
            (
                "the token service of the tenant `contoso` said no: AADSTS90002 (invalid_request): ",
                "AADSTS90002 (invalid_request)",
            ),
            (
                "the client secret of the tenant `contoso` cannot be read from /etc/postern/client-secret: Permission denied (os \
                 error 13)",
                "the client secret of the tenant `contoso` cannot be read from /etc/postern/client-secret: Permission denied…",
            ),
        ] {
            assert_eq!(short(reason), expected, "{reason}");
        }
    }
}
