//! What a mail program hears instead of being served: an [`Answer`] in the words of each protocol.
//!
//! Codes by RFC 4954, section 6 and RFC 3463 (SMTP), RFC 5530, section 3 (IMAP), RFC 2449, section 8 and RFC 3206 (POP3).
//! A right app password is never answered as a wrong one. The words name no tenant, host, path or library.

use crate::base::Answer;
use crate::wire::smtp::Reply;

/// Whether the connection ends after this answer.
pub fn closes(answer: Answer) -> bool {
    match answer {
        Answer::WrongPassword
        | Answer::PrivacyRequired
        | Answer::TryLater(_)
        | Answer::MustAct(_)
        | Answer::DiskGuard(_)
        | Answer::SenderNotAllowed(_)
        | Answer::RecipientNotAllowed(_)
        | Answer::TooManyMessages(_)
        | Answer::MailLoop(_) => false,
        // What is not known yet must not leave a connection open that should have been closed.
        _ => true,
    }
}

/// The reply to an SMTP command.
pub fn smtp(answer: Answer) -> Reply {
    let (code, enhanced) = match answer {
        Answer::WrongPassword => (535, "5.7.8"),
        Answer::PrivacyRequired => (538, "5.7.11"),
        Answer::TooManyFailures | Answer::TooManyConnections | Answer::TooManySessions(_) => (421, "4.7.0"),
        Answer::TryLater(_) => (451, "4.3.0"),
        Answer::MustAct(_) => (451, "4.7.0"),
        Answer::DiskGuard(_) => (452, "4.3.1"),
        Answer::SenderNotAllowed(_) | Answer::RecipientNotAllowed(_) => (550, "5.7.1"),
        Answer::TooManyMessages(_) => (450, "4.7.1"),
        // Routing loop detected (RFC 3463, section 3.5).
        Answer::MailLoop(_) => (554, "5.4.6"),
        Answer::Ended | Answer::Stopping => (421, "4.3.2"),
        // What stopped a client that took too long (RFC 3463, section 3.5: bad connection).
        _ => (421, "4.4.2"),
    };
    Reply::new(code, format!("{enhanced} {}", words(answer)))
}

/// The answer to an IMAP command with this tag, and the BYE behind it where the connection [`closes`]. Without a tag, and where the
/// end of the session has nothing to do with the command, it is the BYE alone.
pub fn imap(tag: Option<&[u8]>, answer: Answer) -> Vec<u8> {
    // Only SMTP hands messages in.
    if is_of_smtp(answer) {
        return Vec::new();
    }
    let tag = tag.filter(|_| !matches!(answer, Answer::Ended | Answer::Stopping));
    let code = match answer {
        Answer::WrongPassword => "[AUTHENTICATIONFAILED] ",
        Answer::PrivacyRequired => "[PRIVACYREQUIRED] ",
        Answer::TooManyFailures | Answer::TooManyConnections | Answer::TooManySessions(_) => "[LIMIT] ",
        Answer::TryLater(_) => "[UNAVAILABLE] ",
        Answer::MustAct(_) => "[CONTACTADMIN] ",
        _ => "",
    };
    let mut out = Vec::new();
    if let Some(tag) = tag {
        out.extend_from_slice(tag);
        out.extend_from_slice(format!(" NO {code}{}\r\n", words(answer)).as_bytes());
    }
    if tag.is_none() || closes(answer) {
        out.extend_from_slice(format!("* BYE {}\r\n", words(answer)).as_bytes());
    }
    out
}

/// The answer to a POP3 command; nothing where the connection is closed without a word. POP3 has no way to say that a session ends:
/// an `-ERR` would be taken for the answer to a command, and behind a login for a wrong password.
pub fn pop3(answer: Answer) -> Vec<u8> {
    let code = match answer {
        Answer::WrongPassword | Answer::PrivacyRequired => "[AUTH] ",
        Answer::TooManyFailures => "[LOGIN-DELAY] ",
        Answer::TooManySessions(_) => "[IN-USE] ",
        Answer::TooManyConnections | Answer::TryLater(_) => "[SYS/TEMP] ",
        Answer::MustAct(_) => "[SYS/PERM] ",
        Answer::Ended | Answer::Stopping => return Vec::new(),
        answer if is_of_smtp(answer) => return Vec::new(),
        _ => "",
    };
    format!("-ERR {code}{}\r\n", words(answer)).into_bytes()
}

/// Whether it is about a message that is handed in.
fn is_of_smtp(answer: Answer) -> bool {
    matches!(
        answer,
        Answer::DiskGuard(_)
            | Answer::SenderNotAllowed(_)
            | Answer::RecipientNotAllowed(_)
            | Answer::TooManyMessages(_)
            | Answer::MailLoop(_)
    )
}

fn words(answer: Answer) -> String {
    match answer {
        Answer::WrongPassword => "Login name or password is wrong".to_owned(),
        Answer::PrivacyRequired => "Turn on TLS first, a login without it is not allowed".to_owned(),
        Answer::TooManyFailures => "Too many failed logins, try again later".to_owned(),
        Answer::TooManyConnections => "Too many connections, try again later".to_owned(),
        Answer::TooManySessions(reference) => {
            format!("Too many sessions with this password, close one or try again later, ref {reference}")
        }
        Answer::TryLater(reference) => format!("The mailbox cannot be reached now, try again later, ref {reference}"),
        Answer::DiskGuard(reference) => {
            format!("There is no room for the message now, try again later, ref {reference}")
        }
        Answer::SenderNotAllowed(reference) => format!("This password may not send as that sender, ref {reference}"),
        Answer::RecipientNotAllowed(reference) => {
            format!("This password may not send to that recipient, ref {reference}")
        }
        Answer::TooManyMessages(reference) => {
            format!("Too many messages with this password, try again later, ref {reference}")
        }
        Answer::MailLoop(reference) => format!("The message goes round in circles, ref {reference}"),
        Answer::MustAct(reference) => format!("The mailbox needs your administrator, ref {reference}"),
        // Not why: whoever holds a password that was taken from its owner need not hear that it was noticed.
        Answer::Ended => "The login is no longer valid, log in again".to_owned(),
        Answer::Stopping => "The service is stopping, try again later".to_owned(),
        _ => "Closing the connection".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Reference;

    #[test]
    fn each_answer_has_the_codes_of_its_protocol() {
        let reference = Reference::from_random(0);
        for (answer, for_smtp, for_imap, for_pop3, ends) in [
            (Answer::WrongPassword, "535 5.7.8 ", "a NO [AUTHENTICATIONFAILED] ", "-ERR [AUTH] ", false),
            (Answer::PrivacyRequired, "538 5.7.11 ", "a NO [PRIVACYREQUIRED] ", "-ERR [AUTH] ", false),
            (Answer::TooManyFailures, "421 4.7.0 ", "a NO [LIMIT] ", "-ERR [LOGIN-DELAY] ", true),
            (Answer::TooManySessions(reference), "421 4.7.0 ", "a NO [LIMIT] ", "-ERR [IN-USE] ", true),
            (Answer::TooManyConnections, "421 4.7.0 ", "a NO [LIMIT] ", "-ERR [SYS/TEMP] ", true),
            (Answer::TryLater(reference), "451 4.3.0 ", "a NO [UNAVAILABLE] ", "-ERR [SYS/TEMP] ", false),
            (Answer::MustAct(reference), "451 4.7.0 ", "a NO [CONTACTADMIN] ", "-ERR [SYS/PERM] ", false),
            (Answer::GoodBye, "421 4.4.2 ", "a NO Closing", "-ERR Closing", true),
        ] {
            let said = [smtp(answer).to_bytes(), imap(Some(b"a"), answer), pop3(answer)]
                .map(|b| String::from_utf8(b).unwrap());
            for (said, expected) in said.iter().zip([for_smtp, for_imap, for_pop3]) {
                assert!(said.starts_with(expected), "{said} should begin with {expected}");
                assert!(said.ends_with("\r\n"));
                assert_eq!(said.contains("ref 222222"), answer.reference().is_some(), "{said}");
            }
            assert_eq!(closes(answer), ends, "{answer:?}");
            assert_eq!(said[1].contains("\r\n* BYE "), ends, "{answer:?}");
            assert!(imap(None, answer).starts_with(b"* BYE "), "{answer:?}");
        }
    }

    #[test]
    fn only_smtp_speaks_of_room_for_messages() {
        let answer = Answer::DiskGuard(Reference::from_random(0));
        assert_eq!(
            smtp(answer).to_bytes(),
            b"452 4.3.1 There is no room for the message now, try again later, ref 222222\r\n"
        );
        assert!(imap(Some(b"a"), answer).is_empty() && pop3(answer).is_empty() && !closes(answer));
        for (answer, beginning) in [
            (
                Answer::SenderNotAllowed(Reference::from_random(0)),
                "550 5.7.1 This password may not send as that sender",
            ),
            (
                Answer::RecipientNotAllowed(Reference::from_random(0)),
                "550 5.7.1 This password may not send to that recipient",
            ),
            (
                Answer::TooManyMessages(Reference::from_random(0)),
                "450 4.7.1 Too many messages with this password, try again later",
            ),
            (Answer::MailLoop(Reference::from_random(0)), "554 5.4.6 The message goes round in circles"),
        ] {
            assert_eq!(smtp(answer).to_bytes(), format!("{beginning}, ref 222222\r\n").into_bytes());
            assert!(imap(Some(b"a"), answer).is_empty() && pop3(answer).is_empty() && !closes(answer));
        }
    }

    #[test]
    fn the_end_of_a_session_is_told_as_an_end_and_not_as_the_answer_to_a_command() {
        for (answer, words) in [
            (Answer::Stopping, "The service is stopping, try again later"),
            (Answer::Ended, "The login is no longer valid, log in again"),
        ] {
            assert_eq!(smtp(answer).to_bytes(), format!("421 4.3.2 {words}\r\n").into_bytes());
            for tag in [None, Some(&b"a"[..])] {
                assert_eq!(imap(tag, answer), format!("* BYE {words}\r\n").into_bytes());
            }
            assert_eq!(pop3(answer), b"");
            assert!(closes(answer));
        }
    }
}
